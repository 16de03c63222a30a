"""Tensors of PyTorch: the names of their types, and their memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch.autograd.graph import increment_version

from huffwire._buffers import _buffer
from huffwire._errors import OutputError, UnsupportedError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Memory: TypeAlias = Buffer | torch.Tensor

# huffwire's name of each element type.
_NAMES = {
    torch.bfloat16: "bf16",
    torch.float16: "f16",
    torch.float32: "f32",
    torch.float64: "f64",
    torch.float8_e4m3fn: "e4m3",
    torch.float8_e5m2: "e5m2",
    torch.float8_e4m3fnuz: "e4m3fnuz",
    torch.float8_e5m2fnuz: "e5m2fnuz",
    torch.float8_e8m0fnu: "e8m0",
    torch.float4_e2m1fn_x2: "e2m1",
    torch.int8: "i8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.uint8: "u8",
    torch.uint16: "u16",
    torch.uint32: "u32",
    torch.uint64: "u64",
    torch.bool: "bool",
    torch.complex32: "complex32",
    torch.complex64: "complex64",
    torch.complex128: "complex128",
    torch.bits16: "word16",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_CPU = torch.device("cpu")
_PLAIN = {torch.Tensor, torch.nn.Parameter}


def _name(dtype: torch.dtype) -> str:
    name = _NAMES.get(dtype)
    if name is None:
        raise UnsupportedError(
            f"huffwire has no element type for {dtype}: encode a view of the tensor as integers of the same "
            "size, such as tensor.view(torch.uint8)"
        )
    return name


def _dtype(name: str) -> torch.dtype:
    dtype = _DTYPES.get(name)
    if dtype is None:
        raise UnsupportedError(
            f"torch has no type for elements of {name}: huffwire.decode returns their bytes"
        )
    return dtype


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether the memory of a tensor is its elements, one after the other.

    These are few questions, of which most tensors pass all: when the caches hold nothing but the tensor before,
    each takes microseconds. Quantized tensors have types of their own.
    """
    return (
        type(tensor) in _PLAIN
        and tensor.dtype in _NAMES
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and not tensor.is_neg()
        and not tensor.is_conj()
        and tensor.is_contiguous()
    )


def _refusal(tensor: torch.Tensor) -> str | None:
    """Why the memory of a tensor is not simply its elements; None if it is."""
    if not isinstance(tensor, torch.Tensor):
        return f"{type(tensor).__name__}: give a torch.Tensor"
    # A class that takes operations into its own hands; its elements may be anywhere.
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        remedy = "give the tensors that it consists of, such as tensor.to_local() of a DTensor, or tensor.decode()"
        return f"a {type(tensor).__name__} has no memory of its own: {remedy}"
    if tensor.is_nested:
        return "a nested tensor cannot be coded: give the tensors that it consists of (tensor.unbind())"
    if tensor.layout is not torch.strided:
        remedy = "encode its indices and values apart, or tensor.to_dense()"
        return f"a tensor of layout {tensor.layout} cannot be coded: {remedy}"
    if tensor.is_quantized:
        remedy = "encode tensor.int_repr(), and keep its scale and zero point"
        return f"a quantized tensor ({tensor.dtype}) cannot be coded: {remedy}"
    if tensor.is_meta:
        return "a tensor on the device meta has no data: give one that has"
    if tensor.is_conj():
        return "the conjugate of a tensor is not in its memory: give tensor.resolve_conj()"
    if tensor.is_neg():
        return "the negative of a tensor is not in its memory: give tensor.resolve_neg()"
    return None


def _address(tensor: torch.Tensor) -> tuple[int, int]:
    """Where the elements of a contiguous tensor lie, and how many bytes they have."""
    size = tensor.nbytes
    if size == 0:
        return 0, 0
    try:
        address, storage = tensor.data_ptr(), tensor.untyped_storage()
    except (RuntimeError, NotImplementedError) as error:
        raise UnsupportedError(f"a tensor without memory: {error}") from None
    # The storage may have been taken away, as FSDP does between uses of a parameter.
    if storage.data_ptr() + storage.nbytes() < address + size:
        raise UnsupportedError(
            f"a tensor of {size} bytes whose storage has {storage.nbytes()}: it was freed or made smaller"
        )
    return address, size


def _source(tensor: torch.Tensor) -> tuple[torch.Tensor, str]:
    """A contiguous tensor on the processor that is encoded, and huffwire's name of its type."""
    if _is_plain(tensor):
        return tensor, _NAMES[tensor.dtype]
    refusal = _refusal(tensor)
    if refusal is not None:
        raise UnsupportedError(refusal)
    name = _name(tensor.dtype)
    if tensor.device != _CPU:
        tensor = tensor.detach().cpu()
    if not tensor.is_contiguous():
        tensor = tensor.detach().contiguous()
    return tensor, name


def _target(tensor: torch.Tensor) -> None:
    """Checks a tensor that is written to."""
    if _is_plain(tensor):
        return
    refusal = _refusal(tensor)
    if refusal is not None:
        raise OutputError(f"the output: {refusal}")
    if tensor.device != _CPU:
        raise OutputError(
            f"the output is on the device {tensor.device}: decode into one on the device cpu, and copy it"
        )
    if not tensor.is_contiguous():
        raise OutputError("the output is not contiguous: decode into one that is, and copy it")


def _changed(tensor: torch.Tensor) -> None:
    """Tells autograd that a tensor was written to."""
    try:
        increment_version(tensor)
    except RuntimeError:
        if not tensor.is_inference():  # Autograd does not watch those.
            raise


def _message(message: Memory) -> Buffer | tuple[int, int]:
    """The memory of a message that is read."""
    if isinstance(message, torch.Tensor):
        source, name = _source(message)
        if name != "u8" or source is not message:
            raise UnsupportedError(
                "a message in a tensor: give a contiguous tensor of torch.uint8 on the device cpu"
            )
        return _address(source)
    return _buffer(message)
