"""Calls whose bytes stay in the memory of devices: coded there, moved by the caller's process group, decoded there.

A call is a row of *steps*, and all ranks take the same. In a step each rank encodes what it sends, tells all others how long
that is (`letters`), waits on the host for their letters, hands the bytes to the group (`device_group`), and decodes what
came. Everything runs in the thread of the caller, on the current stream of the device, in the order of the calls. So calls
of huffwire and the caller's own calls in the same group have one order on all ranks, which NCCL demands.

Errors. What a step needs of memory it takes before its letter, so a rank that fails can say so in the place of the letter. A
damaged message is found by the device. The next letter of the call has the count of damaged messages: so nobody gets a sum of
what was damaged. What came last is checked when the call is waited for; if it is damaged, the rank that has it raises, and
tells the others in the place of its next letter. The first failure ends the engine.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
import torch.distributed as dist

from huffwire._errors import Error, MismatchError
from huffwire._huffwire import Codebooks
from huffwire._tensors import _changed
from huffwire.cuda._messages import Checks
from huffwire.distributed import on_device, totals
from huffwire.distributed.device_group import DeviceGroup
from huffwire.distributed.errors import DisagreementError, GroupError, check_process
from huffwire.distributed.letters import Letter, Letters
from huffwire.distributed.pieces import CODED, FAILURE, RAW, Coder, Place, damaged
from huffwire.distributed.totals import Totals

# When other ranks can be told of a failure: in the place of this call's next letter, of a later call's, or not at all,
# because they wait for something else or know already.
_Telling: TypeAlias = Literal["now", "later", "never"]

# The receiver of what all ranks get.
_ALL = -1


class Message(NamedTuple):
    """What a rank has sent in a step, in the memory of the device."""

    place: Place
    sender: int
    receiver: int
    content: torch.Tensor


class Call:
    """One call of a collective.

    Args:
        engine: The engine.
        collective: Its name.
        sequence: Its number.
        dtype: The type of its elements.
        form: The form of its messages, as in `pieces`.
        steps: How many steps this rank needs.
    """

    def __init__(
        self,
        engine: DeviceEngine,
        collective: str,
        sequence: int,
        dtype: torch.dtype,
        form: int,
        steps: int,
    ) -> None:
        self.engine = engine
        self.collective = collective
        self.sequence = sequence
        self.dtype = dtype
        self.steps = steps
        """How many steps the call has; what other ranks need is known after the first one."""
        self.totals = Totals(calls=1)
        self.telling: _Telling = "now"
        self._form = form
        self._taken = 0
        # What was decoded, and not yet found to be whole: its place, and who sent it. Its bytes are free already.
        self._unsettled: list[tuple[Place, int, Checks]] = []

    def place(
        self, origin: int, stage: int = 0, stream: int = 0, index: int = 0, count: int = 0, agreed: int = 0
    ) -> Place:
        """The place of what a rank sends. `agreed` is a digest of what else must be the same on all ranks."""
        return Place(
            self.collective, stage, self.sequence, self.dtype, stream, index, count, origin, agreed
        )

    def gather(
        self, places: Sequence[Place], chunk: torch.Tensor, sizes: Sequence[int]
    ) -> list[Message]:
        """A step: every rank's elements to every rank.

        Args:
            places: The place of each rank's.
            chunk: This rank's.
            sizes: Bytes of each rank's.
        """
        engine = self.engine
        most = max(self._bound(size) for size in sizes)
        room, received = self._room(most), self._room(most * engine.size)
        letter = self._letter(places, {engine.rank: chunk})
        self._write(places[engine.rank], chunk, room, letter, engine.rank, _ALL)
        letters = self._hear(letter, places, most)
        lengths = [letters.length(rank, rank) for rank in range(engine.size)]
        # Slots of one size: the messages of equal tensors have nearly the same length.
        longest = max(lengths)
        if longest:
            engine.group.gather(received[: longest * engine.size], room[:longest])
        self._count(chunk.nbytes, longest, engine.size - 1)
        self._end_step()
        return [
            Message(place, rank, _ALL, received[longest * rank :][:length])
            for rank, (place, length) in enumerate(zip(places, lengths, strict=True))
        ]

    def exchange(
        self, places: Sequence[Place], chunks: Sequence[torch.Tensor], sizes: Sequence[int]
    ) -> list[Message]:
        """A step: elements from every rank to every other rank.

        Args:
            places: The place of what each rank sends.
            chunks: Elements for each rank.
            sizes: Bytes of elements that are expected from each rank.
        """
        engine, ranks = self.engine, range(self.engine.size)
        given = {rank: chunks[rank] for rank in ranks if rank != engine.rank}
        bounds = {rank: self._bound(chunk.nbytes) for rank, chunk in given.items()}
        rooms = {rank: self._room(bound) for rank, bound in bounds.items()}
        packed = self._room(sum(bounds.values()))
        received = self._room(sum(self._bound(sizes[rank]) for rank in given))
        letter = self._letter(places, given)
        for rank, chunk in given.items():
            self._write(places[engine.rank], chunk, rooms[rank], letter, rank, rank)
        letters = self._hear(letter, places, 2 * engine.share + 64)
        sends = [letters.length(engine.rank, rank) for rank in ranks]
        receives = [0 if rank == engine.rank else letters.length(rank, engine.rank) for rank in ranks]
        start = 0
        for rank in given:
            packed[start : start + sends[rank]].copy_(rooms.pop(rank)[: sends[rank]])
            start += sends[rank]
            self._count(chunks[rank].nbytes, sends[rank], 1)
        if sum(receives) > received.numel():
            # Another rank sends more than this one expects, which `read` will tell.
            received = self._room(sum(receives))
        if not letters.is_empty:
            engine.group.exchange(received[: sum(receives)], packed[:start], receives, sends)
        self._end_step()
        contents = torch.split(received[: sum(receives)], receives)
        return [Message(places[rank], rank, engine.rank, contents[rank]) for rank in ranks]

    def spread(self, places: Sequence[Place], root: int, chunk: torch.Tensor) -> Message:
        """A step: the root's elements to every rank.

        Args:
            places: The place of what each rank sends.
            chunk: The elements, or as many that they will replace.
        """
        engine = self.engine
        bound = self._bound(chunk.nbytes)
        room = self._room(bound)
        letter = self._letter(places, {root: chunk} if engine.rank == root else {})
        if engine.rank == root:
            self._write(places[root], chunk, room, letter, root, _ALL)
        letters = self._hear(letter, places, bound)
        content = room[: letters.length(root, root)]
        if content.numel():
            engine.group.broadcast(content, root)
        if engine.rank == root:
            self._count(chunk.nbytes, content.numel(), engine.size - 1)
        self._end_step()
        return Message(places[root], root, _ALL, content)

    def read(self, message: Message, elements: torch.Tensor) -> None:
        """Decodes a message, which is checked later.

        Args:
            elements: A flat tensor, which is written.

        Raises:
            DisagreementError: It has other elements than are expected.
        """
        place, sender, receiver, content = message
        is_wrong = bool(content.numel()) != bool(elements.numel())
        if is_wrong or self._form == RAW and content.numel() != elements.nbytes:
            raise DisagreementError(
                f"{self.collective}: rank {sender} sends {content.numel()} bytes for the {elements.nbytes} bytes of "
                "elements that this rank expects: the shapes of their tensors differ"
            )
        if self._form == RAW:
            elements.view(torch.uint8).copy_(content)
        elif content.numel():
            checks = Checks()
            context = self._context(place, receiver)
            on_device.decode_into(content, self.engine.codebooks, context, elements, checks)
            self._unsettled.append((place, sender, checks))

    def settle(self) -> None:
        """Waits until all that was received is decoded.

        Raises:
            PieceError: A message was changed on its way.
            DisagreementError: A message has other elements than were expected.
        """
        unsettled, self._unsettled = self._unsettled, []
        failed = _failed(unsettled)
        if failed is None or not int(failed):
            return
        for place, sender, checks in unsettled:
            try:
                checks.wait()
            except MismatchError as error:
                raise DisagreementError(
                    f"{self.collective}: rank {sender} sends another tensor than this rank expects: {error}"
                ) from error
            except Error as error:
                raise damaged(place, sender, str(error)) from error

    # The parts of a step.

    def _bound(self, size: int) -> int:
        """The most bytes of a message of so many bytes of elements."""
        if size == 0 or self._form == RAW:
            return size
        return on_device.bound(self.dtype, size)

    def _room(self, size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self.engine.group.device)

    def _letter(self, places: Sequence[Place], given: dict[int, torch.Tensor]) -> Letter:
        """This rank's letter, with the lengths that the host knows: those of messages that are not coded."""
        engine = self.engine
        lengths = [0] * engine.size
        if self._form == RAW:
            for rank, chunk in given.items():
                lengths[rank] = chunk.nbytes
        packed = places[engine.rank].pack(self._form, engine.coder.generation)
        return Letter(packed, self.steps, lengths, engine.group.device)

    def _context(self, place: Place, receiver: int) -> int:
        """What is decoded at another place, or by another rank than it was encoded for, is refused."""
        return self.engine.coder.context(place) | receiver + 1 << 32

    def _write(
        self, place: Place, chunk: torch.Tensor, room: torch.Tensor, letter: Letter, told: int, receiver: int
    ) -> None:
        """Writes a message, and its length to the letter."""
        if not chunk.numel():
            return
        if self._form == RAW:
            room[: chunk.nbytes].copy_(chunk.view(torch.uint8))
            return
        context = self._context(place, receiver)
        on_device.encode_there(chunk, self.engine.codebooks, context, room, letter.length(told))

    def _hear(self, letter: Letter, places: Sequence[Place], limit: int) -> Letters:
        """Tells all ranks what this one sends, and waits for what they send."""
        engine = self.engine
        failed = _failed(self._unsettled)
        if failed is not None:
            letter.tell_failed(failed)
        words = torch.empty(letter.words.numel() * engine.size, dtype=torch.int64, device=engine.group.device)
        # What goes wrong from here on, all ranks see, or none can be told.
        self.telling = "never"
        engine.group.gather(words, letter.words)
        begin = time.perf_counter()
        letters = Letters(words, engine.size)
        self.totals.waiting += time.perf_counter() - begin
        if letters.failed(engine.rank):
            self.settle()
        letters.check(engine.coder, places, self._form, limit)
        self._unsettled.clear()
        self.steps = max(self.steps, letters.steps)
        self.totals.bytes_after += letter.words.nbytes * (engine.size - 1)
        return letters

    def _end_step(self) -> None:
        self._taken += 1
        self.telling = "now" if self._taken < self.steps else "later"

    def _count(self, before: int, after: int, receivers: int) -> None:
        self.totals.pieces += 1
        self.totals.bytes_before += before * receivers
        self.totals.bytes_after += after * receivers


def _failed(unsettled: Sequence[tuple[Place, int, Checks]]) -> torch.Tensor | None:
    """How many messages are damaged: a number on the device."""
    counts = [count for _, _, checks in unsettled if (count := checks.failed()) is not None]
    return torch.stack(counts).sum() if counts else None


class DeviceWork(dist.Work):
    """A call whose commands the device has, as the functions of `torch.distributed` return it with ``async_op=True``."""

    def __init__(self, call: Call, outputs: list[torch.Tensor]) -> None:
        super().__init__()
        self._call = call
        self._outputs = outputs
        self._device = call.engine.group.device
        self._lock = threading.Lock()
        self._is_settled = False
        self._error: BaseException | None = None
        self._event: Any = None
        if self._device.type != "cpu":
            module = torch.get_device_module(self._device)
            self._event = module.current_stream(self._device).record_event()

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Waits until the outputs are complete and were found to be whole. A time-out is not heeded.

        Raises:
            Error: What went wrong.
        """
        if self._event is not None:
            module = torch.get_device_module(self._device)
            module.current_stream(self._device).wait_event(self._event)
        with self._lock:
            if not self._is_settled:
                self._is_settled = True
                try:
                    self._call.settle()
                except BaseException as error:
                    self._error = error
                    self._call.engine.fail(self._call, error)
        if self._error is not None:
            raise self._error
        return True

    def is_completed(self) -> bool:
        """Whether the device has done its part."""
        return self._event is None or bool(self._event.query())

    def is_success(self) -> bool:
        """Whether the call was waited for, and ended well."""
        return self._is_settled and self._error is None

    def exception(self) -> BaseException | None:
        """What went wrong, if `wait` has found anything."""
        return self._error

    def result(self) -> list[torch.Tensor]:
        """The outputs, after `wait`."""
        self.wait()
        return self._outputs

    def synchronize(self) -> None:
        """As `wait`."""
        self.wait()

    def get_future(self) -> torch.futures.Future[list[torch.Tensor]]:
        """A future of the list of outputs. It is complete: this waits as `wait` does."""
        devices: list[int | str | torch.device] = [] if self._event is None else [self._device]
        future: torch.futures.Future[list[torch.Tensor]] = torch.futures.Future(devices=devices)
        try:
            self.wait()
        except Exception as error:
            # PyTorch's annotation asks for a result.
            failed: Any = future
            failed.set_exception(error)
        else:
            future.set_result(self._outputs)
        return future


class DeviceEngine:
    """What the calls of a group share.

    Args:
        group: Moves bytes.
        codebooks: The codebooks; None for the built-in ones.
        piece: Bytes of elements that a rank handles in a step.
    """

    def __init__(self, group: DeviceGroup, codebooks: Codebooks | None, piece: int) -> None:
        self.group = group
        self.rank = group.rank
        self.size = group.size
        self.codebooks = codebooks
        self.coder = Coder(codebooks)
        self.piece = piece
        self.share = max(piece // group.size // 16 * 16, 16)
        """Bytes of elements in a message where a rank has one for or from each rank."""
        self._process = os.getpid()
        # Held while a call gives its commands.
        self._order = threading.RLock()
        self._sequence = 0
        self._error: BaseException | None = None
        self._failed: Call | None = None
        self._is_told = False

    def start(
        self,
        collective: str,
        dtype: torch.dtype,
        outputs: list[torch.Tensor],
        coded: bool,
        steps: int,
        body: Callable[[Call], None],
    ) -> DeviceWork:
        """Makes a call in which all ranks take part. It has given the device all commands when this returns.

        Args:
            collective: Its name.
            dtype: The type of elements.
            outputs: What its future holds.
            coded: Whether messages are coded.
            steps: How many steps this rank needs.
            body: Takes them.

        Raises:
            Error: What this rank or another one told, or what went wrong here.
        """
        # In a fork the lock may be held for ever.
        check_process(self._process)
        with self._order:
            self._check()
            # Before anybody is told of the call: it is no failure of the group.
            self.group.refuse_capture()
            for output in outputs:
                _changed(output)
            form = CODED if coded else RAW
            call = Call(self, collective, self._sequence, dtype, form, steps)
            self._sequence += 1
            try:
                body(call)
            except BaseException as error:
                self.fail(call, error)
                raise
            finally:
                totals.add(collective, call.totals)
            return DeviceWork(call, outputs)

    def fail(self, call: Call, error: BaseException) -> None:
        """Ends the engine, and tells the other ranks as soon as they listen."""
        with self._order:
            if self._error is not None:
                return
            self._error, self._failed = error, call
            self._is_told = call.telling == "never"
            if call.telling == "now" and isinstance(error, Exception):
                self._tell()

    def _check(self) -> None:
        """Raises what ended the engine, if anything did."""
        if self._error is None:
            return
        if not self._is_told:
            self._tell()
        raise GroupError(
            f"the group failed earlier, and nothing more is coded in it ({self._error}): call "
            "huffwire.distributed.setup on all ranks, or make a new group"
        ) from self._error

    def _tell(self) -> None:
        """Tells the other ranks of the failure, in the place of a letter."""
        assert self._failed is not None
        self._is_told = True
        place = self._failed.place(self.rank).pack(FAILURE, self.coder.generation)
        try:
            letter = Letter(place, 0, [0] * self.size, self.group.device)
            room = letter.words.new_empty(letter.words.numel() * self.size)
            self.group.gather(room, letter.words)
        except Exception:  # noqa: BLE001
            # Whoever does not hear of it has a time-out. This rank raises what went wrong first.
            return
