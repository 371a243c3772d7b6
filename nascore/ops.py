"""The operations an edge can carry: how to build each as a module, and what it costs in closed form.

``OPS[name](channels_in, channels_out, stride, affine)`` builds the module. ``OPS[name].parameters(channels, height,
width, stride)``, ``.madds(...)`` and ``.memory(...)`` price it without building it.

Every convolution comes in the order ReLU, convolution, batch norm. ``affine=False`` is the setting of a search: batch
norm has no scale of its own, which would take over the role of the gates, and pools get a batch norm too, so that all
operations speak equally loud. ``affine=True`` is the stand-alone network, whose pools are bare
(Liu, Simonyan and Yang, 2019, and their code).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from nascore.errors import UserError, choose


class Cost(NamedTuple):
    """What one operation costs for one image.

    ``parameters`` are learnt numbers. ``madds`` are multiply-adds of convolutions; a pool counts one a value in its
    window. ``memory`` are values moved: inputs read, weights read and outputs written by every convolution, pool and
    copy. Batch norm and ReLU are taken as fused, hence free, in ``madds`` and ``memory``
    (the convention of the code of Xie et al., 2019).
    """

    parameters: int
    madds: int
    memory: int


class Op(ABC):
    """An operation by name: a factory of modules with a price."""

    @abstractmethod
    def __call__(self, channels_in: int, channels_out: int, stride: int = 1, affine: bool = False) -> nn.Module:
        """A fresh module; stride 2 halves the image (rounding up)."""

    @abstractmethod
    def cost(self, channels: int, height: int, width: int, stride: int = 1, affine: bool = False) -> Cost:
        """The cost on an edge with ``channels`` in and out and an image of ``height`` × ``width`` coming in."""

    def parameters(self, channels: int, height: int, width: int, stride: int = 1, affine: bool = False) -> int:
        """Learnt numbers."""
        return self.cost(channels, height, width, stride, affine).parameters

    def madds(self, channels: int, height: int, width: int, stride: int = 1) -> int:
        """Multiply-adds an image."""
        return self.cost(channels, height, width, stride).madds

    def memory(self, channels: int, height: int, width: int, stride: int = 1) -> int:
        """Values read and written an image."""
        return self.cost(channels, height, width, stride).memory


def halved(size: int, stride: int) -> int:
    """The side of an image after ``stride``, rounded up."""
    return -(-size // stride)


@dataclass(frozen=True)
class Conv:
    """One convolution inside an operation. ``strided`` says whether the stride acts on (height, width) here."""

    kernel: tuple[int, int]
    strided: tuple[bool, bool] = (False, False)
    depthwise: bool = False
    dilation: int = 1

    def strides(self, stride: int) -> tuple[int, int]:
        """The stride along (height, width) when the operation's is ``stride``."""
        return stride if self.strided[0] else 1, stride if self.strided[1] else 1

    def module(self, channels_in: int, channels_out: int, stride: int) -> nn.Conv2d:
        """Without a bias, which the batch norm behind it would cancel; padded so that stride 1 keeps the size."""
        return nn.Conv2d(
            channels_in,
            channels_out,
            self.kernel,
            self.strides(stride),
            padding=(self.dilation * (self.kernel[0] // 2), self.dilation * (self.kernel[1] // 2)),
            dilation=self.dilation,
            groups=channels_in if self.depthwise else 1,
            bias=False,
        )


@dataclass(frozen=True)
class Convolutions(Op):
    """Blocks of ReLU, one or more convolutions, batch norm."""

    blocks: tuple[tuple[Conv, ...], ...]

    @override
    def __call__(self, channels_in: int, channels_out: int, stride: int = 1, affine: bool = False) -> nn.Module:
        layers: list[nn.Module] = []
        for i, block in enumerate(self.blocks):
            layers.append(nn.ReLU())
            for j, conv in enumerate(block):
                # The last convolution of all changes the number of channels.
                last = i == len(self.blocks) - 1 and j == len(block) - 1
                layers.append(conv.module(channels_in, channels_out if last else channels_in, stride))
            layers.append(nn.BatchNorm2d(channels_out if last else channels_in, affine=affine))
        return nn.Sequential(*layers)

    @override
    def cost(self, channels: int, height: int, width: int, stride: int = 1, affine: bool = False) -> Cost:
        parameters = madds = memory = 0
        for conv in (conv for block in self.blocks for conv in block):
            weights = channels * (1 if conv.depthwise else channels) * conv.kernel[0] * conv.kernel[1]
            read = channels * height * width
            height, width = (halved(s, t) for s, t in zip((height, width), conv.strides(stride), strict=True))
            parameters += weights
            madds += weights * height * width
            memory += read + weights + channels * height * width
        scales = 2 * channels * len(self.blocks) if affine else 0
        return Cost(parameters + scales, madds, memory)


@dataclass(frozen=True)
class Pool(Op):
    """A ``size`` × ``size`` pool; the average leaves padding out. ``norm``: with batch norm outside a search too."""

    kind: str
    size: int
    norm: bool = False

    @override
    def __call__(self, channels_in: int, channels_out: int, stride: int = 1, affine: bool = False) -> nn.Module:
        same_channels(f"{self.kind}{self.size}", channels_in, channels_out)
        pool = (
            nn.MaxPool2d(self.size, stride, self.size // 2)
            if self.kind == "max"
            else nn.AvgPool2d(self.size, stride, self.size // 2, count_include_pad=False)
        )
        if affine and not self.norm:
            return pool
        return nn.Sequential(pool, nn.BatchNorm2d(channels_out, affine=affine))

    def pool(self, x: Float[Tensor, "batch channel _ _"], stride: int) -> Float[Tensor, "batch channel _ _"]:
        """The pool alone."""
        if self.kind == "max":
            return F.max_pool2d(x, self.size, stride, self.size // 2)
        return F.avg_pool2d(x, self.size, stride, self.size // 2, count_include_pad=False)

    @override
    def cost(self, channels: int, height: int, width: int, stride: int = 1, affine: bool = False) -> Cost:
        written = channels * halved(height, stride) * halved(width, stride)
        scales = 2 * channels if self.norm and affine else 0
        return Cost(scales, self.size**2 * written, channels * height * width + written)


class Skip(Op):
    """The identity; with stride 2 a factorised reduction, for an identity cannot halve an image."""

    @override
    def __call__(self, channels_in: int, channels_out: int, stride: int = 1, affine: bool = False) -> nn.Module:
        if stride != 1:
            return FactorisedReduction(channels_in, channels_out, affine)
        same_channels("skip", channels_in, channels_out)
        return nn.Identity()

    @override
    def cost(self, channels: int, height: int, width: int, stride: int = 1, affine: bool = False) -> Cost:
        read = channels * height * width
        if stride == 1:
            return Cost(0, 0, 2 * read)
        weights = channels * channels
        pixels = halved(height, stride) * halved(width, stride)
        return Cost(weights + (2 * channels if affine else 0), weights * pixels, 2 * read + weights + channels * pixels)


class Nothing(Op):
    """*none*: the edge is not there. It costs nothing and gives zeros."""

    @override
    def __call__(self, channels_in: int, channels_out: int, stride: int = 1, affine: bool = False) -> nn.Module:
        return Zero(channels_out, stride)

    @override
    def cost(self, channels: int, height: int, width: int, stride: int = 1, affine: bool = False) -> Cost:
        return Cost(0, 0, 0)


class FactorisedReduction(nn.Module):
    """Halve an image by two 1×1 convolutions of stride 2, the second starting one pixel further on both axes."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool) -> None:
        super().__init__()
        self.even = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """Half the height and width, rounded up."""
        x = F.relu(x)
        # An odd side lacks the last odd pixel: zeros stand in for it.
        shifted = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))[:, :, 1:, 1:]
        out: Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))
        return out


class Zero(nn.Module):
    """Zeros of the shape another operation would give."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """Zeros; no gradient reaches ``x``."""
        batch, _, height, width = x.shape
        return x.new_zeros(batch, self.channels, halved(height, self.stride), halved(width, self.stride))


def same_channels(name: str, channels_in: int, channels_out: int) -> None:
    """Refuse to change the number of channels."""
    if channels_in != channels_out:
        raise UserError(
            f"channels_out: {name} keeps the {channels_in} channels that come in and cannot make {channels_out}."
        )


def dense(size: int) -> Convolutions:
    """A plain convolution of all channels with all."""
    return Convolutions(((Conv((size, size), strided=(True, True)),),))


def crossed(size: int) -> Convolutions:
    """A 1 × ``size`` convolution, then a ``size`` × 1 one, each with the stride along its own axis."""
    return Convolutions(((Conv((1, size), strided=(False, True)), Conv((size, 1), strided=(True, False))),))


def separable(size: int, times: int = 1, dilation: int = 1) -> Convolutions:
    """``times`` blocks of a depthwise and a pointwise convolution; the first carries the stride."""
    return Convolutions(
        tuple(
            (
                Conv((size, size), strided=(i == 0, i == 0), depthwise=True, dilation=dilation),
                Conv((1, 1)),
            )
            for i in range(times)
        )
    )


OPS: dict[str, Op] = {
    "none": Nothing(),
    "skip": Skip(),
    "conv1": dense(1),
    "conv3": dense(3),
    "conv3x1_1x3": crossed(3),
    "conv7x1_1x7": crossed(7),
    "sep3": separable(3, times=2),
    "sep5": separable(5, times=2),
    "sep7": separable(7, times=2),
    "dil3": separable(3, dilation=2),
    "dil5": separable(5, dilation=2),
    "avg3": Pool("avg", 3),
    "max3": Pool("max", 3),
    "max5": Pool("max", 5),
    "max7": Pool("max", 7),
    # The SNAS authors keep the pools' batch norm in the stand-alone network, where it has a scale and a shift.
    "avg3_bn": Pool("avg", 3, norm=True),
    "max3_bn": Pool("max", 3, norm=True),
}


def op(name: str) -> Op:
    """``OPS[name]``; an unknown name is a ``UserError``."""
    return OPS[choose("operation", name, OPS)]
