"""Tensors of `.hw` files as messages, without a look at their coded bytes.

The blocks of an item are those that a message would have (docs/format.md, sections 8 and 9). Only what stands around them
differs: a file keeps lengths and checksums in its directory, a message in a table in front of the blocks, and a message's
checksums cover the place of a block, too. A CRC is linear, so that those follow from these.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from huffwire._errors import DamagedError, FileError
from huffwire._huffwire import _checksum
from huffwire.cuda._types import BY_NUMBER

_HEADER = struct.Struct("<8sHHI")
_TRAILER = struct.Struct("<QQI4s")
_MAGIC, _TRAILER_MAGIC, _VERSION = b"HUFFWIRE", b"HWDE", 1
TENSOR_KIND = 0
# Blocks of all other kinds hold so many units or values.
_LARGE_BLOCK = 1 << 20


class Item(NamedTuple):
    """A tensor in a file, or what stands around tensors."""

    name: str | None
    """Of a tensor."""
    kind: int
    """0 for a tensor that is stored as itself."""
    type: int
    """The number of its element type."""
    set: bytes
    """The id of its codebook set, 8 bytes."""
    size: int
    """Of its elements, in bytes."""
    block_bits: int
    start: int
    """Where its blocks are in the file."""
    lengths: tuple[int, ...]
    """Of its blocks."""
    checksums: tuple[int, ...] | None
    """Of its blocks, if the file has checksums."""

    def head(self) -> bytes:
        """What stands before the blocks in a message of the same tensor: header and table."""
        flags = 1 << 4 | (self.checksums is not None)
        shape = self.block_bits | TENSOR_KIND << 5
        header = struct.pack("<4B4sI", ord("H"), flags, self.type, shape, self.set[:4], self.size // BY_NUMBER[self.type].unit)
        own = _checksum(header)
        table = struct.pack(f"<{len(self.lengths)}I", *self.lengths)
        if self.checksums is not None:
            bound = (
                checksum ^ _checksum(struct.pack("<3I", own, number, length))
                for number, (length, checksum) in enumerate(zip(self.lengths, self.checksums, strict=True))
            )
            table += struct.pack(f"<{len(self.lengths)}I", *bound)
        return header + struct.pack("<I", own) + table


def items(file: BinaryIO, path: Path) -> Iterator[Item]:
    """The named tensors of a file, in the order of its directory.

    Args:
        file: The file, open for reading.
        path: Its name, for errors.

    Raises:
        DamagedError: It is damaged.
    """
    directory, has_checksums, end = _directory(file, path)
    try:
        yield from _parse(_Fields(directory), has_checksums, end)
    except (_Cut, UnicodeDecodeError, KeyError, ValueError) as error:
        raise DamagedError(f"{path}: its directory is damaged, or it has changed: {error!r}") from None


class _Cut(Exception):
    """Bytes end before a field does."""


class _Fields:
    """The fields of a directory, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _Cut(f"{size} bytes are missing")
        found, self._at = self._data[self._at : end], end
        return found

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def string(self) -> str:
        return self.take(self.varint()).decode()


def _directory(file: BinaryIO, path: Path) -> tuple[bytes, bool, int]:
    """The directory of a file, whether the file has checksums, and where its blocks end."""
    try:
        header = file.read(_HEADER.size)
        size = file.seek(0, 2)
        file.seek(max(size - _TRAILER.size, 0))
        trailer = file.read(_TRAILER.size)
        if len(header) == _HEADER.size and len(trailer) == _TRAILER.size:
            magic, version, flags, _ = _HEADER.unpack(header)
            start, length, checksum, last = _TRAILER.unpack(trailer)
            whole = magic == _MAGIC and version == _VERSION and last == _TRAILER_MAGIC
            if whole and _HEADER.size <= start and start + length == size - _TRAILER.size:
                file.seek(start)
                directory = file.read(length)
                if len(directory) == length and _checksum(directory) == checksum:
                    return directory, bool(flags & 1), start
    except OSError as error:
        raise FileError(error.errno, f"{path}: {error.strerror}") from None
    raise DamagedError(f"{path}: this is no whole .hw file, or it has changed since it was opened")


def _parse(fields: _Fields, has_checksums: bool, end: int) -> Iterator[Item]:
    block_bits = fields.byte()
    if not 10 <= block_bits <= 20:
        raise ValueError(f"blocks of 2^{block_bits} bytes")
    sets = []
    for _ in range(fields.varint()):
        sets.append(fields.take(8))
        fields.take(fields.varint())
    start = _HEADER.size
    for _ in range(fields.varint()):
        fields.string()  # The name of the original file.
        for _ in range(fields.varint()):
            item = _item(fields, has_checksums, block_bits, sets, start)
            start += sum(item.lengths)
            if start > end:
                raise ValueError("blocks reach into the directory")
            if item.name is not None:
                yield item


def _item(
    fields: _Fields, has_checksums: bool, block_bits: int, sets: list[bytes], start: int
) -> Item:
    first = fields.byte()
    kind, name = first & 0x3F, None
    if first & 0x80:
        name = fields.string()
        fields.string()  # Its type as the original spells it.
        for _ in range(fields.varint()):
            fields.varint()  # A dimension.
    number = fields.byte()
    place = fields.varint() if first & 0x40 else 0
    if place >= len(sets):
        raise ValueError(f"there is no codebook set {place}")
    size, unit = fields.varint(), BY_NUMBER[number].unit
    block = (1 << block_bits) // unit if kind == TENSOR_KIND else _LARGE_BLOCK
    count = -(-(size // unit) // block) + (kind != TENSOR_KIND)
    # A count that lies ends with the directory.
    lengths = tuple(fields.varint() for _ in range(count))
    most = 1 + (1 << block_bits)
    if size % unit or kind == TENSOR_KIND and not all(0 < length <= most for length in lengths):
        raise ValueError("a size that no item, or no block, has")
    checksums = struct.unpack(f"<{count}I", fields.take(4 * count)) if has_checksums else None
    return Item(name, kind, number, sets[place], size, block_bits, start, lengths, checksums)
