"""Publishers and subscribers that are killed at chosen points, and disks that are full: nothing is ever half new."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import huffwire
import pytest
import ranks
import torch
from huffwire.sync import Folder, Publisher, Subscriber, _live, _versions
from huffwire.sync._manifest import MANIFEST, Manifest, version_of
from test_sync import copies, model, publish, same, step

VERSIONS = 5


def states() -> list[dict[str, torch.Tensor]]:
    state, found = model(), []
    for version in range(VERSIONS):
        if version:
            step(state, version)
        found.append(copies(state))
    return found


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(function, call: int, after: bool):
    """A function that kills its process in one of its calls, before or after what it does."""
    calls = 0

    def run(*args, **options):
        nonlocal calls
        calls += 1
        if calls == call and not after:
            die()
        found = function(*args, **options)
        if calls == call:
            die()
        return found

    return run


def exits(function, count: int, *args: object) -> list[int | None]:
    """How processes end that run ``function(number, *args)``."""
    processes = [
        ranks._CONTEXT.Process(target=function, args=(number, *args)) for number in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    return [process.exitcode for process in processes]


# What a publisher calls: stored files (delta or keyframe, then the manifest), removed files, added deltas, finished files.
POINTS = [
    *((Folder, "put", call, False) for call in (1, 2, 3, 4, 6)),
    *((Folder, "put", call, True) for call in (2, 4, 5)),
    (Folder, "remove", 1, True),
    (_versions.VersionWriter, "add_delta", 7, True),
    (_versions.VersionWriter, "finish", 3, True),
]


def publishing(number: int, folder: str) -> None:
    """Publishes to a folder of its own, and dies at a point of its own."""
    owner, name, call, after = POINTS[number]
    setattr(owner, name, dying(getattr(owner, name), call, after))
    publisher = Publisher(Path(folder) / str(number), keyframe_every=2, keep=1)
    for state in states()[: VERSIONS - 1]:
        publisher.publish(state)


def test_publishers_that_are_killed(tmp_path: Path) -> None:
    expected = states()
    codes = exits(publishing, len(POINTS), str(tmp_path))
    assert codes == [-signal.SIGKILL] * len(POINTS)
    for number in range(len(POINTS)):
        folder = tmp_path / str(number)

        # What the manifest names is there, whole.
        manifest = Manifest("")
        if (folder / MANIFEST).exists():
            manifest = Manifest.from_bytes((folder / MANIFEST).read_bytes())
        latest = manifest.latest
        subscriber = Subscriber(folder, retries=0)
        assert (subscriber.update() is None) == (latest is None)
        if latest is not None:
            assert same(subscriber.tensors, expected[latest.number])

        # The folder is free, and what was not finished is gone.
        with Publisher(folder, keyframe_every=2, keep=1) as publisher:
            state = expected[0 if latest is None else latest.number + 1]
            publisher.publish(state)
            subscriber.update()
            assert same(subscriber.tensors, state)
        named = Manifest.from_bytes((folder / MANIFEST).read_bytes()).files()
        assert {p.name for p in folder.iterdir() if version_of(p.name) is not None} == named
        assert not list((folder / ".unfinished").iterdir())


def mapped(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors in files that are mapped into memory: they outlive the process."""
    return {
        name: torch.from_file(
            str(folder / name), shared=True, size=tensor.numel(), dtype=tensor.dtype
        ).view(tensor.shape)
        for name, tensor in model().items()
        if tensor.numel()
    }


def following(number: int, folder: str, where: str, point: tuple) -> None:
    live = mapped(Path(where))
    subscriber = Subscriber(folder, live, strict=False, journal=Path(where) / "journal")
    subscriber.update(1)
    kind, call = point
    if kind == "half":
        # Dies with half of the changes of a tensor written.
        write = _live.Scatter.write
        calls = 0

        def half(self) -> None:
            nonlocal calls
            calls += 1
            if calls == call:
                middle = max(1, len(self.indices) // 2)
                self.indices, self.values = self.indices[:middle], self.values[:middle]
                write(self)
                die()
            write(self)

        _live.Scatter.write = half
    else:
        from huffwire.sync import _journal

        owner = _journal.Journal
        setattr(owner, kind, dying(getattr(owner, kind), call, after=False))
    subscriber.update()


@pytest.mark.parametrize("point", [("begin", 1), ("half", 1), ("half", 3), ("half", 7), ("done", 1)])
def test_a_subscriber_that_is_killed(tmp_path: Path, point: tuple) -> None:
    folder, where = tmp_path / "folder", tmp_path / "memory"
    where.mkdir()
    _, _, expected = publish(folder, 4)
    assert exits(following, 1, str(folder), str(where), point) == [-signal.SIGKILL]

    live = mapped(where)
    subscriber = Subscriber(folder, live, strict=False, journal=where / "journal")
    version = subscriber.version
    # What was begun is finished; nothing is half new.
    assert version == {"begin": 1, "half": 2 + (point[1] > 5), "done": 2}[point[0]]
    due = {name: expected[version][name] for name in live}
    assert same(live, due)
    update = subscriber.update()
    assert update is None if version == 3 else not update.keyframe
    assert same(live, {name: expected[3][name] for name in live})


def loading(number: int, folder: str, where: str) -> None:
    from huffwire.sync._follower import Follower

    Follower._write_whole = dying(Follower._write_whole, 2, after=True)
    Subscriber(folder, mapped(Path(where)), strict=False, journal=Path(where) / "journal").update()


def test_a_subscriber_that_is_killed_while_it_loads_a_keyframe(tmp_path: Path) -> None:
    folder, where = tmp_path / "folder", tmp_path / "memory"
    where.mkdir()
    _, state, _ = publish(folder, 1)
    assert exits(loading, 1, str(folder), str(where)) == [-signal.SIGKILL]
    live = mapped(where)
    subscriber = Subscriber(folder, live, strict=False, journal=where / "journal")
    # It says that the tensors are of no version, and loads all of them.
    assert subscriber.version is None
    assert subscriber.update().keyframe
    assert same(live, {name: state[name] for name in live})


def test_a_journal_goes_on(tmp_path: Path) -> None:
    publisher, state, _ = publish(tmp_path / "folder", 1)
    live = model(3)
    options = {"journal": tmp_path / "journal"}
    Subscriber(tmp_path / "folder", live, **options).update()
    del state["norm"]
    state["norm"] = torch.zeros(48)
    publisher.publish(state)
    subscriber = Subscriber(tmp_path / "folder", live, **options)
    assert subscriber.version == 0
    assert subscriber.update().deltas == 1 and same(live, state)
    (tmp_path / "journal" / "state.json").write_bytes(b"{}")
    with pytest.raises(huffwire.DamagedError):
        Subscriber(tmp_path / "folder", live, **options)
    with pytest.raises(huffwire.OptionError, match="outlives"):
        Subscriber(tmp_path / "folder", **options)


def on_a_full_disk(rank: int, size: int, folder: str) -> tuple[str, int | None]:
    """Publishes where no file may have more than some bytes, which to the process is a disk without room."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    publisher = Publisher(folder)
    state = model()
    publisher.publish(state)
    state["layer.weight"].normal_()
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    try:
        publisher.publish(state)
        error = "none"
    except huffwire.FileError as found:
        error = type(found).__name__
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    subscriber = Subscriber(folder)
    subscriber.update()
    before = subscriber.version
    assert same(subscriber.tensors, model())
    publisher.publish(state)
    subscriber.update()
    assert same(subscriber.tensors, state)
    return error, before


def test_a_full_disk(tmp_path: Path) -> None:
    (found,) = ranks.run(on_a_full_disk, 1, str(tmp_path), backend=None)
    assert found == ("FileError", 0)


def test_a_fork_does_not_keep_the_lock(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    (ready, says), (waits, ends) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(says, b"x")
        os.read(waits, 1)
        os._exit(0)
    try:
        os.read(ready, 1)
        # As if the process had been killed, while its child lives on.
        os.close(publisher._channel._lock._file)
        publisher._channel._lock._file = -1
        Publisher(tmp_path).close()
    finally:
        os.write(ends, b"x")
        os.waitpid(child, 0)
