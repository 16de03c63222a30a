#!/usr/bin/env python3
"""A decoder of deltas: section 16 of docs/format.md. It belongs to huffwire_reference.py, which decodes all else.

A delta turns a tensor that the receiver has, the *base*, into another one. Each block of it is about 2^20 units, names
the base's bytes and the result's by a hash, and holds one of four things: nothing, because nothing changed; the result
itself; the differences of all words; or a list of the words that change, in as few bits as they take.

That list is the part that needs explaining. Both ends have the base, and from the exponent of a word they know how
likely it is to change: the more likely, the more time the word takes on a clock. On that clock changes come at random
times, like the clicks of a Geiger counter, and the time from one click to the next is what is coded.

    python3 huffwire_delta.py DELTA --base TENSOR --set builtin.codebooks [--context N] > result
"""

import argparse
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

from huffwire_reference import (
    DELTA,
    LIMIT,
    TYPES,
    FormatError,
    Malformed,
    Reader,
    TooLarge,
    UnknownKind,
    check_block_length,
    decode_block,
    decode_item,
    entry_of_item,
    read_file,
    read_message,
    read_set,
    require,
    set_of_item,
)


class WrongBase(FormatError):
    name = "base"


class WrongResult(FormatError):
    name = "result"


# ----------------------------------------------------------------------------------------------------------
# XXH3 with 128 bits and seed 0, as xxHash 0.8 defines it

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
P32 = [0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D]
P64 = [0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5]
MASK = 2**64 - 1


def read32(data, at):
    return int.from_bytes(data[at : at + 4], "little")


def read64(data, at):
    return int.from_bytes(data[at : at + 8], "little")


def secret(at):
    return read64(SECRET, at)


def swap(number, length):
    return int.from_bytes(number.to_bytes(length, "little"), "big")


def fold(a, b):
    product = a * b
    return product & MASK ^ product >> 64


def avalanche(h):
    h = (h ^ h >> 37) * 0x165667919E3779F9 & MASK
    return h ^ h >> 32


def avalanche_of_xxh64(h):
    h = (h ^ h >> 33) * P64[1] & MASK
    h = (h ^ h >> 29) * P64[2] & MASK
    return h ^ h >> 32


def short_hash(data):
    """The two halves, the lower one first, for at most 16 bytes."""
    length = len(data)
    if length == 0:
        return avalanche_of_xxh64(secret(64) ^ secret(72)), avalanche_of_xxh64(secret(80) ^ secret(88))
    if length <= 3:
        low = data[0] << 16 | data[length >> 1] << 24 | data[-1] | length << 8
        high = swap(low, 4)
        high = (high << 13 | high >> 19) & 0xFFFFFFFF
        low ^= read32(SECRET, 0) ^ read32(SECRET, 4)
        high ^= read32(SECRET, 8) ^ read32(SECRET, 12)
        return avalanche_of_xxh64(low), avalanche_of_xxh64(high)
    if length <= 8:
        keyed = read32(data, 0) | read32(data, length - 4) << 32
        keyed ^= secret(16) ^ secret(24)
        product = keyed * (P64[0] + (length << 2))
        low, high = product & MASK, product >> 64
        high = high + (low << 1) & MASK
        low ^= high >> 3
        low = (low ^ low >> 35) * 0x9FB21C651E98DF25 & MASK
        return low ^ low >> 28, avalanche(high)
    first, last = read64(data, 0), read64(data, length - 8)
    product = (first ^ last ^ secret(32) ^ secret(40)) * P64[0]
    low, high = (product & MASK) + (length - 1 << 54) & MASK, product >> 64
    last ^= secret(48) ^ secret(56)
    high = high + last + (last & 0xFFFFFFFF) * (P32[1] - 1) & MASK
    low ^= swap(high, 8)
    product = low * P64[1]
    return avalanche(product & MASK), avalanche((product >> 64) + high * P64[1] & MASK)


def middle_hash(data):
    """For 17 to 240 bytes."""
    length = len(data)
    low, high = length * P64[0] & MASK, 0

    def mix16(at, key):
        return fold(read64(data, at) ^ secret(key), read64(data, at + 8) ^ secret(key + 8))

    def mix32(first, second, key):
        nonlocal low, high
        low = low + mix16(first, key) & MASK
        low ^= read64(data, second) + read64(data, second + 8) & MASK
        high = high + mix16(second, key + 16) & MASK
        high ^= read64(data, first) + read64(data, first + 8) & MASK

    if length <= 128:
        for pair in reversed(range((length - 1) // 32 + 1)):
            mix32(16 * pair, length - 16 * pair - 16, 32 * pair)
    else:
        for at in range(0, 128, 32):
            mix32(at, at + 16, at)
        low, high = avalanche(low), avalanche(high)
        for at in range(128, length - 31, 32):
            mix32(at, at + 16, at - 125)
        mix32(length - 16, length - 32, 103)
    combined = low * P64[0] + high * P64[3] + length * P64[1] & MASK
    return avalanche(low + high & MASK), -avalanche(combined) & MASK


def long_hash(data):
    length = len(data)
    lanes = [P32[2], P64[0], P64[1], P64[2], P64[3], P32[1], P64[4], P32[0]]

    def accumulate(at, key):
        for lane in range(8):
            word = read64(data, at + 8 * lane)
            keyed = word ^ secret(key + 8 * lane)
            lanes[lane ^ 1] = lanes[lane ^ 1] + word & MASK
            lanes[lane] = lanes[lane] + (keyed & 0xFFFFFFFF) * (keyed >> 32) & MASK

    for stripe in range((length - 1) // 64):
        accumulate(64 * stripe, 8 * (stripe % 16))
        if stripe % 16 == 15:
            for lane in range(8):
                acc = lanes[lane]
                lanes[lane] = (acc ^ acc >> 47 ^ secret(128 + 8 * lane)) * P32[0] & MASK
    accumulate(length - 64, 121)

    def merge(start, key):
        for pair in range(0, 8, 2):
            at = key + 8 * pair
            start += fold(lanes[pair] ^ secret(at), lanes[pair + 1] ^ secret(at + 8))
        return avalanche(start & MASK)

    return merge(length * P64[0] & MASK, 11), merge(~(length * P64[1]) & MASK, 117)


def content_hash(data):
    """16 bytes, the lowest first."""
    by_length = short_hash if len(data) <= 16 else middle_hash if len(data) <= 240 else long_hash
    low, high = by_length(data)
    return low.to_bytes(8, "little") + high.to_bytes(8, "little")


# ----------------------------------------------------------------------------------------------------------
# Section 16.1: words, classes, differences

EXPONENTS = {"bf16": (7, 8), "f16": (10, 5), "f32": (23, 8), "e4m3": (3, 4), "e5m2": (2, 5)}
INTEGERS = {1: TYPES[13], 2: TYPES[14], 4: TYPES[15], 8: TYPES[16]}  # u8, word16, word32, word64


@dataclass(frozen=True)
class Form:
    """The words of an element type."""

    size: int  # bytes of a word
    exponent: tuple  # its lowest bit and its number of bits; None for types that are no floats

    @property
    def bits(self):
        return 8 * self.size

    @property
    def classes(self):
        return 2 ** self.exponent[1] if self.exponent else 1

    def class_of(self, word):
        return word >> self.exponent[0] & self.classes - 1 if self.exponent else 0

    def place(self, word):
        if not self.exponent:
            return word
        sign = 2 ** (self.bits - 1)
        return word + sign if word < sign else 2**self.bits - 1 - word

    def at_place(self, place):
        if not self.exponent:
            return place
        sign = 2 ** (self.bits - 1)
        return place - sign if place >= sign else 2**self.bits - 1 - place

    def moved(self, word, difference):
        """The word of the result."""
        return self.at_place((self.place(word) + difference) % 2**self.bits)

    def words(self, data):
        return [int.from_bytes(data[at : at + self.size], "little") for at in range(0, len(data), self.size)]

    def bytes(self, words):
        return b"".join(word.to_bytes(self.size, "little") for word in words)


def form_of(type):
    return Form(1 if type.unit == 3 else type.unit, EXPONENTS.get(type.coded_as))


# ----------------------------------------------------------------------------------------------------------
# Section 16.2: kind header and blocks

UNCHANGED, PLAIN, DENSE, STEP, DENSITIES = range(5)
BLOCK_UNITS = 2**20


@dataclass
class Block:
    holds: int
    base: bytes  # hashes
    result: bytes
    changes: int
    payload: Reader


def read_block(data, words):
    reader = Reader(data)
    holds = reader.u8()
    require(holds <= DENSITIES, Malformed, f"a block of a delta that holds {holds}")
    base = reader.take(16)
    if holds == UNCHANGED:
        reader.finish("an unchanged block")
        return Block(holds, base, base, 0, reader)
    result, changes = reader.take(16), reader.varint()
    require(1 <= changes <= words, Malformed, f"{changes} changes in {words} words")
    return Block(holds, base, result, changes, reader)


def decode_delta_block(block, type, base, books):
    """The bytes of the result of a block; the base has the right hash."""
    form = form_of(type)
    if block.holds == UNCHANGED:
        return base
    if block.holds == PLAIN:
        result = decode_parts(block.payload, type, len(base), books)
    elif block.holds == DENSE:
        differences = decode_parts(block.payload, INTEGERS[form.size], len(base), books)
        pairs = zip(form.words(base), form.words(differences))
        result = form.bytes(form.moved(word, number >> 1 ^ -(number & 1)) for word, number in pairs)
    else:
        words = form.words(base)
        for place, difference in decode_sparse(block, form, words):
            words[place] = form.moved(words[place], difference)
        result = form.bytes(words)
    changes = sum(a != b for a, b in zip(form.words(base), form.words(result)))
    require(changes == block.changes, Malformed, f"{changes} changes instead of {block.changes}")
    require(content_hash(result) == block.result, WrongResult, "the result of a block")
    return result


def decode_parts(reader, type, size, books):
    log2 = reader.u8()
    require(10 <= log2 <= 20, Malformed, f"parts of 2^{log2} bytes")
    whole = 2**log2 // type.unit * type.unit
    sizes = [min(whole, size - start) for start in range(0, size, whole)]
    lengths = []
    for part in sizes:
        lengths.append(reader.varint())
        check_block_length(lengths[-1], part)
    parts = [
        decode_block(reader.take(length), type, part // type.unit, books) for length, part in zip(lengths, sizes)
    ]
    reader.finish("the parts of a block")
    return b"".join(parts)


def decode_delta(data, sets, base, context=None, limit=LIMIT):
    """The result of a message of kind 2, given its base."""
    message = read_message(data, sets, context, limit)
    require(message.kind == DELTA, UnknownKind, f"a message of kind {message.kind} instead of a delta")
    return decode_entries(message.type, message.units, message.entry, base, message.set.books)


def decode_entries(type, units, entry, base, books):
    """The result of a message or an item. `entry` gives the entry of a number."""
    size = units * type.unit
    require(len(base) == size, WrongBase, f"a base of {len(base)} bytes instead of {size}")
    require(entry(0) == b"\1", Malformed, "a kind header that is not 1")
    step = BLOCK_UNITS * type.unit
    parts = [base[start : start + step] for start in range(0, size, step)]
    blocks = []
    for number, part in enumerate(parts):
        block = read_block(entry(number + 1), len(part) // form_of(type).size)
        require(content_hash(part) == block.base, WrongBase, f"the base of block {number}")
        blocks.append(block)
    return b"".join(decode_delta_block(block, type, part, books) for block, part in zip(blocks, parts))


def decode_file(data, sets, bases, limit=LIMIT):
    """The originals of a file: their names and bytes. `bases`: by the name of the tensor, the base of each delta."""
    file = read_file(data, sets)

    def decode(item):
        if item.kind != DELTA:
            return decode_item(file, item, limit).data
        require(item.size <= limit, TooLarge, f"{item.size} bytes of elements")
        require(item.name in bases, WrongBase, f"there is no base for {item.name!r}")
        units, books = item.size // item.type.unit, set_of_item(file, item).books
        entries = [entry_of_item(file, item, number) for number in range(len(item.entries))]
        return decode_entries(item.type, units, entries.__getitem__, bases[item.name], books)

    return {name: b"".join(decode(item) for item in items) for name, items in file.originals}


# ----------------------------------------------------------------------------------------------------------
# Section 16.3: sparse blocks

LEVELS = 168
HAZARD = [
    1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8, 10, 12, 14,
    16, 19, 23, 27, 33, 39, 46, 55, 65, 78, 93, 110, 131, 156, 186, 222,
    264, 315, 375, 448, 534, 638, 763, 913, 1094, 1313, 1578, 1902, 2299, 2789, 3398, 4156,
    5089, 6210, 7516, 8988, 10600, 12323, 14133, 16009, 17933, 19892, 21876, 23879, 25895, 27920, 29952, 31989,
    32767,
]
WEIGHT = [  # of the levels 45 to 73
    [16383, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [16376, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [16338, 46, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [16212, 172, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [15915, 468, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [15368, 1008, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [14527, 1806, 51, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [13407, 2778, 195, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [12083, 3742, 525, 33, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [10662, 4503, 1067, 141, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [9247, 4937, 1733, 400, 66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [7914, 5030, 2363, 820, 250, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [6709, 4846, 2818, 1319, 647, 44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [5651, 4478, 3040, 1767, 1254, 180, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [4740, 4016, 3047, 2070, 1945, 481, 85, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    [3966, 3525, 2897, 2201, 2549, 936, 303, 8, 0, 0, 0, 0, 0, 0, 0, 0],
    [3314, 3048, 2651, 2181, 2947, 1442, 745, 54, 2, 0, 0, 0, 0, 0, 0, 0],
    [2768, 2608, 2363, 2058, 3108, 1869, 1383, 210, 18, 0, 0, 0, 0, 0, 0, 0],
    [2311, 2216, 2067, 1874, 3068, 2137, 2075, 536, 99, 1, 0, 0, 0, 0, 0, 0],
    [1931, 1875, 1784, 1664, 2887, 2234, 2653, 1008, 338, 10, 0, 0, 0, 0, 0, 0],
    [1614, 1581, 1526, 1453, 2627, 2190, 3014, 1512, 805, 61, 2, 0, 0, 0, 0, 0],
    [1350, 1330, 1297, 1253, 2333, 2051, 3141, 1923, 1457, 228, 20, 0, 0, 0, 0, 0],
    [1130, 1118, 1098, 1072, 2037, 1860, 3075, 2171, 2146, 568, 108, 1, 0, 0, 0, 0],
    [946, 939, 927, 911, 1758, 1648, 2880, 2250, 2707, 1048, 359, 10, 0, 0, 0, 0],
    [792, 788, 781, 772, 1505, 1438, 2612, 2193, 3047, 1549, 838, 65, 2, 0, 0, 0],
    [664, 662, 658, 652, 1281, 1240, 2317, 2047, 3156, 1951, 1497, 239, 22, 0, 0, 0],
    [557, 555, 553, 550, 1085, 1061, 2022, 1852, 3078, 2188, 2182, 586, 113, 1, 0, 0],
    [467, 466, 465, 463, 917, 903, 1745, 1640, 2876, 2257, 2735, 1068, 370, 11, 0, 0],
    [392, 392, 391, 389, 774, 765, 1494, 1430, 2605, 2194, 3064, 1569, 856, 68, 2, 0],
]
TILE = 4096
START = 2**31  # the state of a chain at its end
LONGEST = 98304  # the longest time that is told at once
CHANCE = [(759250124 if i % 2 else 2**30) >> i // 2 for i in range(26)]


def longer(time):
    """The chance that more time passes until the next change."""
    i, part = divmod(time, 4096)
    return CHANCE[i] - ((CHANCE[i] - CHANCE[i + 1]) * part >> 12)


def latest(v):
    """The largest time whose chance is above `v`."""
    low, high = 0, LONGEST  # longer(low) is above v, longer(high) is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if longer(middle) > v else (low, middle)
    return low


def read_levels(reader, form, holds):
    """The levels of all classes: pairs of hazard and magnitudes."""
    if holds == STEP:
        c, zero = reader.varint(), reader.u8()
        require(form.classes > 1, Malformed, "a step, and words without exponents")
        require(c <= 1192 and zero < LEVELS, Malformed, f"a step of {c}, zeros at level {zero}")
        by_class = [zero] + [min(max(c - 4 * e, 0), LEVELS - 1) for e in range(1, form.classes)]
        return [(level, level) for level in by_class]
    first, count = reader.u8(), reader.u8() + 1
    require(first + count <= form.classes, Malformed, f"levels of the classes from {first} to {first + count - 1}")
    sent = [(reader.u8(), reader.u8()) for _ in range(count)]
    require(max(max(pair) for pair in sent) < LEVELS, Malformed, "a level above 167")
    return [(0, 0)] * first + sent + [(0, 0)] * (form.classes - first - count)


class Chain:
    """An asymmetric numeral system."""

    def __init__(self, state, words):
        require(START <= state < 2**63, Malformed, f"a chain with state {state}")
        self.state, self.words = state, iter(words)

    def peek(self, bits):
        return self.state % 2**bits

    def take(self, start, size, bits):
        self.state = size * (self.state >> bits) + self.peek(bits) - start
        if self.state < START:
            word = next(self.words, None)
            require(word is not None, Malformed, "a chain has too few words")
            self.state = self.state << 32 | word

    def finish(self):
        over = next(self.words, None) is not None
        require(self.state == START and not over, Malformed, "a chain does not end where it should")


def sizes_of_magnitudes(level, bits):
    symbols = 2 * bits - 2
    if level < 45:
        weights = [1]
    else:
        octaves = (max(level - 73, 0) + 3) // 4
        weights = [weight << octaves for weight in WEIGHT[level - 45 - 4 * octaves]]
        for _ in range(octaves):
            a, b, *rest = weights
            weights = [a // 2, a // 2, b // 2, b // 2, *rest]
    weights = (weights + [0] * symbols)[:symbols]
    sizes = [1 + weight * (2**14 - symbols) // sum(weights) for weight in weights]
    sizes[sizes.index(max(sizes))] += 2**14 - sum(sizes)
    return sizes


def decode_difference(chain, sizes):
    v = chain.peek(15)
    sign, v = v >> 14, v % 2**14
    starts = [0, *itertools.accumulate(sizes)]
    m = next(symbol for symbol in range(len(sizes)) if v < starts[symbol + 1])
    chain.take(sign * 2**14 + starts[m], sizes[m], 15)
    if m >= 4:
        bits, low = (m - 4) // 2 + 1, 0
        for got in range(0, bits, 16):
            piece = min(16, bits - got)
            number = chain.peek(piece)
            chain.take(number, 1, piece)
            low |= number << got
        m = (2 + m % 2) * 2**bits + low
    return -(m + 1) if sign else m + 1


def decode_sparse(block, form, words):
    """Pairs: the number of a word that changes, and its difference."""
    reader = block.payload
    levels = read_levels(reader, form, block.holds)
    k = reader.u8()
    require(k <= 2, Malformed, f"2^{k} chains")
    lengths = [reader.varint() for _ in range(2**k)]
    chains = []
    for length in lengths:
        state = reader.u64()
        data = reader.take(4 * length)
        chains.append(Chain(state, [read32(data, at) for at in range(0, 4 * length, 4)]))
    reader.finish("a sparse block")
    sizes = {}
    found = []
    for number, chain in enumerate(chains):
        places = []
        for tile in range(number * TILE, len(words), TILE * 2**k):
            places += range(tile, min(tile + TILE, len(words)))
        found += decode_chain(chain, form, levels, words, places, sizes, block.changes)
    return found


def decode_chain(chain, form, levels, words, places, sizes, most):
    hazards = [HAZARD[min(levels[form.class_of(words[place])][0], 64)] for place in places]
    ends = list(itertools.accumulate(hazards))
    end = ends[-1] if ends else 0
    found, last, at = [], 0, 0
    while True:
        v = chain.peek(30)
        if end - last < LONGEST and v < longer(end - last):
            chain.take(0, longer(end - last), 30)
            chain.finish()
            return found
        if v < longer(LONGEST):
            chain.take(0, longer(LONGEST), 30)
            last += LONGEST
            continue
        time = last + latest(v)
        while ends[at] <= time:
            at += 1
        start, stop = ends[at] - hazards[at], ends[at]
        low, high = longer(min(stop - last, LONGEST)), longer(max(start - last, 0))
        chain.take(low, high - low, 30)
        level = levels[form.class_of(words[places[at]])][1]
        if level not in sizes:
            sizes[level] = sizes_of_magnitudes(level, form.bits)
        found.append((places[at], decode_difference(chain, sizes[level])))
        require(len(found) <= most, Malformed, f"more than {most} changes")
        last = stop


def main():
    parser = argparse.ArgumentParser(description="A decoder of huffwire's deltas, made to be read.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--base", type=Path, required=True, help="the bytes of the tensor that the delta is for")
    parser.add_argument("--set", type=Path, action="append", default=[], help="a codebook set; may be repeated")
    parser.add_argument("--context", type=int, help="the context that both ends know")
    arguments = parser.parse_args()
    try:
        sets = [read_set(path.read_bytes()) for path in arguments.set]
        data, base = arguments.file.read_bytes(), arguments.base.read_bytes()
        sys.stdout.buffer.write(decode_delta(data, sets, base, arguments.context))
    except FormatError as error:
        sys.exit(f"{error.name}: {error}")


if __name__ == "__main__":
    main()
