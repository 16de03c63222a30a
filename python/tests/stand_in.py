"""Tensors of the CPU in the place of tensors of a GPU, whose kernels an emulator runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from emulated import EmulatedDevice

from huffwire.cuda import _torch_device
from huffwire.cuda._device import ALIGNMENT, Span


class StandIn(EmulatedDevice):
    """The emulator with memory of PyTorch, as `huffwire.cuda._torch_device.TorchDevice` has it."""

    def empty(self, size: int) -> Span:
        whole = torch.full((size + ALIGNMENT,), 0xA5, dtype=torch.uint8, device="cpu")
        start = -whole.data_ptr() % ALIGNMENT
        memory = whole[start : start + size]
        return Span(memory.data_ptr(), size, memory)


@contextmanager
def gpu() -> Iterator[StandIn]:
    """Within it the package takes the CPU for a GPU. Yields the device, which knows what was launched."""
    device = StandIn()
    with mock.patch.object(_torch_device, "STAND_IN", device):
        yield device
