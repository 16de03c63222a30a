"""Telling how far work on a file is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from huffwire._errors import OptionError

# What `progress=` takes: nothing, True for a bar, or a function of the bytes done and the bytes there are.
Progress: TypeAlias = Callable[[int, int], object] | bool | None
Report: TypeAlias = Callable[[int, int], object] | None

# Seconds between two lines of `_line`.
_PAUSE = 0.1


@contextmanager
def reporting(progress: Progress, total: int, what: str) -> Iterator[Report]:
    """The function that is told how far the work is; None if nobody wants to know.

    Args:
        progress: As the caller of a function of this package gives it.
        total: Bytes of all tensors.
        what: What a bar says is being done.

    Raises:
        OptionError: ``progress`` is nothing of that kind.
    """
    if progress is None or progress is False:
        yield None
    elif progress is True:
        with _bar(total, what) as report:
            yield report
    elif callable(progress):
        progress(0, total)
        yield progress
    else:
        raise OptionError(
            f"progress={progress!r}: give True, a function of two numbers (bytes done, bytes in all), or None"
        )


@contextmanager
def _bar(total: int, what: str) -> Iterator[Report]:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        with _line(total, what) as report:
            yield report
        return
    with tqdm(total=total, desc=what, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        yield lambda done, _: bar.update(done - bar.n)


@contextmanager
def _line(total: int, what: str) -> Iterator[Report]:
    """A line on standard error, where there is no tqdm."""
    told = -_PAUSE

    def report(done: int, _: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _PAUSE or done == total:
            told = now
            percent = 100 * done // total if total else 100
            print(f"\r{what}: {percent:3} % of {total:,} bytes", end="", file=sys.stderr, flush=True)

    report(0, total)
    try:
        yield report
    finally:
        print(file=sys.stderr)
