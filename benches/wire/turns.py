"""Times and bytes of contenders that take turns, on all ranks at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from wire.network import sent_bytes


@dataclass
class Rank:
    """What a case knows about where it runs.

    Attributes:
        rank, size: This rank, and how many there are.
        interface: Whose bytes are counted.
        tell: Sends a row of the report, or a note, to the program that started the ranks. Only rank 0's arrive.
        job: What was asked for.
    """

    rank: int
    size: int
    interface: str
    tell: Callable[..., None]
    job: dict[str, Any]

    def barrier(self) -> None:
        dist.barrier()

    def agreed(self, value: bool) -> bool:
        """What rank 0 says."""
        told = torch.tensor([value], dtype=torch.uint8)
        dist.broadcast(told, 0)
        return bool(told)

    def everybody(self, value: Any) -> list[Any]:
        """What each rank says, by its rank."""
        told: list[Any] = [None] * self.size
        dist.all_gather_object(told, value)
        return told


@dataclass
class Contender:
    """Something that is timed.

    Attributes:
        name: As in the tables.
        call: What is timed.
        prepare: What is done before each call, outside of its time.
    """

    name: str
    call: Callable[[], None]
    prepare: Callable[[], None] = lambda: None


@dataclass
class Measured:
    """Rounds of one contender: seconds of the slowest rank, and bytes that all ranks sent together."""

    seconds: list[float] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)


def measure(rank: Rank, contenders: list[Contender], rounds: int, limit: float) -> dict[str, Measured]:
    """Every contender once in each round, in an order that turns from round to round.

    The counters of bytes are read after a barrier, because a sender's call may end while its bytes still wait in front of
    the wire. So the few hundred bytes of a barrier are counted, too.

    Args:
        rank: Where this runs.
        contenders: The same on all ranks. They must have run before, untimed.
        rounds: How many rounds; fewer, but at least 2, if `limit` seconds are over.
        limit: See `rounds`.
    """
    mine = {contender.name: Measured() for contender in contenders}
    start = time.perf_counter()
    for number in range(rounds):
        if number >= 2 and rank.agreed(time.perf_counter() - start > limit):
            break
        turn = number % len(contenders)
        order = contenders[turn:] + contenders[:turn]
        # Backwards every other time around, so that nobody always follows the same one.
        for contender in order if number // len(contenders) % 2 == 0 else reversed(order):
            contender.prepare()
            rank.barrier()
            sent = sent_bytes(rank.interface)
            begin = time.perf_counter()
            contender.call()
            seconds = time.perf_counter() - begin
            rank.barrier()
            mine[contender.name].seconds.append(seconds)
            mine[contender.name].sent.append(sent_bytes(rank.interface) - sent)
    all_ranks = rank.everybody(mine)
    return {
        name: Measured(
            [max(each) for each in zip(*(told[name].seconds for told in all_ranks), strict=True)],
            [sum(each) for each in zip(*(told[name].sent for told in all_ranks), strict=True)],
        )
        for name in mine
    }


def row(measured: Measured, **more: Any) -> dict[str, Any]:
    """A row of the report."""
    return {
        "seconds": [round(seconds, 7) for seconds in measured.seconds],
        "sent_bytes": sorted(measured.sent)[len(measured.sent) // 2],
        **more,
    }
