"""Tensors of a GPU as messages in its memory, and back: what `huffwire.torch` does for them.

A message that is in the memory of the GPU stays there, and so does a tensor. The host learns two things at most: how
long a message is, and whether one was whole. It waits for them unless the caller wants to ask later.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from huffwire import _huffwire, _shapes
from huffwire._buffers import Level, Sets, Symbols
from huffwire._errors import (
    DamagedError,
    LimitError,
    MismatchError,
    OptionError,
    OutOfMemoryError,
    OutputError,
    UnsupportedError,
)
from huffwire._huffwire import Codebooks
from huffwire._tensors import _address, _changed, _dtype, _name, _refusal
from huffwire.cuda import _decode, _encode
from huffwire.cuda._device import Device, Span
from huffwire.cuda._torch_device import span_of, tables_for, tensor_of
from huffwire.cuda._types import MAX_UNITS, TYPES

if TYPE_CHECKING:
    from huffwire._tensors import Memory

_HEADER_BYTES = 16


class Checks:
    """Checks of messages that are decoded on a GPU, for later. Many messages are then decoded without waiting.

    >>> import torch, huffwire.torch
    >>> message = huffwire.torch.encode(torch.ones(3))
    >>> checks = huffwire.torch.Checks()
    >>> tensor = huffwire.torch.decode(message, 3, check=checks)
    >>> checks.wait()

    Until `wait` has returned, nobody knows whether the tensors are what was encoded. Messages of the CPU are checked at
    once.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[Device, Span]] = []

    def __len__(self) -> int:
        """How many messages are not yet checked."""
        return len(self._pending)

    def add(self, device: Device, status: Span) -> None:
        """Keeps what a decoder will have found. For this package."""
        self._pending.append((device, status))

    def failed(self) -> torch.Tensor | None:
        """How many messages are damaged or do not fit: a number on their device, which is there when they are decoded.
        Nobody waits for it here, and `wait` still tells which they are. None if there are no messages. For this package.
        """
        if not self._pending:
            return None
        reports = [tensor_of(status)[:8].view(torch.int64) for _, status in self._pending]
        return (torch.cat(reports) != _decode.WHOLE).sum()

    def wait(self) -> None:
        """Waits until all messages are decoded.

        Raises:
            Error: The first one that is damaged, or does not fit, as for `decode`. The others are forgotten.
        """
        pending, self._pending = self._pending, []
        for device, status in pending:
            _decode.check(device.read(status))


def encode(
    device: Device,
    tensor: torch.Tensor,
    *,
    level: Level,
    symbols: Symbols,
    codebooks: Codebooks | None,
    checksums: bool,
    threads: int | None,
    context: int | None,
    block_size: int | None = None,
) -> torch.Tensor:
    """A tensor of a device as a message there, of exactly the message's length."""
    source, name = source_of(tensor)
    if not _kernels_encode(level, symbols):
        message = _on_host(source, name, level, symbols, codebooks, checksums, threads, context, block_size)
        return message.to(tensor.device)
    units = _units(source, name)
    room = torch.empty(bound(name, source.nbytes, block_size), dtype=torch.uint8, device=tensor.device)
    length = _launch_encoder(device, source, name, units, room, codebooks, checksums, context, block_size)
    # A copy, so that what the message does not need is free again.
    return room[: _number(device, length)].clone()


def encode_into(
    device: Device,
    tensor: torch.Tensor,
    buffer: torch.Tensor,
    length: torch.Tensor | None,
    *,
    level: Level,
    symbols: Symbols,
    codebooks: Codebooks | None,
    checksums: bool,
    threads: int | None,
    context: int | None,
    block_size: int | None = None,
) -> int | None:
    """Encodes a tensor of a device into a buffer there. The length is returned, or written to `length`."""
    source, name = source_of(tensor)
    _check_buffer(buffer, tensor.device)
    check_length(length, tensor.device)
    _check_apart(source, buffer)
    if not _kernels_encode(level, symbols):
        message = _on_host(source, name, level, symbols, codebooks, checksums, threads, context, block_size)
        _check_room(buffer, len(message))
        _changed(buffer)
        buffer.detach()[: len(message)].copy_(message)
        if length is None:
            return len(message)
        length.fill_(len(message))
        return None
    units = _units(source, name)
    _check_room(buffer, bound(name, source.nbytes, block_size))
    _changed(buffer)
    written = _launch_encoder(device, source, name, units, buffer, codebooks, checksums, context, block_size)
    if length is None:
        return _number(device, written)
    length.view(-1).copy_(tensor_of(written).view(torch.int64))
    return None


def decode(
    device: Device,
    message: torch.Tensor,
    shape: int | Sequence[int] | None,
    dtype: torch.dtype | None,
    *,
    codebooks: Sets,
    context: int | None,
    max_size: int | None,
    check: Checks | None,
    length: torch.Tensor | None,
) -> torch.Tensor:
    """Decodes a message in the memory of a device into a new tensor there."""
    _check_message(message, message.device)
    check_length(length, message.device)
    if shape is None or dtype is None:
        name, size = _header(device, message, context)
        found = _dtype(name)
        if dtype is not None and dtype != found:
            raise MismatchError(f"the message has elements of {found}, and dtype={dtype}")
        dtype = found
        sizes = _shapes.of_message(shape, size // dtype.itemsize)
    else:
        sizes = _shapes.checked(shape)
    _check_size(_shapes.elements(sizes) * dtype.itemsize, max_size)
    try:
        tensor = torch.empty(sizes, dtype=dtype, device=message.device)
    except RuntimeError as error:
        raise OutOfMemoryError(f"{_shapes.elements(sizes) * dtype.itemsize} bytes are needed: {error}") from None
    _launch_decoder(device, message, tensor, codebooks, context, check, length)
    return tensor


def decode_into(
    device: Device,
    message: Memory,
    tensor: torch.Tensor,
    *,
    codebooks: Sets,
    context: int | None,
    max_size: int | None,
    check: Checks | None,
    length: torch.Tensor | None,
) -> None:
    """Decodes a message of the CPU or of the device of a tensor into the tensor."""
    target_of(tensor)
    if not isinstance(message, torch.Tensor):
        message = _uploaded(message, tensor.device)
    elif message.device.type == "cpu":
        _check_message(message, message.device)
        message = message.to(tensor.device)
    else:
        _check_message(message, tensor.device)
    check_length(length, tensor.device)
    _check_size(tensor.nbytes, max_size)
    _check_apart(message, tensor)
    _changed(tensor)
    _launch_decoder(device, message, tensor, codebooks, context, check, length)


# What is launched.


def _kernels_encode(level: Level, symbols: Symbols) -> bool:
    """Whether kernels make the messages of these options. Others are made on the CPU."""
    return level == "fast" and symbols == "auto"


def _launch_encoder(
    device: Device,
    source: torch.Tensor,
    name: str,
    units: int,
    room: torch.Tensor,
    codebooks: Codebooks | None,
    checksums: bool,
    context: int | None,
    block_size: int | None,
) -> Span:
    """Encodes into a buffer; returns where the length of the message will be."""
    books = Codebooks.builtin() if codebooks is None else codebooks
    return _encode.encode(
        device,
        tables_for(device, [books]),
        span_of(source),
        TYPES[name].number,
        units,
        span_of(room),
        codebooks=books,
        block_size=block_size,
        checksums=checksums,
        context=context,
    )


def _launch_decoder(
    device: Device,
    message: torch.Tensor,
    tensor: torch.Tensor,
    codebooks: Sets,
    context: int | None,
    check: Checks | None,
    length: torch.Tensor | None,
) -> None:
    """Decodes, and checks the message now or later."""
    name = _name(tensor.dtype)
    status = _decode.decode(
        device,
        tables_for(device, _sets(codebooks)),
        span_of(message),
        span_of(tensor),
        TYPES[name].number,
        _units(tensor, name),
        length=None if length is None else span_of(length),
        context=context,
    )
    if check is not None:
        check.add(device, status)
        return
    try:
        _decode.check(device.read(status))
    except Exception:
        # Nobody shall take for data what a damaged message has left. In most floats this is a NaN.
        tensor.detach().view(-1).view(torch.uint8).fill_(0xFF)
        raise


def _on_host(
    source: torch.Tensor,
    name: str,
    level: Level,
    symbols: Symbols,
    codebooks: Codebooks | None,
    checksums: bool,
    threads: int | None,
    context: int | None,
    block_size: int | None,
) -> torch.Tensor:
    """A message that the CPU encodes, in its memory."""
    here = source.cpu()
    message = _huffwire._encode(
        _address(here), name, level, symbols, codebooks, checksums, threads, context, block_size
    )
    return torch.frombuffer(bytearray(message), dtype=torch.uint8)


def _number(device: Device, span: Span) -> int:
    """A number of 64 bits that a kernel wrote. Waits for it."""
    number: int = struct.unpack("<Q", device.read(span))[0]
    return number


def _header(device: Device, message: torch.Tensor, context: int | None) -> tuple[str, int]:
    """Element type and bytes of the elements of a message, from its header. Waits for it."""
    if len(message) < _HEADER_BYTES:
        raise DamagedError(f"a message has {_HEADER_BYTES} bytes or more, and this one {len(message)}")
    header = _huffwire._inspect(device.read(span_of(message[:_HEADER_BYTES])), context)
    if header.kind != "tensor":
        raise MismatchError(
            f"the message holds no tensor but {header.kind}: decode message.cpu() with the function for that"
        )
    # Each block has a length of 4 bytes and at least one byte, so that a short message cannot ask for any memory.
    blocks = -(-header.size // header.block_size)
    if len(message) < _HEADER_BYTES + 5 * blocks:
        raise DamagedError(f"a message of {len(message)} bytes cannot have {blocks} blocks: it is cut short")
    return header.dtype, header.size


# What is checked before.


def source_of(tensor: torch.Tensor) -> tuple[torch.Tensor, str]:
    """A contiguous tensor that is encoded, and huffwire's name of its type.

    Raises:
        UnsupportedError: It has no plain elements.
    """
    refusal = _refusal(tensor)
    if refusal is not None:
        raise UnsupportedError(refusal)
    return tensor.detach().contiguous(), _name(tensor.dtype)


def target_of(tensor: torch.Tensor) -> None:
    """Checks a tensor that is written to.

    Raises:
        OutputError: It cannot be.
    """
    refusal = _refusal(tensor)
    if refusal is not None:
        raise OutputError(f"the output: {refusal}")
    if not tensor.is_contiguous():
        raise OutputError("the output is not contiguous: decode into one that is, and copy it")


def shortened(message: Memory, length: torch.Tensor) -> Memory:
    """The start of a buffer of the CPU that a message fills.

    Raises:
        OptionError: The length is none of the buffer.
    """
    check_length(length, torch.device("cpu"))
    whole = message if isinstance(message, torch.Tensor) else memoryview(message).cast("B")
    size = int(length)
    if not 0 <= size <= len(whole):
        raise OptionError(f"length={size}: the buffer of the message has {len(whole)} bytes")
    return whole[:size]


def _sets(codebooks: Sets) -> list[Codebooks]:
    given = [] if codebooks is None else [codebooks] if isinstance(codebooks, Codebooks) else [*codebooks]
    for one in given:
        if not isinstance(one, Codebooks):
            raise OptionError(f"codebooks={codebooks!r}: give a huffwire.Codebooks, or a list of them")
    builtin = Codebooks.builtin()
    return [builtin, *(one for one in given if one != builtin)]


def _units(tensor: torch.Tensor, name: str) -> int:
    units = tensor.nbytes // TYPES[name].unit
    if units > MAX_UNITS:
        raise LimitError(f"a message has at most {MAX_UNITS} elements, and the tensor has {tensor.numel()}")
    return units


def bound(name: str, size: int, block_size: int | None = None) -> int:
    """The longest message that kernels make of so many bytes of elements.

    Raises:
        OptionError: No block can have so many bytes.
    """
    # The codec for processors knows what sizes there are.
    longest = _huffwire._max_encoded_size(name, size, block_size)
    if block_size is not None:
        return longest
    kind = TYPES[name]
    return _encode.bound(kind.number, size // kind.unit, _encode.default_block_size(size, kind.number))


def _check_message(message: torch.Tensor, device: torch.device) -> None:
    refusal = _refusal(message)
    if refusal is None and not (message.dtype == torch.uint8 and message.dim() == 1 and message.is_contiguous()):
        refusal = "give a contiguous tensor of torch.uint8 and one dimension"
    if refusal is None and message.device != device:
        refusal = f"it is on {message.device}, and the output on {device}: both have to be on one device"
    if refusal is not None:
        raise UnsupportedError(f"a message in a tensor: {refusal}")


def _check_buffer(buffer: torch.Tensor, device: torch.device) -> None:
    target_of(buffer)
    if buffer.dtype != torch.uint8:
        raise OutputError(f"the output is a tensor of {buffer.dtype}: give one of torch.uint8")
    if buffer.device != device:
        raise OutputError(f"the output is on {buffer.device}, and the tensor on {device}")


def _check_room(buffer: torch.Tensor, needed: int) -> None:
    if buffer.nbytes < needed:
        raise OutputError(
            f"the output has {buffer.nbytes} bytes, and {needed} may be needed: see "
            "huffwire.torch.max_encoded_size with the tensor's device"
        )


def check_length(length: torch.Tensor | None, device: torch.device) -> None:
    """Checks where the length of a message is, or is written to.

    Raises:
        OptionError: It is nothing that can hold a length there.
    """
    if length is None:
        return
    plain = isinstance(length, torch.Tensor) and _refusal(length) is None and length.is_contiguous()
    if not plain or length.dtype != torch.int64 or length.numel() != 1 or length.device != device:
        raise OptionError(f"length=: give a tensor of torch.int64 with one element on {device}")


def _check_size(size: int, max_size: int | None) -> None:
    if max_size is not None and size > max_size:
        raise LimitError(f"the elements have {size} bytes, and max_size is {max_size}")


def _check_apart(source: torch.Tensor, output: torch.Tensor) -> None:
    """Refuses an output in the memory that is read."""
    first, second = span_of(source), span_of(output)
    if first.address < second.address + second.size and second.address < first.address + first.size:
        raise OutputError("the output overlaps the input: give memory of its own")


def _uploaded(message: Memory, device: torch.device) -> torch.Tensor:
    """A message of the CPU in the memory of a device."""
    data = bytearray(message)
    return torch.frombuffer(data, dtype=torch.uint8).to(device) if data else torch.empty(0, dtype=torch.uint8, device=device)


