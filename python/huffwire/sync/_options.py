"""Checks of what a caller gives."""

from __future__ import annotations

from math import isfinite

from huffwire._errors import OptionError


def check_whole(name: str, value: object, least: int) -> None:
    """Refuses what is no whole number from `least` on.

    Raises:
        OptionError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{name}={value!r}: give a whole number from {least} on")


def check_seconds(name: str, value: object) -> None:
    """Refuses what is no time.

    Raises:
        OptionError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        raise OptionError(f"{name}={value!r}: give seconds, from 0 on")
