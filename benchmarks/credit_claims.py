"""Rows 1 to 13 of the claims: how credit reaches a decision, by enumeration, closed form or many draws.

Nothing here is searched: it takes half a minute, and ``claims.py`` calls it. Row 14 compares searches and is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from verdicts import Claim, above, claim, exactly, paired, share, single, tied

SEEDS = range(10)
DELAYS = (2, 4, 8, 16, 32)
CYCLES = (1, 2, 7, 21, 57, 157, 430, 1173, 3199)  # sweeps of TD(0) with step 1/n until V(s₀) ≥ ½, T = 1 … 9
LATE_TAU = 0.01


def random_process(seed: int) -> tuple[Any, np.ndarray]:
    """Three decisions of three options with a random reward at the end, and a random policy."""
    from nascore import mdp

    rng = np.random.default_rng(seed)
    process = mdp.building([("none", "skip", "conv3")] * 3, lambda _: float(rng.standard_normal()))
    weights = rng.random(process.follows.shape) * process.allowed
    return process, weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)


def fits(counts: np.ndarray, p: np.ndarray) -> bool:
    """Whether counts are those of draws from ``p``, by a chi-square test at 1 %."""
    from scipy.stats import chisquare

    return bool(chisquare(counts, counts.sum() * p).pvalue > 0.01)


def row_1(draws: int = 5000) -> Iterator[Claim]:
    paper = "stated (SNAS, section 2.1)"
    hits, off = 0, []
    for seed in SEEDS:
        process, policy = random_process(seed)
        ways = list(process.trajectories(policy))
        products = [math.prod(policy[s, a] for s, a in zip(way.states, way.actions, strict=False)) for way in ways]
        p = np.array([way.probability for way in ways])
        off += [*(p - products), p.sum() - 1]
        place = {way.states[-1]: k for k, way in enumerate(ways)}
        rng = np.random.default_rng(seed)
        ends = [place[process.episode(policy, rng).states[-1]] for _ in range(draws)]
        hits += fits(np.bincount(ends, minlength=len(ways)), p)
    text = "a trajectory's probability is the product of the policy's terms, 27 architectures: largest difference"
    yield exactly(text, paper, off)
    text = f"… and counts of {draws} drawn architectures fit it (chi-square, 1 %): share of samples"
    yield share(text, paper, hits, len(SEEDS), above(0.5))


def row_2() -> Iterator[Claim]:
    from nascore import mdp, values

    off = []
    for delay in range(1, 10):
        for step in (1.0, 0.5, 0.1, "1/n"):
            first = values.learn(mdp.chain(delay), delay, step=step)[:, 0]
            off += [*first[:-1], first[-1] - math.prod(values.step_sizes(step, delay))]
    text = "TD(0) passes information one step per sweep: V(s₀) is 0 for T − 1 sweeps, then Π a_n: largest difference"
    yield exactly(text, "stated (SNAS, section 1.2)", off)


def row_3() -> Iterator[Claim]:
    from nascore import values

    paper = "stated without its condition (SNAS, section 1.3; RUDDER)"
    sweeps = {step: [values.half_time(delay, step) for delay in range(1, 10)] for step in ("1/n", 0.1)}
    text = "sweeps until V(s₀) ≥ ½ with step 1/n are 1, 2, 7, 21, 57, 157, 430, 1173, 3199: largest difference"
    yield exactly(text, paper, np.subtract(sweeps["1/n"], CYCLES))
    for step in sweeps:
        last = sweeps[step][-1] / sweeps[step][-2]
        text = f"a delay lengthens TD exponentially, step {step}: sweeps for a delay of 9 over those for 8 (e = 2.718)"
        yield claim(text, paper, "exact" if last > 2 else "not reproduced", (last,) * 3, 1)
    text = "with a constant step a the delay costs 1/a sweeps a step, a = 0.1: largest difference from 10"
    yield exactly(text, "linear, not claimed", np.diff(sweeps[0.1]) - 10)


def row_4() -> Iterator[Claim]:
    from nascore import mdp

    paper = "stated (RUDDER)"
    meeting, apart = [], []
    for depth in range(1, 11):
        process = mdp.tree(depth, converging=True)
        meeting.append((process.variances(process.uniform()) > 0).sum() - (2**depth - 1))
        process = mdp.tree(depth)
        one = np.zeros_like(process.noise)
        one[np.flatnonzero(process.allowed.any(-1))[-1], 0] = 1.0  # a single noisy end
        process = replace(process, noise=one)
        apart.append((process.variances(process.uniform()) > 0).sum() - depth)
    text = "a late reward's variance reaches 2^d − 1 states where paths run together: difference, d = 1 … 10"
    yield exactly(text, paper, meeting)
    text = "… where paths part it reaches the d states on its own path alone: difference, d = 1 … 10"
    yield exactly(text, "not claimed", apart)


def row_5(draws: int = 4000) -> Iterator[Claim]:
    from nascore import decisions

    paper = "stated (SNAS, sections 1.3 and 2.3)"
    forms: dict[str, Callable[[int], float]] = {
        "global": lambda T: (T * T + T - 1) / 16,
        "mean baseline": lambda T: (T - 1) / 16,
        "local": lambda T: 1 / 16,
    }
    words = {
        "global": "(T² + T − 1)/16, a global score",
        "mean baseline": "(T − 1)/16, with a mean baseline",
        "local": "1/16, credit per decision",
    }
    for name, form in forms.items():
        off = [decisions.variances(np.ones(T), estimator=name) / form(T) - 1 for T in (4, 16, 64, 256)]
        text = f"variance of a logit's gradient for T decisions is {words[name]}: largest relative difference"
        yield exactly(text, paper, np.concatenate(off))
        T = 64
        ratio = []
        for seed in SEEDS:
            drawn = decisions.sample(np.ones(T), np.random.default_rng(seed), draws, estimator=name)
            ratio.append(float(drawn.var(0).mean() / form(T)))
        text = f"… of {draws} draws, T = {T}: their variance over that ({name})"
        yield single(text, paper, ratio, lambda value: abs(value - 1) < 0.05)


def row_6() -> Iterator[Claim]:
    from nascore import rudder

    paper = "theorems 1 and 2 (RUDDER)"
    returned, later, kept = [], [], 0
    for seed in SEEDS:
        process, policy = random_process(seed)
        anything = np.random.default_rng(seed).standard_normal(process.follows.shape)
        for g in (rudder.expected_returns(process, policy), anything):
            for way in process.trajectories(policy):
                seen = np.array([g[s, a] for s, a in zip(way.states, way.actions, strict=False)])
                for residual in ("even", "last"):
                    given = rudder.redistribute(seen, sum(way.rewards), residual)
                    returned.append(given.sum() - sum(way.rewards))
            other = rudder.redistributed(process, g)
            kept += int((other.optimal()[1] == process.optimal()[1]).all())
            if g is not anything:
                later += [(other.action_values(policy) - other.reward)[process.allowed]]
    yield exactly("redistribution keeps the return, exact and arbitrary g: largest difference", paper, returned)
    text = "… and the optimal policy: share of 20 processes"
    yield claim(text, paper, "exact" if kept == 2 * len(SEEDS) else "not reproduced", (kept / 20,) * 3, 20)
    text = "with exact g no reward is left to come: largest expected future reward"
    yield exactly(text, paper, np.concatenate(later))


def row_7(runs: int = 100) -> Iterator[Claim]:
    from nascore import delayed_key

    paper = "Bowling 192 against 56, Venture 1350 against 820 points (RUDDER, verified); here the delayed key"
    found = {
        agent: {delay: delayed_key.episodes(agent, delay, runs=runs) for delay in DELAYS}
        for agent in ("td", "td(λ)", "mc", "rudder", "rudder, a weight a step")
    }
    by_run = lambda values: dict(enumerate(map(float, values)))
    names = {"td": "TD(0)", "td(λ)": "TD(0.9)", "mc": "MC"}
    last = DELAYS[-1]
    for model in ("rudder", "rudder, a weight a step"):
        for agent, name in names.items():
            middle = [float(np.median(found[each][last])) for each in (agent, model)]
            told = f"{middle[0]:.0f} and {middle[1]:.0f} episodes"
            text = f"RUDDER finds the key sooner than {name}, delay {last} ({model}: {told}): difference in episodes"
            yield paired(text, paper, by_run(found[agent][last]), by_run(found[model][last]))
    for agent, name in names.items():
        ratios = [found[agent][delay] / found["rudder"][delay] for delay in (DELAYS[0], last)]
        text = f"the ratio of {name}'s episodes to RUDDER's grows with the delay: at {last} − at {DELAYS[0]}"
        yield paired(text, paper, by_run(ratios[1]), by_run(ratios[0]))
    mc, rudder = (delayed_key.episodes(agent, last, noise=0.0, runs=runs) for agent in ("mc", "rudder"))
    text = f"… without anything else in the return MC is as fast as RUDDER, delay {last}: difference in episodes"
    yield tied(text, "not claimed", by_run(mc), by_run(rudder))


def row_8(draws: int = 20_000) -> Iterator[Claim]:
    import torch

    from nascore import gates

    paper = "stated (SNAS, section 2.3)"
    taus, hits, gaps = (1.0, 0.3, 0.1, 0.03), 0, {}
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        alpha = torch.randn(4, generator=generator, dtype=torch.float64)
        noise = gates.gumbel(alpha.expand(draws, 4), generator)
        p = alpha.softmax(-1)
        hits += fits(np.bincount((alpha + noise).argmax(-1), minlength=4), p.numpy())
        for tau in taus:
            mean = gates.concrete(alpha.expand(draws, 4), tau, noise).mean(0)
            gaps.setdefault(tau, {})[seed] = float((mean - p).norm())
    text = f"the largest of α + G is a draw from softmax(α), {draws} draws fit (chi-square, 1 %): share of samples"
    yield share(text, paper, hits, len(SEEDS), above(0.5))
    for warm, cold in pairwise(taus[:-1]):
        text = f"the relaxed mean comes closer to p: ‖E Z − p‖ at τ = {warm:g} − at τ = {cold:g}"
        yield paired(text, paper, gaps[warm], gaps[cold])
    text = f"… and reaches it as far as {draws} draws tell: ‖E Z − p‖ at τ = {taus[-1]:g} (0.01 or less)"
    yield single(text, paper, gaps[taus[-1]], lambda value: value <= 0.01)


def row_9(draws: int = 100_000) -> Iterator[Claim]:
    import torch
    from torch.nn import functional as F

    from nascore import credit, gates

    paper = "stated for any loss; exact as told here"
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    outputs, offset, z = draw(4, 6), draw(6), draw(1000, 4).softmax(-1).requires_grad_()
    node = z @ outputs  # x_j of eq. (2), one edge, 1000 samples

    def received(loss: torch.Tensor) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(loss.sum(), z, retain_graph=True)
        return credit.edge_credit(z, gradient)  # eq. (5)

    quadratic, affine = node.square().sum(-1) / 2, node @ offset + 3
    text = "credit R equals the loss's change where the loss is affine: largest difference"
    yield exactly(text, paper, (received(affine) - (affine - 3)).detach())
    text = "credit R is twice the loss where the loss is quadratic, so the credit form is 2 x the gradient: ratio - 2"
    yield exactly(text, paper, (received(quadratic) / quadratic - 2).detach())
    off = []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        alpha, outputs, rest = draw(4).expand(draws, 4).clone().requires_grad_(), draw(4, 3), draw(3)
        noise = gates.gumbel(alpha, generator)
        seen = gates.tap(gates.concrete(alpha, 1.0, noise))
        F.cross_entropy(rest + seen @ outputs, torch.zeros(draws, dtype=torch.int64), reduction="sum").backward()
        gradient = alpha.grad.mean(0)
        form = credit.credit_form(credit.concrete_score(noise), credit.edge_credit(seen.detach(), seen.grad)).mean(0)
        off.append(float((form - gradient).norm() / gradient.norm()))
    text = "the same with cross-entropy behind the edge: ‖credit form − gradient‖ over ‖gradient‖ (0.1 or less)"
    yield single(text, "stated for any loss", off, lambda value: value <= 0.1)


def untrained(seed: int, **settings: Any) -> tuple[Any, Any]:
    """A task on digits and a batch of it, both in float64."""
    from nascore.task import make_task

    task = make_task("digits", seed, epochs=1, channels=4, batch_size=16, **settings)
    task.network.double()
    batch = task.batch("search")
    return task, batch._replace(images=batch.images.double())


def row_10() -> Iterator[Claim]:
    import torch

    from nascore import credit, gates

    paper = "stated (SNAS, section 3.1)"
    gaps: dict[bool, list[float]] = {False: [], True: []}
    for norm, found in gaps.items():
        for seed in SEEDS:
            task, batch = untrained(seed, engine="reference")
            if not norm:
                credit.without_norms(task.network.cells)
            alpha = torch.zeros(task.space.shape, dtype=torch.float64)
            z = gates.concrete(alpha, 1.0, gates.gumbel(alpha, task.noise))
            flow = credit.conservation(task, batch, z)
            scale = torch.maximum(flow.received.abs(), flow.passed.abs()).clamp(1e-12)
            found.append(float(((flow.received - flow.passed).abs() / scale).max()))
    text = "a node passes on the credit that it receives, ReLU and linear maps alone: largest relative difference"
    yield exactly(text, paper, gaps[False])
    text = "… with batch norm, as every network of the papers has it: largest relative difference in a network"
    yield single(text, f"{paper}; batch norm not considered", gaps[True], lambda value: value <= 0.01)


def row_11() -> Iterator[Claim]:
    import torch

    from nascore import credit, gates

    shares = []
    for seed in SEEDS:
        task, batch = untrained(seed)
        alpha = torch.zeros(task.space.shape, dtype=torch.float64)
        seen = gates.tap(gates.concrete(alpha, LATE_TAU, gates.gumbel(alpha, task.noise)))
        task.loss(batch, seen, update_statistics=False).backward()
        parts = credit.taylor(seen.detach(), credit.marginal(seen)).abs()
        chosen = seen.argmax(-1, keepdim=True)
        real = (chosen != task.space.ops.index("none")).squeeze(-1)  # none has no credit to share
        shares.append(float((parts.gather(-1, chosen).squeeze(-1) / parts.sum(-1))[real].mean()))
    text = f"near one-hot all credit of an edge goes to the chosen operation: its mean share at τ = {LATE_TAU:g}"
    yield single(text, "stated (SNAS, section 3.1)", shares, lambda value: value >= 0.99)


def row_12(draws: int = 100_000) -> Iterator[Claim]:
    import torch

    from nascore import credit, gates, resource

    paper = "stated (SNAS, section 2.4)"
    generator = torch.Generator().manual_seed(0)
    alpha, price = (torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(2))
    p = alpha.softmax(-1)
    enumerated = sum(p[k] * credit.one_hot_score(torch.eye(4, dtype=p.dtype)[k], alpha) * price[k] for k in range(4))
    text = "gradient of the expected cost, eq. (8), equals enumeration: largest difference"
    yield exactly(text, paper, resource.exact(p, price) - enumerated)
    for tau in (1.0, 0.3):
        off, ratios = [], []
        for seed in SEEDS:
            noise = gates.gumbel(alpha.expand(draws, 4), torch.Generator().manual_seed(seed))
            z = gates.concrete(alpha.expand(draws, 4), tau, noise)
            prices = price.expand_as(z)
            path, score = resource.pathwise(z, prices, tau), resource.score(noise, z, prices)
            apart = path - score
            off.append(float((apart.mean(0).abs() / (apart.std(0) / draws**0.5)).max()))
            ratios.append(float(score.var(0).sum() / path.var(0).sum()))
        text = f"pathwise and score gradients of a linear cost agree, τ = {tau:g}: difference in standard errors"
        yield single(text, paper, off, lambda value: value < 4)
        text = f"… and the pathwise one varies less: variance of the score's over it, τ = {tau:g}"
        yield single(text, "stated, no number", ratios, above(1))


def row_13() -> Iterator[Claim]:
    import torch
    from torch.nn import functional as F

    from nasviz.labs import sampling

    paper = "stated (SNAS, section 3.2)"
    linear, bent, jensen = [], [], []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        shapes = ((3, 4, 2), (3, 2, 4), (2,), (2,), (3,))
        one, two, x, target, alpha = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)

        def net(a: Any, b: Any, slope: float, one: Any = one, two: Any = two, x: Any = x) -> Any:
            return b @ F.leaky_relu(two @ (a @ F.leaky_relu(one @ x, slope)), slope)

        loss = lambda features, target=target: (features - target).square().sum(-1) / 2
        straight, relu = (sampling.expectations(net, loss, alpha.softmax(-1), slope) for slope in (1.0, 0.0))
        linear.append(straight.feature_gap)
        jensen.append(straight.loss_gap)
        bent.append(relu.feature_gap)
    text = "linear operations: the mean of all children's features is that of the blend: largest difference"
    yield exactly(text, paper, linear)
    yield single("… with ReLU between the layers it is not: distance of the features", paper, bent, above(0))
    text = "… and the mean of their losses is above the blend's even when linear: difference, quadratic loss"
    yield single(text, "not told", jensen, above(0))


ROWS: dict[int, Callable[[], Iterator[Claim]]] = {
    1: row_1,
    2: row_2,
    3: row_3,
    4: row_4,
    5: row_5,
    6: row_6,
    7: row_7,
    8: row_8,
    9: row_9,
    10: row_10,
    11: row_11,
    12: row_12,
    13: row_13,
}
