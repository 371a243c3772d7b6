"""What of the papers' claims shows on digits: ten paired seeds, medians, bootstrap intervals, wins.

``python benchmarks/claims.py [--seeds 10] [--json FILE]`` completes the grid of searches (``grid.py``; an hour of one
core when nothing is cached) and prints the claims with what was measured. Accuracies are on the 497 test images, which
no search reads; *stale* means batch norm statistics as inherited, *recalibrated* re-estimated on the training images.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from grid import CACHE, Setting, complete, grid

from nascore.evaluate import compare, interval

LAMBDAS = (0.0, 0.15, 0.5, 1.5)
COMMAND = "python benchmarks/claims.py --seeds {seeds}"
COLUMNS = (
    "supernet",
    "argmax_stale",
    "argmax_recalibrated",
    "own_stale",
    "own_recalibrated",
    "entropy",
    "cost",
    "edges",
)

QUOTED = {"ours": None, "low": None, "high": None}  # JSON has no nan

Rows = dict[Setting, dict[str, Any]]


def values(rows: Rows, name: str, column: str) -> np.ndarray:
    """One column of one setting, a value a seed, in the order of seeds."""
    found = sorted((setting.seed, row[column]) for setting, row in rows.items() if setting.name == name)
    return np.array([value for _, value in found], dtype=float)


def claim(text: str, paper: str, verdict: str, n: int, numbers: tuple[float, float, float]) -> dict[str, Any]:
    """One claim as the table and the JSON show it."""
    ours, low, high = numbers
    return {"claim": text, "verdict": verdict, "n": n, "ours": ours, "low": low, "high": high, "paper": paper}


def drop(rows: Rows, name: str, column: str) -> np.ndarray:
    """Accuracy lost from the supernet to its child, a value a seed."""
    return values(rows, name, "supernet") - values(rows, name, column)


def grade(low: float, high: float, expected: Callable[[float], bool]) -> str:
    """*Reproduced* if the whole interval is as claimed, *partly* if one end of it is, else not."""
    ends = expected(low), expected(high)
    return "reproduced" if all(ends) else "partly" if any(ends) else "not reproduced"


def paired(text: str, paper: str, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """The claim that a − b is above 0, over paired seeds."""
    found = compare(a, b)
    verdict = grade(found.low, found.high, lambda value: value > 0)
    text = f"{text} ({found.wins} of {found.n} seeds)"
    return claim(text, paper, verdict, found.n, (found.median, found.low, found.high))


def claims(rows: Rows) -> list[dict[str, Any]]:
    """Every claim of SNAS and first-order DARTS that a small experiment can show, and those it can only quote."""
    bi, single, snas = "darts bi", "darts single", "snas λ=0"
    found = []
    for column, label in (("argmax_stale", "stale"), ("argmax_recalibrated", "recalibrated")):
        lost = interval(drop(rows, snas, column))
        verdict = grade(lost[1], lost[2], lambda value: value <= 0.02)
        text = f"SNAS's child keeps the accuracy of the search: drop of the {label} child"
        found.append(
            claim(text, "88.54 % → 90.67 % (figure, from memory)", verdict, len(drop(rows, snas, column)), lost)
        )
    for name in (single, bi):
        for column in ("argmax_stale", "argmax_recalibrated", "own_stale", "own_recalibrated"):
            rule, label = column.split("_")
            rule = "top-2 rule" if rule == "own" else "argmax rule"
            text = f"{name}: its child loses more than SNAS's ({rule}, {label}): difference of the drops"
            pair = drop(rows, name, column), drop(rows, snas, column)
            found.append(paired(text, "87.67 % → 54.66 % (figure, from memory)", *pair))
    for name in (single, bi):
        text = f"SNAS ends with lower edge entropy than {name}: difference in nats"
        found.append(paired(text, "curve, no number", values(rows, name, "entropy"), values(rows, snas, "entropy")))
    for before, after in pairwise(LAMBDAS):
        text = f"cost falls from λ = {before:g} to {after:g}: difference"
        found.append(
            paired(
                text,
                "normal cell 8/8/8, reduction cell 8/8/2 of 14 edges",
                values(rows, f"snas λ={before:g}", "cost"),
                values(rows, f"snas λ={after:g}", "cost"),
            )
        )
    text = "a moderate penalty raises the child's accuracy (λ = .15 against 0, recalibrated, not retrained)"
    found.append(
        paired(
            text,
            "2.85 % against 2.98 % error, retrained",
            values(rows, "snas λ=0.15", "argmax_recalibrated"),
            values(rows, snas, "argmax_recalibrated"),
        )
    )
    text = "random search with weight sharing ties SNAS (child, recalibrated): SNAS − random"
    ties = compare(values(rows, snas, "argmax_recalibrated"), values(rows, "random", "argmax_recalibrated"))
    verdict = grade(ties.low, ties.high, lambda value: abs(value) <= 0.02)
    found.append(
        claim(
            text,
            "2.85 ± .08 against 2.85 ± .02 % error, retrained",
            verdict,
            ties.n,
            (ties.median, ties.low, ties.high),
        )
    )
    nothing = (float("nan"),) * 3
    found.append(claim("SNAS moderate on CIFAR-10", "2.85 ± .02 % error, 2.8 M parameters", "quoted", 0, nothing))
    found.append(claim("SNAS mild on ImageNet", "27.3 / 9.2 % error, 4.3 M, 522 M multiply-adds", "quoted", 0, nothing))
    return found


def exact() -> list[dict[str, Any]]:
    """The claims that are theorems, computed once more in float64: what is left is rounding."""
    import torch

    from nascore import credit, resource

    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    outputs, offset, z = draw(4, 6), draw(6), draw(1000, 4).softmax(-1).requires_grad_()
    node = z @ outputs  # x_j of eq. (2), one edge, 1000 samples

    def received(loss: torch.Tensor) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(loss.sum(), z, retain_graph=True)
        return credit.edge_credit(z, gradient)  # eq. (5)

    quadratic, affine = node.square().sum(-1) / 2, node @ offset + 3
    alpha, price = draw(4), draw(4)
    p = alpha.softmax(-1)
    enumerated = sum(p[k] * credit.one_hot_score(torch.eye(4, dtype=p.dtype)[k], alpha) * price[k] for k in range(4))
    found = {
        "credit R equals the loss's change where the loss is affine: largest difference": received(affine)
        - (affine - 3),
        "credit R is twice the loss where the loss is quadratic, so the credit form is 2 x the gradient: ratio - 2": (
            received(quadratic) / quadratic - 2
        ),
        "gradient of the expected cost, eq. (8), equals enumeration: largest difference": (
            resource.exact(p, price) - enumerated
        ),
    }
    entries = []
    for text, difference in found.items():
        largest = float(difference.detach().abs().max())
        verdict = "exact" if largest < 1e-12 else "not reproduced"
        entries.append(
            claim(text, "stated for any loss; exact as told here", verdict, difference.numel(), (largest,) * 3)
        )
    return entries


def table(rows: Rows) -> str:
    """Medians with 95 % intervals, a row a setting."""
    names = list(dict.fromkeys(setting.name for setting in rows))
    lines = ["| setting | n | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in names:
        cells = []
        for column in COLUMNS:
            middle, low, high = interval(values(rows, name, column))
            cells.append(f"{middle:.3f} [{low:.3f}, {high:.3f}]")
        lines.append(f"| {name} | {len(values(rows, name, 'cost'))} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="paired seeds (default 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the claims as a JSON list")
    parser.add_argument("--cache", type=Path, default=CACHE, help="finished searches are kept here")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds: {arguments.seeds} is too few; an interval needs at least 2")
    torch.set_num_threads(1)
    rows = complete(grid(arguments.seeds, LAMBDAS), arguments.cache)
    command = COMMAND.format(seeds=arguments.seeds)
    found = [entry | {"command": command} for entry in [*exact(), *claims(rows)]]
    print(table(rows), end="\n\n")
    for entry in found:
        numbers = (
            "" if entry["verdict"] == "quoted" else " {ours:+.3f} [{low:+.3f}, {high:+.3f}], n = {n}".format(**entry)
        )
        print(f"{entry['verdict']:>14}  {entry['claim']}:{numbers}  · paper: {entry['paper']}")
    if arguments.json:
        clean = [entry | (QUOTED if entry["verdict"] == "quoted" else {}) for entry in found]
        arguments.json.write_text(json.dumps(clean, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
