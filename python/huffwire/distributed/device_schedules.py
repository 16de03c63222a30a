"""The collectives as steps of messages that stay in the memory of devices: who sends what to whom.

They cut tensors, and add up in the order of ranks, as `schedules` does: so their results are the same, bit for bit. A step
handles a bounded part of the tensor, so that memory is bounded, too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import torch

from huffwire.distributed.device_engine import Call, DeviceEngine, DeviceWork
from huffwire.distributed.memory import Scratch
from huffwire.distributed.pieces import Place
from huffwire.distributed.schedules import Part, Sum, parts_of, shares


def _steps(parts: Sequence[Part]) -> int:
    """How many steps parts take. Ranks that have nothing to send listen once, so that others cannot expect something."""
    return max(1, *(part.count for part in parts))


def _chunk(tensor: torch.Tensor, part: Part, index: int) -> torch.Tensor:
    """What is handled of a part of a flat tensor in a step: nothing behind its end."""
    if index >= part.count:
        return tensor[:0]
    start, stop = part.range(index)
    return tensor[start:stop]


def all_gather(
    engine: DeviceEngine,
    shard: torch.Tensor,
    outputs: Sequence[torch.Tensor],
    result: list[torch.Tensor],
    coded: bool,
) -> DeviceWork:
    """Every rank's shard to every rank. See `schedules.all_gather`."""
    own = outputs[engine.rank]
    parts = [Part(engine.share, shard.dtype, 0, output.numel()) for output in outputs]
    steps = _steps(parts)
    # No rank may go on where others see that one of them expects other sizes.
    agreed = zlib.crc32(repr([output.nbytes for output in outputs]).encode())

    def body(call: Call) -> None:
        for index in range(steps):
            places = [
                call.place(rank, 0, output.nbytes, index, steps, agreed)
                for rank, output in enumerate(outputs)
            ]
            targets = [
                _chunk(output, part, index) for output, part in zip(outputs, parts, strict=True)
            ]
            _gather(call, places, _chunk(shard, parts[engine.rank], index), targets)
        if own.data_ptr() != shard.data_ptr():
            own.copy_(shard)

    return engine.start("all_gather", shard.dtype, result, coded, steps, body)


def _gather(
    call: Call, places: Sequence[Place], chunk: torch.Tensor, targets: Sequence[torch.Tensor]
) -> None:
    """A step: each rank's elements to their target on every other rank. Messages are freed when this returns."""
    messages = call.gather(places, chunk, [target.nbytes for target in targets])
    for message, target in zip(messages, targets, strict=True):
        if message.sender != call.engine.rank:
            call.read(message, target)


def broadcast(
    engine: DeviceEngine, tensor: torch.Tensor, root: int, result: list[torch.Tensor], coded: bool
) -> DeviceWork:
    """The root's tensor to every rank."""
    part = Part(engine.piece, tensor.dtype, 0, tensor.numel())
    steps = _steps([part])

    def body(call: Call) -> None:
        for index in range(steps):
            # Ranks that name different roots differ in the stage.
            places = [
                call.place(rank, root % 256, tensor.nbytes, index, steps)
                for rank in range(engine.size)
            ]
            _spread(call, places, root, _chunk(tensor, part, index))

    return engine.start("broadcast", tensor.dtype, result, coded, steps, body)


def _spread(call: Call, places: Sequence[Place], root: int, chunk: torch.Tensor) -> None:
    """A step: the root's elements to every other rank. Its message is freed when this returns."""
    message = call.spread(places, root, chunk)
    if call.engine.rank != root:
        call.read(message, chunk)


def all_to_all(
    engine: DeviceEngine,
    source: torch.Tensor,
    sends: Sequence[int],
    output: torch.Tensor,
    receives: Sequence[int],
    result: list[torch.Tensor],
    coded: bool,
) -> DeviceWork:
    """A part of the tensor from every rank to every rank. See `schedules.all_to_all`.

    No rank knows what the others exchange among themselves. So the ranks tell each other how many steps they need.
    """
    rank = engine.rank
    outgoing = list(parts_of(engine.share, source.dtype, sends))
    incoming = list(parts_of(engine.share, source.dtype, receives))

    def body(call: Call) -> None:
        mine, own = incoming[rank], outgoing[rank]
        output[mine.start : mine.stop].copy_(source[own.start : own.stop])
        index = 0
        while index < call.steps:
            places = [call.place(peer, index=index) for peer in range(engine.size)]
            chunks = [_chunk(source, part, index) for part in outgoing]
            targets = [_chunk(output, part, index) for part in incoming]
            _exchange(call, places, chunks, targets)
            index += 1

    return engine.start("all_to_all", source.dtype, result, coded, _steps(outgoing), body)


def _exchange(
    call: Call,
    places: Sequence[Place],
    chunks: Sequence[torch.Tensor],
    targets: Sequence[torch.Tensor],
) -> None:
    """A step: elements for every other rank, and to a target from each. Messages are freed when this returns."""
    messages = call.exchange(places, chunks, [target.nbytes for target in targets])
    for message, target in zip(messages, targets, strict=True):
        if message.sender != call.engine.rank:
            call.read(message, target)


class _Adding:
    """Sums in the order of ranks, and the memory for them.

    Args:
        how: How elements are added.
    """

    def __init__(self, how: Sum) -> None:
        self._how = how
        self._first, self._others, self._sums = Scratch(0), Scratch(0), Scratch(0)

    def step(
        self,
        call: Call,
        places: Sequence[Place],
        chunks: Sequence[torch.Tensor],
        target: torch.Tensor,
    ) -> None:
        """A step: each rank sends its elements to their owners, and adds up what it owns.

        Args:
            chunks: What each rank owns of this rank's elements.
            target: Where the sum is written; it may be this rank's part of `chunks`.
        """
        engine = call.engine
        mine = chunks[engine.rank]
        messages = call.exchange(places, chunks, [mine.nbytes] * engine.size)

        def inputs() -> Iterator[torch.Tensor]:
            for rank, message in enumerate(messages):
                if rank == engine.rank:
                    yield mine
                    continue
                # The first one is read until the second one was added.
                scratch = self._others if rank else self._first
                elements = scratch.elements(mine.dtype, mine.numel(), device=mine.device)
                call.read(message, elements)
                yield elements

        if mine.numel():
            self._how.reduce(inputs(), engine.size, target, self._sums)


def reduce_scatter(
    engine: DeviceEngine,
    source: torch.Tensor,
    output: torch.Tensor,
    sizes: Sequence[int],
    how: Sum,
    result: list[torch.Tensor],
    coded: bool,
) -> DeviceWork:
    """The sum of all ranks' tensors, a part of it to each rank. See `schedules.reduce_scatter`."""
    parts = list(parts_of(engine.share, source.dtype, sizes))
    whole = Part(engine.share, source.dtype, 0, output.numel())
    steps = _steps(parts)

    def body(call: Call) -> None:
        adding = _Adding(how)
        for index in range(steps):
            places = [
                call.place(rank, 0, source.nbytes, index, steps) for rank in range(engine.size)
            ]
            chunks = [_chunk(source, part, index) for part in parts]
            adding.step(call, places, chunks, _chunk(output, whole, index))

    return engine.start("reduce_scatter", source.dtype, result, coded, steps, body)


def all_reduce(
    engine: DeviceEngine, tensor: torch.Tensor, how: Sum, result: list[torch.Tensor], coded: bool
) -> DeviceWork:
    """The sum of all ranks' tensors to each rank. See `schedules.all_reduce`.

    Each rank adds up what it owns, and sends the sum to all. The letters of the second step tell whether anything that was
    added was damaged.
    """
    parts = list(parts_of(engine.share, tensor.dtype, shares(tensor.numel(), engine.size)))
    steps = _steps(parts)

    def body(call: Call) -> None:
        adding = _Adding(how)
        for index in range(steps):
            chunks = [_chunk(tensor, part, index) for part in parts]
            mine = chunks[engine.rank]
            to_add, sums = (
                [
                    call.place(rank, stage, tensor.nbytes, index, steps)
                    for rank in range(engine.size)
                ]
                for stage in range(2)
            )
            adding.step(call, to_add, chunks, mine)
            _gather(call, sums, mine, chunks)

    return engine.start("all_reduce", tensor.dtype, result, coded, 2 * steps, body)
