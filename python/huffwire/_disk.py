"""Files on a disk: written whole, and errors of the system as huffwire's."""

from __future__ import annotations

import contextlib
import io
import os
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
