"""Published cells by name, and the full-size networks their authors trained.

The cells are facts from public repositories, entered in this kit's own format in ``published_cells.json``, each with
the repository, file and commit it was read in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, overload

from nascore.errors import choose
from nascore.graph import CellGraph
from nascore.space import SPACES, Space

if TYPE_CHECKING:
    from nascore.supernet import Child


@dataclass(frozen=True)
class Published:
    """A published architecture: its cells, the space they are from, and where they were read.

    ``channels`` is the width of the first cell in the authors' own CIFAR-10 and ImageNet networks.
    """

    name: str
    title: str
    space: Space
    graphs: dict[str, CellGraph]
    channels: dict[str, int]
    paper: str
    source: str
    note: str


@overload
def published() -> tuple[str, ...]: ...
@overload
def published(name: str) -> dict[str, CellGraph]: ...
def published(name: str | None = None) -> tuple[str, ...] | dict[str, CellGraph]:
    """The cells ``{"normal": ..., "reduce": ...}`` of a published architecture; without a name, all the names."""
    return tuple(_entries()) if name is None else dict(about(name).graphs)


def about(name: str) -> Published:
    """Everything known about a published architecture. ``UserError`` for an unknown name."""
    return _entries()[choose("name", name, _entries())]


def published_network(
    name: str, stem: Literal["cifar", "imagenet"] = "cifar", auxiliary: bool = False, channels: int | None = None
) -> Child:
    """The full-size network: 20 cells for CIFAR-10, 14 for ImageNet, as wide as the authors made it unless told.

    Source: Liu, Simonyan and Yang (2019), section 3.2 and their code, which the others' networks follow.
    """
    from nascore.supernet import Child  # imports torch

    choose("stem", stem, ("cifar", "imagenet"))
    cells, classes = (20, 10) if stem == "cifar" else (14, 1000)
    found = about(name)
    width = found.channels[stem] if channels is None else channels
    return Child(found.space, found.graphs, width, cells, classes, stem, auxiliary)


@cache
def _entries() -> dict[str, Published]:
    entries = {}
    text = files("nascore").joinpath("published_cells.json").read_text(encoding="utf-8")
    for name, fields in json.loads(text).items():
        space = SPACES[fields.pop("space")]
        graphs = {cell: space.graph(**fields.pop(cell)) for cell in space.cells}
        entries[name] = Published(name=name, space=space, graphs=graphs, **fields)
    return entries
