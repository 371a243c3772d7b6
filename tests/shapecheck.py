"""The run-time type checker of the tests: shapes are checked, plain arguments are not.

The kit answers a wrong plain argument with a sentence of its own (`nascore.errors`), and the tests ask for that
sentence, so beartype must not be there first. A signature that names an array's shape is checked whole.
"""

import inspect
from typing import Any

from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is good enough for a float
_ARRAY = ("Float[", "Float32[", "Float64[", "Int[", "Int64[", "Bool[", "Num[", "Shaped[", "Integer[", "Real[", "UInt8[")


def check(function: Any) -> Any:
    """Return `function` checked by beartype if its signature names an array's shape, else as it is."""
    annotations = getattr(function, "__annotations__", {})
    if inspect.isclass(function) or not any(_names_a_shape(hint) for hint in annotations.values()):
        return function
    return _checked(function)


def _names_a_shape(hint: Any) -> bool:
    text = hint if isinstance(hint, str) else repr(hint)
    return any(name in text for name in _ARRAY)
