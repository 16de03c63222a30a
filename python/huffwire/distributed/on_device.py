"""Pieces that are coded where their tensor is: on a GPU, so that only coded bytes cross to the processor, or none.

The payload is a message as all others are; whoever receives it does not learn where it was coded. So where pieces cross to
the processor (`codes`, `encode_into`, `decode_into`) each rank decides for itself, and a rank with a GPU and one without
understand each other. Where they stay on devices (`encode_there`), all ranks have kernels.
"""

from __future__ import annotations

import functools
import threading
import warnings

import torch

from huffwire._errors import DeviceError
from huffwire._huffwire import Codebooks
from huffwire._tensors import _NAMES
from huffwire.cuda import _encode, _messages, _torch_device
from huffwire.cuda._device import Device
from huffwire.cuda._messages import Checks

# Tests set this, so that tensors of the processor are coded as those of GPUs are.
CODE_ALL = False

# Only one thread loads kernels.
_loading = threading.Lock()


def codes(tensor: torch.Tensor) -> bool:
    """Whether pieces of a tensor are coded on its device."""
    if tensor.device.type != "cuda" and not CODE_ALL:
        return False
    return has_codes(tensor.dtype) and _has_kernels(tensor.device)


def has_codes(dtype: torch.dtype) -> bool:
    """Whether kernels code elements of a type."""
    return dtype in _NAMES


def has_own_kernel(dtype: torch.dtype) -> bool:
    """Whether a kernel of its own codes elements of a type, so that the speeds of bf16 tell something of it."""
    return _encode.has_own_kernel(_NAMES.get(dtype, ""))


def kernels_of(device: torch.device) -> Device | None:
    """The kernels of a device, on its current stream; None if it has none.

    Raises:
        DeviceError: They cannot be used.
    """
    with _loading:
        return _torch_device.device_for(device)


@functools.cache
def _has_kernels(device: torch.device) -> bool:
    """Whether a device has kernels. Where they cannot be loaded, the processor codes, and a warning says why."""
    try:
        return kernels_of(device) is not None
    except DeviceError as error:
        warnings.warn(
            f"tensors of {device} are copied to the processor and coded there: {error}", stacklevel=2
        )
        return False


def encode_into(
    elements: torch.Tensor, codebooks: Codebooks | None, context: int, target: torch.Tensor
) -> int | None:
    """Encodes elements on their device, and copies the message to memory of the processor.

    Args:
        elements: A flat tensor.
        codebooks, context: As for `huffwire.encode`.
        target: A flat tensor of torch.uint8 on the processor.

    Returns:
        The length of the message; None if it is longer than the target. A GPU has smaller blocks than the processor, so
        that its messages may be longer where nothing can be saved.
    """
    device = _torch_device.device_for(elements.device)
    assert device is not None, "`codes` was asked before"
    message = _messages.encode(
        device,
        elements,
        level="fast",
        symbols="auto",
        codebooks=codebooks,
        checksums=True,
        threads=1,
        context=context,
    )
    length = message.numel()
    if length > target.numel():
        return None
    target[:length].copy_(message)
    return length


def decode_into(
    message: torch.Tensor,
    codebooks: Codebooks | None,
    context: int,
    elements: torch.Tensor,
    check: Checks | None = None,
) -> None:
    """Decodes a message on the device of the elements, to which it is copied if it is on the processor.

    Args:
        message: A flat tensor of torch.uint8.
        codebooks, context: As for `huffwire.decode_into`.
        elements: A flat tensor, which is written.
        check: Tells later whether the message was whole, and nobody waits. None: it is checked when this returns.

    Raises:
        Error: The message is damaged, or another one than is expected.
    """
    device = kernels_of(elements.device)
    assert device is not None, "it was asked before"
    _messages.decode_into(
        device,
        message,
        elements,
        codebooks=codebooks,
        context=context,
        max_size=None,
        check=check,
        length=None,
    )


def bound(dtype: torch.dtype, size: int) -> int:
    """The most bytes of a message of so many bytes of elements that kernels make."""
    return _messages.bound(_NAMES[dtype], size)


def encode_there(
    elements: torch.Tensor,
    codebooks: Codebooks | None,
    context: int,
    room: torch.Tensor,
    length: torch.Tensor,
) -> None:
    """Encodes elements into memory of their device. Nobody waits.

    Args:
        elements: A flat tensor.
        codebooks, context: As for `huffwire.encode`.
        room: A flat tensor of torch.uint8, of at least `bound` bytes.
        length: A tensor of torch.int64 with one element, to which the length of the message is written.
    """
    device = kernels_of(elements.device)
    assert device is not None, "ranks agree on kernels before"
    _messages.encode_into(
        device,
        elements,
        room,
        length,
        level="fast",
        symbols="auto",
        codebooks=codebooks,
        checksums=True,
        threads=1,
        context=context,
    )
