"""What coding on a device needs of it: memory, and kernels that are launched in order.

The programs of encoding and decoding (`_encode.py`, `_decode.py`) know no more of a device than this. So they run on a
GPU by torch and the driver (`_torch_device.py`), and in tests on an emulator in the memory of the host.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Protocol

U32 = ctypes.c_uint32
U64 = ctypes.c_uint64

ALIGNMENT = 256
"""Where memory of `Device.empty` and `Device.upload` begins: at a multiple of so many bytes."""


@dataclass(frozen=True)
class Span:
    """Memory of a device.

    Attributes:
        address: Of the first byte, as the device counts.
        size: In bytes.
        owner: What keeps the memory alive.
    """

    address: int
    size: int
    owner: object = None

    def part(self, start: int, size: int) -> Span:
        """Returns a part of the memory, from byte `start` on."""
        if start < 0 or size < 0 or start + size > self.size:
            raise ValueError(f"no {size} bytes from {start} on in a span of {self.size} bytes")
        return Span(self.address + start, size, self.owner)


Argument = Span | ctypes.c_uint32 | ctypes.c_uint64
"""An argument of a kernel: a span is given as its address."""


class Device(Protocol):
    """A device and a stream of it. What is called runs in the order of the calls."""

    @property
    def multiprocessors(self) -> int:
        """How many CTAs of full size run at once."""

    def empty(self, size: int) -> Span:
        """Memory with anything in it."""

    def upload(self, data: bytes) -> Span:
        """A copy of bytes of the host."""

    def read(self, span: Span) -> bytes:
        """The bytes of a span, once all that was launched has ended. Waits for the device."""

    def launch(self, kernel: str, ctas: int, threads: int, *arguments: Argument) -> None:
        """Starts a kernel of kernels/kernels.cu. Does not wait for it."""
