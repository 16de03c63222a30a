"""Statistics of symbols, and savings."""

import array
import math
import threading

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import huffwire
from huffwire import Codebooks, stats
from huffwire.stats import Pmf

# Those whose shares are not so small that their products are no floats.
WEIGHTS = st.lists(st.just(0.0) | st.floats(1e-6, 1e6), min_size=1, max_size=257).filter(
    lambda w: sum(w) > 0
)


def normal(size=50_000, scale=0.02, dtype=ml_dtypes.bfloat16, seed=1):
    return (np.random.default_rng(seed).standard_normal(size) * scale).astype(dtype)


def reference_entropy(counts):
    p = np.array(counts, float)
    p = p[p > 0] / p.sum()
    return float(-(p * np.log2(p)).sum())


# PMFs.


@given(WEIGHTS)
def test_entropy_is_that_of_its_formula(weights):
    pmf = Pmf(weights)
    assert len(pmf) == len(weights)
    assert math.isclose(sum(pmf.probabilities), 1, rel_tol=1e-9)
    assert math.isclose(pmf.entropy(), reference_entropy(weights), rel_tol=1e-6, abs_tol=1e-6)
    assert pmf.entropy() - 1e-9 <= pmf.huffman_bits() <= pmf.entropy() + 1
    assert stats.entropy(weights) == pmf.entropy()
    assert stats.huffman_bits(weights) == pmf.huffman_bits()


@given(WEIGHTS, WEIGHTS)
def test_kl_divergence_is_not_negative_and_0_for_the_same(first, second):
    size = min(len(first), len(second))
    first, second = first[:size], second[:size]
    if sum(first) == 0 or sum(second) == 0:
        return
    p, q = Pmf(first), Pmf(second)
    assert p.kl_divergence(p) == 0
    assert p.kl_divergence(q) > -1e-9
    assert p.kl_divergence(q.smoothed(0.01)) < math.inf
    both = stats.average([p, q])
    assert both.entropy() >= (p.entropy() + q.entropy()) / 2 - 1e-9
    assert stats.kl_divergence(p, q) == p.kl_divergence(q)


def test_kl_divergence_from_what_rules_out_a_symbol_is_infinite():
    assert Pmf([1, 1]).kl_divergence(Pmf([1, 0])) == math.inf
    assert Pmf([1, 1, 1]).kl_divergence(Pmf([1, 1])) == math.inf
    assert Pmf([1, 1]).kl_divergence(Pmf([1, 1, 2])) == 1


def test_savings_of_pmfs_are_in_percent():
    pmf = Pmf([2, 1, 1, 0])
    assert pmf.ideal_compressibility(2) == pmf.huffman_compressibility(2) == 25
    assert pmf == Pmf([4, 2, 2, 0]) and pmf != Pmf([1, 1, 1, 1])
    assert "4 symbols" in repr(pmf)


@pytest.mark.parametrize("weights", [[], [0, 0], [-1, 2], [math.nan], [math.inf, 1]])
def test_what_is_no_pmf_is_refused(weights):
    with pytest.raises(huffwire.OptionError):
        Pmf(weights)


def test_averages_and_smoothing_have_their_limits():
    with pytest.raises(huffwire.OptionError):
        stats.average([])
    with pytest.raises(huffwire.OptionError):
        stats.average([Pmf([1]), Pmf([1, 1])])
    for epsilon in (-0.1, 1.1, math.nan):
        with pytest.raises(huffwire.OptionError):
            Pmf([1, 2]).smoothed(epsilon)


# Histograms.


@given(st.binary(min_size=1, max_size=3000))
def test_histograms_of_bytes_are_counts(data):
    counts = stats.histogram(data, symbols="bytes")
    assert counts == np.bincount(np.frombuffer(data, np.uint8), minlength=256).tolist()
    assert math.isclose(
        stats.entropy(data, symbols="bytes"), reference_entropy(counts), abs_tol=1e-9
    )


def test_exponents_are_those_of_the_floats():
    values = normal()
    values[:100] = 0
    bits = values.view(np.uint16)
    exponents = (bits[100:] >> 7) & 0xFF
    counts = stats.histogram(values)
    assert len(counts) == 257 and counts[256] == 100
    assert counts[:256] == np.bincount(exponents, minlength=256).tolist()
    (plane,) = stats.planes(values)
    assert (plane.layout, plane.plane, plane.width, plane.centred) == ("exponent", 0, 8, True)
    assert plane.counts == counts and plane.pmf == stats.pmf(values)


def test_byte_planes_are_the_bytes_of_the_elements():
    values = normal()
    bytes_ = values.view(np.uint8).reshape(-1, 2)
    for plane in (0, 1):
        counts = stats.histogram(values, symbols="byte-planes", plane=plane)
        assert counts == np.bincount(bytes_[:, plane], minlength=256).tolist()


@pytest.mark.parametrize("threads", [None, 1, 2, 3])
def test_large_tensors_are_counted_whole_whatever_the_threads(threads):
    values = normal(size=3_000_001)
    counted = stats.profile(values, threads=threads)
    assert counted.units == values.size
    assert stats.planes(counted)[0].counts == stats.histogram(values)
    assert stats.ideal(counted) == stats.ideal(values, threads=1)


def test_tensors_of_all_sorts_are_the_same():
    values = normal()
    same = [
        values.reshape(100, -1),
        np.stack([values, values], 1)[:, 0],
        ("bf16", values.tobytes()),
        ("bf16", values.view(np.uint16)),
        torch.from_numpy(values.view(np.int16)).view(torch.bfloat16),
        torch.from_numpy(values.view(np.int16)).view(torch.bfloat16).requires_grad_(),
        torch.from_numpy(np.stack([values, values], 1).view(np.int16)).view(torch.bfloat16)[:, 0],
    ]
    for other in same:
        assert stats.histogram(other) == stats.histogram(values)
    # Backwards has the same histogram; negated and of another byte order the exponents stay.
    assert stats.histogram(values[::-1]) == stats.histogram(values)
    floats = normal(dtype=np.float32)
    big = floats.astype(floats.dtype.newbyteorder(">"))
    assert stats.histogram(big) == stats.histogram(floats)
    assert stats.histogram(array.array("f", floats.tolist())) == stats.histogram(floats)
    assert stats.histogram(memoryview(floats)) == stats.histogram(floats)


@pytest.mark.parametrize(
    ("tensor", "dtype"),
    [
        (np.zeros(3, np.float64), "f64"),
        (np.zeros(3, np.float16), "f16"),
        (np.zeros(3, bool), "bool"),
        (np.zeros(3, ml_dtypes.float8_e4m3fn), "e4m3"),
        (np.zeros((), np.float32), "f32"),
        (np.float32(1), "f32"),
        (array.array("d", [1]), "f64"),
        (array.array("b", [1]), "i8"),
        (b"1", "u8"),
        (torch.zeros(3, dtype=torch.float8_e5m2), "e5m2"),
        (torch.zeros(3, dtype=torch.complex64).conj(), "complex64"),
        (torch.tensor(1.0), "f32"),
        (torch.zeros(0), "f32"),
    ],
)
def test_types_are_found(tensor, dtype):
    assert stats.profile(tensor).dtype == dtype


def test_empty_tensors_have_no_pmf_and_save_nothing():
    empty = np.zeros(0, np.float32)
    assert sum(stats.histogram(empty)) == 0
    with pytest.raises(huffwire.OptionError):
        stats.pmf(empty)
    saved = stats.savings(empty)
    assert (saved.raw_bytes, saved.shannon, saved.builtin) == (0, 0, 0)


@pytest.mark.parametrize(
    ("tensor", "error"),
    [
        (None, huffwire.UnsupportedError),
        (5, huffwire.UnsupportedError),
        ("text", huffwire.UnsupportedError),
        ([1.0, 2.0], huffwire.UnsupportedError),
        ((1, 2), huffwire.UnsupportedError),
        ((0, 8), huffwire.UnsupportedError),
        (("f32", 0, 8), huffwire.UnsupportedError),
        (("f32", (0, 8)), huffwire.UnsupportedError),
        (np.array(["text"]), huffwire.UnsupportedError),
        (np.array([None]), huffwire.UnsupportedError),
        (("f33", b"1234"), huffwire.OptionError),
        (("f32", b"12345"), huffwire.MismatchError),
        (torch.zeros(2, 2).to_sparse(), huffwire.UnsupportedError),
        (torch.zeros(2, device="meta"), huffwire.UnsupportedError),
    ],
)
def test_what_has_no_elements_is_refused(tensor, error):
    with pytest.raises(error):
        stats.profile(tensor)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation")
def test_quantized_tensors_of_torch_are_refused():
    tensor = torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8)
    with pytest.raises(huffwire.UnsupportedError):
        stats.profile(tensor)


def test_planes_that_are_not_there_are_refused():
    values = normal()
    with pytest.raises(huffwire.OptionError, match="exponent 0"):
        stats.histogram(values, plane=1)
    with pytest.raises(huffwire.OptionError):
        stats.histogram(values, layout="bytes")
    with pytest.raises(huffwire.OptionError):
        stats.histogram(values, symbols="letters")
    with pytest.raises(huffwire.OptionError):
        stats.savings(values, level="most")
    with pytest.raises(huffwire.OptionError):
        stats.profile(normal(1 << 20), threads=-1 + 1)


# Savings.


def test_savings_come_in_the_right_order():
    values = normal(size=1_000_000)
    books = huffwire.calibrate({"w": normal(size=1_000_000, seed=2)}).codebooks
    saved = stats.savings(values, codebooks=books)
    assert saved.raw_bytes == 2_000_000
    assert 0 < saved.builtin <= saved.huffman <= saved.shannon < 40
    assert saved.shannon - 1 < saved.codebooks <= saved.huffman
    assert stats.savings(values).codebooks is None
    assert stats.savings(values, level="max").builtin >= saved.builtin - 0.1


def test_savings_by_symbols_are_savings():
    values = normal()
    by_symbols = stats.savings_by_symbols(values)
    assert by_symbols["bytes"] == stats.savings(values, symbols="bytes")
    assert by_symbols["auto"].shannon > by_symbols["bytes"].shannon
    assert all(rule == saved.symbols for rule, saved in by_symbols.items())
    assert list(stats.savings_by_symbols(values, symbols=["auto"])) == ["auto"]


@given(st.binary(max_size=2000))
@settings(max_examples=50)
def test_noise_grows_by_no_more_than_a_header(data):
    raw = len(data)
    saved = stats.savings(data).builtin if raw else 0
    assert saved <= 100
    assert raw * (1 - saved / 100) <= raw + 16 + 9 + 1e-6


def test_what_is_measured_is_what_a_message_takes():
    values = np.random.default_rng(5).integers(0, 5, 70_000_000, np.uint8)
    # More than one message of 64 MiB.
    saved = stats.savings(values, codebooks=Codebooks.builtin())
    assert saved.codebooks == saved.builtin > 0


def test_threads_of_python_count_at_once():
    values, found = normal(size=500_000), []
    work = lambda: found.append(stats.histogram(values))  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [stats.histogram(values)] * 8
