"""Codebook sets as kernels read them: the structures of kernels/abi.cuh."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from huffwire._errors import CodebookError

if TYPE_CHECKING:
    from huffwire._huffwire import Codebook, Codebooks

_SPECIAL = 0x80
_ZERO = 0x40
_TABLE_ALIGNMENT = 512


def tables(sets: Sequence[Codebooks]) -> bytes:
    """The structures and tables of codebook sets, in their order. A message is decoded with the set that it names.

    Raises:
        CodebookError: Two different sets look alike to a message, which has only the first 4 bytes of an id.
    """
    ids = {codebooks.id for codebooks in sets}
    if len({id[:8] for id in ids}) < len(ids):
        raise CodebookError("two codebook sets have ids that begin alike, and a message could mean either: give one up")
    books = [(codebooks, book) for codebooks in sets for book in codebooks.books]
    head = struct.pack("<4I", len(sets), len(books), 0, 0)
    first = 0
    for codebooks in sets:
        head += bytes.fromhex(codebooks.id)[:4] + struct.pack("<3I", len(codebooks), first, 0)
        first += len(codebooks)
    at = _aligned(len(head) + 16 * len(books))
    records, payload = b"", b""
    for _, book in books:
        decode = _decode_entries(book).tobytes()
        encode = b"" if book.max_code_bits > 8 else _encode_entries(book).tobytes()
        where = at + len(payload)
        records += struct.pack(
            "<2I4BI",
            where,
            where + len(decode) if encode else 0,
            0 if book.alphabet == "centred" else book.width,
            book.max_code_bits,
            "escape" in book.lengths,
            "zero" in book.lengths,
            0,
        )
        payload += decode + encode
    head += records
    return head + bytes(at - len(head)) + payload


def _aligned(size: int) -> int:
    return -(-size // _TABLE_ALIGNMENT) * _TABLE_ALIGNMENT


def _decode_entries(book: Codebook) -> array[int]:
    """What the next bits of a lane mean: 256 or 4096 entries."""
    limit = book.max_code_bits
    entries = array("H", bytes(2 << limit))
    for symbol, code in book.codes.items():
        entry = len(code)
        if symbol == "escape":
            entry |= _SPECIAL
        elif symbol == "zero":
            entry |= _SPECIAL | _ZERO
        else:
            entry |= int(symbol) << 8
        start = int(code, 2) << (limit - len(code))
        for i in range(start, start + (1 << (limit - len(code)))):
            entries[i] = entry
    return entries


def _encode_entries(book: Codebook) -> array[int]:
    """The code of each slot or symbol: 256 entries."""
    codes = book.codes
    escape = codes.get("escape")
    none = len(escape) | _SPECIAL | int(escape, 2) << 8 if escape else 0
    entries = array("H", [none] * 256)
    for symbol, code in codes.items():
        if symbol != "escape":
            slot = 63 if symbol == "zero" else int(symbol)
            entries[slot] = len(code) | int(code, 2) << 8
    return entries
