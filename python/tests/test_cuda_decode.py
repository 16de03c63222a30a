"""Decoding by kernels, in the emulator: the same elements as from the CPU, and the same refusals.

Most messages here come from the encoder of reference/, which draws every choice that the format leaves open, or from
test_vectors/. What the kernels write beside the output shows in guard zones around it; what they read beside the
message shows in one test that runs under the address sanitizer.
"""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import huffwire
from emulated import EmulatedDevice
from huffwire.cuda import _decode, _tables
from huffwire.cuda._types import BY_NUMBER, TYPES

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "test_vectors"
sys.path.append(str(ROOT / "reference"))

import huffwire_reference as reference  # noqa: E402
import reference_encoder as encoder  # noqa: E402

SANITIZE = os.environ.get("HUFFWIRE_TEST_SANITIZED", "")
BUILTIN = huffwire.Codebooks.builtin()
GUARD = 64
FAST_TYPES = ["bf16", "f16", "f32", "e4m3", "e5m2"]


class Decoded:
    """What came of a message: the elements, and how many blocks each kernel had."""

    def __init__(self, message, dtype, units, *, sets=(BUILTIN,), context=None, seed=1, skew=0, spare=None):
        number = encoder.TYPE_NUMBERS[dtype]
        device = EmulatedDevice(seed=seed, sanitize=SANITIZE)
        spans = []

        def empty(size):
            spans.append(EmulatedDevice.empty(device, size))
            return spans[-1]

        tables = device.upload(_tables.tables(sets))
        # The message ends where its memory ends: the sanitizer sees a read behind it.
        place = device.upload(bytes(skew) + message + (spare or b"")).part(skew, len(message) + len(spare or b""))
        length = device.upload(struct.pack("<Q", len(message))) if spare is not None else None
        size = units * BY_NUMBER[number].unit
        guarded = device.empty(size + 2 * GUARD)
        device.empty = empty
        status = _decode.decode(
            device, tables, place, guarded.part(GUARD, size), number, units, length=length, context=context
        )
        memory = device.read(guarded)
        assert memory[:GUARD] + memory[GUARD + size :] == b"\xa5" * 2 * GUARD
        _decode.check(device.read(status))
        self.elements = memory[GUARD : GUARD + size]
        self.blocks, self.long_blocks, self.any_blocks, self.apart_blocks = (
            struct.unpack_from("<I", device.read(spans[1]), 4 * field)[0] for field in (0, 9, 10, 11)
        )
        self.launches = device.launches


def decode(message, dtype, units, **options):
    return Decoded(message, dtype, units, **options).elements


def floats(dtype, values):
    """The bytes of floats in an element type, cut off and not rounded."""
    coded = reference.TYPES[encoder.TYPE_NUMBERS[dtype]].coded_as
    if coded == "f32":
        return struct.pack(f"<{len(values)}f", *values)
    if coded == "bf16":
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    halves = struct.pack(f"<{len(values)}e", *values)
    if coded == "f16":
        return halves
    upper = halves[1::2]
    return upper if coded == "e5m2" else bytes(byte << 1 & 0x7E | byte & 0x80 for byte in upper)


def gaussian(rng, dtype, count):
    return floats(dtype, [rng.gauss(0, 0.02) for _ in range(count)])


def reference_set(books):
    return huffwire.Codebooks.from_bytes(encoder.write_set("test", books))


def reference_message(rng, dtype, data, books, block_size, *, flags=1, context=None, **choices):
    type = reference.TYPES[encoder.TYPE_NUMBERS[dtype]]
    blocks = encoder.random_blocks(rng, type, data, books, block_size, **choices)
    units = len(data) // type.unit
    header = encoder.message_header(type, block_size, encoder.set_id(books), units, flags=flags, context=context)
    return encoder.write_message(header, blocks)


# ----------------------------------------------------------------------------------------------------------
# Test vectors


def message_vectors():
    manifest = json.loads((VECTORS / "manifest.json").read_text())
    return [vector for vector in manifest["vectors"] if vector["kind"] == "message"]


def is_tensor(vector):
    header = (VECTORS / vector["file"]).read_bytes()[:16]
    return len(header) < 4 or header[3] >> 5 not in (1, 2)


def decode_vector(vector, seed=1):
    message = (VECTORS / vector["file"]).read_bytes()
    header = message[:16].ljust(16, b"\0")
    dtype = reference.TYPES[header[2]].name if header[2] in reference.TYPES else "u8"
    units = min(struct.unpack("<I", header[8:12])[0], 1 << 20)
    sets = [huffwire.Codebooks.load(VECTORS / path) for path in vector["sets"]]
    return decode(message, dtype, units, sets=sets, context=vector.get("context"), seed=seed)


def check_vector(vector, seed=1):
    if "output" in vector:
        assert decode_vector(vector, seed) == (VECTORS / vector["output"]).read_bytes()
    else:
        with pytest.raises(huffwire.Error):
            decode_vector(vector, seed)


@pytest.mark.parametrize("vector", list(filter(is_tensor, message_vectors())), ids=lambda vector: vector["name"])
def test_vectors_of_the_format(vector):
    check_vector(vector)


def test_other_kinds_are_left_to_the_cpu():
    others = [vector for vector in message_vectors() if not is_tensor(vector) and "output" in vector]
    assert len(others) > 50
    for vector in others:
        with pytest.raises(huffwire.MismatchError, match="decode it on the CPU"):
            decode_vector(vector)


# ----------------------------------------------------------------------------------------------------------
# What the CPU encodes


def tensors(rng, dtype, units):
    """Tensors of several kinds, as bytes."""
    size = units * TYPES[dtype].unit
    coded = reference.TYPES[encoder.TYPE_NUMBERS[dtype]].coded_as
    yield "random", rng.randbytes(size)
    yield "zeros", bytes(size)
    if coded in FAST_TYPES:
        yield "weights", gaussian(rng, dtype, units)
        yield "relu", floats(dtype, [max(rng.gauss(0, 0.02), 0) for _ in range(units)])
        yield "sparse", floats(dtype, [rng.gauss(0, 1) * (rng.random() < 0.1) for _ in range(units)])
        yield "wide", floats(dtype, [rng.choice([1, -1]) * 2.0 ** rng.randint(-24, 15) for _ in range(units)])
        yield "nan", (b"\xff\x7f\x01\x80" * (size // 4 + 1))[:size]
    else:
        yield "few", bytes(int(rng.expovariate(0.2)) % 64 for _ in range(size))
    if coded == "f32":
        yield "from bf16", b"".join(b"\0\0" + gaussian(rng, "bf16", 1) for _ in range(units))


SIZES = [0, 1, 2, 63, 64, 65, 127, 128, 129, 1000, 4096, 20_001]


@pytest.mark.parametrize("dtype", encoder.TYPE_NUMBERS)
def test_tensors_of_all_types(dtype):
    rng = random.Random(dtype)
    for units in SIZES:
        units -= units % 2 if dtype.startswith("complex") else 0
        for kind, data in tensors(rng, dtype, units):
            options = {
                "level": rng.choice(["fast", "max"]),
                "symbols": rng.choice(["auto", "auto", "bytes", "byte-planes"]),
                "checksums": rng.random() < 0.5,
                "context": rng.choice([None, 0, 2**64 - 1]),
            }
            message = huffwire.encode(data, dtype, **options)
            seed, skew = rng.randrange(2**32), rng.randrange(8)
            decoded = decode(message, dtype, units, context=options["context"], seed=seed, skew=skew)
            assert decoded == data, (kind, units, options)


def test_blocks_and_their_borders():
    rng = random.Random(2)
    block = (1 << 17) // 2
    weights = gaussian(rng, "bf16", 2 * block + 1)
    for units in [block - 1, block, block + 1, 2 * block + 1]:
        data = weights[: 2 * units]
        decoded = Decoded(huffwire.encode(data, "bf16"), "bf16", units)
        assert decoded.elements == data
        assert decoded.blocks == -(-units // block)


def test_sets_are_told_apart():
    rng = random.Random(3)
    sets = [reference_set([encoder.random_book(rng, 8, 8)]) for _ in range(3)]
    data = gaussian(rng, "bf16", 5000)
    for codebooks in [*sets, BUILTIN]:
        message = huffwire.encode(data, "bf16", codebooks=codebooks)
        assert decode(message, "bf16", 5000, sets=[*sets, BUILTIN]) == data
    with pytest.raises(huffwire.CodebookError, match=BUILTIN.id[:8]):
        decode(message, "bf16", 5000, sets=sets)


# ----------------------------------------------------------------------------------------------------------
# What the encoder of the reference draws


def drawn_books(rng):
    books = [encoder.random_book(rng, width, longest) for width in range(9) for longest in (8, 12)]
    return books + [encoder.random_book(rng, 0, longest, zero=True) for longest in (8, 12)]


def check_drawn_messages(dtype, rounds, seed):
    rng = random.Random(f"{dtype} {seed}")
    unit = TYPES[dtype].unit
    for _ in range(rounds):
        units = rng.choice([1, 5, 100, 1024, 3000]) // unit * 2 + 2
        _, data = rng.choice(list(tensors(rng, dtype, units)))
        books = drawn_books(rng)
        message = reference_message(rng, dtype, data, books, rng.choice([10, 11, 13]), flags=rng.randrange(2))
        assert decode(message, dtype, units, sets=[reference_set(books)], seed=rng.randrange(2**32)) == data


@pytest.mark.parametrize("dtype", encoder.TYPE_NUMBERS)
def test_drawn_blocks(dtype):
    check_drawn_messages(dtype, 12, 1)


# ----------------------------------------------------------------------------------------------------------
# Fast kernels: plane 0 with a book of the set, the others raw, or constant where that is taken

COMMON = {"bf16": 1, "f16": 1, "f32": 1, "e4m3": 2, "e5m2": 2}
"""Types that have fast kernels, and the number of the layout that these decode."""


def common_book(dtype, longest, zero, data):
    """A book for the exponents of Gaussian values, or for the most frequent bytes."""
    if COMMON[dtype] == 1:
        # Small exponents are the rarer the smaller they are.
        lengths = {40 - i: 1 + i for i in range(longest - 1 + (longest == 12))}
        if zero:
            lengths[40] = 2
        return encoder.Book(0, longest, lengths, escape=max(lengths.values()), zero=2 * zero)
    frequent = [symbol for symbol, _ in Counter(byte & 0x7F for byte in data).most_common(40)]
    lengths = sorted(encoder.random_lengths(random.Random(longest), len(frequent) + 1, longest))
    return encoder.Book(7, longest, dict(zip(frequent, lengths[:-1], strict=True)), escape=lengths[-1])


def with_zeros(rng, dtype, data, share, others):
    """Some units become zeros; with `others` of all kinds: +0, -0, subnormals."""
    unit = TYPES[dtype].unit
    zeros = [bytes(unit)] * 8 + [bytes(unit - 1) + b"\x80", b"\1" + bytes(unit - 1)] * others
    out = bytearray(data)
    for at in range(0, len(out), unit):
        if rng.random() < share:
            out[at : at + unit] = rng.choice(zeros)
    return bytes(out)


def with_sign(dtype, data, negative):
    """All values get the same sign."""
    unit = TYPES[dtype].unit
    out = bytearray(data)
    for at in range(unit - 1, len(out), unit):
        out[at] = out[at] & 0x7F | 0x80 * negative
    return bytes(out)


def common_messages(dtype, longest, zero, seed, **options):
    """Messages for a fast kernel: data, message, set."""
    rng = random.Random(f"{dtype} {longest} {zero} {seed}")
    for units in [1500, 4096, rng.randrange(5000, 20000), 70_000 if seed == 0 else 3000]:
        data = gaussian(rng, dtype, units)
        if dtype == "f32" and rng.random() < 0.3:
            data = b"".join(bytes(2) + data[at + 2 : at + 4] for at in range(0, len(data), 4))
        # No fast kernel takes 12-bit codes in layout sign-apart.
        sign = rng.choice([None, False, True]) if longest == 8 or COMMON[dtype] == 2 else None
        if sign is not None:
            data = with_sign(dtype, data, sign)
        if zero:
            data = with_zeros(rng, dtype, data, rng.choice([0.1, 0.6, 0.95]), others=sign is None)
        book = common_book(dtype, longest, zero, data)
        bindings = [("*", encoder.TYPE_NUMBERS[dtype], COMMON[dtype], 0, [0])]
        codebooks = huffwire.Codebooks.from_bytes(encoder.write_set("test", [book], bindings))
        message = huffwire.encode(data, dtype, codebooks=codebooks, **options)
        yield data, message, codebooks


# Plain books have no zero.
CASES = [
    (dtype, longest, zero)
    for dtype in COMMON
    for longest in (8, 12)
    for zero in range(2)
    if COMMON[dtype] == 1 or not zero
]


@pytest.mark.parametrize(("dtype", "longest", "zero"), CASES)
def test_common_blocks_by_the_fast_kernels(dtype, longest, zero):
    taken = apart = 0
    for seed in range(4):
        for data, message, codebooks in common_messages(dtype, longest, zero, seed):
            units = len(data) // TYPES[dtype].unit
            decoded = Decoded(message, dtype, units, sets=[codebooks], seed=seed, skew=seed)
            assert decoded.elements == data
            taken += decoded.blocks - decoded.any_blocks
            apart += decoded.apart_blocks
            assert decoded.long_blocks == 0 or longest == 12
    assert taken >= 6
    assert apart >= 3 or longest == 12 or COMMON[dtype] == 2


@pytest.mark.parametrize(
    ("dtype", "layout", "modes", "plane"),
    [
        ("f16", "exponent", ["lanes", "raw", "constant"], range(7, 10)),
        ("f16", "sign-apart", ["lanes", "raw", "constant", "constant"], range(8, 10)),
        ("f32", "exponent", ["lanes", "raw", "raw", "constant"], range(15, 23)),
        ("f32", "sign-apart", ["lanes", "raw", "raw", "constant", "constant"], range(16, 23)),
    ],
)
def test_constant_planes_beside_exact_zeros(dtype, layout, modes, plane):
    """Zeros that are coded apart have no symbols in a plane: it may be constant, and not 0."""
    rng = random.Random(f"{dtype} {layout}")
    unit = TYPES[dtype].unit
    seen = 0
    for symbol in (1, 2, 3):
        words = np.frombuffer(gaussian(rng, dtype, 3000), f"<u{unit}").copy()
        words &= ~words.dtype.type(sum(1 << bit for bit in plane) | (1 << 8 * unit - 1) * (layout == "sign-apart"))
        words |= words.dtype.type(symbol << plane.start)
        words[[rng.random() < 0.4 for _ in words]] = 0
        book = common_book(dtype, 8, 1, words.tobytes())
        for _ in range(6):
            message = reference_message(
                rng, dtype, words.tobytes(), [book], 14, layout=layout, modes=[[mode] for mode in modes]
            )
            decoded = Decoded(message, dtype, len(words), sets=[reference_set([book])])
            assert decoded.elements == words.tobytes()
            seen += bytes([0xFE, symbol]) in message[24:64] and decoded.any_blocks == 0
    assert seen >= 3


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_weights_need_the_fast_kernel_only(dtype):
    data = gaussian(random.Random(4), dtype, 98_304)
    decoded = Decoded(huffwire.encode(data, dtype), dtype, 98_304)
    assert decoded.elements == data
    assert (decoded.long_blocks, decoded.any_blocks, decoded.apart_blocks) == (0, 0, 0)
    others = [f"decode_{dtype}", f"decode_{dtype}_long", f"decode_{dtype}_apart"]
    assert decoded.launches == ["decode_plan", *others, "decode_any"]


def test_embedded_books_need_the_fast_kernel_only():
    data = gaussian(random.Random(4), "f16", 65_536)
    message = huffwire.encode(data, "f16", level="max", checksums=False)
    assert message[20:22] == b"\1\xfd"
    decoded = Decoded(message, "f16", 65_536)
    assert decoded.elements == data
    assert decoded.any_blocks == 0


# ----------------------------------------------------------------------------------------------------------
# Damage


def damaged(rng, message):
    """The message with a few bits changed, mostly in its table or in headers of blocks, or with its end cut off."""
    if rng.random() < 0.15:
        return message[: rng.randrange(len(message))]
    out = bytearray(message)
    blocks = 16 + 4 * rng.randrange(2)
    for _ in range(rng.randint(1, 3)):
        reach = rng.choice([20, 40, 300, len(out)])
        out[min(blocks + rng.randrange(reach), len(out) - 1)] ^= 1 << rng.randrange(8)
    return bytes(out)


def check_like_the_cpu(message, dtype, units, sets, seed):
    """Both give the same elements, or both refuse. Returns whether they refused."""
    size = units * TYPES[dtype].unit
    try:
        expected = huffwire.decode(message, dtype=dtype, codebooks=sets, max_size=size)
    except huffwire.Error:
        expected = None
    if expected is not None and len(expected) == size:
        assert decode(message, dtype, units, sets=sets, seed=seed) == expected
        return False
    with pytest.raises(huffwire.Error):
        decode(message, dtype, units, sets=sets, seed=seed)
    return True


def check_damaged_messages(dtype, rounds, seed):
    rng = random.Random(f"{dtype} {seed}")
    unit = TYPES[dtype].unit
    refused = 0
    for _ in range(rounds):
        units = 2 * rng.choice([50, 700, 2000]) // unit * 2
        _, data = rng.choice(list(tensors(rng, dtype, units)))
        if rng.random() < 0.5:
            books = drawn_books(rng)
            sets = [reference_set(books)]
            message = reference_message(rng, dtype, data, books, rng.choice([10, 12, 14]), flags=0)
        else:
            sets = [BUILTIN]
            message = huffwire.encode(data, dtype, level=rng.choice(["fast", "max"]), checksums=False)
        for _ in range(10):
            refused += check_like_the_cpu(damaged(rng, message), dtype, units, sets, rng.randrange(2**32))
    return refused


@pytest.mark.parametrize("dtype", encoder.TYPE_NUMBERS)
def test_damage_is_met_as_on_the_cpu(dtype):
    assert check_damaged_messages(dtype, 10, 1) > 20


@pytest.mark.parametrize(("dtype", "longest", "zero"), CASES)
def test_damage_in_the_fast_kernels(dtype, longest, zero):
    rng = random.Random(f"{dtype} {longest} {zero}")
    refused = 0
    # Without checksums, so that damage reaches the lanes.
    for data, message, codebooks in common_messages(dtype, longest, zero, 7, checksums=False):
        units = len(data) // TYPES[dtype].unit
        for _ in range(10):
            changed = bytearray(message)
            for _ in range(rng.randint(1, 2)):
                # Blocks end with the stream and the escapes.
                reach = rng.choice([40, 400, len(message) - 24])
                changed[-rng.randint(1, reach)] ^= 1 << rng.randrange(8)
            refused += check_like_the_cpu(bytes(changed), dtype, units, [codebooks], rng.randrange(2**32))
    # Most bits are raw ones, whose damage nobody can see.
    assert refused >= 3


def one_block(dtype, longest, units):
    """A message of one block for a fast kernel, without checksums; its set; bytes of the block's header."""
    data = gaussian(random.Random(units), dtype, units)
    book = common_book(dtype, longest, False, data)
    bindings = [("*", encoder.TYPE_NUMBERS[dtype], COMMON[dtype], 0, [0])]
    codebooks = huffwire.Codebooks.from_bytes(encoder.write_set("test", [book], bindings))
    message = huffwire.encode(data, dtype, codebooks=codebooks, checksums=False)
    assert decode(message, dtype, units, sets=[codebooks]) == data
    assert message[20:22] == b"\1\0"  # layout exponent, in lanes with book 0
    return message, codebooks, len(b"\1\0b" + bytes(8)) + {"bf16": 1, "f16": 2, "f32": 3}[dtype]


@pytest.mark.parametrize("longest", [8, 12])
def test_words_that_no_lane_takes(longest):
    units, words = 3000, bytes(longest // 8 + longest % 8 // 4)
    message, codebooks, header = one_block("bf16", longest, units)
    states = 20 + header + units - 128
    stream = states + (192 if longest == 8 else 256)
    assert message[20 + header - 1] == 0xFF
    longer = bytearray(message[:stream] + words + message[stream:])
    for field in (16, 23):
        struct.pack_into("<I", longer, field, struct.unpack_from("<I", longer, field)[0] + len(words))
    assert check_like_the_cpu(bytes(longer), "bf16", units, [codebooks], 1)
    with pytest.raises(huffwire.DamagedError, match="lanes do not end"):
        decode(bytes(longer), "bf16", units, sets=[codebooks])


def test_bits_behind_the_last_symbol():
    units = 3001
    message, codebooks, header = one_block("f16", 8, units)
    # Plane 2, of three bits, is the first part of the payload.
    changed = bytearray(message)
    changed[20 + header + (3 * units + 7) // 8 - 1] |= 0x80
    with pytest.raises(huffwire.DamagedError, match="bits behind"):
        decode(bytes(changed), "f16", units, sets=[codebooks])


def test_a_checksum_names_the_first_damaged_block():
    data = gaussian(random.Random(5), "bf16", 5 * 65536)
    message = bytearray(huffwire.encode(data, "bf16"))
    lengths = struct.unpack_from("<5I", message, 16)
    for block in (3, 1):
        at = 16 + 8 * 5 + sum(lengths[:block]) + random.Random(block).randrange(lengths[block])
        message[at] ^= 4
        with pytest.raises(huffwire.DamagedError, match=f"block {block} .*checksum"):
            decode(bytes(message), "bf16", 5 * 65536)


def test_damaged_blocks_are_named():
    data = gaussian(random.Random(6), "bf16", 3 * 65536)
    message = bytearray(huffwire.encode(data, "bf16", checksums=False))
    lengths = struct.unpack_from("<3I", message, 16)
    at = 16 + 4 * 3 + lengths[0]
    message[at] = 77
    with pytest.raises(huffwire.DamagedError, match="block 1 .*layout"):
        decode(bytes(message), "bf16", 3 * 65536)
    struct.pack_into("<I", message, 16, 0)
    with pytest.raises(huffwire.DamagedError, match="block 0 .*length"):
        decode(bytes(message), "bf16", 3 * 65536)


# ----------------------------------------------------------------------------------------------------------
# Headers and arguments


def test_what_is_wrong_with_a_header():
    data = gaussian(random.Random(7), "bf16", 1000)
    message = huffwire.encode(data, "bf16")
    in_context = huffwire.encode(data, "bf16", context=9)

    def refused(error, match, message=message, dtype="bf16", units=1000, **options):
        with pytest.raises(error, match=match):
            decode(message, dtype, units, **options)

    refused(huffwire.DamagedError, "shorter than a header", message[:15])
    refused(huffwire.DamagedError, "does not begin", b"h" + message[1:])
    refused(huffwire.VersionError, "version 2", b"H\x21" + message[2:])
    refused(huffwire.DamagedError, "flags", b"H\x15" + message[2:])
    refused(huffwire.DamagedError, "header is damaged", message[:5] + b"\0" + message[6:])
    refused(huffwire.ContextError, "tell the decoder", in_context)
    refused(huffwire.ContextError, "has no context", context=9)
    refused(huffwire.WrongContextError, "another context", in_context, context=8)
    refused(huffwire.MismatchError, "bf16", dtype="f16")
    refused(huffwire.MismatchError, "1000 units", units=999)
    refused(huffwire.DamagedError, "left over", message + b"\0")
    refused(huffwire.DamagedError, "within its blocks", message[:-1])
    refused(huffwire.DamagedError, "within its table", message[:20])
    assert decode(in_context, "bf16", 1000, context=9) == data


def test_contexts_that_no_message_has():
    """None of them is taken for its lowest 64 bits."""
    message = huffwire.encode(bytes(2048), "bf16", context=0)
    assert decode(message, "bf16", 1024, context=0) == bytes(2048)
    for context in (1 << 64, -(1 << 64), -1):
        with pytest.raises(huffwire.OptionError, match="2\\^64"):
            decode(message, "bf16", 1024, context=context)


def test_a_length_on_the_device():
    data = gaussian(random.Random(8), "f32", 3000)
    message = huffwire.encode(data, "f32")
    assert decode(message, "f32", 3000, spare=b"\xff" * 1000) == data
    device = EmulatedDevice()
    out, place = device.empty(12_000), device.upload(message)
    length = device.upload(struct.pack("<Q", len(message) + 1))
    tables = device.upload(_tables.tables([BUILTIN]))
    status = _decode.decode(device, tables, place, out, 3, 3000, length=length)
    with pytest.raises(huffwire.DamagedError, match="length of the message"):
        _decode.check(device.read(status))


def test_outputs_that_cannot_be_used():
    device = EmulatedDevice()
    message, tables = device.upload(huffwire.encode(bytes(80), "f64")), device.upload(_tables.tables([BUILTIN]))
    out = device.empty(96)
    with pytest.raises(huffwire.OutputError, match="80"):
        _decode.decode(device, tables, message, out, 17, 10)
    with pytest.raises(huffwire.OutputError, match="multiple of 8"):
        _decode.decode(device, tables, message, out.part(4, 80), 17, 10)
    with pytest.raises(huffwire.LimitError):
        _decode.decode(device, tables, message, out, 13, 1 << 32)
    with pytest.raises(huffwire.MismatchError, match="complex"):
        _decode.decode(device, tables, message, out.part(0, 12), 26, 3)


def test_bytes_at_an_odd_address():
    data = gaussian(random.Random(9), "e4m3", 9000)
    device = EmulatedDevice()
    message, tables = device.upload(huffwire.encode(data, "e4m3")), device.upload(_tables.tables([BUILTIN]))
    out = device.empty(9001)
    status = _decode.decode(device, tables, message, out.part(1, 9000), 4, 9000)
    _decode.check(device.read(status))
    assert device.read(out)[1:] == data


# ----------------------------------------------------------------------------------------------------------
# Memory


def run_sanitized():
    """What the test below runs in a process of its own."""
    for seed, vector in enumerate(filter(is_tensor, message_vectors())):
        check_vector(vector, seed)
    for dtype in encoder.TYPE_NUMBERS:
        check_drawn_messages(dtype, 1, 2)
        check_damaged_messages(dtype, 1, 2)
    for dtype, longest, zero in CASES:
        for data, message, codebooks in common_messages(dtype, longest, zero, 1):
            units = len(data) // TYPES[dtype].unit
            assert decode(message, dtype, units, sets=[codebooks]) == data
            check_like_the_cpu(damaged(random.Random(1), message), dtype, units, [codebooks], 1)
    print("nothing found")


def test_under_the_address_sanitizer():
    preload = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    environment = os.environ | {
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0",
        "HUFFWIRE_TEST_SANITIZED": "address",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    program = "import test_cuda_decode; test_cuda_decode.run_sanitized()"
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]
    assert "nothing found" in run.stdout
