"""A return model that reads a history step by step: RUDDER's LSTM without forget and output gates.

Arjona-Medina et al., "RUDDER: Return Decomposition for Delayed Rewards", NeurIPS 2019:

    (1)  i_t = σ(W_i (x_t, y_{t−1}) + b_i),  z_t = tanh(W_z (x_t, y_{t−1}) + b_z)
    (2)  c_t = c_{t−1} + i_t z_t:  nothing is forgotten, so what a step stored is still there at the end
    (3)  y_t = tanh(c_t),  g_t = v·y_t + b
    (4)  loss = mean over episodes of (g_{T−1} − G)² + ½ mean over t of (g_t − G)²

The second part of (4) makes every g_t a prediction of the return rather than the last one alone; its weight is a choice
of this kit. The input gate starts nearly shut.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

EARLY = 0.5  # weight of the early predictions in eq. (4)
SHUT = -2.0  # b_i at the start


class ReturnLSTM(nn.Module):
    """g_t of eq. (3) for histories ``[episode, step, feature]``; the ``noise`` generator draws its first weights."""

    def __init__(self, features: int, units: int, noise: Generator):
        super().__init__()
        size = features + units
        self.units = units
        self.gates = nn.Parameter(torch.randn(size, 2 * units, generator=noise) / size**0.5)  # W_i and W_z
        self.shift = nn.Parameter(torch.cat([torch.full((units,), SHUT), torch.zeros(units)]))  # b_i and b_z
        self.readout = nn.Parameter(torch.randn(units, generator=noise) / units**0.5)
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, "episode step feature"]) -> Float[Tensor, "episode step"]:
        """The predictions after each step."""
        c = y = x.new_zeros(len(x), self.units)
        found = []
        for now in x.unbind(1):
            i, z = (torch.cat([now, y], -1) @ self.gates + self.shift).chunk(2, -1)
            c = c + i.sigmoid() * z.tanh()  # eqs. (1) and (2)
            y = c.tanh()
            found.append(y @ self.readout + self.level)  # eq. (3)
        return torch.stack(found, -1)


def fit(
    model: ReturnLSTM,
    x: Float[Tensor, "episode step feature"],
    returns: Float[Tensor, " episode"],
    steps: int = 300,
    lr: float = 0.05,
) -> Float[Tensor, " update"]:
    """Train on whole batches with Adam; the loss of eq. (4) before each of the ``steps`` updates."""
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        error = (model(x) - returns[:, None]).square()
        loss = (error[:, -1] + EARLY * error.mean(1)).mean()  # eq. (4)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.detach())
    return torch.stack(losses)
