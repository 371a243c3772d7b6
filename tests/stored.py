"""What a stored notebook has to be, and the exercises in it."""

import ast
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1] / "notebooks"
STORED = sorted(FOLDER.glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:tmp|work|root|home|Users|opt|var)/")
LINK = re.compile(r"\]\(([^)#:\s]+)[^)]*\)")  # relative ones: no scheme
LONGEST_CELL, MOST_CELLS, LARGEST_FILE = 20, 45, 2 * 2**20  # lines, cells, bytes


def read(path: Path) -> NotebookNode:
    """Read a notebook, checking that it is one."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return list(cell.metadata.get("tags", []))


def problems(notebook: NotebookNode, folder: Path = FOLDER) -> list[str]:
    """Say, one sentence each, what a reader would stumble over in a stored notebook."""
    found = []
    if "widgets" in notebook.metadata:
        found.append("it holds widget state: a reader without a kernel sees an error instead of a picture")
    if "version" in notebook.metadata.get("language_info", {}):
        found.append("it holds the Python version of who ran it")
    if len(notebook.cells) > MOST_CELLS:
        found.append(f"it has {len(notebook.cells)} cells, {MOST_CELLS} at most")
    ran = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for cell in ran] != list(range(1, len(ran) + 1)):
        found.append("it was not run from top to bottom")
    for number, cell in enumerate(notebook.cells):
        found += [f"cell {number}: {text}" for text in problems_of_cell(cell, folder)]
    return found


def problems_of_cell(cell: NotebookNode, folder: Path) -> list[str]:
    """Say what is wrong with one cell."""
    found = []
    if cell.cell_type == "markdown":
        found += [
            f"links to {link}, which is not there" for link in LINK.findall(cell.source) if not (folder / link).exists()
        ]
    elif len(cell.source.splitlines()) > LONGEST_CELL:
        found.append(f"{len(cell.source.splitlines())} lines of code, {LONGEST_CELL} at most")
    if MACHINE_PATH.search(str(cell)):
        found.append("a path of one machine")
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if output.output_type == "error" and "raises-exception" not in tags(cell):
            found.append(f"a stored error: {output.ename}")
        if output.get("name") == "stderr":
            found.append("a stored warning")
        if WIDGET in data:
            found.append("a widget view, which is dead without a kernel")
        if data and "text/plain" not in data:
            found.append("a picture without words for those who cannot see it")
    return found


def exercises(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook with each exercise followed by its solution and the same check once more.

    An exercise is a code cell tagged ``exercise``, then a code cell tagged ``check``, then a markdown cell tagged
    ``solution`` with one fenced block of Python.

    Raises:
        ValueError: a check without its exercise before it or its solution after it.
    """
    cells = list(notebook.cells)
    for at in reversed([at for at, cell in enumerate(cells) if {"exercise", "check"} & set(tags(cell))]):
        if "exercise" in tags(cells[at]):
            if "check" not in tags(cells[at + 1]):
                raise ValueError(f"cell {at}: an exercise without its check after it")
            continue
        code = re.findall(r"```python\n(.*?)```", cells[at + 1].source, re.DOTALL)
        if "exercise" not in tags(cells[at - 1]) or "solution" not in tags(cells[at + 1]) or len(code) != 1:
            raise ValueError(f"cell {at}: a check needs its exercise before it and one block of solution after it")
        solution, again = nbformat.v4.new_code_cell(code[0]), nbformat.v4.new_code_cell(cells[at].source)
        solution.metadata.tags, again.metadata.tags = ["solution"], ["solved"]
        cells[at + 2 : at + 2] = [solution, again]
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def needed(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook with its exercises and, of the other code, the cells that bind a name they come to read."""
    kept, wanted = [], set()
    for cell in reversed([cell for cell in notebook.cells if cell.cell_type == "code"]):
        bound, read = names(cell.source)
        if {"exercise", "check", "solved", "solution"} & set(tags(cell)) or bound & wanted:
            kept.append(cell)
            wanted |= read
    return nbformat.v4.new_notebook(cells=kept[::-1], metadata=notebook.metadata)


def names(source: str) -> tuple[set[str], set[str]]:
    """Return the names that a cell binds, and those that it reads."""
    bound, read = set(), set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(name, ast.Load()):
                read.add(name)
            case ast.Name(name) | ast.FunctionDef(name) | ast.ClassDef(name):
                bound.add(name)
            case ast.alias(name, other):
                bound.add(other or name.partition(".")[0])
    return bound, read


def shown(cell: NotebookNode) -> str:
    """Return the plain text of what a code cell showed."""
    return "\n".join(output.get("data", {}).get("text/plain", output.get("text", "")) for output in cell.outputs)
