"""Calls under way: what callers hold of them, and the threads that work on them."""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from huffwire.distributed import totals
from huffwire.distributed.errors import PeerError
from huffwire.distributed.totals import Totals


class Worker:
    """A thread that runs jobs in the order in which they were put."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        _WORKERS.add(self)

    def put(self, job: Callable[[], None]) -> None:
        """Has the thread run a job, which must not raise."""
        if self._thread is None:
            # The thread knows only the queue, so that it does not keep whoever owns this alive.
            self._thread = threading.Thread(
                target=_run, args=(self._jobs,), name=self._name, daemon=True
            )
            self._thread.start()
        self._jobs.put(job)

    def close(self) -> None:
        """Ends the thread after the jobs that it has."""
        self._jobs.put(None)

    def join(self, seconds: float) -> None:
        """Waits until the thread has ended, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)


_WORKERS: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _end_workers() -> None:
    """Ends all threads before the interpreter ends: one that comes back from torch after that would abort the process.

    A thread that waits for another rank does not come back; after some seconds it is left.
    """
    workers = list(_WORKERS)
    for worker in workers:
        worker.close()
    end = time.monotonic() + 5
    for worker in workers:
        worker.join(max(end - time.monotonic(), 0))


def _run(jobs: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        # Nothing that belongs to a job outlives it while the thread waits for the next one.
        del job


class Lines:
    """Jobs that stand in lines: those of a line run in the order in which they were put, and lines at the same time.

    There are as many threads as lines had jobs at the same time. A thread that has nothing to do takes the next line.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, deque[Callable[[], None]]] = {}
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []

    def put(self, line: Hashable, job: Callable[[], None]) -> None:
        """Puts a job, which must not raise, at the end of a line."""
        with self._lock:
            if line in self._waiting:
                self._waiting[line].append(job)
                return
            self._waiting[line] = deque([job])
            if not self._idle:
                self._idle.append(Worker(self._name))
                self._workers.append(self._idle[0])
            worker = self._idle.pop()
            worker.put(lambda: self._run(line, worker))

    def _run(self, line: Hashable, worker: Worker) -> None:
        """Runs the jobs of a line until there are none."""
        while True:
            with self._lock:
                if not self._waiting[line]:
                    del self._waiting[line]
                    self._idle.append(worker)
                    return
                job = self._waiting[line].popleft()
            job()
            del job

    def close(self) -> None:
        """Ends the threads after the jobs that they have. Nobody puts jobs any more."""
        # Without the lock: the garbage collector may call this from a thread that holds it.
        for worker in self._workers:
            worker.close()


class CodedWork(dist.Work):
    """A call under way, as the functions of `torch.distributed` return it with ``async_op=True``."""

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self._operation = operation

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Waits until the outputs are complete and the inputs may be changed.

        Raises:
            Error: What went wrong on this rank or another one.
            PeerError: ``timeout`` passed.
        """
        self._operation.wait(timeout)
        return True

    def is_completed(self) -> bool:
        """Whether the call has ended, well or not."""
        return self._operation.done.is_set()

    def is_success(self) -> bool:
        """Whether the call has ended well."""
        return self._operation.done.is_set() and self._operation.error is None

    def exception(self) -> BaseException | None:
        """What went wrong, if anything did."""
        return self._operation.error

    def result(self) -> list[torch.Tensor]:
        """The outputs, after `wait`."""
        self.wait()
        return self._operation.outputs

    def synchronize(self) -> None:
        """As `wait`: what is complete is so for all streams of a device."""
        self.wait()

    def get_future(self) -> torch.futures.Future[list[torch.Tensor]]:
        """A future of the list of outputs."""
        return self._operation.future()


class Operation:
    """One call of a collective.

    Args:
        collective: Its name.
        sequence: Its number.
        tag: gloo's tag of its messages.
        parts: How many threads work on it.
        outputs: What the future of the call holds.
        room: Bytes of memory that each piece needs, if it is more than pieces of elements take.
    """

    def __init__(
        self,
        collective: str,
        sequence: int,
        tag: int,
        parts: int,
        outputs: list[torch.Tensor],
        room: int = 0,
    ) -> None:
        self.collective = collective
        self.sequence = sequence
        self.tag = tag
        self.outputs = outputs
        self.room = room
        self.done = threading.Event()
        self.error: BaseException | None = None
        self.totals = Totals(calls=1)
        self._parts = parts
        self._lock = threading.Lock()
        self._future: torch.futures.Future[list[torch.Tensor]] | None = None
        # What one thread has for the other, such as reduced pieces; None after a failure.
        self.ready: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def end_part(self, error: BaseException | None, part: Totals) -> None:
        """Called by each thread at the end of its part."""
        with self._lock:
            self._parts -= 1
            self.totals.fallbacks += part.fallbacks
            self.totals.pieces += part.pieces
            self.totals.bytes_before += part.bytes_before
            self.totals.bytes_after += part.bytes_after
            self.totals.coding += part.coding
            self.totals.waiting += part.waiting
            if error is not None and self.error is None:
                self.error = error
            # A failed part ends the call: the other one may wait until a time-out.
            ended = (self._parts == 0 or self.error is not None) and not self.done.is_set()
            future = self._future
            if ended:
                totals.add(self.collective, self.totals)
                self.done.set()
        if ended and future is not None:
            self._complete(future)

    def is_over(self) -> bool:
        """Whether no thread works on the call any more."""
        with self._lock:
            return self._parts <= 0

    def _complete(self, future: torch.futures.Future[list[torch.Tensor]]) -> None:
        if self.error is None:
            future.set_result(self.outputs)
        else:
            # PyTorch's annotation asks for a result.
            failed: Any = future
            failed.set_exception(self.error)

    def future(self) -> torch.futures.Future[list[torch.Tensor]]:
        with self._lock:
            if self._future is not None:
                return self._future
            devices = {tensor.device for tensor in self.outputs if tensor.device.type == "cuda"}
            future: torch.futures.Future[list[torch.Tensor]] = torch.futures.Future(
                devices=list(devices)
            )
            self._future = future
            done = self.done.is_set()
        if done:
            self._complete(future)
        return future

    def wait(self, timeout: timedelta | None = None) -> None:
        seconds = None if timeout is None or timeout <= timedelta(0) else timeout.total_seconds()
        if not self.done.wait(seconds):
            raise PeerError(
                f"{self.collective}, call {self.sequence}: not complete after {seconds} seconds"
            )
        if self.error is not None:
            raise self.error
