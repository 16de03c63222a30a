"""Checks of arguments that several functions take."""

from __future__ import annotations

from typing import Any

from huffwire import _elements
from huffwire._errors import OptionError, UnsupportedError


def _buffer(value: Any) -> Any:
    # The compiled part takes tuples, too: an address and a length. Only this package may name them.
    if type(value) is tuple:
        raise UnsupportedError("a tuple gives no access to its bytes: pass bytes")
    return value


def _number(value: int, name: str, least: int, most: int = 2**63 - 1) -> int:
    try:
        number = value.__index__()
    except AttributeError:
        raise OptionError(f"{name}={value!r}: give an integer") from None
    if not least <= number <= most:
        raise OptionError(f"{name}={number}: give a number from {least} to {most}")
    return number


def _seed(seed: int) -> int:
    return _number(seed, "seed", 0, 2**64 - 1)


def _runs(runs: int) -> int:
    return _number(runs, "runs", 1, 1 << 16)


def _value_input(found: _elements.Elements) -> tuple[Any, bool]:
    if found.dtype not in ("i8", "i32"):
        raise UnsupportedError(f"values of {found.dtype}: values are int8 or int32")
    return found.memory, found.dtype == "i32"
