"""Tensors of `.hw` files, decoded on the device on which they are wanted: only coded bytes cross to it."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path

import torch

from huffwire._errors import DamagedError, Error, FileError
from huffwire._files import Entry
from huffwire._huffwire import Codebooks
from huffwire._tensors import _CPU, _dtype
from huffwire.cuda import _decode, _items
from huffwire.cuda._device import Device, Span
from huffwire.cuda._items import Item
from huffwire.cuda._torch_device import span_of, tables_for
from huffwire.cuda._types import MAX_UNITS, TYPES

# So many messages are on their way to the device before the first of them is checked: while it decodes some, the next
# are read from the file.
_AHEAD = 4


def load(
    entries: Sequence[Entry], device: Device, place: torch.device
) -> Iterator[tuple[Entry, torch.Tensor]]:
    """Decodes tensors of files on a device.

    Args:
        entries: The tensors. Those that kernels do not decode are left out: deltas, quantized values, types that PyTorch
            does not have, codebooks that are not at hand, and bytes that are in no file.
        device: What decodes.
        place: The same device, as PyTorch names it.

    Returns:
        Tensors whose messages have been checked, in the order of the entries.

    Raises:
        Error: As for `huffwire.torch.load_file`.
    """
    pending: deque[tuple[Entry, torch.Tensor, Span]] = deque()
    for path, group in _by_path(entries).items():
        try:
            file = path.open("rb")
        except OSError as error:
            raise FileError(error.errno, f"{path}: {error.strerror}") from None
        with file:
            sets = {one.id: one for one in [Codebooks.builtin(), *group[0].reader.codebooks()]}
            found = [item for item in _items.items(file, path) if item.name is not None]
            for entry in group:
                item = found[entry.place] if entry.place < len(found) else None
                if item is None or (item.name, item.size) != (entry.name, entry.size):
                    raise DamagedError(f"{path}: it has changed since it was opened")
                codebooks = sets.get(item.set.hex())
                if codebooks is None or not _is_served(entry, item):
                    continue
                message = _message(file, path, item, place)
                tensor, status = _start(device, message, entry, codebooks, place)
                pending.append((entry, tensor, status))
                if len(pending) > _AHEAD:
                    yield _checked(device, *pending.popleft())
    while pending:
        yield _checked(device, *pending.popleft())


def _by_path(entries: Sequence[Entry]) -> dict[Path, list[Entry]]:
    groups: dict[Path, list[Entry]] = {}
    for entry in entries:
        if entry.path is not None:
            groups.setdefault(entry.path, []).append(entry)
    return groups


def _is_served(entry: Entry, item: Item) -> bool:
    """Whether kernels can decode an item into a tensor."""
    kind = TYPES.get(entry.dtype or "")
    if kind is None or kind.number != item.type or item.kind != _items.TENSOR_KIND:
        return False
    return item.size // kind.unit <= MAX_UNITS


def _message(file: BufferedReader, path: Path, item: Item, place: torch.device) -> torch.Tensor:
    """An item as a message in the memory of the device. Its bytes may still be on their way."""
    head = item.head()
    size = len(head) + sum(item.lengths)
    # From pinned memory, which PyTorch keeps for as long as the copy needs it.
    here = torch.empty(size, dtype=torch.uint8, device=_CPU, pin_memory=place.type == "cuda")
    view = memoryview((ctypes.c_char * size).from_address(here.data_ptr())).cast("B")
    view[: len(head)] = head
    try:
        file.seek(item.start)
        read = file.readinto(view[len(head) :])
    except OSError as error:
        raise FileError(error.errno, f"{path}: {error.strerror}") from None
    if read != size - len(head):
        raise DamagedError(f"{path}: it is shorter than when it was opened")
    return here.to(place, non_blocking=True)


def _start(
    device: Device, message: torch.Tensor, entry: Entry, codebooks: Codebooks, place: torch.device
) -> tuple[torch.Tensor, Span]:
    """Begins to decode a message; returns the tensor, and where the result of the check will be."""
    dtype, kind = _dtype(entry.dtype or ""), TYPES[entry.dtype or ""]
    tensor = torch.empty(entry.stored_shape(), dtype=dtype, device=place)
    units = entry.size // kind.unit
    books = tables_for(device, [codebooks])
    status = _decode.decode(device, books, span_of(message), span_of(tensor), kind.number, units)
    return tensor, status


def _checked(
    device: Device, entry: Entry, tensor: torch.Tensor, status: Span
) -> tuple[Entry, torch.Tensor]:
    """Waits for a tensor."""
    try:
        _decode.check(device.read(status))
    except Error as error:
        raise type(error)(f"{entry.path}: tensor {entry.name!r}: {error}") from None
    return entry, tensor
