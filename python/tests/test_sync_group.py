"""Weights that follow a publisher through a process group: three ranks with gloo, each passes on what it receives."""

from __future__ import annotations

import os

import huffwire
import huffwire.distributed
import pytest
import ranks
import torch
import torch.distributed as dist
from huffwire.sync import Publisher, Subscriber
from huffwire.sync._frames import Chain
from test_sync import Engine, copies, model, put, same, step


def follow(rank: int, size: int, source: int) -> list:
    group = dist.group.WORLD
    if rank == source:
        publisher = Publisher(group, split=2)
        state = model()
        found = []
        for version in range(4):
            if version:
                step(state, version)
            published = publisher.publish(state)
            found.append((published.version, published.keyframe, published.changes))
        return found
    live = model(rank + 5) if rank != 2 else None
    subscriber = Subscriber(group, live)
    state = model()
    found = []
    for version in range(4):
        if version:
            step(state, version)
        update = subscriber.update()
        assert same(subscriber.tensors, state)
        assert live is None or same(live, state)
        found.append((update.version, update.keyframe, update.changes))
    assert subscriber.version == 3
    return found


def test_all_ranks_follow() -> None:
    for source in (0, 1):
        found = ranks.run(follow, 3, source, seconds=30)
        assert found[source] == [(0, True, 7729), (1, False, 61), (2, False, 61), (3, False, 61)]
        for rank in {0, 1, 2} - {source}:
            assert found[rank] == [(0, True, 0), (1, False, 61), (2, False, 61), (3, False, 61)]


def one_fails(rank: int, size: int) -> str:
    state = model()
    later = copies(state)
    step(later, 1)
    if rank == 0:
        publisher = Publisher(dist.group.WORLD)
        publisher.publish(state)
        try:
            publisher.publish(later)
        except huffwire.Error as error:
            assert publisher.version == 0
            publisher.publish(later, keyframe=True)
            return str(error)
    live = model(4)
    subscriber = Subscriber(dist.group.WORLD, live)
    subscriber.update()
    if rank == 1:
        live["embedding"][5, 5] = 77
    kept = copies(live)
    try:
        subscriber.update()
    except huffwire.Error as error:
        # Nobody wrote anything.
        assert same(live, kept) and subscriber.version == 0
        update = subscriber.update()
        assert update.keyframe and update.version == 1 and same(live, later)
        return f"{type(error).__name__}: {error}"
    return "no error"


def test_all_ranks_write_or_none() -> None:
    publisher, wrong, right = ranks.run(one_fails, 3, seconds=30)
    assert "could not apply it" in publisher
    assert wrong.startswith("WrongBaseError: 'embedding'")
    assert right.startswith("Error: version 1 was not applied: another rank failed")


def publisher_fails(rank: int, size: int, split: int) -> list[str]:
    state = model()
    wrong = {**state, "z": torch.eye(3).to_sparse()}, {**state, "z": 7}, [], {**state, "\ud800": state["norm"]}
    found = []
    if rank == 0:
        publisher = Publisher(dist.group.WORLD, split=split)
        publisher.publish(state)
        step(state, 1)
        for tensors in wrong:
            try:
                publisher.publish(tensors)
            except huffwire.UnsupportedError as error:
                found.append(str(error))
        publisher.publish(state)
        return found
    subscriber = Subscriber(dist.group.WORLD)
    subscriber.update()
    for _ in wrong:
        try:
            subscriber.update()
        except huffwire.Error as error:
            assert same(subscriber.tensors, model())
            found.append(str(error))
    step(state, 1)
    assert subscriber.update().version == 1 and same(subscriber.tensors, state)
    return found


@pytest.mark.parametrize("split", [1, 2])
def test_a_publisher_that_fails(split: int) -> None:
    publisher, *others = ranks.run(publisher_fails, 3, split, seconds=30)
    for text, part in zip(publisher, ("layout", "give a torch.Tensor", "dictionary", "no text"), strict=True):
        assert part in text
    for other in others:
        assert len(other) == 4 and all("the publisher failed" in text for text in other)


def large(rank: int, size: int) -> list[int]:
    """More than one piece of a frame, and changes as indices and values."""
    weights = {"weight": torch.arange(3 << 20, dtype=torch.int32).mul(2654435761 % 2**31)}
    if rank == 0:
        publisher = Publisher(dist.group.WORLD)
        publisher.publish(weights)
        weights["weight"][::100_000] += 1
        return [publisher.publish(weights).changes]
    subscriber = Subscriber(dist.group.WORLD)
    first = list(subscriber.changes())
    assert first[0].indices is None and torch.equal(first[0].values, weights["weight"])
    ((name, indices, values),) = subscriber.changes()
    assert torch.equal(indices, torch.arange(0, 3 << 20, 100_000))
    assert torch.equal(values, weights["weight"][::100_000] + 1)
    return [len(indices)]


def test_large_tensors_and_changes() -> None:
    assert ranks.run(large, 3, seconds=60) == [[32], [32], [32]]


def ends_early(rank: int, size: int) -> int:
    """An engine that takes only the first change of each version at first."""
    state = model()
    if rank == 0:
        publisher = Publisher(dist.group.WORLD)
        for version in range(5):
            if version:
                step(state, version)
            publisher.publish(state)
        return publisher.version
    subscriber = Subscriber(dist.group.WORLD)
    with pytest.raises(huffwire.OptionError, match="keyframe=True"):
        subscriber.reload()
    engine: dict[str, torch.Tensor] = {}
    for version in range(5):
        if version:
            step(state, version)
        changes = subscriber.changes()
        taken = 0
        for change in changes:
            put(engine, change)
            taken += 1
            # It stops at the first change, and then in the middle of what was left of two versions.
            if rank == 1 and taken == (1, 1, 6, 0, 0)[version]:
                break
        changes.close()
        if rank == 2 or version > 2:
            assert subscriber.version == version
            assert same(engine, state) and same(subscriber.tensors, state)
    return subscriber.version


def test_changes_that_are_not_taken_to_the_end() -> None:
    assert ranks.run(ends_early, 3, seconds=30) == [4, 4, 4]


def never_takes_all(rank: int, size: int) -> list[int]:
    """An engine that takes only the first change of each version, up to the last; bytes that are kept for it."""
    weights = {name: torch.zeros(1000, dtype=torch.int32) for name in ("a", "b")}
    follows = Publisher(dist.group.WORLD) if rank == 0 else Subscriber(dist.group.WORLD)
    engine, kept = copies(weights), []
    for version in range(9):
        weights["a"][version * 100 : version * 100 + 100] += 1
        weights["b"][::10] += version
        if rank == 0:
            follows.publish(weights)
            continue
        for change in follows.changes():
            put(engine, change)
            if version < 8:
                break
        own = {tensor.data_ptr() for tensor in follows.tensors.values()}
        kept.append(
            sum(
                values.nbytes + (0 if indices is None else indices.nbytes)
                for _, indices, values in follows._following._open
                if values.data_ptr() not in own
            )
        )
    assert rank == 0 or same(engine, weights) and same(follows.tensors, weights)
    return kept


def test_changes_that_are_never_taken_take_no_more_memory_than_tensors() -> None:
    _, kept = ranks.run(never_takes_all, 2, seconds=30)
    # A version has 200 changes, each an index and a value.
    assert max(kept) <= 8000 + 200 * 12 and kept[-1] == 0


def pause_is_refused(rank: int, size: int) -> list[str]:
    """A rank whose engine does not stop for two versions: what it agreed to is written later, or nobody writes."""
    state, found = model(), []
    engine = Engine()
    live = model(rank)
    group = dist.group.WORLD
    follows = Publisher(group) if rank == 0 else Subscriber(group, live, pause=engine.pause)
    for version in range(4):
        if version:
            step(state, version)
        engine.is_busy = rank == 1 and version in (1, 2)
        try:
            follows.publish(state) if rank == 0 else follows.update()
            assert rank == 0 or same(live, state)
            found.append("well")
        except (TimeoutError, huffwire.Error) as error:
            found.append(type(error).__name__)
    return [*found, str(follows.version)]


def test_a_pause_that_is_refused() -> None:
    # Version 1 was agreed on. The next one fails for all, and then comes again.
    assert ranks.run(pause_is_refused, 3, seconds=30) == [
        ["well", "well", "Error", "well", "2"],
        ["well", "TimeoutError", "TimeoutError", "well", "2"],
        ["well", "well", "Error", "well", "2"],
    ]


def test_groups_that_send_no_tensors_of_the_cpu() -> None:
    class Other:
        def _get_backend(self, device: torch.device) -> None:
            raise RuntimeError("No backend type associated with device type cpu")

    with pytest.raises(huffwire.OptionError, match="backend='gloo'"):
        Chain(Other(), publishes=True)


def roles(rank: int, size: int, publishers: tuple[int, ...]) -> str:
    try:
        (Publisher if rank in publishers else Subscriber)(dist.group.WORLD)
    except huffwire.OptionError as error:
        return str(error)
    return "well"


def test_one_rank_publishes() -> None:
    for publishers in ((), (0, 2)):
        found = ranks.run(roles, 3, publishers, seconds=30)
        assert all("one rank of a group makes a Publisher" in text for text in found)


def one_dies(rank: int, size: int) -> str:
    state = model()
    if rank == 0:
        publisher = Publisher(dist.group.WORLD)
        publisher.publish(state)
        step(state, 1)
        try:
            publisher.publish(state)
        except huffwire.distributed.PeerError:
            return "noticed"
        return "not noticed"
    live = model(2)
    subscriber = Subscriber(dist.group.WORLD, live)
    subscriber.update()
    if rank == 2:
        os._exit(7)
    try:
        subscriber.update()
    except huffwire.distributed.PeerError:
        assert same(live, state)
        return "noticed"
    return "not noticed"


def test_a_rank_that_dies_is_noticed() -> None:
    *others, dead = ranks.run(one_dies, 3, seconds=10, limit=100, may_fail=True)
    assert isinstance(dead, ranks.Died)
    assert others == ["noticed", "noticed"]
