"""Live tensors: the pause on other devices, what tensor-parallel ranks decode, and journals that are not theirs."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest
import torch

import huffwire
import huffwire.torch
from huffwire.sync import Subscriber, _follower, _live
from huffwire.sync._follower import shapes_of
from huffwire.sync._journal import Journal
from huffwire.sync._manifest import sealed
from huffwire.sync._versions import Item, VersionReader
from test_sync import Engine, copies, model, publish, same, step

# The pause.


def test_each_device_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    devices = [torch.device(name) for name in ("cpu", "cuda:0", "cuda:1", "cuda:0", "cpu")]
    _live.finish_writing(devices)
    assert sorted(map(str, waited)) == ["cuda:0", "cuda:1"]
    _live.finish_writing(devices[:1])
    assert len(waited) == 2


@pytest.mark.parametrize("keyframe", [True, False])
def test_the_pause_ends_when_devices_have_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keyframe: bool
) -> None:
    """Tensors of the CPU stand in for those of a device, and the wait for it takes a while."""
    monkeypatch.setattr(_live, "is_written_by_huffwire", lambda _: False)
    monkeypatch.setattr(_follower, "is_written_by_huffwire", lambda _: False)
    publisher, state, _ = publish(tmp_path, 1)
    engine = Engine()
    live = model(5)
    subscriber = Subscriber(tmp_path, live, pause=engine.pause)
    if not keyframe:
        subscriber.update()
        step(state, 1)
        publisher.publish(state)
        engine.events.clear()

    def wait(devices) -> None:
        assert same(live, state)
        engine.events.append({str(device) for device in devices})
        time.sleep(0.05)

    monkeypatch.setattr(_follower, "finish_writing", wait)
    update = subscriber.update()
    assert update.keyframe == keyframe
    assert engine.events == ["on", {"cpu"}, "off"]
    assert update.pause_seconds >= 0.05


def test_nothing_is_copied_back_in_the_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of the CPU stand in for those of a device, from which hashing would copy."""
    monkeypatch.setattr(_live, "is_written_by_huffwire", lambda _: False)
    monkeypatch.setattr(_follower, "is_written_by_huffwire", lambda _: False)
    _, state, _ = publish(tmp_path, 1)
    live = model(5)
    places = {tensor.data_ptr() for tensor in live.values() if tensor.numel()}
    hashed: list[int] = []

    def hash_of(tensor: torch.Tensor) -> str:
        hashed.append(tensor.data_ptr())
        return huffwire.torch.content_hash(tensor)

    monkeypatch.setattr(_follower, "content_hash", hash_of)
    Subscriber(tmp_path, live).update()
    assert same(live, state)
    assert hashed and places.isdisjoint(hashed)


# Rows.


def test_ranks_decode_only_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher, state, _ = publish(tmp_path, 1, split=4)
    names = ("embedding", "layer.weight")
    ranks = []
    for rank in range(2):
        live = {name: state[name].chunk(2)[rank].clone().zero_() for name in names}
        rows = {name: (rank * len(live[name]), (rank + 1) * len(live[name])) for name in names}
        ranks.append(Subscriber(tmp_path, live, rows=rows, strict=False))
    taken: list[str] = []

    def spied(name: str):
        method = getattr(VersionReader, name)

        def spy(reader: VersionReader, key: str, *arguments: object) -> object:
            taken.append(key)
            return method(reader, key, *arguments)

        return spy

    for version in range(1, 4):
        for rank, subscriber in enumerate(ranks):
            with monkeypatch.context() as patch:
                for name in ("is_delta", "message", "decode", "decode_into"):
                    patch.setattr(VersionReader, name, spied(name))
                assert subscriber.update().version == version - 1
            for name in names:
                assert torch.equal(subscriber.tensors[name], state[name].chunk(2)[rank])
            # Two of four parts of each tensor, and nothing of "norm", "steps" and "empty".
            assert set(taken) == {
                f"{name}[{part * size}:{(part + 1) * size}]"
                for name, size in (("embedding", 16), ("layer.weight", 24))
                for part in (2 * rank, 2 * rank + 1)
            }
            taken.clear()
        step(state, version)
        publisher.publish(state)


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ((64, 80), huffwire.MismatchError),
        ((48, 80), huffwire.MismatchError),
        ((32, 16), huffwire.OptionError),
        ((16, 16), huffwire.OptionError),
        ((-16, 16), huffwire.OptionError),
        ((0.0, 16.0), huffwire.OptionError),
        ((0, 16, 32), huffwire.OptionError),
        (16, huffwire.OptionError),
    ],
)
def test_rows_that_there_are_not(tmp_path: Path, rows: object, error: type[Exception]) -> None:
    """No update may say that it was well, and write nothing."""
    publish(tmp_path, 1, split=4)
    live = {"embedding": torch.zeros(16, 48, dtype=torch.bfloat16)}
    with pytest.raises(error, match="rows"):
        Subscriber(tmp_path, live, rows={"embedding": rows}, strict=False, retries=0).update()
    with pytest.raises(huffwire.OptionError, match="no tensor 'embeding'"):
        Subscriber(tmp_path, live, rows={"embeding": (0, 16)}, strict=False)


# Memory that tensors share.


def test_views_that_share_memory_are_refused() -> None:
    memory = torch.zeros(20, 20)
    shared = [
        {"a": memory, "b": memory.t()},
        {"a": memory, "b": memory[:, 3]},
        {"a": memory[:, ::2], "b": memory[5]},
        {"a": memory[:, ::2], "c": memory[:, 1::2], "b": memory.view(torch.uint8)[3:4, 77:78]},
        {"a": memory.view(torch.int16)[::2, ::2], "b": memory[::2]},
    ]
    for tensors in shared:
        with pytest.raises(huffwire.OutputError, match="and 'b' share a part"):
            _live.check_apart(tensors)
    for tensor in (memory.as_strided((5, 5), (3, 1)), memory[0].expand(9, 20)):
        with pytest.raises(huffwire.OutputError, match="'w' has elements that share memory"):
            _live.check_apart({"w": tensor})
    apart = [
        {"a": memory[:, ::2], "b": memory[:, 1::2], "c": torch.zeros(3), "d": memory[:, 3:3]},
        {"a": memory[:, :7].t(), "b": memory[:, 7:]},
        {"a": memory.view(torch.int16)[::2, ::2], "b": memory[1::2]},
        {"a": memory.as_strided((20, 20), (1, 20))},
        {"a": torch.zeros(3, 5, 7).permute(2, 0, 1), "b": torch.tensor(1.0)},
    ]
    for tensors in apart:
        assert _live.check_apart(tensors) == {name: name for name in tensors}
    assert _live.check_apart({"a": memory.t(), "b": memory.t()}) == {"a": "a", "b": "a"}


# Journals.


def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A subscriber that ends when the changes of version 1 are stored, and none is written; its tensors."""
    publisher, state, _ = publish(tmp_path / "folder", 1)
    live = model(6)
    subscriber = Subscriber(tmp_path / "folder", live, journal=tmp_path / "journal")
    subscriber.update()
    step(state, 1)
    state["norm"] = torch.full((48,), 3.0)
    publisher.publish(state)
    with monkeypatch.context() as patch:
        patch.setattr(_follower.Follower, "commit", stop)
        with pytest.raises(KeyboardInterrupt):
            subscriber.update()
    assert (tmp_path / "journal" / "redo.hw").exists()
    return live


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_journal_is_finished_only_in_its_own_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = interrupted(tmp_path, monkeypatch)
    places = {"journal": tmp_path / "journal"}
    # An element that the version does not change; "norm" it changes as a whole.
    other = copies(live)
    other["layer.weight"].view(-1)[untouched(tmp_path)] += 1
    kept = copies(other)
    with pytest.raises(huffwire.WrongBaseError, match=r"'layer\.weight'.*Nothing was written"):
        Subscriber(tmp_path / "folder", other, **places)
    assert same(other, kept)
    # Half of what changes may be written already.
    live["norm"][:20] = 3
    assert Subscriber(tmp_path / "folder", live, **places).version == 1
    assert same(live, published_in(tmp_path / "folder"))


def untouched(tmp_path: Path) -> int:
    """An element of "layer.weight" that the journal does not change."""
    stored = huffwire.torch.load_file(tmp_path / "journal" / "redo.hw")
    changed = set(stored["1.indices"].tolist())
    return next(place for place in range(9999) if place not in changed)


def published_in(folder: Path) -> dict[str, torch.Tensor]:
    subscriber = Subscriber(folder)
    subscriber.update()
    return subscriber.tensors


def test_a_journal_for_other_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = interrupted(tmp_path, monkeypatch)
    places = {"journal": tmp_path / "journal", "strict": False}
    one = {"embedding": live["embedding"].clone()}
    with pytest.raises(huffwire.WrongBaseError, match="no tensor is here"):
        Subscriber(tmp_path / "folder", one, **places)
    other = copies(live) | {"norm": torch.ones(47)}
    kept = copies(other)
    with pytest.raises(huffwire.MismatchError, match="'norm'"):
        Subscriber(tmp_path / "folder", other, **places)
    assert same(other, kept)
    assert Subscriber(tmp_path / "folder", live, **places).version == 1
    assert same(live, published_in(tmp_path / "folder"))


def test_damaged_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = interrupted(tmp_path, monkeypatch)
    kept = copies(live)
    redo = tmp_path / "journal" / "redo.hw"
    whole = redo.read_bytes()
    with huffwire.torch.safe_open(redo) as file:
        about = json.loads(file.metadata()["huffwire.sync"])
    tensors = huffwire.torch.load_file(redo)
    places = next(key for key in tensors if key.endswith(".indices") and len(tensors[key]) > 1)

    def refused(error: type[Exception] = huffwire.DamagedError) -> None:
        text = "; remove .*, and a keyframe is loaded" if error is huffwire.DamagedError else None
        with pytest.raises(error, match=text):
            Subscriber(tmp_path / "folder", live, journal=tmp_path / "journal")
        assert same(live, kept)

    for change in (
        {"items": None},
        {"items": [[1, 2, 3, 4, 5]]},
        {"items": [["a", "a", [0, 2], "f32", [7]]]},
        {"items": [["a", "a", None, "f32", [-7]]]},
        {"hashes": {}},
        {"hashes": 7},
        {"hashes": dict(list(about["hashes"].items())[:-1])},
        {"hashes": dict(reversed(about["hashes"].items()))},
        {"version": "x"},
    ):
        metadata = {"huffwire.sync": json.dumps(about | change)}
        huffwire.torch.save_file(tensors, redo, metadata)
        refused()
    for change in (
        {places: tensors[places] + 10**9},
        {places: tensors[places] - 10**9},
        {places: tensors[places][:-1].clone()},
        {places: tensors[places].float()},
        {"gone": tensors[places], places: torch.empty(0, dtype=torch.int64)},
    ):
        huffwire.torch.save_file(tensors | change, redo, {"huffwire.sync": json.dumps(about)})
        refused(huffwire.Error)
    huffwire.torch.save_file(tensors, redo)
    refused()
    for cut in (whole[:-9], b""):
        redo.write_bytes(cut)
        refused()
    redo.unlink()
    state_file = tmp_path / "journal" / "state.json"
    right = json.loads(state_file.read_bytes().split(b"\n")[0])
    state_file.write_bytes(b"")
    refused()
    for state in (
        [],
        {"run": "x", "version": 1},
        right | {"version": None},
        right | {"items": [7]},
        right | {"hashes": 7},
    ):
        state_file.write_bytes(sealed(json.dumps(state)))
        refused()
    state_file.write_bytes(sealed("no JSON"))
    refused()


def test_a_journal_stores_only_what_is_listed(tmp_path: Path) -> None:
    """It would forget what is written in another way."""
    live = {"a": torch.zeros(1000)}
    message = huffwire.torch.encode_delta(torch.ones(1000), live["a"])
    writes = [("a", _live.InPlace(huffwire.torch.prepare_delta(message, live["a"]), None))]
    item = Item("a", "a", None, "f32", (1000,))
    prepared = _follower.Prepared({"a": item}, writes, {"a": "0" * 32}, live)
    with pytest.raises(AssertionError, match="'a' were not listed"):
        Journal(tmp_path).begin(prepared, "run", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written to the tensors, and no part of a file is left."""
    publisher, state, _ = publish(tmp_path / "folder", 1)
    live = model(6)
    subscriber = Subscriber(tmp_path / "folder", live, journal=tmp_path / "journal", retries=0)
    subscriber.update()
    kept = copies(live)
    step(state, 1)
    publisher.publish(state)

    def full(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[:9])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(huffwire.FileError, match=os.strerror(errno.ENOSPC)):
            subscriber.update()
    assert same(live, kept) and subscriber.version == 0
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["state.json"]
    assert subscriber.update().deltas == 1 and same(live, state)


def test_journals_are_not_brought_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are for the end of a process. Of the machine's memory nothing outlives the machine."""
    publisher, state, _ = publish(tmp_path / "folder", 1)
    live = model(6)
    subscriber = Subscriber(tmp_path / "folder", live, journal=tmp_path / "journal")
    subscriber.update()
    step(state, 1)
    publisher.publish(state)
    brought: list[object] = []
    monkeypatch.setattr(os, "fsync", brought.append)
    assert subscriber.update().deltas == 1 and same(live, state)
    assert brought == []


def test_a_journal_of_memory_that_is_gone(tmp_path: Path) -> None:
    """Shared memory ends with the machine, and the folder does not: new memory is not taken for the old one."""
    _, state, _ = publish(tmp_path / "folder", 2, split=2)
    places = {"journal": tmp_path / "journal"}
    live = model(6)
    Subscriber(tmp_path / "folder", live, **places).update()
    # What a process leaves that is killed while it stores changes.
    (tmp_path / "journal" / "redo.hw.unfinished").touch()
    assert Subscriber(tmp_path / "folder", live, **places).version == 1
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["state.json"]
    assert Subscriber(tmp_path / "folder", live, **places).update() is None
    for change in ("zeros", "one", "fewer"):
        other = copies(live)
        if change == "zeros":
            other = {name: torch.zeros_like(tensor) for name, tensor in live.items()}
        elif change == "one":
            other["norm"][7] = 9
        else:
            del other["steps"]
        subscriber = Subscriber(tmp_path / "folder", other, strict=change != "fewer", **places)
        assert subscriber.version is None
        assert subscriber.update().keyframe
        assert same(other, {name: state[name] for name in other})


@pytest.mark.parametrize("keyframe", [False, True])
def test_a_pause_that_is_not_granted(tmp_path: Path, keyframe: bool) -> None:
    """An engine may refuse to stop: nothing is written then, and the next update is the same one."""
    # Of a folder that keeps one version, whoever missed two loads a keyframe.
    publisher, state, _ = publish(tmp_path, 1, keyframe_every=1, keep=1)
    engine = Engine()
    live = model(3)
    subscriber = Subscriber(tmp_path, live, pause=engine.pause, journal=tmp_path / "journal")
    subscriber.update()
    for number in range(3 if keyframe else 1):
        step(state, 1 + number)
        publisher.publish(state)
    kept = copies(live)
    engine.is_busy = True
    with pytest.raises(TimeoutError):
        subscriber.update()
    assert subscriber.version == 0 and same(live, kept)
    engine.is_busy = False
    assert subscriber.update().keyframe is keyframe and same(live, state)


@pytest.mark.parametrize(
    "parts",
    [
        [((0, 2), (2, 3)), (None, (4, 3))],
        [(None, (4, 3)), ((0, 2), (2, 3))],
        [(None, (4, 3)), (None, (4, 3))],
        [((0, 2), (2, 3)), ((2, 4), (2, 5))],
        [((0, 2), (2, 3)), ((1, 3), (2, 3))],
        [(None, ()), ((0, 1), (1,))],
    ],
)
def test_parts_that_are_no_tensor(parts: list[tuple[tuple[int, int] | None, tuple[int, ...]]]) -> None:
    """A whole tensor and parts of it, two wholes, parts of different shapes, rows that overlap."""
    items = {
        str(number): Item(str(number), "a", rows, "bf16", shape)
        for number, (rows, shape) in enumerate(parts)
    }
    with pytest.raises(huffwire.DamagedError, match="'a'"):
        shapes_of(items)
