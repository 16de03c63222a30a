"""The collectives as pieces: which rank sends which piece to whom, and in which order it reads them.

All ranks derive the same order of steps from the same sizes. A rank sends in the order of steps, and reads in the
order of steps; a step waits only for steps before it. So no two ranks wait for each other, however few messages a
transport takes before somebody reads them.

Where a rank has another piece for each rank, it sends to the next rank first, then to the one behind it. Readers take
such pieces in one of two orders. In all_to_all they begin with the rank before them: then a piece waits only for
pieces that go fewer ranks far. In sums they read in the order of ranks: then a piece waits only for pieces of lower
ranks, and for those that its own sender sent before.

Sums are made by the rank that owns a part of the tensor, in the order of ranks: ((x0 + x1) + x2) + ..., whichever
rank owns the part. Everybody gets the owner's bytes, so all ranks have the same bits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import torch

from huffwire.distributed.calls import CodedWork, Operation
from huffwire.distributed.engine import SLOTS, Both, Engine, Receive, Receiver, Send, Sender
from huffwire.distributed.memory import Memory, Scratch
from huffwire.distributed.pieces import Place
from huffwire.distributed.transport import Stream

# Calls on more bytes than this gain more from two threads than they lose by handing over to them.
_SMALL = 256 << 10

# How many pieces of its part a rank gives away before it waits for the first sum.
_LAG = 2


class Part:
    """A range of a flat tensor, cut into pieces.

    Args:
        piece: Bytes of a piece.
        dtype: The element type.
        start, stop: The range, in elements.
    """

    def __init__(self, piece: int, dtype: torch.dtype, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.step = piece // dtype.itemsize
        self.count = -(-(stop - start) // self.step)

    def range(self, index: int) -> tuple[int, int]:
        """The elements of a piece."""
        start = self.start + index * self.step
        return start, min(start + self.step, self.stop)


def _place(
    operation: Operation, memory: Memory, part: Part, index: int, origin: int, stage: int = 0
) -> Place:
    start, stop = part.range(index)
    size = memory.dtype.itemsize
    return Place(
        operation.collective,
        stage,
        operation.sequence,
        memory.dtype,
        (part.stop - part.start) * size,
        index,
        part.count,
        origin,
        (stop - start) * size,
    )


def _others(engine: Engine) -> list[int]:
    """All other ranks, beginning with the next one, so that not all ranks send to the same one first."""
    return [(engine.rank + step) % engine.size for step in range(1, engine.size)]


def _in_turn(
    send: Send | None, receive: Receive | None, size: int, messages: int, here: bool
) -> Both | None:
    """Both parts of a call one after the other, if it is small enough for that."""
    if not here or messages > SLOTS or size > _SMALL:
        return None

    def both(sender: Sender, receiver: Receiver) -> None:
        if send is not None:
            send(sender)
        if receive is not None:
            receive(receiver)

    return both


def all_gather(
    engine: Engine,
    shard: torch.Tensor,
    outputs: Sequence[torch.Tensor],
    result: list[torch.Tensor],
    coded: bool,
    here: bool = False,
    name: str = "all_gather",
) -> CodedWork:
    """Every rank's shard to every rank.

    Args:
        shard: This rank's, flat.
        outputs: A flat tensor for each rank's shard, of any sizes.
        result: What the future of the call holds.
        coded: Whether pieces are coded.
        here: Whether the caller waits for the end of the call at once.
        name: What the call is in pieces and totals.
    """
    rank = engine.rank
    own = outputs[rank]
    source = Memory(shard)
    places = [Memory(output) for output in outputs]
    parts = [Part(engine.piece, shard.dtype, 0, output.numel()) for output in outputs]

    def send(sender: Sender) -> None:
        with source.on_device():
            part, peers = parts[rank], _others(engine)
            for index in range(part.count):
                place = _place(sender.operation, source, part, index, rank)
                sender.send(source, *part.range(index), place, coded, peers)

    def receive(receiver: Receiver) -> None:
        with source.on_device():
            streams = [(peer, receiver.stream(peer, parts[peer].count)) for peer in _others(engine)]
            mine, apart = parts[rank], own.data_ptr() != shard.data_ptr()
            for index in range(max(part.count for part in parts)):
                if apart and index < mine.count:
                    start, stop = mine.range(index)
                    own[start:stop].copy_(shard[start:stop])
                for peer, stream in streams:
                    if index < parts[peer].count:
                        _receive(receiver, stream, places[peer], parts[peer], index, peer)

    both = _in_turn(send, receive, shard.nbytes, (engine.size - 1) * parts[rank].count, here)
    return engine.start(name, result, send, receive, both)


def _receive(
    receiver: Receiver,
    stream: Stream,
    memory: Memory,
    part: Part,
    index: int,
    origin: int,
    stage: int = 0,
    forward: int | None = None,
) -> None:
    """Receives a piece into its place."""
    start, stop = part.range(index)
    place = _place(receiver.operation, memory, part, index, origin, stage)
    if receiver.codes_there(memory):
        receiver.receive(stream, place, memory.there(start, stop), forward, there=True)
        return
    room = memory.room(start, stop, receiver.scratch)
    receiver.receive(stream, place, room, forward)
    memory.keep(start, stop, room)


def broadcast(
    engine: Engine,
    tensor: torch.Tensor,
    root: int,
    result: list[torch.Tensor],
    coded: bool,
    here: bool = False,
) -> CodedWork:
    """The root's tensor to every rank. Ranks form a chain that begins with the root; each passes pieces on as they
    are, so a piece is encoded once."""
    rank, size = engine.rank, engine.size
    memory = Memory(tensor)
    part = Part(engine.piece, tensor.dtype, 0, tensor.numel())
    next_rank = (rank + 1) % size
    last = next_rank == root
    reached = threading.Event()

    def send(sender: Sender) -> None:
        with memory.on_device():
            for index in range(part.count):
                place = _place(sender.operation, memory, part, index, root)
                sender.send(memory, *part.range(index), place, coded, [next_rank])

    def receive(receiver: Receiver) -> None:
        with memory.on_device():
            stream = receiver.stream((rank - 1) % size, part.count)
            # What is passed on must come behind what the other thread sends in earlier calls.
            while not last and not reached.wait(0.1):
                engine.check()
            forward = None if last else next_rank
            for index in range(part.count):
                _receive(receiver, stream, memory, part, index, root, forward=forward)
        receiver.operation.ready.put(None)

    def wait(sender: Sender) -> None:
        reached.set()
        # What later calls send must come behind what the other thread passes on.
        sender.operation.ready.get()

    if size == 1:
        return engine.start("broadcast", result, None, None)
    def alone(receiver: Receiver) -> None:
        reached.set()
        receive(receiver)

    if rank == root:
        both = _in_turn(send, None, tensor.nbytes, part.count, here)
        return engine.start("broadcast", result, send, None, both)
    both = _in_turn(None, alone, tensor.nbytes, part.count, here)
    return engine.start("broadcast", result, None if last else wait, receive, both)


def all_to_all(
    engine: Engine,
    source: torch.Tensor,
    sends: Sequence[int],
    output: torch.Tensor,
    receives: Sequence[int],
    result: list[torch.Tensor],
    coded: bool,
    here: bool = False,
) -> CodedWork:
    """A part of the tensor from every rank to every rank.

    Args:
        sends: Elements for each rank.
        receives: Elements from each rank.
    """
    rank = engine.rank
    given, taken = Memory(source), Memory(output)
    outgoing = list(parts_of(engine.piece, source.dtype, sends))
    incoming = list(parts_of(engine.piece, source.dtype, receives))

    def send(sender: Sender) -> None:
        with given.on_device():
            for index in range(max(part.count for part in outgoing)):
                for peer in _others(engine):
                    part = outgoing[peer]
                    if index < part.count:
                        place = _place(sender.operation, given, part, index, rank)
                        sender.send(given, *part.range(index), place, coded, [peer])

    def receive(receiver: Receiver) -> None:
        with taken.on_device():
            # What a rank sends first is read first: see the head of the module.
            streams = [
                (peer, receiver.stream(peer, incoming[peer].count))
                for peer in reversed(_others(engine))
            ]
            mine, own = incoming[rank], outgoing[rank]
            taken.tensor[mine.start : mine.stop].copy_(given.tensor[own.start : own.stop])
            for index in range(max(part.count for part in incoming)):
                for peer, stream in streams:
                    if index < incoming[peer].count:
                        _receive(receiver, stream, taken, incoming[peer], index, peer)

    messages = sum(part.count for part in outgoing) - outgoing[rank].count
    both = _in_turn(send, receive, source.nbytes, messages, here)
    return engine.start("all_to_all", result, send, receive, both)


def parts_of(piece: int, dtype: torch.dtype, counts: Sequence[int]) -> Iterator[Part]:
    """Ranges of so many elements, one behind the other."""
    start = 0
    for count in counts:
        yield Part(piece, dtype, start, start + count)
        start += count


def shares(elements: int, ranks: int) -> list[int]:
    """How many elements of a tensor each rank owns that adds it up with all others."""
    share = -(-elements // ranks)
    return [max(min(share, elements - rank * share), 0) for rank in range(ranks)]


class Sum:
    """How elements are added.

    Args:
        average: Whether the sum is divided by the number of ranks.
        dtype: The type that sums are kept in until the last one is made; None for the tensor's own.
    """

    def __init__(self, average: bool, dtype: torch.dtype | None) -> None:
        self.average = average
        self.dtype = dtype

    def reduce(
        self, inputs: Iterator[torch.Tensor], count: int, room: torch.Tensor, scratch: Scratch
    ) -> None:
        """Adds ``count`` tensors in their order, and writes the sum to the room."""
        total = next(inputs)
        if self.dtype is not None and self.dtype != room.dtype:
            total = scratch.elements(self.dtype, room.numel(), device=room.device).copy_(total)
            for other in inputs:
                total.add_(other)
            if self.average:
                _divide(total, count)
            room.copy_(total)
            return
        if count == 1:
            room.copy_(total)
        kept = scratch.elements(room.dtype, room.numel(), device=room.device)
        for index, other in enumerate(inputs, 2):
            # The room may be one of the tensors, so it is written last.
            total = torch.add(total, other, out=room if index == count else kept)
        if self.average:
            _divide(room, count)


def _divide(total: torch.Tensor, count: int) -> None:
    """Divides a sum. The bits do not depend on the device: where a tensor of a GPU is divided by a number, PyTorch
    multiplies by the number's reciprocal, which is rounded, so there the divisor is a tensor."""
    # bf16 holds no odd number above 256.
    if total.device.type != "cpu" and total.is_floating_point() and count <= 256:
        total.div_(_divisor(total, count))
    else:
        total.div_(count)


def _divisor(total: torch.Tensor, count: int) -> torch.Tensor:
    return torch.full((), count, dtype=total.dtype, device=total.device)


def _reduce_piece(
    receiver: Receiver,
    streams: dict[int, Stream],
    source: Memory,
    part: Part,
    index: int,
    how: Sum,
    target: Memory,
    start_there: int,
) -> torch.Tensor:
    """Adds all ranks' pieces of this rank's part, where they are decoded.

    Args:
        target: Where the sum belongs, on the device of the source.
        start_there: The first element of the sum in it.

    Returns:
        The sum, which the next call may overwrite.
    """
    engine = receiver.engine
    start, stop = part.range(index)
    stop_there = start_there + stop - start
    there = receiver.codes_there(source)
    room = (
        target.there(start_there, stop_there)
        if there
        else target.room(start_there, stop_there, engine.result_scratch)
    )

    def inputs() -> Iterator[torch.Tensor]:
        first = True
        for rank in range(engine.size):
            if rank == engine.rank:
                # On other devices `read` fills the scratch of this thread, which must not hold the sum.
                yield (
                    source.there(start, stop)
                    if there
                    else source.read(start, stop, engine.own_scratch)
                )
            else:
                scratch = engine.first_scratch if first else receiver.scratch
                elements = scratch.elements(source.dtype, stop - start, device=room.device)
                place = _place(receiver.operation, source, part, index, rank)
                receiver.receive(streams[rank], place, elements, there=there)
                yield elements
            first = False

    how.reduce(inputs(), engine.size, room, engine.sum_scratch)
    if there:
        target.finish_there()
    else:
        target.keep(start_there, stop_there, room)
    return room


def reduce_scatter(
    engine: Engine,
    source: torch.Tensor,
    output: torch.Tensor,
    sizes: Sequence[int],
    how: Sum,
    result: list[torch.Tensor],
    coded: bool,
    here: bool = False,
) -> CodedWork:
    """The sum of all ranks' tensors, a part of it to each rank.

    Args:
        sizes: Elements of each rank's part.
    """
    rank = engine.rank
    given, taken = Memory(source), Memory(output)
    parts = list(parts_of(engine.piece, source.dtype, sizes))

    def send(sender: Sender) -> None:
        with given.on_device():
            for index in range(max(part.count for part in parts)):
                for peer in _others(engine):
                    if index < parts[peer].count:
                        place = _place(sender.operation, given, parts[peer], index, rank)
                        sender.send(given, *parts[peer].range(index), place, coded, [peer])

    def receive(receiver: Receiver) -> None:
        with given.on_device():
            part = parts[rank]
            streams = {peer: receiver.stream(peer, part.count) for peer in _others(engine)}
            for index in range(part.count):
                start = part.range(index)[0] - part.start
                _reduce_piece(receiver, streams, given, part, index, how, taken, start)

    messages = sum(part.count for part in parts) - parts[rank].count
    both = _in_turn(send, receive, source.nbytes, messages, here)
    return engine.start("reduce_scatter", result, send, receive, both)


def stages(most: int, lag: int = _LAG) -> Iterator[tuple[int, int]]:
    """Stages and indices of pieces of a reduction that is gathered again, in the order in which all ranks take them.

    Args:
        most: The most pieces of a rank's part.
        lag: How many more pieces of the first stage go before those of the second.
    """
    for step in range(most + lag):
        if step < most:
            yield 0, step
        if step >= lag:
            yield 1, step - lag


def all_reduce(
    engine: Engine,
    tensor: torch.Tensor,
    how: Sum,
    result: list[torch.Tensor],
    coded: bool,
    here: bool = False,
) -> CodedWork:
    """The sum of all ranks' tensors to each rank: in two stages, the second of which begins with the first sum."""
    rank, size = engine.rank, engine.size
    memory = Memory(tensor)
    parts = list(parts_of(engine.piece, tensor.dtype, shares(tensor.numel(), size)))
    most = max(part.count for part in parts)

    def give(sender: Sender, stage: int, index: int) -> None:
        if stage == 0:
            for peer in _others(engine):
                if index < parts[peer].count:
                    place = _place(sender.operation, memory, parts[peer], index, rank)
                    sender.send(memory, *parts[peer].range(index), place, coded, [peer])
        elif index < parts[rank].count:
            # Where the other thread failed, the check within `send` raises.
            sender.operation.ready.get()
            place = _place(sender.operation, memory, parts[rank], index, rank, 1)
            sender.send(memory, *parts[rank].range(index), place, coded, _others(engine))

    def take(receiver: Receiver, streams: dict[int, Stream], stage: int, index: int) -> None:
        mine = parts[rank]
        if stage == 0 and index < mine.count:
            start, _ = mine.range(index)
            total = _reduce_piece(receiver, streams, memory, mine, index, how, memory, start)
            receiver.operation.ready.put(total)
        elif stage == 1:
            for peer in _others(engine):
                if index < parts[peer].count:
                    _receive(receiver, streams[peer], memory, parts[peer], index, peer, 1)

    def streams_of(receiver: Receiver) -> dict[int, Stream]:
        return {
            peer: receiver.stream(peer, parts[rank].count + parts[peer].count)
            for peer in _others(engine)
        }

    def send(sender: Sender) -> None:
        with memory.on_device():
            for stage, index in stages(most):
                give(sender, stage, index)

    def receive(receiver: Receiver) -> None:
        with memory.on_device():
            streams = streams_of(receiver)
            for stage, index in stages(most):
                take(receiver, streams, stage, index)

    def both(sender: Sender, receiver: Receiver) -> None:
        with memory.on_device():
            streams = streams_of(receiver)
            for stage, index in stages(most):
                give(sender, stage, index)
                take(receiver, streams, stage, index)

    messages = sum(part.count for part in parts) + (size - 1) * parts[rank].count
    small = here and messages <= SLOTS and tensor.nbytes <= _SMALL
    return engine.start("all_reduce", result, send, receive, both if small else None)


def send(engine: Engine, memory: Memory, peer: int, coded: bool, sender: Sender) -> None:
    """Sends a tensor to one rank of the engine."""
    with memory.on_device():
        part = Part(engine.piece, memory.dtype, 0, memory.tensor.numel())
        for index in range(part.count):
            place = _place(sender.operation, memory, part, index, engine.rank)
            sender.send(memory, *part.range(index), place, coded, [peer])


def receive(engine: Engine, memory: Memory, peer: int, receiver: Receiver) -> None:
    """Receives a tensor from one rank of the engine."""
    with memory.on_device():
        part = Part(engine.piece, memory.dtype, 0, memory.tensor.numel())
        stream = receiver.stream(peer, part.count)
        for index in range(part.count):
            _receive(receiver, stream, memory, part, index, peer)
