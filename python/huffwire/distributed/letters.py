"""Letters: what each rank tells all others before bytes move between devices.

Whoever receives into the memory of a device by the collectives of a process group must know on the host how many bytes
come. So each step of a call begins with an all_gather of letters, one from each rank, in the memory of the device:

| words of 64 bits | what |
|---|---|
| 8 | the place of what the rank sends, as in the header of a piece (`pieces`) |
| 1 | how many steps the rank needs for what it sends |
| 1 | how many of the messages that came before in this call were damaged |
| one for each rank | bytes that the rank sends to this one; to itself: bytes that it sends to all |

Lengths of coded messages and the count of damaged ones are written by the device. The host waits once, when it reads the
letters of all ranks. All ranks read the same letters. So what is wrong with one of them, all of them see at once, and none
waits for bytes that never come.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch

from huffwire.distributed.errors import PeerError, PieceError
from huffwire.distributed.pieces import PLACE, Coder, Place

_STEPS = PLACE // 8
_FAILED = _STEPS + 1
_LENGTHS = _FAILED + 1


class Letter:
    """This rank's letter, in the memory of its device.

    Args:
        place: The place of what the rank sends, packed.
        steps: How many steps the rank needs for it.
        lengths: Bytes for each rank, as far as the host knows them.
        device: Where the letter is.
    """

    def __init__(
        self, place: bytes, steps: int, lengths: list[int], device: torch.device
    ) -> None:
        here = torch.zeros(_LENGTHS + len(lengths), dtype=torch.int64, device="cpu")
        here[:_STEPS] = torch.frombuffer(bytearray(place), dtype=torch.int64)
        here[_STEPS] = steps
        here[_LENGTHS:] = torch.tensor(lengths, dtype=torch.int64, device="cpu")
        if device.type != "cpu":
            # From other memory the host would wait for the copy, and all that the device has to do before.
            here = here.pin_memory()
        self.words = here.to(device, non_blocking=True)

    def length(self, receiver: int) -> torch.Tensor:
        """Where the bytes for a rank are told: a tensor of one element."""
        return self.words[_LENGTHS + receiver : _LENGTHS + receiver + 1]

    def tell_failed(self, failed: torch.Tensor) -> None:
        """Tells how many messages were damaged: a number on the device."""
        self.words[_FAILED].copy_(failed)


class Letters:
    """The letters of all ranks, read by the host.

    Args:
        words: All letters, one behind the other, in the memory of the device. They are waited for.
        ranks: How many there are.
    """

    def __init__(self, words: torch.Tensor, ranks: int) -> None:
        self._words = words.cpu().view(ranks, -1)
        self._ranks = ranks
        rows: list[list[int]] = self._words[:, _STEPS:].tolist()
        self._failed = [row[1] for row in rows]
        self._lengths = [row[2:] for row in rows]
        self.steps = max(row[0] for row in rows)
        """How many steps the call takes."""

    def length(self, sender: int, receiver: int) -> int:
        """The bytes that one rank sends to another; to itself: to all."""
        return self._lengths[sender][receiver]

    @property
    def is_empty(self) -> bool:
        """Whether nobody sends anything."""
        return not any(map(any, self._lengths))

    def failed(self, rank: int) -> bool:
        """Whether a rank has found a damaged message."""
        return self._failed[rank] != 0

    def check(self, coder: Coder, places: Sequence[Place], form: int, limit: int) -> None:
        """Compares the letters with what this rank expects.

        Args:
            coder: Knows what pieces are.
            places: What each rank must send.
            form: The form of all messages.
            limit: The most bytes of a message.

        Raises:
            Error: As `Coder.read`.
        """
        for rank, place in enumerate(places):
            start = self._words[rank].data_ptr()
            coder.check_place(place, form, rank, ctypes.string_at(start, PLACE))
        for rank in range(self._ranks):
            if self.failed(rank):
                raise PeerError(f"rank {rank} received a damaged message: its own error says which")
            longest, shortest = max(self._lengths[rank]), min(self._lengths[rank])
            if longest > limit or shortest < 0:
                wrong = longest if longest > limit else shortest
                raise PieceError(
                    f"a damaged letter from rank {rank} ({places[rank].collective}, call {places[rank].sequence}): a "
                    f"message of {wrong} bytes, which can have {limit}"
                )
