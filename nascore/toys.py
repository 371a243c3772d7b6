"""Toy problems of one edge, where every searcher's equations can be run to the end and checked by hand.

The K operations of the edge give fixed vectors o_k, so the node is x = Σ_k z_k o_k and the loss is quadratic:

    L(z) = ½ ‖Σ_k z_k o_k − t‖²,    ∂L/∂z_k = ⟨x − t, o_k⟩

A child uses one operation: its loss is L(e_k).  The best mixture and the best child may be far apart, which is what
these toys are for.  A ``Problem`` may hold many problems at once, on the axes before [op, dim].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from nascore import controllers, gates
from nascore.errors import choose, number
from nascore.methods import asng
from nascore.proximal import largest, project, prox_c1, prox_c2

Variant = Literal["published", "unit gate", "released"]


@dataclass(frozen=True)
class Problem:
    """What the operations of one edge give, and what the node should be."""

    outputs: Float[Tensor, "*problem op dim"]
    target: Float[Tensor, "*problem dim"]

    def loss(self, z: Float[Tensor, "*problem op"]) -> Float[Tensor, "*problem"]:
        """L(z) = ½ ‖Σ_k z_k o_k − t‖²."""
        return (self.node(z) - self.target).square().sum(-1) / 2

    def gradient(self, z: Float[Tensor, "*problem op"]) -> Float[Tensor, "*problem op"]:
        """∂L/∂z_k = ⟨x − t, o_k⟩, also of the operations whose gate is 0."""
        return (self.outputs * (self.node(z) - self.target).unsqueeze(-2)).sum(-1)

    def node(self, z: Float[Tensor, "*problem op"]) -> Float[Tensor, "*problem dim"]:
        """The node x = Σ_k z_k o_k."""
        return (z.unsqueeze(-1) * self.outputs).sum(-2)

    @property
    def children(self) -> Float[Tensor, "*problem op"]:
        """L(e_k): the loss of every operation alone."""
        return (self.outputs - self.target.unsqueeze(-2)).square().sum(-1) / 2

    def regret(self, chosen: Int64[Tensor, "*problem"]) -> Float[Tensor, "*problem"]:
        """How much larger the chosen child's loss is than the best child's."""
        children = self.children
        return children.gather(-1, chosen.unsqueeze(-1)).squeeze(-1) - children.amin(-1)


class Path(NamedTuple):
    """What a searcher went through, one entry a step."""

    probs: Float[Tensor, "step *problem op"]  # p = softmax(α), or A of the proximal ones
    gates: Float[Tensor, "step *problem op"]  # where the loss or its gradient was asked for

    @property
    def derived(self) -> Int64[Tensor, "*problem"]:
        """The operation that is largest at the end."""
        return self.probs[-1].argmax(-1)

    @property
    def visits(self) -> Float[Tensor, "*problem op"]:
        """Share of the steps at which each operation was the active one, of a searcher with discrete gates."""
        return largest(self.gates).mean(0)


def ensemble() -> Problem:
    """Operations A, B, C where the best mixture and the best child differ.

    With unit vectors u ⊥ v and t = u + v: o_A = 0.9 (u + v) is nearly right alone; o_B = 2u and o_C = 2v are far off,
    but their plain mean is t.
    """
    outputs = torch.tensor([[0.9, 0.9], [2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    return Problem(outputs, torch.ones(2, dtype=torch.float64))


def duplicated() -> Problem:
    """Two identical operations and a third: t = ¾ o_1 + ¼ o_3 with o_1 = o_2 ⊥ o_3, unit vectors."""
    outputs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    return Problem(outputs, torch.tensor([0.75, 0.25], dtype=torch.float64))


def random_problems(count: int = 300, ops: int = 5, dim: int = 4, seed: int = 0) -> Problem:
    """``count`` problems with operations and targets drawn from N(0, 1)."""
    noise = Generator().manual_seed(seed)
    outputs = torch.randn(count, ops, dim, generator=noise, dtype=torch.float64)
    return Problem(outputs, torch.randn(count, dim, generator=noise, dtype=torch.float64))


def darts(problem: Problem, steps: int = 1000, lr: float = 0.5, start: Tensor | None = None) -> Path:
    """DARTS: gradient descent on L(softmax(α)), all operations at once; Liu et al. (2019), eq. (2).

    ``start`` are the first logits, 0 by default.
    """

    def gradient(t: int, p: Tensor) -> tuple[Tensor, Tensor]:
        return p, through_softmax(p, problem.gradient(p))

    return _descent(problem, steps, lr, gradient, start)


def expectation(problem: Problem, steps: int = 1000, lr: float = 0.5) -> Path:
    """Gradient descent on the exact mean loss of a child, E[L(e_k)] = Σ_k p_k L(e_k)."""
    children = problem.children
    return _descent(problem, steps, lr, lambda t, p: (p, through_softmax(p, children)), None)


def snas(
    problem: Problem,
    noise: Generator,
    steps: int = 1000,
    lr: float = 0.1,
    tau_start: float = 1.0,
    tau_end: float = 0.1,
) -> Path:
    """SNAS: one concrete sample a step, temperature falling on a straight line; Xie et al. (2019), eqs. (3) and (4)."""

    def gradient(t: int, p: Tensor) -> tuple[Tensor, Tensor]:
        tau = gates.anneal(tau_start, tau_end, t / steps)
        z = gates.concrete(p.log(), tau, noise)  # eq. (3): log p and α differ by a constant, which softmax ignores
        return z, through_softmax(z, problem.gradient(z)) / tau  # eq. (4)

    return _descent(problem, steps, lr, gradient, None)


def through_softmax(p: Float[Tensor, "*problem op"], towards: Float[Tensor, "*problem op"]) -> Tensor:
    """∂L/∂α_k = p_k (∂L/∂p_k − Σ_l p_l ∂L/∂p_l) for p = softmax(α)."""
    return p * (towards - (p * towards).sum(-1, keepdim=True))


def nasp(
    problem: Problem,
    variant: Variant = "published",
    steps: int = 1000,
    epsilon: float = 0.02,
    start: Tensor | None = None,
) -> Path:
    """NASP: Ā = prox_C₁(A), then A ← prox_C₂(A − ε ∇L(Ā)); Yao et al. (2020), see ``nascore.methods.nasp``.

    ``"published"`` is that.  ``"unit gate"`` takes e_k* for Ā, and ``"released"``, as the authors' code does, also Adam
    (0.5, 0.999) with weight decay 10⁻³ for the step.  ``start`` is the first A, ½ everywhere by default.
    """
    choose("variant", variant, get_args(Variant))
    a = torch.full_like(problem.children, 0.5) if start is None else start.clone()
    adam = None
    if variant == "released":
        adam = torch.optim.Adam([a], lr=epsilon, betas=(0.5, 0.999), weight_decay=1e-3)
    probs, seen = [], []
    for _ in range(steps):
        discrete = prox_c1(a) if variant == "published" else largest(a)
        probs.append(a.clone())
        seen.append(discrete)
        a.grad = problem.gradient(discrete)
        if adam is None:
            a -= epsilon * a.grad
        else:
            adam.step()
        a.copy_(prox_c2(a))
    return Path(torch.stack(probs), torch.stack(seen))


def proximal_gradient(problem: Problem, steps: int = 1000, epsilon: float = 0.02, start: Tensor | None = None) -> Path:
    """Plain proximal gradient, A ← prox_C(A − ε ∇L(A)) with C = C₁ ∩ C₂: A itself is discrete.

    What is not chosen is put back to 0 at every step, so a step that is shorter than the chosen entry is high can
    never choose anything else.
    """
    a = project(torch.full_like(problem.children, 0.5) if start is None else start)
    path = []
    for _ in range(steps):
        path.append(a)
        a = project(a - epsilon * problem.gradient(a))
    return Path(torch.stack(path), torch.stack(path))


def _descent(
    problem: Problem,
    steps: int,
    lr: float,
    gradient: Callable[[int, Tensor], tuple[Tensor, Tensor]],
    start: Tensor | None,
) -> Path:
    """Gradient descent on logits; ``gradient(t, p)`` answers the gates and ∂L/∂α."""
    alpha = torch.zeros_like(problem.children) if start is None else start
    probs, seen = [], []
    for t in range(steps):
        p = alpha.softmax(-1)
        z, slope = gradient(t, p)
        probs.append(p)
        seen.append(z)
        alpha = alpha - lr * slope
    return Path(torch.stack(probs), torch.stack(seen))


class Score(NamedTuple):
    """How good what a searcher chose is, over many problems."""

    best: float  # share of the problems in which it is the best child
    regret: float  # mean of the child's loss less the best child's


def scores(problem: Problem, seed: int = 0) -> dict[str, Score]:
    """Every searcher on many problems; of NASP the operation that was active most often counts, as it need not end."""
    chosen = {
        "DARTS": darts(problem).derived,
        "annealed SNAS": snas(problem, Generator().manual_seed(seed)).derived,
        "exact expectation": expectation(problem).derived,
        "plain proximal gradient": proximal_gradient(problem).derived,
    }
    for variant in get_args(Variant):
        chosen[f"NASP, {variant}"] = nasp(problem, variant).visits.argmax(-1)
    return {name: _score(problem.regret(each)) for name, each in chosen.items()}


def _score(regret: Float[Tensor, " problem"]) -> Score:
    return Score(float((regret == 0).double().mean()), float(regret.mean()))


# Many decisions -----------------------------------------------------------------------------------------------------


class Selective(NamedTuple):
    """Searches for the selective squared error, a run for each δ₀; the best choice of every variable is the first."""

    share: Float[Tensor, "step run"]  # of the variables whose most probable choice is the best
    certainty: Float[Tensor, "step run"]  # mean probability of the best choice
    length: Float[Tensor, "step run"]  # δ in the Fisher metric
    x: Float[Tensor, "run variable"]  # at the end


@torch.no_grad()
def selective_squared_error(
    trusts: Sequence[float] = (0.1, 0.25, 1.0, 4.0, 10.0),
    seed: int = 0,
    steps: int = 4000,
    variables: int = 30,
    choices: int = 5,
    lr: float = 0.05,
) -> Selective:
    """ASNG on the toy of its paper, written from memory: D variables x_i, each with K choices that differ by an offset.

        f(x, c) = Σ_i Σ_k c_ik ((x_i − z_i)² + (k − 1) / K),  z_i ~ N(0, 1 / K²) anew for each sample

    So x = 0 and the first choice of every variable are best. x moves by gradient steps of ``lr`` on the two samples
    that rank the choices. ``trusts`` are the δ₀ of the runs, which go side by side.
    """
    noise, trust = Generator().manual_seed(seed), torch.tensor(trusts, dtype=torch.float64)
    theta = trust.new_full((len(trusts), 1, variables, choices), 1 / choices)
    allowed, path = torch.ones_like(theta[0], dtype=torch.bool), torch.zeros_like(theta)
    gamma, factor = torch.zeros_like(trust), torch.ones_like(trust)
    x = torch.randn(len(trusts), variables, generator=noise, dtype=torch.float64)
    offset = torch.arange(choices) / choices
    share, certainty, length = [], [], []
    for _ in range(steps):
        length.append(trust / factor)
        c = torch.stack([gates.draw(theta.log(), noise, allowed) for _ in range(asng.SAMPLES)]).to(theta.dtype)
        z = torch.randn(asng.SAMPLES, *x.shape, generator=noise, dtype=torch.float64) / choices
        f = (x - z).square().sum(-1) + (c * offset).sum((-3, -2, -1))
        g = asng.natural_gradient((f.flip(0) - f).sign(), c, theta)
        asng.advance(theta, path, gamma, factor, g, trust, allowed)
        x -= lr * 2 * (x - z).mean(0)
        share.append((theta.argmax(-1) == 0).double().mean((-2, -1)))
        certainty.append(theta[..., 0].mean((-2, -1)))
    return Selective(torch.stack(share), torch.stack(certainty), torch.stack(length), x)


# Decisions that need each other -------------------------------------------------------------------------------------

PARITY = tuple(controllers.Decision(name, ("0", "1")) for name in ("first", "second"))
Controller = Literal["factorised", "lstm"]


class Parity(NamedTuple):
    """A policy that learns to make its two decisions differ."""

    joint: Float[Tensor, "step first second"]  # probability of each outcome
    reward: Float[Tensor, " step"]  # J = E[R]
    entropy: Float[Tensor, " step"]  # H(π) in nats; ln 2 where both best outcomes are equally probable


def climb(policy: Controller, bonus: float = 0.1, seed: int = 0, lr: float = 0.02) -> Iterator[controllers.Policy]:
    """The ``policy`` of ``xor`` before each of its steps, without end: the same object, which changes."""
    choose("policy", policy, get_args(Controller))
    number("bonus", bonus, low=0)
    noise = Generator().manual_seed(seed)
    made = controllers.Factorised if policy == "factorised" else controllers.LSTM
    controller: controllers.Policy = made(PARITY, noise)
    outcomes = controllers.every(PARITY)
    adam = torch.optim.Adam(controller.parameters(), lr=lr)
    while True:
        yield controller
        log_likelihood = controller(outcomes).log_likelihood
        p = log_likelihood.exp()
        j, h = (p * differ(outcomes)).sum(), -(p * log_likelihood).sum()
        adam.zero_grad()
        (-j - bonus * h).backward()
        adam.step()


def differ(outcomes: Float[Tensor, "path decision option"]) -> Float[Tensor, " path"]:
    """R of ``xor``: 1 if the two decisions differ, else 0."""
    return 1 - (outcomes[:, 0] * outcomes[:, 1]).sum(-1)


def xor(policy: Controller, bonus: float = 0.1, seed: int = 0, steps: int = 150, lr: float = 0.02) -> Parity:
    """A ``policy`` of ``nascore.controllers`` on R = 1 if a₁ ≠ a₂ else 0, with Adam up the exact gradient of J + βH.

    There is no noise: the mean is a sum over the four outcomes. A factorised policy has J = p (1 − q) + q (1 − p),
    which is 1 at (0, 1) and (1, 0) alone, so it has to commit to one of the two. An LSTM that reads a₁ before it
    decides a₂ can hold both; what makes it do so is the entropy bonus β.

    Raises:
        UserError: an unknown policy, or a bonus below 0.
    """
    outcomes = controllers.every(PARITY)
    way = islice(climb(policy, bonus, seed, lr), steps)
    log_p = torch.stack([controller(outcomes).log_likelihood.detach() for controller in way])
    p = log_p.exp()
    return Parity(p.view(-1, 2, 2), (p * differ(outcomes)).sum(-1), -(p * log_p).sum(-1))
