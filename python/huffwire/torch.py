"""PyTorch tensors as messages, and back. Every type comes back as itself.

>>> import torch, huffwire.torch
>>> tensor = torch.randn(256, 512).bfloat16()
>>> message = huffwire.torch.encode(tensor)
>>> len(message) < 0.75 * tensor.nbytes
True
>>> torch.equal(huffwire.torch.decode(message, tensor.shape), tensor)
True

A contiguous tensor in the memory of the processor is not copied; any other one there is first made contiguous. Tensors
of an NVIDIA GPU are coded there, in the same format: their messages are tensors of torch.uint8 in its memory. Those of
other devices are copied to the processor. No input is changed. No other thread may write to a tensor while it is
encoded. Tensors that require gradients are encoded like all others; what is decoded does not require gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import torch

from huffwire import _huffwire, _shapes
from huffwire._buffers import Level, Sets, Symbols, _buffer
from huffwire._compressed import CompressedTensor, Compression, compress_module
from huffwire._errors import MismatchError, OutOfMemoryError, OutputError, UnsupportedError
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
    FRAMEWORK,
    load,
    load_file,
    load_model,
    safe_open,
    save,
    save_file,
    save_model,
)

from huffwire.cuda import _messages, _torch_device
from huffwire.cuda._messages import Checks

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from huffwire._tensors import Memory
    from huffwire.cuda._device import Device

__all__ = [
    "Checks",
    "CompressedTensor",
    "Compression",
    "apply_delta",
    "compress_module",
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
    block_size: int | None = None,
) -> bytes | Any:
    """Encodes a tensor as one message. Its shape is not part of the message.

    >>> import torch, huffwire.torch
    >>> tensor = torch.ones(64, 64, dtype=torch.float8_e4m3fn)
    >>> huffwire.torch.decode(huffwire.torch.encode(tensor, level="max"), (64, 64)).dtype
    torch.float8_e4m3fn

    Args:
        tensor: A strided tensor of any shape and type, with or without gradients.
        level, symbols, codebooks, checksums, threads, context, block_size: As for `huffwire.encode`. Without a block size
            a GPU takes 4 to 32 KiB, by the size of the tensor. It needs no threads. It encodes with the level "fast" and
            the symbols "auto"; with others the message is made on the CPU, and copied to the GPU.

    Returns:
        The message: bytes, and for a tensor of a GPU a tensor of torch.uint8 on the same device. The call waits for
        the GPU, to learn the length.

    Raises:
        UnsupportedError: A sparse, quantized, nested, distributed or meta tensor, a lazy conjugate or
            negative, or a type that huffwire does not have. The text says what to encode instead.
        DeviceError: The GPU of the tensor cannot be used.
        Error: As for `huffwire.encode`.
    """
    device = _device(tensor)
    if device is not None:
        return _messages.encode(
            device,
            tensor,
            level=level,
            symbols=symbols,
            codebooks=codebooks,
            checksums=checksums,
            threads=threads,
            context=context,
            block_size=block_size,
        )
    source, name = _source(tensor)
    return _huffwire._encode(
        _address(source),
        name,
        level,
        symbols,
        codebooks,
        checksums,
        threads,
        context,
        block_size,
    )


@overload
def encode_into(
    tensor: torch.Tensor,
    buffer: Memory,
    *,
    length: None = None,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
    block_size: int | None = None,
) -> int: ...


@overload
def encode_into(
    tensor: torch.Tensor,
    buffer: Memory,
    *,
    length: torch.Tensor,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
    block_size: int | None = None,
) -> None: ...


def encode_into(
    tensor: torch.Tensor,
    buffer: Memory,
    *,
    length: torch.Tensor | None = None,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
    block_size: int | None = None,
) -> int | None:
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
            message its content is undefined. For a tensor of a GPU it may also be a tensor on the same device; else
            the tensor is copied to the CPU, and encoded there.
        length: Where the length is written to, if it is not to be returned: a tensor of torch.int64 with one element,
            on the device of the buffer. The call then does not wait for a GPU.

    Returns:
        The length of the message in bytes; None if ``length`` has it.

    Raises:
        OutputError: ``buffer`` is too small, read-only, not contiguous, or overlaps the tensor.
        Error: As for `encode`.
    """
    if (
        isinstance(buffer, torch.Tensor)
        and _device(buffer) is not None
        and (device := _device(tensor)) is not None
    ):
        return _messages.encode_into(
            device,
            tensor,
            buffer,
            length,
            level=level,
            symbols=symbols,
            codebooks=codebooks,
            checksums=checksums,
            threads=threads,
            context=context,
            block_size=block_size,
        )
    source, name = _source(tensor)
    if length is not None:
        _messages.check_length(length, _CPU)
    out: Buffer | tuple[int, int]
    if isinstance(buffer, torch.Tensor):
        _target(buffer)
        if buffer.dtype != torch.uint8:
            raise OutputError(f"the output is a tensor of {buffer.dtype}: give one of torch.uint8")
        out = _address(buffer)
    else:
        out = _buffer(buffer)
    size = _huffwire._encode_into(
        _address(source),
        name,
        out,
        level,
        symbols,
        codebooks,
        checksums,
        threads,
        context,
        block_size,
    )
    if length is None:
        return size
    length.fill_(size)
    return None


def max_encoded_size(
    shape: int | Sequence[int],
    dtype: torch.dtype,
    device: str | int | torch.device = "cpu",
    *,
    block_size: int | None = None,
) -> int:
    """The longest message for a tensor of this shape and type, in bytes, whatever its values. A GPU makes smaller blocks,
    so that its messages can be a little longer. `block_size` is that of `encode`.

    >>> import torch, huffwire.torch
    >>> huffwire.torch.max_encoded_size((1024, 512), torch.bfloat16)
    1048664

    Raises:
        UnsupportedError: A type that huffwire does not have.
        OptionError: No shape, or no device.
    """
    name, size = _name(dtype), _shapes.elements(shape) * dtype.itemsize
    if FRAMEWORK.device(device).type == "cuda":
        return _messages.bound(name, size, block_size)
    return _huffwire._max_encoded_size(name, size, block_size)


def decode(
    message: Memory,
    shape: int | Sequence[int] | None = None,
    *,
    dtype: torch.dtype | None = None,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
    max_size: int | None = None,
    check: Checks | None = None,
    length: torch.Tensor | None = None,
) -> torch.Tensor:
    """Decodes a message into a new tensor of the message's type, on the device of the message.

    >>> import torch, huffwire.torch
    >>> message = huffwire.torch.encode(torch.eye(2))
    >>> huffwire.torch.decode(message, (2, 2), max_size=1 << 20)
    tensor([[1., 0.],
            [0., 1.]])

    Args:
        message: Any object with the buffer protocol, or a contiguous tensor of torch.uint8, that holds one
            whole message.
        shape: The shape of the tensor, of as many elements as the message has; None for one dimension.
        dtype: The type that the elements must have; None for any. With a message of a GPU, ``shape`` and ``dtype`` together
            save a wait for the header.
        codebooks, threads, context, max_size: As for `huffwire.decode`.
        check: Postpones the check of a message of a GPU. Without it the call waits for the GPU.
        length: The length of the message, if ``message`` is longer: a tensor of torch.int64 with one element, on the
            same device.

    Raises:
        MismatchError: The message has another number of elements than the shape, or another type.
        UnsupportedError: torch has no such type.
        DeviceError: The GPU of the message cannot be used.
        Error: As for `huffwire.decode`.
    """
    if isinstance(message, torch.Tensor) and (device := _device(message)) is not None:
        return _messages.decode(
            device,
            message,
            shape,
            dtype,
            codebooks=codebooks,
            context=context,
            max_size=max_size,
            check=check,
            length=length,
        )
    source = _message(message if length is None else _messages.shortened(message, length))
    name, size = _huffwire._check(source, codebooks, context, max_size)
    if dtype is not None and _name(dtype) != name:
        raise MismatchError(f"the message has elements of {name}, and dtype={dtype}")
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
    check: Checks | None = None,
    length: torch.Tensor | None = None,
) -> None:
    """Decodes a message into a tensor of the message's type and number of elements. Nothing is copied.

    If a block turns out to be damaged, every byte of the tensor is set to 0xff. All other errors leave it as
    it was. On a GPU every error in a message sets the bytes, and a check that is postponed sets none.

    >>> import torch, huffwire.torch
    >>> tensor = torch.zeros(50, 2, dtype=torch.int64)
    >>> huffwire.torch.decode_into(huffwire.torch.encode(torch.arange(100)), tensor)
    >>> tensor[49]
    tensor([98, 99])

    Args:
        message: As for `decode`, like all arguments that are not named here.
        tensor: A contiguous tensor on the device of the message. If it requires gradients, it is written to all the
            same, as under torch.no_grad(). A message of the CPU may be decoded into a tensor of a GPU: its coded
            bytes are copied there.

    Raises:
        OutputError: The tensor has another size than the message's elements, is on another device, not
            contiguous, has no memory of its own, or overlaps the message.
        MismatchError: The tensor has another type than the message.
        Error: As for `huffwire.decode`.
    """
    device = _device(tensor)
    if device is not None:
        _messages.decode_into(
            device,
            message,
            tensor,
            codebooks=codebooks,
            context=context,
            max_size=max_size,
            check=check,
            length=length,
        )
        return
    _target(tensor)
    if length is not None:
        message = _messages.shortened(message, length)
    source, name, target = _message(message), _name(tensor.dtype), _address(tensor)
    # Also if decoding fails, the tensor may have been written to.
    _changed(tensor)
    _huffwire._decode_into(source, name, target, codebooks, threads, context, max_size)


def _device(tensor: object) -> Device | None:
    """The device whose kernels code a tensor; None for tensors of the CPU, and for what is no tensor."""
    # Most tensors are of the CPU, and small ones are coded in microseconds: they are asked one question.
    if not isinstance(tensor, torch.Tensor) or (tensor.is_cpu and _torch_device.STAND_IN is None):
        return None
    return _torch_device.device_for(tensor.device)
