"""PyTorch tensors as messages, and back. Every type comes back as itself.

>>> import torch, huffwire.torch
>>> tensor = torch.randn(256, 512).bfloat16()
>>> message = huffwire.torch.encode(tensor)
>>> len(message) < 0.75 * tensor.nbytes
True
>>> torch.equal(huffwire.torch.decode(message, tensor.shape), tensor)
True

A contiguous tensor in the memory of the processor is not copied; any other one is first copied there. No input
is changed. No other thread may write to a tensor while it is encoded. Tensors that require gradients are encoded
like all others; what is decoded does not require gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from huffwire import _huffwire, _shapes
from huffwire._buffers import Level, Sets, Symbols, _buffer
from huffwire._errors import OutOfMemoryError, OutputError, UnsupportedError
from huffwire._huffwire import Codebooks
from huffwire._tensors import (
    _CPU,
    _address,
    _changed,
    _dtype,
    _message,
    _name,
    _source,
    _target,
)
from huffwire._torch_deltas import (
    apply_delta,
    content_hash,
    decode_delta,
    delta_changes,
    encode_delta,
    prepare_delta,
)
from huffwire._torch_files import (
    load,
    load_file,
    load_model,
    safe_open,
    save,
    save_file,
    save_model,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from huffwire._tensors import Memory

__all__ = [
    "apply_delta",
    "content_hash",
    "decode",
    "decode_delta",
    "decode_into",
    "delta_changes",
    "encode",
    "encode_delta",
    "encode_into",
    "load",
    "load_file",
    "load_model",
    "max_encoded_size",
    "prepare_delta",
    "safe_open",
    "save",
    "save_file",
    "save_model",
]


def encode(
    tensor: torch.Tensor,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
) -> bytes:
    """Encodes a tensor as one message. Its shape is not part of the message.

    >>> import torch, huffwire.torch
    >>> tensor = torch.ones(64, 64, dtype=torch.float8_e4m3fn)
    >>> huffwire.torch.decode(huffwire.torch.encode(tensor, level="max"), (64, 64)).dtype
    torch.float8_e4m3fn

    Args:
        tensor: A strided tensor of any shape and type, with or without gradients.
        level, symbols, codebooks, checksums, threads, context: As for `huffwire.encode`.

    Returns:
        The message.

    Raises:
        UnsupportedError: A sparse, quantized, nested, distributed or meta tensor, a lazy conjugate or
            negative, or a type that huffwire does not have. The text says what to encode instead.
        Error: As for `huffwire.encode`.
    """
    source, name = _source(tensor)
    return _huffwire._encode(
        _address(source), name, level, symbols, codebooks, checksums, threads, context
    )


def encode_into(
    tensor: torch.Tensor,
    buffer: Memory,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
) -> int:
    """Encodes a tensor as one message at the start of a buffer. Nothing is copied.

    >>> import torch, huffwire.torch
    >>> tensor = torch.randn(5000, dtype=torch.float16)
    >>> size = huffwire.torch.max_encoded_size(tensor.shape, tensor.dtype)
    >>> buffer = torch.empty(size, dtype=torch.uint8)
    >>> length = huffwire.torch.encode_into(tensor, buffer)
    >>> torch.equal(huffwire.torch.decode(buffer[:length]), tensor)
    True

    Args:
        tensor: As for `encode`, like all arguments that are not named here.
        buffer: A contiguous buffer that can be written to (a bytearray, a NumPy array), or a contiguous
            tensor of torch.uint8 on the device cpu, of at least `max_encoded_size` bytes. Behind the
            message its content is undefined.

    Returns:
        The length of the message in bytes.

    Raises:
        OutputError: ``buffer`` is too small, read-only, not contiguous, or overlaps the tensor.
        Error: As for `encode`.
    """
    source, name = _source(tensor)
    out: Buffer | tuple[int, int]
    if isinstance(buffer, torch.Tensor):
        _target(buffer)
        if buffer.dtype != torch.uint8:
            raise OutputError(f"the output is a tensor of {buffer.dtype}: give one of torch.uint8")
        out = _address(buffer)
    else:
        out = _buffer(buffer)
    return _huffwire._encode_into(
        _address(source), name, out, level, symbols, codebooks, checksums, threads, context
    )


def max_encoded_size(shape: int | Sequence[int], dtype: torch.dtype) -> int:
    """The longest message for a tensor of this shape and type, in bytes, whatever its values.

    >>> import torch, huffwire.torch
    >>> huffwire.torch.max_encoded_size((1024, 512), torch.bfloat16)
    1048664

    Raises:
        UnsupportedError: A type that huffwire does not have.
        OptionError: No shape.
    """
    return _huffwire._max_encoded_size(_name(dtype), _shapes.elements(shape) * dtype.itemsize)


def decode(
    message: Memory,
    shape: int | Sequence[int] | None = None,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
    max_size: int | None = None,
) -> torch.Tensor:
    """Decodes a message into a new tensor of the message's type, on the device cpu.

    >>> import torch, huffwire.torch
    >>> message = huffwire.torch.encode(torch.eye(2))
    >>> huffwire.torch.decode(message, (2, 2), max_size=1 << 20)
    tensor([[1., 0.],
            [0., 1.]])

    Args:
        message: Any object with the buffer protocol, or a contiguous tensor of torch.uint8, that holds one
            whole message.
        shape: The shape of the tensor, of as many elements as the message has; None for one dimension.
        codebooks, threads, context, max_size: As for `huffwire.decode`.

    Raises:
        MismatchError: The message has another number of elements than the shape.
        UnsupportedError: torch has no such type.
        Error: As for `huffwire.decode`.
    """
    source = _message(message)
    name, size = _huffwire._check(source, codebooks, context, max_size)
    dtype = _dtype(name)
    sizes = _shapes.of_message(shape, size // dtype.itemsize)
    try:
        tensor = torch.empty(sizes, dtype=dtype, device=_CPU)
    except RuntimeError as error:
        raise OutOfMemoryError(f"{size} bytes are needed: {error}") from None
    if type(tensor) is not torch.Tensor:
        raise UnsupportedError(
            f"torch.empty makes a {type(tensor).__name__} here, which has no memory: decode elsewhere"
        )
    _huffwire._decode_into(source, name, _address(tensor), codebooks, threads, context, max_size)
    return tensor


def decode_into(
    message: Memory,
    tensor: torch.Tensor,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
    max_size: int | None = None,
) -> None:
    """Decodes a message into a tensor of the message's type and number of elements. Nothing is copied.

    If a block turns out to be damaged, every byte of the tensor is set to 0xff. All other errors leave it as
    it was.

    >>> import torch, huffwire.torch
    >>> tensor = torch.zeros(50, 2, dtype=torch.int64)
    >>> huffwire.torch.decode_into(huffwire.torch.encode(torch.arange(100)), tensor)
    >>> tensor[49]
    tensor([98, 99])

    Args:
        message: As for `decode`, like all arguments that are not named here.
        tensor: A contiguous tensor on the device cpu. If it requires gradients, it is written to all the
            same, as under torch.no_grad().

    Raises:
        OutputError: The tensor has another size than the message's elements, is on another device, not
            contiguous, has no memory of its own, or overlaps the message.
        MismatchError: The tensor has another type than the message.
        Error: As for `huffwire.decode`.
    """
    _target(tensor)
    source, name, target = _message(message), _name(tensor.dtype), _address(tensor)
    # Also if decoding fails, the tensor may have been written to.
    _changed(tensor)
    _huffwire._decode_into(source, name, target, codebooks, threads, context, max_size)
