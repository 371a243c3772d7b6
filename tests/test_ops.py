"""Operations: the modules do what their names say, and the closed-form prices equal what a built module does."""

import pytest
import torch
from torch import nn

from nascore.errors import UserError
from nascore.ops import OPS, op

CASES = [(name, stride, affine) for name in OPS for stride in (1, 2) for affine in (False, True)]


def measured(module, channels, height, width):
    """Parameters, multiply-adds and memory access counted on the built module, layer by layer."""
    madds = memory = 0

    def count(layer, inputs, output):
        nonlocal madds, memory
        if isinstance(layer, nn.Conv2d):
            madds += layer.weight[0].numel() * output.numel()  # weights behind one output value
            memory += inputs[0].numel() + layer.weight.numel() + output.numel()
        elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
            madds += layer.kernel_size**2 * output.numel()
            memory += inputs[0].numel() + output.numel()
        elif isinstance(layer, nn.Identity):
            memory += inputs[0].numel() + output.numel()

    handles = [layer.register_forward_hook(count) for layer in module.modules()]
    output = module.eval()(torch.rand(1, channels, height, width))
    for handle in handles:
        handle.remove()
    return sum(p.numel() for p in module.parameters()), madds, memory, output


@pytest.mark.parametrize(("name", "stride", "affine"), CASES)
@pytest.mark.parametrize(("channels", "height", "width"), [(6, 8, 8), (4, 7, 10)])
def test_prices_equal_what_the_module_does(name, stride, affine, channels, height, width):
    parameters, madds, memory, output = measured(OPS[name](channels, channels, stride, affine), channels, height, width)
    if name == "skip" and stride == 2:
        # The second half reads the image shifted by one pixel, which is a little smaller; the price takes it whole.
        memory += channels * (height * width - (height + height % 2 - 1) * (width + width % 2 - 1))
    assert OPS[name].memory(channels, height, width, stride) == memory
    assert OPS[name].parameters(channels, height, width, stride, affine) == parameters
    assert OPS[name].madds(channels, height, width, stride) == madds
    assert output.shape == (1, channels, -(-height // stride), -(-width // stride))


@pytest.mark.parametrize("name", [name for name in OPS if name != "none"])
def test_convolutions_come_in_the_order_relu_convolution_batch_norm(name):
    module = OPS[name](4, 4, 2, affine=True)
    kinds = [type(layer) for layer in module.modules() if not list(layer.children())]
    if isinstance(module, nn.Sequential) and nn.Conv2d in kinds:
        assert kinds[0] is nn.ReLU
        assert kinds[-1] is nn.BatchNorm2d


def test_parameters_are_those_the_nasp_authors_list_at_12_channels():
    # PARAMS in xujinfan/NASP-codes, genotypes.py at commit 6ad8e5485aba914a8aff702b2e9dd3254114cc64.
    listed = {
        "conv3x1_1x3": 864,
        "conv7x1_1x7": 2016,
        "sep7": 1464,
        "conv3": 1296,
        "sep5": 888,
        "sep3": 504,
        "dil5": 444,
        "conv1": 144,
        "dil3": 252,
        "skip": 0,
    }
    assert {name: OPS[name].parameters(12, 8, 8) for name in listed} == listed


@pytest.mark.parametrize("c", [3, 16])
@pytest.mark.parametrize("y", [4, 16])
def test_memory_follows_the_snas_authors_formulas(c, y):
    # SNAS-Series/SNAS-Series, SNAS/operations.py at commit dea7943b663053ee0c3e1a9449f7a809c32eb85a; y = side after.
    sep = 2 * 9 * c + 2 * c * c
    dil = 9 * c + c * c
    assert OPS["sep3"].memory(c, y, y) == 8 * c * y**2 + sep
    assert OPS["sep3"].memory(c, 2 * y, 2 * y, 2) == 11 * c * y**2 + sep
    assert OPS["dil3"].memory(c, y, y) == 4 * c * y**2 + dil
    assert OPS["dil3"].memory(c, 2 * y, 2 * y, 2) == 7 * c * y**2 + dil
    assert OPS["max3"].memory(c, y, y) == 2 * c * y**2
    assert OPS["avg3"].memory(c, 2 * y, 2 * y, 2) == 5 * c * y**2
    assert OPS["max3"].madds(c, y, y) == 9 * c * y**2
    assert OPS["skip"].memory(c, y, y) == 2 * c * y**2
    assert OPS["skip"].memory(c, 2 * y, 2 * y, 2) == (2 * 4 * c + c) * y**2 + c * c
    assert OPS["skip"].madds(c, 2 * y, 2 * y, 2) == c * c * y**2
    assert OPS["none"].cost(c, y, y, 2) == (0, 0, 0)


def test_average_pool_leaves_the_padding_out():
    assert torch.equal(OPS["avg3"](2, 2, 2, affine=True)(torch.ones(1, 2, 5, 5)), torch.ones(1, 2, 3, 3))


@pytest.mark.parametrize("name", ["max3", "avg3", "max5", "max7", "max3_bn", "avg3_bn"])
def test_pools_have_batch_norm_in_search_and_outside_it_only_where_named(name):
    def norms(affine):
        return [layer for layer in OPS[name](4, 4, 1, affine).modules() if isinstance(layer, nn.BatchNorm2d)]

    assert len(norms(False)) == 1
    assert norms(False)[0].weight is None
    assert len(norms(True)) == name.endswith("_bn")


def test_factorised_reduction_sees_even_and_odd_pixels():
    module = OPS["skip"](2, 4, 2).eval()
    x = torch.rand(1, 2, 6, 6)
    even = torch.einsum("oi,bihw->bohw", module.even.weight[..., 0, 0], x[:, :, 0::2, 0::2])
    odd = torch.einsum("oi,bihw->bohw", module.odd.weight[..., 0, 0], x[:, :, 1::2, 1::2])
    expected = torch.cat([even, odd], 1) / (1 + module.norm.eps) ** 0.5
    torch.testing.assert_close(module(x), expected)


def test_dilated_convolution_reaches_two_pixels_far():
    weights = [layer for layer in OPS["dil3"](1, 1).modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.dilation for layer in weights] == [(2, 2), (1, 1)]
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    rows = weights[0](x)[0, 0].detach().abs().sum(1).nonzero().flatten()
    assert rows.tolist() == [2, 4, 6]


def test_zero_gives_zeros_and_no_gradient():
    x = torch.full((1, 2, 5, 5), torch.nan, requires_grad=True)
    out = OPS["none"](2, 2, 2)(x)
    assert torch.equal(out, torch.zeros(1, 2, 3, 3))
    assert not out.requires_grad


def test_convolutions_may_change_the_number_of_channels():
    for name in ("conv1", "conv3", "conv3x1_1x3", "sep3", "dil5"):
        assert OPS[name](3, 8, 2)(torch.rand(2, 3, 8, 8)).shape == (2, 8, 4, 4)


@pytest.mark.parametrize("name", ["skip", "max3", "avg3"])
def test_pools_and_skips_refuse_to_change_the_number_of_channels(name):
    with pytest.raises(UserError, match=f"channels_out: {name} keeps the 3 channels that come in and cannot make 8"):
        OPS[name](3, 8)


def test_an_unknown_operation_is_a_user_error():
    assert op("sep3") is OPS["sep3"]
    with pytest.raises(UserError, match=r"operation: 'sep_3' is not one of .* Did you mean 'sep3'"):
        op("sep_3")
