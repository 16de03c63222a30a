"""Files on a disk: written whole, and errors of the system as huffwire's."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from huffwire._errors import Error, ExistsError, FileError, MissingFileError


def write_all(file: io.RawIOBase, data: memoryview) -> None:
    """Writes all bytes to a file without a buffer."""
    while data:
        data = data[file.write(data) :]


def sync_folder(folder: Path) -> None:
    """Waits until the disk has the names of the files in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class OpenFiles:
    """Files that are open for reading. Those that were read last stay open, but no more than a system allows.

    Args:
        limit: How many stay open, besides those that threads read at the moment.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        # The descriptor of each file and how many threads read it, the file that was read last at the end.
        self._files: dict[Path, tuple[int, int]] = {}

    @contextlib.contextmanager
    def reading(self, path: Path) -> Iterator[int]:
        """The descriptor of a file, which is not closed before the end of the block."""
        with self._lock:
            descriptor, readers = self._files.pop(path, (-1, 0))
            if descriptor < 0:
                self._close_unused(self._limit - 1)
                descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            self._files[path] = (descriptor, readers + 1)
        try:
            yield descriptor
        finally:
            with self._lock:
                descriptor, readers = self._files[path]
                self._files[path] = (descriptor, readers - 1)

    def close(self) -> None:
        """Closes all files that nobody reads."""
        with self._lock:
            self._close_unused(0)

    def _close_unused(self, left: int) -> None:
        for path, (descriptor, readers) in list(self._files.items()):
            if len(self._files) <= left:
                return
            if readers == 0:
                del self._files[path]
                os.close(descriptor)


@contextlib.contextmanager
def system_errors(prefix: str = "") -> Iterator[None]:
    """Makes errors of the system huffwire's."""
    try:
        yield
    except Error:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"{prefix}{error}") from error
    except FileExistsError as error:
        raise ExistsError(f"{prefix}{error}") from error
    except OSError as error:
        raise FileError(f"{prefix}{error}") from error


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    """Puts what was worked on in front of the message of an error."""
    try:
        yield
    except Error as error:
        raise type(error)(f"{what}: {error}") from error
