"""Without a slow wire: what `auto` costs where it leaves calls to gloo."""

from __future__ import annotations

from collections.abc import Callable

from wire import collectives, planning, ways
from wire.collectives import Call
from wire.turns import Contender, Rank, measure, row
from wire.ways import Way

NAMES = ("all_reduce", "all_gather", "broadcast")
AGAIN = "gloo again"


# Calls of up to so many bytes are timed so many in a row. Before each turn there is a barrier of PyTorch, which leaves PyTorch's
# own Python code in the processor's caches: a single call of huffwire behind it takes some microseconds longer than later ones.
SMALL = 1 << 20
IN_A_ROW = 8


def run(rank: Rank) -> None:
    """Many rounds of gloo, of gloo in another group, and of `auto`; the second tells how much is noise."""
    source, described = collectives.elements(rank.job["tensors"])
    again = ways.plain()
    again.name = AGAIN
    contenders = [ways.plain(), again, ways.coded("auto")]
    rank.tell("agreed", figures=planning.figures(contenders[-1].agreement.model), data=described)

    def timed(call: Call, way: Way, times: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                call.run(way)

        return run

    for size in rank.job["sizes"]:
        mine = collectives.cut(source, rank.rank, size)
        for name in NAMES:
            rank.tell("progress", text=f"loopback: {name} of {size >> 10} KiB")
            call = Call(name, rank, mine)
            chosen = ""
            for way in contenders:
                chosen = collectives.first(call, way)[0]
            times = IN_A_ROW if size <= SMALL else 1
            turns = [Contender(way.name, timed(call, way, times), call.prepare) for way in contenders]
            measured = measure(rank, turns, rank.job["rounds"], rank.job["limit"])
            for of_way in measured.values():
                of_way.seconds = [seconds / times for seconds in of_way.seconds]
                of_way.sent = [sent // times for sent in of_way.sent]
            rows = {way.name: row(measured[way.name]) for way in contenders}
            rows["auto"]["chose"] = chosen
            rank.tell("case", what="loopback", collective=name, bytes=size, contenders=rows)
