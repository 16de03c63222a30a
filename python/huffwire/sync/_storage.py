"""Where versions lie: named files that appear whole or not at all. A folder is the one implementation here."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import weakref
from pathlib import Path
from typing import Protocol, runtime_checkable

from huffwire._disk import sync_folder, system_errors
from huffwire._errors import FileError, LockedError

_LOCK = "publisher.lock"
_STAGING = ".unfinished"


class Lock(Protocol):
    """The right to publish, until it is closed or its process ends."""

    def close(self) -> None:
        """Gives it back."""


@runtime_checkable
class Storage(Protocol):
    """What a publisher and its subscribers need of a place. Errors are `huffwire.FileError` and its subclasses.

    An object store implements it with a request for each method: `put` is an upload, which appears whole by itself;
    `read` asks for a range; `lock` is an object that is written on condition that it does not exist, with a date at
    which it ends.
    """

    def staging(self) -> Path:
        """A folder on this machine, of the publisher alone, where files are written before `put`."""

    def put(self, name: str, source: Path) -> None:
        """Stores a file of the staging folder under a name, in place of what was there. Readers see the one or the
        other, whole. The file in the staging folder is gone then."""

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of a stored file, from ``start`` on: ``size`` of them, or all. Fewer if the file ends before."""

    def local(self, name: str) -> Path | None:
        """Where on this machine a stored file can be opened; None if it must be downloaded."""

    def names(self) -> list[str]:
        """The names of the stored files."""

    def remove(self, name: str) -> None:
        """Removes a stored file. It is no error if there is none."""

    def lock(self) -> Lock:
        """Takes the right to publish here.

        Raises:
            LockedError: Somebody has it.
        """


class Folder:
    """A folder, which may lie on a file system that several machines share.

    Files get their names by renaming, after they were brought to the disk. The lock is one of the file system
    (``flock``): it ends with the process that holds it, also when that is killed. Between machines it needs a file
    system with such locks, as NFS since Linux 2.6.12.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"

    def staging(self) -> Path:
        """The folder `.unfinished` in this one."""
        staging = self.path / _STAGING
        with system_errors():
            staging.mkdir(parents=True, exist_ok=True)
        return staging

    def put(self, name: str, source: Path) -> None:
        """Renames a file, which is on the same file system, and brings the folder to the disk."""
        with system_errors():
            os.replace(source, self.path / name)
            sync_folder(self.path)

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """Reads a range of a file."""
        with system_errors(), (self.path / name).open("rb", buffering=0) as file:
            file.seek(start)
            parts = []
            while size is None or size > 0:
                part = file.read(1 << 24 if size is None else min(size, 1 << 24))
                if not part:
                    break
                parts.append(part)
                size = None if size is None else size - len(part)
            return b"".join(parts)

    def local(self, name: str) -> Path | None:
        """The file itself."""
        return self.path / name

    def names(self) -> list[str]:
        """The names of all files in the folder."""
        with system_errors():
            return sorted(entry.name for entry in os.scandir(self.path) if entry.is_file())

    def remove(self, name: str) -> None:
        """Removes a file."""
        with system_errors():
            (self.path / name).unlink(missing_ok=True)

    def lock(self) -> Lock:
        """Locks the file `publisher.lock`, and removes what an interrupted publisher left in `.unfinished`."""
        with system_errors():
            self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / _LOCK, "publisher")
        shutil.rmtree(self.path / _STAGING, ignore_errors=True)
        return lock


class FileLock:
    """A file that is locked for a publisher or a subscriber, which has the folder of that file alone.

    Raises:
        LockedError: Another one has it.
        FileError: The file cannot be locked.
    """

    def __init__(self, path: Path, role: str) -> None:
        with system_errors():
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 200).decode(errors="replace").strip()
            os.close(self._file)
            if not isinstance(error, BlockingIOError):
                raise FileError(f"{path} cannot be locked: {error}") from error
            raise LockedError(
                f"{path.parent}: another {role} has this folder ({holder or 'unknown'}): close it, or give another "
                "folder"
            ) from None
        # What it says is for messages alone: a full disk does not keep anybody from locking.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.write(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        _held.add(self)

    def close(self) -> None:
        """Unlocks the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            _held.discard(self)


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _let_go() -> None:
    # A fork shares the lock. If it lived on, nobody could publish after its parent was killed.
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_let_go)


def write_file(path: Path, data: bytes) -> None:
    """Writes a file and brings it to the disk."""
    with system_errors(), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
