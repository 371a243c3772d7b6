"""A depthwise convolution with fast gradients: the same numbers as ``F.conv2d``, from better kernels on a CPU.

With one channel a group, a convolution does so little arithmetic that its speed is a matter of which kernel runs it.
torch's CPU library has a fast one for every forward pass, but among the gradients with respect to the weights only for
kernels at most 3 wide, not dilated, on images larger than the kernel; all others fall back to one that is 5 to 80 times
slower. Three identities lead back to the fast ones, where g is the gradient of the output:

* The gradient of the input at stride 1 is itself a forward convolution, of g with the kernel turned by half a turn.
* A column of taps at a time: ∂L/∂w[u, v] = Σ x[h + u, w + v] g[h, w] asks for each v only x moved by v columns, so a
  kernel 5 wide is one 3 wide beside one 2 wide.
* Dilation d: the pixels of one phase, every d-th in each direction, only ever meet their own phase. So d² small images
  under a kernel that is not dilated do the same; and at stride d only the first phase is asked for.

Every gradient is made of differentiable operations: derivatives of any order exist.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

WIDEST = 3  # columns of taps that the fast kernel for gradients of weights takes


def depthwise(
    x: Float[Tensor, "batch channel height width"],
    weight: Float[Tensor, "channel 1 _ _"],
    stride: int = 1,
    dilation: int = 1,
) -> Float[Tensor, "batch channel _ _"]:
    """Convolve every channel with its own odd kernel, padded so that stride 1 keeps the size."""
    x, stride, dilation = met(x, stride, dilation)
    rows, columns = (_outside(k, side, dilation) for k, side in zip(weight.shape[2:], x.shape[2:], strict=True))
    if rows or columns:
        weight = weight[:, :, rows : weight.shape[2] - rows, columns : weight.shape[3] - columns]
    if x.device.type != "cpu":
        return _convolve(x, weight, stride, dilation)
    if torch.is_autocast_enabled("cpu") and weight.dtype == torch.float32:
        # Here, where the casts are differentiated: in the backward pass nothing is cast any more.
        x, weight = x.to(torch.get_autocast_dtype("cpu")), weight.to(torch.get_autocast_dtype("cpu"))
    out: Tensor = _Depthwise.apply(x, weight, stride, dilation)  # type: ignore[no-untyped-call]
    return out


def met(
    x: Float[Tensor, "batch channel _ _"], stride: int, dilation: int
) -> tuple[Float[Tensor, "batch channel _ _"], int, int]:
    """The pixels that taps ever meet, with the stride and dilation on them: of equal ones only the first phase."""
    return (x[:, :, ::stride, ::stride], 1, 1) if stride == dilation > 1 else (x, stride, dilation)


def _outside(taps: int, side: int, dilation: int) -> int:
    """How many of ``taps``, at either end, never meet an image of ``side`` pixels."""
    return max(0, taps // 2 - (side - 1) // dilation)


def _padding(weight: Tensor, dilation: int) -> tuple[int, int]:
    return dilation * (weight.shape[2] // 2), dilation * (weight.shape[3] // 2)


def _convolve(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    return F.conv2d(x, weight, None, stride, _padding(weight, dilation), dilation, groups=x.shape[1])


class _Depthwise(torch.autograd.Function):
    """``F.conv2d`` with one channel a group, and the gradients described above."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.stride, ctx.dilation = stride, dilation
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, stride, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (g,) = gradients
        x, weight = ctx.saved_tensors
        towards_x = towards_weight = None
        if ctx.needs_input_grad[0]:
            if ctx.stride == 1:
                again = depthwise if torch.is_grad_enabled() else _convolve
                towards_x = again(g, weight.flip(2, 3), 1, ctx.dilation)
            else:
                padding = _padding(weight, ctx.dilation)
                towards_x = _gradient(g, x, weight, ctx.stride, ctx.dilation, padding, of_x=True)
        if ctx.needs_input_grad[1]:
            towards_weight = _towards_weight(g, x, weight, ctx.stride, ctx.dilation)
        return towards_x, towards_weight, None, None


def _gradient(
    g: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int, padding: tuple[int, int], of_x: bool = False
) -> Tensor:
    """The library's own gradient, towards the weights or towards x."""
    mask = [of_x, not of_x, False]
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        g, x, weight, None, [stride] * 2, padding, [dilation] * 2, False, [0, 0], x.shape[1], mask
    )
    return found[0] if of_x else found[1]


def _towards_weight(g: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """∂L/∂w from fast kernels alone."""
    _, _, rows, columns = weight.shape
    if dilation > 1:
        if stride > 1:  # no operation of ours; the library's own gradient
            return _gradient(g, x, weight, stride, dilation, _padding(weight, dilation))
        g, x = _phases(g, dilation), _phases(x, dilation)
    if columns <= WIDEST and min(x.shape[2:]) > WIDEST:
        return _gradient(g, x, weight, stride, 1, _padding(weight, 1))
    parts = []
    implied = x.shape[2] > rows
    top, middle = rows // 2, columns // 2
    below = stride * (g.shape[2] - 1) + rows - top - x.shape[2]  # rows that the last window reaches beyond the image
    for first in range(0, columns, WIDEST):
        wide = min(WIDEST, columns - first)
        left = middle - first
        right = stride * (g.shape[3] - 1) + wide - left - x.shape[3]
        # Rows can be padded in passing where the image is higher than the kernel.
        moved = _moved(x, left, right) if implied else F.pad(x, (left, right, top, below))
        parts.append(_gradient(g, moved, weight[..., :wide], stride, 1, (top if implied else 0, 0)))
    return torch.cat(parts, 3)


def _moved(x: Tensor, left: int, right: int) -> Tensor:
    """``F.pad(x, (left, right))``, which cuts columns off where an amount is negative, in one pass over memory."""
    rows = x.permute(0, 2, 3, 1)
    batch, height, width, channels = rows.shape
    zero = rows.new_zeros(()).expand(batch, height, max(left, right, 0), channels)
    inside = rows[:, :, max(0, -left) : width - max(0, -right)]
    return torch.cat([zero[:, :, : max(0, left)], inside, zero[:, :, : max(0, right)]], 2).permute(0, 3, 1, 2)


def _phases(x: Tensor, dilation: int) -> Tensor:
    """The ``dilation``² phases of every image, one after another as images of their own; odd sides get a zero."""
    x = F.pad(x, (0, -x.shape[3] % dilation, 0, -x.shape[2] % dilation))
    batch, channels, height, width = x.shape
    split = x.permute(0, 2, 3, 1).reshape(batch, height // dilation, dilation, width // dilation, dilation, channels)
    phases = split.permute(2, 4, 0, 1, 3, 5).reshape(-1, height // dilation, width // dilation, channels)
    return phases.permute(0, 3, 1, 2)
