"""Tensors of PyTorch as messages, and back."""

import ctypes
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import huffwire
import huffwire.numpy
import huffwire.torch as ht
from huffwire import _tensors

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
DTYPES = list(_tensors._NAMES)
ALL_DTYPES = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
# Types of quantized tensors, and types that no tensor of torch can be computed with.
REFUSED = sorted(ALL_DTYPES - set(DTYPES), key=str)


def filled(shape, dtype, pattern):
    """A tensor with these bytes, again and again: every bit pattern, NaNs with payloads among them."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    data = bytearray((pattern * (size // len(pattern) + 1))[:size])
    if dtype == torch.bool:
        data = bytearray(byte & 1 for byte in data)
    flat = torch.from_numpy(np.frombuffer(data, np.uint8))
    return flat.view(dtype).reshape(shape)


def bytes_of(tensor):
    """The bytes of a tensor in the order of its indices, whatever its type."""
    tensor = tensor.detach().contiguous()
    return ctypes.string_at(tensor.data_ptr(), tensor.nbytes)


def identical(one, other):
    assert one.dtype == other.dtype and one.shape == other.shape
    return bytes_of(one) == bytes_of(other)


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 12), max_size=4)))
    tensor = filled(shape, dtype, draw(st.binary(min_size=1, max_size=100)))
    steps = tuple(
        slice(draw(st.integers(0, 2)), None, draw(st.sampled_from([1, 1, 2, 3]))) for _ in shape
    )
    tensor = tensor[steps].permute(draw(st.permutations(range(len(shape)))))
    if tensor.dim() and draw(st.booleans()):
        tensor = tensor.unsqueeze(0).expand(3, *tensor.shape)
    if tensor.dtype in FLOATS:
        tensor.requires_grad_(draw(st.booleans()))
    return tensor


@given(tensors(), st.sampled_from(["fast", "max"]), st.sampled_from([None, 5]))
def test_every_bit_comes_back(tensor, level, context):
    before, version = bytes_of(tensor), tensor._version
    message = ht.encode(tensor, level=level, context=context)
    assert bytes_of(tensor) == before and tensor._version == version
    restored = ht.decode(message, tensor.shape, context=context)
    assert not restored.requires_grad and restored.is_contiguous()
    assert identical(restored, tensor)
    assert ht.decode(message, context=context).shape == (tensor.numel(),)

    size = ht.max_encoded_size(tensor.shape, tensor.dtype)
    for buffer in [bytearray(size), np.zeros(size, np.uint8), torch.zeros(size, dtype=torch.uint8)]:
        length = ht.encode_into(tensor, buffer, level=level, context=context)
        assert bytes(memoryview(np.asarray(buffer))[:length]) == message
        out = torch.empty(tensor.shape, dtype=tensor.dtype)
        ht.decode_into(buffer[:length], out, context=context)
        assert identical(out, tensor)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_comes_back_as_itself_and_has_a_name(dtype):
    tensor = filled((3, 5), dtype, bytes(range(256)))
    message = ht.encode(tensor)
    assert identical(ht.decode(message, (3, 5)), tensor)
    header = huffwire.inspect(message)
    assert header.size == tensor.nbytes
    # A byte of the 4-bit type has two values.
    values = 30 if dtype == torch.float4_e2m1fn_x2 else 15
    assert header.elements == values


def test_the_types_that_are_refused_are_known():
    names = {str(dtype).removeprefix("torch.") for dtype in REFUSED}
    small = {f"{sign}int{bits}" for sign in ["", "u"] for bits in range(1, 8)}
    quantized = {"qint8", "qint32", "quint8", "quint4x2", "quint2x4"}
    bits = {"bits8", "bits1x8", "bits2x4", "bits4x2"}
    assert names <= small | quantized | bits | {"bcomplex32"}


@pytest.mark.parametrize("dtype", REFUSED, ids=str)
def test_a_type_without_a_name_is_refused(dtype):
    with pytest.raises(huffwire.UnsupportedError, match="view"):
        ht.max_encoded_size(10, dtype)


def test_all_16_bit_floats_survive():
    for dtype in [torch.float16, torch.bfloat16]:
        tensor = torch.arange(65536).to(torch.uint16).view(dtype)
        assert identical(ht.decode(ht.encode(tensor)), tensor)


def test_scalars_and_empty_tensors():
    for shape in [(), (0,), (0, 3), (2, 0, 4), (1, 1, 1)]:
        for dtype in [torch.bfloat16, torch.int64, torch.complex64, torch.bool]:
            tensor = torch.ones(shape, dtype=dtype)
            assert identical(ht.decode(ht.encode(tensor), shape), tensor)


def test_numpy_and_torch_agree():
    array = np.random.default_rng(1).normal(size=(50, 60)).astype("float32")
    assert huffwire.numpy.encode(array) == ht.encode(torch.from_numpy(array))


def test_a_contiguous_tensor_is_not_copied():
    tensor = torch.zeros(1 << 20)
    assert ht._source(tensor)[0] is tensor
    parameter = torch.nn.Parameter(tensor)
    assert ht._source(parameter)[0] is parameter


def test_tensors_that_require_gradients_and_autograds_knowledge():
    weight = torch.nn.Parameter(torch.randn(100))
    loss = (weight * weight).sum()
    message = ht.encode(weight)
    loss.backward()
    assert torch.equal(weight.grad, 2 * weight)
    # What is written to behind autograd's back must not go unnoticed.
    loss = (weight * weight).sum()
    ht.decode_into(message, weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    with torch.inference_mode():
        tensor = torch.zeros(100)
        ht.decode_into(message, tensor)
        assert torch.equal(tensor, weight)
        assert torch.equal(ht.decode(message), weight)


def test_a_default_device_or_type_changes_nothing():
    message = ht.encode(torch.arange(10))
    with torch.device("meta"):
        assert torch.equal(ht.decode(message), torch.tensor(range(10), device="cpu"))


def test_channels_last_is_encoded_in_the_order_of_indices():
    tensor = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert identical(ht.decode(ht.encode(tensor), tensor.shape), tensor)


# Bad input.

MESSAGE = ht.encode(torch.arange(1000.0))


class Wrapper(torch.Tensor):
    """A tensor that consists of another one, as a DTensor does."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    def __tensor_flatten__(self):
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner, *_):
        return Wrapper(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise NotImplementedError(function)


def strange():
    complex_tensor = torch.randn(10, dtype=torch.complex64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Some of these kinds warn that they may change.
        return {
            "resolve_conj": complex_tensor.conj(),
            "resolve_neg": complex_tensor.conj().imag,
            "to_dense": torch.eye(3).to_sparse(),
            "sparse_csr": torch.eye(3).to_sparse_csr(),
            "int_repr": torch.quantize_per_tensor(torch.randn(9), 0.1, 0, torch.qint8),
            "meta": torch.empty(3, device="meta"),
            "NestedTensor": torch.nested.nested_tensor(
                [torch.ones(2), torch.ones(3)], layout=torch.jagged
            ),
            "to_local": Wrapper(torch.ones(3)),
            "give a torch.Tensor": [1.0, 2.0],
            "ndarray": np.zeros(3),
        }


@pytest.mark.parametrize("text", strange())
def test_what_is_not_simply_memory_is_refused(text):
    tensor = strange()[text]
    for call in [ht.encode, lambda tensor: ht.encode_into(tensor, bytearray(1000))]:
        with pytest.raises(huffwire.UnsupportedError, match=text):
            call(tensor)
    with pytest.raises(huffwire.OutputError, match=text):
        ht.decode_into(MESSAGE, tensor)


def test_nested_tensors_of_the_old_kind_are_refused():
    with pytest.warns(UserWarning):
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    with pytest.raises(huffwire.UnsupportedError, match="unbind"):
        ht.encode(nested)


def test_tensors_without_memory_are_refused():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        with pytest.raises(huffwire.UnsupportedError):
            ht.encode(torch.ones(3))
        with pytest.raises(huffwire.UnsupportedError):
            ht.decode(MESSAGE)
    with pytest.raises(huffwire.UnsupportedError, match="without memory"):
        torch.vmap(lambda row: ht.encode(row))(torch.ones(3, 3))


@pytest.mark.parametrize("left", [0, 4, 39])
def test_tensors_whose_storage_was_freed_are_refused(left):
    tensor = torch.ones(10)
    behind = tensor[5:]
    tensor.untyped_storage().resize_(left)
    for freed in [tensor, behind]:
        with pytest.raises(huffwire.UnsupportedError, match="freed"):
            ht.encode(freed)
        with pytest.raises(huffwire.UnsupportedError, match="freed"):
            ht.decode_into(ht.encode(torch.ones(freed.shape)), freed)


def test_outputs_are_checked_before_they_are_written():
    good = torch.full((1000,), 7.0)
    wide = torch.full((2000,), 7.0)
    outputs = [
        (wide[::2], huffwire.OutputError, "contiguous"),
        (good.reshape(10, 100).T, huffwire.OutputError, "contiguous"),
        (torch.tensor(7.0).expand(1000), huffwire.OutputError, "contiguous"),
        (good[:999], huffwire.OutputError, "exactly 4000"),
        (wide, huffwire.OutputError, "exactly 4000"),
        (good.view(torch.int32), huffwire.MismatchError, "f32 where i32"),
        (good.bfloat16(), huffwire.MismatchError, "f32 where bf16"),
    ]
    for out, error, text in outputs:
        before = bytes_of(out)
        with pytest.raises(error, match=text):
            ht.decode_into(MESSAGE, out)
        assert bytes_of(out) == before
    for out in [bytes(5000), torch.zeros(5000), torch.zeros(10_000, dtype=torch.uint8)[::2]]:
        with pytest.raises(huffwire.OutputError):
            ht.encode_into(good, out)
    with pytest.raises(huffwire.OutputError, match="are needed"):
        ht.encode_into(good, torch.zeros(4000, dtype=torch.uint8))


def test_an_output_must_not_overlap_the_message():
    memory = torch.zeros(len(MESSAGE) + 4000, dtype=torch.uint8)
    memory[: len(MESSAGE)] = torch.frombuffer(bytearray(MESSAGE), dtype=torch.uint8)
    with pytest.raises(huffwire.OutputError, match="overlaps"):
        ht.decode_into(memory[: len(MESSAGE)], memory[:4000].view(torch.float32))
    assert bytes_of(memory[: len(MESSAGE)]) == MESSAGE
    with pytest.raises(huffwire.OutputError, match="overlaps"):
        ht.encode_into(memory[:1000], memory[500:])


def test_messages_in_tensors_are_bytes():
    flat = torch.frombuffer(bytearray(MESSAGE), dtype=torch.uint8)
    assert torch.equal(ht.decode(flat), torch.arange(1000.0))
    for bad in [flat.to(torch.int32), flat.repeat_interleave(2)[::2], torch.ones(3)]:
        with pytest.raises(huffwire.UnsupportedError, match="uint8"):
            ht.decode(bad)
    for bad in ["text", None, (1, 2)]:
        with pytest.raises(huffwire.UnsupportedError):
            ht.decode(bad)


def test_shapes_are_checked():
    for shape in [999, (10, 99), (), torch.Size([0])]:
        with pytest.raises(huffwire.MismatchError, match="has 1000"):
            ht.decode(MESSAGE, shape)
    for shape in [(-1,), (10, -100), "abc", 1.5]:
        with pytest.raises(huffwire.OptionError, match="sizes of all dimensions"):
            ht.decode(MESSAGE, shape)


def test_a_type_that_torch_lacks_is_told():
    for dtype in ["e3m2", "e2m3-packed", "word32"]:
        with pytest.raises(huffwire.UnsupportedError, match="huffwire.decode"):
            ht.decode(huffwire.encode(bytes(12), dtype))


def test_damage_and_limits_are_told():
    with pytest.raises(huffwire.LimitError):
        ht.decode(MESSAGE, max_size=3999)
    with pytest.raises(huffwire.LimitError):
        ht.decode_into(MESSAGE, torch.zeros(1000), max_size=3999)
    with pytest.raises(huffwire.ContextError):
        ht.decode(MESSAGE, context=1)
    with pytest.raises(huffwire.DamagedError):
        ht.decode(MESSAGE[:-1])
    flipped = bytearray(MESSAGE)
    flipped[-1] ^= 1
    out = torch.zeros(1000)
    with pytest.raises(huffwire.DamagedError):
        ht.decode_into(flipped, out)
    assert out.isnan().all()


def test_errors_cross_processes():
    with pytest.raises(huffwire.DamagedError) as caught:
        ht.decode(MESSAGE[:-1])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is huffwire.DamagedError and str(copy) == str(caught.value)


def test_blocks_have_the_size_that_is_asked_for():
    tensor = torch.randn(40_000).bfloat16()
    message = ht.encode(tensor, block_size=4096)
    assert huffwire.inspect(message).block_size == 4096
    buffer = bytearray(ht.max_encoded_size(tensor.shape, tensor.dtype, block_size=4096))
    assert buffer[: ht.encode_into(tensor, buffer, block_size=4096)] == message
    assert torch.equal(ht.decode(message), tensor)
