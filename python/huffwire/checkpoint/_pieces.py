"""Parts of stored values, from the files of a checkpoint and of those that it is a delta of."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import MetadataIndex
from torch.distributed.checkpoint.planner import ReadItem

import huffwire
import huffwire.torch
from huffwire._disk import OpenFiles, naming, system_errors
from huffwire.checkpoint._chain import _check_length, _metadata_of, _place_of, _real
from huffwire.checkpoint._stored import _codebooks_name, _place, _Stored, _Value, _Values


class _Checkpoint:
    """The open files of a checkpoint, and how parts of stored values get into tensors.

    Args:
        folder: Its folder.
        values: Its values, from its metadata.
        codebooks: Sets besides those in the folder.
        threads: Threads that decode one tensor.
        rank: The rank whose metadata these are, in a checkpoint without a coordinator.
        bases: Where the checkpoints lie that this one is a delta of, the oldest first; empty if they lie where they
            were when it was saved.
        behind: The folders of the checkpoints that led here.
        disk: What the checkpoint that led here is read with; None if there is none.
    """

    def __init__(
        self,
        folder: Path,
        values: _Values,
        *,
        codebooks: Sequence[huffwire.Codebooks] = (),
        threads: int | None = None,
        rank: int | None = None,
        bases: Sequence[Path] = (),
        behind: tuple[Path, ...] = (),
        disk: _Disk | None = None,
    ) -> None:
        self.folder = folder
        self._values = values
        self._codebooks = tuple(codebooks)
        self._threads = threads
        self._rank = rank
        self._bases = tuple(bases)
        self._behind = (*behind, _real(folder))
        self._disk = disk or _Disk()
        self._sets: dict[str, tuple[huffwire.Codebooks, ...]] = {}
        self._opened: dict[str, _Checkpoint] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> _Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._disk.close()

    def whole(self, index: MetadataIndex, value: _Value, out: torch.Tensor) -> None:
        """Decodes all elements into a flat tensor."""
        self._range(index, value, 0, out)

    def part(
        self, index: MetadataIndex, value: _Value, item: ReadItem, target: torch.Tensor
    ) -> None:
        """Decodes a part of a stored tensor, a box at `item.storage_offsets`, into `target`."""
        stored = value.stored
        count = math.prod(item.lengths)
        if count == 0:
            return
        box = list(zip(item.storage_offsets, item.lengths, strict=True))
        if (
            stored.dtype is None
            or len(box) != len(stored.shape)
            or any(
                not 0 <= offset <= size - length
                for (offset, length), size in zip(box, stored.shape, strict=True)
            )
        ):
            raise huffwire.MismatchError(
                f"{index.fqn!r} in {value.info.relative_path}: the checkpoint has something else under "
                "this name"
            )
        strides = [math.prod(stored.shape[axis + 1 :]) for axis in range(len(stored.shape))]
        first = sum(
            offset * stride for offset, stride in zip(item.storage_offsets, strides, strict=True)
        )
        last = first + sum(
            (length - 1) * stride for length, stride in zip(item.lengths, strides, strict=True)
        )
        together = last - first + 1 == count
        dtype = stored.torch_dtype
        if together and target.is_cpu and target.dtype == dtype and target.is_contiguous():
            self._range(index, value, first, target.view(-1))
            return
        elements = torch.empty(last - first + 1, dtype=dtype, device="cpu")
        self._range(index, value, first, elements)
        target.copy_(elements.as_strided(item.lengths, strides))

    def find(
        self, index: MetadataIndex, dtype: str | None, shape: tuple[int, ...]
    ) -> _Value | None:
        """A tensor, or the same part of it, if it is there with this type and shape."""
        value = self._values.find(index)
        if value is None or dtype is None:
            return None
        return value if (value.stored.dtype, value.stored.shape) == (dtype, shape) else None

    def like(self, index: MetadataIndex, stored: _Stored, first: int, out: torch.Tensor) -> None:
        """Decodes what a delta is made of: the elements from `first` on into a flat tensor."""
        value = self.find(index, stored.dtype, stored.shape)
        if value is None:
            raise huffwire.WrongBaseError(
                f"the checkpoint {self.folder} has no {index.fqn!r} of this type and shape: it is not the one that "
                "this was saved against"
            )
        self._range(index, value, first, out)

    def _range(self, index: MetadataIndex, value: _Value, first: int, out: torch.Tensor) -> None:
        """Decodes the elements from `first` on into a flat tensor of the dtype that is stored."""
        piece = value.stored.piece
        total = math.prod(value.stored.shape)
        end = first + out.numel()
        for number in range(first // piece, -(-end // piece)):
            low, high = number * piece, min((number + 1) * piece, total)
            if first <= low and high <= end:
                self._message(index, value, number, out[low - first : high - first])
                continue
            elements = torch.empty(high - low, dtype=out.dtype, device="cpu")
            self._message(index, value, number, elements)
            a, b = max(low, first), min(high, end)
            out[a - first : b - first].copy_(elements[a - low : b - low])

    def _message(
        self, index: MetadataIndex, value: _Value, number: int, out: torch.Tensor
    ) -> None:
        """Decodes one message into a tensor of its elements."""
        info, stored, starts, deltas = value
        path = self.folder / info.relative_path
        place = starts[number], stored.lengths[number]
        options: dict[str, Any] = {
            "context": _place(info.relative_path, index, number),
            "codebooks": self._codebooks_of(stored),
            "threads": self._threads,
        }
        with naming(f"{index.fqn!r} in {path}"):
            if number in deltas:
                base = self._base(stored.base or "")
                # Before the delta is read: all messages of the thread take the same memory.
                base.like(index, stored, number * stored.piece, out)
                try:
                    huffwire.torch.apply_delta(self._disk.read(path, *place), out, **options)
                except huffwire.WrongBaseError as error:
                    raise huffwire.WrongBaseError(
                        f"the checkpoint {base.folder} is not the one that this was saved against: restore that, or "
                        f"give base= to the reader if it was moved ({error})"
                    ) from None
            else:
                huffwire.torch.decode_into(self._disk.read(path, *place), out, **options)

    def _base(self, name: str) -> _Checkpoint:
        """The checkpoint that deltas were made of; `name` is where it was."""
        with self._lock:
            if name not in self._opened:
                given = bool(self._bases)
                folder = self._bases[-1] if given else _place_of(self.folder, name)
                self._opened[name] = _open(
                    folder,
                    "base=" if given else str(self.folder),
                    rank=self._rank,
                    codebooks=self._codebooks,
                    threads=self._threads,
                    bases=self._bases[:-1],
                    behind=self._behind,
                    disk=self._disk,
                )
            return self._opened[name]

    def _codebooks_of(self, stored: _Stored) -> tuple[huffwire.Codebooks, ...]:
        """The codebooks of the caller, and those of the folder that a stored value needs."""
        id = stored.codebooks
        have = {books.id for books in self._codebooks} | {huffwire.Codebooks.builtin().id}
        if id is None or id in have:
            return self._codebooks
        with self._lock:
            if id not in self._sets:
                with naming("the codebooks of the checkpoint"):
                    found = huffwire.Codebooks.load(self.folder / _codebooks_name(id))
                self._sets[id] = (*self._codebooks, found)
            return self._sets[id]


class _Disk:
    """How a checkpoint and its bases are read: their open files, and memory for one message of each thread.

    Args:
        links: The values of bases whose metadata were read before, by the folder without symbolic links.
    """

    def __init__(self, links: Mapping[Path, _Values] | None = None) -> None:
        self.links = links or {}
        self._files = OpenFiles()
        self._local = threading.local()

    def read(self, path: Path, start: int, length: int) -> memoryview:
        """The bytes of a message, in memory that this thread's next message takes again."""
        with (
            system_errors("it is in a file that cannot be read: "),
            self._files.reading(path) as descriptor,
        ):
            size = os.fstat(descriptor).st_size
            if start + length > size:
                raise huffwire.DamagedError(
                    f"the file ends at byte {size}, and should have {start + length}; restore it"
                )
            scratch = getattr(self._local, "scratch", None)
            if scratch is None or len(scratch) < length:
                scratch = self._local.scratch = bytearray(length)
            view = memoryview(scratch)[:length]
            done = 0
            while done < length:
                count = os.preadv(descriptor, [view[done:]], start + done)
                if count == 0:
                    raise huffwire.DamagedError("the file became shorter")
                done += count
        return view

    def close(self) -> None:
        """Closes the files."""
        self._files.close()


def _open(
    folder: Path,
    named_by: str,
    *,
    behind: tuple[Path, ...] = (),
    rank: int | None,
    disk: _Disk,
    **options: Any,
) -> _Checkpoint:
    """A checkpoint that another one is, or becomes, a delta of; `named_by` as for `_metadata_of`.

    Raises:
        MissingBaseError: It is not there.
        DamagedError: Its metadata are damaged, or it is a delta of itself.
        LimitError: The chain is too long.
    """
    _check_length(folder, behind)
    values = disk.links.get(_real(folder))
    if values is None:
        values = _Values(_metadata_of(folder, rank, named_by).storage_data)
    return _Checkpoint(folder, values, behind=behind, rank=rank, disk=disk, **options)
