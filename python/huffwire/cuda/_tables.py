"""Codebook sets as kernels read them: the structures of kernels/abi.cuh."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from huffwire._errors import CodebookError
from huffwire.cuda._types import LAYOUTS, TYPES

if TYPE_CHECKING:
    from huffwire._huffwire import Codebook, Codebooks

_SPECIAL = 0x80
_ZERO = 0x40
_TABLE_ALIGNMENT = 512
_ESCAPED_BITS = 8
_BOOKS_ABREAST = 32
_SAVINGS_ROWS = 64
_SET_BYTES = 32
_PLANES = 8


def tables(sets: Sequence[Codebooks]) -> bytes:
    """The structures and tables of codebook sets, in their order. A message is decoded with the set that it names.

    Raises:
        CodebookError: Two different sets look alike to a message, which has only the first 4 bytes of an id.
    """
    ids = {codebooks.id for codebooks in sets}
    if len({id[:8] for id in ids}) < len(ids):
        raise CodebookError("two codebook sets have ids that begin alike, and a message could mean either: give one up")
    books = [book for codebooks in sets for book in codebooks.books]
    at = _aligned(16 + _SET_BYTES * len(sets) + 16 * len(books))
    head = struct.pack("<4I", len(sets), len(books), 0, 0)
    records, payload = b"", b""
    first = 0
    for codebooks in sets:
        head += bytes.fromhex(codebooks.id)[:4]
        savings, masks = _savings(codebooks.books), _candidate_masks(codebooks)
        where = at + len(payload)
        head += struct.pack("<4I12x", len(codebooks), first, where, where + len(savings))
        first += len(codebooks)
        payload += savings + masks
    for book in books:
        decode = _decode_entries(book).tobytes()
        encode = _encode_entries(book).tobytes() if _encodes(book) else b""
        where = at + len(payload)
        records += struct.pack(
            "<2I8B",
            where,
            where + len(decode) if encode else 0,
            0 if book.alphabet == "centred" else book.width,
            book.max_code_bits,
            "escape" in book.lengths,
            "zero" in book.lengths,
            _origin(book),
            _outside(book),
            book.lengths.get("zero", 0),
            0,
        )
        payload += decode + encode
    head += records
    return head + bytes(at - len(head)) + payload


def candidates(codebooks: Codebooks, coded_as: str, plane: int) -> int:
    """The books that kernels may choose for a plane, whatever the name of the tensor: a bit for each number.

    Args:
        codebooks: The set.
        coded_as: The type that elements are coded as.
        plane: The plane of its layout.
    """
    bits, books = 0, codebooks.books
    for binding in codebooks.bindings:
        named = binding.dtype
        if named is not None and TYPES[named].coded_as != coded_as:
            continue
        if binding.layout == LAYOUTS[coded_as] and binding.plane == plane:
            for number in binding.books:
                bits |= _encodes(books[number]) << number
    return bits


def _candidate_masks(codebooks: Codebooks) -> bytes:
    """Candidates of all planes of all types that elements are coded as, in the order of their numbers."""
    rows = sorted(LAYOUTS, key=lambda name: TYPES[name].number)
    assert [TYPES[name].number for name in rows] == list(range(1, len(rows) + 1))
    return b"".join(_candidate_mask(codebooks, name, plane) for name in rows for plane in range(_PLANES))


def _candidate_mask(codebooks: Codebooks, coded_as: str, plane: int) -> bytes:
    # Without a book for plane 0 elements have another layout, which the others are not bound to.
    is_bound = LAYOUTS[coded_as] == "positions" or candidates(codebooks, coded_as, 0) != 0
    return (candidates(codebooks, coded_as, plane) if is_bound else 0).to_bytes(24, "little")


def _aligned(size: int) -> int:
    return -(-size // _TABLE_ALIGNMENT) * _TABLE_ALIGNMENT


def _encodes(book: Codebook) -> bool:
    """Whether kernels encode with a book: with codes of up to 12 bits only those of bytes."""
    return book.max_code_bits <= 8 or (book.alphabet != "centred" and book.width == 8)


def _ordinary(book: Codebook) -> dict[int, int]:
    """The lengths of the codes of slots or symbols."""
    return {slot: length for slot, length in book.lengths.items() if isinstance(slot, int)}


def _origin(book: Codebook) -> int:
    """The mean slot of a centred book, if symbols are as frequent as the lengths of their codes say."""
    if book.alphabet != "centred":
        return 0
    weights = {slot: 1 << 12 >> length for slot, length in _ordinary(book).items()}
    mass, moment = sum(weights.values()), sum(slot * weight for slot, weight in weights.items())
    return (2 * moment + mass) // (2 * mass)


def _outside(book: Codebook) -> int:
    """The bits of a symbol that has no code of its own."""
    return book.lengths.get("escape", 0) + _ESCAPED_BITS


def _savings(books: Sequence[Codebook]) -> bytes:
    """By how many bits each code is shorter than what it takes without a code, in rows that lanes read together."""
    together = bytearray()
    for first in range(0, len(books), _BOOKS_ABREAST):
        rows = [bytearray(4 * _BOOKS_ABREAST) for _ in range(_SAVINGS_ROWS)]
        for lane, book in enumerate(books[first : first + _BOOKS_ABREAST]):
            if not _encodes(book):
                continue
            for slot, length in _ordinary(book).items():
                rows[slot // 4][4 * lane + slot % 4] = (_outside(book) - length) & 0xFF
        together += b"".join(rows)
    return bytes(together)


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
    entries = array("H" if book.max_code_bits <= 8 else "I", [none] * 256)
    for symbol, code in codes.items():
        if symbol != "escape":
            slot = 63 if symbol == "zero" else int(symbol)
            entries[slot] = len(code) | int(code, 2) << 8
    return entries
