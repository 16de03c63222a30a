"""The engine: pieces between the ranks of a group, coded and sent by one thread and received by another.

Each call of a collective is an `Operation` with up to two parts, one for each thread. Both threads take calls in the
order in which they were made, which is the same on all ranks. So pieces between two ranks need no other order, and a
piece of the wrong call is noticed by the sequence number in its header. What brings the pieces to other ranks is a
`Transport`.

The first failure ends the engine: the failing rank tells its peers by a piece that holds the reason, and every later
call raises.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import torch

from huffwire._errors import Error
from huffwire._tensors import _changed
from huffwire.distributed.c10d import Store
from huffwire.distributed.calls import CodedWork, Operation, Worker
from huffwire.distributed.errors import GroupError, PeerError, check_process
from huffwire.distributed.gloo import Gloo
from huffwire.distributed.memory import Memory, Scratch
from huffwire.distributed.pieces import Coder, Place, capacity
from huffwire.distributed.tcp import Tcp
from huffwire.distributed.totals import Totals
from huffwire.distributed.transport import (
    Pending,
    Stream,
    Transport,
    TransportName,
    check_same_transport,
)

if TYPE_CHECKING:
    from huffwire.distributed.life import Life

# Pieces that are being sent at the same time.
SLOTS = 8

# Memory that may be in use until some messages were waited for.
Sent: TypeAlias = tuple[torch.Tensor | None, list[Pending]]


class Sender:
    """Writes pieces into slots and sends them: the part of a call in the thread that sends."""

    def __init__(self, engine: Engine, operation: Operation) -> None:
        self.engine = engine
        self.operation = operation
        self.totals = Totals()
        self.scratch = engine.send_scratch
        self._slots: deque[Sent] = deque()

    def send(
        self, memory: Memory, start: int, stop: int, place: Place, coded: bool, peers: list[int]
    ) -> None:
        """Writes one piece, and sends it to the peers."""

        if not coded and self.engine.transport.sends_parts and memory.is_here:
            self._send_in_place(memory, start, stop, place, peers)
            return

        there = coded and memory.codes_there and self.engine.coder.can_code_there

        def write(buffer: torch.Tensor) -> int:
            if there:
                return self.engine.coder.write_there(place, memory.there(start, stop), buffer)
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
        buffer = self._free_slot()
        if buffer is None:
            buffer = self.engine.take(self.operation.room)
        try:
            begin = time.perf_counter()
            length = write(buffer)
            self.totals.coding += time.perf_counter() - begin
        except BaseException:
            self.engine.give(buffer)
            raise
        works = [self.engine.post_send(buffer[:length], peer, self.operation.tag) for peer in peers]
        self._sent(buffer, works, place, length)

    def _send_in_place(
        self, memory: Memory, start: int, stop: int, place: Place, peers: list[int]
    ) -> None:
        """Sends a raw piece from the memory of the tensor, without a copy."""
        self.engine.give(self._free_slot())
        begin = time.perf_counter()
        elements = memory.tensor[start:stop]
        head = self.engine.coder.head(place, elements)
        self.totals.coding += time.perf_counter() - begin
        works = [self.engine.post_parts(head, elements, peer) for peer in peers]
        self._sent(None, works, place, len(head) + place.size)

    def _sent(
        self, buffer: torch.Tensor | None, works: list[Pending], place: Place, length: int
    ) -> None:
        self._slots.append((buffer, works))
        self.totals.pieces += 1
        self.totals.bytes_before += place.size * len(works)
        self.totals.bytes_after += length * len(works)

    def _free_slot(self) -> torch.Tensor | None:
        """Waits until there is room for another piece, and returns memory that became free, if any did."""
        self.engine.check()
        return self._wait_for_oldest() if len(self._slots) >= SLOTS else None

    def _wait_for_oldest(self) -> torch.Tensor | None:
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
        """Leaves the slots to the transport, which may still send them."""
        self.engine.leave(self._slots)


class Receiver:
    """The part of a call in the thread that receives."""

    def __init__(self, engine: Engine, operation: Operation) -> None:
        self.engine = engine
        self.operation = operation
        self.totals = Totals()
        self.scratch = engine.receive_scratch
        self._streams: list[Stream] = []
        self._forwarded: deque[tuple[torch.Tensor, Pending]] = deque()

    def stream(self, peer: int, pieces: int) -> Stream:
        """Starts to receive the pieces of a peer."""
        stream = self.engine.transport.stream(self.engine, self.operation, peer, pieces)
        self._streams.append(stream)
        return stream

    def codes_there(self, memory: Memory) -> bool:
        """Whether pieces for a tensor are received into the memory of its device, and decoded there."""
        return memory.codes_there and self.engine.reader.can_code_there

    def receive(
        self,
        stream: Stream,
        place: Place,
        elements: torch.Tensor,
        forward: int | None = None,
        there: bool = False,
    ) -> None:
        """Receives the next piece of a stream into a flat tensor.

        Args:
            elements: The tensor, on the processor, or, with `there`, on a device that decodes.
            forward: A rank that the piece is sent to as it is.
        """
        begin = time.perf_counter()
        buffer = stream.next(place, None if there or forward is not None else elements)
        middle = time.perf_counter()
        self.totals.waiting += middle - begin
        if buffer is None:
            return
        name = self.engine.names[stream.peer]
        try:
            if forward is not None:
                length = self.engine.reader.length(place, name, buffer)
                work = self.engine.post_send(buffer[:length], forward, self.operation.tag)
                self._forwarded.append((buffer, work))
                self.totals.pieces += 1
                self.totals.bytes_before += place.size
                self.totals.bytes_after += length
            reader = self.engine.reader
            read = reader.read_there if there else reader.read
            read(place, name, buffer, elements)
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
            stream.release(self.engine.take(self.operation.room))

    def take(
        self, stream: Stream, place: Place, read: Callable[[int, torch.Tensor], object]
    ) -> None:
        """Receives the next piece of a stream, and has a function read it.

        Args:
            place: Where it must belong.
            read: Gets the sender's name, for messages, and the memory that holds the piece.
        """
        begin = time.perf_counter()
        buffer = stream.next(place, None)
        assert buffer is not None, "a transport keeps nothing that is asked for as a whole"
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
        """Leaves to the transport what it may still read and write."""
        for stream in self._streams:
            stream.abandon()
        self.engine.leave((buffer, [work]) for buffer, work in self._forwarded)


Send: TypeAlias = Callable[[Sender], None]
Receive: TypeAlias = Callable[[Receiver], None]
Both: TypeAlias = Callable[[Sender, Receiver], None]

Role = TypeVar("Role", Sender, Receiver)


class Engine:
    """Pieces between the ranks of a group.

    Args:
        store: Where the ranks find each other; nobody else uses it.
        rank, size: This rank, and how many there are.
        timeout: How long a rank waits for another one.
        names: What the ranks are called in messages; None for their numbers.
        transport: What carries the pieces: the same on all ranks.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        size: int,
        timeout: timedelta,
        names: list[int] | None = None,
        transport: TransportName = "gloo",
    ) -> None:
        self.names = names or list(range(size))
        self.rank = rank
        self.size = size
        self.timeout = timeout
        try:
            check_same_transport(store, size, transport, timeout)
            carrier = Tcp if transport == "tcp" else Gloo
            self.transport: Transport = carrier(store, rank, size, timeout)
        except (RuntimeError, ConnectionError) as error:
            raise PeerError(f"the ranks of the group cannot be connected: {error}") from error
        self._process = os.getpid()
        self._lock = threading.Lock()
        # Held while a call gets its place among the others.
        self._order = threading.Lock()
        self._last_sent: Operation | None = None
        self._last_received: Operation | None = None
        self._sequence = 0
        # How codebooks change between calls, if they do.
        self.life: Life | None = None
        self._error: BaseException | None = None
        self._failed: Operation | None = None
        self._left: list[Sent] = []
        # Memory that nobody uses, by its size.
        self._free: dict[int, list[torch.Tensor]] = {}
        self._senders = Worker("huffwire-send")
        self._receivers = Worker("huffwire-receive")
        # A thread must not end while it holds the engine, so it is told to when the engine is gone.
        weakref.finalize(self, _close, self.transport, self._senders, self._receivers)
        if transport == "tcp":
            _LIVE.add(self)

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

    def is_here(self) -> bool:
        """Whether this is the process that made the engine, and no fork of it."""
        return self._process == os.getpid()

    def check(self) -> None:
        """Raises what ended the engine, if anything did."""
        check_process(self._process)
        if self._error is not None:
            raise GroupError(
                f"the group failed earlier, and nothing more is sent in it ({self._error}): make a new group"
            ) from self._error

    def take(self, room: int = 0) -> torch.Tensor:
        """Memory of at least so many bytes, and of what a piece of any elements takes.

        Another rank may be in another call, or fail, and gloo ends a process that receives more than it has room for.
        """
        room = max(room, self._capacity)
        with self._lock:
            free = self._free.get(room)
            if free:
                return free.pop()
        return torch.empty(room, dtype=torch.uint8, device="cpu")

    def give(self, buffer: torch.Tensor | None) -> None:
        """Takes back memory that `take` gave."""
        if buffer is not None:
            with self._lock:
                self._free.setdefault(buffer.numel(), []).append(buffer)

    def leave(self, works: Iterable[Sent]) -> None:
        """Keeps memory that the transport may still use after a failure."""
        self._left.extend(works)

    def post_send(self, message: torch.Tensor, peer: int, tag: int) -> Pending:
        with self.failures():
            return self.transport.post_send(message, peer, tag)

    def post_parts(self, head: bytes, elements: torch.Tensor, peer: int) -> Pending:
        with self.failures():
            return self.transport.post_parts(head, elements, peer)

    def post_receive(self, buffer: torch.Tensor, peer: int, tag: int) -> Pending:
        with self.failures():
            return self.transport.post_receive(buffer, peer, tag)

    def wait(self, pending: Pending) -> None:
        with self.failures():
            self.transport.wait(pending)

    @contextmanager
    def failures(self) -> Iterator[None]:
        try:
            yield
        except Error:
            raise
        except (RuntimeError, OSError) as error:
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
        both: Both | None = None,
        room: int = 0,
    ) -> CodedWork:
        """Starts a call in which all ranks take part.

        Args:
            collective: Its name.
            outputs: What its future holds.
            send, receive: What both threads do; None if there is nothing.
            both: Does it all in this thread, which takes less time if the call is small. It must send no more than
                `SLOTS` messages before it receives what other ranks send without waiting for these.
            room: Bytes of memory that each of its pieces needs, if it is more than pieces of elements take.
        """
        for output in outputs:
            _changed(output)

        def put() -> Operation:
            if self.life is not None:
                self.life.count(self)
            return self.insert(collective, outputs, send, receive, both, room)

        operation = self.ordered(put)
        if send is None and receive is None:
            operation.end_part(None, Totals())
        return CodedWork(operation)

    def ordered(self, put: Callable[[], Operation]) -> Operation:
        """Runs a function that inserts calls, while nobody else does."""
        # In a fork the locks may be held for ever.
        self.check()
        with self._order:
            self.check()
            return put()

    def insert(
        self,
        collective: str,
        outputs: list[torch.Tensor],
        send: Send | None,
        receive: Receive | None,
        both: Both | None = None,
        room: int = 0,
    ) -> Operation:
        """Puts a call behind those before it. Only within `ordered`."""
        if not (self.transport.takes_at_once and self._is_idle()):
            both = None
        parts = 1 if both is not None else (send is not None) + (receive is not None)
        operation = Operation(collective, self._sequence, 0, parts, outputs, room)
        self._sequence += 1
        if both is not None:
            self._run_here(operation, both)
            return operation
        if send is not None:
            self._last_sent = operation
            self._senders.put(lambda: self.run(operation, Sender, send))
        if receive is not None:
            self._last_received = operation
            self._receivers.put(lambda: self.run(operation, Receiver, receive))
        return operation

    def _is_idle(self) -> bool:
        """Whether both threads have nothing to do."""
        before = self._last_sent, self._last_received
        return all(operation is None or operation.is_over() for operation in before)

    def _run_here(self, operation: Operation, both: Both) -> None:
        sender, receiver = Sender(self, operation), Receiver(self, operation)
        receiver.totals = sender.totals
        try:
            self.transport.check(self)
            both(sender, receiver)
            receiver.finish()
            sender.finish()
        except BaseException as error:
            receiver.abandon()
            sender.abandon()
            self.fail(operation, error)
            operation.end_part(error, sender.totals)
        else:
            operation.end_part(None, sender.totals)

    def run(
        self,
        operation: Operation,
        role: Callable[[Engine, Operation], Role],
        body: Callable[[Role], None],
    ) -> None:
        """Runs a part of a call, in the thread that has to."""
        part = None
        try:
            self.check()
            self.transport.check(self)
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
        buffer = torch.empty(4096, dtype=torch.uint8, device="cpu")
        length = self.coder.write_failure(place, f"{error}", buffer)
        self.transport.fail(bytes(buffer[:length].tolist()), operation.tag)


def _close(transport: Transport, *workers: Worker) -> None:
    transport.close()
    for worker in workers:
        worker.close()


# Engines whose threads wait in compiled code, which gives up when the transport is closed. That is done before the
# threads of all engines are waited for (`calls`).
_LIVE: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for engine in list(_LIVE):
        if engine.is_here():
            engine.transport.close()
