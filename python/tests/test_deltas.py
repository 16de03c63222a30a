"""Deltas of buffers, arrays and tensors: round trips, wrong bases, damage."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import huffwire
import huffwire.numpy
import huffwire.torch
from huffwire import _tensors

DTYPES = sorted(_tensors._NAMES, key=str)


def noise(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def pair(elements: int, dtype: torch.dtype, share: float, seed: int = 0):
    """Two tensors of any bits, of which this share of elements differs."""
    size = elements * dtype.itemsize
    base = noise(size, seed)
    new = base.copy()
    rows = np.random.default_rng(seed + 1).random(elements) < share
    fresh = noise(size, seed + 2).reshape(elements, -1)
    new.reshape(elements, -1)[rows] = fresh[rows]
    return (torch.from_numpy(part).view(dtype) for part in (base, new))


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def weights(elements: int = 50_000, changed: int = 400, seed: int = 0):
    """bf16 weights before and after a small step."""
    random = torch.Generator().manual_seed(seed)
    base = torch.randn(elements, generator=random).mul_(0.02).bfloat16()
    new = base.clone()
    places = torch.randperm(elements, generator=random)[:changed]
    new.view(torch.int16)[places] += 1
    return base, new


# Round trips.


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_every_type_comes_back(dtype: torch.dtype, share: float) -> None:
    base, new = pair(3000, dtype, share)
    delta = huffwire.torch.encode_delta(new, base)
    kept, due = bits(base), bits(new)
    restored = huffwire.torch.decode_delta(delta, base)
    assert restored.dtype == dtype and bits(restored) == due
    assert bits(base) == kept

    prepared = huffwire.torch.prepare_delta(delta, base)
    assert bits(base) == kept
    info = huffwire.inspect_delta(delta)
    assert prepared.changes == info.changes
    assert (info.base, info.result) == (
        huffwire.torch.content_hash(base),
        huffwire.torch.content_hash(new),
    )

    indices, values = huffwire.torch.delta_changes(delta, base)
    assert len(indices) == len(values) == info.changes
    words = bits(base)
    width = info.size // info.words if info.words else 1
    put = np.frombuffer(bytearray(words), np.uint8).reshape(-1, width)
    if len(indices):
        put[indices.numpy()] = values.view(torch.uint8).numpy().reshape(-1, width)
    assert put.tobytes() == due

    prepared.commit()
    assert bits(base) == due


@given(
    st.binary(max_size=300),
    st.lists(st.tuples(st.integers(0, 299), st.integers(0, 255)), max_size=20),
)
def test_any_bytes_come_back(data: bytes, edits: list[tuple[int, int]]) -> None:
    new = bytearray(data)
    for place, value in edits:
        if place < len(new):
            new[place] = value
    delta = huffwire.encode_delta(new, data, "u8")
    assert huffwire.decode_delta(delta, data) == new
    target = bytearray(data)
    huffwire.apply_delta(delta, target)
    assert target == new
    indices, values = huffwire.delta_changes(delta, data)
    assert list(indices) == [i for i in range(len(data)) if data[i] != new[i]]
    assert values == bytes(new[i] for i in indices)


@pytest.mark.parametrize(
    "dtype", ["float32", "int64", "bool", "complex64", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
)
def test_arrays_come_back(dtype) -> None:
    base = np.zeros((40, 50), dtype)
    new = base.copy()
    new[3, 5:9] = 1
    delta = huffwire.numpy.encode_delta(new, base)
    restored = huffwire.numpy.decode_delta(delta, base)
    assert restored.dtype == base.dtype and restored.shape == base.shape
    assert (restored == new).all()
    indices, values = huffwire.numpy.delta_changes(delta, base)
    assert len(indices) == 4 and (values == 1).all()
    huffwire.numpy.apply_delta(delta, base)
    assert (base == new).all()
    assert huffwire.numpy.content_hash(base) == huffwire.inspect_delta(delta).result


def test_special_values_survive() -> None:
    base = torch.tensor([0.0, 1.0, 2.0, float("inf"), 4.0])
    new = base.clone()
    new.view(torch.int32)[0] = -(2**31)  # -0
    new.view(torch.int32)[1] = 0x7FC01234  # a NaN with a payload
    new[2] = float("-inf")
    delta = huffwire.torch.encode_delta(new, base)
    assert huffwire.inspect_delta(delta).changes == 3
    huffwire.torch.apply_delta(delta, base)
    assert bits(base) == bits(new)


def test_a_small_step_takes_few_bytes() -> None:
    base, new = weights(200_000, 1500)
    delta = huffwire.torch.encode_delta(new, base)
    info = huffwire.inspect_delta(delta)
    assert info.changes == 1500 and info.words == 200_000 and info.size == 400_000
    assert info.coded_size == len(delta)
    assert info.bits_per_change == pytest.approx(8 * len(delta) / 1500)
    assert info.bits_per_change < 16
    assert "1500 of 200000" in repr(info)


def test_threads_make_the_same_delta() -> None:
    base, new = pair(5 << 19, torch.uint8, 0.02)
    one = huffwire.torch.encode_delta(new, base, threads=1)
    assert huffwire.torch.encode_delta(new, base, threads=3) == one
    assert len(huffwire.inspect_delta(one).blocks) == 3
    prepared = huffwire.torch.prepare_delta(one, base, threads=3)
    prepared.commit(threads=2)
    assert torch.equal(base, new)


def test_tensors_that_require_gradients_are_written_to() -> None:
    base, new = weights()
    leaf = base.clone().requires_grad_()
    version = leaf._version
    huffwire.torch.apply_delta(huffwire.torch.encode_delta(new, base), leaf)
    assert torch.equal(leaf.detach(), new)
    assert leaf._version > version


# What is refused, and leaves everything as it was.


def test_a_wrong_base_is_refused() -> None:
    base, new = weights()
    delta = huffwire.torch.encode_delta(new, base)
    wrong = base.clone()
    wrong[40_000] += 1
    kept = wrong.clone()
    for refused in (
        lambda: huffwire.torch.apply_delta(delta, wrong),
        lambda: huffwire.torch.prepare_delta(delta, wrong),
        lambda: huffwire.torch.decode_delta(delta, wrong),
        lambda: huffwire.torch.delta_changes(delta, wrong),
    ):
        with pytest.raises(huffwire.WrongBaseError, match="expected"):
            refused()
        assert torch.equal(wrong, kept)


def test_a_delta_applies_once() -> None:
    base, new = weights()
    delta = huffwire.torch.encode_delta(new, base)
    huffwire.torch.apply_delta(delta, base)
    with pytest.raises(huffwire.WrongBaseError, match="applied already"):
        huffwire.torch.apply_delta(delta, base)
    assert torch.equal(base, new)


def test_deltas_apply_in_order() -> None:
    first, second = weights()
    third = second.clone()
    third[9] = 5
    later = huffwire.torch.encode_delta(third, second)
    kept = first.clone()
    with pytest.raises(huffwire.WrongBaseError):
        huffwire.torch.apply_delta(later, first)
    assert torch.equal(first, kept)


def test_the_base_must_be_of_the_same_type_and_size() -> None:
    base, new = weights()
    delta = huffwire.torch.encode_delta(new, base)
    for other in (base.view(torch.int16), base[:-1].clone(), torch.cat([base, base])):
        kept = other.clone()
        with pytest.raises(huffwire.MismatchError):
            huffwire.torch.apply_delta(delta, other)
        assert torch.equal(other, kept)
    with pytest.raises(huffwire.MismatchError, match="give a base like it"):
        huffwire.torch.encode_delta(new, base[1:])
    with pytest.raises(huffwire.MismatchError, match="give a base like it"):
        huffwire.torch.encode_delta(new, base.view(torch.float16))
    with pytest.raises(huffwire.MismatchError):
        huffwire.encode_delta(b"12", b"123", "u8")
    with pytest.raises(huffwire.MismatchError, match="give a base like it"):
        huffwire.numpy.encode_delta(np.zeros(3), np.zeros((3, 1)))


def test_a_base_in_the_other_byte_order() -> None:
    base = np.arange(1000, dtype="<f4")
    new = base + (base == 7)
    delta = huffwire.numpy.encode_delta(new, base)
    swapped = base.astype(">f4")
    # The values are the same, and so is what they are made into.
    assert (huffwire.numpy.decode_delta(delta, swapped) == new).all()
    with pytest.raises(huffwire.OutputError, match="byte order"):
        huffwire.numpy.apply_delta(delta, swapped)
    # As bytes it is another base.
    with pytest.raises(huffwire.WrongBaseError):
        huffwire.decode_delta(delta, swapped.tobytes())


def test_other_messages_are_no_deltas() -> None:
    base, new = weights()
    with pytest.raises(huffwire.MismatchError):
        huffwire.torch.apply_delta(huffwire.torch.encode(new), base)
    with pytest.raises(huffwire.MismatchError):
        huffwire.inspect_delta(huffwire.torch.encode(new))
    with pytest.raises(huffwire.Error):
        huffwire.torch.decode(huffwire.torch.encode_delta(new, base))


@pytest.mark.parametrize("checksums", [True, False])
def test_damage_is_noticed(checksums: bool) -> None:
    base, new = weights(600, 20)
    delta = huffwire.torch.encode_delta(new, base, checksums=checksums)
    target = base.clone()
    for place in range(len(delta)):
        for bit in (1, 128):
            damaged = bytearray(delta)
            damaged[place] ^= bit
            try:
                huffwire.torch.apply_delta(damaged, target)
            except huffwire.Error:
                assert torch.equal(target, base)
            else:
                # Without checksums the hashes remain: what passes them is right.
                assert not checksums and torch.equal(target, new)
                target.copy_(base)
        with pytest.raises(huffwire.Error):
            huffwire.torch.apply_delta(delta[:place], target)
    with pytest.raises(huffwire.Error):
        huffwire.torch.apply_delta(delta + b"x", target)
    assert torch.equal(target, base)


def test_a_context_is_checked() -> None:
    base, new = weights()
    delta = huffwire.torch.encode_delta(new, base, context=8)
    with pytest.raises(huffwire.ContextError):
        huffwire.torch.apply_delta(delta, base)
    with pytest.raises(huffwire.WrongContextError):
        huffwire.torch.apply_delta(delta, base, context=9)
    assert huffwire.inspect_delta(delta, context=8).changes == 400
    prepared = huffwire.torch.prepare_delta(delta, base, context=8)
    prepared.commit()
    assert torch.equal(base, new)


def test_outputs_that_cannot_be_written_to() -> None:
    base, new = weights()
    delta = huffwire.torch.encode_delta(new, base)
    with pytest.raises(huffwire.OutputError, match="contiguous"):
        huffwire.torch.apply_delta(delta, torch.stack([base, base], 1)[:, 0])
    with pytest.raises(huffwire.OutputError):
        huffwire.torch.apply_delta(delta, base.to("meta"))
    array = np.zeros(10)
    small = huffwire.numpy.encode_delta(array + 1, array)
    array.flags.writeable = False
    with pytest.raises(huffwire.OutputError, match="read-only"):
        huffwire.numpy.apply_delta(small, array)
    with pytest.raises(huffwire.OutputError, match="read-only"):
        huffwire.apply_delta(small, array.tobytes())
    assert (array == 0).all()


def test_a_message_in_the_memory_of_its_base() -> None:
    base = torch.zeros(4096, dtype=torch.uint8)
    delta = huffwire.torch.encode_delta(torch.ones_like(base), base)
    base[: len(delta)] = torch.frombuffer(bytearray(delta), dtype=torch.uint8)
    kept = base.clone()
    with pytest.raises(huffwire.OutputError, match="overlaps"):
        huffwire.torch.apply_delta(base[: len(delta)], base)
    assert torch.equal(base, kept)


def test_a_tensor_is_its_own_base() -> None:
    base, _ = weights()
    delta = huffwire.torch.encode_delta(base, base)
    assert len(delta) < 60
    assert huffwire.inspect_delta(delta).bits_per_change is None
    assert [block.kind for block in huffwire.inspect_delta(delta).blocks] == ["unchanged"]
    huffwire.torch.apply_delta(delta, base)


# In two steps.


def test_a_prepared_delta_is_written_once() -> None:
    base, new = weights()
    prepared = huffwire.torch.prepare_delta(huffwire.torch.encode_delta(new, base), base)
    assert 0 < prepared.kept_bytes < 10_000
    prepared.commit()
    with pytest.raises(huffwire.OptionError, match="already"):
        prepared.commit()
    assert torch.equal(base, new)


def test_a_dense_block_notices_a_base_that_changed_in_between() -> None:
    base, new = pair(5000, torch.float32, 1.0)
    prepared = huffwire.torch.prepare_delta(huffwire.torch.encode_delta(new, base), base)
    base.view(torch.int32)[0] ^= 1
    kept = bits(base)
    with pytest.raises(huffwire.WrongBaseError):
        prepared.commit()
    assert bits(base) == kept


def test_a_message_that_changes_after_it_was_prepared() -> None:
    base, new = pair(5000, torch.float32, 1.0)
    delta = bytearray(huffwire.torch.encode_delta(new, base))
    prepared = huffwire.torch.prepare_delta(delta, base)
    delta[:] = bytes(len(delta))
    prepared.commit()
    assert bits(base) == bits(new)


def test_buffers_in_two_steps() -> None:
    weights = bytearray(3000)
    prepared = huffwire.prepare_delta(
        huffwire.encode_delta(b"ab" * 1500, weights, "u8"), weights
    )
    prepared.commit()
    assert weights == b"ab" * 1500
