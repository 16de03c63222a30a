"""Tensors of all devices as flat memory of the processor, piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from huffwire._errors import UnsupportedError
from huffwire.distributed import on_device
from huffwire.distributed.errors import DisagreementError
from huffwire._tensors import _refusal

# Tests set this, so that tensors of the processor take the way of all other devices.
STAGE_ALL = False

_PROCESSOR = torch.device("cpu")


def flat(tensor: torch.Tensor, what: str) -> torch.Tensor:
    """A tensor as a view of one dimension.

    Raises:
        UnsupportedError: It has no memory of its own, or is not contiguous.
    """
    refusal = _refusal(tensor)
    if refusal is not None:
        raise UnsupportedError(f"{what}: {refusal}")
    if not tensor.is_contiguous():
        raise UnsupportedError(f"{what} is not contiguous: give tensor.contiguous()")
    return tensor.detach().view(-1)


def check_same(output: torch.Tensor, elements: int, like: torch.Tensor, what: str) -> None:
    """Checks that an output has the type, the device and the number of elements that a call needs.

    Raises:
        DisagreementError: It has not.
    """
    if output.dtype != like.dtype or output.device != like.device:
        raise DisagreementError(
            f"{what} is a tensor of {output.dtype} on {output.device}, and the input one of {like.dtype} on "
            f"{like.device}: give both the same type and device"
        )
    if output.numel() != elements:
        raise DisagreementError(f"{what} has {output.numel()} elements, and {elements} are needed")


class Scratch:
    """Memory for one piece, made when it is first needed, and kept.

    Args:
        size: Its bytes; more if more are needed.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._memory: dict[tuple[torch.device, bool], torch.Tensor] = {}

    def elements(
        self,
        dtype: torch.dtype,
        count: int,
        pinned: bool = False,
        device: torch.device = _PROCESSOR,
    ) -> torch.Tensor:
        """Room for so many elements of a type."""
        key = device, pinned
        memory, needed = self._memory.get(key), count * dtype.itemsize
        if memory is None or memory.numel() < needed:
            size = max(self._size, needed)
            memory = torch.empty(size, dtype=torch.uint8, pin_memory=pinned, device=device)
            self._memory[key] = memory
        return memory[:needed].view(dtype)


class _Streams(threading.local):
    """The streams of a thread, one for each device. Allocators of devices keep memory by streams: with a new stream for each
    call they would hold scratch memory many times."""

    def __init__(self) -> None:
        self._streams: dict[torch.device, torch.Stream] = {}

    def of(self, device: torch.device) -> torch.Stream:
        stream = self._streams.get(device)
        if stream is None:
            stream = self._streams[device] = torch.get_device_module(device).Stream(device)
        return stream


_streams = _Streams()


class Memory:
    """A flat tensor that is read and written piece by piece, as memory of the processor.

    Pieces of a tensor on another device are copied to the processor and back, through pinned memory, unless they are
    coded on the device: see `codes_there`. What the device still has to do for the tensor is waited for on the device, by
    a stream of its own.

    Args:
        tensor: A flat tensor, as `flat` returns it.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.dtype = tensor.dtype
        self.codes_there = on_device.codes(tensor)
        """Whether coded pieces are encoded and decoded on the tensor's device."""
        self._staged = STAGE_ALL or self.codes_there or tensor.device.type != "cpu"
        self._pinned = tensor.device.type == "cuda"
        self._event = None
        if tensor.device.type != "cpu":
            module = torch.get_device_module(tensor.device)
            self._event = module.current_stream(tensor.device).record_event()

    @property
    def is_here(self) -> bool:
        """Whether the tensor's own memory is the processor's."""
        return not self._staged

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """The stream on which a thread copies pieces. What was copied on it is complete at the end, also after an error:
        whoever called may then free the tensor."""
        if self._event is None:
            yield
            return
        module = torch.get_device_module(self.tensor.device)
        stream = _streams.of(self.tensor.device)
        stream.wait_event(self._event)
        try:
            with module.stream(stream):
                yield
        finally:
            # Nobody else waits for a copy within the device.
            stream.synchronize()

    def read(self, start: int, stop: int, scratch: Scratch) -> torch.Tensor:
        """Some elements, in the memory of the processor: the tensor's own or the scratch's."""
        piece = self.tensor[start:stop]
        if not self._staged:
            return piece
        room = scratch.elements(self.dtype, stop - start, self._pinned)
        return room.copy_(piece)

    def room(self, start: int, stop: int, scratch: Scratch) -> torch.Tensor:
        """Memory of the processor that elements are written to; `keep` then brings them to the tensor."""
        if not self._staged:
            return self.tensor[start:stop]
        return scratch.elements(self.dtype, stop - start, self._pinned)

    def keep(self, start: int, stop: int, room: torch.Tensor) -> None:
        """Brings what was written to the room to the tensor."""
        if self._staged:
            self.tensor[start:stop].copy_(room)

    def there(self, start: int, stop: int) -> torch.Tensor:
        """Some elements, in the memory of the tensor's device."""
        return self.tensor[start:stop]

    def finish_there(self) -> None:
        """Waits until what was written on the device is there for other streams."""
        if self._event is not None:
            torch.get_device_module(self.tensor.device).current_stream(self.tensor.device).synchronize()
