"""The engine: pieces over a gloo group of its own, coded and sent by one thread and received by another.

Each call of a collective is an `Operation` with up to two parts, one for each thread. Both threads take calls in the
order in which they were made, which is the same on all ranks. So pieces between two ranks need no other order, and a
piece of the wrong call is noticed by the sequence number in its header.

What gloo demands is kept here. A receive is posted for the most bytes that a piece may have, because a longer
message would end the process that receives it. Every work is waited for exactly once, and never polled. Receives are
posted ahead: `Stream` keeps `window` of them open for each peer.

The first failure ends the engine: the failing rank tells its peers by a piece that holds the reason, and every later
call raises.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from huffwire._errors import Error
from huffwire.distributed import totals
from huffwire.distributed.errors import GroupError, PeerError
from huffwire.distributed.memory import Memory, Scratch
from huffwire.distributed.pieces import Coder, Place, capacity
from huffwire.distributed.totals import Totals
from huffwire.torch import _changed

if TYPE_CHECKING:
    from huffwire.distributed.life import Life

# Pieces that are being sent at the same time.
SLOTS = 8


def window(ranks: int) -> int:
    """Receives that are posted ahead for each peer. Of few peers, more are needed to keep the link busy."""
    return 4 if ranks <= 4 else 2


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

    def get_future(self) -> torch.futures.Future:
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
    """

    def __init__(
        self, collective: str, sequence: int, tag: int, parts: int, outputs: list[torch.Tensor]
    ) -> None:
        self.collective = collective
        self.sequence = sequence
        self.tag = tag
        self.outputs = outputs
        self.done = threading.Event()
        self.error: BaseException | None = None
        self.totals = Totals(calls=1)
        self._parts = parts
        self._lock = threading.Lock()
        self._future: torch.futures.Future | None = None
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

    def _complete(self, future: torch.futures.Future) -> None:
        if self.error is None:
            future.set_result(self.outputs)
        else:
            future.set_exception(self.error)

    def future(self) -> torch.futures.Future:
        with self._lock:
            if self._future is not None:
                return self._future
            devices = {tensor.device for tensor in self.outputs if tensor.device.type == "cuda"}
            self._future = future = torch.futures.Future(devices=list(devices))
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


class Sender:
    """Writes pieces into slots and sends them: the part of a call in the thread that sends."""

    def __init__(self, engine: Engine, operation: Operation) -> None:
        self.engine = engine
        self.operation = operation
        self.totals = Totals()
        self.scratch = engine.send_scratch
        self._slots: deque[tuple[torch.Tensor, list[dist.Work]]] = deque()

    def send(
        self, memory: Memory, start: int, stop: int, place: Place, coded: bool, peers: list[int]
    ) -> None:
        """Writes one piece, and sends it to the peers."""

        def write(buffer: torch.Tensor) -> int:
            elements = memory.read(start, stop, self.scratch)
            return self.engine.coder.write(place, elements, coded, buffer)

        self.write(place, peers, write)

    def write(
        self, place: Place, peers: list[int], write: Callable[[torch.Tensor], int]
    ) -> None:
        """Has a function write a piece into memory for it, and sends it to the peers.

        Args:
            place: Where the piece belongs.
            write: Gets the memory, and returns the length of the piece in bytes.
        """
        self.engine.check()
        if len(self._slots) >= SLOTS:
            buffer = self._wait_for_oldest()
        else:
            buffer = self.engine.take()
        try:
            begin = time.perf_counter()
            length = write(buffer)
            self.totals.coding += time.perf_counter() - begin
        except BaseException:
            self.engine.give(buffer)
            raise
        self.totals.pieces += 1
        self.totals.bytes_before += place.size * len(peers)
        self.totals.bytes_after += length * len(peers)
        works = [self.engine.post_send(buffer[:length], peer, self.operation.tag) for peer in peers]
        self._slots.append((buffer, works))

    def _wait_for_oldest(self) -> torch.Tensor:
        buffer, works = self._slots.popleft()
        begin = time.perf_counter()
        try:
            for work in works:
                self.engine.wait(work)
        except BaseException:
            self.engine.leave([(buffer, works)])
            raise
        self.totals.waiting += time.perf_counter() - begin
        return buffer

    def finish(self) -> None:
        """Waits until everything was sent."""
        while self._slots:
            self.engine.give(self._wait_for_oldest())

    def abandon(self) -> None:
        """Leaves the slots to gloo, which may still send them."""
        self.engine.leave(self._slots)


class Stream:
    """The pieces that one peer sends in a call, in their order: receives for them are posted ahead."""

    def __init__(self, engine: Engine, operation: Operation, peer: int, pieces: int) -> None:
        self.peer = peer
        self._engine = engine
        self._tag = operation.tag
        self._unposted = pieces
        self._posted: deque[tuple[torch.Tensor, dist.Work]] = deque()
        for _ in range(min(window(engine.size), pieces)):
            self._post(engine.take())

    def _post(self, buffer: torch.Tensor) -> None:
        self._unposted -= 1
        self._posted.append((buffer, self._engine.post_receive(buffer, self.peer, self._tag)))

    def next(self) -> torch.Tensor:
        """The memory that holds the next piece. It must be handed back by `release`."""
        self._engine.check()
        buffer, work = self._posted.popleft()
        try:
            self._engine.wait(work)
        except BaseException:
            self._engine.leave([(buffer, [work])])
            raise
        return buffer

    def release(self, buffer: torch.Tensor) -> None:
        """Hands back the memory of a piece that was read."""
        if self._unposted > 0:
            self._post(buffer)
        else:
            self._engine.give(buffer)

    def abandon(self) -> None:
        """Leaves the posted receives to gloo, which may still write to them."""
        self._engine.leave((buffer, [work]) for buffer, work in self._posted)


class Receiver:
    """The part of a call in the thread that receives."""

    def __init__(self, engine: Engine, operation: Operation) -> None:
        self.engine = engine
        self.operation = operation
        self.totals = Totals()
        self.scratch = engine.receive_scratch
        self._streams: list[Stream] = []
        self._forwarded: deque[tuple[torch.Tensor, dist.Work]] = deque()

    def stream(self, peer: int, pieces: int) -> Stream:
        """Posts the first receives for the pieces of a peer."""
        stream = Stream(self.engine, self.operation, peer, pieces)
        self._streams.append(stream)
        return stream

    def receive(
        self, stream: Stream, place: Place, elements: torch.Tensor, forward: int | None = None
    ) -> None:
        """Receives the next piece of a stream into a flat tensor on the processor.

        Args:
            forward: A rank that the piece is sent to as it is.
        """
        begin = time.perf_counter()
        buffer = stream.next()
        middle = time.perf_counter()
        self.totals.waiting += middle - begin
        name = self.engine.names[stream.peer]
        try:
            if forward is not None:
                length = self.engine.reader.length(place, name, buffer)
                work = self.engine.post_send(buffer[:length], forward, self.operation.tag)
                self._forwarded.append((buffer, work))
                self.totals.pieces += 1
                self.totals.bytes_before += place.size
                self.totals.bytes_after += length
            self.engine.reader.read(place, name, buffer, elements)
        except BaseException:
            if forward is None:
                self.engine.give(buffer)
            raise
        self.totals.coding += time.perf_counter() - middle
        if forward is None:
            stream.release(buffer)
        elif len(self._forwarded) >= SLOTS:
            stream.release(self._wait_for_forwarded())
        else:
            stream.release(self.engine.take())

    def take(self, stream: Stream, read: Callable[[int, torch.Tensor], object]) -> None:
        """Receives the next piece of a stream, and has a function read it.

        Args:
            read: Gets the sender's name, for messages, and the memory that holds the piece.
        """
        begin = time.perf_counter()
        buffer = stream.next()
        middle = time.perf_counter()
        self.totals.waiting += middle - begin
        try:
            read(self.engine.names[stream.peer], buffer)
        except BaseException:
            self.engine.give(buffer)
            raise
        self.totals.coding += time.perf_counter() - middle
        stream.release(buffer)

    def _wait_for_forwarded(self) -> torch.Tensor:
        buffer, work = self._forwarded.popleft()
        begin = time.perf_counter()
        self.engine.wait(work)
        self.totals.waiting += time.perf_counter() - begin
        return buffer

    def finish(self) -> None:
        """Waits until everything was forwarded."""
        while self._forwarded:
            self.engine.give(self._wait_for_forwarded())

    def abandon(self) -> None:
        """Leaves to gloo what it may still read and write."""
        for stream in self._streams:
            stream.abandon()
        self.engine.leave((buffer, [work]) for buffer, work in self._forwarded)


Send = Callable[[Sender], None]
Receive = Callable[[Receiver], None]


class Engine:
    """Pieces between the ranks of a group.

    Args:
        store: Where the ranks find each other; nobody else uses it.
        rank, size: This rank, and how many there are.
        timeout: How long a rank waits for another one.
        names: What the ranks are called in messages; None for their numbers.
    """

    def __init__(
        self,
        store: dist.Store,
        rank: int,
        size: int,
        timeout: timedelta,
        names: list[int] | None = None,
    ) -> None:
        self.names = names or list(range(size))
        self.rank = rank
        self.size = size
        self.timeout = timeout
        try:
            self.gloo = dist.ProcessGroupGloo(store, rank, size, timeout=timeout)
        except RuntimeError as error:
            raise PeerError(f"the ranks of the group cannot be connected: {error}") from error
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._sequence = 0
        # How codebooks change between calls, if they do.
        self.life: Life | None = None
        self._error: BaseException | None = None
        self._failed: Operation | None = None
        self._left: list = []
        self._free: list[torch.Tensor] = []
        self._senders = Worker("huffwire-send")
        self._receivers = Worker("huffwire-receive")
        # A thread must not end while it holds the engine, so it is told to when the engine is gone.
        weakref.finalize(self, _close, self._senders, self._receivers)

    def configure(self, coder: Coder, piece: int) -> None:
        """Sets how pieces are coded and how large they are: the same on all ranks."""
        # What is sent and what is received change their codebooks each in its own thread.
        self.coder = self.reader = coder
        self.piece = piece
        self._capacity = capacity(piece)
        self._free.clear()
        self.send_scratch = Scratch(piece)
        self.receive_scratch = Scratch(piece)
        # For sums: the first rank's piece, this rank's where it lies on another device, the sum so far (in a type
        # of up to 8 bytes) and the last one.
        self.first_scratch = Scratch(piece)
        self.own_scratch = Scratch(piece)
        self.sum_scratch = Scratch(8 * piece)
        self.result_scratch = Scratch(piece)

    def check(self) -> None:
        """Raises what ended the engine, if anything did."""
        if self._process != os.getpid():
            raise GroupError(
                "this process is a fork of the one that made the group: make the group in the process that uses it"
            )
        if self._error is not None:
            raise GroupError(
                f"the group failed earlier, and nothing more is sent in it ({self._error}): make a new group"
            ) from self._error

    def take(self) -> torch.Tensor:
        """Memory for a piece."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return torch.empty(self._capacity, dtype=torch.uint8)

    def give(self, buffer: torch.Tensor) -> None:
        """Takes back memory for a piece."""
        with self._lock:
            self._free.append(buffer)

    def leave(self, works) -> None:
        """Keeps memory that gloo may still use after a failure."""
        self._left.extend(works)

    def post_send(self, message: torch.Tensor, peer: int, tag: int) -> dist.Work:
        with self._failures():
            return self.gloo.send([message], peer, tag)

    def post_receive(self, buffer: torch.Tensor, peer: int, tag: int) -> dist.Work:
        with self._failures():
            return self.gloo.recv([buffer], peer, tag)

    def wait(self, work: dist.Work) -> None:
        with self._failures():
            work.wait()

    @contextmanager
    def _failures(self):
        try:
            yield
        except Error:
            raise
        except RuntimeError as error:
            raise PeerError(
                f"another rank died, failed or did not answer within {self.timeout.total_seconds():g} seconds: "
                f"{error}"
            ) from error

    def start(
        self,
        collective: str,
        outputs: list[torch.Tensor],
        send: Send | None,
        receive: Receive | None,
    ) -> CodedWork:
        """Starts a call in which all ranks take part.

        Args:
            collective: Its name.
            outputs: What its future holds.
            send, receive: What both threads do; None if there is nothing.
        """
        for output in outputs:
            _changed(output)

        def put() -> Operation:
            if self.life is not None:
                self.life.count(self)
            return self.insert(collective, outputs, send, receive)

        operation = self.ordered(put)
        if send is None and receive is None:
            operation.end_part(None, Totals())
        return CodedWork(operation)

    def ordered(self, put: Callable[[], Operation]) -> Operation:
        """Runs a function that inserts calls, while nobody else does."""
        with self._lock:
            self.check()
            return put()

    def insert(
        self,
        collective: str,
        outputs: list[torch.Tensor],
        send: Send | None,
        receive: Receive | None,
    ) -> Operation:
        """Puts a call behind those before it. Only within `ordered`."""
        parts = (send is not None) + (receive is not None)
        operation = Operation(collective, self._sequence, 0, parts, outputs)
        self._sequence += 1
        if send is not None:
            self._senders.put(lambda: self.run(operation, Sender, send))
        if receive is not None:
            self._receivers.put(lambda: self.run(operation, Receiver, receive))
        return operation

    def run(self, operation: Operation, role: type, body: Callable) -> None:
        """Runs a part of a call, in the thread that has to."""
        part = None
        try:
            self.check()
            part = role(self, operation)
            body(part)
            part.finish()
        except BaseException as error:
            if part is not None:
                part.abandon()
            self.fail(operation, error)
            # The part that sends may wait for a piece that is never reduced.
            operation.ready.put(None)
            # The other part of the call may have failed first, and this one only because of it.
            first = self._error if self._failed is operation else error
            operation.end_part(first, part.totals if part else Totals())
        else:
            operation.end_part(None, part.totals)

    def fail(self, operation: Operation, error: BaseException) -> None:
        """Ends the engine, and tells the other ranks why."""
        with self._lock:
            if self._error is not None:
                return
            self._error, self._failed = error, operation
        place = Place(
            operation.collective, 0, operation.sequence, torch.uint8, 0, 0, 0, self.rank, 0
        )
        for peer in range(self.size):
            if peer == self.rank:
                continue
            try:
                buffer = torch.empty(4096, dtype=torch.uint8)
                length = self.coder.write_failure(place, f"{error}", buffer)
                work = self.gloo.send([buffer[:length]], peer, operation.tag)
                self._left.append((buffer, [work]))
            except Exception:
                # The peer is gone; it needs no message.
                continue


def _close(*workers: Worker) -> None:
    for worker in workers:
        worker.close()
