"""Files of a storage on this machine: opened where they lie, or downloaded, which an interruption does not undo."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from huffwire._disk import system_errors
from huffwire._errors import DamagedError, FileError, MissingFileError
from huffwire.sync._manifest import File
from huffwire.sync._storage import Storage
from huffwire.sync._versions import describe

_STEP = 8 << 20


class Downloads:
    """Brings files of a storage to this machine.

    Args:
        storage: Where they lie.
        cache: A folder for them. A download that was interrupted goes on from where it was, in another process too.
            None: files that can be opened where they lie are, and others are downloaded to a temporary folder.
        retries: So many times a download is tried again after an error, from where it was.
        backoff: Seconds before the first of these; each further one waits twice as long.
    """

    def __init__(
        self, storage: Storage, cache: str | os.PathLike[str] | None, retries: int, backoff: float
    ) -> None:
        self._storage = storage
        self._cache = None if cache is None else Path(cache)
        self._retries = retries
        self._backoff = backoff

    @contextlib.contextmanager
    def fetch(self, file: File) -> Iterator[Path]:
        """The path of a file, of which size and hash were compared. A downloaded file is removed in the end.

        Raises:
            FileError: It cannot be read, or not all of it.
            DamagedError: It is another one than the manifest names.
        """
        path = self._storage.local(file.name) if self._cache is None else None
        if path is not None:
            check(path, file)
            yield path
            return
        with contextlib.ExitStack() as stack:
            folder = self._cache
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            with system_errors():
                folder.mkdir(parents=True, exist_ok=True)
            whole = self._download(file, folder)
            yield whole
            whole.unlink(missing_ok=True)

    def _download(self, file: File, folder: Path) -> Path:
        # Named by its hash: other content never takes the place of what was downloaded before.
        whole, part = folder / f"{file.hash}.hw", folder / f"{file.hash}.part"
        for attempt in range(self._retries + 1):
            try:
                if not whole.exists():
                    self._continue(file, part)
                    check(part, file)
                    with system_errors():
                        part.replace(whole)
                return whole
            except DamagedError:
                part.unlink(missing_ok=True)
                if attempt == self._retries:
                    raise
            except MissingFileError:
                # The publisher removed it. A newer manifest names others.
                raise
            except FileError:
                if attempt == self._retries:
                    raise
            time.sleep(self._backoff * 2**attempt)
        raise AssertionError("a download ends or fails")

    def _continue(self, file: File, part: Path) -> None:
        """Downloads what is not there yet."""
        with system_errors(), part.open("ab") as out:
            done = out.tell()
            while done < file.bytes:
                data = self._storage.read(file.name, done, min(_STEP, file.bytes - done))
                if not data:
                    raise FileError(f"{file.name} ends after {done} of {file.bytes} bytes")
                out.write(data)
                done += len(data)


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
    found = describe(path).hash
    if found != file.hash:
        raise DamagedError(f"{path} has the hash {found} where {file.hash} was expected")
