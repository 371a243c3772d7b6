"""Supernets, images and gates for the tests of the engine, all in float64, and what makes two engines comparable."""

import numpy as np
import torch

from nascore.space import AMOEBA, DARTS, NASNET, NASP_12, SNAS, TOY, Space
from nascore.supernet import Supernet

ENGINES = ("reference", "fused")
SMALL = Space(2, 2, ("none", "skip", "conv3", "max3", "sep3"), name="SMALL")
ONE_INPUT = Space(1, 2, ("none", "conv1", "avg3"), cells=("cell",), reduction="pool", name="ONE_INPUT")
ONE_STRIDED = Space(1, 3, ("skip", "sep3", "dil3", "max3"), name="ONE_STRIDED")

# Each space with the fewest cells that have all its kinds of cell and all strides.
SPACES = {
    space.name: (space, 2 if space.reduction == "pool" else 3)
    for space in (TOY, SNAS, DARTS, NASP_12, NASNET, AMOEBA, ONE_INPUT, ONE_STRIDED)
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def in_double(task):
    """``task`` with its network and images in float64."""
    task.network.double()
    task._data = task._data._replace(images=task._data.images.double())
    return task


def supernet(space=TOY, channels=4, cells=2, seed=0, **options):
    torch.manual_seed(seed)
    return Supernet(space, channels, cells, 5, 3, **options).double()


def images(size=8, batch=4, seed=1):
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(batch, 3, height, width, generator=seeded(seed), dtype=torch.float64)


def simplex(space, seed=2):
    return torch.rand(space.shape, generator=seeded(seed), dtype=torch.float64).softmax(-1)


def one_hot(space, graphs):
    return torch.from_numpy(space.one_hot(graphs))


def random_graphs(space, seed):
    return space.decode(np.random.default_rng(seed).random(space.shape))


def in_reference_terms(net, weights):
    """State dict of the reference with ``weights`` in the place of ``net``'s own and with ``net``'s statistics.

    Conversion moves numbers and changes none, so it parts a gradient as it parts the weights.
    """
    own = [parameter.data for parameter in net.parameters()]
    try:
        for parameter, weight in zip(net.parameters(), weights, strict=True):
            parameter.data = torch.zeros_like(parameter) if weight is None else weight.detach().clone()
        return dict(net.converted("reference").state_dict())
    finally:
        for parameter, weight in zip(net.parameters(), own, strict=True):
            parameter.data = weight


def gradients_of(net, x, z, masks=None, reads=None, second=False, **given):
    """Output, gradients towards images, gates, masks, reads and every weight, and the statistics after it, by name.

    ``second``: also those of the sum of all squared gradients of the weights, through the gradients.
    """
    tables = {"images": x, "gates": z, "masks": masks, "reads": reads}
    inputs = {name: value.clone().requires_grad_() for name, value in tables.items() if value is not None}
    x, z, *more = inputs.values()
    out = net(x, z, **dict(zip(list(inputs)[2:], more, strict=True)), **given)
    loss = (out * torch.randn(out.shape, generator=seeded(7), dtype=out.dtype)).sum() + out.square().sum()
    wanted = [*inputs.values(), *net.parameters()]
    found = {"output": out.detach()}
    orders = {"": torch.autograd.grad(loss, wanted, create_graph=second, allow_unused=True)}
    if second:
        squares = sum(g.square().sum() for g in orders[""][len(inputs) :] if g is not None)
        orders["second "] = torch.autograd.grad(squares, wanted, allow_unused=True)
    for order, gradients in orders.items():
        for (name, value), gradient in zip(inputs.items(), gradients, strict=False):
            found[order + name] = torch.zeros_like(value) if gradient is None else gradient.detach()
        state = in_reference_terms(net, gradients[len(inputs) :])
        found |= {order + name: value for name, value in state.items()}
    return found


def assert_same(found, expected, tolerance=1e-11):
    """Equal names, and values that differ by rounding alone: ``tolerance`` times the largest, at least 1."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        assert torch.isfinite(found[name]).all(), name
        far = (found[name] - value).abs().max() if value.numel() else 0
        assert far <= tolerance * max(1, value.abs().max() if value.numel() else 1), (name, float(far))
