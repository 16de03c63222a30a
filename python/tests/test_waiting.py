"""Ranks that wait for each other, or seem to: several ranks in one process, over either transport."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from huffwire.distributed import engine, pieces, schedules

# Only a failed test waits so long.
TIMEOUT = timedelta(seconds=40)


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


def together(size: int, function: Callable[[int], object]) -> list:
    """What a function returns on each rank, all at the same time. An exception of a rank is returned, too."""
    found: list = [None] * size

    def run(rank: int) -> None:
        try:
            found[rank] = function(rank)
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 3 * TIMEOUT.total_seconds()
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))
    assert not any(thread.is_alive() for thread in threads), found
    return found


def test_pieces_that_are_longer_than_what_a_connection_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "SLOTS", 1)
    store, size, piece = dist.HashStore(), 3, 16 << 20

    def rank(rank: int) -> None:
        own = engine.Engine(store, rank, size, TIMEOUT, transport="tcp")
        own.configure(pieces.Coder(None), piece)
        source = torch.full((size * piece,), rank, dtype=torch.uint8)
        output = torch.empty_like(source)
        shares = [piece] * size
        schedules.all_to_all(own, source, shares, output, shares, [output], False).wait()
        assert all((part == peer).all() for peer, part in enumerate(output.chunk(size)))
        schedules.reduce_scatter(
            own, source, output[:piece], shares, schedules.Sum(False, None), [output], False
        ).wait()
        assert (output[:piece] == size * (size - 1) // 2).all()

    assert together(size, rank) == [None] * size
