"""What the kernels encode, lane by lane in an emulator, beside what the encoder for processors makes of it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import huffwire
import numpy as np
import pytest
from emulated import EmulatedDevice
from huffwire.cuda import _decode, _encode
from huffwire.cuda._device import ALIGNMENT, Span
from huffwire.cuda._tables import tables
from huffwire.cuda._types import TYPES

CODEBOOKS = huffwire.Codebooks.builtin()
CPU_BLOCK = 1 << 17
NO_BOOK = 0xFFFFFFFF
APART = 0x10000
GUARD = 512
UNTOUCHED = 0xA5

NUMBERS = {"bf16": 1, "f16": 2, "f32": 3, "e4m3": 4, "e5m2": 5, "e8m0": 11, "e2m1": 10, "i8": 12}
UNIT = {"bf16": 2, "f16": 2, "f32": 4, "e4m3": 1, "e5m2": 1, "e8m0": 1, "e2m1": 1, "i8": 1}
WORD = {1: np.uint8, 2: np.uint16, 4: np.uint32}
# Bits of mantissa and of exponent.
FIELDS = {
    "bf16": (7, 8),
    "f16": (10, 5),
    "f32": (23, 8),
    "e4m3": (3, 4),
    "e5m2": (2, 5),
    "e8m0": (0, 8),
    "e2m1": (1, 2),
    "i8": (7, 0),
}
# What normal values are multiplied with: exponents away from both ends, numbers of some bits.
SCALE = {"bf16": 0.02, "f16": 0.02, "f32": 0.02, "e4m3": 1.0, "e5m2": 1.0, "e8m0": 0.02, "e2m1": 2.0, "i8": 20.0}


def cast(values: np.ndarray, dtype: str) -> bytes:
    """Values as elements of a type, rounded towards zero."""
    mantissa, exponent = FIELDS[dtype]
    bits = values.astype(np.float32).view(np.uint32)
    if dtype == "f16":
        return values.astype(np.float16).tobytes()
    if dtype == "i8":
        return np.clip(values, -128, 127).astype(np.int8).tobytes()
    if dtype == "e8m0":
        return (bits >> 23).astype(np.uint8).tobytes()
    if dtype == "e2m1":
        # Each value and the one before it are a unit.
        nibbles = np.searchsorted([0.5, 1, 1.5, 2, 3, 4, 6], np.abs(values), "right") | (values < 0) << 3
        return (nibbles | np.roll(nibbles, 1) << 4).astype(np.uint8).tobytes()
    sign, magnitude = bits >> 31, (bits & 0x7FFFFFFF) >> (23 - mantissa)
    if exponent < 8:
        bias = (127 - (2 ** (exponent - 1) - 1)) << mantissa
        top = (1 << (mantissa + exponent)) - 2
        magnitude = np.clip(magnitude.astype(np.int64) - bias, 0, top).astype(np.uint32)
    word = sign << (mantissa + exponent) | magnitude
    return word.astype(WORD[UNIT[dtype]]).tobytes()


@cache
def data(dtype: str, kind: str, units: int, seed: int = 1) -> bytes:
    """Elements of a kind."""
    random = np.random.default_rng(seed)
    unit = UNIT[dtype]
    normal = random.standard_normal(units) * SCALE[dtype]
    if kind == "weights":
        return cast(normal, dtype)
    if kind == "gradients":
        return cast(normal * np.exp(1.5 * random.standard_normal(units)), dtype)
    if kind == "relu":
        return cast(np.maximum(normal, 0), dtype)
    if kind == "sparse":
        return cast(np.where(random.random(units) < 0.97, 0, normal), dtype)
    if kind == "positive":
        return cast(np.abs(normal), dtype)
    if kind == "zeros":
        return bytes(units * unit)
    if kind == "constant":
        return cast(np.full(units, -0.375), dtype)
    if kind == "noise":
        return random.bytes(units * unit)
    if kind == "short mantissa":
        word = np.frombuffer(cast(normal, dtype), WORD[unit])
        low = (1 << FIELDS[dtype][0] // 2) - 1
        return (word & ~word.dtype.type(low)).tobytes()
    if kind == "nan":
        # NaN of any payload, infinities, subnormals and -0 among normal values.
        word = np.frombuffer(cast(normal, dtype), WORD[unit]).copy()
        mantissa, exponent = FIELDS[dtype]
        ones = ((1 << exponent) - 1) << mantissa
        odd = random.random(units)
        payload = random.integers(0, 1 << mantissa, units).astype(word.dtype)
        word[odd < 0.02] = (payload | word.dtype.type(ones))[odd < 0.02]
        word[odd > 0.99] = payload[odd > 0.99]
        word[(odd > 0.5) & (odd < 0.51)] = (1 << (mantissa + exponent)) % (1 << 8 * unit)
        return word.tobytes()
    if kind == "drift":
        # Blocks of different scales, some of them noise.
        scale = np.exp2(np.repeat(random.integers(-12, 12, units // 4096 + 1), 4096)[:units].astype(float))
        word = np.frombuffer(cast(normal * scale, dtype), WORD[unit]).copy()
        word[: units // 5] = np.frombuffer(random.bytes(units // 5 * unit), word.dtype)
        return word.tobytes()
    raise ValueError(kind)


KINDS = [
    "weights",
    "gradients",
    "relu",
    "sparse",
    "positive",
    "zeros",
    "constant",
    "noise",
    "short mantissa",
    "nan",
    "drift",
]


class TightDevice(EmulatedDevice):
    """Its memory ends where a span ends, so that the address sanitizer sees every access behind it."""

    def empty(self, size: int) -> Span:
        address = ctypes.c_void_p()
        assert ctypes.CDLL(None).posix_memalign(ctypes.byref(address), ALIGNMENT, ctypes.c_size_t(size)) == 0
        # Kept for good: the process is a short one.
        assert address.value is not None
        ctypes.memset(address, UNTOUCHED, size)
        return Span(address.value, size)


class Encoder:
    """An emulated device with the tables of a set; checks that nothing outside an output is written."""

    def __init__(
        self, *, seed: int = 1, tight: bool = False, sanitize: str = "", codebooks: huffwire.Codebooks = CODEBOOKS
    ) -> None:
        self.device = TightDevice(seed=seed, sanitize="address") if tight else EmulatedDevice(seed=seed, sanitize=sanitize)
        self.codebooks = codebooks
        self.tables = self.device.upload(tables([CODEBOOKS] if codebooks is CODEBOOKS else [CODEBOOKS, codebooks]))

    def place(self, data: bytes, shift: int = 0) -> Span:
        """Elements at an address that is `shift` bytes behind a multiple of 256."""
        return self.device.upload(bytes(shift) + data).part(shift, len(data))

    def encode(
        self,
        data: bytes,
        dtype: int,
        unit: int,
        *,
        choices: list[int] | None = None,
        source_shift: int = 0,
        out_shift: int = 0,
        guard: int = GUARD,
        **options: object,
    ) -> bytes:
        source = self.place(data, source_shift)
        units = len(data) // unit
        block_size = options.get("block_size") or _encode.default_block_size(len(data), dtype)
        size = _encode.bound(dtype, units, block_size)
        whole = self.device.empty(size + 2 * guard + out_shift)
        start = guard + out_shift
        out = whole.part(start, size)
        if choices is None:
            length = _encode.encode(
                self.device, self.tables, source, dtype, units, out, codebooks=self.codebooks, **options
            )
        else:
            length = _encode.encode_chosen(
                self.device, self.tables, source, dtype, units, out, choices, codebooks=self.codebooks, **options
            )
        used = int.from_bytes(self.device.read(length), "little")
        memory = self.device.read(whole)
        assert used <= size
        assert set(memory[:start]) <= {UNTOUCHED}, "something was written in front of the output"
        assert set(memory[start + used :]) <= {UNTOUCHED}, "something was written behind the message"
        assert self.device.read(source) == data
        return memory[start : start + used]


class Block(NamedTuple):
    """A block of a message, as far as it tells what its encoder chose."""

    layout: int
    mode: int
    base: int
    zeros: int
    size: int

    @property
    def choice(self) -> int:
        if self.layout == 0 or self.mode >= 192:
            return NO_BOOK
        return self.mode | self.base << 8 | APART * (self.zeros > 0)


def blocks_of(message: bytes, unit: int, codebooks: huffwire.Codebooks = CODEBOOKS) -> list[Block]:
    """The blocks of a message."""
    books = codebooks.books
    units = int.from_bytes(message[8:12], "little")
    in_block = (1 << (message[3] & 31)) // unit
    count = -(-units // in_block)
    at = 16 + (8 if message[1] & 1 else 4) * count
    blocks = []
    for i in range(count):
        length = int.from_bytes(message[16 + 4 * i : 20 + 4 * i], "little")
        layout, mode, *fields = (*message[at : at + 7], *bytes(7))[:7]
        single = layout and mode == 0xFB
        if single:
            mode, *fields = fields
        base, *fields = fields
        zeros = 0
        centred = mode < 192 and layout and books[mode].alphabet == "centred"
        if centred and "zero" in books[mode].lengths:
            # Of a varint the first byte tells whether there are any.
            zeros = fields[0] if single else int.from_bytes(bytes(fields[:4]), "little")
        blocks.append(Block(layout, mode, base if centred else 0, zeros, length))
        at += length
    assert at == len(message)
    return blocks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_what_is_encoded_is_decoded(dtype: str, kind: str) -> None:
    encoder = Encoder()
    unit = UNIT[dtype]
    sizes = [(1, 1024), (63, 1024), (64, 1024), (1024, 1024), (2049, 2048), (20_000, 4096), (33_333, 32768)]
    for number, (units, block_size) in enumerate(sizes):
        elements = data(dtype, kind, units)
        options = {"checksums": number % 2 == 0, "context": None if number % 3 else 2**64 - 1 - number}
        message = encoder.encode(elements, NUMBERS[dtype], unit, block_size=block_size, **options)
        assert huffwire.decode(message, dtype=dtype, context=options["context"]) == elements
        assert huffwire.inspect(message, context=options["context"]).block_size == block_size


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("units", [0, 2, 31, 65, 127, 128, 129, 255, 256, 257, 511, 1000, 1023, 1025, 1151, 1153, 3000])
def test_few_units(dtype: str, units: int) -> None:
    encoder = Encoder(seed=units)
    for kind in ("weights", "relu", "positive", "short mantissa"):
        elements = data(dtype, kind, units, seed=units)
        message = encoder.encode(elements, NUMBERS[dtype], UNIT[dtype], block_size=32768)
        assert huffwire.decode(message, dtype=dtype) == elements


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_the_same_choices_make_the_same_bytes(dtype: str, kind: str) -> None:
    unit = UNIT[dtype]
    # The last block is one of many units, of few, and of all.
    for units in (CPU_BLOCK // unit + 2048, 3 * CPU_BLOCK // unit + 20_011, CPU_BLOCK // unit + 2047, 1000, 300):
        elements = data(dtype, kind, units)
        for checksums, context in ((True, None), (False, 77)):
            options = {"checksums": checksums, "context": context}
            expected = huffwire.encode(elements, dtype, **options)
            choices = [block.choice for block in blocks_of(expected, unit)]
            assert len(choices) > 1 or units <= 1000
            message = Encoder(seed=units).encode(
                elements, NUMBERS[dtype], unit, choices=choices, block_size=CPU_BLOCK, **options
            )
            assert message == expected


def test_all_kinds_of_blocks_are_compared() -> None:
    """The test above compares blocks of every layout, with zeros apart, with constant and with raw planes."""
    seen = set()
    for dtype, unit in UNIT.items():
        for kind in KINDS:
            for block in blocks_of(huffwire.encode(data(dtype, kind, CPU_BLOCK // unit + 2048), dtype), unit):
                modes = {0xFE: "constant", 0xFF: "raw"}
                mode = "zeros" if block.zeros else modes.get(block.mode, "coded")
                seen.add((dtype, block.layout, mode if block.layout else ""))
    for dtype in ("bf16", "f16", "f32"):
        wanted = {(dtype, 0, ""), (dtype, 1, "coded"), (dtype, 1, "zeros"), (dtype, 6, "coded"), (dtype, 6, "zeros")}
        assert wanted | {(dtype, 6, "constant")} <= seen
    for dtype in ("e4m3", "e5m2"):
        assert {(dtype, 0, ""), (dtype, 2, "constant"), (dtype, 2, "raw")} <= seen
    assert ("e4m3", 2, "coded") in seen
    kinds = {"e8m0": (1, "coded", "zeros", "constant"), "e2m1": (4, "coded", "constant"), "i8": (4, "coded", "constant")}
    for dtype, (layout, *modes) in kinds.items():
        assert {(dtype, 0, ""), *((dtype, layout, mode) for mode in modes)} <= seen


@pytest.mark.parametrize("units", [1 << 20, 6000, 1500, 300])
@pytest.mark.parametrize("kind", ["weights", "gradients", "relu", "sparse", "positive", "short mantissa", "nan"])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_choices_are_as_good(dtype: str, kind: str, units: int) -> None:
    elements = data(dtype, kind, units // UNIT[dtype] if units > CPU_BLOCK else units)
    expected = len(huffwire.encode(elements, dtype))
    message = Encoder().encode(elements, NUMBERS[dtype], UNIT[dtype], block_size=CPU_BLOCK)
    assert len(message) <= 1.002 * expected, f"{len(message) / expected:.4f}"


@cache
def joined(dtype: str) -> bytes:
    """Many tensors of different sorts and scales, one after the other, none of them as long as a block of the CPU."""
    kinds = ("weights", "gradients", "relu", "positive", "sparse", "short mantissa")
    return b"".join(data(dtype, kind, 6_000 + 1_999 * i, seed=i) for i, kind in enumerate(4 * kinds))


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("block_size", [8192, 32768, CPU_BLOCK])
def test_choices_follow_tensors_of_many_sorts(dtype: str, block_size: int) -> None:
    elements = joined(dtype)
    expected = len(huffwire.encode(elements, dtype, block_size=block_size))
    message = Encoder().encode(elements, NUMBERS[dtype], UNIT[dtype], block_size=block_size)
    assert huffwire.decode(message, dtype=dtype) == elements
    assert len(message) <= 1.002 * expected, f"{len(message) / expected:.4f}"


def test_blocks_choose_for_themselves() -> None:
    """No choice for all blocks is as good as those of the blocks."""
    elements = joined("bf16")
    message = Encoder().encode(elements, 1, 2, block_size=32768)
    choices = {block.choice for block in blocks_of(message, 2)}
    assert len(choices) > 4
    sizes = [len(Encoder().encode(elements, 1, 2, choices=[choice], block_size=32768)) for choice in choices]
    assert len(message) < 0.95 * min(sizes)


@pytest.mark.parametrize("codes", [8, 12])
def test_bytes_with_books_of_ones_own(codes: int) -> None:
    random = np.random.default_rng(4)
    tensors = [("w", random.geometric(0.1, 131_072).clip(0, 255).astype(np.uint8)) for _ in range(3)]
    own = huffwire.calibrate(tensors[:2], name="own", codes=codes, builtin=False).codebooks
    assert {book.max_code_bits for book in own.books} == {codes}
    elements = tensors[2][1].tobytes()
    message = Encoder(codebooks=own).encode(elements, 13, 1, block_size=32768)
    assert huffwire.decode(message, codebooks=own) == elements
    assert len(message) <= 1.002 * len(huffwire.encode(elements, "u8", codebooks=own, block_size=32768)) < 0.7 * len(elements)


@pytest.mark.parametrize(
    ("dtype", "name", "like"),
    [(25, "complex32", "f16"), (26, "complex64", "f32"), (28, "e4m3fnuz", "e4m3"), (29, "e5m2fnuz", "e5m2")],
)
def test_types_that_are_coded_as_others(dtype: int, name: str, like: str) -> None:
    elements = data(like, "gradients", 8192)
    message = Encoder().encode(elements, dtype, UNIT[like], block_size=4096)
    assert huffwire.decode(message, dtype=name) == elements
    plain = Encoder().encode(elements, NUMBERS[like], UNIT[like], block_size=4096)
    assert len(message) == len(plain)


def test_addresses_that_are_not_aligned() -> None:
    for dtype, unit in UNIT.items():
        elements = data(dtype, "weights", 9000)
        expected = Encoder().encode(elements, NUMBERS[dtype], unit, block_size=4096)
        for source_shift, out_shift in ((unit, 1), (3 * unit, 2), (4 * unit, 7), (8, 13)):
            message = Encoder().encode(
                elements, NUMBERS[dtype], unit, block_size=4096, source_shift=source_shift, out_shift=out_shift
            )
            assert message == expected


def test_verbatim_blocks_at_any_address() -> None:
    for shift in range(17):
        elements = data("e4m3", "noise", 5000 + shift)
        message = Encoder().encode(elements, 4, 1, block_size=1024, source_shift=shift, out_shift=3 * shift)
        assert huffwire.decode(message, dtype="e4m3") == elements


def test_lanes_in_any_order() -> None:
    """What a warp does between two meetings must not depend on which lane comes first."""
    for dtype, unit in UNIT.items():
        for kind in ("relu", "nan", "positive"):
            elements = data(dtype, kind, 6000)
            messages = {
                Encoder(seed=seed).encode(elements, NUMBERS[dtype], unit, block_size=4096)
                for seed in range(10)
            }
            assert len(messages) == 1


def test_other_books() -> None:
    """A set of one's own, which is not the first in the tables; and one that has no book for the type."""
    floats = [np.frombuffer(data("f32", "gradients", 50_000, seed), np.float32) for seed in (1, 2)]
    pairs = [("w", values) for values in floats]
    own = huffwire.calibrate(pairs, name="own", codes=8, builtin=False).codebooks
    elements = data("f32", "gradients", 40_000, 3)
    message = Encoder(codebooks=own).encode(elements, 3, 4, block_size=16384)
    assert huffwire.decode(message, codebooks=own) == elements
    assert len(message) < 0.9 * len(elements)
    other = data("e4m3", "weights", 10_000)
    message = Encoder(codebooks=own).encode(other, 4, 1, block_size=16384)
    assert huffwire.decode(message, codebooks=own) == other


def test_choices_that_make_no_sense() -> None:
    """Books of other planes and of numbers that do not exist code nothing; bad books only cost."""
    elements = data("bf16", "weights", 5000)
    for choice in (NO_BOOK, 43, 101, 150, 191, 200, 255, 36 | 7 << 8, 20 | 200 << 8 | APART):
        message = Encoder().encode(elements, 1, 2, choices=[choice], block_size=2048)
        assert huffwire.decode(message, dtype="bf16") == elements


def test_the_kernels_decode_what_they_encode() -> None:
    """The length of the message stays on the device, between the two."""
    for dtype, unit in UNIT.items():
        elements = data(dtype, "relu", 10_000)
        encoder = Encoder()
        device, units = encoder.device, len(elements) // unit
        source = encoder.place(elements)
        message = device.empty(_encode.bound(NUMBERS[dtype], units, 4096))
        out = device.empty(len(elements))
        length = _encode.encode(
            device,
            encoder.tables,
            source,
            NUMBERS[dtype],
            units,
            message,
            codebooks=CODEBOOKS,
            block_size=4096,
            context=5,
        )
        status = _decode.decode(
            device, encoder.tables, message, out, NUMBERS[dtype], units, length=length, context=5
        )
        _decode.check(device.read(status))
        assert device.read(out) == elements


def test_bounds() -> None:
    assert _encode.bound(1, 0, 1024) == 16
    assert _encode.bound(1, 513, 1024) == 16 + 2 * 9 + 1026
    assert _encode.bound(8, 342, 1024) == 16 + 2 * 9 + 1026
    noise = data("bf16", "noise", 5000)
    assert len(Encoder().encode(noise, 1, 2, block_size=1024)) == _encode.bound(1, 5000, 1024)


def test_default_block_size() -> None:
    mib = 1 << 20
    for name, smallest in (("e4m3", 4096), ("bf16", 4096), ("f32", 8192)):
        dtype = TYPES[name].number
        of = [_encode.default_block_size(size, dtype) for size in (0, 8 * mib, 16 * mib, 32 * mib, 64 * mib, 1 << 40)]
        assert of == [smallest, smallest, 8192, 16384, 32768, 32768]
    # Where books are likely to be made.
    for name, least in (("u8", 16384), ("i16", 16384), ("i32", 32768), ("f64", 32768), ("e2m3-packed", 32768)):
        assert _encode.default_block_size(0, TYPES[name].number) == least


def test_errors() -> None:
    encoder = Encoder()
    source = encoder.place(bytes(2048))
    out = encoder.device.empty(4096)

    def encode(**changes: object) -> object:
        arguments = {"source": source, "dtype": 1, "units": 1024, "out": out, **changes}
        positional = [arguments.pop(name) for name in ("source", "dtype", "units", "out")]
        return _encode.encode(encoder.device, encoder.tables, *positional, codebooks=CODEBOOKS, **arguments)

    encode(block_size=1024)
    for size in (0, 512, 1000, 1025, 1 << 21):
        with pytest.raises(huffwire.OptionError, match="power of two"):
            encode(block_size=size)
    for context in (-1, 1 << 64):
        with pytest.raises(huffwire.OptionError, match="context"):
            encode(context=context)
    with pytest.raises(huffwire.OutputError, match="message of up to"):
        encode(out=out.part(0, 2048), block_size=1024)
    with pytest.raises(huffwire.MismatchError, match="2048 bytes for 1023 units"):
        encode(units=1023)
    with pytest.raises(huffwire.MismatchError, match="complex"):
        encode(dtype=26, units=511, source=source.part(0, 2044))
    for dtype in (0, 30, 255):
        with pytest.raises(huffwire.UnsupportedError, match="number"):
            encode(dtype=dtype)
    with pytest.raises(huffwire.UnsupportedError, match="no multiple of 2"):
        encode(source=source.part(1, 2046), units=1023)
    with pytest.raises(huffwire.OptionError, match="2 choices for 1 blocks"):
        _encode.encode_chosen(
            encoder.device, encoder.tables, source, 1, 1024, out, [0, 0], codebooks=CODEBOOKS, block_size=4096
        )


def encode_with_sanitizer() -> None:
    """Encodes a bit of everything."""
    encoder = Encoder(tight=True)
    for dtype, unit in UNIT.items():
        for kind in ("relu", "positive", "constant", "noise", "nan"):
            for units, shift in ((1, 0), (1300, 1), (3001, 3)):
                elements = data(dtype, kind, units)
                message = encoder.encode(
                    elements,
                    NUMBERS[dtype],
                    unit,
                    block_size=2048,
                    source_shift=shift * unit,
                    guard=0,
                )
                assert huffwire.decode(message, dtype=dtype) == elements
    # Blocks that are copied from where they are, with all distances to words of 16 bytes.
    for units in range(900, 932):
        for shift in range(4):
            message = encoder.encode(
                data("e4m3", "noise", units), 4, 1, block_size=1024, source_shift=shift, guard=0
            )
            assert len(message) == 25 + units


def run_with_address_sanitizer(module: str) -> None:
    """Runs `encode_with_sanitizer` of a module in a process of its own."""
    found = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = os.environ | {
        "LD_PRELOAD": found.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    command = [sys.executable, "-c", f"import {module}; {module}.encode_with_sanitizer()"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]


def test_no_access_outside_memory() -> None:
    run_with_address_sanitizer("test_cuda_encode")
