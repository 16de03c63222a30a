"""What stands around the kernels for GPUs: `huffwire.torch` on tensors of a device, compressed weights, files, errors.

There is no GPU: tensors of the CPU are taken for tensors of one, whose kernels an emulator runs (see stand_in.py). What can
only be seen on a GPU (streams, pinned memory) is not tested.
"""

from __future__ import annotations

import copy
import ctypes
import io
import json
import operator
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
import torch
from fake_driver import MODULE, STREAM, Library, machine
from stand_in import StandIn, gpu

import huffwire
import huffwire.torch as ht
from huffwire import _files, _tensors, _torch_files
from huffwire.cuda import _cache, _driver, _items, _nvrtc, _program, _torch_device
from huffwire.cuda._tables import tables
from huffwire.cuda._types import TYPES

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")

FLOATS = [torch.bfloat16, torch.float16, torch.float32]
DTYPES = list(_tensors._NAMES)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(1)


def normal(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return (torch.randn(*shape) * 0.02).to(dtype)


def noise(count: int, dtype: torch.dtype) -> torch.Tensor:
    """Elements of any bits; of truth values, those that there are."""
    flat = torch.randint(0, 256, (count * dtype.itemsize,), dtype=torch.uint8)
    return (flat & 1 if dtype == torch.bool else flat).view(dtype)


def bytes_of(tensor: torch.Tensor) -> bytes:
    tensor = tensor.detach().contiguous()
    return ctypes.string_at(tensor.data_ptr(), tensor.nbytes)


def identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    return (one.dtype, one.shape, bytes_of(one)) == (other.dtype, other.shape, bytes_of(other))


# Messages.


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_a_device_become_messages_that_the_cpu_decodes(dtype: torch.dtype) -> None:
    tensor = normal(40, 50).to(dtype) if dtype in FLOATS else noise(2000, dtype)
    with gpu() as device:
        message = ht.encode(tensor, context=7)
        assert device.launches, "the kernels were not asked"
        there = ht.decode(message, tensor.shape, context=7)
    assert type(message) is torch.Tensor and message.dtype == torch.uint8
    assert message.untyped_storage().nbytes() == len(message)
    here = ht.decode(message, tensor.shape, context=7)
    assert identical(there, tensor) and identical(here, tensor)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e8m0fnu, torch.float4_e2m1fn_x2], ids=str)
def test_small_types_become_smaller(dtype: torch.dtype) -> None:
    values = torch.randn(200_000)
    if dtype == torch.float4_e2m1fn_x2:
        tensor = (values.abs().mul(2).clamp(0, 7).byte() << 4).view(dtype)
    else:
        tensor = values.mul(20).to(dtype) if dtype == torch.int8 else values.abs().to(dtype)
    with gpu():
        message = ht.encode(tensor, block_size=32768)
        assert identical(ht.decode(message, tensor.shape), tensor)
    expected = ht.encode(tensor, block_size=32768)
    assert len(message) <= 1.002 * len(expected) < 0.9 * tensor.nbytes


def test_blocks_of_a_device_have_the_size_that_is_asked_for() -> None:
    tensor = normal(70_000)
    with gpu():
        sizes = [ht.encode(tensor, block_size=size) for size in (1024, 16384, 1 << 17)]
        room = torch.empty(ht.max_encoded_size(tensor.shape, tensor.dtype, block_size=1024), dtype=torch.uint8)
        length = ht.encode_into(tensor, room, block_size=1024)
        with pytest.raises(huffwire.OptionError, match="block_size"):
            ht.encode(tensor, block_size=1000)
        slow = ht.encode(tensor, level="max", block_size=2048)
    assert [huffwire.inspect(bytes(each.tolist())).block_size for each in sizes] == [1024, 16384, 1 << 17]
    assert huffwire.inspect(bytes(slow.tolist())).block_size == 2048
    assert length == len(sizes[0])
    for message in (*sizes, slow):
        assert identical(ht.decode(message, tensor.shape), tensor)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_messages_of_the_cpu_are_decoded_on_a_device(dtype: torch.dtype) -> None:
    tensor = normal(3000).to(dtype) if dtype in FLOATS else noise(3000, dtype)
    coded = ht.encode(tensor)
    out = torch.empty_like(tensor)
    with gpu() as device:
        ht.decode_into(coded, out)
        assert device.launches
    assert identical(out, tensor)


def test_a_tensor_that_is_not_contiguous_is_encoded_and_refused_as_an_output() -> None:
    tensor = normal(60, 40).t()
    with gpu():
        message = ht.encode(tensor)
        assert identical(ht.decode(message, tensor.shape), tensor.contiguous())
        with pytest.raises(huffwire.OutputError, match="contiguous"):
            ht.decode_into(message, torch.empty(60, 40, dtype=torch.bfloat16).t())
        with pytest.raises(huffwire.UnsupportedError, match="one dimension"):
            ht.decode(message[::2])


def test_messages_and_tensors_at_odd_addresses() -> None:
    tensor = normal(3001)
    with gpu():
        message = ht.encode(tensor[1:])
        shifted = torch.empty(len(message) + 1, dtype=torch.uint8)[1:]
        shifted.copy_(message)
        out = torch.empty(3001, dtype=torch.bfloat16)[1:]
        ht.decode_into(shifted, out)
    assert identical(out, tensor[1:])


def test_lengths_may_stay_on_the_device() -> None:
    tensor = normal(50, 100)
    size = ht.max_encoded_size(tensor.shape, tensor.dtype, "cuda")
    buffer, length = torch.zeros(size, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    with gpu() as device:
        reads = watch_reads(device)
        assert ht.encode_into(tensor, buffer, length=length) is None
        checks = ht.Checks()
        out = ht.decode(buffer, tensor.shape, dtype=tensor.dtype, length=length, check=checks)
        assert reads == [] and len(checks) == 1, "something waited for the device"
        checks.wait()
        assert len(reads) == 1 and len(checks) == 0
        assert ht.encode_into(tensor, buffer) == int(length)
    assert identical(out, tensor)
    assert ht.decode(buffer[: int(length)], tensor.shape).equal(tensor)


def watch_reads(device: StandIn) -> list[int]:
    reads: list[int] = []
    read = device.read
    device.read = lambda span: (reads.append(span.size), read(span))[1]  # type: ignore[method-assign]
    return reads


def test_lengths_may_stay_in_tensors_of_the_cpu() -> None:
    tensor = normal(500)
    buffer, length = torch.zeros(2000, dtype=torch.uint8), torch.zeros((), dtype=torch.int64)
    assert ht.encode_into(tensor, buffer, length=length) is None
    assert identical(ht.decode(buffer, 500, length=length, dtype=torch.bfloat16), tensor)
    out = torch.empty_like(tensor)
    ht.decode_into(memoryview(buffer.numpy()), out, length=length)
    assert identical(out, tensor)
    for wrong in (torch.tensor(-1), torch.tensor(2001), torch.tensor([1, 2]), torch.tensor(3.0), 500):
        with pytest.raises(huffwire.OptionError, match="length"):
            ht.decode(buffer, 500, length=wrong)
    with pytest.raises(huffwire.MismatchError, match="dtype"):
        ht.decode(buffer, 500, length=length, dtype=torch.float16)


def test_what_only_the_header_tells_is_read_from_it() -> None:
    tensor = normal(30, 20)
    with gpu() as device:
        message = ht.encode(tensor)
        reads = watch_reads(device)
        assert identical(ht.decode(message), tensor.view(-1))
        assert reads[0] == 16 and len(reads) == 2
        with pytest.raises(huffwire.MismatchError, match="dtype"):
            ht.decode(message, dtype=torch.float16)
        with pytest.raises(huffwire.MismatchError):
            ht.decode(message, (30, 21))
        with pytest.raises(huffwire.MismatchError):
            ht.decode(message, (30, 21), dtype=torch.bfloat16)
        with pytest.raises(huffwire.LimitError):
            ht.decode(message, max_size=1199)
        with pytest.raises(huffwire.LimitError):
            ht.decode_into(message, torch.empty_like(tensor), max_size=1199)


def test_a_header_that_promises_too_much_gets_no_memory() -> None:
    with gpu():
        message = ht.encode(torch.zeros(10, dtype=torch.bfloat16)).clone()
        huge = ht.encode(torch.zeros(1 << 20, dtype=torch.bfloat16))[:16]
        message[:16] = huge
        with pytest.raises(huffwire.DamagedError, match="cut short"):
            ht.decode(message)
        with pytest.raises(huffwire.DamagedError, match="16"):
            ht.decode(message[:15])


def test_a_damaged_message_leaves_nothing_that_looks_like_data() -> None:
    tensor = normal(100, 100)
    with gpu():
        message = ht.encode(tensor)
        for place in (0, 3, 20, len(message) // 2, len(message) - 1):
            damaged = message.clone()
            damaged[place] ^= 0x41
            out = torch.zeros_like(tensor)
            with pytest.raises(huffwire.Error):
                ht.decode_into(damaged, out)
            assert set(bytes_of(out)) == {0xFF}
        checks = ht.Checks()
        ht.decode_into(message, out, check=checks)
        ht.decode_into(damaged, out, check=checks)
        with pytest.raises(huffwire.Error):
            checks.wait()
        checks.wait()


def test_wrong_contexts_and_codebooks_are_refused() -> None:
    tensor = normal(1000)
    books = huffwire.calibrate({"a": tensor}, name="own").codebooks
    with gpu():
        message = ht.encode(tensor, context=5)
        for context in (None, 6):
            with pytest.raises(huffwire.ContextError):
                ht.decode(message, 1000, dtype=tensor.dtype, context=context)
        own = ht.encode(tensor, codebooks=books)
        with pytest.raises(huffwire.CodebookError):
            ht.decode(own, 1000, dtype=tensor.dtype)
        assert identical(ht.decode(own, codebooks=books), tensor)
        assert identical(ht.decode(message, codebooks=[books], context=5), tensor)
        with pytest.raises(huffwire.OptionError):
            ht.decode(own, codebooks=["own"])  # type: ignore[list-item]


def test_options_that_kernels_do_not_have_are_served_by_the_cpu() -> None:
    tensor = normal(2000)
    with gpu() as device:
        best = ht.encode(tensor, level="max")
        planes = ht.encode(tensor, symbols="byte-planes")
        buffer = torch.empty(5000, dtype=torch.uint8)
        size = ht.encode_into(tensor, buffer, level="max")
        length = torch.zeros(1, dtype=torch.int64)
        ht.encode_into(tensor, buffer, level="max", length=length)
        assert device.launches == []
        with pytest.raises(huffwire.OptionError):
            ht.encode(tensor, level="best")  # type: ignore[arg-type]
    assert bytes_of(best) == ht.encode(tensor, level="max") == bytes_of(buffer[:size])
    assert bytes_of(planes) == ht.encode(tensor, symbols="byte-planes")
    assert int(length) == size


def test_a_buffer_of_the_host_is_served_by_the_cpu() -> None:
    tensor, buffer = normal(2000), bytearray(5000)
    with gpu() as device:
        size = ht.encode_into(tensor, buffer)
        assert device.launches == []
    assert buffer[:size] == ht.encode(tensor)


def test_outputs_that_do_not_fit() -> None:
    tensor = normal(1000)
    with gpu():
        message = ht.encode(tensor)
        with pytest.raises(huffwire.OutputError, match="bytes"):
            ht.encode_into(tensor, torch.empty(100, dtype=torch.uint8))
        with pytest.raises(huffwire.OutputError, match="uint8"):
            ht.encode_into(tensor, torch.empty(5000, dtype=torch.int8))
        with pytest.raises(huffwire.OutputError, match="overlaps"):
            ht.decode_into(message, message[:1000].view(torch.bfloat16))
        with pytest.raises(huffwire.OptionError, match="length"):
            ht.encode_into(tensor, torch.empty(5000, dtype=torch.uint8), length=torch.tensor(1.0))
        with pytest.raises(huffwire.UnsupportedError, match="layout"):
            ht.encode(tensor.to_sparse())
        with pytest.raises(huffwire.OutputError, match="layout"):
            ht.decode_into(message, tensor.to_sparse())
        with pytest.raises(huffwire.UnsupportedError):
            ht.encode(torch.ones(3).to("meta"))


def test_deltas_and_quantized_values_are_named() -> None:
    tensor = normal(1000)
    delta = torch.frombuffer(bytearray(ht.encode_delta(tensor + 1, tensor)), dtype=torch.uint8)
    with gpu():
        with pytest.raises(huffwire.MismatchError, match="delta"):
            ht.decode(delta)
        with pytest.raises(huffwire.MismatchError, match="delta"):
            ht.decode(delta, 1000, dtype=torch.bfloat16)


def test_empty_tensors_and_scalars() -> None:
    with gpu():
        for tensor in (torch.empty(0, 3), torch.tensor(2.5), torch.empty(0, dtype=torch.bool)):
            message = ht.encode(tensor)
            assert identical(ht.decode(message, tensor.shape), tensor)
            assert identical(ht.decode(message, tensor.shape, dtype=tensor.dtype), tensor)


# Files.


@pytest.mark.parametrize("checksums", [True, False])
def test_tensors_of_files_are_decoded_on_the_device(tmp_path, checksums) -> None:
    books = huffwire.calibrate({"a": normal(5000)}, name="own").codebooks
    tensors = {
        "b": normal(300, 300),
        "a": normal(100, 7, dtype=torch.float32),
        "none": torch.empty(0, 4),
        "f16": normal(513, dtype=torch.float16),
        "scalar": torch.tensor(5),
        "bytes": noise(3000, torch.uint8),
        "four": noise(600, torch.uint8).view(torch.float4_e2m1fn_x2).view(20, 30),
    }
    for number, codebooks in enumerate((None, books)):
        path = tmp_path / f"{number}.hw"
        ht.save_file(tensors, path, codebooks=codebooks, checksums=checksums)
        told: list[tuple[int, int]] = []
        with gpu() as device:
            loaded = ht.load_file(path, progress=lambda done, total: told.append((done, total)))
            assert device.launches, "the tensors were decoded by the processor"
        assert list(loaded) == list(ht.load_file(path))
        assert all(identical(loaded[name], tensors[name]) for name in tensors)
        total = sum(tensor.nbytes for tensor in tensors.values())
        assert told[-1] == (total, total)


def test_files_are_loaded_whatever_the_default_device_is(tmp_path) -> None:
    tensors = {"a": normal(300, 300), "b": normal(50)}
    ht.save_file(tensors, tmp_path / "a.hw")
    with gpu() as device, torch.device("meta"):
        loaded = ht.load_file(tmp_path / "a.hw")
        assert device.launches
    assert all(identical(loaded[name], tensors[name]) for name in tensors)


def test_items_of_files_are_the_messages_of_their_tensors(tmp_path) -> None:
    """Header and table, put in front of an item's blocks, make a message that the CPU decodes."""
    tensors = {f"{i}": normal(1 + 1000 * i) for i in range(3)} | {"large": normal(300_000)}
    ht.save_file(tensors, tmp_path / "a.hw", {"some": "metadata"})
    data = (tmp_path / "a.hw").read_bytes()
    with open(tmp_path / "a.hw", "rb") as file:
        items = [i for i in _items.items(file, tmp_path) if i.name is not None]
    assert {item.name for item in items} == set(tensors)
    for item in items:
        message = item.head() + data[item.start : item.start + sum(item.lengths)]
        assert identical(ht.decode(message), tensors[str(item.name)])


def test_parts_of_files_that_kernels_do_not_decode_are_decoded_by_the_processor(tmp_path) -> None:
    base = {"same": normal(4000), "changed": normal(4000)}
    ht.save_file(base, tmp_path / "base.hw")
    later = base | {"changed": base["changed"].clone(), "new": normal(4000)}
    later["changed"][::100] *= 2
    ht.save_file(later, tmp_path / "later.hw", base=tmp_path / "base.hw")
    with gpu() as device:
        loaded = ht.load_file(tmp_path / "later.hw", base=tmp_path / "base.hw")
        assert device.launches
    assert list(loaded) == list(ht.load_file(tmp_path / "later.hw", base=tmp_path / "base.hw"))
    assert all(identical(loaded[name], later[name]) for name in later)
    with gpu() as device:
        loaded = ht.load(ht.save(base))
        assert device.launches == [], "bytes of the host are not decoded elsewhere"
    with ht.safe_open(tmp_path / "base.hw") as file, gpu() as device:
        assert identical(file.get_tensor("same"), base["same"])
        assert device.launches


def test_damage_in_a_file_names_the_tensor(tmp_path) -> None:
    ht.save_file({"first": normal(4000), "second": normal(4000)}, tmp_path / "a.hw")
    data = bytearray((tmp_path / "a.hw").read_bytes())
    with open(tmp_path / "a.hw", "rb") as file:
        second = next(i for i in _items.items(file, tmp_path) if i.name == "second")
    data[second.start + 200] ^= 1
    (tmp_path / "a.hw").write_bytes(data)
    with gpu(), pytest.raises(huffwire.DamagedError, match="'second'"):
        ht.load_file(tmp_path / "a.hw")


def test_a_file_that_changes_after_it_was_opened_is_an_error(tmp_path) -> None:
    path = tmp_path / "a.hw"
    for change in (b"", b"x" * 100, ht.save({"other": normal(4000)})):
        ht.save_file({"tensor": normal(4000)}, path)
        with ht.safe_open(path) as file, gpu():
            path.write_bytes(change)
            with pytest.raises(huffwire.DamagedError, match="changed"):
                file.get_tensor("tensor")


def test_any_damage_in_a_directory_is_an_error_or_harmless(tmp_path) -> None:
    """The parser of directories trusts no field, also where the checksum is right."""
    data = ht.save({"tensor": normal(40_000), "other": normal(10)})
    start = int.from_bytes(data[-24:-16], "little")
    directory = data[start:-24]
    for place in range(len(directory)):
        for flip in (1, 0x80, 0xFF):
            changed = bytearray(directory)
            changed[place] ^= flip
            checksum = huffwire._huffwire._checksum(bytes(changed)).to_bytes(4, "little")
            whole = data[:start] + bytes(changed) + data[-24:-8] + checksum + data[-4:]
            try:
                found = list(_items.items(io.BytesIO(whole), tmp_path))
            except huffwire.DamagedError:
                continue
            assert all(item.start + sum(item.lengths) <= start for item in found)
            assert all(len(item.head()) >= 16 for item in found if item.kind == 0)


# Compressed weights.


def both(test):
    """Runs a test on the CPU and on the stand-in."""

    def run(self, place):
        if place == "cpu":
            return test(self)
        with gpu() as device:
            result = test(self)
            assert device.launches
            return result

    run.__name__ = test.__name__
    return pytest.mark.parametrize("place", ["cpu", "gpu"])(run)


class TestCompressedTensors:
    @both
    def test_functions_get_the_original(self):
        weights = normal(64, 48)
        compressed = ht.CompressedTensor.compress(weights)
        assert (compressed.shape, compressed.dtype, compressed.device) == (
            weights.shape,
            weights.dtype,
            weights.device,
        )
        assert identical(compressed.decode(), weights)
        assert identical(compressed + 0, weights + 0)
        assert identical(compressed.t() @ weights, weights.t() @ weights)
        assert identical(compressed.float(), weights.float())
        assert identical(compressed[3:5], weights[3:5])
        assert "bytes" in repr(compressed) and "bfloat16" in repr(compressed)
        out = torch.zeros_like(weights)
        assert compressed.decode(out) is out and identical(out, weights)

    @both
    def test_copies_stay_compressed(self):
        weights = normal(640)
        compressed = ht.CompressedTensor.compress(weights)
        for one in (compressed.clone(), compressed.detach(), compressed.to("cpu", copy=True), copy.deepcopy(compressed)):
            assert type(one) is ht.CompressedTensor and identical(one.decode(), weights)
        assert compressed.detach().coded.data_ptr() == compressed.coded.data_ptr()
        assert compressed.clone().coded.data_ptr() != compressed.coded.data_ptr()

    @both
    def test_it_can_be_saved(self):
        weights = normal(50, 60)
        books = huffwire.calibrate({"a": weights}, name="own").codebooks
        for codebooks in (None, books):
            compressed = ht.CompressedTensor.compress(weights, codebooks=codebooks)
            parameter = torch.nn.Parameter(compressed, requires_grad=False)
            file = io.BytesIO()
            torch.save({"tensor": compressed, "parameter": parameter}, file)
            assert len(file.getvalue()) < weights.nbytes + 2500
            file.seek(0)
            loaded = torch.load(file, weights_only=True)
            assert not isinstance(loaded["tensor"], torch.nn.Parameter)
            assert isinstance(loaded["parameter"], torch.nn.Parameter)
            assert all(identical(one.decode(), weights) for one in loaded.values())

    @both
    def test_it_is_frozen(self):
        compressed = ht.CompressedTensor.compress(normal(64))
        for write in (
            lambda: compressed.add_(1),
            # Python would make another tensor if these raised a TypeError.
            lambda: operator.iadd(compressed, 1),
            lambda: operator.isub(compressed, 1),
            lambda: torch.add(normal(64), 1, out=compressed),
            lambda: torch._foreach_mul_([compressed], 2.0),
            lambda: torch._foreach_copy_([compressed], [normal(64)]),
            lambda: compressed.__setitem__(0, 5),
        ):
            with pytest.raises(huffwire.OutputError, match="frozen"):
                write()
        for write in (
            lambda: compressed.requires_grad_(),
            lambda: setattr(compressed, "requires_grad", True),
            lambda: setattr(compressed, "data", normal(64)),
            lambda: torch.nn.Parameter(compressed),
            lambda: compressed.copy_(normal(64).requires_grad_()),
        ):
            with pytest.raises(huffwire.UnsupportedError, match="Compressed"):
                write()
        compressed.requires_grad_(False)
        with torch.no_grad():
            compressed.copy_(normal(64).requires_grad_())

    @both
    def test_new_values_are_encoded(self):
        first, second = normal(6, 7), normal(6, 7)
        compressed = ht.CompressedTensor.compress(first)
        compressed.copy_(second.float())
        assert identical(compressed.decode(), second)
        compressed.copy_(ht.CompressedTensor.compress(first))
        assert identical(compressed.decode(), first)
        compressed.copy_(ht.CompressedTensor.compress(second.double()))
        assert identical(compressed.decode(), second)
        plain = torch.zeros(6, 7, dtype=torch.bfloat16)
        plain.copy_(compressed)
        assert identical(plain, second)

    @both
    def test_a_module_computes_the_same_bits(self):
        model = torch.nn.Sequential(
            torch.nn.Linear(128, 256), torch.nn.GELU(), torch.nn.Linear(256, 64, bias=False)
        ).bfloat16()
        inputs = torch.randn(5, 3, 128).bfloat16().requires_grad_()
        expected = model(inputs)
        gradients = torch.autograd.grad(expected.float().sum(), [inputs, model[0].bias])
        size = model[0].weight.nbytes + model[2].weight.nbytes
        found = ht.compress_module(model)
        assert (found.layers, found.bytes) == (2, size) and found.coded_bytes < 0.75 * size
        assert ht.compress_module(model).layers == 0
        result = model(inputs)
        assert identical(result, expected)
        again = torch.autograd.grad(result.float().sum(), [inputs, model[0].bias])
        assert all(identical(*pair) for pair in zip(again, gradients, strict=True))
        with torch.inference_mode():
            assert identical(model(inputs), expected)
        with torch.no_grad():
            assert identical(model(inputs[0, 0]), expected[0, 0])

    @both
    def test_a_module_lives_on(self):
        model = torch.nn.Sequential(torch.nn.Linear(128, 128), torch.nn.Linear(128, 32)).bfloat16()
        inputs = torch.randn(2, 128).bfloat16()
        expected, plain = model(inputs), copy.deepcopy(model.state_dict())
        ht.compress_module(model)
        state = model.state_dict()
        assert isinstance(state["0.weight"], ht.CompressedTensor)
        assert state["0.bias"].equal(plain["0.bias"])
        other = copy.deepcopy(model)
        assert isinstance(other[0].weight, torch.nn.Parameter)
        for values in (plain, state):
            torch.nn.init.zeros_(other[0].bias)
            other.load_state_dict(values)
            assert isinstance(other[0].weight, ht.CompressedTensor)
            assert identical(other(inputs), expected)
        other.to("cpu").eval().train()
        assert identical(other(inputs), expected)
        with pytest.raises(huffwire.UnsupportedError, match="type"):
            other.half()

    @both
    def test_products_in_other_precision(self):
        layer = torch.nn.Linear(128, 64)
        inputs = torch.randn(4, 128, requires_grad=True)
        results = []
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16):
                result = layer(inputs)
            (gradient,) = torch.autograd.grad(result.float().sum(), inputs)
            results.append((result, gradient))
            ht.compress_module(layer)
        assert isinstance(layer.weight, ht.CompressedTensor)
        assert results[1][0].dtype == torch.bfloat16 and results[1][1].dtype == torch.float32
        assert all(map(identical, *results))

    @both
    def test_weights_of_two_sizes_take_turns_in_the_same_memory(self):
        layers = [torch.nn.Linear(64, 128), torch.nn.Linear(128, 256), torch.nn.Linear(256, 64)]
        model = torch.nn.Sequential(*layers).bfloat16()
        inputs = torch.randn(3, 64).bfloat16()
        expected = [model(inputs), layers[0](inputs)]
        ht.compress_module(model)
        for _ in range(2):
            assert identical(model(inputs), expected[0]) and identical(layers[0](inputs), expected[1])

    @both
    def test_shared_weights(self):
        class Model(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embedding = torch.nn.Embedding(64, 128)
                self.head = torch.nn.Linear(128, 64, bias=False)
                self.head.weight = self.embedding.weight
                self.first = torch.nn.Linear(128, 128)
                self.second = torch.nn.Linear(128, 128)
                self.second.weight = self.first.weight
                self.raw = torch.nn.Linear(128, 128)
                self.raw.weight.data = noise(128 * 128, torch.float32).view(128, 128)

        model = Model()
        assert ht.compress_module(model).layers == 2
        assert type(model.head.weight) is torch.nn.Parameter
        assert model.head.weight is model.embedding.weight
        assert model.second.weight is model.first.weight
        assert isinstance(model.first.weight, ht.CompressedTensor)
        assert not isinstance(model.raw.weight, ht.CompressedTensor)

    @both
    def test_attention_takes_compressed_weights_too(self):
        attention = torch.nn.MultiheadAttention(128, 2, batch_first=True)
        inputs = torch.randn(1, 4, 128)
        expected = attention(inputs, inputs, inputs)[0]
        assert ht.compress_module(attention).layers == 1
        assert torch.equal(attention(inputs, inputs, inputs)[0], expected)

    def test_memory_may_be_shared_with_processes(self):
        layer = torch.nn.Linear(128, 128)
        inputs = torch.randn(2, 128)
        expected = layer(inputs)
        ht.compress_module(layer)
        weight = layer.weight
        assert not weight.is_shared()
        assert layer.share_memory() is layer and layer.weight is weight
        assert weight.is_shared() and weight.coded.is_shared() and torch.equal(layer(inputs), expected)

    @both
    def test_gradients_of_complex_layers(self):
        layer = torch.nn.Linear(64, 64, dtype=torch.complex64)
        inputs = torch.randn(3, 64, dtype=torch.complex64, requires_grad=True)
        (expected,) = torch.autograd.grad(layer(inputs).abs().sum(), inputs)
        assert ht.compress_module(layer).layers == 1
        (gradient,) = torch.autograd.grad(layer(inputs).abs().sum(), inputs)
        torch.testing.assert_close(gradient, expected)

    @both
    def test_gradients_of_gradients(self):
        model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64))
        inputs = torch.randn(2, 64, requires_grad=True)

        def penalty() -> torch.Tensor:
            (gradient,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
            return torch.autograd.grad(gradient.square().sum(), inputs)[0]

        expected = penalty()
        assert ht.compress_module(model).layers == 2
        torch.testing.assert_close(penalty(), expected)

    @both
    def test_transforms_of_functions(self):
        layer = torch.nn.Linear(64, 64)
        inputs = torch.randn(2, 64)
        wanted = [
            lambda: torch.func.vmap(layer)(inputs),
            lambda: torch.func.grad(lambda x: layer(x).square().sum())(inputs),
            lambda: torch.func.jvp(layer, (inputs,), (inputs,))[1],
        ]
        expected = [one() for one in wanted]
        assert ht.compress_module(layer).layers == 1
        for one, result in zip(wanted, expected, strict=True):
            torch.testing.assert_close(one(), result)

    def test_parameters_of_other_classes_stay(self):
        class Quantized(torch.nn.Parameter):
            pass

        layer = torch.nn.Linear(64, 64)
        layer.weight = Quantized(layer.weight.detach())
        lazy = torch.nn.LazyLinear(3)
        assert ht.compress_module(torch.nn.ModuleList([layer, lazy])).layers == 0
        assert type(layer.weight) is Quantized and lazy(torch.ones(1, 4)).shape == (1, 3)

    def test_models_are_loaded_from_files(self, tmp_path):
        model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
        model[1].weight = model[0].weight
        inputs = torch.randn(2, 64)
        expected = model(inputs)
        ht.save_model(model, tmp_path / "model.hw")
        ht.compress_module(model)
        other = copy.deepcopy(model)
        other.load_state_dict({name: torch.zeros_like(value) for name, value in model.state_dict().items()})
        assert not torch.equal(other(inputs), expected)
        assert ht.load_model(other, tmp_path / "model.hw") == (set(), [])
        assert other[0].weight is other[1].weight and isinstance(other[0].weight, ht.CompressedTensor)
        assert torch.equal(other(inputs), expected)
        with pytest.raises(huffwire.UnsupportedError, match="decode"):
            ht.save_model(model, tmp_path / "again.hw")

    def test_what_cannot_be_traced_says_so(self):
        layer = torch.nn.Linear(64, 64)
        inputs = torch.randn(2, 64)
        expected = layer(inputs)
        ht.compress_module(layer)
        with pytest.raises(Exception, match="cannot be traced"):
            torch.compile(layer, backend="eager")(inputs)
        torch._dynamo.reset()
        model = torch.nn.Sequential(torch.compiler.disable(layer))
        assert torch.equal(torch.compile(model, backend="eager")(inputs), expected)

    def test_damage_is_found(self):
        compressed = ht.CompressedTensor.compress(normal(640))
        damaged = compressed.coded.clone()
        damaged[300] ^= 1
        with gpu():
            again = ht.CompressedTensor(damaged, (640,), torch.bfloat16)
            for _ in range(2):
                with pytest.raises(huffwire.DamagedError):
                    again.decode()
        with pytest.raises(huffwire.UnsupportedError, match="uint8"):
            ht.CompressedTensor(torch.zeros(4), (2,), torch.float32)

    def test_only_the_first_use_waits(self):
        compressed = ht.CompressedTensor.compress(normal(640))
        with gpu() as device:
            reads = watch_reads(device)
            for _ in range(3):
                compressed.decode()
            assert len(reads) == 1


# Missing parts.


def test_a_machine_without_a_driver() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(huffwire.DeviceError, match="driver is not installed"):
            _driver.driver()
    else:
        assert _driver.driver().version >= (12, 0)


def test_errors_of_the_driver_have_its_words() -> None:
    library = Library()
    driver = _driver.Driver(library)  # type: ignore[arg-type]
    assert driver.version == (13, 2)
    library.failing["cuModuleLoadData"] = 2
    with pytest.raises(huffwire.OutOfMemoryError, match="cuModuleLoadData.*CUDA_ERROR_2.*words of the driver"):
        driver.load(b"")
    library.failing["cuModuleLoadData"] = 209
    with pytest.raises(huffwire.DeviceError, match="cuModuleLoadData.*CUDA_ERROR_209.*words of the driver"):
        driver.load(b"")
    library.failing["cuInit"] = 100
    with pytest.raises(huffwire.DeviceError, match="cuInit"):
        _driver.Driver(library)  # type: ignore[arg-type]


def test_a_driver_that_lacks_a_function_is_too_old() -> None:
    with pytest.raises(huffwire.DeviceError, match="too old"):
        _driver.Driver(object())  # type: ignore[arg-type]


def test_the_driver_tells_what_a_kernel_takes() -> None:
    driver = _driver.Driver(Library())  # type: ignore[arg-type]
    with driver.current(driver.context(0)):
        function = driver.function(MODULE, "kernel")
    assert (function.shared_bytes, function.local_bytes, function.registers) == (101, 103, 104)


def test_a_machine_without_nvrtc(monkeypatch) -> None:
    monkeypatch.setattr(_nvrtc, "_candidates", lambda: iter(["/nowhere/libnvrtc.so.13"]))
    with pytest.raises(huffwire.DeviceError, match="pip install nvidia-cuda-nvrtc.*/nowhere"):
        _nvrtc.compiler.__wrapped__()


# From PyTorch to the driver, of which only the last step is an emulator's.


def test_a_message_by_way_of_the_driver() -> None:
    tensor = normal(5000)
    with machine() as library:
        device = _torch_device.device_for(torch.device("cuda"))
        assert isinstance(device, _torch_device.TorchDevice) and device.multiprocessors == 3
        with mock.patch.object(_torch_device, "STAND_IN", device):
            message = ht.encode(tensor)
            assert identical(ht.decode(message), tensor)
            damaged = message.clone()
            damaged[1000] ^= 4
            with pytest.raises(huffwire.DamagedError):
                ht.decode(damaged)
        assert library.loaded == 1
        names = [name for name, _, _, _ in library.launched]
        assert "pack_blocks" in names and "decode_plan" in names
        assert all(ctas > 0 and threads % 32 == 0 for _, ctas, threads, _ in library.launched)
        assert {stream for _, _, _, stream in library.launched} == {STREAM}
        # What was pushed was popped.
        assert library._current == []


def test_modules_and_tables_are_loaded_once() -> None:
    sets = [[huffwire.Codebooks.builtin()]]
    for number in range(20):
        sets.append([huffwire.calibrate({"a": normal(500)}, name=f"{number}").codebooks])
    with machine() as library:
        devices = [_torch_device.device_for(torch.device("cuda", 0)) for _ in range(2)]
        first = _torch_device.tables_for(devices[0], sets[0])
        assert _torch_device.tables_for(devices[1], sets[0]) is first
        assert devices[0].read(first) == tables(sets[0])
        for one in sets:
            assert devices[0].read(_torch_device.tables_for(devices[0], one)) == tables(one)
        kept = _torch_device._gpus[0]._tables
        assert len(kept) == _torch_device._KEPT_TABLES and first not in kept.values()
        assert library.loaded == 1


def test_sets_of_the_same_books_have_tables_of_their_own() -> None:
    """Ids tell books and their numbers only, tables also tell what the books are bound to."""
    one = huffwire.calibrate({"a": normal(500)}, name="one").codebooks
    content = json.loads(one.to_json())
    content["bindings"] = content["bindings"][:1]
    other = huffwire.Codebooks.from_json(json.dumps(content))
    assert one.id == other.id and tables([one]) != tables([other])
    with machine():
        device = _torch_device.device_for(torch.device("cuda"))
        for codebooks in (one, other):
            assert device.read(_torch_device.tables_for(device, [codebooks])) == tables([codebooks])


def test_memory_of_a_device() -> None:
    with machine():
        device = _torch_device.device_for(torch.device("cuda"))
        assert device is not None
        span = device.upload(b"0123456789")
        assert device.read(span) == b"0123456789"
        assert device.read(span.part(3, 4)) == b"3456" and device.read(span.part(2, 0)) == b""
        assert device.read(device.upload(b"")) == b"" and device.empty(1000).size == 1000


def test_threads_share_what_is_loaded() -> None:
    tensors = [normal(3000 + i) for i in range(8)]
    with machine() as library:
        device = _torch_device.device_for(torch.device("cuda"))
        with mock.patch.object(_torch_device, "STAND_IN", device):
            # The emulator runs one kernel at a time.
            lock = threading.Lock()
            launch = library._cuLaunchKernel

            def one_at_a_time(*arguments: int) -> None:
                with lock:
                    launch(*arguments)

            library._cuLaunchKernel = one_at_a_time  # type: ignore[method-assign]
            with ThreadPoolExecutor(4) as pool:
                restored = list(pool.map(lambda tensor: ht.decode(ht.encode(tensor)), tensors))
        assert library.loaded == 1
    assert all(map(identical, restored, tensors))


def test_a_captured_stream_is_refused() -> None:
    with machine(), mock.patch.object(torch.cuda, "is_current_stream_capturing", lambda: True):
        with pytest.raises(huffwire.DeviceError, match="captured"):
            _torch_device.device_for(torch.device("cuda"))


def test_gpus_of_others_are_refused() -> None:
    with machine(), mock.patch.object(torch.version, "hip", "7.0"):
        with pytest.raises(huffwire.DeviceError, match="NVIDIA"):
            _torch_device.device_for(torch.device("cuda"))


def test_files_are_loaded_to_gpus_without_kernels(tmp_path) -> None:
    ht.save_file({"a": normal(100)}, tmp_path / "a.hw")
    entries = list(_files.open_files(tmp_path / "a.hw", None, None).entries.values())
    # None is decoded there: all are left to the processor.
    with machine(), mock.patch.object(torch.version, "hip", "7.0"):
        assert list(_torch_files.FRAMEWORK.decoded_there(entries, torch.device("cuda"))) == []


def test_forked_processes_are_told() -> None:
    with machine():
        _torch_device.device_for(torch.device("cuda"))
        _torch_device._gpus[0].process = -1
        with pytest.raises(huffwire.DeviceError, match="spawn"):
            _torch_device.device_for(torch.device("cuda"))


def test_the_cpu_has_no_kernels() -> None:
    assert _torch_device.device_for(torch.device("cpu")) is None
    assert _torch_device.device_for(torch.device("meta")) is None


def test_a_build_of_pytorch_without_cuda_says_so_itself() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    code = "import torch, huffwire.torch; huffwire.torch.load_file('none.hw', device='cuda')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "none.hw" in done.stderr


# The cache of compiled kernels.


class TestCache:
    @pytest.fixture(autouse=True)
    def own_folder(self, tmp_path, monkeypatch):
        self.folder = tmp_path / "cache"
        self.made = 0
        monkeypatch.setenv("HUFFWIRE_CACHE", str(self.folder))

    def make(self) -> bytes:
        self.made += 1
        return b"code"

    def test_what_was_made_is_not_made_again(self):
        for _ in range(3):
            assert _cache.kept(["a", "b"], self.make) == b"code"
        assert self.made == 1
        for key in (["ab"], ["b", "a"], ["a"], ["a", "b", ""]):
            assert _cache.kept(key, self.make) == b"code"
        assert self.made == 5
        names = [path.name for path in (self.folder / "kernels").iterdir()]
        assert len(names) == 5 and all(name.endswith(".cubin") for name in names)

    def test_damage_is_made_anew(self):
        _cache.kept(["a"], self.make)
        (path,) = (self.folder / "kernels").iterdir()
        for content in (b"", b"x", path.read_bytes()[:-1], path.read_bytes() + b"x"):
            path.write_bytes(content)
            assert _cache.kept(["a"], self.make) == b"code"
        assert self.made == 5
        path.unlink()
        path.mkdir()
        assert _cache.kept(["a"], self.make) == b"code"

    def test_a_folder_that_cannot_be_written_to(self, monkeypatch):
        self.folder.write_text("a file")
        assert _cache.kept(["a"], self.make) == b"code"
        monkeypatch.setenv("HUFFWIRE_CACHE", "")
        assert _cache.folder() is None
        assert _cache.kept(["a"], self.make) == b"code"

    def test_the_folder_follows_the_environment(self, monkeypatch):
        monkeypatch.delenv("HUFFWIRE_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
        assert str(_cache.folder()) == "/xdg/huffwire/kernels"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setenv("HOME", "/home/someone")
        assert str(_cache.folder()) == "/home/someone/.cache/huffwire/kernels"
        monkeypatch.setenv("HUFFWIRE_CACHE", "~/own")
        assert str(_cache.folder()) == "/home/someone/own/kernels"

    def test_errors_of_making_are_not_kept(self):
        def fail() -> bytes:
            raise huffwire.DeviceError("no")

        with pytest.raises(huffwire.DeviceError):
            _cache.kept(["a"], fail)
        assert _cache.kept(["a"], self.make) == b"code"


def test_the_numbers_of_types_are_those_of_the_format() -> None:
    for name, kind in TYPES.items():
        message = huffwire.encode(bytes(48), name)
        assert message[2] == kind.number, name
        assert int.from_bytes(message[8:12], "little") * kind.unit == 48


def test_the_sources_of_the_kernels_are_part_of_the_package() -> None:
    assert {"kernels.cu", "primitives.cuh", "abi.cuh"} <= set(_program.sources())
