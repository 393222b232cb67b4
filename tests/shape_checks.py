"""The checker of array shapes that conftest.py puts around radlearn's functions."""

from collections.abc import Callable
from typing import Any, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

CONF = BeartypeConf(is_pep484_tower=True)  # an int where a float is asked for is no mistake


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check arguments and results that are arrays; mypy has checked the rest already."""
    hints = {
        name: hint if _holds_array(hint) else Any for name, hint in function.__annotations__.items()
    }
    if all(hint is Any for hint in hints.values()):
        return function
    function.__annotations__ = hints
    return beartype(conf=CONF)(function)


def _holds_array(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_holds_array(part) for part in get_args(hint))
