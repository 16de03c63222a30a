"""Ranks that wait for each other, or seem to: several ranks in one process, over either transport."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from huffwire import Error
from huffwire._quantized_hook import QuantizedState, _agree
from huffwire.distributed import (
    DisagreementError,
    GroupError,
    OutOfStepError,
    PeerError,
    collectives,
    engine,
    memory,
    pieces,
    schedules,
    tcp,
)
from huffwire.distributed.groups import CodedGroup
from huffwire.distributed.settings import Settings

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
        except BaseException as error:
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


@pytest.mark.parametrize("transport", ["gloo", "tcp"])
def test_a_set_up_that_not_all_ranks_took_part_in(transport: str) -> None:
    store, size = dist.HashStore(), 3
    settings = Settings("always", transport=transport)
    groups = [CodedGroup(None, store, rank, size, timedelta(seconds=1)) for rank in range(size)]
    # One rank tries twice, another one once, the third one not at all.
    for _ in range(2):
        with pytest.raises(PeerError):
            groups[0].setup(settings)
    with pytest.raises(PeerError):
        collectives.add_up(groups[1], torch.ones(10), schedules.Sum(False, None))
    for group in groups:
        group.timeout = TIMEOUT

    def rank(rank: int) -> float:
        groups[rank].setup(settings)
        x = torch.ones(10)
        collectives.add_up(groups[rank], x, schedules.Sum(False, None)).wait()
        call = collectives.receive_from if rank else collectives.send_to
        if rank < 2:
            call(groups[rank], x, 1 - rank, 0).wait()
        return x[0].item()

    for _ in range(2):
        assert together(size, rank) == [size] * size


def test_a_set_up_mends_sends_and_receives() -> None:
    store = dist.HashStore()

    def rank(rank: int) -> float:
        group = CodedGroup(None, store, rank, 2, TIMEOUT)
        group.settings = Settings("always")
        call = collectives.receive_from if rank else collectives.send_to
        with pytest.raises((DisagreementError, PeerError) if rank else Error):
            call(group, torch.ones(10 + rank), 1 - rank, 0).wait()
            # The sender learns of it later.
            collectives.receive_from(group, torch.ones(10), 1 - rank, 0).wait()
        group.setup(Settings("always"))
        x = torch.full((10,), rank + 1.0)
        call(group, x, 1 - rank, 0).wait()
        return x[0].item()

    assert together(2, rank) == [1, 1]


@pytest.mark.parametrize("sets_up", [0, 1])
def test_some_ranks_agree_by_a_set_up_and_others_by_a_collective(sets_up: int) -> None:
    store = dist.HashStore()

    def rank(rank: int) -> float:
        group = CodedGroup(None, store, rank, 2, TIMEOUT)
        group.settings = Settings("always")
        if rank == sets_up:
            group.setup(Settings("always"))
        x = torch.full((10,), rank + 1.0)
        collectives.add_up(group, x.clone(), schedules.Sum(False, None)).wait()
        call = collectives.receive_from if rank else collectives.send_to
        call(group, x, 1 - rank, 0).wait()
        return x[0].item()

    assert together(2, rank) == [1, 1]


def pair_of(store: dist.Store, rank: int, compression: str, transport: str) -> CodedGroup:
    """A group of two ranks, of which nobody has used anything yet."""
    plain = dist.ProcessGroupGloo(dist.PrefixStore("plain/", store), rank, 2, timeout=TIMEOUT)
    group = CodedGroup(plain, store, rank, 2, TIMEOUT)
    group.settings = Settings(compression, transport=transport)
    return group


@pytest.mark.parametrize("transport", ["gloo", "tcp"])
@pytest.mark.parametrize("compression", ["always", "never"])
def test_tags_are_received_in_another_order(
    compression: str, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pieces pass memory that threads must not share.
    monkeypatch.setattr(memory, "STAGE_ALL", True)
    store, count = dist.HashStore(), 300_000

    def rank(rank: int) -> None:
        group = pair_of(store, rank, compression, transport)
        sent = [torch.full((count,), 100.0 * tag) + torch.arange(count) for tag in range(4)]
        if rank == 0:
            works = [collectives.send_to(group, x, 1, tag) for tag, x in enumerate(sent)]
        else:
            found = [torch.zeros(count) for _ in sent]
            for tag in (3, 1):
                collectives.receive_from(group, found[tag], 0, tag).wait()
            works = [collectives.receive_from(group, found[tag], 0, tag) for tag in (2, 0)]
        for work in works:
            work.wait()
        if rank == 1:
            assert all(map(torch.equal, found, sent))
        # Tags that are used once leave no thread behind.
        for tag in range(10, 40):
            call = collectives.receive_from if rank else collectives.send_to
            call(group, torch.ones(10), 1 - rank, tag).wait()
        assert len(group.pair(1 - rank)._lines._workers) <= 8

    assert together(2, rank) == [None, None]


def test_messages_with_other_tags_are_kept_as_bytes() -> None:
    store, count = dist.HashStore(), 200

    def rank(rank: int) -> None:
        group = pair_of(store, rank, "always", "tcp")
        if rank == 0:
            works = [collectives.send_to(group, torch.full((3,), float(n)), 1, 1) for n in range(count)]
            works.append(collectives.send_to(group, torch.ones(3), 1, 2))
            for work in works:
                work.wait()
            return
        x = torch.zeros(3)
        collectives.receive_from(group, x, 0, 2).wait()
        transport = group.pair(0)._agreed[0].transport
        # A header of 76 bytes, and a message of huffwire.
        assert transport._kept_bytes < 200 * count
        for n in range(count):
            collectives.receive_from(group, x, 0, 1).wait()
            assert (x == n).all()
        assert not transport._kept and transport._kept_bytes == 0

    assert together(2, rank) == [None, None]


def test_more_than_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_KEPT", 1 << 20)
    store = dist.HashStore()

    def rank(rank: int) -> None:
        group = pair_of(store, rank, "raw", "tcp")
        if rank == 0:
            collectives.send_to(group, torch.ones(1 << 19), 1, 1)
            return
        with pytest.raises(OutOfStepError, match="in the order of the sends"):
            collectives.receive_from(group, torch.ones(1), 0, 2).wait()

    assert together(2, rank) == [None, None]


def test_a_failure_with_another_tag_is_told_at_once() -> None:
    store = dist.HashStore()

    def rank(rank: int) -> None:
        group = pair_of(store, rank, "always", "tcp")
        if rank == 1:
            with pytest.raises(PeerError, match="rank 0 failed: no more"):
                collectives.receive_from(group, torch.ones(1), 0, 2).wait()
            return

        def body(*_: object) -> None:
            raise ValueError("no more")

        with pytest.raises(ValueError, match="no more"):
            group.pair(1).start(True, torch.ones(1), 1, body).wait()

    assert together(2, rank) == [None, None]


def test_two_threads_send_to_the_same_rank() -> None:
    store, count = dist.HashStore(), 100

    def rank(rank: int) -> None:
        group = pair_of(store, rank, "always", "gloo")
        call = collectives.receive_from if rank else collectives.send_to

        def some(_: int) -> None:
            for _ in range(count):
                works.append(call(group, torch.ones(1), 1 - rank, 0))

        works: list = []
        assert together(4, some) == [None] * 4
        for work in works:
            work.wait()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert together(2, rank) == [None, None]
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("transport", ["gloo", "tcp"])
def test_states_of_hooks_are_compared_while_another_call_is_under_way(transport: str) -> None:
    store = dist.HashStore()

    def rank(rank: int) -> None:
        group = CodedGroup(None, store, rank, 2, TIMEOUT)
        group.setup(Settings("always", piece=1 << 16, transport=transport))
        x = torch.full((1 << 22,), rank + 1.0).bfloat16()
        work = collectives.add_up(group, x, schedules.Sum(False, None))
        _agree(QuantizedState(), group)
        work.wait()
        assert (x == 3).all()
        # What differs is found by comparing, and the group stays as it is.
        with pytest.raises(DisagreementError, match="QuantizedState, seed"):
            _agree(QuantizedState(seed=rank), group)
        # What cannot be compared ends the group on all ranks.
        if rank == 1:
            group.ready()[0]._sequence += 1
        with pytest.raises((OutOfStepError, PeerError)):
            _agree(QuantizedState(), group)
        with pytest.raises(GroupError):
            collectives.add_up(group, x, schedules.Sum(False, None))

    assert together(2, rank) == [None, None]


def test_a_rank_that_fails_while_others_read_its_address() -> None:
    class Store(dist.Store):
        """A store in which rank 1 fails as soon as rank 0 asks for its address."""

        def __init__(self) -> None:
            super().__init__()
            self._store = dist.HashStore()
            self._store.set("address/1", "{}")

        def set(self, key: str, value: str) -> None:
            self._store.set(key, value)

        def check(self, keys: list[str]) -> bool:
            return self._store.check(keys)

        def wait(self, keys: list[str], timeout: timedelta) -> None:
            self._store.wait(keys, timeout)

        def get(self, key: str) -> bytes:
            if key == "address/1":
                self._store.set("failed", "rank 1: no port is free")
                self._store.set("address/1", "")
            return self._store.get(key)

    with pytest.raises(ConnectionError, match="rank 1: no port is free"):
        tcp.Tcp(Store(), 0, 2, TIMEOUT)


def test_what_is_copied_on_a_device_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Stream:
        def __init__(self, device: torch.device) -> None:
            pass

        def wait_event(self, event: object) -> None:
            done.append("wait")

        def synchronize(self) -> None:
            done.append("synchronize")

    class Module:
        @staticmethod
        @contextmanager
        def stream(stream: Stream) -> Iterator[None]:
            done.append("begin")
            yield
            done.append("end")

    Module.Stream = Stream
    monkeypatch.setattr(torch, "get_device_module", lambda _: Module)
    tensor = memory.Memory(torch.ones(4))
    tensor._event = object()
    with tensor.on_device():
        done.append("copy")
    assert done == ["wait", "begin", "copy", "end", "synchronize"]
