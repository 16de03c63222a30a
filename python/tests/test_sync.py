"""Weights that follow a publisher through a folder: versions, late joiners, refusals, damage."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import huffwire
import huffwire.torch
from huffwire.sync import Change, Folder, Publisher, Subscriber, _follower, _live, _versions
from huffwire.sync._manifest import MANIFEST, Manifest, sealed
from huffwire.sync._versions import describe


def model(seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "embedding": torch.randn(64, 48, generator=random).mul_(0.02).bfloat16(),
        "layer.weight": torch.randn(96, 48, generator=random).mul_(0.02).bfloat16(),
        "norm": torch.ones(48),
        "steps": torch.tensor(0),
        "empty": torch.empty(0, 7, dtype=torch.float16),
    }


def step(state: dict[str, torch.Tensor], seed: int) -> None:
    """Changes a few elements, as a training step does."""
    random = torch.Generator().manual_seed(seed)
    for tensor in state.values():
        if tensor.dim() > 1 and tensor.numel():
            places = torch.randperm(tensor.numel(), generator=random)[:30]
            tensor.view(torch.int16).view(-1)[places] += 1
    state["steps"] += 1


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].contiguous().view(-1).view(torch.uint8).equal(
            other[name].contiguous().view(-1).view(torch.uint8)
        )
        for name in one
    )


def copies(state):
    return {name: tensor.clone() for name, tensor in state.items()}


def publish(folder: Path, versions: int, **options):
    """A publisher that has published some versions; its tensors, and the states of all versions."""
    state = model()
    publisher = Publisher(folder, **options)
    states = []
    for version in range(versions):
        if version:
            step(state, version)
        publisher.publish(state)
        states.append(copies(state))
    return publisher, state, states


class Engine:
    """An engine that pauses for a subscriber, or is too busy to."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.is_busy = False

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        if self.is_busy:
            raise TimeoutError("the engine is busy")
        self.events.append("on")
        yield
        self.events.append("off")


def put(engine: dict[str, torch.Tensor], change: Change) -> None:
    """Writes a change into tensors of an engine's own."""
    name, indices, values = change
    if indices is None:
        engine[name] = values.clone()
    else:
        engine[name].view(-1)[indices] = values


# Following.


def test_a_subscriber_follows(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 1)
    subscriber = Subscriber(tmp_path)
    first = subscriber.update()
    assert (first.version, first.previous, first.keyframe, first.deltas) == (0, None, True, 0)
    assert same(subscriber.tensors, state)
    kept = subscriber.tensors["embedding"]
    for version in range(1, 4):
        step(state, version)
        published = publisher.publish(state)
        assert (published.version, published.keyframe, published.changes) == (version, False, 61)
        update = subscriber.update()
        assert (update.version, update.previous, update.deltas) == (version, version - 1, 1)
        assert update.bytes == published.bytes and update.changes == 61
        assert 0 < update.pause_seconds <= update.seconds
        assert same(subscriber.tensors, state)
    assert subscriber.tensors["embedding"] is kept
    assert subscriber.update() is None
    assert subscriber.version == publisher.version == 3


def test_deltas_are_small(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 1)
    big = {"weight": torch.randn(1000, 1000).mul_(0.02).bfloat16()}
    publisher.publish(big)
    big["weight"].view(torch.int16).view(-1)[::200] += 1
    published = publisher.publish(big)
    assert published.changes == 5000
    assert published.bytes < published.raw_bytes / 100


def test_live_tensors_are_updated_in_place(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 1)
    live = model(7)
    columns = torch.zeros(48, 64, dtype=torch.bfloat16)
    live["embedding"] = columns.t()
    live["norm"].requires_grad_()
    addresses = {name: tensor.data_ptr() for name, tensor in live.items()}
    engine = Engine()
    subscriber = Subscriber(tmp_path, live, pause=engine.pause)
    subscriber.update()
    for version in range(1, 4):
        step(state, version)
        publisher.publish(state)
        subscriber.update()
        assert same({n: t.detach() for n, t in live.items()}, state)
    assert {name: tensor.data_ptr() for name, tensor in live.items()} == addresses
    assert torch.equal(columns, state["embedding"].t())
    assert engine.events == ["on", "off"] * 4


def test_missed_versions_come_one_after_the_other(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 2)
    subscriber = Subscriber(tmp_path)
    subscriber.update()
    for version in range(2, 6):
        step(state, version)
        publisher.publish(state)
    update = subscriber.update()
    assert (update.version, update.previous, update.deltas, update.keyframe) == (5, 1, 4, False)
    assert same(subscriber.tensors, state)


def test_who_joins_late_loads_the_nearest_keyframe(tmp_path: Path) -> None:
    _, _, states = publish(tmp_path, 9, keyframe_every=3)
    update = Subscriber(tmp_path).update()
    assert (update.version, update.keyframe, update.deltas) == (8, True, 2)
    for version in range(1, 9):
        subscriber = Subscriber(tmp_path)
        update = subscriber.update(version)
        assert update.deltas == version % 3
        assert same(subscriber.tensors, states[version])


def test_what_is_needed_is_kept(tmp_path: Path) -> None:
    publisher, state, states = publish(tmp_path, 10, keyframe_every=4, keep=3)
    manifest = Manifest.from_bytes((tmp_path / MANIFEST).read_bytes())
    # Versions 7, 8 and 9 are kept; 7 needs the keyframe 4 and what follows it.
    assert [version.number for version in manifest.versions] == [4, 5, 6, 7, 8, 9]
    files = {path.name for path in tmp_path.glob("v*.hw")}
    assert files == manifest.files()
    for version in (7, 8, 9):
        subscriber = Subscriber(tmp_path)
        subscriber.update(version)
        assert same(subscriber.tensors, states[version])
    with pytest.raises(huffwire.ChainError, match="version 3"):
        Subscriber(tmp_path, retries=0).update(3)
    with pytest.raises(huffwire.ChainError, match="version 77"):
        Subscriber(tmp_path, retries=0).update(77)


def test_who_falls_behind_too_far_loads_a_keyframe(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 2, keyframe_every=2, keep=1)
    live = model(3)
    subscriber = Subscriber(tmp_path, live)
    subscriber.update()
    for version in range(2, 9):
        step(state, version)
        publisher.publish(state)
    update = subscriber.update()
    assert update.keyframe and update.previous == 1
    assert same(live, state)


def test_tensors_come_go_and_change(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 2, split=3)
    subscriber = Subscriber(tmp_path)
    subscriber.update()
    del state["norm"]
    state["new"] = torch.arange(10)
    state["layer.weight"] = state["layer.weight"].float()
    state["embedding"] = torch.cat([state["embedding"], state["embedding"][:9]])
    step_published = publisher.publish(state)
    assert not step_published.keyframe
    subscriber.update()
    assert same(subscriber.tensors, state)
    state["embedding"] = state["embedding"][:4].clone()
    publisher.publish(state)
    subscriber.update()
    assert same(subscriber.tensors, state)


def test_every_type_is_published(tmp_path: Path) -> None:
    dtypes = [
        torch.bfloat16,
        torch.float16,
        torch.float32,
        torch.float64,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.float4_e2m1fn_x2,
        torch.int8,
        torch.uint16,
        torch.int64,
        torch.bool,
        torch.complex64,
    ]
    state = {
        str(dtype): torch.randint(0, 2, (6, 64), dtype=torch.uint8).view(dtype) for dtype in dtypes
    }
    publisher = Publisher(tmp_path)
    publisher.publish(state)
    live = {
        name: torch.zeros(*tensor.shape, tensor.itemsize, dtype=torch.uint8)
        .view(tensor.dtype)
        .view(tensor.shape)
        for name, tensor in state.items()
    }
    scattered = {}
    for name, tensor in live.items():
        wide = torch.zeros(6, 128, dtype=torch.uint8).view(tensor.dtype)
        scattered[name] = wide[:, : tensor.shape[1]]
    subscribers = [Subscriber(tmp_path, live), Subscriber(tmp_path, scattered), Subscriber(tmp_path)]
    for subscriber in subscribers:
        subscriber.update()
    for tensor in state.values():
        tensor.view(torch.uint8)[1, 8:16] ^= 1
    publisher.publish(state)
    for subscriber in subscribers:
        assert subscriber.update().deltas == 1
        assert same(subscriber.tensors, state)


def test_changes_are_yielded(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 1, split=2)
    subscriber = Subscriber(tmp_path)
    engine: dict[str, torch.Tensor] = {}

    def take(changes) -> int:
        count = 0
        for change in changes:
            put(engine, change)
            count += 0 if change.indices is None else len(change.indices)
        return count

    take(subscriber.changes())
    assert same(engine, state)
    for version in range(1, 4):
        step(state, version)
        publisher.publish(state)
    # Whoever stops in the middle gets the same version again.
    changes = subscriber.changes()
    first = next(changes)
    assert isinstance(first, Change) and subscriber.version == 0
    changes.close()
    assert take(subscriber.changes()) == 3 * 61
    assert same(engine, state) and same(subscriber.tensors, state)
    assert subscriber.version == 3
    assert list(subscriber.changes()) == []


@pytest.mark.parametrize("call", ["update", "reload", "changes"])
@pytest.mark.parametrize("keyframe", [False, True])
def test_changes_of_a_subscriber_that_went_on(tmp_path: Path, call: str, keyframe: bool) -> None:
    """They would put an older version over the newer one."""
    publisher, state, _ = publish(tmp_path, 1)
    subscriber = Subscriber(tmp_path)
    if not keyframe:
        subscriber.update()
        step(state, 1)
        publisher.publish(state)
    changes = subscriber.changes()
    next(changes)
    for version in (2, 3):
        step(state, version)
        publisher.publish(state)
    meanwhile = getattr(subscriber, call)
    thread = threading.Thread(target=lambda: list(meanwhile()) if call == "changes" else meanwhile())
    thread.start()
    thread.join()
    with pytest.raises(huffwire.OptionError, match="went on"):
        list(changes)
    assert subscriber.version == publisher.version and same(subscriber.tensors, state)


def test_changes_need_tensors_of_their_own(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    with pytest.raises(huffwire.OptionError, match="give it none"):
        Subscriber(tmp_path, model()).changes()


def test_codebooks_travel_with_versions(tmp_path: Path) -> None:
    tensors = {"weight": torch.randn(300, 300).pow(3)}
    books = huffwire.calibrate(tensors, name="cubed").codebooks
    publisher = Publisher(tmp_path, codebooks=books, level="max")
    publisher.publish(tensors)
    subscriber = Subscriber(tmp_path)
    subscriber.update()
    tensors["weight"].mul_(1.01)
    publisher.publish(tensors)
    subscriber.update()
    assert same(subscriber.tensors, tensors)


def test_versions_are_files_like_all_others(tmp_path: Path) -> None:
    _, _, states = publish(tmp_path, 2)
    keyframe, delta = tmp_path / "v000000.keyframe.hw", tmp_path / "v000001.delta.hw"
    assert same(huffwire.torch.load_file(keyframe), states[0])
    assert same(huffwire.torch.load_file(delta, base=keyframe), states[1])
    with pytest.raises(huffwire.MissingBaseError):
        huffwire.torch.load_file(delta)
    for arguments in (["inspect", delta], ["verify", delta, "--base", keyframe]):
        done = subprocess.run(
            [sys.executable, "-m", "huffwire", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done
        assert arguments[0] == "verify" or "layer.weight" in done.stdout, done


# Rows, and other devices.


def test_rows_must_be_whole_parts(tmp_path: Path) -> None:
    _, state, _ = publish(tmp_path, 1, split=4)
    live = {"embedding": state["embedding"][:20].clone()}
    with pytest.raises(huffwire.MismatchError, match="rows 0 to 20"):
        Subscriber(tmp_path, live, rows={"embedding": (0, 20)}, strict=False, retries=0).update()
    with pytest.raises(huffwire.MismatchError, match="wanted"):
        Subscriber(tmp_path, live, rows={"embedding": (0, 16)}, strict=False, retries=0).update()
    with pytest.raises(huffwire.OptionError, match="rows="):
        Subscriber(tmp_path, rows={"embedding": (0, 16)})


def test_tensors_of_another_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of the CPU stand in for those of another device: PyTorch writes them all."""
    monkeypatch.setattr(_live, "is_written_by_huffwire", lambda _: False)
    monkeypatch.setattr(_follower, "is_written_by_huffwire", lambda _: False)
    publisher, state, _ = publish(tmp_path, 1)
    live = model(5)
    subscriber = Subscriber(tmp_path, live)
    subscriber.update()
    for version in range(1, 3):
        step(state, version)
        publisher.publish(state)
        assert subscriber.update().changes == 61
        assert same(live, state)


def test_deltas_of_a_storage_that_loses_files(tmp_path: Path) -> None:
    """A chain with a missing link: what is before it is applied, and nothing of what is behind."""
    publisher, state, states = publish(tmp_path, 1)
    live = model(4)
    subscriber = Subscriber(tmp_path, live, retries=0)
    subscriber.update()
    for version in range(1, 4):
        step(state, version)
        publisher.publish(state)
        states.append(copies(state))
    (tmp_path / "v000002.delta.hw").unlink()
    with pytest.raises(huffwire.MissingFileError):
        subscriber.update()
    assert subscriber.version == 1 and same(live, states[1])
    follower = Subscriber(tmp_path, retries=1, backoff=0.01)
    with pytest.raises(huffwire.MissingFileError):
        list(follower.changes())
    assert follower.version == 1
    publisher.publish(state, keyframe=True)
    assert subscriber.reload().version == 4
    assert same(live, state)


# What is refused leaves everything as it was.


def test_live_tensors_that_somebody_wrote_to(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 1)
    live = model(1)
    subscriber = Subscriber(tmp_path, live)
    subscriber.update()
    step(state, 1)
    publisher.publish(state)
    live["layer.weight"][3, 3] = 9
    kept = copies(live)
    with pytest.raises(huffwire.WrongBaseError, match=r"'layer\.weight'"):
        subscriber.update()
    assert same(live, kept) and subscriber.version == 0
    assert subscriber.reload().version == 1
    assert same(live, state)


def test_other_tensors_than_are_published(tmp_path: Path) -> None:
    _, state, _ = publish(tmp_path, 1)
    missing = model(1)
    del missing["norm"]
    with pytest.raises(huffwire.MismatchError, match="only there: norm"):
        Subscriber(tmp_path, missing).update()
    Subscriber(tmp_path, missing, strict=False).update()
    assert torch.equal(missing["embedding"], state["embedding"])
    other = model(1)
    other["norm"] = other["norm"].bfloat16()
    kept = copies(other)
    with pytest.raises(huffwire.MismatchError, match="'norm' is published as torch.float32"):
        Subscriber(tmp_path, other).update()
    assert same(other, kept)


def test_tensors_that_share_memory(tmp_path: Path) -> None:
    state = {"a": torch.randn(20, 30), "b": torch.empty(0)}
    state["b"] = state["a"]
    publisher = Publisher(tmp_path)
    publisher.publish(state)
    memory = torch.zeros(20, 30)
    subscriber = Subscriber(tmp_path, {"a": memory, "b": memory})
    subscriber.update()
    state["a"].normal_()
    publisher.publish(state)
    assert subscriber.update().changes == 600
    assert torch.equal(memory, state["a"])
    # Now they are different, and cannot both be there.
    state["b"] = state["a"] + 1
    publisher.publish(state)
    kept = memory.clone()
    with pytest.raises(huffwire.MismatchError, match="share memory"):
        subscriber.update()
    assert torch.equal(memory, kept)
    with pytest.raises(huffwire.OutputError, match="share a part"):
        Subscriber(tmp_path, {"a": memory[:15], "b": memory[10:]})
    with pytest.raises(huffwire.OutputError, match="elements that share"):
        Subscriber(tmp_path, {"a": torch.zeros(30).expand(20, 30)})


def test_tensors_that_cannot_be_published_or_written(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 1)
    for wrong in ([], {1: torch.zeros(1)}):
        with pytest.raises(huffwire.UnsupportedError):
            publisher.publish(wrong)
    with pytest.raises(huffwire.UnsupportedError):
        publisher.publish({**state, "sparse": torch.eye(3).to_sparse()})
    with pytest.raises(huffwire.OutputError, match="'meta'"):
        Subscriber(tmp_path, {"meta": torch.zeros(3, device="meta")})
    # Nothing of it was published.
    step(state, 1)
    assert publisher.publish(state).version == 1
    subscriber = Subscriber(tmp_path)
    subscriber.update()
    assert same(subscriber.tensors, state)


def test_a_second_publisher_is_refused(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 2)
    with pytest.raises(huffwire.LockedError, match=f"process {os.getpid()}"):
        Publisher(tmp_path)
    publisher.close()
    with pytest.raises(huffwire.OptionError, match="closed"):
        publisher.publish(state)
    with Publisher(tmp_path) as other:
        assert other.version == 1
        step(state, 7)
        published = other.publish(state)
        # It goes on from what is in the folder.
        assert (published.version, published.keyframe, published.changes) == (2, False, 61)
    subscriber = Subscriber(tmp_path)
    subscriber.update()
    assert same(subscriber.tensors, state)


def test_options_are_checked(tmp_path: Path) -> None:
    for options in (
        {"keep": 0}, {"keyframe_every": 0}, {"split": 0}, {"keep": 1.5}, {"split": 2.0}, {"split": True}
    ):
        with pytest.raises(huffwire.OptionError, match="from 1 on"):
            Publisher(tmp_path, **options)
    with pytest.raises(huffwire.OptionError, match="give a folder"):
        Subscriber(7)
    for options in (
        {"retries": -1}, {"retries": 1.5}, {"backoff": -0.1}, {"backoff": float("nan")}, {"max_size": -1}
    ):
        with pytest.raises(huffwire.OptionError, match="from 0 on"):
            Subscriber(tmp_path, **options)
    with pytest.raises(huffwire.UnsupportedError, match="names"):
        Subscriber(tmp_path, {1: torch.zeros(3)})
    assert Subscriber(tmp_path / "nothing yet").update() is None
    assert Subscriber(tmp_path / "nothing yet").wait(0) is None


def test_versions_that_are_too_large(tmp_path: Path) -> None:
    _, state, _ = publish(tmp_path, 1)
    size = sum(tensor.nbytes for tensor in state.values())
    with pytest.raises(huffwire.LimitError, match=f"{size} bytes of tensors"):
        Subscriber(tmp_path, max_size=size - 1).update()
    assert Subscriber(tmp_path, max_size=size).update().version == 0


def test_a_first_version_reads_tensors_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is published is what the publisher has copied, also if somebody writes to a tensor meanwhile."""
    state = model()
    due = copies(state)
    add = _versions.VersionWriter.add

    def writing(writer: _versions.VersionWriter, key: str, tensor: torch.Tensor) -> None:
        state["norm"].add_(1)
        add(writer, key, tensor)

    monkeypatch.setattr(_versions.VersionWriter, "add", writing)
    publisher = Publisher(tmp_path)
    assert publisher.publish(state).changes == sum(tensor.numel() for tensor in state.values())
    subscriber = Subscriber(tmp_path)
    subscriber.update()
    assert same(subscriber.tensors, due)
    monkeypatch.undo()
    assert publisher.publish(state).changes == state["norm"].numel()
    subscriber.update()
    assert same(subscriber.tensors, state)


def test_waiting(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 1)
    subscriber = Subscriber(tmp_path)
    subscriber.update()
    step(state, 1)
    later = threading.Timer(0.3, publisher.publish, [state])
    later.start()
    update = subscriber.wait(60, poll=0.05)
    later.join()
    assert update.version == 1


# Damage.


def damage(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["delta", "keyframe"])
def test_damaged_files_change_nothing(tmp_path: Path, kind: str) -> None:
    publisher, state, _ = publish(tmp_path, 1)
    live = model(9)
    subscriber = Subscriber(tmp_path, live, retries=1, backoff=0.01)
    if kind == "delta":
        subscriber.update()
        step(state, 1)
        publisher.publish(state)
    kept = copies(live)
    (path,) = tmp_path.glob(f"v*.{kind}.hw")
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 9)):
        damage(path, place)
        with pytest.raises(huffwire.DamagedError):
            subscriber.update()
        assert same(live, kept)
        path.write_bytes(whole)
    path.write_bytes(whole[:-5])
    with pytest.raises(huffwire.DamagedError):
        subscriber.update()
    path.unlink()
    with pytest.raises(huffwire.MissingFileError):
        subscriber.update()
    assert same(live, kept)
    path.write_bytes(whole)
    subscriber.update()
    assert same(live, state)


def test_a_file_of_another_version(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path / "a", 1)
    Publisher(tmp_path / "b").publish(model(3))
    ours, theirs = (tmp_path / name / "v000000.keyframe.hw" for name in "ab")
    manifest = json.loads((tmp_path / "a" / MANIFEST).read_bytes().split(b"\n")[0])
    ours.write_bytes(theirs.read_bytes())
    live = model(5)
    kept = copies(live)
    # Also where size and hash of the file in the manifest are those of the wrong one.
    manifest["versions"][0]["keyframe"] = vars(describe(ours))
    (tmp_path / "a" / MANIFEST).write_bytes(sealed(json.dumps(manifest)))
    with pytest.raises(huffwire.DamagedError, match="another version"):
        Subscriber(tmp_path / "a", live, retries=0).update()
    assert same(live, kept)


def test_damaged_manifests(tmp_path: Path) -> None:
    publish(tmp_path, 2)[0].close()
    path = tmp_path / MANIFEST
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        damage(path, place)
        with pytest.raises(huffwire.DamagedError):
            Subscriber(tmp_path, retries=0).update()
        with pytest.raises(huffwire.DamagedError):
            Publisher(tmp_path)
        path.write_bytes(whole)
    Publisher(tmp_path).close()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../v000000.keyframe.hw"},
        {"name": "/etc/passwd"},
        {"bytes": -1},
        {"bytes": 1 << 80},
        {"bytes": True},
        {"hash": "../../../../etc"},
        {"hash": None},
    ],
)
def test_hostile_manifests(change: dict[str, object]) -> None:
    file = {"name": "v000000.keyframe.hw", "bytes": 5, "hash": "0" * 32}
    version = {"number": 0, "state": "0" * 32, "keyframe": file, "delta": None, "base": None}

    def manifest(versions: object, format: object = 1) -> bytes:
        return sealed(json.dumps({"format": format, "run": "x", "versions": versions}))

    assert Manifest.from_bytes(manifest([version])).latest.number == 0
    with pytest.raises(huffwire.DamagedError):
        Manifest.from_bytes(manifest([{**version, "keyframe": {**file, **change}}]))
    for wrong in (
        [{**version, "number": -1}],
        [{**version, "base": 0, "delta": file}],
        [{**version, "delta": file}],
        [version, version],
        [7],
        None,
    ):
        with pytest.raises(huffwire.DamagedError):
            Manifest.from_bytes(manifest(wrong))
    with pytest.raises(huffwire.VersionError):
        Manifest.from_bytes(manifest([], format=2))


def test_another_run_in_the_same_folder(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 3)
    live = model(2)
    subscriber = Subscriber(tmp_path, live)
    subscriber.update()
    publisher.close()
    for path in tmp_path.glob("*.*"):
        path.unlink() if path.is_file() else None
    publisher, state, _ = publish(tmp_path, 3)
    update = subscriber.update()
    assert update.keyframe and update.version == 2
    assert same(live, state)


# Storages that are not at hand.


class Remote(Folder):
    """A folder whose files have to be downloaded, and whose readers are interrupted."""

    def __init__(self, path: Path, fail_at: int = -1) -> None:
        super().__init__(path)
        self.fail_at = fail_at
        self.reads: list[tuple[str, int]] = []

    def local(self, name: str) -> None:
        return None

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        if name == MANIFEST:
            return super().read(name, start, size)
        self.reads.append((name, start))
        if len(self.reads) == self.fail_at:
            raise huffwire.FileError("the connection broke")
        return super().read(name, start, None if size is None else min(size, 500))


def test_downloads(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 3)
    subscriber = Subscriber(Remote(tmp_path))
    subscriber.update()
    assert same(subscriber.tensors, state)


def test_an_interrupted_download_goes_on(tmp_path: Path) -> None:
    _, state, _ = publish(tmp_path / "folder", 1)
    cache = tmp_path / "cache"
    first = Remote(tmp_path / "folder", fail_at=4)
    with pytest.raises(huffwire.FileError, match="broke"):
        Subscriber(first, cache=cache, retries=0).update()
    (part,) = cache.glob("*.part")
    assert part.stat().st_size == 1500
    # Another process.
    second = Remote(tmp_path / "folder")
    subscriber = Subscriber(second, cache=cache)
    subscriber.update()
    assert second.reads[0][1] == 1500
    assert same(subscriber.tensors, state)
    assert [path.name for path in cache.iterdir()] == ["subscriber.lock"]


def test_a_download_is_tried_again(tmp_path: Path) -> None:
    _, state, _ = publish(tmp_path, 1)
    storage = Remote(tmp_path, fail_at=4)
    subscriber = Subscriber(storage, retries=1, backoff=0.01)
    subscriber.update()
    assert storage.reads[3][1] == storage.reads[4][1] == 1500
    assert same(subscriber.tensors, state)


def test_what_was_damaged_on_the_way_is_downloaded_again(tmp_path: Path) -> None:
    _, state, _ = publish(tmp_path / "folder", 1)
    cache = tmp_path / "cache"
    with pytest.raises(huffwire.FileError):
        Subscriber(Remote(tmp_path / "folder", fail_at=4), cache=cache, retries=0).update()
    (part,) = cache.glob("*.part")
    damage(part, 700)
    subscriber = Subscriber(Remote(tmp_path / "folder"), cache=cache, retries=1, backoff=0.01)
    subscriber.update()
    assert same(subscriber.tensors, state)
