"""The search methods, one file each; none imports another, and each is loaded only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from nascore.errors import choose
from nascore.run import Method

METHODS = {file.name: f"{__name__}.{file.name}" for file in iter_modules(__path__)}  # a file is a method


def get(name: str) -> Method:
    """The method ``name``: the function of that name in the module of that name.

    Raises:
        UserError: no such method, with the near match.
    """
    method: Method = getattr(import_module(METHODS[choose("method", name, METHODS)]), name)
    return method
