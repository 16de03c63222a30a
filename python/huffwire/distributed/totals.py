"""Running totals of what the collectives of this process did."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, fields

__all__ = ["Totals", "reset_stats", "stats"]


@dataclass
class Totals:
    """Totals of one collective.

    Attributes:
        calls: Calls, of either kind.
        fallbacks: Calls that were passed to the wrapped process group as they are.
        pieces: Pieces that this rank sent.
        bytes_before: Bytes of elements in the pieces that this rank sent, counted once for each receiver.
        bytes_after: Bytes that were sent for them, headers of pieces included.
        coding: Seconds of encoding and decoding, in both threads together.
        waiting: Seconds that both threads waited for other ranks or the link.
    """

    calls: int = 0
    fallbacks: int = 0
    pieces: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    coding: float = 0.0
    waiting: float = 0.0


_LOCK = threading.Lock()
_TOTALS: dict[str, Totals] = {}


def add(collective: str, more: Totals) -> None:
    """Adds to the totals of a collective."""
    with _LOCK:
        totals = _TOTALS.setdefault(collective, Totals())
        for field in fields(Totals):
            setattr(totals, field.name, getattr(totals, field.name) + getattr(more, field.name))


def fallback(collective: str) -> None:
    """Counts a call that was passed to the wrapped process group."""
    with _LOCK:
        totals = _TOTALS.setdefault(collective, Totals())
        totals.calls += 1
        totals.fallbacks += 1


def stats() -> dict[str, dict[str, int | float]]:
    """Running totals of this process, for each collective that was called: see `Totals`.

    >>> import huffwire.distributed
    >>> huffwire.distributed.reset_stats()
    >>> huffwire.distributed.stats()
    {}
    """
    with _LOCK:
        return {name: asdict(totals) for name, totals in _TOTALS.items()}


def reset_stats() -> None:
    """Sets all totals back to nothing."""
    with _LOCK:
        _TOTALS.clear()
