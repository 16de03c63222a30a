#!/usr/bin/env python3
"""Makes the vectors of this folder: python3 test_vectors/generate.py

The vectors are made by the encoder of reference/, with numbers from a generator of its own, so that they come out the
same everywhere. Every vector is read by the reference decoder before it is written; if the vector must be refused, the
reason is compared, too.
"""

import hashlib
import json
import shutil
import struct
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "reference"))

import delta_encoder  # noqa: E402
import huffwire_delta as delta  # noqa: E402
import huffwire_reference as reference  # noqa: E402
import reference_encoder as encoder  # noqa: E402
from reference_encoder import Book, u32, varint  # noqa: E402

CONTEXT = 123456789012345


class Rng:
    """Splitmix64, with the methods of `random.Random` that the encoder calls."""

    def __init__(self, seed):
        self.state = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        x = self.state
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    def randrange(self, end):
        return self.next() * end >> 64

    def randint(self, first, last):
        return first + self.randrange(last - first + 1)

    def random(self):
        return (self.next() >> 11) / 2**53

    def choice(self, sequence):
        return sequence[self.randrange(len(sequence))]

    def shuffle(self, sequence):
        for i in reversed(range(1, len(sequence))):
            j = self.randrange(i + 1)
            sequence[i], sequence[j] = sequence[j], sequence[i]

    def randbytes(self, length):
        return bytes(self.randrange(256) for _ in range(length))


def type_named(name):
    return reference.TYPES[encoder.TYPE_NUMBERS[name]]


# ----------------------------------------------------------------------------------------------------------
# The sets

DEMO_BOOK = Book(0, 8, {30: 2, 31: 2, 32: 3, 33: 4, 34: 5, 35: 6, 36: 7}, escape=7, zero=2)
DEMO = encoder.write_set("demo", [DEMO_BOOK], [("*", 1, 1, 0, [0])])

SMALL_BOOKS = [
    DEMO_BOOK,
    Book(8, 8, {0: 1, 1: 2, 2: 3}, escape=3),
    Book(8, 12, {0: 1, 1: 2, 2: 3}, escape=3),
    Book(1, 8, {0: 1, 1: 1}, escape=0),
    Book(0, 12, {0: 1, 1: 2, 2: 12, 3: 12, 4: 11, 5: 10, 6: 9, 7: 8, 8: 7, 9: 6, 10: 5, 11: 4}, escape=4, zero=4),
]
SMALL = encoder.write_set("small", SMALL_BOOKS)


def mixed_books():
    """Books of every alphabet, with codes of either limit; in no relation to any data."""
    rng = Rng("mixed")
    books = []
    for longest in (8, 12):
        for zero in (False, True):
            books.append(encoder.random_book(rng, 0, longest, wanted=range(24, 44), zero=zero))
    for width in range(1, 9):
        for longest in (8, 12):
            wanted = [symbol for symbol in (0, 1, 2, 3, 4, 6) if symbol < 2**width]
            while True:
                book = encoder.random_book(rng, width, longest, wanted=wanted)
                if book.lengths.keys() >= set(wanted) and book.lengths[0] <= 2:
                    break
            books.append(book)
    return books


MIXED_BOOKS = mixed_books()
MIXED = encoder.write_set("mixed", MIXED_BOOKS)

LAYER_BOOKS = [
    Book(8, 8, {0: 1, 1: 2, 2: 3}, escape=3),
    Book(8, 12, {0: 2, 1: 2, 2: 2, 4: 3, 128: 12, 127: 12, 63: 11, 31: 10, 15: 9, 7: 8, 3: 7, 8: 6, 16: 5}, escape=4),
    Book(8, 8, {0: 1, 255: 2}, escape=2),
]
LAYER_BINDINGS = [("*", 0, 4, 128 + layer, [0, 1, 2]) for layer in range(5)]
LAYERS = encoder.write_set("layers", LAYER_BOOKS, LAYER_BINDINGS)
EMPTY = encoder.write_set("empty", [])

# Two sets whose ids begin with the same 4 bytes, found by trying.
CLASH_BOOKS = [[Book(8, 8, {symbol: 1}, escape=1) for symbol in pair] for pair in [(15, 174), (75, 131)]]
CLASH_A, CLASH_B = (encoder.write_set("", books) for books in CLASH_BOOKS)

SETS = {
    "demo": DEMO,
    "small": SMALL,
    "mixed": MIXED,
    "layers": LAYERS,
    "empty": EMPTY,
    "clash-a": CLASH_A,
    "clash-b": CLASH_B,
}
IDS = {name: reference.read_set(data).id() for name, data in SETS.items()}


class Vectors:
    def __init__(self):
        self.files = {f"sets/{name}.codebooks": data for name, data in SETS.items()}
        self.vectors = []

    def add(self, kind, name, shows, data, sets, context=None, error=None, why="", base=None, bases=None):
        extension = {"message": "message", "file": "hw", "set": "codebooks"}[kind]
        path = f"{'hostile' if error else 'valid'}/{name}.{extension}"
        assert path not in self.files, path
        self.files[path] = data
        vector = {"name": name, "shows": shows, "kind": kind, "file": path}
        vector["sets"] = [f"sets/{name}.codebooks" for name in sets]
        if base is not None:
            vector["base"] = self.output(f"bases/{name}.bytes", base)
        if bases is not None:
            outputs = {tensor: self.output(f"bases/{name}.{tensor}.bytes", bases[tensor]) for tensor in bases}
            vector["bases"] = outputs
        if context is not None:
            vector["context"] = context
        known = [reference.read_set(SETS[name]) for name in sets]
        try:
            if base is not None:
                decoded = delta.decode_delta(data, known, base, context)
            elif kind == "message":
                decoded = reference.decode_message(data, known, context).data
            elif kind == "file":
                decoded = delta.decode_file(data, known, bases or {})
            else:
                decoded = reference.read_set(data)
        except reference.FormatError as found:
            assert error == found.name and why in str(found), (name, found.name, str(found))
            vector["error"] = error
        else:
            assert error is None, f"{name} was read"
            if kind == "message":
                vector["output"] = self.output(f"valid/{name}.bytes", decoded)
            elif kind == "file":
                vector["originals"] = {
                    original: self.output(f"valid/{name}.original-{number}", content)
                    for number, (original, content) in enumerate(decoded.items())
                }
            else:
                vector["id"] = decoded.id().hex()
        self.vectors.append(vector)
        return decoded if error is None else None

    def output(self, path, data):
        self.files[path] = data
        return path

    def message(self, name, shows, type, data, entries, set, flags=1, context=None, block_size=20):
        """A message that must be decoded to `data`."""
        units = len(data) // type.unit
        header = encoder.message_header(type, block_size, IDS[set], units, flags=flags, context=context)
        decoded = self.add("message", name, shows, encoder.write_message(header, entries), [set], context)
        assert decoded == data, name

    def refused(self, name, shows, error, why, type, units, blocks, set="small", flags=0, **other):
        """A message whose blocks have the error."""
        type = type_named(type)
        header = encoder.message_header(type, other.pop("block_size", 20), IDS[set], units, flags=flags)
        self.add("message", name, shows, encoder.write_message(header, blocks), [set], error=error, why=why)


# ----------------------------------------------------------------------------------------------------------
# Elements


def elements(rng, type, units, zeros=0.4):
    """Elements with few different symbols, and now and then any others."""
    if type.coded_as in reference.FLOATS:
        out = bytearray()
        exponents = {"bf16": 7, "f16": 10, "f32": 23}[type.coded_as]
        for _ in range(units):
            exponent = rng.choice([12, 13, 13, 13, 14, 14, 15, 16])
            x = exponent << exponents | rng.choice([0, 0, 0, 0, 1, 2, 3])
            x = rng.randrange(2 ** (8 * type.unit)) if rng.random() < 0.03 else x
            x = 0 if rng.random() < zeros else x
            out += x.to_bytes(type.unit, "little")
        return bytes(out)
    packed = type.name.endswith("-packed")
    mask = 0x3F if packed or type.name in ("e3m2", "e2m3") else 0xFF
    common = [0] * 12 + [1] if packed else [0, 0, 0, 1, 1, 2, 3, 4]
    number = 4 * units if packed else type.unit * units
    symbols = [rng.randrange(256) & mask if rng.random() < 0.03 else rng.choice(common) for _ in range(number)]
    return encoder.pack(symbols, 6 if packed else 8)


def block_that_fits(rng, type, data, books, layout, modes):
    """Draws until the block is not longer than its elements allow."""
    for _ in range(200):
        block = encoder.write_block(rng, type, data, books, layout=layout, modes=modes)
        if len(block) <= 1 + len(data) and block[0]:
            return block
    raise AssertionError(f"no block of {type.name} in layout {layout}, modes {modes}, is short enough")


MODE_UNITS = 350
UNITS = {1: 500, 2: 400, 3: 160, 4: 250, 8: 130}


def valid_messages(v):
    rng = Rng("messages")
    bf16, f32, u8 = type_named("bf16"), type_named("f32"), type_named("u8")

    v.message("empty", "no units, so no table and no blocks", bf16, b"", [], "mixed")
    data = rng.randbytes(500)
    v.message("verbatim", "layout 0", type_named("f16"), data, [b"\0" + data], "mixed")

    # The example of the specification.
    units = [0] * 200
    for number, x in [(33, 0x6440), (5, 0x3F80), (40, 0xBF40), (97, 0x4240), (100, 0x4040), (161, 0x92C0)]:
        units[number] = x
    units[150], units[195], units[199] = 0x3FC0, 0xC260, 0x3F50
    data = struct.pack("<200H", *units)
    symbols = encoder.split("exponent", bf16, data)
    slots = []
    for r in symbols[0][2]:
        slots.append("zero" if r == 0 else r - 96 if r - 96 in DEMO_BOOK.lengths else "escape")
    remainder = bytes(m for e, m in zip(symbols[0][2], symbols[1][2]) if e)
    states, stream = encoder.encode_lanes(DEMO_BOOK, slots, remainder + bytes(128 - len(remainder)))
    block = bytes([1, 0, 96]) + u32(191) + u32(len(stream)) + u32(2) + b"\xff" + states + stream + bytes([200, 37])
    v.message("worked-example", "section 10", bf16, data, [block], "demo", block_size=17)

    # Every layout of every type that has it, all planes in lanes.
    for type in reference.TYPES.values():
        if type.coded_as != type.name:
            data = elements(rng, type, 60 if type.is_complex else 61)
            modes = [encoder.MODES] * 8
            shows = f"coded as {type.coded_as}"
            v.message(
                f"type-{type.name}", shows, type, data, encoder.random_blocks(rng, type, data, MIXED_BOOKS, 20), "mixed"
            )
            continue
        for layout, number in encoder.LAYOUTS.items():
            data = elements(rng, type, UNITS[type.unit])
            planes = encoder.split(layout, type, data)
            if planes is None:
                continue
            modes = [["lanes", "lanes-embedded"]] * len(planes)
            if type.unit == 1 or layout == "sign-apart":
                modes[1:] = [["raw", "lanes", "single"]] * (len(planes) - 1)
            block = block_that_fits(rng, type, data, MIXED_BOOKS, layout, modes)
            v.message(f"layout-{layout}-{type.name}", f"{type.name} in layout {layout}", type, data, [block], "mixed")

    # Every mode of plane 0, with every mode of plane 1.
    for first in encoder.MODES:
        for second in encoder.MODES:
            if first == second == "raw":  # longer than the elements and a byte
                continue
            data = elements(rng, bf16, MODE_UNITS, zeros=0.6)
            if first == "constant":
                data = b"".join((0x3F80 | rng.choice([0, 1, 2, 3])).to_bytes(2, "little") for _ in range(MODE_UNITS))
            if second == "constant":
                data = bytes(byte if place % 2 else 0 for place, byte in enumerate(data))
                data = b"".join((x & 0x7F80).to_bytes(2, "little") for x in struct.unpack(f"<{MODE_UNITS}H", data))
            block = block_that_fits(rng, bf16, data, MIXED_BOOKS, "exponent", [[first], [second]])
            v.message(
                f"mode-{first}-{second}", f"bf16: plane 0 {first}, plane 1 {second}", bf16, data, [block], "mixed"
            )

    # What lanes carry goes from plane to plane.
    data = elements(rng, f32, 500)
    block = block_that_fits(rng, f32, data, MIXED_BOOKS, "sign-apart", [["lanes"]] * 5)
    shows = "five planes in lanes: the lanes of each carry the states of the one behind it"
    v.message("carried-chain", shows, f32, data, [block], "mixed")
    word64 = type_named("word64")
    data = bytes(rng.choice([0, 0, 0, 1]) for _ in range(8 * 200))
    block = block_that_fits(rng, word64, data, SMALL_BOOKS, "positions", [["lanes"]] * 8)
    shows = "eight planes in lanes, by books of 8-bit and of 12-bit codes"
    v.message("carried-chain-positions", shows, word64, data, [block], "small")
    data = bytes(2 * 300)
    for modes, name in [(["lanes"], "lanes"), (["single"], "single")]:
        coded = encoder.Coded(Rng("x"), modes, 8, True, [0] * 300, [DEMO_BOOK], ())
        coded.zero_at = set(range(300))
        coded.slots, coded.escapes = ["zero"] * 300, b""
        number = u32 if name == "lanes" else varint
        if name == "lanes":
            length = len(encoder.encode_lanes(DEMO_BOOK, coded.slots, bytes(128))[1])
        else:
            length = len(encoder.encode_single(DEMO_BOOK, coded.slots))
        coded.header = (b"\0" if name == "lanes" else b"\xfb\0") + b"\x60" + number(300) + number(length) + number(0)
        rest = encoder.Coded(Rng("y"), modes, 8, False, [], SMALL_BOOKS[1:2])
        rest.header = rest.header.replace(b"\0", b"\1", 1) if name == "lanes" else b"\xfb\1" + rest.header[2:]
        block = b"\1" + encoder.write_planes([coded, rest])
        shows = "all units are coded by the zero, so plane 1 has no symbols; it is coded nevertheless"
        v.message(f"nothing-in-{name}", shows, bf16, data, [block], "small")

    # Zeros coded as exponent 0, and escapes where there is a code.
    data = elements(rng, f32, 300, zeros=0.5)
    for seed in range(99):
        block = encoder.write_block(
            Rng(f"some zeros {seed}"), f32, data, [DEMO_BOOK], "exponent", [["lanes"]] + [["raw"]] * 3
        )
        zeros = int.from_bytes(block[3:7], "little")
        exact = sum(not any(data[at : at + 4]) for at in range(0, len(data), 4))
        if len(block) <= 1 + len(data) and 0 < zeros < exact:
            break
    shows = "some exact zeros are coded by the zero and some as exponent 0 with their remainder"
    v.message("some-zeros-apart", shows, f32, data, [block], "demo")
    slots = ["escape" if place % 10 == 0 else 1 for place in range(300)]
    stream = encoder.encode_single(SMALL_BOOKS[1], slots)
    block = b"\4\xfb\1" + varint(len(stream)) + varint(30) + stream + bytes([1]) * 30
    v.message("needless-escapes", "symbols that have codes take the escape", u8, bytes([1]) * 300, [block], "small")
    base = [250 + slot - 256 for slot in range(30, 37)]
    data = bytes(rng.choice(base) for _ in range(300))
    slots = [symbol + 6 for symbol in data]
    stream = encoder.encode_single(DEMO_BOOK, slots)
    block = b"\1\xfb\0\xfa" + varint(0) + varint(len(stream)) + varint(0) + stream
    v.message("base-wraps", "base plus slot is above 255", type_named("e8m0"), data, [block], "demo")
    often = [0] * 24 + [1] * 12 + [2, 3, 4, 5, 6, 7, 8, 9, 10, 11] + ["zero"] * 3 + ["escape"] * 2
    slots = [rng.choice(often) for _ in range(999)]
    symbols = [200 if slot == "escape" else 0 if slot == "zero" else slot + 100 for slot in slots]
    states, stream = encoder.encode_lanes(SMALL_BOOKS[4], slots, bytes(128))
    escapes = bytes([200]) * slots.count("escape")
    fields = u32(slots.count("zero")) + u32(len(stream)) + u32(len(escapes))
    block = b"\1\4\x64" + fields + states + stream + escapes
    if len(block) > 1000:
        raise AssertionError("the block of 12-bit codes is too long")
    shows = "a centred book of codes of up to 12 bits, all of which occur"
    v.message("centred-12-bit", shows, type_named("e8m0"), bytes(symbols), [block], "small")

    # 12-bit codes need 4096 symbols to be embedded.
    data = bytes(rng.choice([0, 0, 0, 1, 2, 3, 9]) for _ in range(4096))
    for lanes in (True, False):
        while True:
            block = block_that_fits(rng, u8, data, [], "bytes", [["lanes-embedded" if lanes else "single-embedded"]])
            if block[2] & 15:  # a limit of 12 bits
                break
        shows = "an embedded book of 12-bit codes for 4096 symbols, the fewest that may have one"
        v.message(f"embedded-12-bit-{'lanes' if lanes else 'single'}", shows, u8, data, [block], "empty")

    # Blocks of a message, flags, contexts.
    packed = type_named("e3m2-packed")
    for flags in (0, 1):
        for context in (None, CONTEXT):
            data = elements(rng, packed, 400)
            blocks = encoder.random_blocks(rng, packed, data, MIXED_BOOKS, 10)
            name = f"two-blocks{'-checksums' if flags else ''}{'-context' if context else ''}"
            shows = "two blocks of 341 and 59 units of 3 bytes"
            v.message(name, shows, packed, data, blocks, "mixed", flags=flags, context=context, block_size=10)
    for units in (1, 2, 63, 64, 65, 127, 128, 129):
        data = elements(rng, bf16, units)
        block = encoder.random_blocks(
            rng, bf16, data, MIXED_BOOKS, 20, layout="exponent", modes=[["raw", "single"]] * 2
        )
        v.message(f"units-{units}", "whole and partial groups of 64 units", bf16, data, block, "mixed")
    data = struct.pack("<8I", 0x7FC00001, 0xFFC12345, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x80000001, 0x7F812345)
    blocks = encoder.random_blocks(
        rng, f32, data * 20, MIXED_BOOKS, 20, layout="exponent", modes=[["single", "raw"]] * 4
    )
    shows = "NaN with payloads, infinities, -0 and subnormals"
    v.message("bits-of-floats", shows, f32, data * 20, blocks, "mixed")


# ----------------------------------------------------------------------------------------------------------
# Quantized values


def random_values(rng, count, lowest, highest):
    few = [q for q in (0, 0, 0, 0, 1, -1, 2, -2) if lowest <= q <= highest]
    return [rng.randint(lowest, highest) if rng.random() < 0.05 else rng.choice(few) for _ in range(count)]


def quantized_message(rng, type, quantizer, encoder_name, values, scales, layers=None, wide=True, shape=None, **other):
    books = LAYER_BOOKS if layers else ()
    head = encoder.kind_header(
        quantizer,
        encoder_name,
        [len(values)] if shape is None else shape,
        scales,
        wide=wide,
        layers=IDS["layers"] if layers else b"",
        coded_scales=other.get("coded_scales"),
    )
    entries = [head] + ([encoder.value_stream(rng, encoder_name, values, books)] if values else [])
    header = encoder.message_header(type, 20, IDS["empty"], len(values), kind=1, context=other.get("context"))
    return encoder.write_message(header, entries)


def coded_scales(rng, scales, flags=0, type="f32", set="empty", context=None):
    data = struct.pack(f"<{len(scales)}f", *scales)
    type = type_named(type)
    header = encoder.message_header(type, 10, IDS[set], len(data) // type.unit, flags=flags, context=context)
    return encoder.write_message(
        header, encoder.random_blocks(rng, type, data, [], 10, modes=[["raw", "constant"]] * 5)
    )


def valid_quantized(v):
    rng = Rng("quantized")
    f32, bf16, f16 = reference.F32, reference.BF16, reference.F16
    q = encoder.quantizer_bytes

    def add(name, shows, type, quantizer, encoder_name, values, scales, **other):
        data = quantized_message(rng, type, quantizer, encoder_name, values, scales, **other)
        sets = ["empty", "layers"] if other.get("layers") else ["empty"]
        v.add("message", f"quantized-{name}", shows, data, sets, context=other.get("context"))

    for name in encoder.ENCODERS:
        for wide in (False, True):
            highest = 70000 if wide else 100
            values = random_values(rng, 150, -highest, highest)
            label = f"{name}-{'wide' if wide else 'narrow'}"
            shows = f"values by encoder {encoder.ENCODERS[name]}, {name}"
            layers = name == "bitmap-fixed"
            add(label, shows, f32, q("qsgd", levels=70000), name, values, [3.0], layers=layers, wide=wide)
    for depth in range(5):
        values = random_values(rng, 301, -200, 200)
        stream = varint(301) + encoder.bitmap_stream(rng, values, [], depth=depth)
        head = encoder.kind_header(q("qsgd", levels=200), "bitmap", [7, 43], [1.0])
        header = encoder.message_header(bf16, 20, IDS["empty"], 301, kind=1)
        shows = f"a bitmap of depth {depth}"
        v.add(
            "message",
            f"quantized-bitmap-depth-{depth}",
            shows,
            encoder.write_message(header, [head, stream]),
            ["empty"],
        )
    for number, other in enumerate(encoder.AUTO):
        values = random_values(rng, 100, -4, 4)
        stream = encoder.value_stream(rng, other, values) + bytes([number])
        head = encoder.kind_header(q("qsgd"), "auto", [100], [1.0])
        header = encoder.message_header(f32, 20, IDS["empty"], 100, kind=1)
        shows = f"a stream of auto that holds one of {other}"
        v.add("message", f"quantized-auto-{other}", shows, encoder.write_message(header, [head, stream]), ["empty"])
    for alphabet in (2, 3, 1 + 2**16):
        values = random_values(rng, 300, -4, 4)
        stream = varint(300) + encoder.book_stream(rng, values, alphabet)
        head = encoder.kind_header(q("qsgd"), "shs", [300], [1.0])
        header = encoder.message_header(f32, 20, IDS["empty"], 300, kind=1)
        shows = f"a book of values over alphabet {alphabet}"
        v.add(
            "message", f"quantized-alphabet-{alphabet}", shows, encoder.write_message(header, [head, stream]), ["empty"]
        )
    shows = "a lone code, which has length 0: only the number of values counts"
    add("lone-code", shows, f32, q("sign"), "huffman", [1] * 77, [0.5])

    buckets = [0.5 + 0.25 * i for i in range(4)]
    add(
        "qsgd",
        "buckets of 100, the last of 50",
        bf16,
        q("qsgd", bucket=100),
        "run-lengths",
        random_values(rng, 350, -4, 4),
        buckets,
    )
    add(
        "terngrad",
        "terngrad, rounded to f16",
        f16,
        q("terngrad", clip=2.5),
        "rlh",
        random_values(rng, 200, -1, 1),
        [1.3],
    )
    values = [0, 1, -1, 2, -2, 127, -128, 129, -278, 278] * 5
    add(
        "natural",
        "powers of two, down to where f32 has nothing left",
        f32,
        q("natural"),
        "elias-gamma",
        values,
        [2.0**127],
    )
    values = [rng.choice([-1, 1]) for _ in range(150)]
    add("sign", "signs with a mean", f32, q("sign", meaning=1, bucket=100), "qsgd-elias-dense", values, [0.5, 1.5])
    two = [0.5, -0.25, 1.5, -1.25]
    add(
        "sign-two-means",
        "signs with two means for each bucket",
        bf16,
        q("sign", meaning=2, bucket=100),
        "bitmap",
        values,
        two,
    )
    values = [int(rng.random() < 0.1) for _ in range(300)]
    kept = [float(rng.randint(-99, 99)) / 8 for _ in range(sum(values))]
    add("topk", "the values of 1 take the scales in their order", f32, q("topk", share=0.1), "qsgd-elias", values, kept)
    add("randomk", "as topk", bf16, q("randomk", share=1.0), "rlh", values, kept)
    add(
        "int8",
        "int8, with a bucket of its own for each 64",
        f16,
        q("int8", bucket=64),
        "huffman",
        random_values(rng, 200, -127, 127),
        [0.01, 0.02, 0.03, 0.04],
    )
    largest = struct.unpack("<f", bytes.fromhex("ffff7f7f"))[0]
    add(
        "int8-largest",
        "an infinite product becomes the largest finite float",
        f32,
        q("int8"),
        "run-lengths",
        [2, -2, 1, 0],
        [largest],
    )
    add(
        "f16-overflow",
        "a restored float that f16 cannot hold is infinite",
        f16,
        q("int8"),
        "run-lengths",
        [127, -127, 1],
        [60000.0],
    )
    add("no-elements", "no elements, so no scales and no blocks", f32, q("qsgd"), "huffman", [], [], shape=[3, 0])
    add("scalar", "no dimensions: one element", f32, q("qsgd"), "run-lengths", [3], [1.0], shape=[])
    scales = [float(i % 3) for i in range(150)]
    values = random_values(rng, 300, -4, 4)
    coded = coded_scales(rng, scales)
    add(
        "coded-scales",
        "scales as a message",
        f32,
        q("qsgd", bucket=2),
        "run-lengths",
        values,
        scales,
        coded_scales=coded,
    )
    add(
        "context",
        "a message of quantized values with a context",
        f32,
        q("qsgd"),
        "huffman",
        values,
        [1.0],
        context=CONTEXT,
    )


# ----------------------------------------------------------------------------------------------------------
# Files and sets


def file_parts(rng):
    """Two originals of five items, one of them quantized."""
    bf16, u8, f32 = type_named("bf16"), type_named("u8"), type_named("f32")
    first, third = elements(rng, bf16, 700), elements(rng, f32, 300)
    entries = []

    def item(type, data, tensor=None, **choices):
        blocks = encoder.random_blocks(rng, type, data, SMALL_BOOKS, 10, **choices)
        entries.extend(blocks)
        return encoder.write_item(type, len(data), blocks, tensor=tensor)

    one = [item(u8, b"a header"), item(bf16, first, ("layer.weight", "BF16", [7, 100])), item(u8, b"")]
    values = random_values(rng, 200, -4, 4)
    head = encoder.kind_header(encoder.quantizer_bytes("qsgd"), "bitmap-fixed", [200], [1.0], layers=IDS["layers"])
    quantized = [head, encoder.value_stream(rng, "bitmap-fixed", values, LAYER_BOOKS)]
    two = [item(f32, third, ("\u03b1", "<f4", [300]))]
    entries.extend(quantized)
    two.append(encoder.write_item(f32, 800, quantized, kind=1, tensor=("gradient", "F32", [200])))
    return entries, [("model.safetensors", one), ("more.npy", two)]


def valid_files(v):
    rng = Rng("files")
    directory = encoder.write_directory(10, [], [])
    v.add("file", "no-originals", "a file without sets and originals", encoder.write_file([], directory), [])
    directory = encoder.write_directory(16, [(IDS["demo"], b"")], [("empty", [])])
    shows = "an original without items, and a set that is not embedded and that nothing needs"
    v.add("file", "empty-original", shows, encoder.write_file([], directory), [])
    entries, originals = file_parts(rng)
    directory = encoder.write_directory(10, [(IDS["small"], SMALL), (IDS["layers"], LAYERS)], originals)
    shows = "two originals, the sets of tensors and of layers embedded"
    v.add("file", "two-originals", shows, encoder.write_file(entries, directory), [])
    directory = encoder.write_directory(10, [(IDS["small"], b"")], originals)
    shows = "the same without embedded sets"
    v.add("file", "two-originals-sets-apart", shows, encoder.write_file(entries, directory), ["layers", "small"])
    data = elements(rng, type_named("f16"), 1100)
    blocks = encoder.random_blocks(rng, type_named("f16"), data, MIXED_BOOKS, 10)
    item = encoder.write_item(type_named("f16"), len(data), blocks, set=1, checked=False)
    directory = encoder.write_directory(10, [(IDS["demo"], DEMO), (IDS["mixed"], MIXED)], [("x", [item])])
    shows = "three blocks, no checksums of entries, the second of two sets"
    v.add("file", "unchecked", shows, encoder.write_file(blocks, directory, flags=0), [])


def valid_sets(v):
    for name in SETS:
        v.add("set", f"set-{name}", "a set", SETS[name], [])
    books = [Book(8, 8, {i: 1}, escape=1) for i in range(192)]
    v.add("set", "set-of-192", "as many books as a set can have", encoder.write_set("", books), [])
    bindings = [("*.weight", 0, 1, 0, [0]), ("", 1, 6, 0, [0]), ("\u03b1*", 29, 4, 0, [1, 2]), ("*", 27, 5, 7, [1])]
    data = encoder.write_set("bindings \u00fc", SMALL_BOOKS, bindings)
    v.add("set", "set-bindings", "bindings of all types and of one, of layouts old and new", data, [])


# ----------------------------------------------------------------------------------------------------------
# What must be refused


def hostile_sets(v):
    def refuse(name, shows, error, why, data):
        v.add("set", f"set-{name}", shows, data, [], error=error, why=why)

    def sealed(body):
        return body + u32(reference.crc32c(body))

    start = b"HUFFBOOK\x01\0"
    book = DEMO_BOOK.serialize()

    def with_book(book):
        return sealed(start + b"\1" + book + b"\0")

    refuse("magic", "another first byte", "malformed", "HUFFBOOK", b"h" + DEMO[1:])
    refuse("version", "version 2", "version", "version 2", sealed(DEMO[:8] + b"\2" + DEMO[9:-4]))
    refuse("checksum", "a changed byte", "checksum", "", DEMO[:10] + b"x" + DEMO[11:])
    refuse("cut", "nothing behind the magic", "truncated", "", DEMO[:8])
    refuse("books-missing", "one book is announced, none is there", "truncated", "", sealed(start + b"\1"))
    books = [Book(8, 8, {i: 1}, escape=1) for i in range(193)]
    refuse("193-books", "more than 192 books", "too large", "193", encoder.write_set("", books))
    refuse("book-twice", "the same book twice", "malformed", "twice", sealed(start + b"\2" + book + book + b"\0"))
    refuse("left-over", "a byte behind the bindings", "malformed", "left over", sealed(DEMO[:-4] + b"\0"))
    refuse(
        "varint",
        "a length of two bytes that one byte holds",
        "malformed",
        "shortest",
        sealed(DEMO[:9] + b"\x84\0" + DEMO[10:-4]),
    )
    refuse("string", "a name that is not UTF-8", "malformed", "UTF-8", sealed(DEMO[:10] + b"\xff" + DEMO[11:-4]))

    refuse("width-9", "a book of width 9", "malformed", "9 bits", with_book(b"\x90" + book[1:]))
    refuse("limit-2", "a limit that is neither 8 nor 12 bits", "malformed", "limit", with_book(b"\x02" + book[1:]))
    refuse(
        "slots-turned", "the first slot is behind the last", "malformed", "slots", with_book(b"\0\x25\x24" + book[3:])
    )
    refuse(
        "slot-62", "an ordinary slot of 62 in a centred book", "malformed", "slots", with_book(b"\0\x1e\x3e" + book[3:])
    )
    refuse("padding", "padding of a book that is not 0", "malformed", "padding", with_book(book[:-1] + b"\x12"))
    refuse("first-slot", "length 0 at the first slot", "malformed", "first or last", with_book(b"\0\0\1" + b"\x10\x01"))
    long = Book(8, 8, {0: 1, 1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 7, 7: 9, 8: 9}, escape=8).serialize()
    refuse("long-code", "a code of 9 bits where 8 are the limit", "codebook", "longer", with_book(long))
    over = Book(8, 8, {0: 1, 1: 1}, escape=1).serialize()
    refuse("too-many-codes", "codes that are more than complete", "codebook", "complete", with_book(over))
    under = Book(8, 8, {0: 2, 1: 2}, escape=2).serialize()
    refuse("too-few-codes", "codes that are not complete", "codebook", "complete", with_book(under))
    no_escape = Book(0, 8, {0: 1, 1: 1}, escape=0).serialize()
    refuse("centred-no-escape", "a centred book without an escape", "codebook", "no escape", with_book(no_escape))
    needless = Book(1, 8, {0: 1, 1: 2}, escape=2).serialize()
    refuse(
        "needless-escape",
        "a plain book with codes for all symbols and an escape",
        "codebook",
        "escape",
        with_book(needless),
    )
    lacking = Book(2, 8, {0: 1, 1: 1}, escape=0).serialize()
    refuse("lacking-escape", "a plain book that lacks codes and an escape", "codebook", "escape", with_book(lacking))
    zero = Book(8, 8, {0: 1}, escape=2, zero=2).serialize()
    refuse("plain-zero", "a plain book with a zero", "codebook", "zero", with_book(zero))
    narrow = Book(0, 8, {0: 1} | {1 + i: 7 for i in range(63 - 2)}, escape=7, zero=7)
    narrow.lengths[1] = 6
    total = 2**8 - sum(2 ** (8 - n) for n in narrow.lengths.values()) - 4
    assert total == 0, total
    refuse(
        "narrow-rule",
        "codes of over 6 bits fill more than a quarter",
        "codebook",
        "narrow",
        with_book(narrow.serialize()),
    )

    def with_binding(*binding):
        return encoder.write_set("", SMALL_BOOKS, [binding])

    refuse("binding-type", "a binding for type 30", "malformed", "type 30", with_binding("*", 30, 1, 0, [0]))
    refuse("binding-layout", "a binding for layout 7", "malformed", "layout 7", with_binding("*", 1, 7, 0, [0]))
    refuse("binding-no-book", "a binding without books", "codebook", "without", with_binding("*", 1, 1, 0, []))
    refuse(
        "binding-book", "a binding to a book that is not there", "codebook", "book 5", with_binding("*", 1, 1, 0, [5])
    )
    refuse(
        "binding-alphabet", "a binding of a plain book to exponents", "codebook", "fit", with_binding("*", 1, 1, 0, [1])
    )
    layer = with_binding("*", 0, 4, 133, [1])
    refuse("binding-layer", "a binding to layer 5 of a bitmap", "codebook", "fit", layer)
    centred = with_binding("*", 0, 4, 128, [0])
    refuse("binding-layer-centred", "a binding of a centred book to a layer of a bitmap", "codebook", "fit", centred)
    refuse("binding-plane", "a binding to plane 2 of bf16", "codebook", "fit", with_binding("*", 1, 1, 2, [1]))


def hostile_messages(v):
    rng = Rng("hostile")
    bf16 = type_named("bf16")
    data = elements(rng, bf16, 600)
    blocks = encoder.random_blocks(rng, bf16, data, SMALL_BOOKS, 10)
    good = encoder.write_message(encoder.message_header(bf16, 10, IDS["small"], 600), blocks)
    header, rest = good[:16], good[16:]
    assert len(blocks) == 2

    def refuse(name, shows, error, why, message, sets=("small",), context=None):
        v.add("message", name, shows, message, list(sets), context, error, why)

    def sealed(header):
        return header[:12] + u32(reference.crc32c(header[:12]))

    def with_byte(at, byte):
        return sealed(header[:at] + bytes([byte]) + header[at + 1 :]) + rest

    refuse("magic", "another first byte", "malformed", "begin", with_byte(0, 0x49))
    refuse("version", "version 2", "version", "version 2", with_byte(1, 0x21))
    refuse("flags", "flag 2", "malformed", "flags", with_byte(1, 0x15))
    refuse("type-0", "element type 0", "malformed", "type 0", with_byte(2, 0))
    refuse("type-30", "element type 30", "malformed", "type 30", with_byte(2, 30))
    refuse("block-size-9", "blocks of 2^9 bytes", "malformed", "blocks", with_byte(3, 9))
    refuse("block-size-21", "blocks of 2^21 bytes", "malformed", "blocks", with_byte(3, 21))
    refuse("kind-3", "a message of kind 3", "kind", "kind 3", with_byte(3, 0x6A))
    refuse("kind-7", "a message of kind 7", "kind", "kind 7", with_byte(3, 0xEA))
    refuse("other-set", "a set that the receiver does not have", "set", "set", good, ["demo"])
    refuse(
        "header-checksum",
        "a changed bit in the header's checksum",
        "checksum",
        "header",
        good[:12] + bytes([good[12] ^ 1]) + good[13:],
    )
    refuse("header-cut", "half a header", "truncated", "", good[:9])
    refuse("table-cut", "half a table", "truncated", "", good[:20])
    refuse("block-cut", "the last byte is missing", "truncated", "", good[:-1])
    refuse("left-over", "a byte too many", "malformed", "left over", good + b"\0")
    equal = encoder.message_header(type_named("u8"), 10, IDS["small"], 2048)
    pair = [b"\4\xfe\1", b"\4\xfe\2"]
    message = encoder.write_message(equal, pair)
    message = message[:24] + message[28:32] + message[24:28] + pair[1] + pair[0]
    refuse(
        "blocks-exchanged", "two blocks that changed places, their checksums with them", "checksum", "entry 0", message
    )
    damaged = bytearray(good)
    damaged[-1] ^= 1
    refuse("block-checksum", "a changed bit in the last block", "checksum", "entry 1", bytes(damaged))
    other = encoder.message_header(bf16, 10, IDS["small"], 599)
    refuse("block-of-another-message", "entries of another message", "checksum", "entry 0", other + rest)
    with_context = encoder.write_message(encoder.message_header(bf16, 10, IDS["small"], 600, context=CONTEXT), blocks)
    refuse("context-missing", "the message has a context, the receiver none", "context", "", with_context)
    refuse("context-unexpected", "the receiver has a context, the message none", "context", "", good, context=CONTEXT)
    refuse(
        "context-wrong",
        "the message was made with another context",
        "checksum",
        "context",
        with_context,
        context=CONTEXT + 1,
    )
    odd = encoder.write_message(
        encoder.message_header(type_named("complex64"), 10, IDS["small"], 3), [b"\0" + bytes(12)]
    )
    header = encoder.message_header(type_named("u8"), 20, IDS["clash-a"], 5)
    clash = encoder.write_message(header, [b"\4\xfe\1"])
    v.add("message", "set-of-equal-prefix", "one of the sets whose ids begin equally", clash, ["clash-a"])
    shows = "the receiver has two sets whose ids begin with the same 4 bytes"
    refuse("sets-of-equal-prefix", shows, "set", "same 4 bytes", clash, ["clash-a", "clash-b"])
    refuse("odd-complex", "half a complex number", "malformed", "odd", odd)
    v.refused("block-length-0", "a block of 0 bytes", "malformed", "length 0", "u8", 5, [b""])
    v.refused(
        "block-too-long",
        "a block longer than its elements and a byte",
        "malformed",
        "7 bytes",
        "u8",
        5,
        [b"\0" + bytes(6)],
    )


def lanes_block(book_number, slots, escapes, carried=bytes(128), change=None):
    """A block of u8 in layout bytes, in lanes by a plain book. `change`: makes other parts of the parts."""
    book = SMALL_BOOKS[book_number]
    states, stream = encoder.encode_lanes(book, slots, carried)
    states, stream, escapes = (change or (lambda *parts: parts))(states, stream, escapes)
    return bytes([4, book_number]) + u32(len(stream)) + u32(len(escapes)) + states + stream + escapes


def hostile_blocks(v):
    rng = Rng("hostile blocks")
    slots = [rng.choice([0, 0, 0, 0, 1, 1, 2, "escape"]) for _ in range(600)]
    escapes = bytes([9]) * slots.count("escape")

    def refuse(name, shows, error, why, block, type="u8", units=600):
        v.refused(f"block-{name}", shows, error, why, type, units, [block])

    refuse("layout-7", "layout 7", "malformed", "layout 7", b"\7" + bytes(10))
    refuse("layout-of-type", "u8 has no layout exponent", "malformed", "layout 1", b"\1" + bytes(10))
    refuse("verbatim-cut", "a block of layout 0 that lacks a byte", "truncated", "", bytes(600))
    refuse("payload-cut", "a payload that lacks a byte", "truncated", "", lanes_block(1, slots, escapes)[:-1])
    refuse("payload-left-over", "a byte behind the payload", "malformed", "left over", b"\4\xfe\0\0")
    refuse("reserved-mode", "mode 200", "codebook", "200", b"\4\xc8" + bytes(10))
    refuse("no-such-book", "book 5 of a set of 5", "codebook", "book 5", b"\4\5" + bytes(300))
    refuse("no-such-book-single", "book 5 of a set of 5, single stream", "codebook", "book 5", b"\4\xfb\5" + bytes(300))
    refuse("constant", "the constant 2 in a plane of one bit", "malformed", "constant", b"\2\xfe\0\xfe\2", type="e4m3")
    refuse("alphabet", "a centred book for a plain plane", "malformed", "alphabet", b"\4\0" + bytes(300))
    refuse("width", "a book of width 1 for a plane of width 8", "malformed", "alphabet", b"\4\xfb\3" + bytes(75))
    embedded = SMALL_BOOKS[2].serialize()
    refuse(
        "long-embedded-book",
        "an embedded book of 12-bit codes for 600 symbols",
        "malformed",
        "12-bit",
        b"\4\xfc" + embedded + bytes(99),
    )
    bad = Book(8, 8, {0: 2, 1: 2}, escape=2).serialize()
    refuse(
        "embedded-book",
        "an embedded book whose codes are not complete",
        "codebook",
        "complete",
        b"\4\xfc" + bad + bytes(99),
    )
    refuse(
        "raw-padding",
        "bits behind the last symbol of a raw plane",
        "malformed",
        "raw",
        b"\2\xff\xfe\0" + bytes(87) + b"\x10",
        "e4m3",
        100,
    )

    low = lambda states, stream, escapes: (states[:128] + b"\0" + states[129:], stream, escapes)  # noqa: E731
    refuse("sentinel", "a lane's state below 2^16", "malformed", "sentinel", lanes_block(1, slots, escapes, change=low))
    low = lambda states, stream, escapes: (b"\xff\xff\0\0" + states[4:], stream, escapes)  # noqa: E731
    refuse(
        "sentinel-12-bit",
        "the same with 12-bit codes",
        "malformed",
        "sentinel",
        lanes_block(2, slots, escapes, change=low),
    )
    cut = lambda states, stream, escapes: (states, stream[1:], escapes)  # noqa: E731
    refuse(
        "stream-short",
        "the first word of the stream is missing",
        "malformed",
        "too early",
        lanes_block(1, slots, escapes, change=cut),
    )
    more = lambda states, stream, escapes: (states, b"\0" + stream, escapes)  # noqa: E731
    refuse(
        "stream-long",
        "a word that no lane takes",
        "malformed",
        "no lane takes",
        lanes_block(1, slots, escapes, change=more),
    )
    refuse(
        "stream-odd",
        "an odd number of bytes of 16-bit words",
        "malformed",
        "odd",
        lanes_block(2, slots, escapes, change=more),
    )
    for lane in range(64):

        def twice(states, stream, escapes, lane=lane):
            state = 2 * (states[lane] | states[64 + lane] << 8 | states[128 + lane] << 16)
            out = bytearray(states)
            out[lane], out[64 + lane], out[128 + lane] = state & 0xFF, state >> 8 & 0xFF, state >> 16 & 0xFF
            return bytes(out), stream, escapes

        block = lanes_block(1, slots, escapes, change=twice)
        try:
            reference.decode_block(block, type_named("u8"), 600, reference.read_set(SMALL).books)
        except reference.FormatError as error:
            if "16 bits" in str(error):
                break
    refuse("lane-end", "a lane that ends with 17 bits", "malformed", "16 bits", block)
    carried = lanes_block(1, slots, escapes, carried=bytes(127) + b"\1")
    refuse("carried", "lanes carry a byte though there is no plane behind", "malformed", "carry", carried)
    few = lambda states, stream, escapes: (states, stream, escapes[1:])  # noqa: E731
    refuse(
        "escapes-few",
        "an escape fewer than in the codes",
        "malformed",
        "escapes",
        lanes_block(1, slots, escapes, change=few),
    )
    many = lambda states, stream, escapes: (states, stream, escapes + b"\0")  # noqa: E731
    refuse(
        "escapes-many",
        "an escape more than in the codes",
        "malformed",
        "escapes",
        lanes_block(1, slots, escapes, change=many),
    )

    def single(stream, number_of_escapes=len(escapes), escapes=escapes):
        return b"\4\xfb\1" + varint(len(stream)) + varint(number_of_escapes) + stream + escapes

    stream = encoder.encode_single(SMALL_BOOKS[1], slots)
    assert stream[-1] & 1 == 0
    refuse("single-short", "a code ends behind a single stream", "malformed", "behind its stream", single(stream[:-1]))
    refuse("single-long", "a byte more than the codes need", "malformed", "more bytes", single(stream + b"\0"))
    refuse(
        "single-filling",
        "a bit of the filling is 1",
        "malformed",
        "filling",
        single(stream[:-1] + bytes([stream[-1] | 1])),
    )

    # f16 in layout exponent: plane 0 in a single stream by the demo book, the others constant.
    def f16(base, zeros, slots, escapes=b"", rest=b"\xfe\0\xfe\0", payload=b""):
        stream = encoder.encode_single(DEMO_BOOK, slots)
        fields = bytes([base]) + varint(zeros) + varint(len(stream)) + varint(len(escapes))
        return b"\1\xfb\0" + fields + rest + payload + stream + escapes

    block = f16(0, 0, [30] * 99 + [32])
    refuse("exponent-by-base", "an exponent of 32 in 5 bits", "malformed", "symbol 32", block, "f16", 100)
    block = f16(0, 0, [30] * 99 + ["escape"], b"\x20")
    refuse("exponent-by-escape", "an escaped exponent of 32 in 5 bits", "malformed", "symbol 32", block, "f16", 100)
    block = f16(0, 2, [30] * 99 + ["zero"])
    refuse("zeros-differ", "two zeros are announced, one is coded", "malformed", "zeros", block, "f16", 100)
    block = f16(0, 101, [30] * 99 + ["zero"])
    refuse("zeros-many", "more zeros than units", "malformed", "101 zeros", block, "f16", 100)
    block = f16(0, 0, [30] * 99 + ["zero"], rest=b"\xff\xff", payload=bytes(38) + bytes(100))
    refuse("zeros-none", "a unit is coded by the zero, none is announced", "malformed", "zeros", block, "f16", 100)


def hostile_quantized(v):
    rng = Rng("hostile quantized")
    q = encoder.quantizer_bytes
    values = random_values(rng, 60, -4, 4)
    set = IDS["empty"]

    def refuse(name, shows, error, why, head, streams, type="f32", units=60, block_size=20, sets=("empty",)):
        header = encoder.message_header(type_named(type), block_size, set, units, flags=0, kind=1)
        message = encoder.write_message(header, [head, *streams])
        v.add("message", f"quantized-{name}", shows, message, list(sets), error=error, why=why)

    def head(quantizer=q("qsgd"), name="run-lengths", shape=(60,), scales=(1.0,), **other):
        return encoder.kind_header(quantizer, name, list(shape), list(scales), **other)

    runs = encoder.value_stream(rng, "run-lengths", values)
    good = head()
    refuse("type", "quantized values of i32", "malformed", "i32", good, [runs], type="i32")
    refuse("complex", "quantized values of complex64", "malformed", "complex64", good, [runs], type="complex64")
    refuse("block-size", "a block size of 2^19", "malformed", "small blocks", good, [runs], block_size=19)
    refuse("quantizer-0", "quantizer 0", "malformed", "quantizer 0", b"\0" + good[1:], [runs])
    refuse("quantizer-8", "quantizer 8", "malformed", "quantizer 8", b"\x08" + good[1:], [runs])
    refuse("levels", "qsgd of no levels", "malformed", "levels", head(q("qsgd", levels=0)), [runs])
    refuse(
        "levels-many", "qsgd of more than 2^30 levels", "malformed", "levels", head(q("qsgd", levels=2**30 + 1)), [runs]
    )
    refuse("norm", "norm 2 of qsgd", "malformed", "norm", head(q("qsgd", norm=2)), [runs])
    for name, clip in [("nan", float("nan")), ("negative", -1.0), ("minus-zero", -0.0)]:
        refuse(
            f"clip-{name}",
            "a deviation that terngrad cannot clip at",
            "malformed",
            "clips",
            head(q("terngrad", clip=clip)),
            [runs],
        )
    refuse("meaning", "meaning 3 of a sign", "malformed", "sign", head(q("sign", meaning=3)), [runs])
    for share in (0.0, 1.5):
        refuse(
            f"share-{share}",
            "a share that topk cannot keep",
            "malformed",
            "share",
            head(q("topk", share=share)),
            [runs],
        )
    at = len(q("qsgd"))
    refuse("encoder-0", "encoder 0", "malformed", "encoder 0", good[:at] + b"\0" + good[at + 1 :], [runs])
    refuse("encoder-14", "encoder 14", "malformed", "encoder 14", good[:at] + b"\x0e" + good[at + 1 :], [runs])
    refuse("flags", "flag 2 of the kind header", "malformed", "flags", good[: at + 1] + b"\5" + good[at + 2 :], [runs])
    refuse("shape", "a shape of 59 for 60 elements", "malformed", "shape", head(shape=(59,)), [runs])
    refuse("scales-number", "two scales for one bucket", "malformed", "2 scales", head(scales=(1.0, 2.0)), [runs])
    refuse(
        "scales-many",
        "topk: more scales than elements",
        "malformed",
        "61 scales",
        head(q("topk"), scales=[1.0] * 61),
        [runs],
    )
    refuse("scales-cut", "a scale is missing", "truncated", "", head()[:-4], [runs])
    refuse("scales-left-over", "a byte behind the scales", "malformed", "left over", good + b"\0", [runs])
    refuse("scale-nan", "a scale that is NaN", "malformed", "finite", head(scales=(float("nan"),)), [runs])
    refuse(
        "stream-checked",
        "coded scales with checksums",
        "malformed",
        "scales",
        head(coded_scales=coded_scales(rng, [1.0], flags=1)),
        [runs],
    )
    refuse(
        "scales-type",
        "coded scales of word32",
        "malformed",
        "scales",
        head(coded_scales=coded_scales(rng, [1.0], type="word32")),
        [runs],
    )
    refuse(
        "scales-units",
        "two coded scales for one bucket",
        "malformed",
        "2 coded",
        head(coded_scales=coded_scales(rng, [1.0, 1.0])),
        [runs],
    )
    both = ("empty", "small")
    refuse(
        "scales-set",
        "coded scales of another set",
        "set",
        "",
        head(coded_scales=coded_scales(rng, [1.0], set="small")),
        [runs],
        sets=both,
    )
    refuse(
        "scales-context",
        "coded scales with a context",
        "context",
        "",
        head(coded_scales=coded_scales(rng, [1.0], context=1)),
        [runs],
    )
    fixed = encoder.value_stream(rng, "bitmap-fixed", values, LAYER_BOOKS)
    layered = head(name="bitmap-fixed", layers=IDS["layers"])
    refuse(
        "layers-missing", "a set of bitmap layers that the receiver does not have", "set", "not there", layered, [fixed]
    )
    other = head(name="bitmap-fixed", layers=IDS["small"])
    refuse("layers-other", "a set that is none of bitmap layers", "set", "none", other, [fixed], sets=both)

    def values_refused(name, shows, values, why, quantizer, scales=(1.0,), wide=True):
        stream = encoder.value_stream(rng, "run-lengths", values)
        refuse(
            name,
            shows,
            "malformed",
            why,
            head(quantizer, shape=(len(values),), scales=scales, wide=wide),
            [stream],
            units=len(values),
        )

    values_refused("value-qsgd", "a value above the levels", [5], "value of 5", q("qsgd"))
    values_refused("value-terngrad", "2 of terngrad", [2], "value of 2", q("terngrad"))
    values_refused("value-natural", "279 of natural", [279], "value of 279", q("natural"))
    values_refused("value-sign", "a sign of 0", [0], "sign of 0", q("sign"))
    values_refused("value-topk", "-1 of topk", [-1], "", q("topk"), scales=())
    values_refused("value-int8", "-128 of int8", [-128], "value of -128", q("int8"))
    values_refused(
        "value-wide", "128 where 8 bits are said to do", [128], "without flag 0", q("qsgd", levels=1000), wide=False
    )
    values_refused("scales-topk", "topk: a scale more than values of 1", [1, 0], "scales", q("topk"), scales=(1.0, 2.0))

    def stream_refused(name, shows, error, why, encoder_name, stream, count=60):
        refuse(f"stream-{name}", shows, error, why, head(name=encoder_name, shape=(count,)), [stream], units=count)

    stream_refused(
        "count",
        "a stream of 59 values for 60",
        "malformed",
        "59",
        "run-lengths",
        encoder.value_stream(rng, "run-lengths", values[:59]),
    )
    stream_refused("cut", "a stream that ends in a run", "truncated", "", "run-lengths", runs[:-1])
    stream_refused("left-over", "a byte behind a stream", "malformed", "left over", "run-lengths", runs + b"\0")
    stream_refused(
        "run", "a run beyond the last value", "malformed", "beyond", "run-lengths", varint(60) + b"\0" + varint(60)
    )
    stream_refused(
        "value-range",
        "a value that 32 bits do not hold",
        "malformed",
        "32 bits",
        "run-lengths",
        varint(1) + varint(2**32) + b"\0",
        1,
    )
    bits = encoder.Bits()
    bits.gamma(2**32)
    bits.gamma(0)
    stream_refused(
        "elias-range",
        "a number of Elias above 2^32 - 1",
        "malformed",
        "32 bits",
        "elias-gamma",
        varint(1) + bits.bytes(),
        1,
    )
    bits = encoder.Bits()
    bits.gamma(0)
    bits.gamma(0)
    stream_refused("padding", "a bit of padding that is 1", "malformed", "padding", "elias-gamma", b"\1\7", 1)
    stream_refused(
        "bits-left-over", "a byte behind codes of Elias", "malformed", "left over", "elias-gamma", b"\1\3\0", 1
    )
    stream_refused("auto-byte", "a stream of auto that ends with 8", "malformed", "ends with 8", "auto", runs + b"\x08")
    stream_refused(
        "sparse-end",
        "zeros behind the last value that are not there",
        "malformed",
        "beyond",
        "qsgd-elias",
        sparse_end(),
        1,
    )

    bits = encoder.Bits()
    bits.gamma(7)
    stream_refused(
        "bits-cut", "codes of Elias that end in a number", "truncated", "", "elias-gamma", b"\1" + bits.bytes(), 1
    )
    zeros = b"\1" + bytes(5)
    stream_refused("gamma-zeros", "gamma of more than 32 zeros", "malformed", "32 bits", "elias-gamma", zeros, 1)
    bits = encoder.Bits()
    bits.gamma(40)
    bits.number(1, 60)
    stream_refused("delta-bits", "delta of 40 bits", "malformed", "32 bits", "elias-delta", b"\1" + bits.bytes(), 1)
    bits = encoder.Bits()
    bits.omega_blocks(2**40)
    stream_refused("omega-bits", "omega of 40 bits", "malformed", "32 bits", "elias-omega", b"\1" + bits.bytes(), 1)
    bits = encoder.Bits()
    bits.omega(2**31)
    bits.number(0, 1)
    shows = "a positive value of 2^31"
    stream_refused("dense-range", shows, "malformed", "32 bits", "qsgd-elias-dense", b"\1" + bits.bytes(), 1)
    ten = b"\1" + b"\xff" * 9 + b"\2" + b"\0"
    stream_refused("varint-range", "a varint of more than 64 bits", "malformed", "64 bits", "run-lengths", ten, 1)
    eleven = b"\1" + b"\xff" * 10 + b"\1" + b"\0"
    stream_refused("varint-eleven", "a varint of eleven bytes", "malformed", "ten bytes", "run-lengths", eleven, 1)
    stream_refused("auto-empty", "an empty stream of auto", "truncated", "empty", "auto", b"", 1)

    def book(alphabet, symbols, escape, lengths, codes=b"\0"):
        """A book whose symbols are given as the numbers that are written."""
        bits = encoder.Bits()
        bits.gamma(alphabet)
        bits.gamma(len(symbols))
        bits.number(escape, 1)
        for numbers in symbols:
            for number in numbers:
                bits.gamma(number)
        last = 6
        for length in lengths:
            bits.gamma(encoder.zigzag(length - last))
            last = length
        return varint(8) + bits.bytes() + codes

    def book_refused(name, shows, error, why, stream, encoder_name="huffman"):
        stream_refused(name, shows, error, why, encoder_name, stream, 8)

    pair = [(0,), (1,)]
    v_good = book(0, pair, 0, [1, 1])
    head_of = head(shape=(8,), name="huffman")
    header = encoder.message_header(type_named("f32"), 20, set, 8, flags=0, kind=1)
    v.add(
        "message",
        "quantized-book-by-hand",
        "eight values by a book of two codes",
        encoder.write_message(header, [head_of, v_good]),
        ["empty"],
    )
    book_refused(
        "alphabet", "alphabet 1 in a stream of huffman", "malformed", "alphabet 1", book(1, [(0, 0), (1, 0)], 0, [1, 1])
    )
    book_refused(
        "alphabet-large", "alphabet 2 + 2^16", "malformed", "alphabet 65538", book(2 + 2**16, [(0, 0)], 0, []), "shs"
    )
    book_refused("no-codes", "a book without codes", "malformed", "0 codes", book(0, [], 0, []))
    book_refused("many-codes", "a book of more than 2^16 codes", "malformed", "65537 codes", many_codes())
    book_refused("symbol-twice", "a symbol that is there twice", "malformed", "twice", book(0, [(1,), (0,)], 0, [1, 1]))
    book_refused(
        "symbol-run",
        "a run of 3 where the alphabet has 2 at most",
        "malformed",
        "run of 3",
        book(3, [(0, 2), (1,)], 0, [1, 1]),
        "shs",
    )
    book_refused("code-length-0", "a code of 0 bits beside another one", "codebook", "0 bits", book(0, pair, 0, [0, 1]))
    book_refused("code-length-21", "a code of 21 bits", "codebook", "21 bits", book(0, pair, 0, [1, 21]))
    book_refused("code-incomplete", "codes that are not complete", "codebook", "complete", book(0, pair, 0, [1, 2]))

    def bitmap(depth, counts, large, planes):
        return (
            bytes([8, depth])
            + b"".join(map(varint, counts))
            + varint(len(large))
            + b"".join(map(varint, large))
            + planes
        )

    def bitmap_refused(name, shows, error, why, stream):
        stream_refused(f"bitmap-{name}", shows, error, why, "bitmap", stream, 8)

    root = b"\xff\xff"  # both planes raw
    v_good = bitmap(1, [2], [], root + b"\0\1" + b"\3")
    head_of = head(shape=(8,), name="bitmap")
    v.add(
        "message",
        "quantized-bitmap-by-hand",
        "eight values by a bitmap of depth 1",
        encoder.write_message(header, [head_of, v_good]),
        ["empty"],
    )
    bitmap_refused("depth", "depth 5", "malformed", "depth 5", bitmap(5, [0] * 5, [], b"\xff" * 6))
    bitmap_refused(
        "count",
        "another number of bytes than bits of 1",
        "malformed",
        "another number",
        bitmap(1, [1], [], root + b"\0" + b"\3"),
    )
    bitmap_refused(
        "count-large",
        "more bytes in a plane than in its layer",
        "malformed",
        "9 bytes",
        bitmap(1, [9], [], root + bytes(9) + b"\xff"),
    )
    bitmap_refused(
        "byte-255",
        "a byte of 255 in a plane that has bytes less 1",
        "malformed",
        "255",
        bitmap(1, [2], [], root + b"\0\xff" + b"\3"),
    )
    bitmap_refused(
        "large-missing",
        "a byte of 255 without its large value",
        "malformed",
        "large",
        bitmap(1, [2], [], root + b"\0\xfe" + b"\3"),
    )
    bitmap_refused(
        "large-needless",
        "a large value without its byte of 255",
        "malformed",
        "large",
        bitmap(1, [2], [3], root + b"\0\1" + b"\3"),
    )
    large = bitmap(0, [], [1] * 9, b"\xff" + bytes([255] * 8))
    bitmap_refused("large-many", "more large values than values", "malformed", "more large", large)
    bitmap_refused(
        "resident-book", "a book of a set where there is none", "codebook", "book 0", bitmap(0, [], [], b"\xfb\0\0\0")
    )
    bits = bytes([7, 1]) + varint(2) + b"\0" + root + b"\0\1" + b"\x83"
    stream_refused(
        "bitmap-bits", "bits behind the last one of a layer", "malformed", "behind the last", "bitmap", bits, 7
    )


def sparse_end():
    bits = encoder.Bits()
    bits.omega(0)
    bits.number(0, 1)
    bits.omega(0)
    bits.omega(1)
    return varint(1) + bits.bytes()


def many_codes():
    bits = encoder.Bits()
    bits.gamma(0)
    bits.gamma(2**16 + 1)
    bits.number(0, 1)
    return varint(8) + bits.bytes()


def hostile_files(v):
    u8 = type_named("u8")
    block = b"\4\xfe\1"
    item = encoder.write_item(u8, 8, [block])
    sets = [(IDS["small"], SMALL)]

    def make(sets=sets, originals=(("x", [item]),), entries=(block,), block_size=10, flags=1):
        return encoder.write_file(list(entries), encoder.write_directory(block_size, sets, list(originals)), flags)

    good = make()

    def refuse(name, shows, error, why, file, known=()):
        v.add("file", f"file-{name}", shows, file, list(known), error=error, why=why)

    def sealed(header):
        return header[:12] + u32(reference.crc32c(header[:12]))

    def trailer(start, length, magic=b"HWDE"):
        directory = good[19:-24]
        return good[:-24] + struct.pack("<QQI", start, length, reference.crc32c(directory)) + magic

    length = len(good) - 19 - 24
    assert trailer(19, length) == good
    v.add("file", "file-by-hand", "one item of one constant block", good, [])
    refuse("magic", "another first byte", "malformed", "HUFFWIRE", b"h" + good[1:])
    refuse("version", "version 2", "version", "version 2", sealed(good[:8] + b"\2\0" + good[10:12]) + good[16:])
    refuse("flags", "flag 1", "malformed", "flags", sealed(good[:10] + b"\3\0") + good[16:])
    refuse(
        "header-checksum",
        "a changed bit in the header's checksum",
        "checksum",
        "header",
        good[:12] + bytes([good[12] ^ 1]) + good[13:],
    )
    refuse("cut", "a header and nothing else", "truncated", "", good[:16])
    refuse("trailer-magic", "another end", "malformed", "HWDE", trailer(19, length, b"HWDF"))
    refuse("trailer-start", "a directory that begins in the header", "malformed", "header", trailer(15, length + 4))
    refuse(
        "trailer-length",
        "a directory that does not end at the trailer",
        "malformed",
        "trailer",
        trailer(19, length - 1),
    )
    refuse(
        "trailer-overflow",
        "a beginning and a length that exceed 64 bits",
        "malformed",
        "trailer",
        trailer(2**64 - 1, length + 20),
    )
    damaged = bytearray(good)
    damaged[19] ^= 1
    refuse("directory-checksum", "a changed bit in the directory", "checksum", "directory", bytes(damaged))
    damaged = bytearray(good)
    damaged[18] ^= 1
    refuse("entry-checksum", "a changed bit in an entry", "checksum", "entry 0", bytes(damaged))
    refuse("block-size", "blocks of 2^9 bytes", "malformed", "blocks", make(block_size=9))
    refuse("set-twice", "a set that is named twice", "malformed", "twice", make(sets=sets * 2))
    refuse("set-id", "an embedded set with another id", "malformed", "another id", make(sets=[(IDS["demo"], SMALL)]))
    refuse(
        "set-missing",
        "a set that is neither embedded nor known",
        "set",
        "coded with",
        make(sets=[(IDS["demo"], b"")]),
        ["small"],
    )
    for number, name in enumerate(["", ".", "..", "a/b", "a\\b", "c:", "\x1f", "\x7f", "\u0085"]):
        refuse(
            f"name-{number}",
            f"an original named {name!r}",
            "malformed",
            "plain name",
            make(originals=[(name, [])], entries=[]),
        )
    refuse(
        "name-twice",
        "two originals of one name",
        "malformed",
        "two originals",
        make(originals=[("x", [item]), ("x", [])]),
    )
    refuse("kind", "an item of kind 3", "kind", "kind 3", make(originals=[("x", [b"\3" + item[1:]])]))
    refuse("type", "element type 30", "malformed", "type 30", make(originals=[("x", [item[:1] + b"\x1e" + item[2:]])]))
    refuse(
        "set-number",
        "set 1 of 1",
        "malformed",
        "set 1",
        make(originals=[("x", [encoder.write_item(u8, 8, [block], set=1)])]),
    )
    word = encoder.write_item(type_named("word16"), 7, [block])
    refuse("half-unit", "7 bytes of word16", "malformed", "7 bytes", make(originals=[("x", [word])]))
    odd = encoder.write_item(type_named("complex32"), 2, [block])
    refuse("half-complex", "half a complex number", "malformed", "odd", make(originals=[("x", [odd])]))
    large = encoder.write_item(u8, 2**63, [block])
    refuse("size", "an item of 2^63 bytes", "malformed", str(2**63), make(originals=[("x", [large])]))
    claim = encoder.write_item(u8, 2**62, [block])
    refuse("claim", "an item of 2^62 bytes and one block", "malformed", "", make(originals=[("x", [claim])]))
    empty = encoder.write_item(u8, 8, [b""])
    refuse(
        "block-length-0", "a block of 0 bytes", "malformed", "length 0", make(originals=[("x", [empty])], entries=[])
    )
    kind_1 = encoder.write_item(reference.F32, 0, [b""], kind=1)
    shows = "a kind header of 0 bytes"
    refuse("kind-header-0", shows, "malformed", "length 0", make(originals=[("x", [kind_1])], entries=[]))
    longer = encoder.write_item(u8, 8, [bytes(10)])
    refuse(
        "block-too-long",
        "a block longer than its elements and a byte",
        "malformed",
        "10 bytes",
        make(originals=[("x", [longer])], entries=[bytes(10)]),
    )
    refuse(
        "entries-short",
        "entries are longer than the space before the directory",
        "malformed",
        "longer than",
        make(entries=[block[:2]]),
    )
    refuse(
        "entries-long",
        "a byte between the entries and the directory",
        "malformed",
        "left over",
        make(entries=[block, b"\0"]),
    )
    directory = encoder.write_directory(10, sets, [("x", [item])]) + b"\0"
    refuse(
        "directory-left-over",
        "a byte at the end of the directory",
        "malformed",
        "left over",
        encoder.write_file([block], directory),
    )
    refuse(
        "directory-cut",
        "a directory that ends in an item",
        "truncated",
        "",
        encoder.write_file([block], directory[:-3]),
    )


# ----------------------------------------------------------------------------------------------------------
# Deltas


def changed(rng, type, base, every):
    """A result in which one word in so many changes, mostly by little."""
    form = delta.form_of(type)
    words = form.words(base)
    for place in range(len(words)):
        if rng.randrange(every) == 0:
            any_word = rng.randrange(2**form.bits)
            words[place] = rng.choice([form.moved(words[place], rng.choice([1, -1, 1, -1, 2, 7])), any_word])
    return form.bytes(words)


def valid_deltas(v):
    rng = Rng("deltas")
    id = IDS["mixed"]

    def add(name, shows, type, base, result, holds, **choices):
        flags, context = choices.pop("flags", 1), choices.pop("context", None)
        blocks = [delta_encoder.write_block(rng, type, base, result, MIXED_BOOKS, holds, **choices)] if base else []
        data = delta_encoder.write_delta(type, len(base) // type.unit, blocks, id, flags=flags, context=context)
        decoded = v.add("message", f"delta-{name}", shows, data, ["mixed"], context, base=base)
        assert decoded == result, name

    bf16 = type_named("bf16")
    add("empty", "no units, so no blocks", bf16, b"", b"", 0)
    base = elements(rng, bf16, 300)
    add("unchanged", "a block in which nothing changes", bf16, base, base, delta.UNCHANGED)
    for type in reference.TYPES.values():
        if type.coded_as != type.name and not type.is_complex:
            continue
        base = elements(rng, type, 300)
        for holds, name in [(delta.PLAIN, "plain"), (delta.DENSE, "dense")]:
            shows = f"{type.name}, {name}"
            add(f"{name}-{type.name}", shows, type, base, changed(rng, type, base, 3), holds)
        for every in (4, 60):
            result = changed(rng, type, base, every)
            shows = f"{type.name}: levels of classes are sent, one word in {every} changes"
            add(f"densities-{type.name}-{every}", shows, type, base, result, delta.DENSITIES)
            if delta.form_of(type).exponent:
                shows = f"{type.name}: levels follow from the size of a step, one word in {every} changes"
                add(f"step-{type.name}-{every}", shows, type, base, result, delta.STEP)
    base = elements(rng, bf16, 20_000)
    for k in range(3):
        shows = f"tiles of 4096 words in {2**k} chains, one of them partial"
        add(f"chains-{2**k}", shows, bf16, base, changed(rng, bf16, base, 500), delta.STEP, k=k)
    model = varint(4 * 13 + 30) + b"\x09"
    shows = "one change in 20000 words that are unlikely to change: time passes 12 octaves at a time"
    words = bytearray(base)
    words[-2] ^= 1
    add("escapes", shows, bf16, base, bytes(words), delta.DENSITIES, model=b"\0\xff" + b"\x40\0" * 256, k=1)
    shows = "all words change"
    result = delta.form_of(bf16).bytes(word ^ 1 for word in delta.form_of(bf16).words(base[:2000]))
    add("all", shows, bf16, base[:2000], result, delta.STEP, model=model)
    special = struct.pack("<8H", 0x7F80, 0xFF80, 0x7FC1, 0xFFFF, 0x8000, 0, 1, 0x8001)
    shows = "infinities, NaN with payloads, -0, +0 and subnormals turn into each other"
    same = bytes(512)
    turned = special[2:] + special * 7 + special[:2]
    add("bits-of-floats", shows, bf16, special * 8 + same, turned + same, delta.STEP, model=model)
    for flags in (0, 1):
        for context in (None, CONTEXT):
            name = f"flags-{flags}{'-context' if context else ''}"
            result = changed(rng, bf16, base[:800], 20)
            shows = "checksums and contexts"
            add(name, shows, bf16, base[:800], result, delta.STEP, model=model, flags=flags, context=context)


def hostile_deltas(v):
    rng = Rng("hostile deltas")
    type, id = type_named("bf16"), IDS["mixed"]
    base = elements(rng, type, 300)
    result = changed(rng, type, base, 20)
    model = varint(4 * 13 + 30) + b"\x09"
    integers = type_named("i8")

    def refuse(name, shows, error, why, block=None, base=base, type=type, kind_header=b"\1", **header):
        units = header.get("units", len(base) // type.unit)
        blocks = [good if block is None else block]
        data = delta_encoder.write_delta(type, units, blocks, id, flags=0, kind_header=kind_header)
        data = header.get("edit", lambda data: data)(data)
        v.add("message", f"delta-{name}", shows, data, ["mixed"], error=error, why=why, base=base)

    def block(holds=delta.STEP, type=type, base=base, result=result, **choices):
        return delta_encoder.write_block(rng, type, base, result, MIXED_BOOKS, holds, **choices)

    def with_bytes(data, at, new):
        return data[:at] + bytes(new) + data[at + len(new) :]

    good = block(model=model, k=0)
    refuse("other-base", "a base that differs in a bit", "base", "base", base=base[:-1] + bytes([base[-1] ^ 1]))
    refuse("applied", "the result as the base", "base", "base", base=result)
    refuse("kind-header", "a kind header of 2", "malformed", "kind header", kind_header=b"\2")
    refuse("no-kind-header", "a kind header of no bytes", "malformed", "kind header", kind_header=b"")
    refuse("holds-5", "a block that holds 5", "malformed", "holds 5", with_bytes(good, 0, [5]))
    refuse("unchanged-long", "an unchanged block with a payload", "malformed", "left over", block(0) + b"\0")
    refuse("no-changes", "0 changes", "malformed", "0 changes", with_bytes(good, 33, [0]))
    refuse("many-changes", "more changes than words", "malformed", "changes", block(1, changes=301))
    refuse("fewer-changes", "fewer changes are announced than there are", "malformed", "more than", block(model=model, changes=2))
    refuse("more-changes", "more changes are announced than there are", "malformed", "changes", block(model=model, changes=299))
    refuse("plain-changes", "a plain block with another number of changes", "malformed", "changes", block(1, changes=299))
    refuse("other-result", "another result", "result", "result", with_bytes(good, 17, [good[17] ^ 1]))
    refuse("level-168", "zeros at level 168", "malformed", "168", with_bytes(good, 35, [168]))
    refuse("step-1193", "a step of 1193", "malformed", "1193", good[:34] + varint(1193) + good[35:])
    bytes_base, bytes_result = base[:300], result[:300]
    of_bytes = block(delta.DENSITIES, integers, bytes_base, bytes_result, k=0)
    shows = "a step, and integers"
    refuse("step-of-integers", shows, "malformed", "step", b"\3" + of_bytes[1:], bytes_base, integers)
    refuse("two-classes", "two classes of integers", "malformed", "classes", with_bytes(of_bytes, 35, [1]), bytes_base, integers)
    levels = block(delta.DENSITIES, model=b"\xff\0\1\1", k=0)
    refuse("class-256", "levels of class 256", "malformed", "classes", with_bytes(levels, 35, [1]))
    refuse("level-200", "a sent level of 200", "malformed", "level", with_bytes(levels, 36, [200]))
    refuse("chains-8", "eight chains", "malformed", "chains", with_bytes(good, 36, [3]))
    refuse("chain-long", "more words than there are", "truncated", "needed", with_bytes(good, 37, [0x7F]))
    refuse("chain-left-over", "a byte behind the last chain", "malformed", "left over", good + b"\0")
    refuse("chain-cut", "a chain of fewer words", "malformed", "chain", with_bytes(good, 37, [good[37] - 1])[:-4])
    extra = with_bytes(good, 37, [good[37] + 1]) + bytes(4)
    refuse("chain-unread", "a word that no chain takes", "malformed", "chain", extra)
    refuse("state-low", "a state below 2^31", "malformed", "state", with_bytes(good, 38, [0, 0, 0, 0, 0, 0, 0, 0]))
    refuse("state-high", "a state of 2^63", "malformed", "state", with_bytes(good, 45, [0x80]))
    plain = block(delta.PLAIN)
    refuse("parts-of-2-9", "parts of 2^9 bytes", "malformed", "2^9", with_bytes(plain, 34, [9]))
    refuse("part-empty", "a part of no bytes", "malformed", "length 0", with_bytes(plain, 35, [0]))
    refuse("parts-cut", "parts that end early", "truncated", "", plain[:-1])
    refuse("parts-left-over", "a byte behind the parts", "malformed", "left over", plain + b"\0")
    refuse("cut", "a block that ends in its header", "truncated", "", good[:30])
    refuse("base-short", "a base of fewer bytes", "base", "598 bytes", base=base[:-2], units=300)
    refuse("block-empty", "a block of no bytes", "malformed", "a block of a delta of 0 bytes", b"")
    longest = 39 + 4 + len(base)
    refuse("block-long", "a block beyond its bound", "malformed", "a block of a delta", bytes(longest + 1))

    # The table of so small blocks has other lengths where there are more than 1024 units.
    for units, words in ((300, "few"), (2000, "many")):
        header = encoder.message_header(type, 10, id, units, flags=0, kind=2)
        name, shows = f"small-blocks-{words}", f"blocks of 2^10 units, {units} units"
        refuse(name, shows, "malformed", "small blocks", edit=lambda data, header=header: header + data[len(header) :])


def delta_file(rng, items, block_size=10, checked=True, kind_header=b"\1"):
    """A file of an original with a header and deltas: name, type, base, result, what its block holds."""
    u8 = type_named("u8")
    entries = encoder.random_blocks(rng, u8, b"a header", MIXED_BOOKS, block_size)
    written = [encoder.write_item(u8, 8, entries, checked=checked)]
    for name, type, base, result, holds in items:
        blocks = [delta_encoder.write_block(rng, type, base, result, MIXED_BOOKS, holds)] if base else []
        tensor = (name, type.name.upper(), [len(base) // type.unit])
        of_item = [kind_header, *blocks]
        written.append(encoder.write_item(type, len(base), of_item, kind=2, tensor=tensor, checked=checked))
        entries = entries + of_item
    directory = encoder.write_directory(block_size, [(IDS["mixed"], b"")], [("new.safetensors", written)])
    return encoder.write_file(entries, directory, flags=int(checked)), written, entries


def items_of_deltas(rng):
    bf16, f32, packed = type_named("bf16"), type_named("f32"), type_named("e3m2-packed")
    a, b, c = elements(rng, bf16, 700), elements(rng, f32, 300), elements(rng, packed, 100)
    return [
        ("step", bf16, a, changed(rng, bf16, a, 40), delta.STEP),
        ("same", bf16, a, a, delta.UNCHANGED),
        ("dense", f32, b, changed(rng, f32, b, 2), delta.DENSE),
        ("none", f32, b"", b"", delta.UNCHANGED),
        ("packed", packed, c, changed(rng, packed, c, 9), delta.DENSITIES),
        ("plain", bf16, a[:200], changed(rng, bf16, a[:200], 1), delta.PLAIN),
    ]


def valid_delta_files(v):
    rng = Rng("files of deltas")
    for checked in (True, False):
        items = items_of_deltas(rng)
        data, _, _ = delta_file(rng, items, checked=checked)
        shows = f"an original with items that are deltas, {'with' if checked else 'without'} checksums"
        name = f"deltas{'' if checked else '-unchecked'}"
        decoded = v.add("file", name, shows, data, ["mixed"], bases={item[0]: item[2] for item in items})
        assert decoded == {"new.safetensors": b"a header" + b"".join(item[3] for item in items)}


def hostile_delta_files(v):
    rng = Rng("hostile files of deltas")
    items = items_of_deltas(rng)[:1]
    [(name, type, base, result, _)] = items

    def refuse(vector, shows, error, why, data, base=base):
        v.add("file", f"file-delta-{vector}", shows, data, ["mixed"], error=error, why=why, bases={name: base})

    def with_item(item, entries):
        directory = encoder.write_directory(10, [(IDS["mixed"], b"")], [("new.safetensors", [item])])
        return encoder.write_file(entries, directory)

    good, _, _ = delta_file(rng, items)
    refuse("base", "a base that differs in a bit", "base", "base", good, base[:-1] + bytes([base[-1] ^ 1]))
    refuse("applied", "the result as the base", "base", "base", good, result)
    refuse("short-base", "a base of fewer bytes", "base", "bytes", good, base[:-2])
    shows = "a kind header of a delta that is not 1"
    refuse("kind-header", shows, "malformed", "kind header", delta_file(rng, items, kind_header=b"\2")[0])
    shows = "a kind header of a delta of two bytes"
    refuse("kind-header-long", shows, "malformed", "kind header", delta_file(rng, items, kind_header=b"\1\0")[0])
    damaged = bytearray(good)
    damaged[good.index(delta.content_hash(base))] ^= 1
    refuse("checksum", "a changed bit in a block of a delta", "checksum", "checksum", bytes(damaged))
    long = [b"\1", bytes(39 + 2 * 4 + len(base) + 1)]
    tensor = (name, "BF16", [len(base) // 2])
    item = encoder.write_item(type, len(base), long, kind=2, tensor=tensor)
    refuse("block-long", "a block of a delta beyond its bound", "malformed", "a block of a delta", with_item(item, long))
    few = encoder.write_item(type, 2 * (2**20 + 1), [b"\1", b"\0"], kind=2, tensor=tensor)
    shows = "a delta of 2^20 + 1 units and one block"
    refuse("few-blocks", shows, "malformed", "", with_item(few, [b"\1", b"\0"]))


def make_all():
    """Paths and contents of all files of this folder that are made."""
    vectors = Vectors()
    valid_messages(vectors)
    valid_quantized(vectors)
    valid_deltas(vectors)
    valid_files(vectors)
    valid_delta_files(vectors)
    valid_sets(vectors)
    hostile_messages(vectors)
    hostile_blocks(vectors)
    hostile_quantized(vectors)
    hostile_deltas(vectors)
    hostile_files(vectors)
    hostile_delta_files(vectors)
    hostile_sets(vectors)
    lines = ",\n".join("    " + json.dumps(vector) for vector in vectors.vectors)
    manifest = f'{{\n  "format": "huffwire test vectors",\n  "version": 1,\n  "vectors": [\n{lines}\n  ]\n}}\n'
    return vectors.files | {"manifest.json": manifest.encode()}


def main():
    made = make_all()
    for folder in ("sets", "bases", "valid", "hostile"):
        shutil.rmtree(FOLDER / folder, ignore_errors=True)
    for path, data in made.items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_bytes(data)
    print(f"{len(made)} files, {sum(map(len, made.values()))} bytes")


if __name__ == "__main__":
    main()
