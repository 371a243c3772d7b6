"""Two choices, every method: how gates are drawn × how credit returns × one or two levels.

The network is a pure function of its gates, so a weight-sharing search is two choices, and whether the architecture
learns from other images than the weights.  ``assemble`` writes the generator for any combination that makes sense
from the fragments below; its text, ``method.source``, is what runs.  ``named`` tells which method file a combination
is, by that file's ``Traits``.  A controller, which is a network that decides (``nascore.methods.enas``), is none of
these fragments: it learns no table of its own that they could move.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from textwrap import indent
from typing import Any

from nascore.errors import UserError, choose
from nascore.run import Knob, Method, Traits, declare

Combination = tuple[str, str, int]
"""Gates, credit, levels."""

LEVELS = {
    1: "One loss on all images: weights and architecture learn from the same batch.",
    2: "The architecture learns from images of its own, the weights from the others, by turns.",
}


@dataclass(frozen=True)
class Gates:
    """How gates z are drawn, as the lines that draw them.

    Attributes:
        help: one sentence.
        equation: what ``draw`` computes.
        nature: what is true of z, for a refusal: "… a draw of 'prox' …".
        draw: lines that make z for the architecture.
        weights: lines that make it for the weights, where they do not ask for its derivative; by default ``draw``.
        start: lines before the loop; ``owned`` names what of theirs the clock has to restore, ``learned`` what of it
            the architecture's optimiser moves.
        schedule: lines at the beginning of an iteration; ``shown`` names what of theirs is a metric.
        move: lines that move it by the gradient of ``objective``.
        slope: a line that gives a draw without derivative one, for credit that is known beforehand.
        after: lines once the architecture has moved.
        finish: lines once the weights have moved.
        probs: the expression of ``Step.probs``; ``kind`` says what they are, as ``Traits.probs`` does.
        graphs: the expression of ``Step.graphs``, where the child is not read off ``probs``.
        active: the expression of what runs in the weight step; "" where everything does.
        paths: the expression of what may be drawn.
        options: of the named method, where its file does more than the two choices unless told not to.
    """

    help: str
    equation: str
    nature: str
    draw: str
    weights: str = ""
    start: str = "alpha = task.logits()"
    owned: tuple[str, ...] = ("alpha",)
    learned: str = "alpha"
    move: str = "optimiser.step_architecture(objective)"
    slope: str = ""
    schedule: str = ""
    shown: tuple[str, ...] = ()
    after: str = ""
    finish: str = ""
    probs: str = "gates.softmax(alpha, task.allowed)"
    kind: str = "simplex"
    graphs: str = ""
    active: str = ""
    paths: str = "task.allowed"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Credit:
    """How credit returns to what is learned, as the lines from the gates to the moved architecture.

    Attributes:
        help: one sentence.
        equation: what the lines compute.
        needs: what it asks of gates, for a refusal: "credit 'through' …".
        gates: those that have it.
        lines: compute the loss and move the architecture, at one level the weights too.  ``{…}`` is what differs
            between one and two levels, or between gates: see ``compose``.
        levels: those that make sense.
        signal: the expression of what each option got, for ``Step``; "" where it is not computed.
        column: where it stands there: ``credit``, or ``advantage`` where the loss is not differentiated.
        shown: the metrics that come with it, as arguments of ``task.step``.
        weights: lines of the weight step instead of the usual ones.
        start, owned, draw, probs: instead of those of the gates.
    """

    help: str
    equation: str
    needs: str
    gates: tuple[str, ...]
    lines: str
    levels: tuple[int, ...] = tuple(LEVELS)
    signal: str = ""
    column: str = "credit"
    shown: str = ""
    weights: str = ""
    start: str = ""
    owned: tuple[str, ...] = ()
    draw: str | None = None
    probs: str = ""


_CONCRETE = "gates.concrete(alpha, tau, task.noise, task.allowed)"
_DRAWN = "z = gates.draw(alpha, task.noise, task.allowed).to(alpha.dtype)"
_LINEAR = "tau = gates.anneal(knobs.tau_start, knobs.tau_end, t / task.steps)"

GATES: dict[str, Gates] = {
    "softmax": Gates(
        "Every operation runs, weighted with the softmax of its logit.",
        "z = softmax(α)",
        "is a mixture, not one operation",
        draw="z = gates.softmax(alpha, task.allowed)",
    ),
    "concrete": Gates(
        "Every operation runs, weighted with a random draw that hardens as the temperature τ falls.",
        "z = softmax((α + G) / τ),  G ~ Gumbel(0, 1)",
        "is a mixture, not one operation",
        draw=f"z = {_CONCRETE}",
        schedule=_LINEAR,
        shown=("tau",),
    ),
    "straight": Gates(
        "The strongest operation of a concrete draw is taken whole; derivatives pretend that it was the draw itself.",
        "z = onehot(z̃),  ∂z := ∂z̃,  z̃ = softmax((α + G) / τ)",
        "has the derivative of its relaxation, not one of its own",
        draw=f"z = gates.straight({_CONCRETE})",
        weights=_DRAWN,
        schedule=_LINEAR,
        shown=("tau",),
        active="gates.active(z)",
    ),
    "one-hot": Gates(
        "One operation on each edge is drawn by lot, and nothing else has to run.",
        "z = e_k with probability softmax(α)_k",
        "is a lot, which has no derivative",
        draw=_DRAWN,
        slope="z = gates.straight(alpha, z)  # ∂z := ∂α",
        active="gates.active(z)",
    ),
    "prox": Gates(
        "The operation with the largest entry of a box, and its entry is the gate: nothing is random, one runs.",
        "z = prox(a) = a_k* e_k*,  k* = argmax a_k,  0 ≤ a_k ≤ 1",
        "is a step function, whose derivative is 0",
        draw="""\
chosen = proximal.largest(a, task.allowed)
z, active = (chosen * a).detach(), gates.survivors(chosen > 0)""",
        start="a = ((0.5 + task.logits().detach()) * task.allowed).requires_grad_()",
        owned=("a",),
        learned="a",
        move="""\
optimiser.backward(knobs.architecture_lr * objective, inputs=[a])
with torch.no_grad():
    a.copy_(proximal.prox_c2(a - a.grad))  # back into the box""",
        slope="z = gates.straight(a, z)  # ∂z := ∂a",
        probs="a",
        kind="box",
        active="active",
    ),
    "two paths": Gates(
        "Two operations on each edge are drawn by lot, then one of the two; both run where the architecture learns.",
        "{a, b} ~ softmax(α) without replacement,  z = e_a or e_b by softmax(α_a, α_b)",
        "is a lot between two, which has no derivative",
        draw="""\
paths, before = gates.draw(alpha, task.noise, task.allowed, 2), alpha.detach().clone()
z = gates.draw(alpha, task.noise, paths).to(alpha.dtype)""",
        weights=_DRAWN,
        after="proxyless.rescale(alpha, before, paths)  # the other operations keep their probability",
        active="gates.active(z)",
        paths="paths",
    ),
    "annealed": Gates(
        "Every living operation runs, weighted with a softmax that hardens; what falls behind is pruned for good.",
        "z = softmax(α / T) over the living,  T falling",
        "is a mixture, not one operation",
        draw="z = gates.annealed(alpha, tau, live)",
        start="alpha = task.logits()\nlive = task.allowed.expand_as(alpha).clone()",
        owned=("alpha", "live"),
        schedule="""\
s = t / max(1.0, task.steps)
tau = knobs.tau_start * (knobs.tau_end / knobs.tau_start) ** s
active = gates.survivors(live)""",
        shown=("tau",),
        after="""\
theta = gates.per_run(knobs.threshold, alpha) * s / task.allowed.sum(-1, keepdim=True)
live &= asap.survive(gates.annealed(alpha, tau, live), theta)""",
        probs="gates.annealed(alpha, tau, live)",
        active="active",
        paths="live",
        options={"warm_up": 0.0},
    ),
    "switches": Gates(
        "Every operation that is still on runs, weighted with a free number of its own, its switch.",
        "z = w,  prior w_k ~ N(0, γ_k)",
        "is a free number, neither drawn nor a share",
        draw="z, active = w.clone(), gates.survivors(live)",
        start="""\
named = torch.tensor([op != "none" for op in task.space.ops], device=task.device)
like = task.logits().detach()
live = (task.allowed & named).expand_as(like).clone()
w = live.to(like)  # every switch is on
omega, gamma, mean, square = torch.ones_like(w), w.clone(), torch.zeros_like(w), torch.zeros_like(w)
enters = bayesnas.entering(task).to(w)""",
        owned=("live", "w", "omega", "gamma", "mean", "square"),
        learned="",
        probs="bayesnas.relevance(gamma, live, task.allowed & ~named)",
        active="active",
        paths="live",
    ),
    "uniform": Gates(
        "One operation on each edge is drawn, each with the same probability for ever; the best child seen is kept.",
        "z = e_k with probability 1 / K",
        "does not depend on anything that could learn",
        draw="drawn = gates.uniform_one_hot(allowed, task.noise)\nz = move(drawn, task.device)",
        start="""\
allowed = torch.tensor(task.space.allowed)
uniform = (allowed / allowed.sum(-1, keepdim=True)).to(task.device)
best = gates.uniform_one_hot(allowed, task.noise, task.device)""",
        owned=("best",),
        learned="",
        finish="""\
if (t + 1) % task.measure_every == 0:  # the newest child challenges the best one
    with torch.no_grad():
        valid = lambda child: task.loss(task.images("valid"), child, update_statistics=False)
        score = [valid(child) + knobs.lam * task.resource.expected(child, knobs) for child in (z, best)]
    best.copy_(torch.where((score[0] < score[1])[..., None, None, None], z, best))""",
        probs="uniform.expand_as(z)",
        graphs="task.decode(best)",
        active="drawn",
    ),
}

_COST = "knobs.lam * task.resource.expected(z, knobs)"
_REWARDED = """\
{judged}outcome = task.outcome({batch}, z{frozen}, active=gates.active(z))
loss, r = outcome.loss, rewards.reward(task, outcome, z, knobs)"""
_ASCENT = """\
ascent = policy.gradient(z, gates.softmax(alpha.detach(), task.allowed), advantage, knobs.bonus)
objective = resource.surrogate(alpha, -ascent).sum((-2, -1))
optimiser.{step}({both}objective)"""
_TAPPED = f"""\
seen = gates.tap(z)
loss = task.loss({{batch}}, seen{{frozen}}{{ran}})
optimiser.{{step}}(loss + {_COST})"""

CREDIT: dict[str, Credit] = {
    "through": Credit(
        "The loss is differentiated through the draw, as through any other layer.",
        "∂L/∂α = Σ_k ∂L/∂z_k ∂z_k/∂α",
        "differentiates the draw",
        ("softmax", "concrete", "straight", "annealed"),
        _TAPPED,
        signal="credit.marginal(seen){known}",
    ),
    "unrolled": Credit(
        "The loss is differentiated through the draw and through the next step of the weights.",
        "∂L_search(w − ξ ∂L_train(w, z)/∂w, z)/∂z ∂z/∂α",
        "differentiates the draw and the next step of the weights, which is made on other images",
        ("softmax", "concrete", "straight", "annealed"),
        f"""\
train, search = task.batch("train"), task.batch("search")
on = lambda batch: lambda w, z: task.loss(batch, z, weights=w, update_statistics=False{{ran}})
found = bilevel.hypergradient(on(train), on(search), weights, z, optimiser.inner())
towards = resource.surrogate(z, found.total).sum((-2, -1))  # the gradient for z; its draw does the rest
optimiser.{{step}}(towards + {_COST})
loss = found.loss""",
        levels=(2,),
        signal="(0.0 - found.direct){known}",
    ),
    "chosen": Credit(
        "Only the operation that was drawn is computed, so it alone gets credit, through the relaxed draw.",
        "∂L/∂α = ∂L/∂z_k* ∂z̃_k*/∂α,  k* the one drawn",
        "asks for one drawn operation with the derivative of a relaxed draw",
        ("straight",),
        """\
seen = gates.tap(z)
loss = task.loss({batch}, seen{frozen}, active=gates.active(z))
p = gates.softmax(alpha, task.allowed)
optimiser.{step}(loss + knobs.lam * task.resource.expected(p, knobs))""",
        signal="credit.computed(seen, z > 0, task.space.ops)",
    ),
    "exact": Credit(
        "At the discrete point every operation gets its credit: those that did not run are run forward, and no more.",
        "∂L/∂z_k = ⟨∂L/∂x_j, O_k(x_i)⟩ for all k",
        "asks how the loss changes at one discrete child",
        ("prox", "one-hot", "straight"),
        f"""\
trace = Trace()
loss = task.loss({{batch}}, {{fixed}}{{frozen}}{{active}}, trace=trace)
optimiser.backward(loss{{nodes}})
signal = credit.complete(task.network, trace)
{{moved}}
{{slope}}
objective = resource.surrogate(z, -signal).sum((-2, -1)) + {_COST}
{{move}}""",
        signal="signal",
    ),
    "score": Credit(
        "A draw that did well is made likelier: the derivative of its log-probability times its credit.",
        "∂L/∂α ≈ ⟨∂L/∂z, z⟩ ∂ log p(z)/∂α",
        "asks for the probability of a draw",
        ("one-hot",),
        f"""\
z = gates.scored(z, gates.softmax(alpha, task.allowed))  # ∂z := z ∂ log p(z)
seen = gates.tap(z)
loss = task.loss({{batch}}, seen{{frozen}}, active=gates.active(z))
optimiser.{{step}}(loss + {_COST})""",
        signal="credit.computed(seen, z > 0, task.space.ops)",
    ),
    "binary": Credit(
        "The derivative towards the drawn gate is used as if it were one towards the probabilities.",
        "∂L/∂α_i ≈ Σ_j ∂L/∂z_j p_j (δ_ij − p_i)",
        "puts probabilities in the place of a lot",
        ("two paths", "one-hot"),
        f"z = gates.straight(gates.softmax(alpha, {{paths}}), z)  # ∂z := ∂p\n{_TAPPED}",
        signal="credit.computed(seen, {paths}, task.space.ops)",
    ),
    "natural": Credit(
        "Of two drawn children the one with the lower loss is made likelier, by a step of fixed length.",
        "θ ← θ + δ G / ‖G‖_F,  G = mean of (u − ū)(z − θ),  u = ±1 by rank",
        "ranks whole children",
        ("one-hot",),
        """\
c, active = asng.sample(task, theta)
batch = {batch}
losses = [task.loss(batch, c[i]{frozen}, active=active[i]) for i in range(asng.SAMPLES)]
f = torch.stack([loss + knobs.lam * task.resource.expected(z, knobs) for loss, z in zip(losses, c)]).detach()
u = (f.flip(0) - f).sign()
loss = torch.stack(losses).mean(0)
{alone}
asng.advance(theta, path, gamma, factor, asng.natural_gradient(u, c, theta), knobs.trust, task.allowed)
z = torch.where((u[0] < 0)[..., None, None, None], c[1], c[0])""",
        weights="""\
c, active = asng.sample(task, theta)
batch = task.batch("train")
loss = torch.stack([task.loss(batch, c[i], active=active[i]) for i in range(asng.SAMPLES)]).mean(0)
z = c[0]""",
        start="""\
theta = gates.softmax(torch.zeros_like(task.logits()), task.allowed).detach()
path = torch.zeros_like(theta)
gamma, factor = theta.new_zeros(theta.shape[:-3]), theta.new_ones(theta.shape[:-3])""",
        owned=("theta", "path", "gamma", "factor"),
        draw="",
        probs="theta",
    ),
    "advantage": Credit(
        "All draws of a child that did better than usual are made likelier, each by the same number.",
        "∂L/∂α ≈ −(R − b) ∂ log p(z)/∂α,  b a moving average of earlier R",
        "asks for the probability of a draw",
        ("one-hot",),
        f"""\
{_REWARDED}
b = policy.baseline(sums, r, "ema", knobs.decay)
advantage = policy.everywhere(r - b, z)
{_ASCENT}""",
        signal="policy.received(advantage, z)",
        column="advantage",
        shown="reward=r, baseline=b",
        start="alpha = task.logits()\nsums = policy.memory(alpha)",
        owned=("alpha", "sums"),
    ),
    "td": Credit(
        "A critic guesses the reward before and after each decision; what a decision changed in the guess is its own.",
        "∂L/∂α_t ≈ −A_t ∂ log p(z_t)/∂α,  A_t = Σ_l λ^l δ_{t+l},  δ_t = V(s_{t+1}) − V(s_t)",
        "asks for the probabilities of draws that come one after another",
        ("one-hot",),
        f"""\
{_REWARDED}
value = td.values(constant, weight, z)
advantage = td.traced(td.differences(value, r), knobs.trace)
td.learn(constant, weight, z, advantage, knobs.critic_lr)
advantage = advantage.view(z.shape[:-1])
{_ASCENT}""",
        signal="policy.received(advantage, z)",
        column="advantage",
        shown="reward=r, baseline=value[..., 0]",
        start="alpha = task.logits()\nconstant, weight = td.critic(alpha)",
        owned=("alpha", "constant", "weight"),
    ),
    "redistributed": Credit(
        "A return model says what each decision added to the reward; what it did not foresee is shared evenly.",
        "∂L/∂α_t ≈ −R_t ∂ log p(z_t)/∂α,  R_t = w_t·(z_t − p_t) + (G − g(z)) / T",
        "asks for the probabilities of draws and how they differ from their mean",
        ("one-hot",),
        f"""\
{_REWARDED}
b = policy.baseline(sums, r, "ema", knobs.decay)
x = policy.score(z, gates.softmax(alpha.detach(), task.allowed))
share = rudder.worth(gram, moment, knobs.ridge, x)
foreseen = share.sum((-2, -1))
advantage = rudder.redistributed(share, r - b - foreseen)
rudder.learn(gram, moment, x, r - b, knobs.memory)
{_ASCENT}""",
        signal="policy.received(advantage, z)",
        column="advantage",
        shown="reward=r, baseline=b",
        start="alpha = task.logits()\ngram, moment = rudder.returns(alpha)\nsums = policy.memory(alpha)",
        owned=("alpha", "gram", "moment", "sums"),
    ),
    "laplace": Credit(
        "A switch follows its credit against its prior, which the spread of its credits narrows until it is off.",
        "w ← argmin L(w) + σ² Σ ω |w|,  ω = √(1/γ − C/γ²),  C = (1/γ + H/σ²)⁻¹",
        "puts a prior on free numbers",
        ("switches",),
        """\
seen = gates.tap(z)
loss = task.loss({batch}, seen{frozen}, active=active)
optimiser.backward(loss{towards})
gradient = -credit.marginal(seen)
signal = (0.0 - gradient).where(live | ~named, torch.nan)
{moved}
rate, scale, lam = (gates.per_run(value, w) for value in (knobs.switch_lr, knobs.scale, knobs.lam))
price = scale * omega + lam * task.resource.price(knobs).to(w)
w.copy_(bayesnas.soft(w - rate * gradient, rate * price))
gamma.copy_(bayesnas.inherit(w.abs() / omega, enters))
live &= bayesnas.survive(gamma, live, task.allowed & ~named)
w *= live
gamma *= live
omega.copy_(bayesnas.reweighted(gamma, task.batch_size * bayesnas.spread(gradient, mean, square) / scale))""",
        signal="signal",
    ),
    "none": Credit(
        "Nothing is learned about the architecture; only the weights move.",
        "α stays as it is",
        "learns nothing about the architecture, for which no images need be set aside",
        ("uniform", "softmax", "concrete", "one-hot"),
        "loss = task.loss({batch}, z{active})\noptimiser.step_weights(loss)",
        levels=(1,),
    ),
}


def refusal(gates: str, credit: str, levels: int) -> str:
    """Why a combination does not run, what does with these gates, and the nearest that runs; "" if it runs itself."""
    wanted = CREDIT[credit]
    if gates in wanted.gates and levels in wanted.levels:
        return ""
    why = f"it {wanted.needs}" + ("" if gates in wanted.gates else f", but a draw of {gates!r} {GATES[gates].nature}")
    beside = ", ".join(dict.fromkeys(c for g, c, _ in COMBINATIONS if g == gates))
    closest = title(*nearest(gates, credit, levels))
    clash = f"gates {gates!r}" if gates not in wanted.gates else f"levels={levels}"
    instead = f"with {gates!r} it can be {beside}; the nearest is {closest}"
    return f"credit: {credit!r} does not go with {clash}: {why}; {instead}."


def nearest(gates: str, credit: str, levels: int) -> Combination:
    """The combination that runs and differs least; of equals the one that keeps the gates, then the credit."""

    def distance(other: Combination) -> tuple[int, tuple[bool, ...]]:
        differs = tuple(a != b for a, b in zip(other, (gates, credit, levels), strict=True))
        return sum(differs), differs

    return min(COMBINATIONS, key=distance)


def words(gates: Any, credit: Any, levels: Any) -> Combination:
    """The three, if each is known; whether they go together is another matter.

    Raises:
        UserError: one is not known, with the near match.
    """
    gates, credit = choose("gates", gates, GATES), choose("credit", credit, CREDIT)
    if levels not in LEVELS:
        raise UserError(f"levels: {levels!r} is not one of 1, 2.")
    return gates, credit, int(levels)


def check(gates: Any, credit: Any, levels: Any) -> Combination:
    """The combination, if it runs.

    Raises:
        UserError: a word is not known, or the three do not go together; the message says what does.
    """
    combination = words(gates, credit, levels)
    if problem := refusal(*combination):
        raise UserError(problem)
    return combination


def title(gates: str, credit: str, levels: int) -> str:
    """A combination for people."""
    return f"{gates} × {credit} × {levels} level{'s' if levels > 1 else ''}"


def identifier(gates: str, credit: str, levels: int) -> str:
    """A combination as a name of Python: "two_paths_binary_2"."""
    return re.sub(r"\W", "_", f"{gates}_{credit}_{levels}")


COMBINATIONS: tuple[Combination, ...] = tuple(
    (gates, credit, levels)
    for gates, credit, levels in product(GATES, CREDIT, LEVELS)
    if gates in CREDIT[credit].gates and levels in CREDIT[credit].levels
)
"""All that run."""
_BY_NAME = {identifier(*some): some for some in COMBINATIONS}


# ------------------------------------------------------------------------------------------------ the text

_MODULES = {
    "nascore": ("bilevel", "credit", "gates", "policy", "proximal", "resource", "rewards"),
    "nascore.methods": ("asap", "asng", "bayesnas", "proxyless", "rudder", "td"),
}


def compose(gates: str, credit: str, levels: int) -> str:
    """The text of the generator for a combination that runs."""
    g, c = GATES[gates], CREDIT[credit]
    two, draw = levels == 2, g.draw if c.draw is None else c.draw
    active = f", active={g.active}" if g.active else ""
    ran = {"task.allowed": "", "paths": ", active=gates.survivors(paths)", "live": active}[g.paths]
    known = ".where(live, torch.nan)" if g.paths == "live" else ""  # what was pruned is not computed
    differs = {"paths": g.paths, "ran": ran, "active": active, "known": known}
    differs |= {
        "batch": 'task.batch("search")' if two else 'task.batch("train+search")',
        "frozen": ", update_statistics=False" if two else "",
        "nodes": ", trace.nodes" if two else "",
        "towards": ", [seen]" if two else "",
        "step": "step_architecture" if two else "step",
        "judged": "with torch.no_grad():\n    " if two else "",
        "both": "" if two else "loss + ",
        "alone": "" if two else "optimiser.step_weights(loss)",
        "moved": "" if two else "optimiser.move_weights()",
        "fixed": "z" if g.slope else "z.detach()",
        "slope": g.slope,
        "move": g.move,
    }
    lines = re.sub(r"\n+", "\n", c.lines.format_map(differs))
    signal = "" if c.signal in ("", "signal") else f"signal = {c.signal.format_map(differs)}"
    shown = "".join(f", {name}={name}" for name in ("loss", *g.shown))
    drawn = f"z, {c.column}=signal" if c.column != "credit" else "z, signal" if c.signal else "z"
    told = f"{shown}, {c.shown}" if c.shown else shown
    learn = [g.schedule, f"# {g.equation}", draw, f"# {c.equation}", lines, signal, g.after]
    p = c.probs or g.probs
    if not p.isidentifier():
        learn.append(f"p = {p}")
        p = "p"
    if two:
        batch = "train" if c.lines.startswith("train, search =") else 'task.batch("train")'
        loss = f"loss = task.loss({batch}, z{'' if g.active else '.detach()'}{active})"
        loop = [
            *learn,
            f'yield task.step(t, {p}, {drawn}, phase="architecture"{told})\n',
            c.weights or f"{g.weights or draw}\n{loss}",
            "optimiser.step_weights(loss)",
            f'yield task.step(t, {p}, z, phase="weights"{shown})',
        ]
    else:
        graphs = f", graphs={g.graphs}" if g.graphs else ""
        loop = [*learn, g.finish, f"yield task.step(t, {p}, {drawn}{graphs}{told})"]
    owned = c.owned or g.owned
    learned = f", architecture={g.learned}" if g.learned in owned and credit != "none" else ""
    start = [c.start or g.start, f"optimiser = task.optimisers(weights=task.network{learned}, knobs=knobs)"]
    if "weights, z, " in c.lines:
        start.append("weights = dict(task.network.named_parameters())")
    restored = ", ".join(f"{name}={name}" for name in (*owned, "optimiser"))
    body = "\n".join([*start, "", f"for t in task.clock({restored}):", indent("\n".join(filter(None, loop)), "    ")])
    head = f"def {identifier(gates, credit, levels)}(task: Task, knobs: Knobs) -> Iterator[Step]:"
    text = indent(f'"""{title(gates, credit, levels).capitalize()}."""\n{body}\n', "    ")
    return f"{_imports(body)}\n\n\n{head}\n{text}"


def _imports(body: str) -> str:
    """The lines that import what ``body`` uses."""
    used = set(re.findall(r"\b(\w+)\.", body))
    found = [(package, sorted(used.intersection(names))) for package, names in _MODULES.items()]
    found.insert(1, ("nascore.devices", ["move"] if "move(" in body else []))
    found.insert(2, ("nascore.fused", ["Trace"] if "Trace()" in body else []))
    found += [("nascore.run", ["Knobs", "Step"]), ("nascore.task", ["Task"])]
    return "\n".join(
        [
            "from __future__ import annotations\n\nfrom collections.abc import Iterator\n",
            *(["import torch\n"] if "torch" in used else []),
            *(f"from {package} import {', '.join(names)}" for package, names in found if names),
        ]
    )


# ----------------------------------------------------------------------------------------------- the method


@cache
def assemble(gates: str, credit: str, levels: int) -> Method:
    """The search of a combination, ready to run: ``nascore.search(assemble("concrete", "through", 1))``.

    Its text is ``method.source``; it has the knobs that the text reads, as the method file with the most alike
    choices declares them.

    Args:
        gates: how they are drawn: a name in ``GATES``.
        credit: how it returns: a name in ``CREDIT``.
        levels: 1, one loss on all images moves weights and architecture; 2, each learns from images of its own.

    Raises:
        UserError: a word is not known, or the three do not go together; the message says what does.
    """
    gates, credit, levels = check(gates, credit, levels)
    name, source = identifier(gates, credit, levels), compose(gates, credit, levels)
    file = f"<{title(gates, credit, levels)}>"
    linecache.cache[file] = len(source), None, source.splitlines(True), file  # so that a traceback shows its lines
    made: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, file, "exec"), made)  # noqa: S102 - text of this file alone
    method: Method = made[name]
    like = _alike(gates, credit, levels)
    own_rule: str = like[0].own_rule  # type: ignore[attr-defined]
    traits = Traits(gates, credit, levels, probs=GATES[gates].kind)
    method = declare(own_rule, traits, **_knobs(source, like))(method)
    method.source = source  # type: ignore[attr-defined]
    return method


def __getattr__(name: str) -> Method:
    """A combination by its name: so a pickled method is found in another process."""
    if name in _BY_NAME:
        return assemble(*_BY_NAME[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _alike(*wanted: Any) -> list[Method]:
    """The methods of the kit, those that can make the most of these choices first."""
    from nascore import methods

    def alike(method: Method) -> int:
        own = [(traits.gates, traits.credit, traits.levels) for _, traits in variants(method)]
        return max(sum(int(w * (a == b)) for w, a, b in zip((4, 2, 1), each, wanted, strict=True)) for each in own)

    return sorted(map(methods.get, sorted(methods.METHODS)), key=alike, reverse=True)


def _knobs(source: str, like: list[Method]) -> dict[str, Knob]:
    """The knobs that a text reads, itself or through the task."""
    from nascore import resource, rewards

    read = {*re.findall(r"\bknobs\.(\w+)", source), "weight_lr", "weight_decay"}
    read |= {"architecture_lr"} if "architecture=" in source else set()
    read |= set(rewards.KNOBS) if "rewards." in source else set()
    read |= set(resource.KNOBS) if re.search(r"[( ]knobs\)", source) else set()
    found: dict[str, Knob] = {}
    for method in like:
        found = {**found, **{n: k for n, k in method.knobs.items() if n in read and n not in found}}  # type: ignore[attr-defined]
    return found


def variants(method: Method) -> Iterator[tuple[dict[str, Any], Traits]]:
    """The options of a method that make another one of it, with its traits then; the defaults first."""
    traits: Traits = method.traits  # type: ignore[attr-defined]
    yield {}, traits
    for name, value in traits.options:
        yield {name: value}, traits.under(**{name: value})


def named(gates: str, credit: str, levels: int) -> tuple[str, dict[str, Any]] | None:
    """The method file, and the options it needs, that makes these choices; None where none does."""
    from nascore import methods

    for name in sorted(methods.METHODS):
        for options, traits in variants(methods.get(name)):
            if (traits.gates, traits.credit, traits.levels) == (gates, credit, levels):
                return name, {**options, **GATES[gates].options}
    return None
