"""Messages from buffers, and back."""

import array
import mmap
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import huffwire

DTYPES = {
    "bf16": 2, "f16": 2, "f32": 4, "f64": 8,
    "e4m3": 1, "e5m2": 1, "e4m3fnuz": 1, "e5m2fnuz": 1, "e8m0": 1,
    "e3m2": 1, "e2m3": 1, "e3m2-packed": 3, "e2m3-packed": 3, "e2m1": 1,
    "i8": 1, "i16": 2, "i32": 4, "i64": 8, "u8": 1, "u16": 2, "u32": 4, "u64": 8, "bool": 1,
    "word16": 2, "word32": 4, "word64": 8,
    "complex32": 4, "complex64": 8, "complex128": 16,
}  # fmt: skip
options = st.fixed_dictionaries(
    {},
    optional={
        "level": st.sampled_from(["fast", "max"]),
        "symbols": st.sampled_from(["auto", "bytes", "byte-planes"]),
        "checksums": st.booleans(),
        "threads": st.integers(1, 3),
        "context": st.integers(0, 2**64 - 1),
    },
)


def weights(count, seed=1):
    """Bytes of bf16 values that resemble weights."""
    generator = random.Random(seed)
    floats = (generator.gauss(0, 0.02) for _ in range(count))
    return b"".join(struct.pack("<f", value)[2:] for value in floats)


WEIGHTS = weights(100_000)
MESSAGE = huffwire.encode(WEIGHTS, "bf16")


@given(st.sampled_from(sorted(DTYPES)), st.data(), options)
def test_every_bit_comes_back(dtype, data, options):
    unit = DTYPES[dtype]
    pattern = data.draw(st.binary(max_size=300))
    pattern = (pattern * data.draw(st.sampled_from([1, 1000])))[: len(pattern) * 1000]
    elements = pattern[: len(pattern) // unit * unit]
    message = huffwire.encode(elements, dtype, **options)
    context = options.get("context")
    assert huffwire.decode(message, dtype=dtype, context=context) == elements
    header = huffwire.inspect(message, context=context)
    assert (header.kind, header.dtype, header.size) == ("tensor", dtype, len(elements))
    assert header.checksums == options.get("checksums", True)
    assert header.has_context == (context is not None)
    assert len(message) <= huffwire.max_encoded_size(len(elements), dtype)

    out = bytearray(huffwire.max_encoded_size(len(elements), dtype))
    length = huffwire.encode_into(elements, dtype, out, **options)
    assert out[:length] == message
    restored = bytearray(len(elements))
    huffwire.decode_into(message, restored, context=context)
    assert restored == elements


def test_weights_become_a_third_smaller():
    assert 0.6 < len(MESSAGE) / len(WEIGHTS) < 0.7
    # Level max also codes what is not an exponent, if that gains anything: here every second byte.
    doubled = bytes(
        byte for pair in zip(WEIGHTS, bytes(len(WEIGHTS)), strict=True) for byte in pair
    )
    sizes = {level: len(huffwire.encode(doubled, "bf16", level=level)) for level in ["fast", "max"]}
    assert sizes["max"] < 0.9 * sizes["fast"]


def test_blocks_have_the_size_that_is_asked_for():
    floats = array.array("f", [0.01 * i for i in range(60_000)])
    lengths = []
    for block_size in (None, 1 << 10, 1 << 14, 1 << 20):
        message = huffwire.encode(floats, "f32", block_size=block_size)
        assert huffwire.inspect(message).block_size == (block_size or 1 << 17)
        assert huffwire.decode(message) == floats.tobytes()
        room = huffwire.max_encoded_size(4 * len(floats), "f32", block_size=block_size)
        out = bytearray(room)
        length = huffwire.encode_into(floats, "f32", out, block_size=block_size)
        assert out[:length] == message
        lengths.append(room)
    assert lengths[1] > lengths[2] > lengths[0] > lengths[3]
    with pytest.raises(huffwire.OutputError):
        huffwire.encode_into(bytes(5000), "u8", bytearray(5000), block_size=1024)


@pytest.mark.parametrize("block_size", [0, 1, 1000, 512, 3 << 12, 1 << 21, 1 << 64, -1024, 16384.0, "32K"])
def test_sizes_that_no_block_has_are_refused(block_size):
    with pytest.raises((huffwire.OptionError, TypeError), match="block_size|whole|number|int"):
        huffwire.encode(bytes(64), "u8", block_size=block_size)
    with pytest.raises((huffwire.OptionError, TypeError)):
        huffwire.max_encoded_size(64, "u8", block_size=block_size)


def test_any_object_with_a_buffer_will_do():
    values = array.array("f", range(1000))
    file = mmap.mmap(-1, 4000)
    file[:] = values.tobytes()
    whole = values.tobytes()
    for source in [values, whole, bytearray(whole), memoryview(whole), memoryview(values), file]:
        assert huffwire.decode(huffwire.encode(source, "f32")) == whole
    square = memoryview(whole).cast("B", (40, 100))
    assert huffwire.decode(huffwire.encode(square, "f32")) == whole
    message = huffwire.encode(values, "f32")
    for source in [bytearray(message), memoryview(message)]:
        assert huffwire.decode(source) == whole
    out = array.array("f", bytes(4000))
    assert huffwire.decode_into(message, out) == 4000
    assert out == values


def test_a_buffer_that_is_not_contiguous_is_read_in_the_order_of_its_indices():
    whole = bytes(range(256)) * 40
    for view in [memoryview(whole)[::3], memoryview(whole)[::-1]]:
        assert huffwire.decode(huffwire.encode(view, "u8")) == view.tobytes()


def test_nothing_is_a_tensor_too():
    message = huffwire.encode(b"", "f32")
    assert huffwire.decode(message) == b""
    assert huffwire.decode_into(message, bytearray()) == 0


def test_a_dtype_has_several_names():
    assert huffwire.encode(WEIGHTS, "bfloat16") == MESSAGE
    assert huffwire.decode(MESSAGE, dtype="BFLOAT16") == WEIGHTS


def test_codebooks_are_found_among_several():
    builtin = huffwire.Codebooks.builtin()
    assert huffwire.encode(WEIGHTS, "bf16", codebooks=builtin) == MESSAGE
    for codebooks in [None, builtin, [builtin], (builtin, builtin), []]:
        assert huffwire.decode(MESSAGE, codebooks=codebooks) == WEIGHTS
    with pytest.raises(huffwire.OptionError, match="codebooks"):
        huffwire.decode(MESSAGE, codebooks="builtin")
    # The message names a set by these bytes. The header's checksum knows.
    strange = bytearray(MESSAGE)
    strange[4] ^= 1
    strange[12:16] = struct.pack("<I", crc32c(strange[:12]))
    with pytest.raises(huffwire.CodebookError, match="load the sender's set"):
        huffwire.decode(strange)


def crc32c(data):
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


def changed(place, value):
    message = bytearray(MESSAGE)
    message[place] = value
    message[12:16] = struct.pack("<I", crc32c(message[:12]))
    return bytes(message)


# Bad input.


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"", huffwire.DamagedError),
        (b"H", huffwire.DamagedError),
        (MESSAGE[:-1], huffwire.DamagedError),
        (MESSAGE[:40], huffwire.DamagedError),
        (MESSAGE + b"\0", huffwire.DamagedError),
        (b"X" + MESSAGE[1:], huffwire.DamagedError),
        (changed(1, 0x21), huffwire.VersionError),
        (changed(2, 99), huffwire.DamagedError),
        # A delta, whose kind header has a length of its own, and quantized values: in blocks as they have, and in others.
        (huffwire.encode_delta(WEIGHTS, WEIGHTS, "bf16"), huffwire.MismatchError),
        (changed(3, 0x40 | 20), huffwire.DamagedError),
        (changed(3, 0x20 | 20), huffwire.MismatchError),
        (changed(3, 0x20 | MESSAGE[3]), huffwire.DamagedError),
        (changed(3, 0x40 | MESSAGE[3]), huffwire.DamagedError),
    ],
)
def test_what_is_no_message_leaves_the_output_as_it_was(message, error):
    with pytest.raises(error):
        huffwire.decode(message)
    out = bytearray(b"\x17" * len(WEIGHTS))
    with pytest.raises(error):
        huffwire.decode_into(message, out)
    assert set(out) == {0x17}


@given(st.integers(0, len(MESSAGE) * 8 - 1))
def test_a_flipped_bit_is_found(bit):
    message = bytearray(MESSAGE)
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(huffwire.Error):
        huffwire.decode(message)
    out = bytearray(len(WEIGHTS))
    with pytest.raises(huffwire.Error):
        huffwire.decode_into(message, out)
    assert set(out) in ({0}, {0xFF})


@given(st.integers(0, len(MESSAGE) - 1))
def test_a_cut_message_is_damaged(length):
    with pytest.raises(huffwire.DamagedError):
        huffwire.decode(MESSAGE[:length])


@given(st.binary(max_size=200))
def test_noise_is_an_error(noise):
    for message in [noise, b"H\x11" + noise, MESSAGE[:16] + noise]:
        with pytest.raises(huffwire.Error):
            huffwire.decode(message)


def test_a_context_must_be_the_same():
    message = huffwire.encode(WEIGHTS, "bf16", context=3)
    assert huffwire.decode(message, context=3) == WEIGHTS
    with pytest.raises(huffwire.ContextError, match="which one is expected"):
        huffwire.decode(message)
    with pytest.raises(huffwire.ContextError, match="no context"):
        huffwire.decode(MESSAGE, context=3)
    with pytest.raises(huffwire.ContextError, match="another context") as caught:
        huffwire.decode(message, context=4)
    assert type(caught.value) is huffwire.WrongContextError
    with pytest.raises(huffwire.OptionError):
        huffwire.encode(WEIGHTS, "bf16", context=-1)


def test_a_message_of_another_dtype_is_refused():
    with pytest.raises(huffwire.MismatchError, match="bf16 where f16"):
        huffwire.decode(MESSAGE, dtype="f16")
    out = bytearray(b"\x17" * len(WEIGHTS))
    with pytest.raises(huffwire.MismatchError, match="bf16 where f16"):
        huffwire.decode_into(MESSAGE, out, dtype="f16")
    assert set(out) == {0x17}


def test_a_limit_holds_before_memory_is_taken():
    assert huffwire.decode(MESSAGE, max_size=len(WEIGHTS)) == WEIGHTS
    with pytest.raises(huffwire.LimitError, match="limit"):
        huffwire.decode(MESSAGE, max_size=len(WEIGHTS) - 1)
    out = bytearray(b"\x17" * len(WEIGHTS))
    with pytest.raises(huffwire.LimitError):
        huffwire.decode_into(MESSAGE, out, max_size=10)
    assert set(out) == {0x17}


def test_a_header_that_promises_much_takes_no_memory():
    # 2**32 - 1 elements of 16 bytes, and nothing behind the header.
    header = bytearray(huffwire.encode(b"", "word64"))
    header[8:12] = b"\xff\xff\xff\xff"
    header[12:16] = struct.pack("<I", crc32c(header[:12]))
    with pytest.raises(huffwire.DamagedError, match="ends early"):
        huffwire.decode(header)


@pytest.mark.parametrize("size", [0, 1, 199_999, 200_001])
def test_an_output_of_another_size_is_refused(size):
    out = bytearray(size)
    with pytest.raises(huffwire.OutputError, match="pass exactly 200000"):
        huffwire.decode_into(MESSAGE, out)
    assert not any(out)


def test_outputs_that_cannot_be_written_are_refused():
    for out in [bytes(len(WEIGHTS)), memoryview(bytes(len(WEIGHTS)))]:
        with pytest.raises(huffwire.OutputError, match="read-only"):
            huffwire.decode_into(MESSAGE, out)
        with pytest.raises(huffwire.OutputError, match="read-only"):
            huffwire.encode_into(WEIGHTS, "bf16", out)
    with pytest.raises(huffwire.OutputError, match="contiguous"):
        huffwire.decode_into(MESSAGE, memoryview(bytearray(2 * len(WEIGHTS)))[::2])
    with pytest.raises(huffwire.OutputError, match="are needed"):
        huffwire.encode_into(WEIGHTS, "bf16", bytearray(1000))
    for out in [None, "text", 3, (1, 2)]:
        with pytest.raises(huffwire.UnsupportedError):
            huffwire.decode_into(MESSAGE, out)


def test_an_output_must_not_overlap_the_input():
    memory = bytearray(huffwire.max_encoded_size(1000, "u8") + 999)
    view = memoryview(memory)
    with pytest.raises(huffwire.OutputError, match="overlaps"):
        huffwire.encode_into(view[:1000], "u8", view[999:])
    view[:1000] = bytes(1000)
    assert huffwire.encode_into(view[:999], "u8", view[999:]) > 0
    message = huffwire.encode(bytes(1000), "u8")
    memory = bytearray(message + bytes(1000))
    view = memoryview(memory)
    with pytest.raises(huffwire.OutputError, match="overlaps"):
        huffwire.decode_into(view[: len(message)], view[len(message) - 1 : -1])
    assert memory == message + bytes(1000)
    huffwire.decode_into(view[: len(message)], view[len(message) :])


def test_options_are_checked():
    for bad in [{"level": "best"}, {"symbols": "all"}, {"threads": 0}, {"threads": 5000}]:
        with pytest.raises(huffwire.OptionError):
            huffwire.encode(WEIGHTS, "bf16", **bad)
    with pytest.raises(huffwire.OptionError, match="known are bf16"):
        huffwire.encode(WEIGHTS, "bf17")
    with pytest.raises(huffwire.MismatchError, match="whole number"):
        huffwire.encode(b"abc", "f32")
    with pytest.raises(huffwire.MismatchError, match="whole number"):
        huffwire.max_encoded_size(3, "f32")
    for source in ["text", None, 3, (1, 2), [1.0]]:
        with pytest.raises(huffwire.UnsupportedError, match="bytes"):
            huffwire.encode(source, "f32")
        with pytest.raises(huffwire.UnsupportedError, match="bytes"):
            huffwire.decode(source)


def test_large_tensors_are_coded_the_same_with_any_threads():
    large = WEIGHTS * 30
    one = huffwire.encode(large, "bf16", threads=1)
    for threads in [None, 2, 3]:
        assert huffwire.encode(large, "bf16", threads=threads) == one
        assert huffwire.decode(one, threads=threads) == large


@pytest.mark.parametrize("option", ["threads", "context"])
@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_numbers_out_of_range_are_options_that_are_refused(option, number):
    with pytest.raises(huffwire.OptionError, match="give a number from 0"):
        huffwire.encode(bytes(64), "bf16", **{option: number})
    message = huffwire.encode(bytes(64), "bf16")
    with pytest.raises(huffwire.OptionError, match="give a number from 0"):
        huffwire.decode(message, **{option: number})
    with pytest.raises(huffwire.OptionError, match="give a number from 0"):
        huffwire.decode(message, max_size=number)
