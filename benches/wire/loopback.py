"""Without a slow wire: what `auto` costs where it leaves calls to gloo."""

from __future__ import annotations

from collections.abc import Callable

from wire import collectives, planning, ways
from wire.collectives import Call
from wire.turns import Contender, Rank, measure, row
from wire.ways import Way

NAMES = ("all_reduce", "all_gather", "broadcast")
AGAIN = "gloo again"


def run(rank: Rank) -> None:
    """Many rounds of gloo, of gloo in another group, and of `auto`; the second tells how much is noise."""
    source, described = collectives.elements(rank.job["tensors"])
    again = ways.plain()
    again.name = AGAIN
    contenders = [ways.plain(), again, ways.coded("auto")]
    rank.tell("agreed", figures=planning.figures(contenders[-1].agreement.model), data=described)

    def timed(call: Call, way: Way) -> Callable[[], None]:
        return lambda: call.run(way)

    for size in rank.job["sizes"]:
        mine = collectives.cut(source, rank.rank, size)
        for name in NAMES:
            rank.tell("progress", text=f"loopback: {name} of {size >> 10} KiB")
            call = Call(name, rank, mine)
            chosen = ""
            for way in contenders:
                chosen = collectives.first(call, way)[0]
            turns = [Contender(way.name, timed(call, way), call.prepare) for way in contenders]
            measured = measure(rank, turns, rank.job["rounds"], rank.job["limit"])
            rows = {way.name: row(measured[way.name]) for way in contenders}
            rows["auto"]["chose"] = chosen
            rank.tell("case", what="loopback", collective=name, bytes=size, contenders=rows)
