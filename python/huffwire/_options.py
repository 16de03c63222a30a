"""Checks of options that are numbers."""

from __future__ import annotations

from math import isfinite

from huffwire._errors import OptionError


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Refuses what is no whole number from `least` to `most`.

    Raises:
        OptionError: It is none.
    """
    # True is an int, too.
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < least
        or (most is not None and value > most)
    ):
        end = "on" if most is None else f"to {most}"
        raise OptionError(f"{name}={value!r}: give a whole number from {least} {end}")


def check_seconds(name: str, value: object) -> None:
    """Refuses what is no time.

    Raises:
        OptionError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        raise OptionError(f"{name}={value!r}: give seconds, from 0 on")
