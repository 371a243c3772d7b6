"""The stored notebooks are fit to be read without a kernel, and the rules that say so can fail."""

from pathlib import Path

import nbformat
import pytest
import stored
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from nasviz.course import LESSONS


@pytest.mark.parametrize("path", stored.STORED, ids=lambda path: path.stem)
def test_stored_notebook(path: Path) -> None:
    assert path.stem in {lesson.stem for lesson in LESSONS}, "the map of the course does not know it"
    assert path.stat().st_size <= stored.LARGEST_FILE
    notebook = stored.read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert stored.problems(notebook) == []


@pytest.mark.parametrize("path", stored.STORED, ids=lambda path: path.stem)
def test_it_starts_with_a_picture(path: Path) -> None:
    """Title first, and at most one cell of imports before something is seen."""
    cells = stored.read(path).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    code = [cell for cell in cells if cell.cell_type == "code"]
    pictures = [any("image/svg+xml" in output.get("data", {}) for output in cell.outputs) for cell in code]
    assert any(pictures), "no picture at all"
    assert pictures.index(True) <= 1


def good() -> nbformat.NotebookNode:
    plain = new_output("display_data", {"text/plain": "a cell", "image/svg+xml": "<svg/>"})
    return new_notebook(cells=[new_markdown_cell("# A"), new_code_cell("1", execution_count=1, outputs=[plain])])


def code(source: str = "1", **more: object) -> nbformat.NotebookNode:
    return new_code_cell(source, execution_count=2, **more)


def shows(**data: str) -> nbformat.NotebookNode:
    return code(outputs=[new_output("display_data", {name.replace("_", "/"): text for name, text in data.items()})])


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (new_markdown_cell("[next](nowhere.ipynb)"), "nowhere.ipynb"),
        (code("\n" * stored.LONGEST_CELL + "1"), "lines of code"),
        (code("open('/tmp/x')"), "path of one machine"),
        (shows(text_plain="<x at /home/me/x.py>"), "path of one machine"),
        (shows(image_png="aaaa"), "without words"),
        (code(outputs=[new_output("error", ename="KeyError", evalue="", traceback=[])]), "KeyError"),
        (code(outputs=[new_output("stream", name="stderr", text="careful")]), "warning"),
        (code(outputs=[new_output("display_data", {stored.WIDGET: {}, "text/plain": "x"})]), "widget view"),
        (new_code_cell("1"), "top to bottom"),
    ],
)
def test_a_problem_is_found(cell: nbformat.NotebookNode, words: str) -> None:
    notebook = good()
    assert stored.problems(notebook) == []
    notebook.cells.append(cell)
    (problem,) = stored.problems(notebook)
    assert words in problem


def test_what_a_kernel_leaves_is_found() -> None:
    notebook = good()
    notebook.metadata.widgets = {}
    notebook.metadata.language_info = {"name": "python", "version": "3.11.7"}
    assert len(stored.problems(notebook)) == 2
