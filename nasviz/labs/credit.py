"""Credit on a cell: what every estimator tells each edge of one child, and one gate dragged from 0 to 1.

``credit_on_a_cell`` opens the panel. Equations of ``nascore.estimators``, where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from nascore import estimators
from nascore.errors import choose, number, sentence
from nascore.estimators import ENUMERABLE, Children, Reward
from nascore.methods import td
from nascore.run import torch_threads
from nascore.task import make_task
from nasviz.labs import credit_picture as drawn
from nasviz.labs.credit_picture import Curve
from nasviz.layout import edge_names
from nasviz.theme import op_label
from nasviz.widgets import Shown
from nasviz.widgets.credit import CreditView

__all__ = ["METHODS", "PRESETS", "Bench", "bench", "credit_on_a_cell", "preset"]

POINTS = 21  # of a gate, from 0 to 1
LEARNT = 100  # children that a critic and a return model have seen

METHODS = {
    "reinforce": "REINFORCE",
    "td": "TD(λ)",
    "rudder": "RUDDER",
    "values": "exact values",
    "taylor": "Taylor (SNAS)",
    "leave one out": "leave one out",
}
ADVANTAGES = ("reinforce", "td", "rudder", "values")  # of policies; the others are credit, of the gates

SAID = {
    "reinforce": "One number for all edges, R − E[R]: whoever was there when it went well is praised.",
    "td": f"A linear critic has seen {LEARNT} children; an edge gets the change of its guess (and λ = "
    f"{td.KNOBS['trace'].value:g} of the later ones).",
    "rudder": f"A linear return model has seen {LEARNT} children; an edge gets what it is worth to that.",
    "values": "The change of E[R] at each decision: TD's error if its critic, RUDDER's reward if its model is perfect.",
    "taylor": "⟨∂R/∂z, z⟩: one backward pass tells every edge, to first order, what would be lost without it.",
    "leave one out": "R(Z) − R(Z without the edge): a forward pass for each edge, and no approximation.",
}
PRESETS = {"cell": "this cell", "affine": "affine", "quadratic": "quadratic", "batch norm": "batch norm"}


@dataclass(frozen=True)
class Bench:
    """A small trained supernet, one batch, all its children, and a policy to draw them from."""

    children: Children
    alpha: Float[Tensor, "decision op"]
    _curves: dict[tuple[Any, ...], Curve] = field(default_factory=dict, repr=False)

    @cached_property
    def p(self) -> Float[Tensor, "decision op"]:
        """softmax(α)."""
        return self.alpha.softmax(-1)

    @cached_property
    def exact(self) -> Float[Tensor, "decision op"]:
        """∂E[R]/∂α."""
        return estimators.exact_gradient(self.children, self.p)

    @cached_property
    def best(self) -> int:
        """The child with the largest reward."""
        return int(self.children.reward.argmax())

    @cached_property
    def learnt(self) -> dict[str, Float[Tensor, "child decision"]]:
        """What a critic and a return model credit, after ``LEARNT`` children."""
        return {
            name: estimators.LEARNT[f"{name}, learnt"](self.children, self.p, LEARNT, Generator().manual_seed(0))
            for name in ("td", "rudder")
        }

    def credit(self, method: str, backwards: bool = False) -> Float[Tensor, "child decision"]:
        """The credit of every decision of every child in nats, by a name in ``METHODS``.

        ``backwards``: the decisions of "values" are taken in the other order.
        """
        choose("method", method, METHODS)
        if method in self.learnt:
            return self.learnt[method]
        if method == "values":
            order = self.order(backwards)
            values = self.children.values(self.p, order)
            return estimators.td_credit(values, self.children.reward, 0.0, order)
        name = "reinforce, mean" if method == "reinforce" else method
        return estimators.signals(self.children, self.p)[name]

    def order(self, backwards: bool) -> list[int]:
        """The decisions from the first edge to the last, or from the last to the first."""
        order = list(range(self.children.decisions))
        return order[::-1] if backwards else order

    def curve(self, chosen: Sequence[int], edge: int) -> Curve:
        """The loss of the child with these options over the gate of one edge."""
        key = (*chosen, edge)
        if key not in self._curves:
            shape = self.children.space.shape
            z = F.one_hot(torch.tensor(list(chosen)), shape[-1]).double().view(shape)
            on = torch.ones_like(z)
            on.view(-1, shape[-1])[edge] = 0
            with torch_threads(1):
                self._curves[key] = along(lambda g: -self.children.function(z * on + g * z * (1 - on)))
        return self._curves[key]


def along(loss: Any) -> Curve:
    """Losses and slopes of a function of one gate, at ``POINTS`` gates from 0 to 1."""
    found = []
    for at in np.linspace(0, 1, POINTS).tolist():
        g = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        value = loss(g)
        (slope,) = torch.autograd.grad(value, g)
        found.append((at, float(value.detach()), float(slope)))
    return Curve(*np.array(found).T)


@lru_cache
def preset(name: str) -> Curve:
    """The loss over a gate where one knows what to expect: 8 values, of an operation o behind a gate g.

    "affine": ⟨w, x⟩ of the node x = r + g·o.  "quadratic": ½ ‖g·o‖², nothing else in the node.  "batch norm":
    cross-entropy of a batch-normalised g·o, which tells no gate from another but 0.
    """
    noise = Generator().manual_seed(0)
    o, r, w = torch.randn(3, 16, 8, generator=noise, dtype=torch.float64) * 0.3
    labels = o.argmax(-1)  # what o says is right, so that it is worth having
    losses: dict[str, Reward] = {
        "affine": lambda g: 2 - ((r + g * o) * (o + 0.2 * w)).sum(-1).mean(),
        "quadratic": lambda g: (g * o).square().sum(-1).mean() / 2,
        "batch norm": lambda g: F.cross_entropy(F.batch_norm(g * o, None, None, training=True), labels),
    }
    return along(losses[choose("preset", name, losses)])


@lru_cache(maxsize=2)
@torch_threads(1)
def bench(seed: int = 0, epochs: int = 16, spread: float = 0.5) -> Bench:
    """Train the supernet of 243 children on digits, one drawn uniformly a step, and run all of them on one batch.

    The policy's logits are N(0, ``spread``²). A few processor seconds; the last two are kept.
    """
    number("spread", spread, low=0, high=5)
    task = make_task("digits", seed=seed, space=ENUMERABLE, cells=1, epochs=epochs)
    estimators.train_children(task)
    children = Children.run(ENUMERABLE, estimators.reward_of(task, task.batch("valid")))
    alpha = torch.randn(children.decisions, children.options, generator=Generator().manual_seed(seed)) * spread
    return Bench(children, alpha.double())


class CreditOnACell:
    """The state of the panel: a child, an edge of it, a method, a gate."""

    def __init__(self, found: Bench, method: str, edge: int, truth: str, chosen: Sequence[int]):
        self.bench, self.method, self.edge, self.truth = found, method, edge, truth
        self.chosen = list(chosen)
        self.at, self.backwards = POINTS - 1, False
        self._noise = Generator().manual_seed(1)
        self._view: Any = None

    @property
    def child(self) -> int:
        """Its number."""
        return int(self.bench.children.at(torch.tensor(self.chosen)))

    @property
    def curve(self) -> Curve:
        """Of the gate that is dragged."""
        return self.bench.curve(self.chosen, self.edge) if self.truth == "cell" else preset(self.truth)

    @property
    def order(self) -> list[int]:
        """Of the decisions; the other one only where the method knows of an order."""
        return self.bench.order(self.backwards and self.method == "values")

    def _table(self, method: str) -> NDArray[np.float64]:
        return self.bench.credit(method, self.backwards)[self.child].numpy()

    @property
    def said(self) -> str:
        """What the method says of this child."""
        children, p = self.bench.children, self.bench.p
        reward, mean = float(children.reward[self.child]), float(children.probability(p) @ children.reward)
        total, wanted = float(self._table(self.method).sum()), reward - mean
        told = (
            f"This child has R = {drawn.signed(reward)}, {drawn.signed(wanted)} against the mean; the credits add up to"
        )
        return f"{SAID[self.method]} {told} {drawn.signed(total)}."

    def pictures(self) -> dict[str, str]:
        """The cell, the tape and the gate, without their frames."""
        children, credit = self.bench.children, self._table(self.method)
        truth, space = self._table("leave one out"), children.space
        scale = max(float(np.abs(credit).max()), float(np.abs(truth).max()), 1e-9)
        reward = float(children.reward[self.child])
        names = edge_names(space)
        name = f"{names[self.edge]}, {op_label(space.ops[self.chosen[self.edge]])}"
        return {
            "cell": drawn.cell(space, self.chosen, credit, scale, self.edge),
            "tape": drawn.tape(space, self.chosen, self.order, reward, credit, truth, scale),
            "gate": drawn.gate(self.curve, self.at, name if self.truth == "cell" else f"an operation, {self.truth}"),
        }

    def svg(self, theme: str = "light") -> str:
        """One still picture of it."""
        found = self.pictures()
        title = f"Credit on a cell: {METHODS[self.method]}"
        said = self.said + " Rings: what leaving the edge out would cost."
        return drawn.still(
            self.bench.children.space,
            title,
            said,
            found["cell"],
            found["tape"],
            found["gate"],
            self.method in ADVANTAGES,
            theme,
        )

    def shown(self) -> dict[str, Any]:
        """What the panel draws, as plain JSON data."""
        space, found, curve = self.bench.children.space, self.pictures(), self.curve
        left, _, right, _ = drawn.FRAME
        return {
            "cell": found["cell"],
            "tape": drawn.framed(drawn.TAPE, found["tape"], "tape", self.said),
            "gate": drawn.framed(drawn.GATE, found["gate"], "gate", "the loss over one gate"),
            "frame": [left, right],
            "points": POINTS,
            "at": self.at,
            "told": f"gate {curve.gates[self.at]:.2f}: {drawn.signed(curve.taylor(self.at))} by the tangent, "
            f"{drawn.signed(curve.true(self.at))} in truth",
            "methods": list(METHODS.items()),
            "method": self.method,
            "advantage": self.method in ADVANTAGES,
            "truths": list(PRESETS.items()),
            "truth": self.truth,
            "edge": self.edge,
            "edges": list(edge_names(space)),
            "options": [op_label(op) for op in space.ops],
            "option": self.chosen[self.edge],
            "backwards": self.backwards,
            "ordered": self.method == "values",
            "said": self.said,
        }

    def hear(self, name: str, payload: Mapping[str, Any]) -> None:
        """Obey a control; what goes wrong is shown."""
        try:
            self._obey(name, payload.get("value"))
            self._view.shown, self._view.status = self.shown(), {}
        except Exception as error:  # an exception in a callback would only reach the log
            self._view.status = {"error": sentence(error)}

    def _obey(self, name: str, value: Any) -> None:
        children = self.bench.children
        match name:
            case "method":
                self.method = choose("method", value, METHODS)
            case "truth":
                self.truth = choose("preset", value, PRESETS)
            case "gate":
                self.at = int(number("gate", value, 0, POINTS - 1, integer=True))
            case "edge":
                self.edge = int(number("edge", value, 0, children.decisions - 1, integer=True))
            case "option":
                self.chosen[self.edge] = int(number("option", value, 0, children.options - 1, integer=True))
            case "backwards":
                self.backwards = bool(value)
            case "draw":
                self.chosen = torch.multinomial(self.bench.p, 1, generator=self._noise).flatten().tolist()
            case "best":
                self.chosen = children.chosen[self.bench.best].tolist()

    def widget(self) -> CreditView:
        """The live panel."""
        self._view = view = CreditView(shown=self.shown())
        view.on_command(self.hear)
        return view


def credit_on_a_cell(
    method: str = "taylor",
    edge: int | None = None,
    truth: str = "cell",
    ops: Sequence[str] = (),
    on: Bench | None = None,
) -> Shown:
    """One child, the credit of each of its edges by a method one can switch, and a gate one can drag from 0 to 1.

    Args:
        method: a name in ``METHODS``.
        edge: whose gate is dragged; by default the one that would be missed most.
        truth: what the loss over the gate is, a name in ``PRESETS``.
        ops: the operation of every edge; the best child by default.
        on: a supernet with all its children; ``bench()`` by default.

    Raises:
        UserError: an argument is wrong.
    """
    choose("method", method, METHODS)
    choose("preset", truth, PRESETS)
    found = on or bench()
    children = found.children
    chosen = children.chosen[found.best].tolist()
    if ops:
        number("len(ops)", len(ops), children.decisions, children.decisions, integer=True)
        chosen = [children.space.ops.index(choose("operation", op, children.space.ops)) for op in ops]
    if edge is None:
        edge = int(found.credit("leave one out")[int(children.at(torch.tensor(chosen)))].argmax())
    edge = int(number("edge", edge, 0, children.decisions - 1, integer=True))
    panel = CreditOnACell(found, method, edge, truth, chosen)
    return Shown(panel.svg, f"Credit on a cell, {METHODS[method]}: {panel.said}", panel.widget)
