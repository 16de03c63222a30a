"""Pieces that are coded where their tensor is: on a GPU, so that only coded bytes cross to the processor.

The payload is a message as all others are; whoever receives it does not learn where it was coded. So each rank decides for
itself, and a rank with a GPU and one without understand each other.
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

# Tests set this, so that tensors of the processor are coded as those of GPUs are.
CODE_ALL = False

# Only one thread loads kernels.
_loading = threading.Lock()


def codes(tensor: torch.Tensor) -> bool:
    """Whether pieces of a tensor are coded on its device."""
    if tensor.device.type != "cuda" and not CODE_ALL:
        return False
    # What kernels would store as it is may become smaller when the processor codes it.
    return _encode.has_codes(_NAMES.get(tensor.dtype, "")) and _has_kernels(tensor.device)


@functools.cache
def _has_kernels(device: torch.device) -> bool:
    """Whether a device has kernels. Where they cannot be loaded, the processor codes, and a warning says why."""
    try:
        with _loading:
            return _torch_device.device_for(device) is not None
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
    message: torch.Tensor, codebooks: Codebooks | None, context: int, elements: torch.Tensor
) -> None:
    """Copies a message to the device of the elements, and decodes it there. It is checked when this returns.

    Args:
        message: A flat tensor of torch.uint8 on the processor.
        codebooks, context: As for `huffwire.decode_into`.
        elements: A flat tensor, which is written.

    Raises:
        Error: The message is damaged, or another one than is expected.
    """
    device = _torch_device.device_for(elements.device)
    assert device is not None, "`codes` was asked before"
    _messages.decode_into(
        device,
        message,
        elements,
        codebooks=codebooks,
        context=context,
        max_size=None,
        check=None,
        length=None,
    )
