"""Depthwise convolutions with fast gradients against torch's own: values and derivatives of both orders."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nascore import depthwise as module
from nascore.depthwise import depthwise

KERNELS, DILATIONS, STRIDES = (1, 3, 5, 7), (1, 2), (1, 2)
CASES = [(k, d, s) for k in KERNELS for d in DILATIONS for s in STRIDES]
each_case = pytest.mark.parametrize(("kernel", "dilation", "stride"), CASES)
FORMATS = (torch.contiguous_format, torch.channels_last)


def specification(x, weight, stride, dilation):
    padding = [dilation * (k // 2) for k in weight.shape[2:]]
    return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(batch, channels, height, width, kernel, layout=torch.contiguous_format, dtype=torch.float64):
    x = numbers(batch, channels, height, width, dtype=dtype).contiguous(memory_format=layout)
    return x.requires_grad_(), numbers(channels, 1, kernel, kernel, seed=1, dtype=dtype).requires_grad_()


def derivatives(convolve, x, weight, stride, dilation, second=False):
    """The output and its gradients towards x and the weights under a random gradient; and those of their squares."""
    out = convolve(x, weight, stride, dilation)
    g = numbers(*out.shape, seed=2, dtype=out.dtype).requires_grad_()
    found = [out, *torch.autograd.grad(out, (x, weight), g, create_graph=second)]
    if second:
        found += torch.autograd.grad(found[1].square().sum() + found[2].square().sum(), (x, weight, g))
    return found


def assert_equal(x, weight, stride, dilation, tolerance=1e-12, second=False):
    found, expected = (
        derivatives(convolve, x, weight, stride, dilation, second) for convolve in (depthwise, specification)
    )
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * max(1, b.abs().max())


@each_case
def test_values_and_gradients_on_images_of_every_small_size(kernel, dilation, stride):
    for height in range(1, 10):
        for width in range(1, 10):
            layout = FORMATS[(height // 2 + width) % 2]
            assert_equal(*inputs(2, 3, height, width, kernel, layout), stride, dilation)


@settings(max_examples=60)
@given(
    st.sampled_from(CASES),
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(FORMATS),
)
def test_derivatives_of_both_orders_on_images_of_any_size(case, shape, layout):
    kernel, dilation, stride = case
    assert_equal(*inputs(*shape, kernel, layout), stride, dilation, 1e-11, second=True)


@pytest.mark.parametrize(("dilation", "stride"), [(2, 3), (3, 2), (3, 3), (1, 3)])
def test_strides_and_dilations_that_no_operation_has(dilation, stride):
    for size in ((9, 6), (4, 7), (2, 2)):
        for layout in FORMATS:
            assert_equal(*inputs(2, 3, *size, 5, layout), stride, dilation, second=True)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("taps", [(1, 5), (7, 3)])
def test_kernels_need_not_be_square(taps, stride):
    for size in ((9, 6), (2, 8), (8, 2)):
        x = numbers(2, 3, *size).requires_grad_()
        assert_equal(x, numbers(3, 1, *taps, seed=1).requires_grad_(), stride, 1, second=True)


@each_case
def test_gradients_of_both_orders_agree_with_finite_differences(kernel, dilation, stride):
    x, weight = inputs(2, 1, 4, 3, kernel)
    assert torch.autograd.gradcheck(depthwise, (x, weight, stride, dilation))
    assert torch.autograd.gradgradcheck(depthwise, (x, weight, stride, dilation))


@each_case
def test_single_precision(kernel, dilation, stride):
    for size in ((8, 8), (7, 5), (2, 3)):
        for layout in FORMATS:
            assert_equal(*inputs(8, 4, *size, kernel, layout, torch.float32), stride, dilation, 2e-5)


def test_the_gradient_of_one_input_alone():
    for kernel, dilation, stride in CASES:
        x, weight = inputs(2, 3, 6, 7, kernel)
        _, towards_x, towards_weight = derivatives(depthwise, x, weight, stride, dilation)
        (one,) = torch.autograd.grad(depthwise(x, weight.detach(), stride, dilation).sum(), x)
        (other,) = torch.autograd.grad(depthwise(x.detach(), weight, stride, dilation).sum(), weight)
        assert one.shape == towards_x.shape
        assert other.shape == towards_weight.shape
        assert not depthwise(x.detach(), weight.detach(), stride, dilation).requires_grad


def test_gradients_of_weights_are_asked_for_where_there_is_a_fast_kernel(monkeypatch):
    """At most 3 columns of taps, no dilation, and an image in which the kernel has room."""
    asked = []
    original = module._gradient

    def note(g, x, weight, stride, dilation, padding, of_x=False):
        if not of_x:
            room = [side + 2 * p - taps for side, p, taps in zip(x.shape[2:], padding, weight.shape[2:], strict=True)]
            asked.append((weight.shape[3] <= 3, dilation == 1, min(room) >= 0))
        return original(g, x, weight, stride, dilation, padding, of_x)

    monkeypatch.setattr(module, "_gradient", note)
    for kernel, dilation, stride in CASES:
        for size in ((8, 8), (4, 4), (3, 9)):
            derivatives(depthwise, *inputs(2, 3, *size, kernel), stride, dilation)
    assert len(asked) >= 3 * len(CASES)
    assert all(all(each) for each in asked)


def test_other_devices_compute_on_their_own():
    x, weight = (tensor.detach().to("meta").requires_grad_() for tensor in inputs(2, 3, 8, 8, 5))
    depthwise(x, weight, 2, 1).sum().backward()
    assert x.grad.shape == x.shape
    assert weight.grad.shape == weight.shape
