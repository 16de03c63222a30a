"""Telling how far work on a file is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from huffwire._errors import OptionError

# What `progress=` takes: nothing, True for a bar, or a function of the bytes done and the bytes there are.
Progress: TypeAlias = Callable[[int, int], object] | bool | None
# The same where nobody may know beforehand how many bytes there are.
OpenProgress: TypeAlias = Callable[[int, int | None], object] | bool | None
Report: TypeAlias = Callable[[int, int], object] | None
OpenReport: TypeAlias = Callable[[int, int | None], object] | None

# Seconds between two lines of `_line`.
_PAUSE = 0.1


@contextmanager
def reporting(progress: Any, total: int | None, what: str) -> Iterator[Any]:
    """The function that is told how far the work is; None if nobody wants to know.

    Args:
        progress: As the caller of a function of this package gives it.
        total: Bytes of all tensors; None if they are not known, which only a bar can bear.
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
def open_reporting(progress: OpenProgress, what: str) -> Iterator[OpenReport]:
    """`reporting` where the bytes of all tensors become known on the way, or never.

    Raises:
        OptionError: ``progress`` is nothing of that kind.
    """
    if callable(progress):
        yield progress
        return
    with reporting(progress, None, what) as report:
        yield report


@contextmanager
def _bar(total: int | None, what: str) -> Iterator[OpenReport]:
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        with _line(total, what) as report:
            yield report
        return
    with tqdm(total=total, desc=what, unit="B", unit_scale=True, unit_divisor=1024) as bar:

        def report(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield report


@contextmanager
def _line(total: int | None, what: str) -> Iterator[OpenReport]:
    """A line on standard error, where there is no tqdm."""
    told = -_PAUSE

    def report(done: int, total: int | None) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _PAUSE or done == total:
            told = now
            if total is None:
                state = f"{done:,} bytes"
            else:
                state = f"{100 * done // total if total else 100:3} % of {total:,} bytes"
            print(f"\r{what}: {state}", end="", file=sys.stderr, flush=True)

    report(0, total)
    try:
        yield report
    finally:
        print(file=sys.stderr)
