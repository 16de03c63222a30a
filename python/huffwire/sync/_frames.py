"""Frames: how a version travels along a chain of ranks, each of which passes on what it receives."""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import torch
import torch.distributed as dist

from huffwire._errors import DamagedError, OptionError
from huffwire._huffwire import _content_hash
from huffwire.distributed.errors import PeerError

# Bytes that are passed on at a time: while a rank sends some, it receives the next.
_PIECE = 4 << 20
# So many pieces are on their way to the next rank at most. Each takes memory.
_ON_THE_WAY = 4
# No frame is longer: a claim of more is damage.
_LONGEST = 1 << 40
# Kind, length and hash of the payload. The hash of these three is behind them.
_FIELDS = struct.Struct("<QQ16s")
_HEAD_BYTES = _FIELDS.size + 16


class Kind(IntEnum):
    """What a frame holds."""

    BEGIN = 1
    """The beginning of a version, as JSON."""
    DELTA = 2
    """An item, as a delta."""
    WHOLE = 3
    """An item, as a message without a base."""
    END = 4
    """The end of a version: the hash of its state."""
    FAILED = 5
    """The publisher failed. The version ends here."""


class Frame(NamedTuple):
    """A frame that arrived."""

    kind: Kind
    payload: bytes | bytearray


class Chain:
    """The ranks of a group in a row: the publisher, and all others by their numbers.

    Every rank makes it at the same time.

    Args:
        group: A group of a backend that sends tensors of the CPU, such as gloo.
        publishes: Whether this rank is the publisher.

    Raises:
        OptionError: There is not one publisher, or the group sends no tensors of the CPU.
        PeerError: A rank cannot be reached.
    """

    def __init__(self, group: dist.ProcessGroup, publishes: bool) -> None:
        try:
            group._get_backend(torch.device("cpu"))
        except RuntimeError as error:
            raise OptionError(
                f"the group sends no tensors of the CPU, which versions are: make one with backend='gloo' ({error})"
            ) from error
        self.group = group
        self.rank, self.size = group.rank(), group.size()
        roles = torch.zeros(self.size, dtype=torch.int64, device="cpu")
        roles[self.rank] = int(publishes)
        with peers():
            dist.all_reduce(roles, group=group)
        publishers = [rank for rank, role in enumerate(roles.tolist()) if role]
        if len(publishers) != 1:
            raise OptionError(
                f"ranks {publishers} publish: one rank of a group makes a Publisher, all others a Subscriber"
            )
        place = (self.rank - publishers[0]) % self.size
        self._before = (self.rank - 1) % self.size
        self._after = (self.rank + 1) % self.size if place + 1 < self.size else None
        self._sent: deque[tuple[dist.Work, torch.Tensor]] = deque()
        # How many bytes the next rank waits for. None: it knows itself that the ranks are out of step.
        self._due: int | None = _HEAD_BYTES
        self.in_step = True
        """Whether the ranks are in step. If not, a new group has to be made."""

    def send(self, kind: Kind, payload: bytes) -> None:
        """Sends a frame to the next rank."""
        with self._stepping():
            fields = _FIELDS.pack(kind, len(payload), _hash(payload))
            self._send_piece(fields + _hash(fields), len(payload))
            content = memoryview(payload)
            for start in range(0, len(payload), _PIECE):
                self._send_piece(content[start : start + _PIECE], len(payload) - start - _PIECE)
            self._finish()

    def receive(self, *, check: bool = True) -> Frame:
        """Receives a frame from the rank before, while it is passed on to the next one.

        Args:
            check: Whether its hash is compared.

        Raises:
            DamagedError: It was changed on its way. The rank behind finds that out, too.
            PeerError: The rank before is gone, or failed.
        """
        with self._stepping():
            head = self._receive_piece(_HEAD_BYTES)
            fields, fields_hash = head[: _FIELDS.size], head[_FIELDS.size :]
            number, length, hash = _FIELDS.unpack(fields)
            # What has another length than a rank waits for ends its process: nothing is received any more.
            if fields_hash != _hash(fields) or number not in list(Kind) or length > _LONGEST:
                self._due = None
                raise DamagedError(
                    "the header of a frame is damaged: the ranks are out of step, and a new group has to be made"
                )
            payload = bytearray()
            self._expect(length)
            while len(payload) < length:
                payload += self._receive_piece(min(_PIECE, length - len(payload)))
                self._expect(length - len(payload))
            self._finish()
        if check and _hash(payload) != hash:
            raise DamagedError("a frame was changed on its way")
        return Frame(Kind(number), payload)

    def agree(self, well: bool) -> bool:
        """Whether all ranks say that all is well."""
        vote = torch.tensor([int(well)], device="cpu")
        with self._stepping():
            dist.all_reduce(vote, dist.ReduceOp.MIN, group=self.group)
        return bool(vote.item())

    @contextlib.contextmanager
    def _stepping(self) -> Iterator[None]:
        """What every rank has to end. After an error, also an interruption, the ranks are out of step: the next one is
        told, which tells the one behind it."""
        if not self.in_step:
            raise PeerError("the ranks are out of step since an earlier failure: make a new group")
        self.in_step = False
        try:
            with peers():
                yield
        except BaseException:
            self._fail()
            raise
        self.in_step = True

    def _fail(self) -> None:
        due, self._due = self._due, None
        if due is not None and self._after is not None:
            piece = torch.zeros(due + 1, dtype=torch.uint8, device="cpu")
            piece[due] = 1
            # Nothing waits for it: the next rank may be gone, too. What is on its way must stay in memory.
            with contextlib.suppress(RuntimeError):
                self._start(piece, self._after)

    def _expect(self, left: int) -> None:
        """The next rank waits for the rest of a frame, or for the next one."""
        self._due = min(_PIECE, left) if left > 0 else _HEAD_BYTES

    def _send_piece(self, data: bytes | memoryview, left: int) -> None:
        piece = torch.empty(len(data) + 1, dtype=torch.uint8, device="cpu")
        memory = piece.numpy().data
        memory[:-1] = data
        memory[-1] = 0
        self._pass_on(piece)
        self._expect(left)

    def _receive_piece(self, size: int) -> memoryview:
        """Receives bytes and passes them on. The byte behind them tells whether a rank before this one has failed."""
        piece = torch.empty(size + 1, dtype=torch.uint8, device="cpu")
        dist.recv(piece, group=self.group, group_src=self._before)
        self._pass_on(piece)
        if piece[size]:
            # The next rank has got that, too.
            self._due = None
            raise PeerError(
                "a rank before this one failed in the middle of a version: its own error tells why; make a new group"
            )
        return piece.numpy().data[:size]

    def _pass_on(self, piece: torch.Tensor) -> None:
        if self._after is None:
            return
        while len(self._sent) >= _ON_THE_WAY:
            self._sent.popleft()[0].wait()
        # Until `_expect` is called: whoever is interrupted in between must not send what the next rank does not expect.
        self._due = None
        self._start(piece, self._after)

    def _start(self, piece: torch.Tensor, after: int) -> None:
        work = dist.isend(piece, group=self.group, group_dst=after)
        if work is not None:
            self._sent.append((work, piece))

    def _finish(self) -> None:
        """Waits until what was passed on has gone."""
        while self._sent:
            self._sent.popleft()[0].wait()


@contextlib.contextmanager
def peers() -> Iterator[None]:
    """Makes failures of communication huffwire's."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            f"another rank is gone, or did not answer: {error}; make a new group"
        ) from error


def _hash(data: bytes | bytearray | memoryview) -> bytes:
    return bytes.fromhex(_content_hash(data, "u8"))
