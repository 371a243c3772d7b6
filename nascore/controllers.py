"""Controllers: policies that build an architecture by one decision after another.

The equations, with decisions a_1 … a_T, the one-hot Z_t of a_t, a reward R (higher is better), a baseline b and the
parameters φ of the policy:

    (1)  π(a; φ) = Π_t π(a_t | a_<t; φ), the probability of the whole architecture, as each step leads to one state
    (2)  π(a_t | a_<t) = softmax(c tanh(ℓ_t / T)) of the logits ℓ_t; c is the tanh constant and T a temperature. For
         operations c is divided by the "op tanh reduce".
    (3)  ∇J = E[ (R − b) ∇ log π(a) ], J = E[R]: REINFORCE
    (4)  PPO: up along min(r A, clip(r, 1 − ε, 1 + ε) A), A = R − b, r = π(a; φ) / π(a; φ_old); with r = 1 it is (3)
    (5)  H(π) = E[ Σ_t H(π(· | a_<t)) ] in nats: the chain rule of entropy

``Factorised`` has a logit for every option, so that no decision knows of another. ``LSTM`` is the controller of Zoph
and Le, "NAS", ICLR 2017; Zoph et al., "NASNet", CVPR 2018; Pham et al., "ENAS", ICML 2018: what was decided is what it
reads next. NAS and NASNet have a softmax of its own for every decision. ENAS shares one over all operations, and points
at the node to take as an input: the logit of node i is v · tanh(W_1 h_i + W_2 h), with h_i the state after node i.

All of them are trained by (3) or (4), none by TD; the order of the decisions is a modelling choice, for edges have no
order in time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from nascore import gates
from nascore.devices import move
from nascore.errors import choose
from nascore.graph import CellGraph
from nascore.space import Space

Kind = Literal["op", "input"]
Cell = Literal["edges", "micro"]
Asking = Generator[Tensor, Tensor, None]
"""Gives the logits [path, option] of a decision and is sent the options taken."""

BRANCHES = 2  # inputs and operations that a node of the micro search takes
CLIP = 0.2  # ε of eq. (4)

# Layers and units of each LSTM, those of NAS and NASNet from memory, and whether its softmax over operations is shared.
FORMS = {"nas": (2, 35, False), "nasnet": (1, 100, False), "enas": (1, 64, True)}


@dataclass(frozen=True)
class Decision:
    """One choice: an operation, or the node to take as an input.

    ``cell`` and ``node`` say where it belongs; the options of an "input" are the nodes before ``node``. ``allowed``
    says which options may be chosen, all of them if it is empty.
    """

    name: str
    options: tuple[str, ...]
    kind: Kind = "op"
    cell: int = 0
    node: int = 0
    allowed: tuple[bool, ...] = ()


class Bounds(NamedTuple):
    """How far apart a controller's logits may be: eq. (2). The defaults leave them as they are."""

    tanh_constant: float = 0.0  # 0 is off
    op_tanh_reduce: float = 1.0
    temperature: float = 1.0

    def limit(self, logits: Float[Tensor, "*paths option"], kind: Kind) -> Float[Tensor, "*paths option"]:
        """The bounded logits c tanh(ℓ / T)."""
        logits = logits / self.temperature
        if self.tanh_constant == 0:
            return logits
        c = self.tanh_constant / (self.op_tanh_reduce if kind == "op" else 1.0)
        return c * logits.tanh()  # eq. (2)


FREE = Bounds()


class Rollout(NamedTuple):
    """Decisions, and what the policy thought of all options as it made them."""

    taken: Float[Tensor, "path decision option"]  # one-hot
    log_p: Float[Tensor, "path decision option"]  # log π(· | decisions before); 0 where an option is not allowed
    p: Float[Tensor, "path decision option"]

    @property
    def log_likelihood(self) -> Float[Tensor, " path"]:
        """The logarithm of eq. (1), log π(a)."""
        return (self.taken * self.log_p).sum((-2, -1))

    @property
    def entropy(self) -> Float[Tensor, "path decision"]:
        """H(π(· | a_<t)); the mean over drawn paths of the sum over decisions estimates (5), without bias."""
        return -(self.p * self.log_p).sum(-1)


class Policy(nn.Module, ABC):
    """A policy over ``decisions``; tables are as wide as the decision with most options, the rest is not allowed."""

    allowed: Bool[Tensor, "decision option"]

    def __init__(self, decisions: Sequence[Decision]):
        super().__init__()
        self.decisions = tuple(decisions)
        width = max(len(decision.options) for decision in decisions)
        rows = [list(decision.allowed or [True] * len(decision.options)) for decision in decisions]
        self.register_buffer("allowed", torch.tensor([row + [False] * (width - len(row)) for row in rows]), False)

    @abstractmethod
    def logits(self, paths: int) -> Asking:
        """ℓ_t of every decision in turn; what was taken is sent back before the next is asked for."""

    def sample(self, paths: int, noise: gates.Noise, bounds: Bounds = FREE) -> Rollout:
        """Draw ``paths`` architectures, without gradients. The noise is drawn on the CPU, and no device is read."""
        like = torch.empty(paths, *self.allowed.shape)
        g = move(gates.gumbel(like, noise), self.allowed.device)
        with torch.no_grad():  # Gumbel-max: the largest of log p + G is a draw from p
            return self._roll(paths, bounds, lambda t, log_p: gates.one_hot(log_p + g[:, t]))

    @override
    def forward(self, taken: Float[Tensor, "path decision option"], bounds: Bounds = FREE) -> Rollout:
        """What the policy thinks of decisions that are given, to be differentiated."""
        return self._roll(len(taken), bounds, lambda t, log_p: taken[:, t])

    def _roll(self, paths: int, bounds: Bounds, choice: Callable[[int, Tensor], Tensor]) -> Rollout:
        asking, taken, log_ps = self.logits(paths), [], []
        logits = next(asking)
        for t, decision in enumerate(self.decisions):
            limited = bounds.limit(logits, decision.kind).masked_fill(~self.allowed[t], -torch.inf)
            log_ps.append(limited.log_softmax(-1))
            taken.append(choice(t, log_ps[-1]))
            if t + 1 < len(self.decisions):
                logits = asking.send(taken[-1])
        log_p = torch.stack(log_ps, 1)
        return Rollout(torch.stack(taken, 1), log_p.masked_fill(~self.allowed, 0.0), log_p.exp())


class Factorised(Policy):
    """A logit for every option of every decision, drawn from N(0, 10⁻⁶): π(a) = Π_t π(a_t)."""

    def __init__(self, decisions: Sequence[Decision], noise: torch.Generator):
        super().__init__(decisions)
        self.alpha = nn.Parameter(torch.randn(self.allowed.shape, generator=noise) * 1e-3)

    @override
    def logits(self, paths: int) -> Asking:
        for row in self.alpha:
            yield row.expand(paths, -1)


class LSTM(Policy):
    """A recurrent policy; ``form`` is one of ``FORMS``. All its numbers start uniform in ±0.1, as in ENAS.

    Left out of ENAS: its first and its fixed biases towards separable convolutions, which give part of the answer.

    In "enas" what is read after an input of the cell was taken is 0, as in the authors' code, so later decisions do not
    know which of the inputs it was.

    Raises:
        UserError: an unknown form.
    """

    def __init__(self, decisions: Sequence[Decision], noise: torch.Generator, form: str = "enas"):
        super().__init__(decisions)
        layers, units, self.shared = FORMS[choose("form", form, FORMS)]
        heads, width = 1 if self.shared else len(decisions), self.allowed.shape[-1]
        self.cells = nn.ModuleList(nn.LSTMCell(units, units) for _ in range(layers))
        self.start = nn.Parameter(torch.empty(units))
        self.embedding = nn.Parameter(torch.empty(heads, width, units))
        self.head = nn.Parameter(torch.empty(heads, units, width))
        self.bias = nn.Parameter(torch.empty(heads, width))
        shapes = [(units, units), (units, units), (units,)] if self.shared else []
        self.pointer = nn.ParameterList(nn.Parameter(torch.empty(shape)) for shape in shapes)  # W_1, W_2, v
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1, generator=noise)

    @override
    def logits(self, paths: int) -> Asking:
        start, width = self.start.expand(paths, -1), self.allowed.shape[-1]
        state = [(torch.zeros_like(start), torch.zeros_like(start)) for _ in self.cells]

        def read(x: Tensor) -> Tensor:
            for layer, lstm in enumerate(self.cells):
                x, memory = lstm(x, state[layer])
                state[layer] = x, memory
            return x

        x, cell, inputs = start, None, 0
        nodes: list[Tensor] = []  # what is read once a node of the cell was taken as an input
        keys: list[Tensor] = []  # W_1 h of the same nodes
        for t, decision in enumerate(self.decisions):
            if not (self.shared and decision.kind == "input"):
                row = 0 if self.shared else t
                taken = yield read(x) @ self.head[row] + self.bias[row]
                x = taken @ self.embedding[row]
                continue
            w_1, w_2, v = self.pointer
            if decision.cell != cell:
                if cell is not None:
                    read(x)  # the last operation of the cell before
                cell, inputs, nodes, keys, x = decision.cell, decision.node, [], [], start
            while len(nodes) < decision.node:  # a step for every input of the cell, and one after every finished node
                h = read(x)
                nodes.append(torch.zeros_like(h) if len(nodes) < inputs else h)
                keys.append(h @ w_1)
                x = start
            pointed = (torch.stack(keys, 1) + (read(x) @ w_2).unsqueeze(1)).tanh() @ v
            taken = yield F.pad(pointed, (0, width - len(nodes)))
            x = (taken[:, : len(nodes)].unsqueeze(-1) * torch.stack(nodes, 1)).sum(1)


# Architectures ------------------------------------------------------------------------------------------------------


def decisions_of(space: Space, cell: str = "edges") -> tuple[Decision, ...]:
    """What has to be decided to build the cells of ``space``, kind of cell by kind of cell.

    ``"edges"``: one operation on every edge. ``"micro"``: for every node two nodes to take as inputs, then an operation
    on each of the two; *none* is not among them, and both may be the same.

    Raises:
        UserError: ``cell`` is neither.
    """
    choose("cell", cell, get_args(Cell))
    names, found = space.graph(()).nodes, []
    for c, kind in enumerate(space.cells):
        if cell == "edges":
            for e, (source, target) in enumerate(space.edges):
                name, allowed = f"{kind} {names[source]}→{names[target]}", tuple(space.allowed[c, e].tolist())
                found.append(Decision(name, space.ops, "op", c, target, allowed))
            continue
        real = tuple(bool(ok) and op != "none" for ok, op in zip(space.allowed[c, 0], space.ops, strict=True))
        for node in range(space.inputs, space.inputs + space.nodes):
            of, branches = f"{kind} {names[node]}", range(1, BRANCHES + 1)
            found += [Decision(f"{of} input {b}", names[:node], "input", c, node) for b in branches]
            found += [Decision(f"{of} operation {b}", space.ops, "op", c, node, real) for b in branches]
    return tuple(found)


def gates_of(
    space: Space, cell: str, inputs: Float[Tensor, "path decision option"], ops: Float[Tensor, "path decision option"]
) -> Float[Tensor, "path cell edge op"]:
    """The gates of the decisions of ``decisions_of``: how often each operation stands on each edge.

    ``inputs`` and ``ops`` are both ``rollout.taken`` for the gates of an architecture. With ``rollout.p`` for ``ops``
    they are the mean gates given the inputs taken, and the mean of that over drawn paths estimates E[gates].
    """
    paths, (cells, edges, count) = len(ops), space.shape
    if cell == "edges":
        return ops[..., :count].reshape(paths, cells, edges, count)
    shape = paths, cells, space.nodes, 2, BRANCHES, -1  # [path, cell, node, inputs or operations, branch, option]
    of_inputs, of_ops = inputs.reshape(shape)[:, :, :, 0], ops.reshape(shape)[:, :, :, 1, :, :count]
    rows = [  # the edges into a node come one after another, by source
        torch.einsum("pcbi,pcbo->pcio", of_inputs[:, :, node, :, : space.inputs + node], of_ops[:, :, node])
        for node in range(space.nodes)
    ]
    return torch.cat(rows, 2)


def cells_of(space: Space, counts: Int[Tensor, "cell edge op"]) -> dict[str, CellGraph]:
    """The cells with every operation as often as ``counts``, on the CPU, says; *none* is left out."""
    return {
        name: space.graph(
            (*edge, op)
            for edge, row in zip(space.edges, rows, strict=True)
            for op, count in zip(space.ops, row, strict=True)
            for _ in range(count)
            if op != "none"
        )
        for name, rows in zip(space.cells, counts.tolist(), strict=True)
    }


# Learning -----------------------------------------------------------------------------------------------------------


def reinforce(rollout: Rollout, advantage: Float[Tensor, " path"]) -> Float[Tensor, ""]:
    """What to go up along for eq. (3): the mean over paths of (R − b) log π."""
    return (advantage * rollout.log_likelihood).mean()  # eq. (3)


def ppo(rollout: Rollout, before: Float[Tensor, " path"], advantage: Float[Tensor, " path"]) -> Float[Tensor, ""]:
    """What to go up along for eq. (4); ``before`` is log π of the policy that drew the paths."""
    ratio = (rollout.log_likelihood - before).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()  # eq. (4)


def every(decisions: Sequence[Decision]) -> Float[Tensor, "path decision option"]:
    """All that can be decided, so that a mean over the policy is a sum: for small problems and for checks."""
    width = max(len(decision.options) for decision in decisions)
    allowed = [[k for k, ok in enumerate(d.allowed or (True,) * len(d.options)) if ok] for d in decisions]
    return F.one_hot(torch.tensor(list(product(*allowed))), width).to(torch.get_default_dtype())


@torch.no_grad()
def dependence(
    policy: Policy, taken: Float[Tensor, "path decision option"], bounds: Bounds = FREE
) -> Float[Tensor, "earlier later"]:
    """How far the probabilities of a later decision move when one earlier decision alone is another: 0 to 1.

    The total variation ½ Σ |π' − π|, as the mean over the given paths and the other options of the earlier decision.
    """
    count, width = taken.shape[1:]
    change = torch.eye(count, device=taken.device).bool()[:, None, None, :, None]  # [earlier, other, 1, decision, 1]
    other = torch.eye(width, device=taken.device, dtype=taken.dtype)[None, :, None, None, :]
    changed = torch.where(change, other, taken)  # [earlier, other, path, decision, option]
    moved: Tensor = policy(changed.flatten(0, 2), bounds).p.view_as(changed) - policy(taken, bounds).p
    counts = policy.allowed[:, :, None] & (taken == 0).permute(1, 2, 0)  # [earlier, other, path]
    distance = moved.abs().sum(-1) / 2 * counts.unsqueeze(-1)
    return distance.sum((1, 2)) / counts.sum((1, 2)).clamp(min=1).unsqueeze(-1)
