"""Neural architecture search, one readable file a method.

Names and modules load on first use, so that importing this does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

_HOME = {
    "Knob": "run",
    "Knobs": "run",
    "Metric": "run",
    "Run": "run",
    "Step": "run",
    "declare": "run",
    "Recording": "record",
    "runs": "record",
    "UserError": "errors",
    "CellGraph": "graph",
    "Space": "space",
    "Supernet": "supernet",
    "Child": "supernet",
    "make_task": "task",
    "Task": "task",
    "published": "published_cells",
    "published_network": "published_cells",
    "Job": "jobs",
    "search": "jobs",
    "search_together": "jobs",
    "branch": "jobs",
    "futures": "together",
    "presets": "jobs",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        if not name.startswith("_") and find_spec(f"nascore.{name}") is not None:
            return import_module(f"nascore.{name}")
        raise AttributeError(f"module 'nascore' has no attribute {name!r}")
    value = getattr(import_module(f"nascore.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
