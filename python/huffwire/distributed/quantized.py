"""The average of gradients in two stages of quantized values, for `huffwire.ddp.quantized_hook`.

The gradient is cut into a share for each rank, at multiples of the quantizer's bucket, and each share into pieces.

1. Every rank quantizes its gradient, share by share, and sends each share to its owner. What quantizing loses is kept for
   the next step (error feedback). The owner restores all ranks' pieces and adds them in f32 in the order of ranks,
   ((x0 + x1) + x2) + ..., its own one as well: it takes what the others would have received from it. So all ranks
   count alike, no rank's gradient is less noisy than another's, and the mean does not depend on who owns a share.
2. The owner divides by the number of ranks, quantizes the mean with an error memory of its own, and sends it to all. It
   restores the mean from its own values, too, so all ranks have the same bits.

Random numbers of stochastic rounding belong to elements of the gradient, and buckets begin at multiples of their size. So the
result does not depend on how large pieces are.

The schedule is that of `huffwire.distributed.schedules.all_reduce`: the second stage begins with the first mean, and coding,
transfer and decoding overlap.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

import torch

from huffwire._errors import Error, QuantizeError
from huffwire._huffwire import _ExchangeCodec
from huffwire.distributed.calls import CodedWork
from huffwire.distributed.engine import Engine, Receiver, Sender
from huffwire.distributed.errors import PieceError
from huffwire.distributed.memory import Memory, Scratch
from huffwire.distributed.pieces import HEADER, LEAST, Place
from huffwire.distributed.schedules import Part, _others, _place, stages

COLLECTIVE = "quantized_all_reduce"

# The most elements of a piece. Every piece costs the threads some tenths of a millisecond, whatever its size, so pieces are
# long. They are not longer, because the link waits for the first one, and values stay in the caches until they are coded.
_MOST = 1 << 18

# How many pieces of gradients go before the first mean. Coded pieces are short, so that the link would idle if there were
# fewer while a mean waits for the pieces of the slowest rank.
_LAG = 6


@dataclass(frozen=True)
class Exchange:
    """How one gradient is quantized.

    Attributes:
        codecs: Alike, for the thread that sends and the one that receives.
        bucket: Elements of the quantizer's bucket.
        errors: The error memory of the whole gradient, flat, of torch.float32 on the processor; None for no feedback.
        mean_errors: The error memory of the mean of this rank's share.
        decay: How much kept errors count.
        seed: Of the step and the gradient, the same on all ranks.
        generation: 8 bytes: a hash of all that ranks must have alike.
        raises: Whether a gradient that is not finite raises; if not, its bucket becomes NaN on all ranks.
        what: The gradient, for messages.
    """

    codecs: tuple[_ExchangeCodec, _ExchangeCodec]
    bucket: int
    errors: torch.Tensor | None
    mean_errors: torch.Tensor | None
    decay: float
    seed: str
    generation: bytes
    raises: bool
    what: str

    def place(self, kind: str, first: int) -> tuple[int, int, float]:
        """Seed, first element and decay for a piece of one rank's gradient, or of the mean."""
        digest = hashlib.blake2b(f"{self.seed}/{kind}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little"), first, self.decay

    def check(self, not_finite: int, where: str) -> None:
        """Raises if buckets that are not finite shall raise."""
        if not_finite and self.raises:
            raise QuantizeError(
                f"{self.what}: {not_finite} of the quantizer's buckets have {where} that is infinite or NaN; "
                'with non_finite="nan" they become NaN on all ranks, so that a gradient scaler skips the step'
            )


def share_bounds(elements: int, ranks: int, bucket: int) -> list[int]:
    """Where the shares of all ranks begin, and where the last one ends."""
    share = -(-elements // (ranks * bucket)) * bucket
    return [min(rank * share, elements) for rank in range(ranks + 1)]


def elements_of_piece(piece: int, bucket: int) -> int:
    """Elements of a piece, where pieces of other collectives have so many bytes of elements.

    A value takes a byte at most, so that pieces take about as much memory as others. They are whole buckets.
    """
    return max(min(piece, _MOST) // bucket, 1) * bucket


class Share(Part):
    """A rank's share of a gradient, cut into pieces of so many elements."""

    def __init__(self, step: int, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.step = step
        self.count = -(-(stop - start) // step)


def _memory(tensor: torch.Tensor, start: int = 0, stop: int | None = None) -> tuple[int, int]:
    """Address and length of elements of a flat tensor of torch.float32."""
    stop = tensor.numel() if stop is None else stop
    return tensor.data_ptr() + 4 * start, 4 * (stop - start)


def _read(
    memory: Memory, start: int, stop: int, scratch: Scratch, room: Scratch
) -> torch.Tensor:
    """Some elements of a gradient as torch.float32: in its own memory, or in the room."""
    elements = memory.read(start, stop, scratch)
    if elements.dtype is torch.float32:
        return elements
    return room.elements(torch.float32, stop - start).copy_(elements)


def _room_for(
    memory: Memory, start: int, stop: int, scratch: Scratch, room: Scratch
) -> torch.Tensor:
    """Where floats are restored that `_write` then brings to the gradient: their own place, or the room."""
    target = memory.room(start, stop, scratch)
    return target if target.dtype is torch.float32 else room.elements(torch.float32, stop - start)


def _write(
    memory: Memory, start: int, stop: int, scratch: Scratch, floats: torch.Tensor
) -> None:
    """Brings floats to their place in the gradient."""
    target = memory.room(start, stop, scratch)
    if target.data_ptr() != floats.data_ptr():
        target.copy_(floats)
    memory.keep(start, stop, target)


class _Sending:
    """The part of the thread that sends."""

    def __init__(self, sender: Sender, memory: Memory, shares: list[Share], how: Exchange) -> None:
        self.sender = sender
        self.engine = sender.engine
        self.memory = memory
        self.shares = shares
        self.how = how
        self.codec = how.codecs[0]

    def gradient(self, peer: int, index: int, room: Scratch) -> None:
        """Quantizes a piece of this rank's gradient, and sends it to its owner."""
        share, how = self.shares[peer], self.how
        start, stop = share.range(index)
        operation = self.sender.operation
        place = _place(operation, self.memory, share, index, self.engine.rank)

        def write(buffer: torch.Tensor) -> int:
            floats = _read(self.memory, start, stop, self.sender.scratch, room)
            errors = None if how.errors is None else _memory(how.errors, start, stop)
            sent = self.codec.encode(
                _memory(floats),
                errors,
                _payload(buffer),
                None,
                how.place(f"rank {self.engine.rank}", start),
            )
            return self._seal(place, sent, "a gradient", buffer)

        self.sender.write(place, [peer], write)

    def mean(self, index: int, room: Scratch) -> None:
        """Quantizes a mean that the other thread made, sends it to all, and keeps what they will have."""
        mine, how, rank = self.shares[self.engine.rank], self.how, self.engine.rank
        start, stop = mine.range(index)
        held = self.sender.operation.ready.get()
        if held is None:
            # The other thread failed.
            self.engine.check()
            raise Error("the other thread of the engine ended early")
        floats = held[: 4 * (stop - start)].view(torch.float32)
        place = _place(self.sender.operation, self.memory, mine, index, rank, 1)
        restored = _room_for(self.memory, start, stop, self.sender.scratch, room)

        def write(buffer: torch.Tensor) -> int:
            errors = None
            if how.mean_errors is not None:
                errors = _memory(how.mean_errors, start - mine.start, stop - mine.start)
            sent = self.codec.encode(
                _memory(floats),
                errors,
                _payload(buffer),
                _memory(restored),
                how.place("mean", start),
            )
            return self._seal(place, sent, "a mean", buffer)

        self.sender.write(place, _others(self.engine), write)
        _write(self.memory, start, stop, self.sender.scratch, restored)
        self.engine.give(held)

    def _seal(
        self, place: Place, sent: tuple[int, int, int], what: str, buffer: torch.Tensor
    ) -> int:
        length, checksum, not_finite = sent
        self.how.check(not_finite, what)
        coder = self.engine.coder
        return coder.seal_quantized(place, self.how.generation, length, checksum, buffer)


def _payload(buffer: torch.Tensor) -> tuple[int, int]:
    return buffer.data_ptr() + HEADER, buffer.numel() - HEADER


def _summands(engine: Engine) -> list[int]:
    """The ranks in the order in which their pieces are added.

    It does not matter which one of the first two comes first. So if this rank is the second, its own piece, for which nobody
    needs to wait, is taken before.
    """
    ranks = list(range(engine.size))
    if engine.rank == 1:
        ranks[:2] = [1, 0]
    return ranks


class _Receiving:
    """The part of the thread that receives."""

    def __init__(
        self, receiver: Receiver, memory: Memory, shares: list[Share], how: Exchange
    ) -> None:
        self.receiver = receiver
        self.engine = receiver.engine
        self.memory = memory
        self.shares = shares
        self.how = how
        self.codec = how.codecs[1]
        mine = shares[self.engine.rank].count
        self.streams = {
            peer: receiver.stream(peer, mine + shares[peer].count) for peer in _others(self.engine)
        }

    def reduce(self, index: int, room: Scratch) -> None:
        """Adds all ranks' pieces of this rank's share, and gives the mean to the thread that sends."""
        engine = self.engine
        start, stop = self.shares[engine.rank].range(index)
        held = engine.take(4 * self.shares[engine.rank].step)
        mean = held[: 4 * (stop - start)].view(torch.float32)
        for number, origin in enumerate(_summands(engine)):
            # The first piece is put there, the others are added, and with the last one the sum is divided.
            divisor = engine.size if number == engine.size - 1 else min(number, 1)
            if origin == engine.rank:
                begin = time.perf_counter()
                self._own(start, stop, mean, divisor, room)
                self.receiver.totals.coding += time.perf_counter() - begin
            else:
                self._take(engine.rank, index, origin, 0, mean, divisor)
        self.receiver.operation.ready.put(held)

    def _own(
        self, start: int, stop: int, mean: torch.Tensor, divisor: int, room: Scratch
    ) -> None:
        """Quantizes a piece of this rank's own gradient, and restores it."""
        how = self.how
        floats = _read(self.memory, start, stop, self.engine.own_scratch, room)
        errors = None if how.errors is None else _memory(how.errors, start, stop)
        place = how.place(f"rank {self.engine.rank}", start)
        not_finite = self.codec.keep(_memory(floats), errors, _memory(mean), divisor, place)
        how.check(not_finite, "a gradient")

    def gather(self, owner: int, index: int, room: Scratch) -> None:
        """Receives a mean into its place."""
        start, stop = self.shares[owner].range(index)
        floats = _room_for(self.memory, start, stop, self.receiver.scratch, room)
        self._take(owner, index, owner, 1, floats, 0)
        _write(self.memory, start, stop, self.receiver.scratch, floats)

    def _take(
        self, owner: int, index: int, origin: int, stage: int, floats: torch.Tensor, divisor: int
    ) -> None:
        operation = self.receiver.operation
        place = _place(operation, self.memory, self.shares[owner], index, origin, stage)

        def read(name: int, buffer: torch.Tensor) -> None:
            reader = self.engine.reader
            payload, checksum = reader.open_quantized(place, self.how.generation, name, buffer)
            try:
                self.codec.decode(payload, checksum, _memory(floats), divisor)
            except Error as error:
                where = f"call {place.sequence}, piece {place.index} of rank {place.origin}"
                raise PieceError(f"a damaged piece from rank {name} ({where}): {error}") from error

        self.receiver.take(self.streams[origin], place, read)


def average(
    engine: Engine, tensor: torch.Tensor, how: Exchange, result: list[torch.Tensor]
) -> CodedWork:
    """The mean of all ranks' gradients to each rank, in quantized values. See the module.

    Args:
        tensor: The gradient, flat, of torch.float32, torch.bfloat16 or torch.float16; the mean replaces it.
        how: How it is quantized.
        result: What the future of the call holds.
    """
    memory = Memory(tensor)
    bounds = share_bounds(tensor.numel(), engine.size, how.bucket)
    step = elements_of_piece(engine.piece, how.bucket)
    shares = [Share(step, *bounds[rank : rank + 2]) for rank in range(engine.size)]
    most = max(share.count for share in shares)

    def send(sender: Sender) -> None:
        sending = _Sending(sender, memory, shares, how)
        with memory.on_device():
            room = Scratch(4 * step)
            for stage, index in stages(most, _LAG):
                if stage == 0:
                    for peer in _others(engine):
                        if index < shares[peer].count:
                            sending.gradient(peer, index, room)
                elif index < shares[engine.rank].count:
                    sending.mean(index, room)

    def receive(receiver: Receiver) -> None:
        receiving = _Receiving(receiver, memory, shares, how)
        with memory.on_device():
            room = Scratch(4 * step)
            for stage, index in stages(most, _LAG):
                if stage == 0 and index < shares[engine.rank].count:
                    receiving.reduce(index, room)
                elif stage == 1:
                    for peer in _others(engine):
                        if index < shares[peer].count:
                            receiving.gather(peer, index, room)

    room = max(HEADER + how.codecs[0].bound(step), LEAST)
    return engine.start(COLLECTIVE, result, send, receive, room=room)


__all__ = ["COLLECTIVE", "Exchange", "average", "share_bounds"]
