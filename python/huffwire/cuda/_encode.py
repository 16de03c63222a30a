"""Encoding of tensors as messages of kind 0 on a device.

Three kernels, launched one after the other; none of them waits for the host:

1. `encode_blocks`: each block, by a warp, into a slot of its own in scratch memory. The warp chooses a book and a base
   by a sample of the block.
2. `place_blocks`: the header, the table of lengths, and where each block goes.
3. `pack_blocks`: blocks are copied to their places, and get their checksums.

Floats of 4, 8, 16 and 32 bits, scales and bytes are coded, with books of the set: kernels make none. All other types,
and blocks that codes would not make shorter, are stored as they are. The scratch memory is about a tenth larger than
the tensor, with blocks of 16 KiB.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from huffwire import _huffwire
from huffwire._errors import LimitError, MismatchError, OptionError, OutputError, UnsupportedError
from huffwire.cuda._device import U32, U64, Argument, Device, Span
from huffwire.cuda._types import BY_NUMBER, TYPES, ElementType

if TYPE_CHECKING:
    from huffwire._huffwire import Codebooks

HEADER_BYTES = 16
_VERSION = 0x10
_FLAG_CHECKSUMS = 1
_FLAG_CONTEXT = 2
_BLOCK_LOG2 = range(10, 21)

_KIB = 1 << 10
_SMALLEST_BLOCK = 4 * _KIB
_FEWEST_UNITS = 2048
"""So many units are worth lanes, whose states take 64 bytes: the encoder for processors codes fewer without them."""
_LARGEST_BLOCK = 32 * _KIB
_BLOCKS_TO_FILL = 2048
"""So many blocks keep all processors of a large device busy, a warp each."""

# As in kernels/encode_block.cuh and kernels/encode_lanes.cuh.
_ENCODE_WARPS = 8
_PACK_WARPS = 8
_HEADER_END = 32
_ROOM_FOR_STEPS = 1536
_CODED_BYTES = 8
_PLACE_THREADS = 1024
_SLOT_ALIGNMENT = 256


class _Coding(NamedTuple):
    """How a type is coded: the end of the names of its kernels, and which bindings tell its books."""

    kernel: str
    layout: str


_EXPONENT, _MAGNITUDE, _BYTES = "exponent", "magnitude", "bytes"
# By the types that have codes; others are coded as one of these, or stored as they are.
_CODINGS = {
    "bf16": _Coding("bf16", _EXPONENT),
    "f16": _Coding("f16", _EXPONENT),
    "f32": _Coding("f32", _EXPONENT),
    "e4m3": _Coding("f8", _MAGNITUDE),
    "e5m2": _Coding("f8", _MAGNITUDE),
    "e8m0": _Coding("e8m0", _EXPONENT),
    "e2m1": _Coding("bytes", _BYTES),
    "i8": _Coding("bytes", _BYTES),
    "u8": _Coding("bytes", _BYTES),
}


def bound(dtype: int, units: int, block_size: int) -> int:
    """The most bytes that a message of so many units can have."""
    unit = _type(dtype).unit
    blocks = -(-units // (block_size // unit))
    return HEADER_BYTES + 8 * blocks + blocks + units * unit


def default_block_size(bytes: int, unit: int) -> int:
    """The bytes of elements in a block, for a tensor of so many bytes in units of so many.

    32 KiB from 64 MiB on, and 16 KiB from 32 MiB on: smaller tensors have smaller blocks, so that there are enough of
    them to keep a device busy. At least 4 KiB, where a block's fixed bytes are 1 to 2 % of the message, and 2048 units.
    """
    smallest = max(_SMALLEST_BLOCK, _FEWEST_UNITS * unit)
    size = _LARGEST_BLOCK
    while size > smallest and size * _BLOCKS_TO_FILL > bytes:
        size //= 2
    return size


def encode(
    device: Device,
    tables: Span,
    source: Span,
    dtype: int,
    units: int,
    out: Span,
    *,
    codebooks: Codebooks,
    block_size: int | None = None,
    checksums: bool = True,
    context: int | None = None,
) -> Span:
    """Encodes a tensor as a message at the start of `out`. Launches kernels and does not wait for them.

    Args:
        device: What runs the kernels.
        tables: `huffwire.cuda._tables.tables` on the device; has `codebooks` among its sets.
        source: The elements.
        dtype: Number of the element type.
        units: How many units there are.
        out: At least `bound` bytes.
        codebooks: The set whose books may be chosen.
        block_size: Bytes of elements in a block, a power of two from 2^10 to 2^20.
        checksums: Whether entries have checksums.
        context: A number of 64 bits that both ends know.

    Returns:
        The length of the message, a `u64` on the device.

    Raises:
        OutputError: `out` is too small.
        MismatchError: `source` has not the bytes of so many units.
        UnsupportedError: The type is unknown, or elements lie at an address that is no multiple of their size.
        OptionError: An option has a value that it cannot have.
        LimitError: More units than a message can have.
    """
    message = _Message.of(source, dtype, units, out, codebooks, block_size, checksums, context)
    return message.encode(device, tables, out, choices=None)


def encode_chosen(
    device: Device,
    tables: Span,
    source: Span,
    dtype: int,
    units: int,
    out: Span,
    choices: Sequence[int],
    *,
    codebooks: Codebooks,
    block_size: int | None = None,
    checksums: bool = True,
    context: int | None = None,
) -> Span:
    """`encode` with choices that were made elsewhere: one for all blocks, or one for each.

    A choice is the number of a book, plus 256 times the base, plus 65536 if exact zeros are coded apart where the
    book has a code for them. 2^32 - 1 chooses no book.
    """
    message = _Message.of(source, dtype, units, out, codebooks, block_size, checksums, context)
    if len(choices) not in (1, message.blocks):
        raise OptionError(f"{len(choices)} choices for {message.blocks} blocks: give 1 or one for each")
    return message.encode(device, tables, out, choices=choices)


class _Message(NamedTuple):
    """A message that is going to be encoded: all that the host knows of it."""

    source: Span
    unit_bytes: int
    units: int
    block_bytes: int
    blocks: int
    coding: _Coding | None
    candidates: tuple[int, int, int]
    checksums: bool
    header: bytes

    @classmethod
    def of(
        cls,
        source: Span,
        dtype: int,
        units: int,
        out: Span,
        codebooks: Codebooks,
        block_size: int | None,
        checksums: bool,
        context: int | None,
    ) -> _Message:
        kind = _type(dtype)
        unit = kind.unit
        if units >= 1 << 32:
            raise LimitError(f"a tensor of {units} units: a message has fewer than 2^32")
        if kind.is_pair and units % 2:
            raise MismatchError(f"{units} units of a complex type, which has two for each element")
        if source.size != units * unit:
            raise MismatchError(f"{source.size} bytes for {units} units of {unit} bytes")
        coding = _CODINGS.get(kind.coded_as)
        if coding and source.address % unit:
            raise UnsupportedError(
                f"elements of {unit} bytes at the address {source.address:#x}, which is no multiple of {unit}: "
                "copy the tensor before it is encoded"
            )
        if block_size is None:
            block_size = default_block_size(source.size, unit)
        log2 = block_size.bit_length() - 1
        if log2 not in _BLOCK_LOG2 or block_size != 1 << log2:
            raise OptionError(f"block_size {block_size}: give a power of two from 1024 to 1048576")
        if context is not None and not 0 <= context < 1 << 64:
            raise OptionError(f"context {context}: give a number from 0 to 2^64 - 1")
        needed = bound(dtype, units, block_size)
        if out.size < needed:
            raise OutputError(f"an output of {out.size} bytes for a message of up to {needed}")
        flags = _FLAG_CHECKSUMS * checksums | _FLAG_CONTEXT * (context is not None)
        head = struct.pack("<4B", ord("H"), _VERSION | flags, dtype, log2)
        head += bytes.fromhex(codebooks.id)[:4] + struct.pack("<I", units)
        place = b"" if context is None else struct.pack("<Q", context)
        head += struct.pack("<I", _huffwire._checksum(head + place))
        block_units = block_size // unit
        return cls(
            source,
            unit,
            units,
            block_units * unit,
            -(-units // block_units),
            coding,
            _candidates(codebooks, kind.coded_as, coding) if coding else (0, 0, 0),
            checksums,
            head,
        )

    def encode(
        self,
        device: Device,
        tables: Span,
        out: Span,
        *,
        choices: Sequence[int] | None,
    ) -> Span:
        """Launches all kernels; returns where the length of the message will be."""
        places = device.empty(8 * self.blocks + 8)
        length = places.part(8 * self.blocks, 8)
        coded = slots = Span(0, 0)
        if self.coding and self.blocks:
            coded = device.empty(_CODED_BYTES * self.blocks)
            slots = device.empty(self._slot_bytes * self.blocks)
            self._encode_blocks(device, tables, coded, slots, choices)
        blocks: list[Argument] = [U64(self.units * self.unit_bytes), U32(self.block_bytes), U32(self.blocks)]
        head = struct.unpack("<2Q", self.header)
        checksums = U32(self.checksums)
        device.launch(
            "place_blocks",
            1,
            _PLACE_THREADS,
            *(coded, *blocks, checksums, U64(head[0]), U64(head[1]), out, places, length),
        )
        if self.blocks:
            (header_checksum,) = struct.unpack("<I", self.header[12:])
            slot = U32(self._slot_bytes)
            device.launch(
                "pack_blocks",
                -(-self.blocks // _PACK_WARPS),
                32 * _PACK_WARPS,
                *(coded, self.source, *blocks, slots, slot, places, checksums, U32(header_checksum), out),
            )
        # The scratch memory must last until the kernels have ended: the stream of the device sees to that.
        return length

    @property
    def _slot_bytes(self) -> int:
        size = _HEADER_END + 1 + self.block_bytes + _ROOM_FOR_STEPS
        return -(-size // _SLOT_ALIGNMENT) * _SLOT_ALIGNMENT

    def _encode_blocks(
        self,
        device: Device,
        tables: Span,
        coded: Span,
        slots: Span,
        choices: Sequence[int] | None,
    ) -> None:
        assert self.coding is not None
        set_id = U32(int.from_bytes(self.header[4:8], "little"))
        books = [U64(bits) for bits in self.candidates]
        # None: each block chooses for itself.
        chosen = device.upload(struct.pack(f"<{len(choices)}I", *choices)) if choices else Span(0, 0)
        stride = U32(choices is not None and len(choices) > 1)
        source: list[Argument] = [self.source, U64(self.units)]
        by_block: list[Argument] = [U32(self.block_bytes // self.unit_bytes), U32(self.blocks)]
        device.launch(
            f"encode_blocks_{self.coding.kernel}",
            -(-self.blocks // _ENCODE_WARPS),
            32 * _ENCODE_WARPS,
            *(*source, *by_block, tables, set_id, *books, chosen, stride, slots, U32(self._slot_bytes), coded),
        )


@cache
def has_codes(name: str) -> bool:
    """Whether kernels have codes for elements of the type of this name, with the built-in codebooks."""
    coded_as = TYPES[name].coded_as if name in TYPES else ""
    coding = _CODINGS.get(coded_as)
    return coding is not None and any(_candidates(_huffwire.Codebooks.builtin(), coded_as, coding))


def _type(dtype: int) -> ElementType:
    try:
        return BY_NUMBER[dtype]
    except KeyError:
        raise UnsupportedError(f"no element type has the number {dtype}") from None


def _candidates(codebooks: Codebooks, coded_as: str, coding: _Coding) -> tuple[int, int, int]:
    """The books that are bound to plane 0 of the type, whatever the name of the tensor: a bit for each number."""
    bits = 0
    for binding in codebooks.bindings:
        named = binding.dtype
        if named is not None and TYPES[named].coded_as != coded_as:
            continue
        if binding.layout == coding.layout and binding.plane == 0:
            for number in binding.books:
                bits |= 1 << number
    mask = (1 << 64) - 1
    return bits & mask, bits >> 64 & mask, bits >> 128 & mask
