"""NumPy arrays as messages, and back."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import huffwire
import huffwire.numpy as hn

OF_NUMPY = [
    "float16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128",
]  # fmt: skip
OF_ML_DTYPES = [
    "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
    "float8_e8m0fnu", "float6_e3m2fn", "float6_e2m3fn",
]  # fmt: skip
DTYPES = [np.dtype(name) for name in OF_NUMPY]
DTYPES += [np.dtype(getattr(ml_dtypes, name)) for name in OF_ML_DTYPES]
if hasattr(ml_dtypes, "complex32"):
    DTYPES.append(np.dtype(ml_dtypes.complex32))


def filled(shape, dtype, pattern):
    """An array with these bytes, again and again: every bit pattern, NaNs with payloads among them."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    data = np.frombuffer((pattern * (size // len(pattern) + 1))[:size], np.uint8)
    if dtype.kind == "b":
        data = data & 1
    return data.copy().view(dtype).reshape(shape)


def identical(one, other):
    assert one.dtype == other.dtype and one.shape == other.shape
    return np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()


@st.composite
def arrays(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 12), max_size=4)))
    array = filled(shape, dtype, draw(st.binary(min_size=1, max_size=100)))
    # Steps, among them negative ones, and another order of dimensions.
    array = array[tuple(slice(None, None, draw(st.sampled_from([1, 1, 2, -1, -3]))) for _ in shape)]
    array = np.asarray(array).transpose(draw(st.permutations(range(len(shape)))))
    if draw(st.booleans()):
        array = swapped(array)
    array.flags.writeable = draw(st.booleans())
    return array


def swapped(array):
    return array.byteswap().view(array.dtype.newbyteorder())


@given(arrays(), st.sampled_from(["fast", "max"]), st.sampled_from([None, 5]))
def test_every_bit_comes_back(array, level, context):
    before = array.tobytes()
    message = hn.encode(array, level=level, context=context)
    assert array.tobytes() == before
    # A cast may change a NaN.
    native = array if array.dtype.isnative else array.byteswap().view(array.dtype.newbyteorder("="))
    restored = hn.decode(message, array.shape, context=context)
    assert restored.flags.c_contiguous and restored.flags.writeable and restored.flags.owndata
    assert identical(restored, native)
    assert hn.decode(message, context=context).shape == (array.size,)

    buffer = np.zeros(hn.max_encoded_size(array.shape, native.dtype), np.uint8)
    length = hn.encode_into(array, buffer, level=level, context=context)
    assert buffer[:length].tobytes() == message
    out = np.zeros(array.shape, native.dtype)
    hn.decode_into(message, out, context=context)
    assert identical(out, native)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_comes_back_as_itself_and_has_a_name(dtype):
    array = filled((3, 5), dtype, bytes(range(256)))
    message = hn.encode(array)
    assert identical(hn.decode(message, (3, 5)), array)
    header = huffwire.inspect(message)
    assert (header.elements, header.size) == (15, array.nbytes)


def test_all_16_bit_floats_survive():
    for dtype in [np.float16, ml_dtypes.bfloat16]:
        array = np.arange(65536, dtype=np.uint16).view(dtype)
        assert identical(hn.decode(hn.encode(array)), array)


def test_scalars_and_empty_arrays():
    for array in [np.float32(1.5), np.array(7), np.empty((0, 3)), np.empty((2, 0, 4), np.int8)]:
        assert identical(hn.decode(hn.encode(array), np.shape(array)), np.asarray(array))


def test_a_contiguous_array_is_not_copied():
    array = np.zeros(1 << 20, np.uint8)
    source, _ = hn._source(array)
    target, _ = hn._target(array)
    assert np.shares_memory(source, array) and np.shares_memory(target, array)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_views_of_files_and_matrices(tmp_path):
    path = tmp_path / "array.npy"
    np.save(path, np.arange(1000.0).reshape(20, 50))
    mapped = np.load(path, mmap_mode="r")
    assert identical(hn.decode(hn.encode(mapped), (20, 50)), np.asarray(mapped))
    matrix = np.asmatrix(np.arange(12).reshape(3, 4))
    assert identical(hn.decode(hn.encode(matrix), (3, 4)), np.asarray(matrix))


# Bad input.


def test_what_cannot_be_coded_is_refused():
    structured = np.zeros(3, [("a", "f4"), ("b", "i2")])
    bad = [
        np.array([object()]), structured, structured.view(np.recarray), np.array(["text"]),
        np.array([b"text"]), np.array(["2026-01-01"], "datetime64[D]"), np.zeros(2, "longdouble"),
        np.zeros(2, ml_dtypes.int4), np.zeros(2, ml_dtypes.float4_e2m1fn),
        np.zeros(2, ml_dtypes.float8_e4m3b11fnuz),
        np.ma.masked_array([1.0, 2.0], [True, False]), [1.0, 2.0], None, 3.0, b"bytes",
    ]  # fmt: skip
    for array in bad:
        with pytest.raises(huffwire.UnsupportedError):
            hn.encode(array)
        with pytest.raises(huffwire.UnsupportedError):
            hn.encode_into(array, bytearray(100))


MESSAGE = hn.encode(np.arange(1000, dtype=np.float32))


def test_outputs_are_checked_before_they_are_written():
    good = np.full(1000, 7, np.float32)
    fixed = good.copy()
    fixed.flags.writeable = False
    wide = np.full(2000, 7, np.float32)
    outputs = [
        (fixed, huffwire.OutputError, "read-only"),
        (wide[::2], huffwire.OutputError, "contiguous"),
        (good.reshape(10, 100).T, huffwire.OutputError, "contiguous"),
        (np.broadcast_to(np.float32(7), 1000), huffwire.OutputError, "contiguous"),
        (good[:999], huffwire.OutputError, "exactly 4000"),
        (wide, huffwire.OutputError, "exactly 4000"),
        (good.view(np.int32), huffwire.MismatchError, "f32 where i32"),
        (good.astype(">f4"), huffwire.OutputError, "byte order"),
        (np.array([None] * 1000), huffwire.UnsupportedError, "object"),
        (np.ma.masked_array(good), huffwire.OutputError, "numpy.ndarray"),
        ([0.0] * 1000, huffwire.OutputError, "numpy.ndarray"),
        (bytearray(4000), huffwire.OutputError, "numpy.ndarray"),
    ]
    for out, error, text in outputs:
        before = np.array(out).tobytes()
        with pytest.raises(error, match=text):
            hn.decode_into(MESSAGE, out)
        assert np.array(out).tobytes() == before


def test_an_output_must_not_overlap_the_message():
    memory = np.zeros(len(MESSAGE) + 4000, np.uint8)
    memory[: len(MESSAGE)] = np.frombuffer(MESSAGE, np.uint8)
    out = memory[:4000].view(np.float32)
    with pytest.raises(huffwire.OutputError, match="overlaps"):
        hn.decode_into(memory[: len(MESSAGE)], out)
    assert memory[: len(MESSAGE)].tobytes() == MESSAGE
    array = np.zeros(5000, np.uint8)
    with pytest.raises(huffwire.OutputError, match="overlaps"):
        hn.encode_into(array[:1000], array[500:])


def test_shapes_are_checked():
    for shape in [999, (10, 99), (), (0,)]:
        with pytest.raises(huffwire.MismatchError, match="has 1000"):
            hn.decode(MESSAGE, shape)
    for shape in [(-1,), (10, -100), "abc", 1.5, (2.0, 500), (-10, -100)]:
        with pytest.raises(huffwire.OptionError, match="sizes of all dimensions"):
            hn.decode(MESSAGE, shape)
    assert hn.decode(MESSAGE, [10, np.int64(100)]).shape == (10, 100)
    with pytest.raises(huffwire.UnsupportedError):
        hn.max_encoded_size(10, object)


def test_a_type_that_numpy_lacks_is_told():
    for dtype in ["e2m1", "e3m2-packed", "word16"]:
        with pytest.raises(huffwire.UnsupportedError, match="huffwire.decode"):
            hn.decode(huffwire.encode(bytes(6), dtype))


def test_damage_and_limits_are_told():
    with pytest.raises(huffwire.LimitError):
        hn.decode(MESSAGE, max_size=3999)
    with pytest.raises(huffwire.ContextError):
        hn.decode(MESSAGE, context=1)
    with pytest.raises(huffwire.DamagedError):
        hn.decode(MESSAGE[:-1])
    flipped = bytearray(MESSAGE)
    flipped[-1] ^= 1
    out = np.zeros(1000, np.float32)
    with pytest.raises(huffwire.DamagedError):
        hn.decode_into(flipped, out)
    assert np.isnan(out).all()


def test_without_ml_dtypes_numpys_own_types_still_work():
    code = """
import sys
sys.modules["ml_dtypes"] = None
import numpy, huffwire, huffwire.numpy
array = numpy.arange(10, dtype="float16")
assert (huffwire.numpy.decode(huffwire.numpy.encode(array)) == array).all()
try:
    huffwire.numpy.decode(huffwire.encode(bytes(20), "bf16"))
except huffwire.UnsupportedError as error:
    assert "pip install" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_blocks_have_the_size_that_is_asked_for():
    array = np.arange(40_000, dtype="float32")
    message = hn.encode(array, block_size=4096)
    assert huffwire.inspect(message).block_size == 4096
    buffer = bytearray(hn.max_encoded_size(array.shape, array.dtype, block_size=4096))
    length = hn.encode_into(array, buffer, block_size=4096)
    assert buffer[:length] == message
    assert (hn.decode(message) == array).all()
