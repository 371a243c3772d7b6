"""Each exercise's stub is answered with a hint, and its hidden solution passes."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import stored
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def solve(notebook: nbformat.NotebookNode, folder: Path) -> Iterator[tuple[str, str]]:
    """Run a notebook's exercises with their solutions; yield what each check said to the stub and to the solution."""
    filled = stored.needed(stored.exercises(notebook))
    NotebookClient(filled, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    said = [(stored.tags(cell), stored.shown(cell)) for cell in filled.cells if cell.cell_type == "code"]
    stubs = [text for tags, text in said if "check" in tags]
    solutions = [text for tags, text in said if "solved" in tags]
    yield from zip(stubs, solutions, strict=True)


WITH_EXERCISES = [
    path for path in stored.STORED if any("exercise" in stored.tags(cell) for cell in stored.read(path).cells)
]


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda path: path.stem)
def test_exercises(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASVIZ_STATIC", "1")
    for stub, solution in solve(stored.read(path), path.parent):
        assert stub.startswith("Not yet:")
        assert solution.startswith("✓")


def exercise(stub: str, condition: str, solution: str) -> nbformat.NotebookNode:
    cells = [
        new_code_cell(stub, metadata={"tags": ["exercise"]}),
        new_code_cell(f"import nasviz.teach\nnasviz.teach.check(('think', {condition}))", metadata={"tags": ["check"]}),
        new_markdown_cell(
            f"<details><summary>Solution</summary>\n\n```python\n{solution}\n```\n</details>",
            metadata={"tags": ["solution"]},
        ),
    ]
    return new_notebook(cells=cells)


def test_the_runner_tells_right_from_wrong(tmp_path: Path) -> None:
    notebook = exercise("x = ...", "lambda: x == 2", "x = 2")
    notebook.cells += exercise("y = 3", "lambda: y == 3", "y = 4").cells
    (first, second) = solve(notebook, tmp_path)
    assert first == ("Not yet: think", "✓ Right.")
    assert second == ("✓ Right.", "Not yet: think")


def test_what_the_exercises_read_is_run_before_them_and_nothing_else(tmp_path: Path) -> None:
    cells = ["import sys as system", "a = 1", "b = a + len(system.argv) * 0", "raise SystemError", "def c(): return b"]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    notebook.cells += exercise("x = ...", "lambda: x == c()", "x = 1").cells
    kept = [cell.source for cell in stored.needed(stored.exercises(notebook)).cells]
    assert kept[:4] == [cells[k] for k in (0, 1, 2, 4)]
    assert list(solve(notebook, tmp_path)) == [("Not yet: think", "✓ Right.")]


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_an_exercise_has_three_parts(gone: int) -> None:
    notebook = exercise("x = ...", "lambda: x == 2", "x = 2")
    notebook.cells.append(new_markdown_cell("the end"))
    del notebook.cells[gone]
    with pytest.raises(ValueError, match=r"cell \d: an? (exercise|check)"):
        stored.exercises(notebook)
