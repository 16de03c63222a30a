"""Encoding of tensors as messages of kind 0 on a device.

Three kernels, launched one after the other; none of them waits for the host:

1. `encode_blocks`: each block, by a warp, into a slot of its own in scratch memory. The warp chooses a book and a base
   by a sample of the block. Types and sets that no kernel of their own serves have `encode_blocks_any`, which counts
   the whole block, and makes books of planes for which the set has none.
2. `place_blocks`: the header, the table of lengths, and where each block goes.
3. `pack_blocks`: blocks are copied to their places, and get their checksums.

Blocks that codes would not make shorter are stored as they are. The scratch memory is about a tenth larger than the
tensor, with blocks of 16 KiB.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from huffwire import _huffwire
from huffwire._errors import LimitError, MismatchError, OptionError, OutputError, UnsupportedError
from huffwire.cuda._device import U32, U64, Argument, Device, Span
from huffwire.cuda._tables import candidates
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

# As in kernels/encode_block.cuh, kernels/encode_any.cuh and kernels/encode_lanes.cuh.
_ENCODE_WARPS = 8
_ANY_WARPS = 4
_PACK_WARPS = 8
_HEADER_END = 32
_ROOM_FOR_STEPS = 1536
_CODED_BYTES = 8
_PLACE_THREADS = 1024
_SLOT_ALIGNMENT = 256


class _Coder(NamedTuple):
    """A kernel that encodes blocks: the end of its name, and how many warps a CTA has."""

    kernel: str
    warps: int


_ANY = _Coder("any", _ANY_WARPS)
# By the types that elements are coded as. They need a book of the set for plane 0.
_CODERS = {
    name: _Coder(kernel, _ENCODE_WARPS)
    for name, kernel in (
        ("bf16", "bf16"),
        ("f16", "f16"),
        ("f32", "f32"),
        ("e4m3", "f8"),
        ("e5m2", "f8"),
        ("e8m0", "e8m0"),
        ("e2m1", "bytes"),
        ("i8", "bytes"),
        ("u8", "bytes"),
    )
}


def bound(dtype: int, units: int, block_size: int) -> int:
    """The most bytes that a message of so many units can have."""
    unit = _type(dtype).unit
    blocks = -(-units // (block_size // unit))
    return HEADER_BYTES + 8 * blocks + blocks + units * unit


def default_block_size(bytes: int, dtype: int) -> int:
    """The bytes of elements in a block, for a tensor of so many bytes of a type.

    32 KiB from 64 MiB on, and 16 KiB from 32 MiB on: smaller tensors have smaller blocks, so that there are enough of
    them to keep a device busy. At least 4 KiB, where a block's fixed bytes are 1 to 2 % of the message, and 2048 units.
    Types that have no kernel of their own are likely to have a book in each plane of each block, of some hundred bytes:
    at least 16 KiB for units of up to 2 bytes, else 32 KiB.
    """
    kind = _type(dtype)
    if has_own_kernel(kind.name):
        smallest = max(_SMALLEST_BLOCK, _FEWEST_UNITS * kind.unit)
    else:
        smallest = 16 * _KIB if kind.unit <= 2 else _LARGEST_BLOCK
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
    book has a code for them. 2^32 - 1 chooses no book. A choice changes nothing where the set has no book for the type.
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
    coder: _Coder
    coded_as: int
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
        coder = _coder(codebooks, kind.coded_as)
        if coder is not _ANY and source.address % unit:
            raise UnsupportedError(
                f"elements of {unit} bytes at the address {source.address:#x}, which is no multiple of {unit}: "
                "copy the tensor before it is encoded"
            )
        if block_size is None:
            block_size = default_block_size(source.size, dtype)
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
            coder,
            TYPES[kind.coded_as].number,
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
        if self.blocks:
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
        set_id = U32(int.from_bytes(self.header[4:8], "little"))
        # None: each block chooses for itself.
        chosen = device.upload(struct.pack(f"<{len(choices)}I", *choices)) if choices else Span(0, 0)
        stride = U32(choices is not None and len(choices) > 1)
        source: list[Argument] = [self.source, U64(self.units)]
        by_block: list[Argument] = [U32(self.block_bytes // self.unit_bytes), U32(self.blocks)]
        device.launch(
            f"encode_blocks_{self.coder.kernel}",
            -(-self.blocks // self.coder.warps),
            32 * self.coder.warps,
            *(*source, *by_block, tables, set_id, U32(self.coded_as), chosen, stride),
            *(slots, U32(self._slot_bytes), coded),
        )


@cache
def has_own_kernel(name: str) -> bool:
    """Whether a kernel of its own codes elements of the type of this name, with the built-in codebooks."""
    return name in TYPES and _coder(_huffwire.Codebooks.builtin(), TYPES[name].coded_as) is not _ANY


def _type(dtype: int) -> ElementType:
    try:
        return BY_NUMBER[dtype]
    except KeyError:
        raise UnsupportedError(f"no element type has the number {dtype}") from None


@lru_cache(maxsize=256)
def _coder(codebooks: Codebooks, coded_as: str) -> _Coder:
    """The kernel for a type: its own if there is one, and the set has books for it."""
    coder = _CODERS.get(coded_as)
    return coder if coder and candidates(codebooks, coded_as, 0) else _ANY
