"""What the kernel for all types encodes, in the emulator: with books that it makes, as the encoder for processors does."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import huffwire
import numpy as np
import pytest
from huffwire.cuda import _decode, _encode
from huffwire.cuda._types import BY_NUMBER, TYPES
from test_cuda_decode import ROOT, VECTORS, decode, is_tensor, message_vectors
from test_cuda_encode import CODEBOOKS, CPU_BLOCK, Encoder, blocks_of, data, run_with_address_sanitizer

GOLDEN = ROOT / "crates" / "huffwire" / "tests" / "golden" / "v1"

# Types for which the built-in set has no book that a kernel of its own takes.
NAMES = [name for name in TYPES if not _encode.has_own_kernel(name)]
# One for each of those that others are coded as.
DIFFERENT = ["e3m2", "e2m3", "e3m2-packed", "e2m3-packed", "u8", "i16", "i32", "f64"]
KINDS = ["few", "skewed", "geometric", "wide", "counting", "noise", "constant", "zeros", "stripes", "rare"]


def test_which_types_have_kernels_of_their_own() -> None:
    coded_as = {TYPES[name].coded_as for name in NAMES}
    assert coded_as == {"e3m2", "e2m3", "e3m2-packed", "e2m3-packed", "u8", "word16", "word32", "word64"}
    assert coded_as == {TYPES[name].coded_as for name in DIFFERENT}


@pytest.mark.parametrize("name", NAMES)
def test_types_that_are_coded_as_others(name: str) -> None:
    source = elements(name, "geometric", 5000)
    (like,) = (other for other in DIFFERENT if TYPES[other].coded_as == TYPES[name].coded_as)
    blocks = [encoded(each, source, 32768, checksums=False)[16:] for each in (name, like)]
    assert blocks[0] == blocks[1]


def packed(values: np.ndarray) -> bytes:
    """Four values of six bits in three bytes."""
    bits = (values[:, None] >> np.arange(6, dtype=values.dtype) & values.dtype.type(1)).astype(np.uint8)
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


def small_floats(name: str, random: np.random.Generator, units: int, scale: float) -> bytes:
    """Normal values as floats of six bits, rounded towards zero."""
    mantissa, bias, typical = (2, 3, 8) if "e3m2" in name else (3, 1, 1)
    values = random.normal(0, scale * typical, units * (4 if "packed" in name else 1))
    bits = np.abs(values).astype(np.float32).view(np.uint32).astype(np.int64)
    magnitudes = np.clip((bits >> (23 - mantissa)) - ((127 - bias) << mantissa), 0, 31)
    codes = (magnitudes | (values < 0) << 5).astype(np.uint8)
    return packed(codes) if "packed" in name else codes.tobytes()


@cache
def elements(name: str, kind: str, units: int, seed: int = 1) -> bytes:
    """Elements of a kind: bytes, or words of them, or values of six bits."""
    random = np.random.default_rng([seed, units])
    unit = TYPES[name].unit
    numbers = {
        "few": lambda: random.choice([1, 5, 250], units, p=[0.9, 0.07, 0.03]),
        "skewed": lambda: (random.pareto(1.2, units) * 3).clip(0, 2**31),
        "geometric": lambda: random.geometric(0.08, units),
        "wide": lambda: np.abs(random.normal(0, 2_000, units)),
        "counting": lambda: np.arange(units) * 3 + 1_000_000,
        "noise": lambda: random.integers(0, 2**63, units),
        "constant": lambda: np.full(units, 0x1234567),
        "zeros": lambda: np.zeros(units),
        # Planes of every sort, one after the other in memory.
        "stripes": lambda: (np.arange(units) // 700 % 3 * 1_000) + random.geometric(0.5, units),
        # Nearly all are 7. Others are too rare for codes of their own.
        "rare": lambda: np.where(random.random(units) < 0.0005, random.integers(0, 60, units), 7),
    }[kind]()
    words = numbers.astype(np.uint64)
    if TYPES[name].coded_as[:4] in ("e3m2", "e2m3") and kind in ("geometric", "wide"):
        return small_floats(name, random, units, 1.0 if kind == "wide" else 0.3)
    if TYPES[name].coded_as == "word64" and kind in ("wide", "skewed"):
        return random.normal(0, 1, units).astype(np.float64).tobytes()
    if "packed" in name:
        return packed(np.minimum(np.repeat(words, 4) + random.integers(0, 3, 4 * units).astype(np.uint64), 63))
    if name in ("e3m2", "e2m3"):
        words = words % np.uint64(64)
    return words.view(np.uint8).reshape(units, 8)[:, :unit].tobytes() if unit < 8 else words.tobytes()


def encoded(name: str, source: bytes, block_size: int, **options: object) -> bytes:
    kind = TYPES[name]
    message = Encoder(seed=len(source)).encode(source, kind.number, kind.unit, block_size=block_size, **options)
    assert huffwire.decode(message, dtype=name, context=options.get("context")) == source
    return message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DIFFERENT)
def test_what_is_encoded_is_decoded(name: str, kind: str) -> None:
    unit = TYPES[name].unit
    for number, (units, block_size) in enumerate(
        [(1, 1024), (31, 1024), (64, 1024), (129, 2048), (1025, 1024), (5001, 8192), (20_003, 32768)]
    ):
        options = {"checksums": number % 2 == 0, "context": None if number % 3 else 2**64 - 1 - number}
        encoded(name, elements(name, kind, units), block_size << (unit - 1).bit_length(), **options)


# Data of which a sample tells what all of it tells: the encoder for processors looks at one first.
CLEAR = ["few", "geometric", "wide", "counting", "constant", "zeros"]


@pytest.mark.parametrize("kind", CLEAR)
@pytest.mark.parametrize("name", ["u8", "i16", "i32", "i64", "f64"])
def test_the_bytes_are_those_of_the_encoder_for_processors(name: str, kind: str) -> None:
    """In whole blocks, of a power of two of symbols, with books that both of them make."""
    for block_size in (4096, 32768, CPU_BLOCK):
        source = elements(name, kind, 2 * CPU_BLOCK // TYPES[name].unit)
        assert encoded(name, source, block_size) == huffwire.encode(source, name, block_size=block_size)


def books_of(message: bytes, unit: int) -> list[int]:
    """The book of plane 0 of each block, as a choice."""
    return [block.choice for block in blocks_of(message, unit)]


@pytest.mark.parametrize("kind", ["few", "geometric", "wide", "stripes", "constant", "noise", "rare"])
@pytest.mark.parametrize("name", ["e3m2", "e2m3", "e3m2-packed", "e2m3-packed"])
def test_the_same_choices_make_the_same_bytes(name: str, kind: str) -> None:
    source = elements(name, kind, 2 * CPU_BLOCK // TYPES[name].unit)
    expected = huffwire.encode(source, name)
    choices = books_of(expected, TYPES[name].unit)
    assert encoded(name, source, CPU_BLOCK, choices=choices) == expected
    assert len(encoded(name, source, CPU_BLOCK)) <= len(expected)


def test_books_of_the_set_are_among_the_choices() -> None:
    for name in ("e3m2", "e2m3", "e3m2-packed", "e2m3-packed"):
        unit = TYPES[name].unit
        sources = [elements(name, kind, CPU_BLOCK // unit) for kind in ("wide", "geometric")]
        wide, narrow = (books_of(encoded(name, source, CPU_BLOCK), unit) for source in sources)
        assert max(*wide, *narrow) < 192
        assert wide != narrow or "e2m3" in name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("block_size", [32768, CPU_BLOCK])
def test_choices_are_as_good(name: str, kind: str, block_size: int) -> None:
    """At most 0.2 % larger, also where a block has no power of two of symbols, or few of them."""
    for units in (2 * CPU_BLOCK // TYPES[name].unit // 2 * 2 + 3000, 40_000, 1500, 200):
        source = elements(name, kind, units)
        expected = len(huffwire.encode(source, name, block_size=block_size))
        assert len(encoded(name, source, block_size)) <= 1.002 * expected, units


def test_longer_codes_are_taken_only_where_they_save() -> None:
    """With codes of up to 12 bits each of the rare symbols would get one, and all would take more bits."""
    counts = [7349, 5474, 585, 583, 562, 550, 540, 532, *[2] * 61, *[1] * 87]
    source = np.random.default_rng(5).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.uint8).tobytes()
    assert len(source) == 16384
    message = encoded("u8", source, 16384)
    assert message == huffwire.encode(source, "u8", block_size=16384)
    assert message[26] == 0x80, "codes of up to 8 bits"


def one_book(**binding: object) -> huffwire.Codebooks:
    """A set with one book of bytes, which is bound to the first byte of i16, or as is said."""
    arrays = [("ids", np.random.default_rng(0).geometric(0.2, 50_000).clip(0, 255).astype(np.int16))]
    own = json.loads(huffwire.calibrate(arrays, name="own", codes=8, builtin=False).codebooks.to_json())
    own["codebooks"], own["bindings"] = own["codebooks"][:1], own["bindings"][:1]
    del own["id"]
    own["bindings"][0] |= binding
    return huffwire.Codebooks.from_json(json.dumps(own))


def test_books_of_other_layouts_are_not_taken() -> None:
    """A book for plane 1 of exponents is none for the second byte."""
    random, own = np.random.default_rng(2), one_book(dtype="f32", layout="exponent", plane=1)
    assert (own.bindings[0].dtype, own.bindings[0].plane) == ("f32", 1)
    planes = [random.integers(0, 256, 1 << 16), random.integers(200, 204, 1 << 16), *random.integers(0, 256, (2, 1 << 16))]
    source = np.stack(planes, 1).astype(np.uint8).tobytes()
    message = Encoder(codebooks=own).encode(source, 3, 4, block_size=32768)
    assert huffwire.decode(message, codebooks=own) == source
    assert len(message) < 0.83 * len(source)


@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e3m2", "e2m3", "e3m2-packed", "e2m3-packed"])
def test_small_floats_without_books_are_coded_with_their_signs(name: str) -> None:
    """Where the sign follows from the magnitude, it costs nothing."""
    own, kind = one_book(), TYPES[name]
    values = np.random.default_rng(3).choice([3, 5, 0x21], 4 * CPU_BLOCK, p=[0.9, 0.07, 0.03]).astype(np.uint8)
    source = packed(values) if "packed" in name else values.tobytes()
    message = Encoder(codebooks=own).encode(source, kind.number, kind.unit, block_size=32768)
    assert huffwire.decode(message, codebooks=own) == source
    assert len(message) <= 1.002 * len(huffwire.encode(source, name, codebooks=own, block_size=32768))
    if kind.unit == 1:
        # Bits that only bytes have.
        source = bytes([0xC5]) * 8192
        message = Encoder(codebooks=own).encode(source, kind.number, kind.unit, block_size=4096)
        assert huffwire.decode(message, codebooks=own) == source and len(message) < 64


def test_bits_that_a_layout_does_not_have() -> None:
    """Values of six bits in bytes whose upper bits are not 0: such a block is verbatim."""
    source = bytearray(elements("e3m2", "few", 3 * 4096))
    source[5000] |= 0x40
    message = encoded("e3m2", bytes(source), 4096)
    lengths = [int.from_bytes(message[16 + 4 * i : 20 + 4 * i], "little") for i in range(3)]
    assert lengths[1] == 4097 > lengths[0] and lengths[2] < 4097


def test_codes_of_both_limits_and_without_escape() -> None:
    """What the tests above compare has short and long codes, books with and without escapes, planes of every sort."""
    seen = set()
    for name in ("u8", "i32", "i64"):
        for kind in (*CLEAR, "noise"):
            message = encoded(name, elements(name, kind, 2 * CPU_BLOCK // TYPES[name].unit), CPU_BLOCK)
            at = 16 + 8 * 2 + 1
            seen.add({0xFD: f"embedded {message[at + 1]:#x}", 0xFE: "constant", 0xFF: "raw"}.get(message[at], "verbatim"))
    assert {"embedded 0x80", "embedded 0x81", "constant", "verbatim"} <= seen
    # All symbols occur often enough to have codes.
    random = np.random.default_rng(3)
    weights = np.repeat([8, 1], 128) / (9 * 128)
    source = random.choice(256, CPU_BLOCK, p=weights).astype(np.uint8).tobytes()
    message = encoded("u8", source, CPU_BLOCK)
    assert message[25] == 0xFD and message == huffwire.encode(source, "u8")
    slots = message[28] - message[27] + 1
    nibbles = message[29 : 29 + (slots + 3) // 2]
    assert slots == 256 and nibbles[-1] == 0, "neither escape nor zero"


def test_books_of_ones_own_for_every_plane() -> None:
    """A calibrated set: each plane of a word has books, and none is made."""
    arrays = [("ids", np.random.default_rng(i).integers(0, 40_000, 100_000).astype(np.int32)) for i in range(3)]
    own = huffwire.calibrate(arrays[:2], name="own", builtin=False).codebooks
    assert {binding.plane for binding in own.bindings} >= {0, 1}
    source = arrays[2][1].tobytes()
    message = Encoder(codebooks=own).encode(source, 19, 4, block_size=32768)
    assert huffwire.decode(message, codebooks=own) == source
    assert len(message) <= 1.002 * len(huffwire.encode(source, "i32", codebooks=own, block_size=32768)) < 0.6 * len(source)


@pytest.mark.parametrize("name", ["bf16", "f16", "f32", "e4m3", "e5m2", "e8m0", "e2m1", "i8"])
def test_types_without_a_book_in_the_set(name: str) -> None:
    """Bytes of floats are coded where their exponents cannot be."""
    arrays = [("ids", np.arange(5000, dtype=np.int32))]
    own = huffwire.calibrate(arrays, name="own", builtin=False).codebooks
    kind = TYPES[name]
    source = data(name, "weights", 2 * CPU_BLOCK // kind.unit)
    message = Encoder(codebooks=own).encode(source, kind.number, kind.unit, block_size=32768)
    assert huffwire.decode(message, codebooks=own) == source
    least = {"bf16": 0.78, "f16": 0.95, "f32": 0.9, "e4m3": 0.88, "e5m2": 0.77, "e8m0": 0.4, "e2m1": 0.95, "i8": 0.9}[name]
    assert len(message) < least * len(source)


def test_elements_at_any_address() -> None:
    for name in ("i16", "f64", "e2m3-packed", "bool"):
        kind = TYPES[name]
        source = elements(name, "geometric", 9000)
        block_size = 8192 * max(1, kind.unit // 2)
        expected = encoded(name, source, block_size)
        for source_shift, out_shift in ((1, 1), (3, 2), (7, 13)):
            assert encoded(name, source, block_size, source_shift=source_shift, out_shift=out_shift) == expected


def test_lanes_in_any_order() -> None:
    for name in ("u8", "i64", "e3m2-packed"):
        kind = TYPES[name]
        source = elements(name, "geometric", 6000)
        messages = {Encoder(seed=seed).encode(source, kind.number, kind.unit, block_size=32768) for seed in range(10)}
        assert len(messages) == 1


def test_the_kernels_decode_what_they_encode() -> None:
    for name in ("u8", "i16", "i32", "f64", "e3m2", "e2m3-packed", "complex128"):
        kind, encoder = TYPES[name], Encoder()
        source = elements(name, "geometric", 20_000)
        device, place = encoder.device, encoder.place(source)
        message, out = device.empty(_encode.bound(kind.number, 20_000, 32768)), device.empty(len(source))
        length = _encode.encode(
            device, encoder.tables, place, kind.number, 20_000, message, codebooks=CODEBOOKS, block_size=32768
        )
        status = _decode.decode(device, encoder.tables, message, out, kind.number, 20_000, length=length)
        _decode.check(device.read(status))
        assert device.read(out) == source


def test_elements_of_the_vectors_of_the_format() -> None:
    """Edges of all types, with sets of other books: what the vectors decode to is encoded, and decoded again."""
    encoders: dict[str, Encoder] = {}
    vectors = [vector for vector in message_vectors() if is_tensor(vector) and "output" in vector]
    assert len(vectors) > 100
    for vector in vectors:
        (path,) = vector["sets"]
        if path not in encoders:
            encoders[path] = Encoder(codebooks=huffwire.Codebooks.load(VECTORS / path))
        encoder, header = encoders[path], (VECTORS / vector["file"]).read_bytes()[:16]
        source, kind = (VECTORS / vector["output"]).read_bytes(), BY_NUMBER[header[2]]
        options = {"block_size": 1 << (header[3] & 31), "checksums": bool(header[1] & 1), "context": vector.get("context")}
        message = encoder.encode(source, kind.number, kind.unit, **options)
        decoded = huffwire.decode(message, codebooks=encoder.codebooks, context=options["context"])
        assert decoded == source, vector["name"]


def golden_messages() -> list[Path]:
    """Those of tensors, not of deltas and quantized values."""
    return [path for path in sorted(GOLDEN.glob("*.message")) if path.read_bytes()[3] >> 5 not in (1, 2)]


def test_golden_messages() -> None:
    """Kernels decode all of them, and encode all that the fast level still makes, with the same choices: the same bytes."""
    small = huffwire.Codebooks.load(GOLDEN / "small.codebooks")
    contexts = {"context-0": 0, "context-7": 7, "context-max": 2**64 - 1}
    made_again = set()
    for path in golden_messages():
        message = path.read_bytes()
        kind, context = BY_NUMBER[message[2]], contexts.get(path.stem.partition("-")[2])
        own = small if message[4:8] == bytes.fromhex(small.id)[:4] else CODEBOOKS
        source = huffwire.decode(message, codebooks=own, context=context)
        units = len(source) // kind.unit
        assert decode(message, kind.name, units, sets=[own], context=context) == source, path.name
        options = {"block_size": 1 << (message[3] & 31), "checksums": bool(message[1] & 1), "context": context}
        if huffwire.encode(source, kind.name, codebooks=own, **options) != message:
            continue
        choices = [block.choice for block in blocks_of(message, kind.unit, own)] or None
        again = Encoder(codebooks=own).encode(source, kind.number, kind.unit, choices=choices, **options)
        assert again == message, path.name
        made_again.add(kind.name)
    assert len(golden_messages()) > 50
    assert made_again >= {"bf16", "f16", "f32", "e4m3", "e5m2", "e8m0", "e2m1", "i8", "u8", "e3m2", "e2m3-packed", "word16", "i32", "f64"}


def encode_some(encoder: Encoder, guard: int = 512) -> None:
    """Encodes a bit of everything: for the sanitizers."""
    for name in ("u8", "i16", "i32", "i64", "e3m2", "e2m3-packed"):
        kind = TYPES[name]
        for sort in ("few", "geometric", "wide", "noise", "stripes"):
            for units, shift in ((1, 0), (1301, 1), (9001, 3)):
                source = elements(name, sort, units)
                message = encoder.encode(
                    source, kind.number, kind.unit, block_size=32768, source_shift=shift * kind.unit, guard=guard
                )
                assert huffwire.decode(message, dtype=name) == source


def encode_with_sanitizer() -> None:
    encode_some(Encoder(tight=True), guard=0)


def test_no_access_outside_memory() -> None:
    run_with_address_sanitizer("test_cuda_encode_any")
