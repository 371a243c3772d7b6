"""GDAS: Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", CVPR 2019.

The equations, with logits α, p = softmax(α), Gumbel noise G, temperature τ, o_k(x_i) the output of operation k on the
edge from node i to node j, and g = ∂L/∂x_j:

    (1)  h̃ = softmax((log p + G) / τ)
    (2)  h = onehot(argmax_k h̃_k), the operation k* that is computed; Pr[h = e_k] = p_k
    (3)  x_j = Σ_i h · o(x_i)
    (4)  ∂L/∂α_l = ⟨g, o_k*⟩ h̃_k* (δ_lk* − h̃_l) / τ

(2) is differentiated as if it were (1), and of the gradient towards h only the entry of k* is there: the other
operations were not computed. So (4) is biased. For a linear loss its mean tends to half the exact gradient as τ → 0.

log p is α but for a constant of each edge, which the softmax of (1) does not see. The child is derived as in DARTS, as
the authors' code, as remembered, does.
"""

from __future__ import annotations

from collections.abc import Iterator

from nascore import credit, gates, resource
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import ARCHITECTURE_LR, WEIGHT_DECAY, WEIGHT_LR, Task


@declare(
    "top2",
    Traits("straight", "chosen", levels=2, differentiable=True, discrete=True, passes=(0, 2)),
    lam=Knob(0, 0, 10, "penalty λ", log=True, help="Price of the expected cost, in nats per unit of cost."),
    **resource.KNOBS,
    tau_start=Knob(10, 0.03, 20, "temperature at the start", log=True, group="temperature"),
    tau_end=Knob(0.1, 0.03, 20, "temperature at the end", log=True, group="temperature"),
    weight_lr=WEIGHT_LR,
    architecture_lr=ARCHITECTURE_LR,
    weight_decay=WEIGHT_DECAY,
)
def gdas(task: Task, knobs: Knobs) -> Iterator[Step]:
    """Gradient-based search with a differentiable sampler: one operation an edge runs, in both half steps.

    Logits move on ``search``, weights on ``train`` (first order), each by a sample of its own. The price is that of
    the mean of (2), c · p, in closed form.  Credit of what was not drawn is NaN.
    """
    alpha = task.logits()
    optimiser = task.optimisers(weights=task.network, architecture=alpha, knobs=knobs)

    for t in task.clock(alpha=alpha, optimiser=optimiser):
        tau = gates.anneal(knobs.tau_start, knobs.tau_end, t / task.steps)
        h = gates.straight(gates.concrete(alpha, tau, task.noise, task.allowed))  # eqs. (1) and (2)
        seen = gates.tap(h)
        loss = task.loss(task.batch("search"), seen, update_statistics=False, active=gates.active(h))  # eq. (3)
        p = gates.softmax(alpha, task.allowed)
        optimiser.step_architecture(loss + knobs.lam * task.resource.expected(p, knobs))  # eq. (4)
        signal = credit.computed(seen, h > 0, task.space.ops)
        p = gates.softmax(alpha.detach(), task.allowed)
        yield task.step(t, p, h, signal, "architecture", loss=loss, tau=tau)

        h = gates.draw(alpha, task.noise, task.allowed).to(alpha.dtype)  # eq. (2); the weights do not ask for h̃
        loss = task.loss(task.batch("train"), h, active=gates.active(h))
        optimiser.step_weights(loss)
        yield task.step(t, p, h, phase="weights", loss=loss, tau=tau)
