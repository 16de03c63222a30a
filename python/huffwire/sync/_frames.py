"""Frames: how a version travels along a chain of ranks, each of which passes on what it receives."""

from __future__ import annotations

import contextlib
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
# No frame is longer: a claim of more is damage.
_LONGEST = 1 << 40
_HEAD = 48


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
    payload: bytes


class Chain:
    """The ranks of a group in a row: the publisher, and all others by their numbers.

    Every rank makes it at the same time.

    Args:
        group: A group of a backend that sends tensors of the CPU, such as gloo.
        publishes: Whether this rank is the publisher.

    Raises:
        OptionError: There is not one publisher.
        PeerError: A rank cannot be reached.
    """

    def __init__(self, group: dist.ProcessGroup, publishes: bool) -> None:
        self.group = group
        self.rank, self.size = group.rank(), group.size()
        roles = torch.zeros(self.size, dtype=torch.int64)
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
        self._sent: list[tuple[dist.Work, torch.Tensor]] = []

    def send(self, kind: Kind, payload: bytes) -> None:
        """Sends a frame to the next rank."""
        hash = bytes.fromhex(_content_hash(payload, "u8"))
        head = kind.to_bytes(8, "little") + len(payload).to_bytes(8, "little") + hash
        self._pass_on(_tensor(head.ljust(_HEAD, b"\0")))
        for start in range(0, len(payload), _PIECE):
            self._pass_on(_tensor(payload[start : start + _PIECE]))
        self._finish()

    def receive(self, *, check: bool = True) -> Frame:
        """Receives a frame from the rank before, while it is passed on to the next one.

        Args:
            check: Whether its hash is compared.

        Raises:
            DamagedError: It was changed on its way. The rank behind finds that out, too.
            PeerError: The rank before is gone.
        """
        head = self._receive(_HEAD)
        number, length = (int.from_bytes(head[i : i + 8], "little") for i in (0, 8))
        if number not in list(Kind) or length > _LONGEST:
            raise DamagedError("the header of a frame is damaged: the ranks are out of step")
        payload = bytearray()
        while len(payload) < length:
            payload += self._receive(min(_PIECE, length - len(payload)))
        self._finish()
        if check and bytes.fromhex(_content_hash(payload, "u8")) != head[16:32]:
            raise DamagedError("a frame was changed on its way")
        return Frame(Kind(number), bytes(payload))

    def agree(self, well: bool) -> bool:
        """Whether all ranks say that all is well."""
        vote = torch.tensor([int(well)])
        with peers():
            dist.all_reduce(vote, dist.ReduceOp.MIN, group=self.group)
        return bool(vote.item())

    def _receive(self, size: int) -> bytes:
        piece = torch.empty(size, dtype=torch.uint8)
        with peers():
            dist.recv(piece, group=self.group, group_src=self._before)
        self._pass_on(piece)
        return piece.numpy().tobytes()

    def _pass_on(self, piece: torch.Tensor) -> None:
        if self._after is None:
            return
        with peers():
            work = dist.isend(piece, group=self.group, group_dst=self._after)
        if work is not None:
            self._sent.append((work, piece))

    def _finish(self) -> None:
        """Waits until what was passed on has gone."""
        sent, self._sent = self._sent, []
        for work, _ in sent:
            with peers():
                work.wait()


@contextlib.contextmanager
def peers() -> Iterator[None]:
    """Makes failures of communication huffwire's."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            f"another rank is gone, or did not answer: {error}; make a new group"
        ) from error


def _tensor(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
