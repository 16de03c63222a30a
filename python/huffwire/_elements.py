"""Arrays, tensors and buffers as memory, and results as the kind that came in.

Neither torch nor numpy is imported here, unless the caller passes or asks for what belongs to them.
"""

from __future__ import annotations

import math
import sys
from typing import Any, Literal, NamedTuple, TypeAlias

from huffwire import _huffwire
from huffwire._errors import (
    MismatchError,
    OptionError,
    OutOfMemoryError,
    OutputError,
    UnsupportedError,
)

Kind: TypeAlias = Literal["numpy", "torch", "buffer"]
KINDS = ("numpy", "torch", "buffer")

# Formats of memoryviews, as the name that torch and numpy have for the type.
_FORMATS = {
    "f": "float32",
    "d": "float64",
    "e": "float16",
    "?": "bool",
    "c": "uint8",
    **{code: "int" for code in "bhilqn"},
    **{code: "uint" for code in "BHILQN"},
}
# Formats of the buffers that results are.
_RESULTS = {"f32": "f", "i8": "b", "i32": "i"}


class Elements(NamedTuple):
    """The elements of an array, a tensor or a buffer."""

    dtype: str
    """huffwire's name of their type."""
    shape: tuple[int, ...]
    memory: Any
    """What the compiled part takes: an object with the buffer protocol, or address and bytes."""
    kind: Kind
    """What the caller passed, and gets back."""
    owner: Any
    """What keeps the memory alive; it is kept for that alone."""


def elements(value: Any, *, writable: bool = False) -> Elements:
    """The elements of an array, a tensor, a buffer, or a tuple of a dtype's name and a buffer.

    What is not contiguous, or not on the CPU, is copied, unless it is to be written to.

    Raises:
        UnsupportedError: It has no elements that can be coded.
        OutputError: It is to be written to, and that is not possible.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _of_tensor(value, writable)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return _of_array(value, writable)
    if type(value) is tuple:
        if len(value) != 2 or not isinstance(value[0], str):
            raise UnsupportedError("a tuple must be the name of a dtype and a buffer")
        name, buffer = value
        view = _view(buffer)
        count = view.nbytes // _huffwire.dtype_bytes(name)
        return Elements(name, (count,), buffer, "buffer", buffer)
    view = _view(value)
    return Elements(_dtype_of_view(view), tuple(view.shape or ()), value, "buffer", view)


def _view(value: Any) -> memoryview:
    try:
        return memoryview(value)
    except (TypeError, BufferError, ValueError) as error:
        raise UnsupportedError(
            f"{type(value).__name__}: pass a torch tensor, a numpy array, a buffer with a format "
            "such as array.array, or a tuple of a dtype's name and a buffer"
        ) from error


def _dtype_of_view(view: memoryview) -> str:
    code = view.format.lstrip("@=<" if sys.byteorder == "little" else "@=>")
    name = _FORMATS.get(code)
    if name in ("int", "uint"):
        name = f"{name}{8 * view.itemsize}"
    dtype = _huffwire.dtype_named(name) if name else None
    if dtype is None:
        raise UnsupportedError(
            f"a buffer of format {view.format!r}: pass a tuple of a dtype's name and the buffer"
        )
    return dtype


def _of_tensor(tensor: Any, writable: bool) -> Elements:
    from huffwire import _tensors

    if writable:
        if tensor.requires_grad and tensor.is_leaf:
            raise OutputError("the output requires grad: pass its detach()")
        _tensors._target(tensor)
    elif tensor.is_conj() or tensor.is_neg():
        tensor = tensor.detach().resolve_conj().resolve_neg()
    source, dtype = _tensors._source(tensor)
    return Elements(dtype, tuple(tensor.shape), _tensors._address(source), "torch", source)


def _of_array(array: Any, writable: bool) -> Elements:
    from huffwire import _arrays

    if writable:
        flat, dtype = _arrays._target(array)
        if not array.flags.writeable:
            raise OutputError("the output is read-only: give an array that can be written to")
    else:
        flat, dtype = _arrays._source(array)
    return Elements(dtype, array.shape, flat, "numpy", flat)


def check_kind(kind: str) -> None:
    """Raises OptionError unless a caller may ask for this kind of results."""
    if kind not in KINDS:
        raise OptionError(f"kind={kind!r}: give one of {', '.join(map(repr, KINDS))}")


def empty(kind: Kind, dtype: str, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """A new array, tensor or buffer of f32, bf16, f16, i8 or i32, and its memory.

    Raises:
        OutOfMemoryError: There is no memory for it.
    """
    check_kind(kind)
    size = math.prod(shape) * _huffwire.dtype_bytes(dtype)
    try:
        if kind == "torch":
            import torch

            from huffwire import _tensors

            tensor = torch.empty(shape, dtype=_tensors._dtype(dtype), device="cpu")
            return tensor, (tensor.data_ptr(), size)
        if kind == "numpy":
            import numpy

            from huffwire import _arrays

            array = numpy.empty(shape, dtype=_arrays._dtype(dtype))
            return array, array.reshape(-1).view(numpy.uint8)
        memory = bytearray(size)
    except (MemoryError, OverflowError, RuntimeError, ValueError) as error:
        text = f"{size} bytes are needed, and there is no memory for them"
        raise OutOfMemoryError(text) from error
    view: Any = memoryview(memory)
    code = _RESULTS.get(dtype)
    if code is None:
        return view, memory
    # A view of no elements cannot be given a shape.
    return (view.cast(code, shape) if shape and size else view.cast(code)), memory


def check_shape(found: tuple[int, ...], due: tuple[int, ...]) -> None:
    """Raises MismatchError unless shapes are the same."""
    if tuple(found) != tuple(due):
        raise MismatchError(f"shape {tuple(found)} where {tuple(due)} was expected")
