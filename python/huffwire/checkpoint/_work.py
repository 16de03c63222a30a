"""Threads, progress, files and errors, which saving and loading have in common."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import huffwire


class _Done:
    """The bytes that are done, on all threads, and who is told."""

    def __init__(self, report: Callable[[int, int], object] | None, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if self._report is not None and count:
            with self._lock:
                self._done += count
                self._report(self._done, self._total)


def _run_together(tasks: Sequence[Callable[[threading.Event], None]]) -> None:
    """Runs tasks on a thread each, the last on this one. An error tells the others to stop."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def guarded(task: Callable[[threading.Event], None]) -> None:
        try:
            task(stop)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks[:-1]]
    for thread in threads:
        thread.start()
    guarded(tasks[-1])
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _write_all(file: io.RawIOBase, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _sync_folder(folder: Path) -> None:
    """Waits until the disk has the names of the files in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _system_errors(prefix: str = "") -> Iterator[None]:
    """Makes errors of the system huffwire's."""
    try:
        yield
    except huffwire.Error:
        raise
    except FileNotFoundError as error:
        raise huffwire.MissingFileError(f"{prefix}{error}") from error
    except OSError as error:
        raise huffwire.FileError(f"{prefix}{error}") from error


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Puts what was worked on in front of the message of an error."""
    try:
        yield
    except huffwire.Error as error:
        raise type(error)(f"{what}: {error}") from error
