"""Running totals of what the collectives of this process did."""

from __future__ import annotations

import itertools
import threading
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["Totals", "reset_stats", "stats"]


@dataclass
class Totals:
    """Totals of one collective.

    Attributes:
        calls: Calls, of either kind.
        fallbacks: Calls that were passed to the wrapped process group as they are.
        pieces: Pieces that this rank sent; with the transport ``"device"`` messages.
        bytes_before: Bytes of elements in the pieces that this rank sent, counted once for each receiver.
        bytes_after: Bytes that were sent for them, headers of pieces and letters included.
        coding: Seconds of encoding and decoding, in both threads together; nothing of what devices do in their own time.
        waiting: Seconds that both threads waited for other ranks or the link; with the transport ``"device"`` for letters.
    """

    calls: int = 0
    fallbacks: int = 0
    pieces: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    coding: float = 0.0
    waiting: float = 0.0


@dataclass
class RefreshTotals(Totals):
    """Totals of the messages that keep codebooks the same on all ranks, under the name ``"refresh"``.

    Attributes:
        switches: How often new codebooks came.
        regret: What the last judgement that this rank was told of found that codebooks lose: 0.01 for one percent;
            None if there was none.
    """

    switches: int = 0
    regret: float | None = None


_LOCK = threading.Lock()
_TOTALS: dict[str, Totals] = {}


def _of(collective: str) -> Any:
    found = _TOTALS.get(collective)
    if found is None:
        found = _TOTALS[collective] = RefreshTotals() if collective == "refresh" else Totals()
    return found


class Counter:
    """Counts calls that were passed to the wrapped process group, without a lock: adding is one call of C code."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins anew."""
        numbers = itertools.count()
        self.tick = numbers.__next__
        self._reads = 0

    def total(self) -> int:
        """How many there were; to be called with the lock. To read the number takes one."""
        self._reads += 1
        return self.tick() + 1 - self._reads


_COUNTERS: dict[str, Counter] = {}


def counter(collective: str) -> Counter:
    """Who counts the calls of a collective that were passed on."""
    with _LOCK:
        return _COUNTERS.setdefault(collective, Counter())


def add(collective: str, more: Totals) -> None:
    """Adds to the totals of a collective."""
    with _LOCK:
        totals = _of(collective)
        for field in fields(Totals):
            setattr(totals, field.name, getattr(totals, field.name) + getattr(more, field.name))


def fallback(collective: str) -> None:
    """Counts a call that was passed to the wrapped process group."""
    with _LOCK:
        totals = _of(collective)
        totals.calls += 1
        totals.fallbacks += 1


def judged(regret: float | None, switched: bool) -> None:
    """Counts what a check of codebooks told."""
    with _LOCK:
        totals = _of("refresh")
        totals.switches += switched
        totals.regret = totals.regret if regret is None else regret


def stats() -> dict[str, dict[str, Any]]:
    """Running totals of this process, for each collective that was called: see `Totals`. Where codebooks are
    refreshed, ``"refresh"`` has what `RefreshTotals` says.

    >>> import huffwire.distributed
    >>> huffwire.distributed.reset_stats()
    >>> huffwire.distributed.stats()
    {}
    """
    with _LOCK:
        all_of_them = {name: asdict(totals) for name, totals in _TOTALS.items()}
        for name, found in _COUNTERS.items():
            if count := found.total():
                of_name = all_of_them.setdefault(name, asdict(Totals()))
                of_name["calls"] += count
                of_name["fallbacks"] += count
        return all_of_them


def reset_stats() -> None:
    """Sets all totals back to nothing."""
    with _LOCK:
        _TOTALS.clear()
        for found in _COUNTERS.values():
            found.reset()
