"""Rates, delays and sizes as people write them, and statistics of rounds."""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Sequence
from fractions import Fraction

_RATES = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_SIZES = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def _split(text: str, units: dict, example: str) -> tuple[float, str]:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in units or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number with one of {', '.join(filter(None, units))}, as in {example}")
    return float(found[1]), found[2]


def rate(text: str) -> int | None:
    """Bits a second of `1gbit` or `200mbit`; None for `none`, which is no limit."""
    if text.strip().lower() == "none":
        return None
    number, unit = _split(text, _RATES, "1gbit")
    if number * _RATES[unit] < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: give at least 1mbit")
    return round(number * _RATES[unit])


def rate_name(bits: int | None) -> str:
    """`1 Gbit/s`, `200 Mbit/s`, `no limit`."""
    if bits is None:
        return "no limit"
    unit, name = (10**9, "Gbit/s") if bits >= 10**9 else (10**6, "Mbit/s")
    return f"{bits / unit:g} {name}"


def delay(text: str) -> float:
    """Seconds of `1ms` or `500us`; `0` is none."""
    if text.strip() == "0":
        return 0.0
    number, unit = _split(text, _TIMES, "1ms")
    return number * _TIMES[unit]


def size(text: str) -> int:
    """Bytes of `64MiB`; a multiple of 4096, so that all ranks have as many elements."""
    number, unit = _split(text, _SIZES, "64MiB")
    bytes_ = round(number * _SIZES[unit])
    if bytes_ == 0 or bytes_ % 4096:
        raise argparse.ArgumentTypeError(f"{text!r}: give a multiple of 4 KiB")
    return bytes_


def size_name(bytes_: int) -> str:
    """`64 MiB`, `4 KiB`."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if bytes_ >= unit and bytes_ % unit == 0:
            return f"{bytes_ // unit} {name}"
    return f"{bytes_} B"


def ranks(text: str) -> int:
    """A number of ranks, 2 to 64."""
    if not text.isdigit() or not 2 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r}: give 2 to 64 ranks")
    return int(text)


def words(*known: str):
    """A parser of words with commas between them, each of which is known."""

    def parse(text: str) -> list[str]:
        found = [word.strip() for word in text.split(",") if word.strip()]
        unknown = [word for word in found if word not in known]
        if unknown or not found:
            raise argparse.ArgumentTypeError(f"{text!r}: give some of {','.join(known)}")
        return found

    return parse


def sizes(text: str) -> list[int]:
    """Sizes with commas between them."""
    return [size(word) for word in text.split(",")]


def median(rounds: Sequence[float]) -> float:
    return statistics.median(rounds)


def quartiles(rounds: Sequence[float]) -> tuple[float, float]:
    """The middle half of the rounds lies between these."""
    if len(rounds) < 2:
        return rounds[0], rounds[0]
    low, _, high = statistics.quantiles(rounds, n=4, method="inclusive")
    return low, high


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """An interval that holds the median of what the values were drawn from, with at least this confidence.

    It needs no assumption about the distribution: the number of values below the median is binomial. With too few
    values it is all of them.
    """
    ordered, count = sorted(values), len(values)
    # Of the ways in which values can lie above or below, so many have no more than `place` below; in integers, of which the
    # first ones are too small for floats.
    tail, ways, place = 0, 1, 0
    most = (1 << count) * Fraction(1.0 - confidence) / 2
    while place < count // 2 and tail + ways <= most:
        tail += ways
        ways = ways * (count - place) // (place + 1)
        place += 1
    low = max(0, place - 1)
    return ordered[low], ordered[count - 1 - low]


def milliseconds(seconds: float) -> str:
    """Three digits: `0.123`, `12.3`, `1230`."""
    value = seconds * 1e3
    return f"{value:.3g}" if value < 1000 else f"{round(value, -1):.0f}"


def percent(part: float, digits: int = 0) -> str:
    """`66 %` of 0.66."""
    return f"{100 * part:.{digits}f} %"
