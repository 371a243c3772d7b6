"""Figures of the lesson *sample or average*: their numbers against enumeration, quadrature and counting."""

import json
import re
from itertools import product
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit
from torch.nn import functional as F

from nascore import credit, gates
from nascore.errors import UserError
from nascore.record import Recording
from nascore.run import Step
from nascore.space import TOY
from nasviz.labs import drawing, sampling

OPS = ("skip", "conv3", "avg3")
ALPHA = torch.tensor([0.5, -0.3, 1.0], dtype=torch.float64)
P = ALPHA.softmax(-1)
DRAWS = gates.gumbel(ALPHA.expand(2000, 3), torch.Generator().manual_seed(0))
W = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
X, TARGET = torch.tensor([1.0, -0.5], dtype=torch.float64), torch.tensor([0.3, 0.7], dtype=torch.float64)


def net(z1, z2, slope):
    h = z1 @ F.leaky_relu(W[0] @ X, slope)
    return z2 @ F.leaky_relu(W[1] @ h, slope)


def square(features):
    return (features - TARGET).square().sum(-1) / 2


def cross_entropy(features):
    return features.logsumexp(-1) - features[..., 0]


def by_hand(loss, slope, shared):
    """E[f], f(E Z), E[L(f)] with numpy loops and nothing of the code under test."""
    w, p = W.numpy(), P.numpy()
    bend = lambda x: np.where(x > 0, x, slope * x)
    outside, mean_loss = np.zeros(2), 0.0
    for a, b in product(range(3), repeat=2):
        if shared and a != b:
            continue
        weight = p[a] if shared else p[a] * p[b]
        f = bend(w[1, b] @ bend(w[0, a] @ X.numpy()))
        outside += weight * f
        mean_loss += weight * float(loss(torch.tensor(f)))
    h = sum(p[a] * bend(w[0, a] @ X.numpy()) for a in range(3))
    inside = sum(p[b] * bend(w[1, b] @ h) for b in range(3))
    return outside, inside, mean_loss


@pytest.mark.parametrize("loss", [square, cross_entropy])
@pytest.mark.parametrize("slope", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("shared", [False, True])
def test_expectations_by_enumeration(loss, slope, shared):
    found = sampling.expectations(net, loss, P, slope, shared)
    outside, inside, mean_loss = by_hand(loss, slope, shared)
    np.testing.assert_allclose(found.outside, outside, atol=1e-12)
    np.testing.assert_allclose(found.inside, inside, atol=1e-12)
    assert found.feature_gap == pytest.approx(np.linalg.norm(outside - inside), abs=1e-12)
    assert found.loss_gap == pytest.approx(mean_loss - float(loss(torch.tensor(inside))), abs=1e-12)
    assert found.jensen >= 0  # both losses are convex
    assert len(found.names) == (3 if shared else 9)
    assert float(found.probability.sum()) == pytest.approx(1)


def test_linear_and_independent_leaves_jensens_share_alone():
    """Feature gap 0 to rounding; for squared error the loss gap is half the children's variance."""
    found = sampling.expectations(net, square, P, 1.0)
    spread = (found.outputs - found.outside).square().sum(-1)
    assert found.feature_gap < 1e-14
    assert found.loss_gap == pytest.approx(0.5 * float(found.probability @ spread))
    assert found.loss_gap > 0.1


def test_a_shared_decision_leaves_a_covariance():
    """Linear layers: E[W_Z V_Z] x − E[W_Z] E[V_Z] x = Σ p_a (W_a − W̄)(V_a − V̄) x."""
    found = sampling.expectations(net, square, P, 1.0, shared=True)
    first, second = ((w - torch.einsum("k,kab->ab", P, w)) for w in W)
    covariance = torch.einsum("k,kab,kbc,c->a", P, second, first, X)
    torch.testing.assert_close(found.outside - found.inside, covariance)
    assert found.feature_gap > 0.1


def test_ratio_of_a_multiple_is_exact():
    gradient = torch.randn(500, 3, generator=torch.Generator().manual_seed(2)) + torch.tensor([1.0, -1.0, 0.5])
    r, error = sampling.ratio(gradient, 3 * gradient)
    assert r == pytest.approx(3)
    assert error == pytest.approx(0, abs=1e-6)


def test_ratio_tells_its_own_error():
    """The standard error against the spread over 300 repetitions."""
    noise = torch.Generator().manual_seed(3)
    centre = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)
    found = []
    for _ in range(300):
        gradient = centre + torch.randn(400, 3, generator=noise, dtype=torch.float64)
        form = 2 * centre + 0.5 * gradient + 3 * torch.randn(400, 3, generator=noise, dtype=torch.float64)
        found.append(sampling.ratio(gradient, form))
    ratios, errors = np.array(found).T
    assert ratios.mean() == pytest.approx(2.5, abs=0.01)
    assert errors.mean() == pytest.approx(ratios.std(), rel=0.15)


def numbers(svg):
    """Every text of a picture that is a number."""
    texts = [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text") and element.text]
    return [float(text.replace("−", "-")) for text in texts if re.fullmatch(r"[−+-]?[\d.]+", text)]


def test_rolls_counts_what_was_rolled():
    n = 137
    svg = sampling.rolls(ALPHA, OPS, DRAWS, n).svg()
    winners = (ALPHA + DRAWS[:n]).argmax(-1).tolist()
    for k in range(3):
        assert round(winners.count(k) / n, 3) in numbers(svg)
    assert svg.count(">wins<") == 1
    place = svg.index(">wins<")
    rows = [svg.index(f">{name}<") for name in ("skip", "conv 3×3", "avg pool 3×3")]
    assert max(k for k in range(3) if rows[k] < place) == winners[-1]


def test_simplex_places_the_draws():
    tau = 0.7
    svg = sampling.simplex(ALPHA, OPS, DRAWS, tau).svg()
    z = ((ALPHA + DRAWS) / tau).softmax(-1)
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="3.0"', svg)]
    assert len(dots) == 400
    x = 50 * z[:400, 0] + 390 * z[:400, 1] + 220 * z[:400, 2]
    y = 316 * (z[:400, 0] + z[:400, 1]) + 22 * z[:400, 2]
    np.testing.assert_allclose(dots, torch.stack([x, y], -1), atol=0.051)
    for k in range(3):
        assert f"E[Z] {float(z[:, k].mean()):.3f}" in svg


def curve(svg, which):
    """The points of the ``which``-th line of a chart, in pixels."""
    path = re.findall(r'<path d="([^"]+)"', svg)[which]
    return np.array([[float(part) for part in pair.split(",")] for pair in re.findall(r"[\d.]+,[\d.]+", path)])


def test_temperatures_by_quadrature():
    """Two operations: α₁ + G₁ − α₂ − G₂ is logistic, so E[Z] and the gradient's noise are one-dimensional integrals."""
    alpha, value = torch.tensor([0.8, 0.0], dtype=torch.float64), torch.tensor([1.0, -0.5], dtype=torch.float64)
    g = gates.gumbel(alpha.expand(200_000, 2), torch.Generator().manual_seed(4))
    svg = sampling.temperatures(alpha, ("skip", "conv3"), g, value).svg()

    def mean(function, tau):
        def integrand(x):
            return function(expit((0.8 + x) / tau), tau) * expit(x) * expit(-x)

        return quad(integrand, -30, 30, points=[-0.8], limit=200)[0]

    def gradient(z, tau):  # of α₁; that of α₂ is its negative
        return z * (1 - z) * 1.5 / tau

    taus = np.geomspace(0.03, 10, 26)
    drawn = curve(svg, 0)[:, 1]
    expected = [mean(lambda z, tau: z, tau) for tau in taus]
    pixels = 218 - np.array(expected) / 0.6 * (218 - 30)
    np.testing.assert_allclose(drawn, pixels, atol=1)

    noise = np.log10([mean(lambda z, tau: gradient(z, tau) ** 2, tau) / mean(gradient, tau) ** 2 - 1 for tau in taus])
    drawn = curve(svg, 4)[:, 1]  # after two curves and two levels
    slope = np.polyfit(noise, drawn, 1)  # decades to pixels
    np.testing.assert_allclose(drawn, np.polyval(slope, noise), atol=1.5)


def test_children_shows_every_child_and_both_gaps():
    chart = sampling.children(net, square, P, TARGET, 0.0)
    found = sampling.expectations(net, square, P, 0.0)
    for name in found.names:
        assert f">{name}<" in chart.svg()
    assert f"= {found.feature_gap:.2f}<" in chart.svg()
    assert f"= {found.loss_gap:.2f}".replace("-", "−") in chart.svg()
    assert "= 0.00<" in sampling.children(net, square, P, TARGET, 1.0).svg()
    assert "3 children" in sampling.children(net, square, P, TARGET, 1.0, shared=True).svg()


def test_credit_bars_tell_the_ratio():
    gradient = torch.randn(500, 3, generator=torch.Generator().manual_seed(5)) + torch.tensor([1.0, -1.0, 0.5])
    svg = sampling.credit_bars({"doubled": (gradient, 2 * gradient)}, OPS).svg()
    assert "credit form = 2.00 ± 0.00 × gradient" in svg
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill="#[0-9a-f]{6}" rx="2"', svg)]
    np.testing.assert_allclose(heights[1::2], 2 * np.array(heights[::2]), atol=0.2)


def test_the_chosen_operation_gets_the_credit_of_a_cold_draw():
    """At τ → 0 all of z · ∂L/∂z is the chosen operation's, whatever the loss."""
    z = gates.concrete(ALPHA.expand_as(DRAWS), 1e-3, DRAWS)
    paid = credit.taylor(z, torch.tensor([1.0, 2.0, 1.5], dtype=torch.float64).expand_as(z)).abs()
    share = paid.gather(-1, z.argmax(-1, keepdim=True))[:, 0] / paid.sum(-1)
    assert float(share.median()) == 1
    assert float(share.mean()) > 0.999


def recording(method="snas", certain=0.9, end=(0.9, 0.3, 0.6)):
    probs = np.full(TOY.shape, (1 - certain) / 4)
    probs[..., 3] = certain
    metrics = dict(zip(("accuracy", "child_accuracy", "child_accuracy_recalibrated"), end, strict=True))
    steps = [
        Step(t, "update", {"updates": t + 1.0, "entropy": 1.5 - 0.1 * t, **(metrics if t % 5 == 4 else {})}, probs)
        for t in range(10)
    ]
    return Recording.from_steps(steps, {"method": method, "space": TOY.to_json()})


def test_last_is_the_newest_measurement():
    found = recording()
    assert sampling.last(found, "child_accuracy") == pytest.approx(0.3)
    steps = [
        Step(0, "update", {"entropy": 1.0, "loss": 2.0}, np.full(TOY.shape, 0.2)),
        Step(1, "update", {"loss": 1.0}),
    ]
    sparse = Recording.from_steps(steps, {})
    assert sampling.last(sparse, "entropy") == 1.0


def test_derivation_shows_the_numbers_of_the_recordings():
    svg = sampling.derivation({"one": recording(end=(0.91, 0.32, 0.63)), "two": recording("random")}).svg()
    assert [n for n in numbers(svg) if n in {0.91, 0.32, 0.63}] == [0.91, 0.32, 0.63]
    assert svg.count(">–<") == 1  # random search has no supernet accuracy to show
    dots = [float(x) for x in re.findall(r'<circle cx="([\d.]+)" cy="50"', svg)]
    np.testing.assert_allclose(sorted(dots), 190 + 330 * np.array([0.32, 0.63, 0.91]), atol=0.1)


def test_certainty_says_what_the_cut_keeps():
    svg = sampling.certainty({"one": recording(certain=0.7)}, 1.0).svg()
    assert "kept by the cut, mean: 0.70" in svg
    assert svg.count(">0.70<") == 10
    assert "update 1<" in sampling.certainty({"one": recording()}, 0.0).svg()


def test_journey_draws_where_it_was_measured():
    svg = sampling.journey({"one": recording()}).svg()
    assert len(curve(svg, 0)) == 2  # two measurements in ten rows
    assert len(curve(svg, 3)) == 10  # entropy at every row


def test_claims_are_read_from_the_file(tmp_path):
    entry = {"verdict": "partly", "n": 10, "ours": 0.25, "low": -0.05, "high": 0.5, "paper": ""}
    quoted = entry | {
        "claim": "entropy elsewhere",
        "verdict": "quoted",
        "n": 0,
        "ours": None,
        "low": None,
        "high": None,
    }
    rows = [entry | {"claim": "entropy is lower"}, entry | {"claim": "cost falls"}, quoted]
    file = tmp_path / "claims.json"
    file.write_text(json.dumps({"claims": rows}))
    svg = sampling.claims(file, ["entropy"]).svg()
    assert "n = 10" in svg
    assert "+0.25" in svg
    assert "entropy is lower" in svg
    assert "cost falls" not in svg
    assert "elsewhere" not in svg
    assert "is not here" in sampling.claims(tmp_path / "none.json", ["entropy"]).svg()
    assert "seeds, on valid" in sampling.claims(file, ["entropy"], "on valid").svg()
    with pytest.raises(UserError, match="no measured claim"):
        sampling.claims(file, ["entropie"])


def test_every_picture_is_well_formed_repeats_and_keeps_names_as_text():
    runs = {"<script>": recording(), "b": recording("darts", 0.4)}
    draw = [
        lambda: sampling.mix_or_draw(ALPHA, OPS, DRAWS[0], 0.3),
        lambda: sampling.rolls(ALPHA, OPS, DRAWS, 5),
        lambda: sampling.simplex(ALPHA, OPS, DRAWS, 1.0),
        lambda: sampling.temperatures(ALPHA, OPS, DRAWS, P),
        lambda: sampling.children(net, square, P, TARGET, 0.5),
        lambda: sampling.derivation(runs),
        lambda: sampling.journey(runs),
        lambda: sampling.certainty(runs, 0.5),
    ]
    for one in draw:
        svg = one().svg()
        ET.fromstring(svg)
        assert svg == one().svg()
        assert "<script" not in svg
        assert "nan" not in svg


def test_mix_or_draw_says_what_is_kept():
    svg = sampling.mix_or_draw(ALPHA, OPS, DRAWS[0], 0.05).svg()
    z = ((ALPHA + DRAWS[0]) / 0.05).softmax(-1)
    assert f"keeps {float(P.max()):.0%}" in svg
    assert f"keeps {float(z.max()):.0%}" in svg


def test_a_page_has_room_for_its_caption():
    words = "one two three four five six seven eight nine ten " * 8
    short, long = (ET.fromstring(drawing.picture("t", caption, 100).svg()) for caption in ("one", words))
    assert float(long.get("height")) > float(short.get("height"))
    for page in (short, long):
        last = max(float(text.get("y")) for text in page.iter() if text.tag.endswith("text"))
        assert last < float(page.get("height"))


def test_charts_in_a_row_do_not_overlap():
    one = '<svg xmlns="x" width="100" height="50"></svg>'
    body, width, height = drawing.row(one, one, one, gap=10)
    assert re.findall(r'<svg x="(\d+)"', body) == ["0", "110", "220"]
    assert (width, height) == (320, 50)
    with pytest.raises(ValueError, match="width and height"):
        drawing.row("<svg></svg>")
