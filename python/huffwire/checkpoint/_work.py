"""Threads and progress, which saving and loading have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence


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
