"""Controllers against enumeration: probabilities, gradients, entropy; and what decisions build."""

import math

import pytest
import torch
from torch import Generator

from nascore import toys
from nascore.controllers import (
    FORMS,
    LSTM,
    Bounds,
    Decision,
    Factorised,
    cells_of,
    decisions_of,
    dependence,
    every,
    gates_of,
    ppo,
    reinforce,
)
from nascore.errors import UserError
from nascore.space import SPACES, TOY, Space

SMALL = Space(2, 2, ("none", "skip", "conv1"), cells=("normal",))
THREE = tuple(Decision(f"d{i}", tuple("abc"[: 2 + i % 2])) for i in range(3))  # 2 × 3 × 2 outcomes
TIGHT = Bounds(1.1, 2.5, 0.5)


def policies(decisions):
    noise = Generator().manual_seed(3)
    found = {"factorised": Factorised(decisions, noise)} | {form: LSTM(decisions, noise, form) for form in FORMS}
    for policy in found.values():  # away from the uniform start, each option its own probability
        policy.double()
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=noise, dtype=torch.float64) * 0.3)
    return found


def flat(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def slope(objective, policy):
    return flat(torch.autograd.grad(objective, list(policy.parameters()), allow_unused=True))


@pytest.mark.parametrize("kind", ["factorised", *FORMS])
def test_probabilities_of_all_architectures_sum_to_one_and_draws_have_them(kind):
    """Eq. (1), on decisions of different widths, some not allowed, with pointers to nodes."""
    decisions = decisions_of(SMALL, "micro")
    taken = every(decisions).double()
    assert len(taken) == (2 * 2 * 2 * 2) * (3 * 3 * 2 * 2)
    policy = policies(decisions)[kind]
    p = policy(taken, TIGHT).log_likelihood.detach().exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)

    draws = 3000
    drawn = policy.sample(draws, Generator().manual_seed(0), TIGHT)
    torch.testing.assert_close(drawn.log_p, policy(drawn.taken, TIGHT).log_p)
    index = (drawn.taken.flatten(1).to(p) @ taken.flatten(1).T).argmax(-1)
    share = torch.bincount(index, minlength=len(p)) / draws
    assert ((share - p).abs() <= 5 * (p * (1 - p) / draws).sqrt() + 1e-4).all()


def test_a_factorised_policy_is_the_product_of_its_softmaxes():
    policy = policies(THREE)["factorised"]
    p = policy(every(THREE).double()).log_likelihood.exp().view(2, 3, 2)
    rows = [policy.alpha[t, : len(decision.options)].softmax(-1) for t, decision in enumerate(THREE)]
    torch.testing.assert_close(p, torch.einsum("a,b,c->abc", *rows))


def test_the_controller_of_enas_by_hand():
    """Eqs. of the LSTM and of the pointer, written out for one path through two nodes, in the order of the paper."""
    decisions = decisions_of(SMALL, "micro")
    policy = policies(decisions)["enas"]
    taken = policy.sample(1, Generator().manual_seed(4)).taken
    found, lstm = policy(taken).log_p[0], policy.cells[0]
    w_1, w_2, v = policy.pointer
    h = c = torch.zeros(64, dtype=torch.float64)

    def step(x):
        nonlocal h, c
        i, f, g, o = (lstm.weight_ih @ x + lstm.bias_ih + lstm.weight_hh @ h + lstm.bias_hh).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return h

    nodes, keys, x = [], [], policy.start
    for _ in range(2):
        keys.append(step(policy.start) @ w_1)
        nodes.append(torch.zeros_like(h))
    for t in range(8):
        if t == 4:
            nodes.append(step(x))
            keys.append(h @ w_1)
        if t % 4 == 0:
            x = policy.start
        step(x)
        if t % 4 < 2:
            logits = torch.stack([v @ torch.tanh(key + h @ w_2) for key in keys])
            x = nodes[int(taken[0, t].argmax())]
        else:
            logits = (h @ policy.head[0] + policy.bias[0])[1:]  # without none
            x = policy.embedding[0, int(taken[0, t].argmax())]
        expected = logits.log_softmax(-1)
        mine = found[t, : len(expected)] if t % 4 < 2 else found[t, 1:]
        torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize("kind", ["factorised", "nas", "enas"])
def test_reinforce_is_the_gradient_of_the_mean_reward_whatever_the_baseline(kind):
    """Eq. (3) on all outcomes of three decisions, each as often as it is probable, against ∇ Σ π R."""
    policy, taken = policies(THREE)[kind], every(THREE).double()
    reward = torch.arange(len(taken)).double().sin()
    p = policy(taken).log_likelihood.exp()
    exact = slope((p * reward).sum(), policy)
    for b in (0.0, 0.7):
        weighted = (reward - b) * p.detach() * len(taken)
        torch.testing.assert_close(slope(reinforce(policy(taken), weighted), policy), exact)


def test_ppo_starts_as_reinforce_and_stops_where_the_policy_has_moved_far_enough():
    """Eq. (4): the same gradient at r = 1; none where r has left 1 ± ε in the direction that pays."""
    policy, taken = policies(THREE)["enas"], every(THREE).double()
    advantage = torch.arange(len(taken)).double().cos()
    before = policy(taken).log_likelihood.detach()
    torch.testing.assert_close(
        slope(ppo(policy(taken), before, advantage), policy), slope(reinforce(policy(taken), advantage), policy)
    )
    for ratio, gain, moves in [(1.3, 1, False), (1.3, -1, True), (0.7, -1, False), (0.7, 1, True), (1.1, 1, True)]:
        one = policy(taken[:1])
        objective = ppo(one, before[:1] - math.log(ratio), torch.tensor([float(gain)], dtype=torch.float64))
        bound = gain * (min(ratio, 1.2) if gain > 0 else max(ratio, 0.8))
        assert float(objective.detach()) == pytest.approx(bound)
        assert bool(slope(objective, policy).abs().max() > 0) == moves


@pytest.mark.parametrize("kind", ["factorised", "enas"])
def test_entropy_is_that_of_the_whole_and_so_is_its_gradient(kind):
    """Eq. (5): −Σ π log π; its gradient is that of the score with H of a path as reward, plus that of H itself."""
    policy, taken = policies(THREE)[kind], every(THREE).double()
    rollout = policy(taken)
    p, h = rollout.log_likelihood.exp(), rollout.entropy.sum(-1)
    whole = -(p * rollout.log_likelihood).sum()
    assert float((p * h).sum().detach()) == pytest.approx(float(whole.detach()))
    exact = slope(whole, policy)
    rollout = policy(taken)
    bonus = reinforce(rollout, (h * p).detach() * len(taken)) + (p.detach() * rollout.entropy.sum(-1)).sum()
    torch.testing.assert_close(slope(bonus, policy), exact)


def test_bounds_keep_logits_close():
    """Eq. (2): with ENAS's numbers no operation of five is ever more likely than 0.376, inputs are freer."""
    far = torch.tensor([1e3, -1e3, -1e3, -1e3, -1e3])
    bounds = Bounds(1.1, 2.5)
    assert float(bounds.limit(far, "op").softmax(-1)[0]) == pytest.approx(0.376, abs=5e-4)
    torch.testing.assert_close(bounds.limit(far, "input"), far.sign() * 1.1)
    torch.testing.assert_close(Bounds(0.0, 2.5, 4.0).limit(far, "op"), far / 4)
    torch.testing.assert_close(Bounds(2.0, 1.0, 500.0).limit(far, "op"), 2 * (far / 500).tanh())


def test_decisions_of_edges():
    decisions = decisions_of(SPACES["NASP_12"])
    space = SPACES["NASP_12"]
    assert [decision.allowed for decision in decisions] == [tuple(row) for row in space.allowed.reshape(-1, 12)]
    assert decisions[0].name == "normal c_{k-2}→0"
    taken = Factorised(decisions, Generator()).sample(3, Generator()).taken
    z = gates_of(space, "edges", taken, taken)
    assert z.shape == (3, *space.shape)
    torch.testing.assert_close(z.sum(-1), torch.ones(3, *space.shape[:2]))
    assert (z[:, ~torch.tensor(space.allowed)] == 0).all()


def test_gates_of_the_micro_search_count_what_each_node_takes():
    """Built again from the names of the decisions; a cell of those counts is read back by ``Space.counts``."""
    decisions = decisions_of(TOY, "micro")
    assert [d.name for d in decisions[:4]] == [
        f"normal 0 {x}" for x in ("input 1", "input 2", "operation 1", "operation 2")
    ]
    drawn = LSTM(decisions, Generator().manual_seed(0)).sample(200, Generator().manual_seed(1))
    z = gates_of(TOY, "micro", drawn.taken, drawn.taken)
    for path, table in zip(drawn.taken[:20], z[:20], strict=True):
        expected = torch.zeros(TOY.shape)
        answers = {
            (d.cell, d.node, d.name[-1], d.kind): int(row.argmax()) for d, row in zip(decisions, path, strict=True)
        }
        for cell, node, branch in {key[:3] for key in answers}:
            source = answers[cell, node, branch, "input"]
            expected[cell, TOY.edges.index((source, node)), answers[cell, node, branch, "op"]] += 1
        assert torch.equal(table, expected)
        graphs = cells_of(TOY, table.int())
        counted = torch.tensor(TOY.counts(graphs), dtype=torch.float32)
        assert torch.equal(counted[..., 1:], table[..., 1:])
    assert (z[..., 0] == 0).all()  # none
    assert z.max() == 2


def test_mean_gates_given_the_inputs_have_the_mean_of_the_gates():
    decisions = decisions_of(SMALL, "micro")
    policy, taken = policies(decisions)["enas"], every(decisions).double()
    rollout = policy(taken)
    p = rollout.log_likelihood.exp()[:, None, None, None]
    exact = (p * gates_of(SMALL, "micro", taken, taken)).sum(0)
    torch.testing.assert_close((p * gates_of(SMALL, "micro", taken, rollout.p)).sum(0), exact)
    assert float(exact[0, :2].sum().detach()) == pytest.approx(2)  # both branches of the first node


@pytest.mark.parametrize("kind", ["factorised", "enas"])
def test_dependence_by_hand(kind):
    policy = policies(THREE)[kind]
    taken = every(THREE).double()[[1, 8]]
    found = dependence(policy, taken)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for earlier, decision in enumerate(THREE):
        distances = []
        for path in taken:
            for other in range(len(decision.options)):
                if path[earlier, other] == 0:
                    changed = path.clone()
                    changed[earlier] = torch.eye(3)[other]
                    distances.append((policy(changed[None]).p - policy(path[None]).p)[0].abs().sum(-1) / 2)
        expected[earlier] = torch.stack(distances).mean(0)
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(found.tril(), torch.zeros(3, 3, dtype=torch.float64))
    assert (found.max() > 1e-3) == (kind == "enas")


def test_in_enas_later_decisions_do_not_know_which_input_of_the_cell_was_taken():
    decisions = decisions_of(SMALL, "micro")
    found = {form: dependence(policies(decisions)[form], every(decisions).double()[::50]) for form in ("nas", "enas")}
    of_inputs = found["enas"][:2]  # the first node chooses between the two inputs of the cell
    torch.testing.assert_close(of_inputs, torch.zeros_like(of_inputs), atol=1e-12, rtol=0)
    assert found["enas"][2, 3] > 1e-3
    assert found["nas"][0, 1] > 1e-3


def test_a_factorised_policy_must_commit_and_an_lstm_can_hold_both():
    alone, both = toys.xor("factorised"), toys.xor("lstm")
    p, q = alone.joint[-1].sum(1)[1], alone.joint[-1].sum(0)[1]
    torch.testing.assert_close(alone.joint[-1], torch.outer(torch.stack([1 - p, p]), torch.stack([1 - q, q])))
    for path in (alone, both):
        torch.testing.assert_close(path.joint.sum((1, 2)), torch.ones(150))
        torch.testing.assert_close(path.reward, path.joint[:, 0, 1] + path.joint[:, 1, 0])
        torch.testing.assert_close(path.entropy, -torch.xlogy(path.joint, path.joint).sum((1, 2)))
        assert path.reward[-1] > 0.95
        assert path.entropy[0] == pytest.approx(math.log(4), abs=1e-3)
    assert alone.joint[-1].max() > 0.9
    assert torch.stack([both.joint[-1, 0, 1], both.joint[-1, 1, 0]]).min() > 0.3
    assert float(both.entropy[-1]) == pytest.approx(math.log(2), abs=0.02)
    assert toys.xor("lstm", bonus=0).joint[-1].max() > 0.99  # without the bonus nothing keeps both


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: decisions_of(TOY, "mikro"), r"cell: 'mikro' is not one of edges, micro. Did you mean 'micro'"),
        (lambda: LSTM(THREE, Generator(), "enax"), r"form: 'enax' is not one of .* Did you mean 'enas'"),
        (lambda: toys.xor("lsmt"), r"policy: 'lsmt' is not one of .* Did you mean 'lstm'"),
        (lambda: toys.xor("lstm", bonus=-1), r"bonus: -1 is not a number of at least 0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_a_policy_starts_nearly_uniform_and_the_same_for_the_same_seed():
    a, b = (LSTM(THREE, Generator().manual_seed(7)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert float((a(every(THREE)).log_likelihood.detach().exp() - 1 / 12).abs().max()) < 0.02
