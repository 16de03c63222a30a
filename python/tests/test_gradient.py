"""Quantized gradients: quantizers, encoders, messages, error feedback, fixed codebooks."""

import array
import copy
import json
import math
import pickle
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import huffwire
from huffwire import Codebooks, gradient
from huffwire.gradient import (
    ENCODERS,
    BitmapBooks,
    ErrorFeedback,
    FixedBook,
    Linear,
    Natural,
    Qsgd,
    Quantized,
    RefreshPolicy,
    Sign,
    Sparsify,
    TernGrad,
)

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "test_vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())["vectors"]

QUANTIZERS = [
    Qsgd(),
    Qsgd(levels=4, bucket=100),
    Qsgd(levels=1, bucket=None, norm="max"),
    Qsgd(levels=1000, bucket=4, norm="max"),
    TernGrad(),
    TernGrad(clip=None, bucket=64),
    Natural(),
    Sign(),
    Sign("one", 100),
    Sign("means", 7),
    Sparsify(),
    Sparsify("random", 0.125),
    Linear(),
    Linear(30),
]
FLOATS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=0, max_dims=3, max_side=40) | st.just((0,)) | st.just((3, 0)),
    elements=st.floats(-(2.0**60), 2.0**60, width=32),
)


def normal(size=5000, seed=1, dtype=np.float32):
    return (np.random.default_rng(seed).standard_normal(size) ** 3 * 0.01).astype(dtype)


def tensor(array):
    """The same as a tensor of torch."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


# Quantizers.


def test_quantizers_are_values_with_names():
    assert str(Qsgd(levels=4)) == "qsgd levels=4 norm=l2 bucket=512"
    assert str(Sparsify("random", 0.5)) == "randomk keep=0.5"
    assert len({*QUANTIZERS, *copy.deepcopy(QUANTIZERS)}) == len(QUANTIZERS)
    assert pickle.loads(pickle.dumps(QUANTIZERS)) == QUANTIZERS
    with pytest.raises(AttributeError):
        Qsgd().levels = 5


@pytest.mark.parametrize(
    "make",
    [
        lambda: Qsgd(levels=0),
        lambda: Qsgd(levels=-1),
        lambda: Qsgd(levels=2**31),
        lambda: Qsgd(levels=2**100),
        lambda: Qsgd(levels=1.5),
        lambda: Qsgd(bucket=0),
        lambda: Qsgd(bucket=-1),
        lambda: Qsgd(norm="l3"),
        lambda: Qsgd(norm=None),
        lambda: TernGrad(clip=0.0),
        lambda: TernGrad(clip=math.nan),
        lambda: TernGrad(clip="much"),
        lambda: Sign("median"),
        lambda: Sign(bucket=0),
        lambda: Sparsify("some"),
        lambda: Sparsify(share=0.0),
        lambda: Sparsify(share=1.5),
        lambda: Sparsify(share=math.nan),
        lambda: Linear(0),
    ],
)
def test_parameters_out_of_range_are_refused(make):
    with pytest.raises(huffwire.OptionError):
        make()


def test_linear_is_what_its_formula_says():
    floats = normal()
    quantized = Linear().quantize(floats)
    scale = quantized.scales[0]
    expected = np.rint(floats.astype(np.float64) / scale)
    assert quantized.scales.shape == (1,)
    assert scale >= np.abs(floats).max() / 127
    assert (quantized.values == expected).all()
    assert np.abs(quantized.dequantize() - floats).max() <= scale * 0.5001


def test_top_k_keeps_the_largest():
    floats = normal()
    quantized = Sparsify("top", 0.1).quantize(floats)
    kept = np.sort(np.argsort(-np.abs(floats), kind="stable")[:500])
    assert (np.flatnonzero(quantized.values) == kept).all()
    assert (quantized.scales == floats[kept]).all()
    assert quantized.zeros == 4500


def test_qsgd_is_unbiased_and_follows_its_seed():
    floats = normal(512)
    sent = [Qsgd(levels=4).quantize(floats, seed=seed).dequantize() for seed in range(400)]
    error = np.abs(np.mean(sent, axis=0) - floats).max()
    assert error < 5 * np.linalg.norm(floats) / 4 / math.sqrt(400)
    again = Qsgd(levels=4).quantize(floats, seed=3)
    assert again == Qsgd(levels=4).quantize(floats, seed=3)
    assert again != Qsgd(levels=4).quantize(floats, seed=4)
    assert Qsgd(levels=4).quantize(floats, seed=2**64 - 1) != again


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=str)
def test_the_input_is_not_changed_and_all_kinds_give_the_same(quantizer):
    floats = normal().reshape(50, 100)
    before = floats.copy()
    first = quantizer.quantize(floats, seed=5)
    assert (floats == before).all()
    assert first.shape == (50, 100) and first.dtype == "f32" and len(first) == 5000
    assert first.quantizer == quantizer
    values = first.values
    assert isinstance(values, np.ndarray) and values.dtype in (np.int8, np.int32)
    assert values.shape == floats.shape
    assert first.scales.dtype == np.float32
    assert first.zeros == (values == 0).sum()
    others = [
        tensor(floats),
        tensor(floats).requires_grad_(),
        torch.nn.Parameter(tensor(floats)),
        floats.astype(floats.dtype.newbyteorder(">")),
        np.stack([floats, floats], 2)[:, :, 0],
        tensor(np.ascontiguousarray(floats.T)).T,
        memoryview(floats),
    ]
    for other in others:
        assert quantizer.quantize(other, seed=5) == first
    flat = quantizer.quantize(array.array("f", floats.reshape(-1).tolist()), seed=5)
    assert flat.values.tolist() == values.reshape(-1).tolist()
    restored = quantizer.quantize(tensor(floats), seed=5)
    assert isinstance(restored.values, torch.Tensor)
    assert restored.values.shape == (50, 100)
    assert restored.dequantize().dtype == torch.float32
    assert torch.equal(restored.dequantize(), tensor(first.dequantize()))
    assert not restored.dequantize().requires_grad


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_floats_of_16_bits_come_back_as_such(name):
    dtype = ml_dtypes.bfloat16 if name == "bfloat16" else np.float16
    short = {"bfloat16": "bf16", "float16": "f16"}[name]
    floats = normal(dtype=dtype)
    for quantizer in QUANTIZERS:
        quantized = quantizer.quantize(floats, seed=2)
        assert quantized.dtype == short
        wide = quantizer.quantize(floats.astype(np.float32), seed=2)
        assert (quantized.values == wide.values).all()
        restored = quantized.dequantize()
        assert restored.dtype == dtype
        assert (restored == wide.dequantize().astype(dtype)).all()
        message = quantized.encode()
        assert (gradient.decode(message) == restored).all()
        back = gradient.decode(message, kind="torch")
        assert back.dtype == getattr(torch, name)
        assert torch.equal(back, tensor(restored))
        raw = gradient.decode(message, kind="buffer")
        assert bytes(raw) == restored.tobytes()
        given_ = quantizer.quantize((short, floats.tobytes()), seed=2)
        assert bytes(given_.dequantize()) == restored.tobytes()


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (np.array([1, math.nan], np.float32), huffwire.QuantizeError),
        (np.array([1, -math.inf], np.float32), huffwire.QuantizeError),
        (np.zeros(3), huffwire.UnsupportedError),
        (np.zeros(3, np.int8), huffwire.UnsupportedError),
        (torch.zeros(3, dtype=torch.float8_e4m3fn), huffwire.UnsupportedError),
        (torch.zeros(3, device="meta"), huffwire.UnsupportedError),
        (torch.zeros(3, 3).to_sparse(), huffwire.UnsupportedError),
        (b"1234", huffwire.UnsupportedError),
        ("text", huffwire.UnsupportedError),
        (None, huffwire.UnsupportedError),
        (("f32", b"12345"), huffwire.MismatchError),
        (("f32", (0, 4)), huffwire.UnsupportedError),
        ((0, 4), huffwire.UnsupportedError),
    ],
)
def test_what_cannot_be_quantized_is_refused(what, error):
    with pytest.raises(error):
        gradient.quantize(what, Qsgd())
    with pytest.raises(error):
        gradient.encode(what, Qsgd())


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, "1", None])
def test_seeds_are_numbers_of_64_bits(seed):
    with pytest.raises(huffwire.OptionError):
        gradient.quantize(normal(), Qsgd(), seed=seed)


def test_a_quantizer_must_be_one():
    with pytest.raises(huffwire.OptionError):
        gradient.quantize(normal(), "qsgd")
    with pytest.raises(huffwire.OptionError):
        gradient.encode(normal())
    with pytest.raises(huffwire.OptionError):
        gradient.encode(Qsgd().quantize(normal()), Qsgd())


def test_parts_of_other_programs_are_taken():
    quantized = Qsgd(levels=4).quantize(normal(), seed=1)
    again = Quantized.of_parts(Qsgd(levels=4), quantized.values, quantized.scales)
    assert again == quantized and repr(again) == repr(quantized)
    wide = Quantized.of_parts(Qsgd(levels=4), quantized.values.astype(np.int32), quantized.scales)
    assert wide == quantized
    # What the quantizer never makes is found when floats are restored, and when it is encoded.
    bad = Quantized.of_parts(Sign(), np.array([5], np.int8), np.array([1], np.float32))
    with pytest.raises(huffwire.DamagedError):
        bad.dequantize()
    few = Quantized.of_parts(Qsgd(), quantized.values, quantized.scales[:-1])
    with pytest.raises(huffwire.Error):
        few.dequantize()
    with pytest.raises(huffwire.OptionError):
        few.encode()
    with pytest.raises(huffwire.UnsupportedError):
        Quantized.of_parts(Qsgd(), normal(), quantized.scales)
    with pytest.raises(huffwire.UnsupportedError):
        Quantized.of_parts(Qsgd(), quantized.values, quantized.values)


# Streams of values.


@given(
    hnp.arrays(np.int8, st.integers(0, 300)) | hnp.arrays(np.int32, st.integers(0, 300)),
    st.sampled_from(ENCODERS),
    st.integers(0, 2**64 - 1),
)
@settings(max_examples=400)
def test_every_encoder_codes_any_values(values, encoder, seed):
    stream = gradient.encode_values(values, encoder, seed=seed)
    wide = values.dtype == np.int32
    restored = gradient.decode_values(stream, encoder, wide=wide)
    assert restored.dtype == values.dtype and (restored == values).all()
    assert gradient.sizes(values, encoder, seed=seed).total == len(stream)
    as_tensor = gradient.decode_values(stream, encoder, wide=wide, kind="torch")
    assert torch.equal(as_tensor, torch.from_numpy(values))
    assert gradient.encode_values(torch.from_numpy(values), encoder, seed=seed) == stream
    if values.size and not wide:
        # Streams do not depend on the width.
        assert gradient.encode_values(values.astype(np.int32), encoder, seed=seed) == stream
        again = gradient.decode_values(stream, encoder, wide=True, kind="buffer")
        assert again.tolist() == values.tolist()


def test_the_names_of_the_encoders():
    assert set(ENCODERS) == {
        "huffman", "rlh", "sh", "shs", "run-lengths", "elias-gamma", "elias-delta", "elias-omega",
        "qsgd-elias", "qsgd-elias-dense", "bitmap", "auto",
    }  # fmt: skip


def test_auto_tells_what_it_selected():
    values = Qsgd(levels=4).quantize(normal(100_000))
    stream = gradient.encode_values(values)
    chosen = gradient.encoder_of_auto(stream)
    estimates = gradient.estimates(values)
    assert chosen in estimates
    assert estimates[chosen] <= min(estimates.values()) * 1.02 + 16
    assert abs(estimates[chosen] - len(stream)) < 0.1 * len(stream)
    assert len(stream) <= 1.05 * min(
        gradient.sizes(values, encoder).total for encoder in ENCODERS if encoder != "auto"
    )


def test_no_encoder_is_below_its_bound():
    values = Qsgd(levels=4).quantize(normal(100_000)).values
    bounds = gradient.shannon(values)
    assert bounds.values <= gradient.sizes(values, "huffman").total
    assert bounds.pairs <= gradient.sizes(values, "rlh").total
    assert bounds.zero_runs <= gradient.sizes(values, "shs").total
    counts = np.bincount(values.astype(int) + 128)
    p = counts[counts > 0] / values.size
    assert math.isclose(bounds.values, -(p * np.log2(p)).sum() * values.size / 8, rel_tol=1e-9)


def test_a_quantized_gradient_is_its_values():
    quantized = TernGrad().quantize(normal())
    for encoder in ENCODERS:
        stream = gradient.encode_values(quantized, encoder)
        assert (gradient.decode_values(stream, encoder) == quantized.values).all()
    assert gradient.shannon(quantized) == gradient.shannon(quantized.values)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda v: gradient.encode_values(v, "abacus"), huffwire.OptionError),
        (lambda v: gradient.encode_values(v, "bitmap-fixed"), huffwire.OptionError),
        (lambda v: gradient.encode_values(v, 5), huffwire.OptionError),
        (lambda v: gradient.encode_values(v, "shs", runs=0), huffwire.OptionError),
        (lambda v: gradient.encode_values(v, "shs", runs=70000), huffwire.OptionError),
        (lambda v: gradient.encode_values(v, seed=-1), huffwire.OptionError),
        (lambda v: gradient.encode_values(v.astype(np.float32)), huffwire.UnsupportedError),
        (lambda v: gradient.encode_values(v.astype(np.int64)), huffwire.UnsupportedError),
        (lambda v: gradient.encode_values(v.tolist()), huffwire.UnsupportedError),
        (lambda v: gradient.encode_values(np.zeros(1 << 21, np.int8), "bitmap"), huffwire.Error),
        (lambda v: gradient.decode_values(b"\x05"), huffwire.DamagedError),
        (lambda v: gradient.decode_values(b""), huffwire.DamagedError),
        (lambda v: gradient.decode_values((0, 5)), huffwire.UnsupportedError),
        (lambda v: gradient.decode_values(b"\0\0", kind="list"), huffwire.OptionError),
        (lambda v: gradient.encoder_of_auto(b""), huffwire.DamagedError),
        (lambda v: gradient.encoder_of_auto(b"\x01\xff"), huffwire.DamagedError),
    ],
)
def test_wrong_calls_are_told(call, error):
    with pytest.raises(error):
        call(np.arange(100, dtype=np.int8))


def test_limits_and_impossible_sizes_of_streams():
    stream = gradient.encode_values(np.zeros(1000, np.int8), "rlh")
    assert gradient.decode_values(stream, "rlh", max_size=1000).size == 1000
    with pytest.raises(huffwire.LimitError):
        gradient.decode_values(stream, "rlh", max_size=999)
    with pytest.raises(huffwire.LimitError):
        gradient.decode_values(stream, "rlh", max_size=3999, wide=True)
    # 2**62 values: there is no memory for them.
    for kind in ("numpy", "torch", "buffer"):
        with pytest.raises(huffwire.Error):
            gradient.decode_values(b"\xff" * 8 + b"\x3f\0\0\0", "rlh", kind=kind, wide=True)


def test_values_that_do_not_fit_a_byte_are_told():
    stream = gradient.encode_values(np.array([0, 200], np.int32))
    with pytest.raises(huffwire.DamagedError):
        gradient.decode_values(stream)
    assert gradient.decode_values(stream, wide=True).tolist() == [0, 200]


STREAMS = {
    encoder: gradient.encode_values(np.arange(-60, 60, dtype=np.int8) // 10, encoder)
    for encoder in ENCODERS
}


@given(st.sampled_from(ENCODERS), st.data())
@settings(max_examples=600)
def test_damaged_streams_give_values_or_errors(encoder, data):
    stream = bytearray(STREAMS[encoder])
    if data.draw(st.booleans()):
        bit = data.draw(st.integers(0, 8 * len(stream) - 1))
        stream[bit // 8] ^= 1 << bit % 8
    else:
        stream = stream[: data.draw(st.integers(0, len(stream) - 1))]
    for wide in (False, True):
        try:
            values = gradient.decode_values(stream, encoder, wide=wide, max_size=1 << 16)
        except huffwire.Error:
            continue
        assert values.dtype == (np.int32 if wide else np.int8)


@given(st.sampled_from(ENCODERS), st.binary(max_size=100))
@settings(max_examples=300)
def test_random_streams_give_values_or_errors(encoder, stream):
    try:
        gradient.decode_values(stream, encoder, max_size=1 << 16)
    except huffwire.Error:
        pass


# Messages.


@given(FLOATS, st.sampled_from(QUANTIZERS), st.sampled_from(ENCODERS), st.integers(0, 2**64 - 1))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_messages_restore_what_was_quantized(floats, quantizer, encoder, seed):
    sent = gradient.quantize(floats, quantizer, seed=seed)
    message = gradient.encode(floats, quantizer, seed=seed, encoder=encoder)
    assert message == sent.encode(encoder=encoder)
    header = gradient.inspect(message)
    assert (header.quantizer, header.encoder, header.dtype) == (quantizer, encoder, "f32")
    assert header.shape == floats.shape and header.elements == floats.size
    assert header.scales == len(sent.scales)
    received = gradient.decode_quantized(message)
    assert received == sent
    assert (received.values == sent.values).all() and (received.scales == sent.scales).all()
    restored = gradient.decode(message)
    assert restored.shape == floats.shape and restored.dtype == np.float32
    assert restored.tobytes() == sent.dequantize().tobytes()
    assert torch.equal(gradient.decode(message, kind="torch"), torch.from_numpy(restored))
    assert sent.sizes(encoder=encoder).total == len(message)


def test_messages_are_decoded_into_what_is_there():
    floats = normal().reshape(50, 100)
    message = gradient.encode(floats, Qsgd(levels=4))
    expected = gradient.decode(message)
    into = [
        (np.empty((50, 100), np.float32), lambda out: out),
        (torch.empty(50, 100), lambda out: out.numpy()),
        (torch.empty(70, 100)[10:60], lambda out: out.numpy()),
        (array.array("f", [0] * 5000), lambda out: np.array(out).reshape(50, 100)),
        (("f32", bytearray(20000)), lambda out: np.frombuffer(out[1], np.float32).reshape(50, 100)),
    ]
    for out, read in into:
        assert gradient.decode_into(message, out) is None
        assert (read(out) == expected).all()


def test_outputs_that_do_not_fit_are_refused():
    floats = normal()
    message = bytearray(gradient.encode(floats, Qsgd()))
    read_only = np.empty(5000, np.float32)
    read_only.flags.writeable = False
    overlapping = memoryview(bytearray(20000))
    overlapping[: len(message)] = message
    for out, error in [
        (np.empty(5001, np.float32), huffwire.MismatchError),
        (np.empty((50, 100), np.float32), huffwire.MismatchError),
        (np.empty(5000, np.float64), huffwire.MismatchError),
        (np.empty(5000, np.int32), huffwire.MismatchError),
        (np.empty(10000, np.float32)[::2], huffwire.OutputError),
        (np.empty(5000, np.dtype(">f4")), huffwire.OutputError),
        (read_only, huffwire.OutputError),
        (torch.empty(5000, 2)[:, 0], huffwire.OutputError),
        (torch.empty(5000, device="meta"), huffwire.OutputError),
        (torch.empty(5000, requires_grad=True), huffwire.OutputError),
        (array.array("f", [0] * 4999), huffwire.OutputError),
        (("f32", bytearray(20001)), huffwire.OutputError),
        (("f32", bytes(20000)), huffwire.OutputError),
    ]:
        with pytest.raises(error):
            gradient.decode_into(message, out)
    with pytest.raises(huffwire.OutputError, match="overlap"):
        gradient.decode_into(overlapping[: len(message)], ("f32", overlapping))


def test_nothing_of_a_damaged_message_is_handed_out():
    message = bytearray(gradient.encode(normal(), Qsgd()))
    message[-1] ^= 1
    out = np.zeros(5000, np.float32)
    with pytest.raises(huffwire.DamagedError):
        gradient.decode_into(message, out)
    assert np.isnan(out).all()


def test_contexts_bind_a_message_to_its_place():
    message = gradient.encode(normal(), Qsgd(), context=7)
    assert gradient.decode(message, context=7).shape == (5000,)
    for call in (gradient.decode, gradient.decode_quantized, gradient.inspect):
        with pytest.raises(huffwire.ContextError):
            call(message)
        with pytest.raises(huffwire.WrongContextError):
            call(message, context=8)
    with pytest.raises(huffwire.ContextError):
        gradient.decode(gradient.encode(normal(), Qsgd()), context=7)


def test_limits_of_messages():
    message = gradient.encode(np.zeros(1 << 22, np.float32), Qsgd())
    assert len(message) < 1 << 18
    for call in (gradient.decode, gradient.decode_quantized):
        assert call(message, max_size=1 << 24) is not None
        with pytest.raises(huffwire.LimitError):
            call(message, max_size=(1 << 24) - 1)


def test_messages_of_tensors_are_no_gradients():
    golden = ROOT / "crates/huffwire/tests/golden/v1/bf16-dense.message"
    for call in (gradient.decode, gradient.decode_quantized, gradient.inspect):
        with pytest.raises(huffwire.MismatchError, match="kind"):
            call(golden.read_bytes())
        with pytest.raises(huffwire.UnsupportedError):
            call((0, 10))
        with pytest.raises(huffwire.UnsupportedError):
            call("text")


MESSAGE = gradient.encode(normal(300), Qsgd(levels=4), context=1)


def test_cut_and_longer_messages_are_refused():
    for length in range(len(MESSAGE)):
        with pytest.raises(huffwire.Error):
            gradient.decode(MESSAGE[:length], context=1)
    with pytest.raises(huffwire.DamagedError):
        gradient.decode(MESSAGE + b"\0", context=1)


def test_flipped_messages_are_refused():
    for bit in range(8 * len(MESSAGE)):
        damaged = bytearray(MESSAGE)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(huffwire.Error):
            gradient.decode(damaged, context=1)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_random_bytes_are_no_message(data):
    for message in (data, MESSAGE[:16] + data, MESSAGE[:40] + data):
        for call in (gradient.decode, gradient.decode_quantized):
            with pytest.raises(huffwire.Error):
                call(message, context=1, max_size=1 << 20)
        with pytest.raises(huffwire.Error):
            gradient.inspect(message, context=1)


def vectors(ok):
    quantized = [v for v in MANIFEST if v["name"].startswith("quantized-")]
    found = [v for v in quantized if v["kind"] == "message" and ("error" not in v) == ok]
    assert found
    return [pytest.param(vector, id=vector["name"]) for vector in found]


def arguments(vector):
    sets = [Codebooks.load(VECTORS / path) for path in vector["sets"]]
    return (VECTORS / vector["file"]).read_bytes(), {
        "codebooks": sets,
        "context": vector.get("context"),
    }


@pytest.mark.parametrize("vector", vectors(True))
def test_messages_of_other_writers_are_decoded(vector):
    message, options = arguments(vector)
    expected = (VECTORS / vector["output"]).read_bytes()
    assert bytes(gradient.decode(message, kind="buffer", **options)) == expected


@pytest.mark.parametrize("vector", vectors(False))
def test_hostile_messages_are_refused(vector):
    message, options = arguments(vector)
    with pytest.raises(huffwire.Error):
        gradient.decode(message, kind="buffer", max_size=1 << 26, **options)
    with pytest.raises(huffwire.Error):
        gradient.decode_quantized(message, max_size=1 << 26, **options).dequantize()


# Codebooks of earlier steps.


def steps(count=3):
    return [Qsgd(levels=4).quantize(normal(50_000, seed), seed=seed) for seed in range(count)]


@pytest.mark.parametrize("alphabet", ["values", "pairs", "zero-runs"])
def test_a_fixed_book_codes_later_steps(alphabet):
    first, second, third = steps()
    book = FixedBook.train([first, second.values], alphabet)
    assert book.alphabet == alphabet and book.id in repr(book)
    stream = gradient.encode_values(third, book)
    held = [
        FixedBook.from_bytes(book.to_bytes()),
        pickle.loads(pickle.dumps(book)),
        copy.copy(book),
    ]
    for other in held:
        assert other == book and hash(other) == hash(book) and other.id == book.id
        assert (gradient.decode_values(stream, other) == third.values).all()
    assert gradient.sizes(third, book).codebook == 0
    another = FixedBook.train([third], alphabet)
    assert another != book
    with pytest.raises(huffwire.CodebookError):
        gradient.decode_values(stream, another)
    drift = book.drift(third)
    assert 0 <= drift.regret < 0.05
    assert drift.spent_bits >= drift.fresh_bits > 0
    assert book.refit(third).drift(third).regret < drift.regret + 1e-9
    # Values that it never saw.
    odd = np.array([100, -100, 0], np.int8)
    assert (gradient.decode_values(gradient.encode_values(odd, book), book) == odd).all()


def test_books_for_bitmaps_are_codebooks():
    first, second, third = steps()
    books = BitmapBooks.train([first, second])
    assert isinstance(books.codebooks, Codebooks) and 0 <= books.depth <= 4
    message = third.encode(encoder=books)
    header = gradient.inspect(message)
    assert (header.encoder, header.codebooks) == ("bitmap-fixed", books.codebooks.id)
    assert third.sizes(encoder=books).codebook == 0
    held = BitmapBooks(Codebooks.from_bytes(books.codebooks.to_bytes()))
    assert held == books and pickle.loads(pickle.dumps(books)) == books
    for codebooks in (held, held.codebooks, [held], (Codebooks.builtin(), held.codebooks)):
        assert gradient.decode_quantized(message, codebooks=codebooks) == third
        out = np.empty(50_000, np.float32)
        gradient.decode_into(message, out, codebooks=codebooks)
        assert (out == third.dequantize()).all()
    for codebooks in (None, [], Codebooks.builtin()):
        with pytest.raises(huffwire.CodebookError):
            gradient.decode(message, codebooks=codebooks)
    with pytest.raises(huffwire.OptionError):
        gradient.decode(message, codebooks=["text"])
    stream = gradient.encode_values(third, books)
    assert (gradient.decode_values(stream, held) == third.values).all()
    assert books.drift(third).regret < 0.05
    assert books.refit(third) != books
    with pytest.raises(huffwire.CodebookError):
        BitmapBooks(Codebooks.builtin())


def test_books_need_values_and_options_that_make_sense():
    with pytest.raises(huffwire.OptionError):
        BitmapBooks.train([])
    with pytest.raises(huffwire.OptionError):
        FixedBook.train([np.zeros(3, np.int8)], "letters")
    with pytest.raises(huffwire.OptionError):
        FixedBook.train([np.zeros(3, np.int8)], "zero-runs", runs=0)
    with pytest.raises(huffwire.UnsupportedError):
        FixedBook.train(b"12")
    with pytest.raises(huffwire.OptionError):
        steps(count=1)[0].encode(encoder=FixedBook.train([np.zeros(3, np.int8)]))


BOOK = FixedBook.train(steps(count=1)).to_bytes()


def test_damaged_fixed_books_are_refused_or_another():
    for length in range(len(BOOK)):
        with pytest.raises(huffwire.Error):
            FixedBook.from_bytes(BOOK[:length])
    with pytest.raises(huffwire.Error):
        FixedBook.from_bytes(BOOK + b"\0")
    for bit in range(8 * len(BOOK)):
        damaged = bytearray(BOOK)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            book = FixedBook.from_bytes(damaged)
        except huffwire.Error:
            continue
        assert book != FixedBook.from_bytes(BOOK)


@given(st.binary(max_size=60))
def test_random_bytes_are_a_book_or_an_error(data):
    try:
        book = FixedBook.from_bytes(data)
    except huffwire.Error:
        return
    values = np.arange(10, dtype=np.int8)
    assert (gradient.decode_values(gradient.encode_values(values, book), book) == values).all()


@pytest.mark.parametrize("train", [FixedBook.train, BitmapBooks.train])
def test_a_policy_refreshes_books_that_drift(train):
    sparse = Qsgd(levels=1).quantize(normal(50_000), seed=1)
    dense = Qsgd(levels=100, norm="max").quantize(normal(50_000), seed=1)
    books = train([sparse])
    policy = RefreshPolicy(books, tolerance=0.05, every=2, interval=0, samples=2)
    assert policy.books == books
    assert policy.observe(sparse) is None
    assert policy.observe(sparse).regret < 0.05 and policy.fresh is None
    assert policy.observe(dense) is None
    drift = policy.observe(dense)
    assert drift.regret > 0.05 and "Drift" in repr(drift)
    fresh = policy.fresh
    assert type(fresh) is type(books) and fresh != books
    policy.switch(fresh)
    assert policy.books == fresh and policy.fresh is None
    other = BitmapBooks.train([sparse]) if train == FixedBook.train else FixedBook.train([sparse])
    for wrong in (other, "auto", None):
        with pytest.raises(huffwire.OptionError):
            policy.switch(wrong)
    for options in (
        {"every": 0},
        {"every": 0.5},
        {"tolerance": -1.0},
        {"tolerance": math.nan},
        {"interval": -1},
        {"samples": 1},
    ):
        with pytest.raises(huffwire.OptionError):
            RefreshPolicy(books, **options)
    with pytest.raises(huffwire.OptionError):
        RefreshPolicy("auto")


# Error feedback.


def test_error_feedback_keeps_what_was_not_sent():
    memory = ErrorFeedback(5000)
    kept = np.zeros(5000, np.float32)
    for step in range(20):
        floats = normal(seed=step)
        compensated = floats + kept
        sent = memory.quantize(floats, Sign(), seed=step)
        assert sent == Sign().quantize(compensated, seed=step)
        kept = compensated - sent.dequantize()
        assert (memory.residual() == kept).all()
    assert torch.equal(memory.residual(kind="torch"), torch.from_numpy(kept))
    held = ErrorFeedback.from_residual(torch.from_numpy(kept))
    following = Sign().quantize(floats + kept)
    for other in (held, pickle.loads(pickle.dumps(memory)), copy.deepcopy(memory)):
        assert (other.residual() == kept).all() and len(other) == 5000
        assert other.quantize(floats, Sign()) == following
    memory.clear()
    assert not memory.residual().any()


def test_what_is_left_out_is_sent_later():
    memory, floats = ErrorFeedback(3), np.array([0.5, -0.25, 0.125], np.float32)
    sent = [memory.quantize(floats, Sign()).dequantize() for _ in range(2000)]
    assert np.allclose(np.mean(sent, axis=0), floats, atol=1e-3)


def test_error_feedback_forgets_by_its_decay():
    memory = ErrorFeedback.from_residual(np.array([1, -1], np.float32), decay=0.5)
    sent = memory.quantize(np.zeros(2, np.float32), Sign("mean"))
    assert sent.dequantize().tolist() == [0.5, -0.5]
    assert pickle.loads(pickle.dumps(memory)).__reduce__()[1][1] == 0.5


def test_error_feedback_survives_errors():
    memory = ErrorFeedback(3)
    memory.quantize(np.array([1, 2, 3], np.float32), Sign())
    before = memory.residual()
    for bad, error in [
        (np.zeros(4, np.float32), huffwire.MismatchError),
        (np.array([1, 2, math.nan], np.float32), huffwire.QuantizeError),
        (np.zeros(3), huffwire.UnsupportedError),
    ]:
        with pytest.raises(error):
            memory.quantize(bad, Sign())
        assert (memory.residual() == before).all()
    for elements in (-1, 0.5, None, 2**62):
        with pytest.raises(huffwire.Error):
            ErrorFeedback(elements)
    for decay in (math.nan, math.inf):
        with pytest.raises(huffwire.OptionError):
            ErrorFeedback(3, decay=decay)
    with pytest.raises(huffwire.UnsupportedError):
        ErrorFeedback.from_residual(np.zeros(3))


# Threads.


def test_threads_of_python_work_at_once():
    floats, memory, found = normal(200_000), ErrorFeedback(200_000), []

    def work():
        for _ in range(5):
            found.append(gradient.encode(floats, Qsgd(levels=4), seed=1))
            memory.quantize(floats, Qsgd(levels=4))
            gradient.decode(found[-1])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20 and len(set(found)) == 1
    assert np.isfinite(memory.residual()).all()


def test_a_tensor_that_nobody_holds_lives_as_long_as_the_call():
    # The compiled part gets an address only.
    for _ in range(10):
        assert gradient.shannon(torch.ones(100_000, dtype=torch.int8)).values == 0
        book = FixedBook.train([torch.zeros(100_000, dtype=torch.int8) for _ in range(3)])
        assert book.drift(torch.zeros(100_000, dtype=torch.int8)).regret <= 0.01
