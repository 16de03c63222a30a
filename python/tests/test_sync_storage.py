"""Files of a storage: downloads that break, files that shrink while they are read, and what belongs to whom."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import huffwire
import huffwire.torch
from huffwire.sync import Folder, Publisher, Subscriber, _following
from huffwire.sync._manifest import MANIFEST, Manifest, Version, sealed
from huffwire.sync._versions import VersionReader, describe
from test_sync import Remote, copies, damage, model, publish, same, step

# Hashes of files.


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 17])
def test_files_are_hashed_as_memory_is(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    found = describe(path)
    assert (found.bytes, found.hash) == (size, huffwire.content_hash(path.read_bytes(), "u8"))


def test_files_that_cannot_be_hashed(tmp_path: Path) -> None:
    with pytest.raises(huffwire.MissingFileError, match="nowhere"):
        describe(tmp_path / "nowhere")
    with pytest.raises(huffwire.FileError):
        describe(tmp_path)


# More than anybody reads in the time of a test. None of it takes room.
HUGE = 1 << 40


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="the system does not tell how far a file was read")
def test_a_file_that_shrinks_while_it_is_hashed(tmp_path: Path) -> None:
    """Whoever had mapped it into memory would be killed by the system."""
    _, state, _ = publish(tmp_path, 1)
    live = model(9)
    kept = copies(live)
    (path,) = tmp_path.glob("*.keyframe.hw")
    os.truncate(path, HUGE)
    manifest = Manifest.from_bytes((tmp_path / MANIFEST).read_bytes())
    (version,) = manifest.versions
    huge = replace(version, keyframe=replace(version.keyframe, bytes=HUGE))
    (tmp_path / MANIFEST).write_bytes(replace(manifest, versions=(huge,)).to_bytes())
    with ThreadPoolExecutor(1) as pool:
        updating = pool.submit(Subscriber(tmp_path, live, retries=0).update)
        while (was_read := read_so_far(path)) == 0 and not updating.done():
            time.sleep(0.001)
        os.truncate(path, 3)
        with pytest.raises(huffwire.DamagedError, match=r"has the hash .* was expected"):
            updating.result(60)
    assert 0 < was_read < HUGE and same(live, kept)


def read_so_far(path: Path) -> int:
    """How many bytes of a file this process has read, where it has opened it."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if descriptor.readlink() == path.resolve():
                told = Path("/proc/self/fdinfo", descriptor.name).read_text()
                return int(told.partition("pos:")[2].split()[0])
    return 0


def test_a_file_that_shrinks_after_it_was_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, 1)
    live = model(9)
    kept = copies(live)

    def shrinking(path: Path, *arguments: object) -> VersionReader:
        reader = VersionReader(path, *arguments)
        os.truncate(path, 3)
        return reader

    monkeypatch.setattr(_following, "VersionReader", shrinking)
    with pytest.raises(huffwire.FileError, match="another program writes to it"):
        Subscriber(tmp_path, live, retries=0).update()
    assert same(live, kept)


# Downloads.


class Flaky(Remote):
    """A storage whose connection breaks after each range, or that always sends something else."""

    def __init__(self, path: Path, *, wrong: bool = False) -> None:
        super().__init__(path)
        self.wrong = wrong
        self.broken = 0

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        data = super().read(name, start, size)
        if name.endswith(".json"):
            return data
        if self.wrong:
            return bytes(len(data))
        self.broken += 1
        if self.broken % 2 == 0:
            raise huffwire.FileError("the connection broke")
        return data


def test_attempts_go_on_and_are_counted(tmp_path: Path) -> None:
    _, state, _ = publish(tmp_path, 1)
    storage = Flaky(tmp_path)
    with pytest.raises(huffwire.FileError, match="broke"):
        Subscriber(storage, retries=3, backoff=0).update()
    # One range and one error for each attempt: no attempt begins where an earlier one had begun.
    assert [start for _, start in storage.reads] == [0, 500, 500, 1000, 1000, 1500, 1500, 2000]
    storage = Flaky(tmp_path)
    subscriber = Subscriber(storage, retries=1000, backoff=0)
    subscriber.update()
    assert same(subscriber.tensors, state)


def test_a_storage_that_sends_something_else(tmp_path: Path) -> None:
    publish(tmp_path / "folder", 1)
    size = next((tmp_path / "folder").glob("*.hw")).stat().st_size
    for cache in (None, tmp_path / "cache"):
        storage = Flaky(tmp_path / "folder", wrong=True)
        with pytest.raises(huffwire.DamagedError, match="hash"):
            Subscriber(storage, cache=cache, retries=2, backoff=0).update()
        assert sum(start == 0 for _, start in storage.reads) == 3
        assert len(storage.reads) == 3 * -(-size // 500)
    assert list((tmp_path / "cache").glob("*.*w")) == []
    assert list((tmp_path / "cache").glob("*.part")) == []


def test_what_is_in_the_cache_is_compared(tmp_path: Path) -> None:
    """A file that was complete, and was damaged since; one that is too long; and those of versions that are gone."""
    publisher, state, _ = publish(tmp_path / "folder", 1)
    cache = tmp_path / "cache"
    cache.mkdir()
    (path,) = (tmp_path / "folder").glob("*.hw")
    hash = describe(path).hash
    for ending in ("hw", "part"):
        (cache / f"{hash}.{ending}").write_bytes(path.read_bytes() + b"x" * (ending == "part"))
        damage(cache / f"{hash}.{ending}", 100)
        (cache / f"{'0' * 32}.{ending}").write_bytes(b"of another version")
        (cache / "mine.part").write_bytes(b"of somebody else")
        subscriber = Subscriber(Remote(tmp_path / "folder"), cache=cache, retries=0)
        subscriber.update()
        assert same(subscriber.tensors, state)
        assert {path.name for path in cache.iterdir()} == {"mine.part", "subscriber.lock"}


def test_a_file_that_was_downloaded_is_used_again(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path / "folder", 1)
    live = model(2)
    storage = Remote(tmp_path / "folder")
    subscriber = Subscriber(storage, live, cache=tmp_path / "cache")
    subscriber.update()
    step(state, 1)
    publisher.publish(state)
    right = live["norm"].clone()
    live["norm"][3] = 8
    with pytest.raises(huffwire.WrongBaseError):
        subscriber.update()
    count = len(storage.reads)
    live["norm"].copy_(right)
    assert subscriber.update().deltas == 1 and same(live, state)
    assert len(storage.reads) == count


def test_a_cache_is_of_one_subscriber(tmp_path: Path) -> None:
    publish(tmp_path / "folder", 1)

    class Meanwhile(Remote):
        def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
            if start == 500:
                other = Subscriber(Remote(tmp_path / "folder"), cache=tmp_path / "cache")
                with pytest.raises(huffwire.LockedError, match="another subscriber"):
                    other.update()
            return super().read(name, start, size)

    Subscriber(Meanwhile(tmp_path / "folder"), cache=tmp_path / "cache").update()


# What belongs to a publisher.


class Late(Folder):
    """A folder in which something happens when the manifest has its name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.then: Callable[[], object] | None = None

    def put(self, name: str, source: Path) -> None:
        super().put(name, source)
        if name == MANIFEST and self.then is not None:
            then, self.then = self.then, None
            then()


@pytest.mark.parametrize("share", ["small", "large"])
def test_tensors_that_change_when_the_manifest_is_written(tmp_path: Path, share: str) -> None:
    """The version is there: the call says so, and the next version is made for what was published."""
    folder = Late(tmp_path)
    publisher = Publisher(folder)
    state = model()
    publisher.publish(state)
    live = model(8)
    subscriber = Subscriber(tmp_path, live)
    for version in range(1, 4):
        if share == "large":
            # Nearly all bits of it: the publisher does not keep such deltas.
            state["layer.weight"].view(torch.int16).random_(generator=torch.Generator().manual_seed(version))
        step(state, version)
        due = copies(state)
        folder.then = lambda: state["layer.weight"].mul_(-1)
        assert publisher.publish(state).version == publisher.version == version
        assert subscriber.update().version == version and same(live, due)


def test_a_storage_that_fails_when_the_manifest_is_written(tmp_path: Path) -> None:
    folder = Late(tmp_path)
    publisher = Publisher(folder)
    state = model()
    publisher.publish(state)
    live = model(8)
    subscriber = Subscriber(tmp_path, live)

    def fail() -> None:
        raise huffwire.FileError("the disk is gone")

    for version in (1, 3):
        step(state, version)
        folder.then = fail
        with pytest.raises(huffwire.FileError, match="gone"):
            publisher.publish(state)
        # Publisher, manifest and subscriber agree.
        assert publisher.version == version == subscriber.update().version
        assert same(live, state)
        step(state, version + 1)
        published = publisher.publish(state)
        assert (published.version, published.keyframe, published.changes) == (version + 1, False, 61)
        assert subscriber.update().deltas == 1 and same(live, state)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 3, keep=1, keyframe_every=1)
    publisher.close()
    names = ["v000099.delta.hw", "v0000001.delta.hw", "v٠٠٠٠٠١.delta.hw", "v000001.delta.hw.bak"]
    for name in names:
        (tmp_path / name).write_bytes(b"of somebody else")
    # What an earlier publisher with this manifest left: an old version, and one that it did not finish.
    for name in ("v000000.delta.hw", "v000003.keyframe.hw"):
        (tmp_path / name).write_bytes(b"left")
    with Publisher(tmp_path, keep=1, keyframe_every=1) as publisher:
        assert not (tmp_path / "v000000.delta.hw").exists()
        assert not (tmp_path / "v000003.keyframe.hw").exists()
        assert publisher.publish(state).version == 3
    for name in names:
        assert (tmp_path / name).read_bytes() == b"of somebody else"


def test_versions_without_a_manifest_are_not_removed(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path, 2)
    publisher.close()
    (tmp_path / MANIFEST).rename(tmp_path / "kept")
    before = sorted(path.name for path in tmp_path.glob("v*"))
    for _ in range(2):
        with pytest.raises(huffwire.ExistsError, match=r"such as v000001\.delta\.hw, and no manifest"):
            Publisher(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("v*")) == before
    (tmp_path / "kept").rename(tmp_path / MANIFEST)
    assert Publisher(tmp_path).publish(state).version == 2


def test_names_that_cannot_be_published(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, split=2)
    for wrong, text in (
        ({"a": torch.ones(4, 4), "a[0:2]": torch.ones(3)}, r"'a\[0:2\]' is the name of a tensor, and of a part of 'a'"),
        ({"a[2:4]": torch.ones(3), "a": torch.ones(4, 4)}, "of a part"),
        ({"\ud800": torch.ones(3)}, "is no text"),
    ):
        with pytest.raises(huffwire.UnsupportedError, match=text):
            publisher.publish(wrong)
    with pytest.raises(huffwire.Error, match="__metadata__"):
        publisher.publish({"__metadata__": torch.ones(3)})
    names = ["", "a\0b", "../x", "é", "x" * 70_000]
    assert publisher.publish({name: torch.ones(3) for name in names}).version == 0
    subscriber = Subscriber(tmp_path)
    subscriber.update()
    assert sorted(subscriber.tensors) == sorted(names)


def test_threads_take_turns(tmp_path: Path) -> None:
    publisher, _, _ = publish(tmp_path, 1)
    live = model(2)
    subscriber = Subscriber(tmp_path, live, retries=0)

    def work(number: int) -> None:
        publisher.publish(model(number))
        subscriber.update()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(12)))
    subscriber.update()
    assert subscriber.version == publisher.version == 12
    assert any(same(live, model(number)) for number in range(12))


def test_a_full_disk_does_not_keep_a_publisher_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    publisher = Publisher(tmp_path)
    with pytest.raises(huffwire.LockedError, match="unknown"):
        Publisher(tmp_path)
    assert publisher.publish(model()).version == 0


# Hostile files.


PARTS = {"embedding[0:2]": ["embedding", 0, 2], "embedding[2:4]": ["embedding", 2, 4]}


@pytest.mark.parametrize(
    "about",
    [
        None,
        7,
        {},
        {"parts": 7},
        {"parts": {"embedding[0:2]": 7}},
        {"parts": {"embedding[0:2]": []}},
        {"parts": {"embedding[0:2]": [["embedding"], 0, 2]}},
        {"parts": {"embedding[0:2]": ["embedding", 0.0, 2.0]}},
        {"parts": {"embedding[0:2]": ["embedding", False, 2]}},
        {"parts": {"embedding[0:2]": ["embedding", -2, 0]}},
        {"parts": {"embedding[0:2]": ["embedding", 0, 2, 4]}},
        {"parts": {"embedding[0:2]": ["embedding", 0]}},
        {"parts": {"embedding[0:2]": ["embedding", 0, 1 << 80]}},
        {"parts": PARTS, "hashes": 7},
        {"parts": PARTS, "hashes": list(PARTS)},
        {"parts": PARTS, "hashes": {"embedding[0:2]": "0" * 32}},
        {"parts": PARTS, "hashes": dict.fromkeys(PARTS, 7)},
        {"parts": PARTS, "hashes": dict.fromkeys(PARTS, "0" * 32)},
        {"parts": {"embedding[0:2]": ["embedding", 0, 2], "embedding[2:4]": ["embedding", 0, 2]}},
        "[" * 100_000,
    ],
)
def test_hostile_versions(tmp_path: Path, about: object) -> None:
    path = tmp_path / "v000000.keyframe.hw"
    tensors = {key: torch.zeros(2, 3) for key in PARTS}
    text = about if isinstance(about, str) else json.dumps(about)
    huffwire.torch.save_file(tensors, path, {"huffwire.sync": text})
    manifest = Manifest("run").with_version(Version(0, "0" * 32, describe(path), None, None), 1)
    (tmp_path / MANIFEST).write_bytes(manifest.to_bytes())
    live = {"embedding": torch.ones(4, 3)}
    for given in (live, None):
        with pytest.raises(huffwire.Error):
            Subscriber(tmp_path, given, retries=0).update()
    assert torch.equal(live["embedding"], torch.ones(4, 3))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "[" * 100_000,
        '{"format": 1, "run": "x", "versions": [%s]}' % ("9" * 5000),
        '{"format": 1, "run": 7, "versions": []}',
        '{"format": 1, "run": "x", "versions": {"a": 1}}',
        '{"format": {}, "run": "x", "versions": []}',
    ],
)
def test_hostile_manifests_are_typed_errors(tmp_path: Path, body: str) -> None:
    line = sealed(body)
    (tmp_path / MANIFEST).write_bytes(line)
    for opens in (lambda: Subscriber(tmp_path, retries=0).update(), lambda: Publisher(tmp_path)):
        with pytest.raises((huffwire.DamagedError, huffwire.VersionError)):
            opens()
    assert (tmp_path / MANIFEST).read_bytes() == line
