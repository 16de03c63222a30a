"""The tensors of a subscriber, and how a version gets into them: decoded and checked first, then only written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch

from huffwire._buffers import Sets
from huffwire._disk import naming
from huffwire._errors import DamagedError, LimitError, MismatchError, OptionError
from huffwire._huffwire import _inspect_delta
from huffwire._tensors import _changed, _dtype
from huffwire._torch_deltas import content_hash
from huffwire.sync._live import (
    Change,
    Scatter,
    Target,
    Whole,
    Write,
    check_apart,
    check_like,
    check_writable,
    finish_writing,
    is_written_by_huffwire,
)
from huffwire.sync._manifest import state_of
from huffwire.sync._names import check_name
from huffwire.sync._versions import Item, VersionReader, empty

Pause = Callable[[], contextlib.AbstractContextManager[object]]
Rows = Mapping[str, tuple[int, int]]


class VersionSource(Protocol):
    """A version that arrives: the file of one, or what a group sends. Items are asked for in order, each once."""

    @property
    def items(self) -> dict[str, Item]:
        """What it consists of."""

    @property
    def codebooks(self) -> Sets:
        """The codebooks that messages need besides the built-in ones."""

    @property
    def state(self) -> str:
        """The hash of the state that it makes. It is asked for when all items were."""

    def skip(self, key: str) -> None:
        """Leaves out an item."""

    def is_delta(self, key: str) -> bool:
        """Whether an item is a delta."""

    def message(self, key: str) -> bytes | bytearray:
        """An item that is a delta, as a message."""

    def decode_into(self, key: str, tensor: torch.Tensor) -> None:
        """Decodes an item that is no delta into a contiguous tensor on the CPU."""

    def decode(self, key: str) -> torch.Tensor:
        """Decodes an item that is no delta into a new tensor."""


class Follower:
    """The tensors of a subscriber: those that it was given, or its own, which it makes as versions need them.

    With ``listing`` all changes are prepared as indices and values, which a journal can store.
    """

    def __init__(
        self,
        tensors: Mapping[str, torch.Tensor] | None,
        rows: Rows | None,
        strict: bool,
        pause: Pause | None,
        threads: int | None,
        max_size: int | None = None,
        listing: bool = False,
    ) -> None:
        if rows is not None and tensors is None:
            raise OptionError("rows=: give the tensors that have these rows, too")
        self.is_own = tensors is None
        self.tensors: dict[str, torch.Tensor] = dict(tensors or {})
        self._rows = {name: _checked_rows(name, span) for name, span in (rows or {}).items()}
        for name in self._rows:
            if name not in self.tensors:
                raise OptionError(f"rows=: there is no tensor {name!r} that could have them")
        self._strict = strict
        self._pause = pause or contextlib.nullcontext
        self._threads = threads
        self._max_size = max_size
        self._listing = listing
        #: The version of the tensors; None while they are written to, and after that failed.
        self.version: int | None = None
        for name, tensor in self.tensors.items():
            check_name(name)
            check_writable(name, tensor)
        self._first = check_apart(self.tensors)

    def prepare(
        self, source: VersionSource, listed: list[Change] | None = None
    ) -> Prepared:
        """Decodes a version beside the tensors, and checks everything. Nothing is written.

        Args:
            source: The version.
            listed: Takes what the version changes, as indices and values, if it is given.

        Raises:
            WrongBaseError: A tensor is not what the version before made it.
            MismatchError: The version has other tensors.
            DamagedError: The version is damaged.
        """
        targets, tensors = self._targets(source.items)
        writes: list[tuple[str, Write]] = []
        results: dict[str, str] = {}
        for key in source.items:
            target = targets.get(key)
            if target is None:
                source.skip(key)
                continue
            is_first = target.first == key
            if source.is_delta(key):
                message = source.message(key)
                results[key] = _inspect_delta(message, None).result
                if is_first:
                    with naming(repr(key)):
                        codebooks = source.codebooks
                        write = self._prepare_delta(target, message, codebooks, listed)
                    writes.append((key, write))
            else:
                whole = source.decode(key)
                results[key] = content_hash(whole)
                if is_first:
                    writes.append((key, Whole(target.tensor, whole)))
                    if listed is not None:
                        listed.append(Change(target.item.name, *_places(target, whole)))
            self._check_shared(target, key, results)
        check_state(source.items, results, source.state)
        hashes = {key: results[key] for key, _ in writes}
        return Prepared(source.items, writes, hashes, tensors)

    def _prepare_delta(
        self, target: Target, message: bytes | bytearray, codebooks: Sets, listed: list[Change] | None
    ) -> Write:
        if listed is None and not self._listing:
            return target.prepare(message, codebooks, self._threads)
        indices, values = target.changes(message, codebooks, self._threads)
        if listed is not None:
            first, _ = _span(target)
            places = indices + first if first else indices
            listed.append(Change(target.item.name, places, values))
        return Scatter(target.tensor, indices, values)

    def check_keyframe(self, reader: VersionReader) -> None:
        """Decodes all of a keyframe and compares it with its hashes, if there is something that it will overwrite.

        Raises:
            MismatchError: The keyframe has other tensors.
            DamagedError: The keyframe is damaged.
        """
        hashes = _hashes_of(reader)
        check_state(reader.items, hashes, reader.state)
        targets, _ = self._targets(reader.items)
        for key, target in targets.items():
            self._check_shared(target, key, hashes)
            if self.tensors:
                check_hash(key, content_hash(reader.decode(key)), hashes)

    def load_keyframe(self, reader: VersionReader) -> tuple[float, dict[str, str]]:
        """Decodes a keyframe that was checked into the tensors; returns the seconds of the pause, and the hashes of what
        was written. If it fails, the tensors are of no version."""
        hashes = _hashes_of(reader)
        targets, tensors = self._targets(reader.items)
        with self.pausing(target.tensor.device for target in targets.values()) as clock:
            for key, target in targets.items():
                if target.first == key:
                    check_hash(key, self._write_whole(reader, key, target), hashes)
        self.tensors = tensors
        return clock.seconds, {key: hashes[key] for key, one in targets.items() if one.first == key}

    def load_stream(self, source: VersionSource) -> float:
        """Writes a version that has all tensors as a whole while it arrives; returns the seconds of the pause. If it
        fails, the tensors are of no version."""
        targets, tensors = self._targets(source.items)
        results: dict[str, str] = {}
        with self.pausing(target.tensor.device for target in targets.values()) as clock:
            for key in source.items:
                target = targets.get(key)
                if target is None:
                    source.skip(key)
                    continue
                if target.first == key:
                    results[key] = self._write_whole(source, key, target)
                else:
                    results[key] = content_hash(source.decode(key))
                self._check_shared(target, key, results)
        check_state(source.items, results, source.state)
        self.tensors = tensors
        return clock.seconds

    def _write_whole(self, source: VersionSource, key: str, target: Target) -> str:
        """Writes a whole item; returns its `huffwire.content_hash`."""
        if is_written_by_huffwire(target.tensor):
            source.decode_into(key, target.tensor.detach())
            _changed(target.tensor)
            return content_hash(target.tensor)
        # Nothing is copied back from another device for its hash.
        whole = source.decode(key)
        Whole(target.tensor, whole).write()
        return content_hash(whole)

    def commit(self, prepared: Prepared) -> float:
        """Writes what was prepared; returns the seconds of the pause."""
        with self.pausing(write.device for _, write in prepared.writes) as clock:
            for _, write in prepared.writes:
                write.write()
        self.tensors = prepared.tensors
        return clock.seconds

    @contextlib.contextmanager
    def pausing(self, devices: Iterable[torch.device]) -> Iterator[Clock]:
        """What the caller wants to be done around writing, and a clock for the writing itself, which has reached these
        devices in the end."""
        clock = Clock()
        with self._pause():
            # Not before: where the pause is refused, all tensors are as they were.
            self.version = None
            start = time.perf_counter()
            try:
                yield clock
            finally:
                # Also after an error: nobody may read what is still being written.
                finish_writing(devices)
                clock.seconds = time.perf_counter() - start

    def targets(self, items: Mapping[str, Item]) -> dict[str, Target]:
        """The tensors to which items are written.

        Raises:
            MismatchError: There are others, or of other types and shapes.
        """
        return self._targets(items)[0]

    def _targets(
        self, items: Mapping[str, Item]
    ) -> tuple[dict[str, Target], dict[str, torch.Tensor]]:
        """The tensors to which items are written, and all tensors of the version by their names."""
        shapes = shapes_of(items)
        self._check_size(items)
        tensors = self._own(items, shapes) if self.is_own else self.tensors
        if self._strict and shapes.keys() != tensors.keys():
            missing = ", ".join(sorted(tensors.keys() - shapes.keys())) or "none"
            others = ", ".join(sorted(shapes.keys() - tensors.keys())) or "none"
            raise MismatchError(
                f"the version has other tensors than there are here; only here: {missing}; only there: {others}. Give "
                "those that it has, or strict=False"
            )
        for name, (first, last) in self._rows.items():
            shape = shapes.get(name)
            if shape is not None and last > (shape[0] if shape else 1):
                raise MismatchError(f"{name!r}: rows {first} to {last} are wanted, and its shape is {shape}")
        targets: dict[str, Target] = {}
        seen: dict[tuple[str, tuple[int, int] | None], str] = {}
        for key, item in items.items():
            if item.name not in tensors:
                continue
            tensor = self._part(item, tensors[item.name], shapes[item.name])
            if tensor is not None:
                check_like(item, tensor)
                shared = self._first.get(item.name, item.name)
                targets[key] = Target(item, tensor, seen.setdefault((shared, item.rows), key))
        return targets, tensors

    def _check_size(self, items: Mapping[str, Item]) -> None:
        size = sum(prod(i.shape) * _dtype(i.dtype).itemsize for i in items.values())
        if self._max_size is not None and size > self._max_size:
            raise LimitError(f"the version has {size} bytes of tensors, and max_size is {self._max_size}")

    def _own(
        self, items: Mapping[str, Item], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, torch.Tensor]:
        """Own tensors for a version: those that are there, and new ones where type or shape differ."""
        dtypes = {item.name: _dtype(item.dtype) for item in items.values()}
        tensors = {}
        for name, shape in shapes.items():
            held = self.tensors.get(name)
            if held is None or held.dtype != dtypes[name] or tuple(held.shape) != shape:
                new = empty(shape, dtypes[name])
                if held is not None and held.dtype == new.dtype and held.shape[1:] == new.shape[1:]:
                    # Rows that both have may come as deltas.
                    count = min(len(held), len(new)) if shape else 0
                    new[:count] = held[:count]
                held = new
            tensors[name] = held
        return tensors

    def _part(
        self, item: Item, tensor: torch.Tensor, shape: tuple[int, ...]
    ) -> torch.Tensor | None:
        """What of a tensor an item is written to; None if the tensor has none of its rows."""
        span = self._rows.get(item.name)
        if item.rows is None and span is None:
            return tensor
        first, last = span or (0, shape[0] if shape else 1)
        start, stop = item.rows or (0, shape[0] if shape else 1)
        if stop <= first or start >= last:
            return None
        if start < first or stop > last:
            raise MismatchError(
                f"{item.name!r}: rows {first} to {last} are wanted, and {start} to {stop} are published together: "
                "publish with a split at which ranks divide the rows"
            )
        if tensor.dim() == 0 or tensor.shape[0] != last - first:
            raise MismatchError(
                f"{item.name!r} has the shape {tuple(tensor.shape)} here, and rows {first} to {last} of {shape} are "
                "wanted"
            )
        return tensor.detach()[start - first : stop - first]

    def _check_shared(self, target: Target, key: str, hashes: Mapping[str, str]) -> None:
        if hashes[key] != hashes.get(target.first, hashes[key]):
            raise MismatchError(
                f"{key!r} and {target.first!r} share memory here, and differ in the version: give each its own"
            )


def _checked_rows(name: str, span: object) -> tuple[int, int]:
    if (
        not isinstance(span, (tuple, list))
        or [type(row) for row in span] != [int, int]
        or not 0 <= span[0] < span[1]
    ):
        raise OptionError(f"rows={{{name!r}: {span!r}}}: give the first row, and the one behind the last")
    return span[0], span[1]


class Clock:
    """How long a pause took."""

    seconds = 0.0


@dataclass
class Prepared:
    """A version that only has to be written."""

    items: Mapping[str, Item]
    """What the version consists of."""
    writes: list[tuple[str, Write]]
    """What is written, by the keys of items."""
    hashes: Mapping[str, str]
    """The `huffwire.content_hash` that each of these items then has."""
    tensors: dict[str, torch.Tensor]
    """All tensors of the version."""

    @property
    def changes(self) -> int:
        """How many words it writes."""
        return sum(write.changes for _, write in self.writes)


def shapes_of(items: Mapping[str, Item]) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors that items make.

    Raises:
        DamagedError: Rows are missing, or come twice, or do not go together.
    """
    groups: dict[str, list[Item]] = {}
    for item in items.values():
        groups.setdefault(item.name, []).append(item)
    shapes = {}
    for name, group in groups.items():
        first = group[0]
        if len(group) == 1 and first.rows is None:
            shapes[name] = first.shape
            continue
        spans = sorted(item.rows for item in group if item.rows is not None)
        ends = [0, *(stop for _, stop in spans)]
        is_alike = all(item.rows and item.shape[1:] == first.shape[1:] for item in group)
        if not is_alike or [start for start, _ in spans] != ends[:-1]:
            raise DamagedError(f"the version does not have each row of {name!r} once")
        shapes[name] = (ends[-1], *first.shape[1:])
    return shapes


def check_state(items: Mapping[str, Item], hashes: Mapping[str, str], state: str) -> None:
    """Compares the hashes of all items with that of the state; where some are not known, nothing can be compared.

    Raises:
        DamagedError: It is another state.
    """
    if hashes.keys() != items.keys():
        return
    found = state_of([(key, i.dtype, i.shape, hashes[key]) for key, i in items.items()])
    if found != state:
        raise DamagedError(
            f"the version makes a state with the hash {found} where {state} was expected: its file belongs to another "
            "version"
        )


def _hashes_of(reader: VersionReader) -> dict[str, str]:
    if reader.hashes is None:
        raise DamagedError(f"{reader.path} is no keyframe: it has no hashes")
    return reader.hashes


def check_hash(key: str, found: str, hashes: Mapping[str, str]) -> None:
    """Compares the hash of an item with what it should be.

    Raises:
        DamagedError: It is another one.
    """
    if found != hashes[key]:
        raise DamagedError(f"{key!r} has the hash {found} where {hashes[key]} was expected")


def _span(target: Target) -> tuple[int, int]:
    """Where the words of an item begin in its flattened tensor, and how many there are."""
    words = target.tensor.numel() * (2 if target.tensor.is_complex() else 1)
    first, last = target.item.rows or (0, 1)
    return first * (words // max(1, last - first)), words


def _places(target: Target, whole: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
    """A whole item as a change: without indices if it is all of the tensor."""
    if target.item.rows is None:
        return None, whole
    first, words = _span(target)
    values = torch.view_as_real(whole) if whole.is_complex() else whole
    return torch.arange(first, first + words, device="cpu"), values.reshape(-1)
