"""Codebooks that change between calls: all ranks change them at the same call, and no bit of a result changes."""

from __future__ import annotations

import os
import pickle
import signal
import time

import pytest
import ranks
import torch
import torch.distributed as dist

from huffwire import OptionError
from huffwire.distributed import Refresh

# A judgement after few pieces of 64 KiB.
SOON = Refresh(every=20, check=3, interval=1 << 15, samples=8)
PIECE = 65536
COUNT = 100_000


def usual(seed: int) -> torch.Tensor:
    """Values as the built-in codebooks expect them."""
    return torch.randn(COUNT, generator=torch.Generator().manual_seed(seed)).bfloat16()


def narrow(seed: int) -> torch.Tensor:
    """Values with two exponents, one of them three times as frequent: other codebooks suit them better."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (COUNT,), generator=generator) * 2 - 1
    values = 1 + torch.randint(0, 128, (COUNT,), generator=generator) / 128
    quarter = torch.rand(COUNT, generator=generator) < 0.25
    return (signs * values * (1 + quarter)).bfloat16()


def call(rank: int, size: int, make, seed: int):
    """Starts a call of one of several kinds; returns what checks its result."""
    import huffwire.distributed as hd

    given = [make(1000 * seed + peer) for peer in range(size)]
    kind = seed % 3
    if kind == 0:
        outputs = [torch.empty(COUNT, dtype=torch.bfloat16) for _ in given]
        work, expected = hd.all_gather(outputs, given[rank], async_op=True), given
    elif kind == 1:
        root = seed % size
        outputs = [given[rank].clone() if rank == root else torch.empty_like(given[rank])]
        work, expected = hd.broadcast(outputs[0], root, async_op=True), [given[root]]
    else:
        outputs = [given[rank].clone()]
        work = hd.all_reduce(outputs[0], async_op=True)
        total = given[0]
        for other in given[1:]:
            total = total + other
        expected = [total]

    def end() -> None:
        work.wait()
        for output, wanted in zip(outputs, expected, strict=True):
            assert torch.equal(output.view(torch.int16), wanted.view(torch.int16)), seed

    return end


class Used:
    """Records the codebooks of each piece that is written and read, by the number of its call."""

    def __init__(self) -> None:
        from huffwire.distributed.pieces import Coder

        self.written: dict[int, set[bytes]] = {}
        self.read: dict[int, set[bytes]] = {}
        write, read = Coder.write, Coder.read

        def writing(coder, place, elements, coded, buffer):
            if coded:
                self.written.setdefault(place.sequence, set()).add(coder.generation)
            return write(coder, place, elements, coded, buffer)

        def reading(coder, place, *rest):
            if place.collective != "refresh":
                self.read.setdefault(place.sequence, set()).add(coder.generation)
            return read(coder, place, *rest)

        Coder.write, Coder.read = writing, reading


def drifts(rank: int, size: int) -> tuple:
    import huffwire.distributed as hd

    used = Used()
    hd.setup(piece=PIECE, refresh=SOON)
    first = hd.generation()
    assert first.number == 0 and first.regret is None
    for seed in range(20):
        call(rank, size, usual, seed)()
    assert hd.generation().number == 0
    # The ranks see the same generation between the same calls, so they end this loop together.
    seed, seen = 20, []
    while hd.generation().number == 0:
        assert seed < 600, "there are no new codebooks"
        call(rank, size, narrow, seed)()
        seen.append(hd.generation().codebooks.id)
        seed += 1
    for seed in range(seed, seed + 10):
        call(rank, size, narrow, seed)()
    totals = hd.stats()["refresh"]
    # Both numbers of calls are checked.
    assert totals["calls"] == seed // 3 and totals["switches"] >= 1
    assert totals["regret"] is not None
    last = hd.generation()
    assert last.codebooks.id != first.codebooks.id
    return seen, last.codebooks.id, used.written, used.read


@pytest.mark.parametrize("size", [2, 4])
def test_traffic_that_drifts_gets_new_codebooks_at_the_same_call(size: int) -> None:
    found = ranks.run(drifts, size, limit=120)
    seen, last, _, _ = found[0]
    assert len(set(seen)) == 2 and all(each[:2] == (seen, last) for each in found)
    books: dict[int, set[bytes]] = {}
    for _, _, written, read in found:
        for calls in (written, read):
            for number, generations in calls.items():
                books.setdefault(number, set()).update(generations)
    assert all(len(generations) == 1 for generations in books.values())
    assert len(set.union(*books.values())) >= 2


def stays(rank: int, size: int) -> tuple:
    import huffwire.distributed as hd

    hd.setup(piece=PIECE, refresh=SOON)
    for seed in range(40):
        call(rank, size, usual, seed)()
    report = hd.refresh()
    generation = hd.generation()
    return report, generation.number, generation.regret, hd.stats()["refresh"]["switches"]


def test_traffic_that_stays_keeps_its_codebooks() -> None:
    found = ranks.run(stays, 2, limit=120)
    for report, number, regret, switches in found:
        assert report == found[0][0]
        assert not report.switched and report.old == report.new and number == switches == 0
        assert report.shipped_bytes == 0 and report.saved_bytes == 0
        assert regret == report.regret < 0.02


def under_way(rank: int, size: int) -> str:
    import huffwire.distributed as hd

    hd.setup(piece=16384, refresh=SOON)
    seed, batches = 0, 0
    while batches < 2:
        assert seed < 900, "there are no new codebooks"
        ends = [call(rank, size, narrow, number) for number in range(seed, seed + 30)]
        seed += 30
        for end in ends:
            end()
        # One batch more with the new ones.
        batches += hd.generation().number > 0
    return hd.generation().codebooks.id


def test_codebooks_change_while_calls_are_under_way() -> None:
    one, *others = ranks.run(under_way, 3, limit=180)
    assert others == [one, one]


def explicit(rank: int, size: int) -> tuple:
    import huffwire
    import huffwire.distributed as hd
    from huffwire.distributed.groups import coded_group

    hd.setup(piece=PIECE)
    with pytest.raises(OptionError, match="Refresh"):
        hd.refresh()
    hd.setup(piece=PIECE, refresh=Refresh(every=100, check=None, interval=1 << 15, samples=8))
    nothing = hd.refresh()
    assert nothing.regret is None and not nothing.switched
    # Calls are under way. All are gathers: sums have other values.
    ends = [call(rank, size, narrow, 3 * seed) for seed in range(30)]
    report = hd.refresh()
    for end in ends:
        end()
    assert hd.generation().number == 1 and hd.generation().regret is None
    for seed in range(4):
        call(rank, size, narrow, 3 * seed)()
    again = hd.refresh()
    assert not again.switched and again.old == again.new == report.new

    # A restart continues with what was saved.
    saved = pickle.loads(pickle.dumps(hd.generation().codebooks))
    agreement = hd.setup(piece=PIECE, codebooks=saved, refresh=SOON)
    assert agreement.settings.codebooks == saved
    assert hd.generation().codebooks.id == report.new and hd.generation().number == 0
    for seed in range(4):
        call(rank, size, narrow, seed)()
    # And a set-up without them does not.
    hd.setup(piece=PIECE, refresh=SOON)
    assert hd.generation().codebooks == huffwire.Codebooks.builtin()
    # New codebooks have come, and would be used from the next check on.
    life = coded_group(dist.group.WORLD).ready()[0].life
    seed = 0
    while hd.generation() and life._told.number == 0:
        assert seed < 600, "there are no new codebooks"
        call(rank, size, narrow, seed)()
        seed += 1
    assert hd.generation().number == 0 and hd.generation().regret > 0.02
    early = hd.refresh()
    assert early.switched and early.old == huffwire.Codebooks.builtin().id
    assert early.new == hd.generation().codebooks.id and early.shipped_bytes > 0
    call(rank, size, narrow, seed)()
    return report


def test_a_refresh_at_a_call_of_ones_choosing() -> None:
    report, *others = ranks.run(explicit, 2, limit=120)
    assert others == [report]
    assert report.switched and report.regret > 0.02 and report.old != report.new
    assert report.saved_bytes > report.shipped_bytes > 0


def dies(rank: int, size: int, who: int) -> list[str]:
    import huffwire.distributed as hd
    from huffwire.distributed import life
    from huffwire.distributed.engine import Sender

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    hd.setup(piece=PIECE, refresh=SOON)
    send, take = Sender.send, life._receive_bytes

    def sending(sender, memory, start, stop, place, coded, peers):
        if place.collective == "refresh" and place.stage == 1:
            die()
        return send(sender, memory, start, stop, place, coded, peers)

    def taking(receiver, size, stage):
        if stage == 1:
            die()
        return take(receiver, size, stage)

    if rank == who:
        Sender.send, life._receive_bytes = sending, taking
    errors = []
    for seed in range(600):
        try:
            call(rank, size, narrow, seed)()
        except Exception as error:
            errors.append(type(error).__name__)
            if len(errors) == 2:
                break
    time.sleep(0.5)
    return errors


@pytest.mark.parametrize("who", [0, 2])
def test_a_rank_that_dies_while_codebooks_are_shipped(who: int) -> None:
    found = ranks.run(dies, 3, who, seconds=4, limit=120)
    assert isinstance(found.pop(who), ranks.Died)
    for errors in found:
        assert len(errors) == 2 and set(errors) <= {"PeerError", "GroupError"}, errors


def differs(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    settings = [Refresh(), Refresh(check=100), None]
    with pytest.raises(hd.DisagreementError, match="refresh"):
        hd.setup(refresh=settings[rank])
    hd.setup(refresh=settings[0])


def test_ranks_that_differ_in_when_to_refresh() -> None:
    ranks.run(differs, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"regret": -0.1},
        {"regret": float("nan")},
        {"regret": "a lot"},
        {"every": 0},
        {"check": 0},
        {"check": 2.5},
        {"interval": -1},
        {"samples": 1},
        {"samples": True},
    ],
)
def test_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Refresh(**wrong)
