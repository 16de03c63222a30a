#!/usr/bin/env python3
"""A decoder of the huffwire format, version 1: all of it but deltas, in one file, made to be read.

This file was written from docs/format.md and from nothing else. Read the two side by side: every part below
carries the number of the section that it follows. Where the two disagree, docs/format.md is right.

The way of the bytes. A tensor is cut into blocks. In a block, a *layout* splits every element into symbols of at
most 8 bits, one *plane* for each kind of symbol: the exponents are a plane, the mantissas another one. A plane is
stored raw, as one constant, or coded with a Huffman codebook. A coded plane is either one stream of bits, or spread
over 64 *lanes* that a processor can decode side by side. The lanes of a plane can carry up to 128 bytes of other
planes, so the payload of a block is a stack: the decoder takes plane 0 off its end, puts back what the lanes
carried, then takes plane 1 off its end, and so on. Codebooks travel beforehand, in *sets*; a block names a book by
its number. Blocks make a message (one tensor on a link) or a file (any number of original files on a disk).
Messages and items of kind 1 hold quantized values instead of elements: small integers, coded in one of a dozen
ways, and the scales that turn them into floats again. Those of kind 2, deltas, are decoded by huffwire_delta.py.

The order of work is the same everywhere. First the headers are read, and everything that they say is compared with
everything that is known, so that all sizes are right before anything is decoded. Then the payload is decoded, and
what it can get wrong is checked: no byte and no bit may be left over.

Every error of the specification is a class below, named as section 1 names it. The decoder is slow (about
a million symbols in some seconds) and keeps everything in memory. It needs Python 3.11 and its standard library.

    python3 huffwire_reference.py decode-message FILE --set builtin.codebooks [--context N] > tensor
    python3 huffwire_reference.py decode-file FILE -o FOLDER [--set builtin.codebooks]
    python3 huffwire_reference.py describe FILE [--set builtin.codebooks] [--context N]
"""

import argparse
import hashlib
import math
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

# ----------------------------------------------------------------------------------------------------------
# Section 1: errors, integers, checksums


class FormatError(Exception):
    """Anything that section 1 calls an error. `name` is the name that the specification gives it."""

    name = "error"


class Truncated(FormatError):
    name = "truncated"


class Malformed(FormatError):
    name = "malformed"


class WrongChecksum(FormatError):
    name = "checksum"


class UnknownVersion(FormatError):
    name = "version"


class UnknownKind(FormatError):
    name = "kind"


class WrongContext(FormatError):
    name = "context"


class WrongSet(FormatError):
    name = "set"


class BadCodebook(FormatError):
    name = "codebook"


class TooLarge(FormatError):
    name = "too large"


def require(condition, error, text):
    """Raises `error(text)` unless the condition holds."""
    if not condition:
        raise error(text)


class Reader:
    """Takes fields off the front of some bytes."""

    def __init__(self, data):
        self.data = bytes(data)
        self.at = 0

    def left(self):
        return len(self.data) - self.at

    def take(self, length):
        require(length <= self.left(), Truncated, f"{length} bytes are needed, {self.left()} are left")
        self.at += length
        return self.data[self.at - length : self.at]

    def rest(self):
        return self.take(self.left())

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return int.from_bytes(self.take(2), "little")

    def u32(self):
        return int.from_bytes(self.take(4), "little")

    def u64(self):
        return int.from_bytes(self.take(8), "little")

    def f32(self):
        return struct.unpack("<f", self.take(4))[0]

    def f64(self):
        return struct.unpack("<d", self.take(8))[0]

    def varint(self):
        value = 0
        for place in range(10):
            byte = self.u8()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                require(byte != 0 or place == 0, Malformed, "a varint is not in its shortest form")
                require(value < 2**64, Malformed, "a varint has more than 64 bits")
                return value
        raise Malformed("a varint has more than ten bytes")

    def string(self):
        try:
            return self.take(self.varint()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"a string is not UTF-8: {error}") from None

    def finish(self, what):
        """Everything says how long it is, exactly."""
        require(self.left() == 0, Malformed, f"{self.left()} bytes are left over behind {what}")


def crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


CRC_TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def u32(number):
    return number.to_bytes(4, "little")


def u64(number):
    return number.to_bytes(8, "little")


# ----------------------------------------------------------------------------------------------------------
# Section 2: element types


@dataclass(frozen=True)
class Type:
    """An element type. `coded_as` is the name of the type whose layouts and books it has."""

    number: int
    name: str
    unit: int  # bytes
    coded_as: str

    @property
    def is_complex(self):
        return self.name.startswith("complex")


TYPES = {
    number: Type(number, name, unit, coded_as or name)
    for number, name, unit, coded_as in [
        (1, "bf16", 2, None),
        (2, "f16", 2, None),
        (3, "f32", 4, None),
        (4, "e4m3", 1, None),
        (5, "e5m2", 1, None),
        (6, "e3m2", 1, None),
        (7, "e2m3", 1, None),
        (8, "e3m2-packed", 3, None),
        (9, "e2m3-packed", 3, None),
        (10, "e2m1", 1, None),
        (11, "e8m0", 1, None),
        (12, "i8", 1, None),
        (13, "u8", 1, None),
        (14, "word16", 2, None),
        (15, "word32", 4, None),
        (16, "word64", 8, None),
        (17, "f64", 8, "word64"),
        (18, "i16", 2, "word16"),
        (19, "i32", 4, "word32"),
        (20, "i64", 8, "word64"),
        (21, "u16", 2, "word16"),
        (22, "u32", 4, "word32"),
        (23, "u64", 8, "word64"),
        (24, "bool", 1, "u8"),
        (25, "complex32", 2, "f16"),
        (26, "complex64", 4, "f32"),
        (27, "complex128", 8, "word64"),
        (28, "e4m3fnuz", 1, "e4m3"),
        (29, "e5m2fnuz", 1, "e5m2"),
    ]
}
BF16, F16, F32 = TYPES[1], TYPES[2], TYPES[3]


def element_type(number):
    require(number in TYPES, Malformed, f"there is no element type {number}")
    return TYPES[number]


def check_whole_elements(type, units):
    require(not type.is_complex or units % 2 == 0, Malformed, f"an odd number of units of {type.name}")


# ----------------------------------------------------------------------------------------------------------
# Section 3: layouts, from planes back to elements


@dataclass(frozen=True)
class Plane:
    """Where the symbols of a plane lie in a unit: symbol `k` of a unit has its lowest bit at `shift + k * step`.

    In the layout `exponent` of bf16, f16 and f32 that is a place in the *rotated* unit."""

    width: int  # bits of a symbol
    shift: int
    per_unit: int = 1
    step: int = 0
    centred: bool = False
    any_plain: bool = False  # whether plain books of other widths can code it, too


VERBATIM, EXPONENT, MAGNITUDE, VALUES, BYTES, POSITIONS, SIGN_APART = range(7)
LAYOUT_NAMES = ["verbatim", "exponent", "magnitude", "values", "bytes", "positions", "sign-apart"]

FLOATS = ("bf16", "f16", "f32")

# (width, shift) of the planes of floats; plane 0 is the centred one.
EXPONENT_PLANES = {
    "bf16": [(8, 8), (8, 0)],
    "f16": [(5, 11), (8, 0), (3, 8)],
    "f32": [(8, 24), (8, 0), (8, 8), (8, 16)],
    "e8m0": [(8, 0)],
}
SIGN_APART_PLANES = {
    "bf16": [(8, 7), (7, 0), (1, 15)],
    "f16": [(5, 10), (8, 0), (2, 8), (1, 15)],
    "f32": [(8, 23), (8, 0), (8, 8), (7, 16), (1, 31)],
}


def planes_of(layout, type):
    """The planes of a layout, in their order, or the error that the type does not have the layout."""
    name = type.coded_as
    packed = name.endswith("-packed")
    six_bits = name.removesuffix("-packed") in ("e3m2", "e2m3")
    values = {"per_unit": 4, "step": 6} if packed else {}  # four values a unit, 6 bits each

    if layout == EXPONENT and name in EXPONENT_PLANES:
        return [Plane(w, s, centred=number == 0) for number, (w, s) in enumerate(EXPONENT_PLANES[name])]
    if layout == SIGN_APART and name in SIGN_APART_PLANES:
        return [Plane(w, s, centred=number == 0) for number, (w, s) in enumerate(SIGN_APART_PLANES[name])]
    if layout == MAGNITUDE and name in ("e4m3", "e5m2"):
        return [Plane(7, 0), Plane(1, 7)]
    if layout == MAGNITUDE and six_bits:
        return [Plane(5, 0, **values), Plane(1, 5, **values)]
    if layout == VALUES and six_bits:
        return [Plane(6, 0, **values)]
    if layout == BYTES:
        return [Plane(8, 0, per_unit=type.unit, step=8)]
    if layout == POSITIONS and name in FLOATS + ("word16", "word32", "word64"):
        return [Plane(8, 8 * place) for place in range(type.unit)]
    raise Malformed(f"{type.name} has no layout {layout}")


def interleaved_order(units, unit_bytes):
    """Section 3.1: the number of the unit that each place of a plane belongs to."""
    order = []
    for group in range(0, units - units % 64, 64):
        for p in range(64):
            order.append(group + p % unit_bytes * (64 // unit_bytes) + p // unit_bytes)
    order.extend(range(units - units % 64, units))
    return order


def join_planes(layout, type, units, planes, symbols):
    """The bytes of a block's elements, from the symbols of all of its planes."""
    floats = type.coded_as in FLOATS and layout in (EXPONENT, SIGN_APART)
    order = interleaved_order(units, type.unit) if floats else range(units)
    numbers = [0] * units
    for plane, symbols_of_plane in zip(planes, symbols):
        for index, symbol in enumerate(symbols_of_plane):
            place, k = divmod(index, plane.per_unit)
            numbers[order[place]] |= symbol << (plane.shift + k * plane.step)
    if floats and layout == EXPONENT:
        top = 8 * type.unit - 1
        numbers = [r >> 1 | (r & 1) << top for r in numbers]  # the sign was the lowest bit
    return b"".join(number.to_bytes(type.unit, "little") for number in numbers)


# ----------------------------------------------------------------------------------------------------------
# Section 4: codebooks

ESCAPE, ZERO = 62, 63  # their slots in a centred book
PLAIN_ESCAPE = -1  # what stands for the escape of a plain book, all of whose slots are symbols


@dataclass
class Codebook:
    centred: bool
    width: int  # bits of a symbol of a plain book
    longest: int  # 8 or 12: the limit L of the code lengths
    lengths: dict  # ordinary slot -> length of its code
    escape: int  # length of the escape's code, 0 for none
    zero: int  # length of the zero's code, 0 for none
    serialized: bytes = b""
    codes: list = field(default_factory=list)  # (slot, code, length), in the order of the codes
    table: list = field(default_factory=list)  # what begins with these `longest` bits: (slot, length)

    @property
    def escape_slot(self):
        return ESCAPE if self.centred else PLAIN_ESCAPE

    @property
    def ordinary_slots(self):
        return 62 if self.centred else 2**self.width

    @property
    def word(self):
        """Bits of a word of the lane coder."""
        return 8 if self.longest == 8 else 16

    @property
    def bytes_of_states(self):
        return 192 if self.longest == 8 else 256

    def id(self):
        """Section 4.5."""
        return hashlib.sha256(b"huffwire codebook\0" + self.serialized).digest()[:8]


def read_codebook(reader):
    """Section 4.4, and the rules of section 4.2."""
    start = reader.at
    kind, first, last = reader.u8(), reader.u8(), reader.u8()
    width, limit = kind >> 4, kind & 15
    require(width <= 8, Malformed, f"a codebook for symbols of {width} bits")
    require(limit <= 1, Malformed, f"a codebook has limit {limit}")
    book = Codebook(centred=width == 0, width=width, longest=12 if limit else 8, lengths={}, escape=0, zero=0)
    require(first <= last < book.ordinary_slots, Malformed, f"a codebook for slots {first} to {last}")
    n = last - first + 1
    nibbles = []
    for byte in reader.take((n + 3) // 2):
        nibbles += [byte & 15, byte >> 4]
    require(not any(nibbles[n + 2 :]), Malformed, "the padding of a codebook is not 0")
    require(nibbles[0] and nibbles[n - 1], Malformed, "the first or last slot of a codebook has no code")
    book.lengths = {first + i: nibbles[i] for i in range(n) if nibbles[i]}
    book.escape, book.zero = nibbles[n], nibbles[n + 1]
    book.serialized = reader.data[start : reader.at]
    check_lengths(book)
    number_codes(book)
    return book


def check_lengths(book):
    """The rules of section 4.2. (Rule 2 holds because slot `first` has a code.)"""
    lengths = [length for length in [*book.lengths.values(), book.escape, book.zero] if length]
    require(max(lengths) <= book.longest, BadCodebook, "a code is longer than the limit")
    require(sum(2 ** (12 - length) for length in lengths) == 2**12, BadCodebook, "the code is not complete")
    if book.centred:
        require(book.escape, BadCodebook, "a centred book has no escape")
        if book.longest == 8:
            long_codes = sum(2 ** (8 - length) for length in lengths if length > 6)
            require(long_codes <= 2**6, BadCodebook, "the narrow rule: codes of over 6 bits fill more than 1/4")
    else:
        needed = len(book.lengths) < book.ordinary_slots
        require(bool(book.escape) == needed, BadCodebook, "a plain book has an escape if a symbol has no code")
        require(not book.zero, BadCodebook, "a plain book has a zero")


def number_codes(book):
    """Section 4.3."""
    slots = [(length, slot, slot) for slot, length in book.lengths.items()]  # (length, place, slot)
    if book.escape:
        free = (slot for slot in range(book.ordinary_slots) if slot not in book.lengths)
        slots.append((book.escape, ESCAPE if book.centred else next(free), book.escape_slot))
    if book.zero:
        slots.append((book.zero, ZERO, ZERO))
    slots.sort()
    code, before = 0, 0
    for length, _, slot in slots:
        code <<= length - before
        book.codes.append((slot, code, length))
        book.table += [(slot, length)] * 2 ** (book.longest - length)
        code, before = code + 1, length


# ----------------------------------------------------------------------------------------------------------
# Section 5: codebook sets


FIRST_LAYER, LAST_LAYER = 128, 132  # what a binding has as its plane for layers 0 to 4 of a bitmap


@dataclass
class Binding:
    pattern: str
    type: int
    layout: int
    plane: int
    books: list


@dataclass
class CodebookSet:
    name: str
    books: list
    bindings: list

    def id(self):
        books = b"".join(book.serialized for book in self.books)
        return hashlib.sha256(b"huffwire codebook set\0" + bytes([len(self.books)]) + books).digest()[:8]

    def is_of_layers(self):
        """Whether this is a set of bitmap layers."""
        return bool(self.bindings) and all(binding.plane >= FIRST_LAYER for binding in self.bindings)


def read_set(data):
    reader = Reader(data)
    require(reader.take(8) == b"HUFFBOOK", Malformed, "no codebook set: it does not begin with HUFFBOOK")
    version = reader.u8()
    require(version == 1, UnknownVersion, f"a codebook set of version {version}")
    require(len(data) >= 13, Truncated, "a codebook set has no checksum")
    require(crc32c(data[:-4]) == Reader(data[-4:]).u32(), WrongChecksum, "the checksum of a codebook set")

    reader = Reader(data[:-4])
    reader.take(9)
    name = reader.string()
    count = reader.u8()
    require(count <= 192, TooLarge, f"a set of {count} codebooks")
    books = [read_codebook(reader) for _ in range(count)]
    require(len({book.serialized for book in books}) == count, Malformed, "a set has a codebook twice")
    bindings = []
    for _ in range(reader.varint()):
        bindings.append(read_binding(reader, books))
    reader.finish("a codebook set")
    return CodebookSet(name, books, bindings)


def read_binding(reader, books):
    pattern, type, layout, plane = reader.string(), reader.u8(), reader.u8(), reader.u8()
    numbers = list(reader.take(reader.u8()))
    require(type <= max(TYPES), Malformed, f"a binding for element type {type}")
    require(1 <= layout <= SIGN_APART, Malformed, f"a binding for layout {layout}")
    require(numbers, BadCodebook, "a binding without a book")
    for number in numbers:
        require(number < len(books), BadCodebook, f"a binding to book {number}, which the set does not have")
        types = [TYPES[type]] if type else TYPES.values()
        fitting = any(book_fits(books[number], t, layout, plane) for t in types)
        require(fitting, BadCodebook, f"a binding to book {number}, which does not fit")
    return Binding(pattern, type, layout, plane, numbers)


def book_fits(book, type, layout, plane):
    if FIRST_LAYER <= plane <= LAST_LAYER:
        return not book.centred
    try:
        planes = planes_of(layout, type)
    except Malformed:
        return False
    return plane < len(planes) and fits_plane(book, planes[plane])


def fits_plane(book, plane):
    if plane.centred or book.centred:
        return plane.centred and book.centred
    return plane.any_plain or book.width == plane.width


def check_sets(sets):
    """The rule for a decoder that holds several sets. Returns them by their ids."""
    by_id = {set.id(): set for set in sets}
    require(len({id[:4] for id in by_id}) == len(by_id), WrongSet, "ids of two sets begin with the same 4 bytes")
    return by_id


# ----------------------------------------------------------------------------------------------------------
# Section 6: the lane coder


def decode_lanes(book, states, stream, count):
    """The slots of a plane in lanes, and the 128 bytes that the lanes carried."""
    if book.longest == 8:
        numbers = [states[lane] | states[64 + lane] << 8 | states[128 + lane] << 16 for lane in range(64)]
        words = list(stream)
    else:
        numbers = list(struct.unpack("<64I", states))
        words = list(struct.unpack(f"<{len(stream) // 2}H", stream))

    require(min(numbers) >= 2**16, Malformed, "the state of a lane has its sentinel too low")
    n = [number.bit_length() - 1 for number in numbers]  # unread bits of each lane
    v = [number - 2**bits for number, bits in zip(numbers, n)]  # and the bits
    slots = [0] * count
    for step in range(0, count, 64):
        for lane in reversed(range(min(64, count - step))):
            slot, length = book.table[v[lane] >> (n[lane] - book.longest)]
            slots[step + lane] = slot
            n[lane] -= length
            v[lane] %= 2 ** n[lane]
            if n[lane] < 16:
                require(words, Malformed, "the stream of a plane ends too early")
                v[lane] = v[lane] << book.word | words.pop()
                n[lane] += book.word
    require(not words, Malformed, "the stream of a plane has words that no lane takes")
    require(all(bits == 16 for bits in n), Malformed, "a lane does not end with 16 bits")
    return slots, bytes([bits & 0xFF for bits in v] + [bits >> 8 for bits in v])


# ----------------------------------------------------------------------------------------------------------
# Section 7: block

LANES, SINGLE, CONSTANT, RAW = "lanes", "single stream", "constant", "raw"


@dataclass
class PlaneHeader:
    """A plane of a block: what its header says, and how many symbols it has."""

    plane: Plane
    count: int
    mode: str
    book: Codebook = None
    book_number: int = None  # None for an embedded book
    symbol: int = 0  # of a constant plane
    base: int = 0
    zeros: int = 0
    stream: int = 0  # bytes
    escapes: int = 0
    taken: int = 0  # bytes of the payload that the lanes carry (section 7.5)

    def bytes(self):
        """What the plane has in the payload, before lanes carry anything."""
        if self.mode == LANES:
            return self.book.bytes_of_states + self.stream + self.escapes
        if self.mode == SINGLE:
            return self.stream + self.escapes
        return (self.count * self.plane.width + 7) // 8 if self.mode == RAW else 0


@dataclass
class Block:
    type: Type
    units: int
    layout: int
    planes: list  # of PlaneHeader
    payload: bytes


def read_block(data, type, units, books):
    """Section 7.1: the headers of a block, checked against each other and against the length of the payload."""
    require(units * type.unit <= 2**20, TooLarge, f"a block of {units * type.unit} bytes of elements")
    reader = Reader(data)
    layout = reader.u8()
    headers = []
    if layout == VERBATIM:
        size = units * type.unit
    else:
        count = units
        for number, plane in enumerate(planes_of(layout, type)):
            header = read_plane_header(reader, plane, count * plane.per_unit, books)
            if number == 0:
                count -= header.zeros  # section 7.3: later planes leave these units out
            headers.append(header)
        size = payload_sizes(headers)
    payload = reader.take(size)
    reader.finish("a block")
    return Block(type, units, layout, headers, payload)


def read_plane_header(reader, plane, count, books):
    """Section 7.2."""
    mode = reader.u8()
    if mode == 0xFF:
        return PlaneHeader(plane, count, RAW)
    if mode == 0xFE:
        symbol = reader.u8()
        require(symbol < 2**plane.width, Malformed, f"a constant of {symbol} in a plane of {plane.width} bits")
        return PlaneHeader(plane, count, CONSTANT, symbol=symbol)

    header = PlaneHeader(plane, count, SINGLE if mode in (0xFB, 0xFC) else LANES)
    if mode in (0xFC, 0xFD):
        header.book = read_codebook(reader)
        long_table = header.book.longest == 12 and count < 4096
        require(not long_table, Malformed, f"an embedded book of 12-bit codes for {count} symbols")
    else:
        require(mode < 192 or mode == 0xFB, BadCodebook, f"the reserved mode {mode}")
        header.book_number = reader.u8() if mode == 0xFB else mode
        require(header.book_number < len(books), BadCodebook, f"the set has no book {header.book_number}")
        header.book = books[header.book_number]
    require(fits_plane(header.book, plane), Malformed, "a book of another alphabet than the plane's")

    number = reader.u32 if header.mode == LANES else reader.varint
    if header.book.centred:
        header.base = reader.u8()
    if header.book.zero:
        header.zeros = number()
        require(header.zeros <= count, Malformed, f"{header.zeros} zeros among {count} units")
    header.stream = number()
    if header.mode == LANES:
        whole = header.stream % (header.book.word // 8) == 0
        require(whole, Malformed, "a stream of 16-bit words has an odd number of bytes")
    if header.book.escape:
        header.escapes = number()
    return header


def payload_sizes(headers):
    """Section 7.5: the size of the payload; sets how many bytes the lanes of each plane carry."""
    total = 0
    for header in reversed(headers):
        if header.mode == LANES:
            header.taken = min(128, total)
        total += header.bytes() - header.taken
    return total


def read_payload(headers, payload):
    """Section 7.5: the symbols of all planes. A unit coded by the zero has the symbol None."""
    payload = bytearray(payload)

    def take(length):
        """The last bytes of the payload, in their order."""
        start = len(payload) - length
        taken = bytes(payload[start:])
        del payload[start:]
        return taken

    planes = []
    for header in headers:
        if header.mode == CONSTANT:
            planes.append([header.symbol] * header.count)
        elif header.mode == RAW:
            planes.append(unpack_symbols(take(header.bytes()), header.plane.width, header.count))
        else:
            escapes = take(header.escapes)
            stream = take(header.stream)
            if header.mode == SINGLE:
                slots = decode_single_stream(header.book, stream, header.count)
            else:
                states = take(header.book.bytes_of_states)
                slots, carried = decode_lanes(header.book, states, stream, header.count)
                require(not any(carried[header.taken :]), Malformed, "lanes carry more than there was")
                payload += carried[: header.taken]
            planes.append(slots_to_symbols(header, slots, escapes))
    return planes


def unpack_symbols(data, width, count):
    """The packed symbols of a raw plane, section 7.4."""
    bits = int.from_bytes(data[-1:], "little") >> (8 - -(count * width) % 8)  # what the last byte has too much
    require(count * width % 8 == 0 or bits == 0, Malformed, "bits behind the last symbol of a raw plane are not 0")
    if width == 8:
        return list(data)
    symbols = []
    for i in range(count):
        at, shift = divmod(i * width, 8)
        symbols.append(int.from_bytes(data[at : at + 2], "little") >> shift & (2**width - 1))
    return symbols


def decode_single_stream(book, stream, count):
    """Single stream, section 7.4."""
    slots = []
    at = 0  # bits read so far
    for _ in range(count):
        byte, shift = divmod(at, 8)
        window = int.from_bytes(stream[byte : byte + 3].ljust(3, b"\0"), "big") >> (24 - shift - book.longest)
        slot, length = book.table[window & (2**book.longest - 1)]
        at += length
        require(at <= 8 * len(stream), Malformed, "a code ends behind its stream")
        slots.append(slot)
    require(len(stream) == (at + 7) // 8, Malformed, "a single stream has more bytes than its codes")
    require(at % 8 == 0 or stream[-1] << at % 8 & 0xFF == 0, Malformed, "the filling of a single stream is not 0")
    return slots


def slots_to_symbols(header, slots, escapes):
    """Steps 2 to 4 of section 7.4."""
    book = header.book
    require(slots.count(book.escape_slot) == len(escapes), Malformed, "another number of escapes")
    if book.centred:
        require(slots.count(ZERO) == header.zeros, Malformed, "another number of zeros")
    escapes = iter(escapes)
    symbols = []
    for slot in slots:
        if slot == book.escape_slot:
            symbol = next(escapes)
        elif book.centred and slot == ZERO:
            symbols.append(None)
            continue
        else:
            symbol = (header.base + slot) % 256 if book.centred else slot
        require(symbol < 2**header.plane.width, Malformed, f"symbol {symbol} in {header.plane.width} bits")
        symbols.append(symbol)
    return symbols


def decode_block(data, type, units, books):
    """The bytes of the elements of a block."""
    block = read_block(data, type, units, books)
    if block.layout == VERBATIM:
        return block.payload
    planes = read_payload(block.planes, block.payload)
    is_zero = [symbol is None for symbol in planes[0]]
    if any(is_zero):
        planes[0] = [symbol or 0 for symbol in planes[0]]
        for number in range(1, len(planes)):  # section 7.3: put the remainder back
            stored = iter(planes[number])
            planes[number] = [0 if zero else next(stored) for zero in is_zero]
    return join_planes(block.layout, type, units, [header.plane for header in block.planes], planes)


# ----------------------------------------------------------------------------------------------------------
# Section 8: message

LIMIT = 2**32  # bytes of elements; what this decoder wants to hold
TENSOR, QUANTIZED, DELTA = 0, 1, 2  # kinds


@dataclass
class Message:
    """A message whose header and table have been read; its entries have not been looked into."""

    checked: bool  # flag 0: entries have checksums
    has_context: bool  # flag 1
    type: Type
    block_size: int
    kind: int
    set: CodebookSet
    units: int
    checksum: int  # of the header
    lengths: list  # of all entries
    checksums: list
    entries: list  # bytes

    def entry(self, number):
        """An entry, its checksum verified (section 8.2)."""
        entry = self.entries[number]
        if self.checked:
            place = u32(self.checksum) + u32(number) + u32(len(entry))
            right = crc32c(entry) ^ crc32c(place) == self.checksums[number]
            require(right, WrongChecksum, f"the checksum of entry {number}")
        return entry


@dataclass
class Tensor:
    """What a message or an item holds: its elements, and for quantized values what they were made of."""

    type: Type
    data: bytes
    quantized: "Quantized" = None
    values: list = None


def read_message(data, sets, context=None, limit=LIMIT):
    """Sections 8.1 and 8.2: header, table, and the entries as they are. `sets` are those of the receiver."""
    by_id = {id[:4]: set for id, set in check_sets(sets).items()}
    reader = Reader(data)
    require(reader.u8() == 0x48, Malformed, "no message: it does not begin with H")
    version, flags = divmod(reader.u8(), 16)
    require(version == 1, UnknownVersion, f"a message of version {version}")
    type_number = reader.u8()
    kind, block_size = divmod(reader.u8(), 32)
    set_id = reader.take(4)
    units = reader.u32()

    covered = reader.data[:12]
    has_context = bool(flags & 2)
    require(not has_context or context is not None, WrongContext, "the message has a context, none is expected")
    require(has_context or context is None, WrongContext, "a context is expected, the message has none")
    if has_context:
        covered += u64(context)
    checksum = reader.u32()
    hint = ", or the context is another one" if has_context else ""
    require(crc32c(covered) == checksum, WrongChecksum, "the checksum of a message's header" + hint)

    require(flags < 4, Malformed, f"a message has flags {flags}")
    type = element_type(type_number)
    require(10 <= block_size <= 20, Malformed, f"blocks of 2^{block_size} bytes")
    require(kind in (TENSOR, QUANTIZED, DELTA), UnknownKind, f"a message of kind {kind}")
    require(set_id in by_id, WrongSet, f"the message was coded with set {set_id.hex()}...")
    check_whole_elements(type, units)
    require(units * type.unit <= limit, TooLarge, f"{units * type.unit} bytes of elements")
    check_quantized_type(kind, type)
    require(kind == TENSOR or block_size == 20, Malformed, f"a message of kind {kind} with small blocks")

    blocks = units_of_blocks(kind, type, block_size, units)
    number = len(blocks) + (kind != TENSOR)
    table = Reader(reader.take(number * (8 if flags & 1 else 4)))
    lengths = [table.u32() for _ in range(number)]
    checksums = [table.u32() for _ in range(number if flags & 1 else 0)]
    if kind == TENSOR:
        for length, units_of_block in zip(lengths, blocks):
            check_block_length(length, units_of_block * type.unit)
    if kind == DELTA:
        require(lengths[0] == 1, Malformed, f"a kind header of a delta of {lengths[0]} bytes")
        for length, units_of_block in zip(lengths[1:], blocks):
            check_delta_length(length, units_of_block, type)
    require(sum(lengths) <= reader.left(), Truncated, "a message ends before its last entry does")
    entries = [reader.take(length) for length in lengths]
    reader.finish("a message")
    return Message(
        bool(flags & 1),
        has_context,
        type,
        block_size,
        kind,
        by_id[set_id],
        units,
        checksum,
        lengths,
        checksums,
        entries,
    )


def check_quantized_type(kind, type):
    require(kind != QUANTIZED or type in (F32, BF16, F16), Malformed, f"quantized values of {type.name}")


def units_of_blocks(kind, type, block_size, units):
    """How many units each block has: sections 8.2, 14.3 and 16."""
    whole = 2**20 if kind != TENSOR else 2**block_size // type.unit
    return [min(whole, units - start) for start in range(0, units, whole)]


def check_block_length(length, elements):
    require(length != 0, Malformed, "a block has length 0")
    require(length <= 1 + elements, Malformed, f"a block of {length} bytes for {elements} bytes of elements")


def decode_message(data, sets, context=None, limit=LIMIT):
    """The tensor of a message."""
    message = read_message(data, sets, context, limit)
    entries = [message.entry(number) for number in range(len(message.entries))]
    return decode_entries(message.kind, message.type, message.block_size, message.units, entries, message.set, sets)


def decode_entries(kind, type, block_size, units, entries, set, sets):
    """What a message or an item holds, from its entries. `sets`: all that may be named."""
    require(kind != DELTA, UnknownKind, "a delta, which needs its base: huffwire_delta.py decodes it")
    blocks = units_of_blocks(kind, type, block_size, units)
    if kind == TENSOR:
        decoded = [decode_block(entry, type, count, set.books) for entry, count in zip(entries, blocks)]
        return Tensor(type, b"".join(decoded))
    quantized = read_kind_header(entries[0], units, set, sets)
    values = []
    for entry, count in zip(entries[1:], blocks):
        values += decode_stream(quantized.encoder, entry, count, quantized.layer_books)
    return Tensor(type, restore_floats(quantized, type, values), quantized, values)


# ----------------------------------------------------------------------------------------------------------
# Section 9: file


@dataclass
class Item:
    kind: int
    name: str  # None if it is no tensor
    spelled_type: str
    shape: list
    type: Type
    set: int  # its place in the list of sets
    size: int  # bytes of elements
    lengths: list
    checksums: list
    entries: list = None  # bytes


@dataclass
class File:
    checked: bool
    block_size: int
    set_ids: list
    sets: dict  # by id: those of the receiver and those in the file
    originals: list  # (name, items)


def read_file(data, sets):
    """Sections 9.1 to 9.3. `sets` are those of the receiver."""
    header = Reader(data)
    require(header.take(8) == b"HUFFWIRE", Malformed, "no file: it does not begin with HUFFWIRE")
    version = header.u16()
    require(version == 1, UnknownVersion, f"a file of version {version}")
    flags = header.u16()
    require(crc32c(data[:12]) == header.u32(), WrongChecksum, "the checksum of a file's header")
    require(flags < 2, Malformed, f"a file has flags {flags}")
    checked = bool(flags)

    require(header.left() >= 24, Truncated, "a file has no trailer")
    trailer = Reader(data[-24:])
    start, length, checksum = trailer.u64(), trailer.u64(), trailer.u32()
    require(trailer.take(4) == b"HWDE", Malformed, "the last 4 bytes of a file are not HWDE")
    require(start >= 16, Malformed, "a directory begins in the header")
    require(start + length == len(data) - 24, Malformed, "a directory does not end at the trailer")
    reader = Reader(data[start:-24])
    require(crc32c(reader.data) == checksum, WrongChecksum, "the checksum of a directory")

    block_size = reader.u8()
    require(10 <= block_size <= 20, Malformed, f"blocks of 2^{block_size} bytes")
    known = check_sets(sets)
    set_ids = []
    for _ in range(reader.varint()):
        id, size = reader.take(8), reader.varint()
        require(id not in set_ids, Malformed, "a file names a set twice")
        set_ids.append(id)
        if size:
            embedded = read_set(reader.take(size))
            require(embedded.id() == id, Malformed, "an embedded set has another id")
            known[id] = embedded
    originals = []
    for _ in range(reader.varint()):
        name = reader.string()
        check_plain_name(name)
        require(name not in dict(originals), Malformed, f"two originals are called {name!r}")
        items = []
        for _ in range(reader.varint()):
            items.append(read_item(reader, block_size, checked, len(set_ids)))
        originals.append((name, items))
    reader.finish("a directory")

    entries = Reader(data[16:start])
    for _, items in originals:
        for item in items:
            short = "the entries of a file are longer than the bytes before its directory"
            require(sum(item.lengths) <= entries.left(), Malformed, short)
            item.entries = [entries.take(length) for length in item.lengths]
    entries.finish("the entries of a file")
    return File(checked, block_size, set_ids, known, originals)


def read_item(reader, block_size, checked, number_of_sets):
    """An item of the directory, section 9.3."""
    byte = reader.u8()
    kind, other_set, is_tensor = byte & 0x3F, byte >> 6 & 1, byte >> 7
    require(kind in (TENSOR, QUANTIZED, DELTA), UnknownKind, f"an item of kind {kind}")
    name = spelled_type = shape = None
    if is_tensor:
        name = reader.string()
        spelled_type = reader.string()
        shape = []
        for _ in range(reader.varint()):
            shape.append(reader.varint())
    type = element_type(reader.u8())
    check_quantized_type(kind, type)
    set = reader.varint() if other_set else 0
    require(set < number_of_sets, Malformed, f"an item has set {set} of {number_of_sets}")
    require(set > 0 or not other_set, Malformed, "an item names the first set, which goes without saying")
    size = reader.varint()
    require(size < 2**63 and size % type.unit == 0, Malformed, f"an item of {size} bytes of {type.name}")
    check_whole_elements(type, size // type.unit)

    whole = 2**block_size // type.unit if kind == TENSOR else 2**20
    lengths = [reader.varint() for _ in range(kind != TENSOR)]
    require(kind != DELTA or lengths == [1], Malformed, f"the kind header of a delta has {lengths} bytes")
    units = size // type.unit
    while units:  # one by one: the size is a claim
        length, units_of_block = reader.varint(), min(whole, units)
        if kind == TENSOR:
            check_block_length(length, units_of_block * type.unit)
        if kind == DELTA:
            check_delta_length(length, units_of_block, type)
        lengths.append(length)
        units -= units_of_block
    require(all(lengths), Malformed, "an entry has length 0")
    checksums = [reader.u32() for _ in lengths] if checked else []
    return Item(kind, name, spelled_type, shape, type, set, size, lengths, checksums)


def check_delta_length(length, units, type):
    parts = -(-units // (2**10 // type.unit))
    right = 0 < length <= 39 + 4 * parts + units * type.unit
    require(right, Malformed, f"a block of a delta of {length} bytes for {units} units of {type.name}")


def check_plain_name(name):
    """Section 9.4."""
    bad = any(c in "/\\:" or ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in name)
    require(name not in ("", ".", "..") and not bad, Malformed, f"{name!r} is no plain name")


def set_of_item(file, item):
    id = file.set_ids[item.set]
    require(id in file.sets, WrongSet, f"an item was coded with set {id.hex()}")
    return file.sets[id]


def entry_of_item(file, item, number):
    if file.checked:
        right = crc32c(item.entries[number]) == item.checksums[number]
        require(right, WrongChecksum, f"the checksum of entry {number} of item {item.name!r}")
    return item.entries[number]


def decode_item(file, item, limit=LIMIT):
    require(item.size <= limit, TooLarge, f"{item.size} bytes of elements")
    set = set_of_item(file, item)
    entries = [entry_of_item(file, item, number) for number in range(len(item.entries))]
    units = item.size // item.type.unit
    block_size = file.block_size if item.kind == TENSOR else 20
    return decode_entries(item.kind, item.type, block_size, units, entries, set, file.sets.values())


def decode_file(data, sets, limit=LIMIT):
    """The originals of a file: their names and bytes."""
    file = read_file(data, sets)
    originals = {}
    for name, items in file.originals:
        originals[name] = b"".join(decode_item(file, item, limit).data for item in items)
    return originals


# ----------------------------------------------------------------------------------------------------------
# Section 14: quantized tensors

QSGD, TERNGRAD, NATURAL, SIGN, TOPK, RANDOMK, INT8 = range(1, 8)
BITMAP, AUTO, BITMAP_FIXED = 11, 12, 13
LARGEST_F32 = struct.unpack("<f", bytes.fromhex("ffff7f7f"))[0]


@dataclass
class Quantizer:
    number: int
    bucket: int = 0  # elements that share scales, 0 for all
    levels: int = 1  # of qsgd
    two_means: bool = False  # of sign

    def bucket_of(self, element):
        return element // self.bucket if self.bucket else 0

    def scales(self, elements):
        """How many scales there are; None where only the values tell."""
        if self.number in (TOPK, RANDOMK):
            return None
        if self.number == NATURAL:
            return 1
        buckets = self.bucket_of(elements - 1) + 1 if elements else 0
        return 2 * buckets if self.two_means else buckets


@dataclass
class Quantized:
    """The kind header of quantized values."""

    quantizer: Quantizer
    encoder: int
    wide: bool  # flag 0: values may need more than 8 bits
    coded_scales: bool  # flag 1
    layer_books: list  # of the set of bitmap layers, for encoder 13
    shape: list
    scales: list


def read_kind_header(data, units, set, sets):
    """Section 14.1. `set` is that of the message or item, `sets` are all that may be named."""
    reader = Reader(data)
    quantizer = read_quantizer(reader)
    encoder = reader.u8()
    require(1 <= encoder <= 13, Malformed, f"there is no encoder {encoder} of quantized values")
    flags = reader.u8()
    require(flags < 4, Malformed, f"a kind header has flags {flags}")
    layer_books = []
    if encoder == BITMAP_FIXED:
        layers = check_sets(sets).get(reader.take(8))
        require(layers is not None, WrongSet, "the set of bitmap layers is not there")
        require(layers.is_of_layers(), WrongSet, "the set named for bitmap layers is none of bitmap layers")
        layer_books = layers.books
    shape = []
    for _ in range(reader.varint()):
        shape.append(reader.varint())
    require(math.prod(shape) == units, Malformed, f"a shape of {shape} for {units} units")
    number = reader.varint()
    expected = quantizer.scales(units)
    if expected is None:
        require(number <= units, Malformed, f"{number} scales for {units} elements")
    else:
        require(number == expected, Malformed, f"{number} scales instead of {expected}")
    if flags & 2:
        scales = read_coded_scales(reader.rest(), number, set)
    else:
        require(4 * number <= reader.left(), Truncated, "scales are missing")
        scales = [reader.f32() for _ in range(number)]
    reader.finish("a kind header")
    require(all(map(math.isfinite, scales)), Malformed, "a scale is not finite")
    return Quantized(quantizer, encoder, bool(flags & 1), bool(flags & 2), layer_books, shape, scales)


def read_coded_scales(data, number, set):
    message = read_message(data, [set])
    plain = message.kind == TENSOR and not message.checked
    require(plain and message.type == F32, Malformed, "scales are a message of f32, of kind 0, without checksums")
    require(message.units == number, Malformed, f"{message.units} coded scales instead of {number}")
    return list(struct.unpack(f"<{number}f", decode_message(data, [set]).data))


def read_quantizer(reader):
    """The table of section 14.2."""
    number = reader.u8()
    quantizer = Quantizer(number)
    if number == QSGD:
        quantizer.levels = reader.varint()
        require(1 <= quantizer.levels <= 2**30, Malformed, f"qsgd of {quantizer.levels} levels")
        require(reader.u8() <= 1, Malformed, "qsgd has an unknown norm")
        quantizer.bucket = reader.varint()
    elif number == TERNGRAD:
        deviations = reader.f32()
        none = deviations == 0 and math.copysign(1, deviations) > 0
        require(none or 0 < deviations < math.inf, Malformed, f"terngrad clips at {deviations}")
        quantizer.bucket = reader.varint()
    elif number == SIGN:
        meaning = reader.u8()
        require(meaning <= 2, Malformed, "sign has unknown scales")
        quantizer.two_means = meaning == 2
        quantizer.bucket = reader.varint()
    elif number in (TOPK, RANDOMK):
        share = reader.f64()
        require(0 < share <= 1, Malformed, f"a share of {share}")
    elif number == INT8:
        quantizer.bucket = reader.varint()
    else:
        require(number == NATURAL, Malformed, f"there is no quantizer {number}")
    return quantizer


def round_to_f32(number):
    try:
        return struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return math.copysign(math.inf, number)


def float_to_bytes(type, number):
    """An f32, rounded to the element type."""
    if type == F32:
        return struct.pack("<f", number)
    if type == BF16:
        bits = int.from_bytes(struct.pack("<f", number), "little")
        bits += 0x7FFF + (bits >> 16 & 1)
        return (bits >> 16).to_bytes(2, "little")
    try:
        return struct.pack("<e", number)
    except OverflowError:
        return struct.pack("<e", math.copysign(math.inf, number))


def restore_floats(quantized, type, values):
    """The table of restored floats in section 14.2, and the check of section 14.3."""
    quantizer, scales = quantized.quantizer, quantized.scales
    number = quantizer.number
    lowest, highest = {
        QSGD: (-quantizer.levels, quantizer.levels),
        TERNGRAD: (-1, 1),
        NATURAL: (-278, 278),
        SIGN: (-1, 1),
        TOPK: (0, 1),
        RANDOMK: (0, 1),
        INT8: (-127, 127),
    }[number]
    if number in (TOPK, RANDOMK):
        require(values.count(1) == len(scales), Malformed, "another number of scales than of values of 1")
    next_scale = iter(scales)
    restored = []
    for element, q in enumerate(values):
        require(lowest <= q <= highest, Malformed, f"a quantized value of {q}")
        require(number != SIGN or q != 0, Malformed, "a sign of 0")
        require(quantized.wide or -128 <= q <= 127, Malformed, f"a quantized value of {q} without flag 0")
        if number in (TOPK, RANDOMK):
            x = next(next_scale) if q else 0.0
        elif number == NATURAL:
            x = round_to_f32(scales[0] * 2.0 ** (1 - abs(q))) if q else 0.0
            x = -x if q < 0 else x
        elif quantizer.two_means:
            x = scales[2 * quantizer.bucket_of(element) + (q < 0)]
        else:
            scale = scales[quantizer.bucket_of(element)]
            if number == QSGD:
                x = round_to_f32(scale / quantizer.levels * q)
            elif number == SIGN:
                x = scale if q > 0 else -scale
            else:  # terngrad, int8
                x = round_to_f32(scale * q)
                if number == INT8 and math.isinf(x):
                    x = math.copysign(LARGEST_F32, x)
        restored.append(float_to_bytes(type, x))
    return b"".join(restored)


# ----------------------------------------------------------------------------------------------------------
# Section 15: streams of quantized values

AUTO_BYTES = [11, 5, 1, 2, 9, 6, 7, 8]  # the encoder that each byte behind a stream of `auto` says


def decode_stream(encoder, data, expected, layer_books=()):
    """The values of a stream. `expected`: how many there are."""
    if encoder == AUTO:
        require(data, Truncated, "a stream of auto is empty")
        require(data[-1] < len(AUTO_BYTES), Malformed, f"a stream of auto ends with {data[-1]}")
        return decode_stream(AUTO_BYTES[data[-1]], data[:-1], expected)
    reader = Reader(data)
    count = reader.varint()
    require(count == expected, Malformed, f"a stream of {count} values instead of {expected}")
    if encoder == 5:
        values = decode_runs(reader, count)
    elif encoder in (BITMAP, BITMAP_FIXED):
        values = decode_bitmap(reader, count, layer_books) if count else []
    else:
        bits = BitReader(reader.rest())
        if encoder in (1, 2, 3, 4):
            values = decode_with_codebook(bits, count, encoder) if count else []
        elif encoder in (6, 7, 8):
            values = decode_elias(bits, count, [bits.gamma, bits.delta, bits.omega][encoder - 6])
        elif encoder == 9:
            values = decode_qsgd_sparse(bits, count)
        else:
            values = decode_qsgd_dense(bits, count)
        bits.finish()
    reader.finish("a stream of quantized values")
    return values


def unzigzag(number):
    require(number < 2**32, Malformed, "a quantized value that 32 bits do not hold")
    return number // 2 if number % 2 == 0 else -(number + 1) // 2


class BitReader:
    """Section 15.1: bits from the lowest bit of a byte up, and the codes of Elias."""

    def __init__(self, data):
        self.data = data
        self.at = 0  # bits

    def bit(self):
        byte, shift = divmod(self.at, 8)
        require(byte < len(self.data), Truncated, "a stream of bits ends too early")
        self.at += 1
        return self.data[byte] >> shift & 1

    def bits(self, n):
        return sum(self.bit() << place for place in range(n))

    def gamma(self):
        n = 0
        while not self.bit():
            n += 1
            require(n <= 32, Malformed, "a code of Elias for a number of more than 32 bits")
        return self.number(n)

    def delta(self):
        return self.number(self.gamma())

    def omega(self):
        y = 1
        while self.bit():
            y = self.number(y) + 1
        return y - 1

    def number(self, n):
        """`x`, whose `y = x + 1` has its highest bit at `n`, from the `n` low bits of `y`."""
        require(n <= 32, Malformed, "a code of Elias for a number of more than 32 bits")
        x = 2**n + self.bits(n) - 1
        require(x < 2**32, Malformed, "a code of Elias for a number of more than 32 bits")
        return x

    def fill(self):
        """Goes on to the next whole byte."""
        while self.at % 8:
            require(self.bit() == 0, Malformed, "bits of padding are not 0")

    def finish(self):
        self.fill()
        require(self.at == 8 * len(self.data), Malformed, "bytes are left over behind a stream of bits")


def append_run(values, count, value, run):
    require(run <= count - len(values), Malformed, "a run goes beyond the last value")
    values += [value] * run


def decode_with_codebook(bits, count, encoder):
    """Section 15.2."""
    alphabet = bits.gamma()
    require(alphabet <= 1 + 2**16, Malformed, f"alphabet {alphabet}")
    belongs = {1: alphabet == 0, 2: alphabet == 1, 3: alphabet == 0, 4: alphabet >= 2}[encoder]
    require(belongs, Malformed, f"a stream of encoder {encoder} with alphabet {alphabet}")
    m = bits.gamma()
    has_escape = bits.bit()
    require(1 <= m + has_escape <= 2**16, Malformed, f"a book of {m + has_escape} codes")

    symbols = []
    value, run = 0, 0  # of the symbol before; the value as its zigzag
    for number in range(m):
        step = bits.gamma()
        value, run = value + step, run if step == 0 else 0
        longest = longest_run(alphabet, value)
        if longest == 1:
            require(step or number == 0, Malformed, "a symbol occurs twice in a book")
            run = 1
        else:
            run += 1 + bits.gamma()
            require(run <= longest, Malformed, f"a run of {run} in alphabet {alphabet}")
        symbols.append((unzigzag(value), run))
    if has_escape:
        symbols.append(None)

    lengths = [0]
    if len(symbols) > 1:
        lengths, before = [], 6
        for _ in symbols:
            before += unzigzag(bits.gamma())
            require(1 <= before <= 20, BadCodebook, f"a code of {before} bits")
            lengths.append(before)
    require(sum(2 ** (20 - length) for length in lengths) == 2**20, BadCodebook, "the code is not complete")
    codes = {}
    code, before = 0, 0
    for length, number in sorted((length, number) for number, length in enumerate(lengths)):
        code <<= length - before
        codes[length, code] = symbols[number]
        code, before = code + 1, length
    bits.fill()

    values = []
    while len(values) < count:
        length = code = 0
        while (length, code) not in codes:
            length, code = length + 1, code << 1 | bits.bit()
        symbol = codes[length, code]
        value, run = symbol or (unzigzag(bits.gamma()), bits.gamma() + 1)
        append_run(values, count, value, run)
    return values


def longest_run(alphabet, zigzag):
    """How long the runs of a value may be in an alphabet."""
    if alphabet == 1:
        return math.inf
    return alphabet - 1 if alphabet >= 2 and zigzag == 0 else 1


def decode_runs(reader, count):
    """Section 15.3."""
    values = []
    while len(values) < count:
        append_run(values, count, unzigzag(reader.varint()), reader.varint() + 1)
    return values


def decode_elias(bits, count, code):
    """Section 15.4. `code` reads a number in one of the codes of Elias."""
    values = []
    while len(values) < count:
        append_run(values, count, unzigzag(code()), code() + 1)
    return values


def signed(magnitude, negative):
    value = -magnitude if negative else magnitude
    require(-(2**31) <= value < 2**31, Malformed, "a quantized value that 32 bits do not hold")
    return value


def decode_qsgd_sparse(bits, count):
    """Section 15.5. The number of zeros that reaches the end is the one behind the last value."""
    values = []
    while True:
        append_run(values, count, 0, bits.omega())
        if len(values) == count:
            return values
        negative = bits.bit()
        values.append(signed(bits.omega() + 1, negative))
        if len(values) == count:
            require(bits.omega() == 0, Malformed, "a run goes beyond the last value")
            return values


def decode_qsgd_dense(bits, count):
    values = []
    for _ in range(count):
        magnitude = bits.omega()
        values.append(signed(magnitude, magnitude and bits.bit()))
    return values


def decode_bitmap(reader, count, books):
    """Section 15.6: a tree of layers, from the root, layer `d`, to the values, layer 0."""
    require(count <= 2**20, TooLarge, f"a bitmap of {count} values")
    depth = reader.u8()
    require(depth <= 4, Malformed, f"a bitmap of depth {depth}")
    sizes = [count]  # bytes of each layer
    while len(sizes) <= depth:
        sizes.append((sizes[-1] + 7) // 8)
    counts = [sizes[depth]]  # bytes of the planes d to 0
    for layer in reversed(range(depth)):
        number = reader.varint()
        require(number <= sizes[layer], Malformed, f"plane {layer} of a bitmap has {number} bytes")
        counts.append(number)
    number_of_large = reader.varint()
    require(number_of_large <= count, Malformed, "a bitmap has more large values than values")
    large = []
    for _ in range(number_of_large):
        large.append(reader.varint())
    plane = Plane(8, 0, any_plain=True)
    headers = [read_plane_header(reader, plane, number, books) for number in counts]
    payload = reader.take(payload_sizes(headers))
    planes = read_payload(headers, payload)

    layer = planes[0]
    for number, size in enumerate(reversed(sizes[:depth])):
        stored = planes[number + 1]
        bits = [byte >> bit & 1 for byte in layer for bit in range(8)]
        require(not any(bits[size:]), Malformed, "bits behind the last one of a bitmap's layer are not 0")
        require(sum(bits) == len(stored), Malformed, "a bitmap's plane has another number of bytes than bits of 1")
        require(255 not in stored, Malformed, "a byte of 255 in a bitmap's plane")
        bytes_left = iter(stored)
        layer = [next(bytes_left) + 1 if bit else 0 for bit in bits[:size]]
    require(layer.count(255) == number_of_large, Malformed, "a bitmap has another number of large values")
    large_left = iter(large)
    return [unzigzag(byte if byte < 255 else 255 + next(large_left)) for byte in layer]


# ----------------------------------------------------------------------------------------------------------
# The command line


def describe_book(book):
    kind = "centred" if book.centred else f"plain, width {book.width}"
    names = {book.escape_slot: "escape"} | ({ZERO: "zero"} if book.centred else {})
    codes = " ".join(f"{names.get(slot, slot)}:{code:0{length}b}" for slot, code, length in book.codes)
    return f"{book.id().hex()} {kind}, {book.longest}-bit codes: {codes}"


def describe_block(data, type, units, books):
    block = read_block(data, type, units, books)
    yield f"{len(data)} bytes for {units} units, layout {LAYOUT_NAMES[block.layout]}"
    for number, plane in enumerate(block.planes):
        text = f"  plane {number}: {plane.count} symbols of {plane.plane.width} bits, {plane.mode}"
        if plane.mode == CONSTANT:
            text += f" {plane.symbol}"
        if plane.book:
            text += ", embedded book" if plane.book_number is None else f", book {plane.book_number}"
            text += f", base {plane.base}" if plane.book.centred else ""
            text += f", {plane.zeros} zeros, {plane.stream} bytes of stream, {plane.escapes} escapes"
            text += f", {plane.taken} bytes carried" if plane.mode == LANES else ""
        yield text


def describe_entries(kind, type, block_size, units, entries, set, sets):
    if kind == TENSOR:
        for entry, count in zip(entries, units_of_blocks(kind, type, block_size, units)):
            yield from describe_block(entry, type, count, set.books)
    else:
        header = read_kind_header(entries[0], units, set, sets)
        yield f"{header.quantizer}, encoder {header.encoder}, shape {header.shape}, {len(header.scales)} scales"
        yield f"blocks of values: {[len(entry) for entry in entries[1:]]} bytes"


def describe(data, sets, context):
    """Lines of text about a set, a file or a message."""
    if data.startswith(b"HUFFBOOK"):
        set = read_set(data)
        yield f"codebook set {set.name!r}, id {set.id().hex()}, {len(set.books)} books"
        for number, book in enumerate(set.books):
            yield f"book {number}: {describe_book(book)}"
        for binding in set.bindings:
            yield str(binding)
    elif data.startswith(b"HUFFWIRE"):
        file = read_file(data, sets)
        ids = ", ".join(id.hex() for id in file.set_ids)
        yield f"file, checksums: {file.checked}, blocks of 2^{file.block_size} bytes, sets: {ids}"
        for name, items in file.originals:
            yield f"original {name!r}"
            for item in items:
                yield f" item {item.name!r}: kind {item.kind}, {item.type.name} {item.shape}, {item.size} bytes"
                entries = [entry_of_item(file, item, number) for number in range(len(item.entries))]
                units = item.size // item.type.unit
                known = file.sets.values()
                arguments = (item.kind, item.type, file.block_size, units, entries, set_of_item(file, item), known)
                for line in describe_entries(*arguments):
                    yield "  " + line
    else:
        message = read_message(data, sets, context)
        yield f"message of kind {message.kind}: {message.units} units of {message.type.name}"
        yield f"set {message.set.id().hex()}, checksums: {message.checked}, blocks of 2^{message.block_size} bytes"
        entries = [message.entry(number) for number in range(len(message.entries))]
        arguments = (message.kind, message.type, message.block_size, message.units, entries, message.set, sets)
        yield from describe_entries(*arguments)


def main():
    parser = argparse.ArgumentParser(description="A decoder of the huffwire format, made to be read.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("decode-message", "decode-file", "describe"):
        command = commands.add_parser(name)
        command.add_argument("file", type=Path)
        command.add_argument("--set", type=Path, action="append", default=[], help="a codebook set; may be repeated")
        if name == "decode-file":
            command.add_argument("-o", "--output", type=Path, required=True, help="a folder for the originals")
        else:
            command.add_argument("--context", type=int, help="the context that both ends know")
    arguments = parser.parse_args()

    data = arguments.file.read_bytes()
    try:
        sets = [read_set(path.read_bytes()) for path in arguments.set]
        if arguments.command == "decode-message":
            sys.stdout.buffer.write(decode_message(data, sets, arguments.context).data)
        elif arguments.command == "decode-file":
            originals = decode_file(data, sets)
            arguments.output.mkdir(parents=True, exist_ok=True)
            for name, original in originals.items():
                with open(arguments.output / name, "xb") as output:  # never over another file
                    output.write(original)
        else:
            for line in describe(data, sets, arguments.context):
                print(line)
    except FormatError as error:
        sys.exit(f"{error.name}: {error}")


if __name__ == "__main__":
    main()
