"""Files of a storage on this machine: opened where they lie, or downloaded, which an interruption does not undo."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from huffwire._disk import system_errors
from huffwire._errors import DamagedError, FileError
from huffwire.sync._manifest import File
from huffwire.sync._storage import FileLock, Storage
from huffwire.sync._versions import describe

_STEP = 8 << 20
_LOCK = "subscriber.lock"
_DOWNLOADED = re.compile(r"[0-9a-f]{32}\.(hw|part)")


class Downloads:
    """Brings files of a storage to this machine. One attempt for each call: who calls tries again.

    Args:
        storage: Where they lie.
        cache: A folder for them, of one subscriber. A download that was interrupted goes on from where it was, in another
            process too. None: files that can be opened where they lie are, and others are downloaded to a temporary
            folder.
    """

    def __init__(self, storage: Storage, cache: str | os.PathLike[str] | None) -> None:
        self._storage = storage
        self._cache = None if cache is None else Path(cache)
        # It lives as long as this: a second attempt goes on from what the first one has.
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    @contextlib.contextmanager
    def fetch(self, file: File) -> Iterator[Path]:
        """The path of a file, of which size and hash were compared. A downloaded file is removed in the end, unless what
        was done with it failed.

        Raises:
            FileError: It cannot be read, or not all of it.
            DamagedError: It is another one than the manifest names.
            LockedError: Another subscriber has the cache.
        """
        path = self._storage.local(file.name) if self._cache is None else None
        if path is not None:
            check(path, file)
            yield path
            return
        folder = self._folder()
        with contextlib.closing(FileLock(folder / _LOCK, "subscriber")):
            _remove_others(folder, file)
            whole = self._download(file, folder)
            yield whole
            with system_errors():
                whole.unlink(missing_ok=True)

    def _folder(self) -> Path:
        if self._cache is None:
            if self._temporary is None:
                with system_errors():
                    self._temporary = tempfile.TemporaryDirectory(prefix="huffwire-")
            return Path(self._temporary.name)
        with system_errors():
            self._cache.mkdir(parents=True, exist_ok=True)
        return self._cache

    def _download(self, file: File, folder: Path) -> Path:
        # Named by its hash: other content never takes the place of what was downloaded before.
        whole, part = folder / f"{file.hash}.hw", folder / f"{file.hash}.part"
        with system_errors():
            if whole.exists():
                # It was complete when something else failed. What the disk has of it now is compared below.
                whole.replace(part)
        while True:
            went_on = self._continue(file, part)
            try:
                check(part, file)
                break
            except DamagedError:
                with system_errors():
                    part.unlink()
                # Otherwise what an earlier attempt left was not the beginning of this file.
                if not went_on:
                    raise
        with system_errors():
            part.replace(whole)
        return whole

    def _continue(self, file: File, part: Path) -> bool:
        """Downloads what is not there yet; returns whether something was there."""
        with system_errors(), part.open("ab") as out:
            done = before = out.tell()
            while done < file.bytes:
                data = self._storage.read(file.name, done, min(_STEP, file.bytes - done))
                if not data:
                    raise FileError(f"{file.name} ends after {done} of {file.bytes} bytes")
                out.write(data)
                done += len(data)
        return before > 0


def _remove_others(folder: Path, file: File) -> None:
    """Removes what interrupted downloads of other files left: a version that nobody asks for any more, for example."""
    with system_errors():
        for path in folder.iterdir():
            if _DOWNLOADED.fullmatch(path.name) and path.stem != file.hash:
                path.unlink(missing_ok=True)


def check(path: Path, file: File) -> None:
    """Compares size and hash of a file with what the manifest has.

    Raises:
        DamagedError: They are different.
        FileError: It cannot be read.
    """
    with system_errors():
        size = path.stat().st_size
    if size != file.bytes:
        raise DamagedError(f"{path} has {size} bytes where {file.bytes} were expected")
    found = describe(path)
    if (found.bytes, found.hash) != (file.bytes, file.hash):
        raise DamagedError(f"{path} has the hash {found.hash} where {file.hash} was expected")
