"""Files of a storage: downloads that break, files that shrink while they are read, and what belongs to whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import huffwire
from huffwire import _huffwire
from huffwire.sync import Subscriber
from huffwire.sync._versions import describe
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


def test_a_file_that_shrinks_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had mapped it into memory would be killed by the system."""
    publisher, state, _ = publish(tmp_path, 1)
    live = model(9)
    kept = copies(live)
    (path,) = tmp_path.glob("*.keyframe.hw")
    hash_file = _huffwire._hash_file

    def shrinking(where: Path) -> tuple[int, str]:
        os.truncate(where, 3)
        return hash_file(where)

    monkeypatch.setattr(_huffwire, "_hash_file", shrinking)
    with pytest.raises(huffwire.DamagedError, match="hash"):
        Subscriber(tmp_path, live, retries=0).update()
    assert path.stat().st_size == 3 and same(live, kept)


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
