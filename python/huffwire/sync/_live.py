"""Tensors that are in use: what a version changes in them is decoded first, and then only written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

import torch

from huffwire._buffers import Sets
from huffwire._deltas import PreparedDelta
from huffwire._errors import MismatchError, OutputError
from huffwire._tensors import _changed, _dtype, _is_plain, _refusal
from huffwire._torch_deltas import delta_changes, prepare_delta
from huffwire._torch_files import _end
from huffwire.sync._versions import Item

# Integers by the bytes of an element. Types that PyTorch can hardly write to are written as these.
_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Change(NamedTuple):
    """What a version changes in a tensor. The subscriber writes the same tensors into its own, so nobody else may change
    them."""

    name: str
    """The name of the tensor."""
    indices: torch.Tensor | None
    """Places in the flattened tensor, ascending (torch.int64); None if ``values`` is the whole tensor."""
    values: torch.Tensor
    """The new elements."""


class InPlace:
    """A change that is written by huffwire, into memory of the CPU."""

    device = torch.device("cpu")

    def __init__(self, prepared: PreparedDelta, threads: int | None) -> None:
        self.changes = prepared.changes
        self._prepared = prepared
        self._threads = threads

    def write(self) -> None:
        """Writes the new elements."""
        self._prepared.commit(threads=self._threads)


class Scatter:
    """A change that PyTorch writes: on another device, or into a tensor that is not contiguous.

    Indices and values are on the device of the tensor before they are written.
    """

    def __init__(self, tensor: torch.Tensor, indices: torch.Tensor, values: torch.Tensor) -> None:
        self.changes = len(indices)
        self.device = tensor.device
        self._tensor = tensor
        self.indices = indices.to(tensor.device)
        self.values = as_words(values).to(tensor.device)
        self._places: tuple[torch.Tensor, ...] | None = None
        words = as_words(tensor)
        if self.changes and not words.is_contiguous():
            # Here, and not in the pause.
            self._places = tuple(torch.unravel_index(self.indices, words.shape))

    def write(self) -> None:
        """Writes the new elements."""
        if self.changes == 0:
            return
        words = as_words(self._tensor)
        if self._places is None:
            words.view(-1).index_copy_(0, self.indices, self.values)
        else:
            words.index_put_(self._places, self.values)
        _changed(self._tensor)


class Whole:
    """A tensor that is new as a whole."""

    def __init__(self, tensor: torch.Tensor, new: torch.Tensor) -> None:
        self.changes = new.numel()
        self.device = tensor.device
        self._tensor = tensor
        self.new = new.to(tensor.device)

    def write(self) -> None:
        """Copies the new tensor."""
        with torch.no_grad():
            as_words(self._tensor).copy_(as_words(self.new))
        _changed(self._tensor)


def finish_writing(devices: Iterable[torch.device]) -> None:
    """Waits until devices have done what they were given: their calls return before the work is done."""
    for device in set(devices):
        if device.type != "cpu":
            torch.accelerator.synchronize(device)


def as_words(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as integers, in the same memory."""
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    words = _WORDS[tensor.itemsize]
    return tensor if tensor.dtype == words else tensor.view(words)


Write = InPlace | Scatter | Whole


@dataclass
class Target:
    """A tensor, or rows of it, that an item of a version is written to."""

    item: Item
    tensor: torch.Tensor
    first: str
    """The key of the first item that is written to this memory: its own, unless tensors share memory."""

    def prepare(self, message: bytes | bytearray, codebooks: Sets, threads: int | None) -> Write:
        """Decodes a delta and checks it beside the tensor.

        Raises:
            WrongBaseError: The tensor has other elements than the delta was made for.
            DamagedError: The delta is damaged.
        """
        if is_written_by_huffwire(self.tensor):
            prepared = prepare_delta(message, self.tensor, codebooks=codebooks, threads=threads)
            return InPlace(prepared, threads)
        return Scatter(self.tensor, *self.changes(message, codebooks, threads))

    def changes(
        self, message: bytes | bytearray, codebooks: Sets, threads: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The changes that a delta makes, on the CPU, where it is decoded."""
        return delta_changes(message, self.tensor, codebooks=codebooks, threads=threads)


def is_written_by_huffwire(tensor: torch.Tensor) -> bool:
    """Whether a tensor is contiguous and in memory of the CPU; to others PyTorch writes."""
    return _is_plain(tensor)


def check_writable(name: str, tensor: torch.Tensor) -> None:
    """Refuses tensors without plain elements in memory.

    Raises:
        OutputError: It is sparse, quantized, nested, on the device meta, or of a class of its own.
    """
    refusal = _refusal(tensor)
    if refusal is not None:
        raise OutputError(f"tensor {name!r}: {refusal}")


def check_apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Of tensors with the same memory, by the name of each, the first one.

    Raises:
        OutputError: Tensors, or elements of one, have some memory in common, and tensors not all of it in the same order.
    """
    first: dict[tuple[object, ...], str] = {}
    names: dict[str, str] = {}
    areas: dict[torch.device, list[tuple[int, int, str]]] = {}
    for name, tensor in tensors.items():
        if tensor.numel() == 0:
            names[name] = name
            continue
        start = tensor.data_ptr()
        key = (tensor.device, start, tensor.dtype, tuple(tensor.shape), tensor.stride())
        names[name] = first.setdefault(key, name)
        if names[name] == name:
            areas.setdefault(tensor.device, []).append((start, _end(tensor), name))
    for device_areas in areas.values():
        # Areas that overlap: tensors in them may still lie between each other, such as columns of one matrix.
        group: list[str] = []
        reach = 0
        for start, end, name in sorted(device_areas):
            if start >= reach:
                _check_group({one: tensors[one] for one in group}, reach)
                group = []
            group.append(name)
            reach = max(reach, end)
        _check_group({one: tensors[one] for one in group}, reach)
    return names


def _check_group(tensors: Mapping[str, torch.Tensor], end: int) -> None:
    """Checks tensors that lie in one area of memory, which ends here, in order of where they start."""
    if len(tensors) < 2 and all(map(_is_spread, tensors.values())):
        return
    start = min(tensor.data_ptr() for tensor in tensors.values())
    unit = gcd(*(n for t in tensors.values() for n in (t.itemsize, t.data_ptr() - start)))
    taken = torch.zeros((end - start) // unit, dtype=torch.bool, device="cpu")
    before: list[str] = []
    count = 0
    for name, tensor in tensors.items():
        wide = tensor.itemsize // unit
        own = taken.as_strided(
            (*tensor.shape, wide),
            (*(wide * step for step in tensor.stride()), 1),
            (tensor.data_ptr() - start) // unit,
        )
        if own.any():
            others = " or ".join(map(repr, before))
            raise OutputError(
                f"tensors {others} and {name!r} share a part of their memory: give one of them"
            )
        own.fill_(True)
        count += own.numel()
        if int(taken.sum()) != count:
            raise OutputError(f"tensor {name!r} has elements that share memory: give a contiguous one")
        before.append(name)


def _is_spread(tensor: torch.Tensor) -> bool:
    """Whether strides alone tell that no two elements share memory."""
    reach = 1
    for step, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if step < reach:
                return False
            reach = step * (size - 1) + reach
    return True


def check_like(item: Item, tensor: torch.Tensor) -> None:
    """Refuses a tensor of another type or shape than the item that is written to it.

    Raises:
        MismatchError: It has another.
    """
    if tensor.dtype != _dtype(item.dtype) or tuple(tensor.shape) != item.shape:
        raise MismatchError(
            f"{item.key!r} is published as {_dtype(item.dtype)} of shape {item.shape}, and the tensor here is "
            f"{tensor.dtype} of shape {tuple(tensor.shape)}: give one like it"
        )


