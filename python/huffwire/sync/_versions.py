"""The file of a version: a `.hw` file whose tensors are plain ones or deltas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from huffwire import _huffwire
from huffwire._buffers import Level, Sets, Symbols
from huffwire._disk import system_errors
from huffwire._errors import DamagedError, OutOfMemoryError, UnsupportedError
from huffwire._huffwire import Codebooks, FileReader, FileWriter
from huffwire._tensors import _address, _dtype, _name, _refusal, _source
from huffwire.sync._manifest import File
from huffwire.sync._names import check_name

# The key of the metadata under which a version keeps what belongs to it.
_METADATA = "huffwire.sync"


@dataclass(frozen=True)
class Options:
    """How versions are encoded and decoded."""

    level: Level = "fast"
    symbols: Symbols = "auto"
    codebooks: Codebooks | None = None
    threads: int | None = None


class Item(NamedTuple):
    """What a version has for a tensor, or for some of its rows."""

    key: str
    """Its name in the file."""
    name: str
    """The name of the tensor."""
    rows: tuple[int, int] | None
    """Its rows; None if it is the whole tensor."""
    dtype: str
    """huffwire's name of the element type."""
    shape: tuple[int, ...]
    """The shape of these rows, as PyTorch has it."""


def item_of(fields: object) -> Item:
    """An item, of the list of its fields as JSON has it.

    Raises:
        ValueError: It is no item.
    """
    if not isinstance(fields, list) or len(fields) != len(Item._fields):
        raise ValueError("no item")
    key, name, rows, dtype, shape = fields
    if not all(isinstance(text, str) for text in (key, name, dtype)) or not _are_counts(shape):
        raise ValueError(f"item {key!r}")
    if rows is not None and not (_are_rows(rows) and shape and rows[1] - rows[0] == shape[0]):
        raise ValueError(f"the rows of {key!r}")
    return Item(key, name, None if rows is None else (rows[0], rows[1]), dtype, tuple(shape))


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _are_rows(values: object) -> bool:
    return isinstance(values, list) and _are_counts(values) and len(values) == 2


def items_of(tensors: Mapping[str, torch.Tensor], split: int) -> dict[str, tuple[Item, torch.Tensor]]:
    """What tensors are published as: tensors of several dimensions in at most ``split`` parts of equally many rows.

    Raises:
        UnsupportedError: Something is no tensor with elements in memory, or its name is no text, or that of a part of
            another tensor.
    """
    if not isinstance(tensors, Mapping):
        raise UnsupportedError("give a dictionary of tensors by their names")
    items: dict[str, tuple[Item, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        check_name(name)
        refusal = _refusal(tensor)
        if refusal is not None:
            raise UnsupportedError(f"tensor {name!r}: {refusal}")
        parts: Iterable[torch.Tensor] = [tensor]
        if split > 1 and tensor.dim() > 1 and tensor.shape[0] > 1:
            parts = tensor.detach().chunk(split)
        first = 0
        for part in parts:
            rows = None if part is tensor else (first, first + part.shape[0])
            key = name if rows is None else f"{name}[{rows[0]}:{rows[1]}]"
            if key in items:
                raise UnsupportedError(
                    f"{key!r} is the name of a tensor, and of a part of {key.partition('[')[0]!r}: give it another name, or "
                    "publish with split=1"
                )
            items[key] = Item(key, name, rows, _name(part.dtype), tuple(part.shape)), part
            first = rows[1] if rows else 0
    return items


class VersionWriter:
    """Writes the file of a version. Items are announced at the start, and added in the order that `order` has."""

    def __init__(
        self,
        path: Path,
        items: Iterable[Item],
        options: Options,
        hashes: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path
        self._items = {item.key: item for item in items}
        parts = {i.key: [i.name, *i.rows] for i in self._items.values() if i.rows is not None}
        about: dict[str, Any] = {"parts": parts}
        if hashes is not None:
            about["hashes"] = dict(hashes)
        described = [(i.key, i.dtype, _values_shape(i)) for i in self._items.values()]
        header, self.order = _huffwire.safetensors_header(
            path.name, described, {_METADATA: json.dumps(about)}
        )
        self._writer = FileWriter(
            path,
            level=options.level,
            symbols=options.symbols,
            codebooks=options.codebooks,
            threads=options.threads,
        )
        self._writer.begin_original("version.safetensors")
        self._writer.add_bytes(header)

    def add(self, key: str, tensor: torch.Tensor) -> None:
        """Adds a tensor as it is."""
        item = self._items[key]
        source, _ = _source(tensor)
        self._writer.add([(key, item.dtype, _values_shape(item), _address(source))])

    def add_delta(self, key: str, message: bytes) -> None:
        """Adds a delta."""
        self._writer.add_delta(key, _values_shape(self._items[key]), message)

    def finish(self) -> File:
        """Completes the file and gives it its name."""
        self._writer.finish()
        return describe(self._path)

    def abort(self) -> None:
        """Removes what was written, unless it is finished."""
        self._writer.abort()


def describe(path: Path) -> File:
    """Name, size and hash of a file."""
    with system_errors(f"{path}: "):
        size, hash = _huffwire._hash_file(path)
    return File(path.name, size, hash)


@dataclass
class VersionReader:
    """Reads the file of a version."""

    path: Path
    state: str
    """The hash of the state that the version makes, see `huffwire.sync._manifest.state_of`."""
    threads: int | None = None
    items: dict[str, Item] = field(init=False)
    hashes: dict[str, str] | None = field(init=False)
    """The hash of each item, in a keyframe."""
    codebooks: Sets = field(init=False)
    """The codebooks that messages need besides the built-in ones."""

    def __post_init__(self) -> None:
        self._reader = FileReader(self.path)
        self.codebooks = self._reader.codebooks()
        originals = self._reader.originals()
        metadata = self._reader.metadata(0) if len(originals) == 1 else None
        self._places: dict[str, int] = {}
        self.items = {}
        try:
            about = json.loads((metadata or {})[_METADATA])
            parts: dict[str, Any] = about["parts"]
            self.hashes = about.get("hashes")
            for place, (key, _, dtype, shape, _, _) in enumerate(self._reader.tensors()):
                name, *rows = parts.get(key, [key])
                if dtype is None or key in self.items:
                    raise ValueError(f"tensor {key!r}")
                shape = _torch_shape(dtype, shape)
                self.items[key] = item_of([key, name, rows or None, dtype, list(shape)])
                self._places[key] = place
            if self.hashes is not None and not (
                isinstance(self.hashes, dict) and self.hashes.keys() == self.items.keys()
            ):
                raise ValueError("hashes of other tensors")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedError(f"{self.path} is no file of a version: {error!r}") from error

    def skip(self, key: str) -> None:
        """Leaves out an item: it is not read."""

    def is_delta(self, key: str) -> bool:
        """Whether an item is a delta."""
        return self._reader.is_delta(self._places[key])

    def message(self, key: str) -> bytes:
        """An item that is a delta, as a message."""
        return self._reader.delta_message(self._places[key])

    def decode_into(self, key: str, tensor: torch.Tensor) -> None:
        """Decodes an item that is no delta into a contiguous tensor on the CPU."""
        self._reader.decode(
            [(self._places[key], None, _address(tensor))], threads=self.threads
        )

    def decode(self, key: str) -> torch.Tensor:
        """Decodes an item that is no delta into a new tensor."""
        item = self.items[key]
        tensor = empty(item.shape, _dtype(item.dtype))
        self.decode_into(key, tensor)
        return tensor


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A new tensor on the CPU.

    Raises:
        OutOfMemoryError: There is no memory for it.
    """
    try:
        return torch.empty(shape, dtype=dtype, device="cpu")
    except (RuntimeError, TypeError, OverflowError) as error:
        raise OutOfMemoryError(f"a tensor of {dtype} and shape {shape}: {error}") from None


def _values_shape(item: Item) -> tuple[int, ...]:
    """The shape in values: PyTorch has two 4-bit values in an element."""
    if item.dtype == "e2m1" and item.shape:
        return (*item.shape[:-1], 2 * item.shape[-1])
    return item.shape


def _torch_shape(dtype: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if dtype == "e2m1" and shape:
        return (*shape[:-1], shape[-1] // 2)
    return tuple(shape)
