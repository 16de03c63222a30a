"""Loading: the class `Reader`."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import itertools
import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, StorageMeta
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem
from torch.futures import Future

import huffwire
import huffwire.torch
from huffwire._disk import naming, system_errors
from huffwire._progress import Progress, reporting
from huffwire._roles import Report
from huffwire.checkpoint._stored import (
    _codebooks_name,
    _metadata_name,
    _place,
    _read_metadata,
    _report_of,
    _Stored,
)
from huffwire.checkpoint._work import _Done

_log = logging.getLogger("huffwire.checkpoint")


class Reader(FileSystemReader):
    """Reads checkpoints that `Writer` wrote, and those of torch's own `FileSystemWriter`.

    `dcp.load` decodes each tensor straight into the tensor that the caller brings, if that is
    contiguous, on the CPU and of the dtype that was saved. Others are decoded beside it and copied,
    which converts the dtype. Of a large tensor only the parts that a rank needs are read.

    Args:
        path: The folder.
        codebooks: A set, or sets, if those in the folder were lost.
        threads: Threads that decode one tensor. None: `OMP_NUM_THREADS`, or else the processors of
            the process.
        thread_count: Threads of Python that read and decode tensors side by side.
        progress: True for a bar, or a callable that gets (bytes done, bytes in total).

    Raises:
        FileError: If the folder has no whole checkpoint, or a file is
            missing.
        DamagedError: If a file is damaged. The error names the tensor and the file.
        MismatchError: If the tensor that the caller brings has another shape.
        CodebookError: If a set of codebooks is not at hand.

        `dcp.load` raises them inside a `CheckpointException`, which holds the errors of all ranks.

    >>> import tempfile, torch, torch.distributed.checkpoint as dcp
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = dcp.save({"a": torch.arange(3.0)}, storage_writer=Writer(folder.name), no_dist=True)
    >>> state = {"a": torch.empty(3)}
    >>> dcp.load(state, storage_reader=Reader(folder.name), no_dist=True)
    >>> state["a"].tolist()
    [0.0, 1.0, 2.0]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        codebooks: huffwire.Codebooks | Sequence[huffwire.Codebooks] | None = None,
        threads: int | None = None,
        thread_count: int = 1,
        progress: Progress = None,
    ) -> None:
        if thread_count < 1:
            raise huffwire.OptionError(f"thread_count is {thread_count}; it must be at least 1")
        super().__init__(path)
        self.thread_count = thread_count
        self.progress = progress
        self.options: dict[str, Any] = {"codebooks": codebooks, "threads": threads}

    def report(self) -> Report:
        """What the checkpoint holds, for each role, of what huffwire wrote."""
        metadata = self.read_metadata()
        return _report_of((metadata.storage_data or {}).values(), whole=True)

    # --- the steps of a load, in order ---

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        path = Path(self.path) / _metadata_name(kwargs.get("rank"))
        try:
            metadata = _read_metadata(path)
        except huffwire.Error as error:
            # The oldest torch that is supported says only that there are no metadata.
            _log.warning("%s", error)
            raise
        # Old checkpoints of torch do not have it.
        storage_meta = getattr(metadata, "storage_meta", None) or StorageMeta()
        storage_meta.load_id = self.load_id
        metadata.storage_meta = storage_meta
        return metadata

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        ours: list[tuple[ReadItem, Any, _Stored]] = []
        others: list[ReadItem] = []
        for item in plan.items:
            info = self.storage_data[item.storage_index]
            stored = _Stored.of(info)
            if stored is None:
                others.append(item)
            else:
                ours.append((item, info, stored))
        if others:
            super().read_data(dataclasses.replace(plan, items=others), planner).wait()

        ours.sort(key=lambda one: (one[1].relative_path, one[1].offset))
        total = sum(_wanted_bytes(item, stored) for item, _, stored in ours)
        options = self.options | {
            "codebooks": self._sets({stored.codebooks for *_, stored in ours})
        }
        with (
            reporting(self.progress, total, "loading") as report,
            _Loading(Path(self.path), options) as loading,
        ):
            done = _Done(report, total)
            if self.thread_count == 1:
                for item, info, stored in ours:
                    self._load(loading, planner, item, info, stored)()
                    done.add(_wanted_bytes(item, stored))
            else:
                self._load_side_by_side(loading, planner, ours, done)
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def _sets(self, ids: set[str | None]) -> list[huffwire.Codebooks]:
        """The codebooks of the caller, and those of the folder that stored tensors need."""
        given = self.options["codebooks"]
        sets = [given] if isinstance(given, huffwire.Codebooks) else list(given or ())
        have = {books.id for books in sets} | {huffwire.Codebooks.builtin().id}
        for id in sorted({id for id in ids if id is not None} - have):
            path = Path(self.path, _codebooks_name(id))
            with naming("the codebooks of the checkpoint"):
                sets.append(huffwire.Codebooks.load(path))
        return sets

    def _load_side_by_side(
        self,
        loading: _Loading,
        planner: LoadPlanner,
        items: Sequence[tuple[ReadItem, Any, _Stored]],
        done: _Done,
    ) -> None:
        # Planners need not be safe for threads: they are called by this thread alone, before and
        # after decoding.
        with concurrent.futures.ThreadPoolExecutor(self.thread_count, "huffwire-load") as pool:
            waiting: list[tuple[Callable[[], None], int]] = []
            try:
                for item, info, stored in items:
                    finish = self._load(loading, planner, item, info, stored, pool)
                    waiting.append((finish, _wanted_bytes(item, stored)))
                    if len(waiting) > 2 * self.thread_count:
                        finish, count = waiting.pop(0)
                        finish()
                        done.add(count)
                for finish, count in waiting:
                    finish()
                    done.add(count)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _load(
        self,
        loading: _Loading,
        planner: LoadPlanner,
        item: ReadItem,
        info: Any,
        stored: _Stored,
        pool: concurrent.futures.Executor | None = None,
    ) -> Callable[[], None]:
        """Starts to load an item. The result waits for the end, and tells the planner."""
        index = item.storage_index
        if item.type == LoadItemType.BYTE_IO:
            values = torch.empty(math.prod(stored.shape), dtype=torch.uint8)
            work = partial(loading.whole, index, info, stored, values)

            def commit() -> None:
                planner.load_bytes(item, io.BytesIO(values.numpy().tobytes()))

        else:
            target = planner.resolve_tensor(item).detach()
            if target.size() != torch.Size(item.lengths):
                raise huffwire.MismatchError(
                    f"{index.fqn!r} in {info.relative_path}: the tensor to load into has the shape "
                    f"{tuple(target.size())}, the checkpoint has {tuple(item.lengths)} for it"
                )
            work = partial(loading.part, index, info, stored, item, target)
            commit = partial(planner.commit_tensor, item, target)
        if pool is None:
            work()
            return commit
        running = pool.submit(work)

        def finish() -> None:
            running.result()
            commit()

        return finish


class _Loading:
    """The open files of a load, and how parts of stored values get into tensors."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self._folder = folder
        self._options = options
        self._files: dict[str, int] = {}
        self._lock = threading.Lock()
        self._local = threading.local()

    def __enter__(self) -> _Loading:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)

    def whole(self, index: MetadataIndex, info: Any, stored: _Stored, out: torch.Tensor) -> None:
        """Decodes all elements into a flat tensor."""
        self._range(index, info, stored, 0, out)

    def part(
        self, index: MetadataIndex, info: Any, stored: _Stored, item: ReadItem, target: torch.Tensor
    ) -> None:
        """Decodes a part of a stored tensor, a box at `item.storage_offsets`, into `target`."""
        count = math.prod(item.lengths)
        if count == 0:
            return
        if stored.dtype is None or len(item.lengths) != len(stored.shape):
            raise huffwire.MismatchError(
                f"{index.fqn!r} in {info.relative_path}: the checkpoint has something else under "
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
            self._range(index, info, stored, first, target.view(-1))
            return
        elements = torch.empty(last - first + 1, dtype=dtype)
        self._range(index, info, stored, first, elements)
        target.copy_(elements.as_strided(item.lengths, strides))

    def _range(
        self, index: MetadataIndex, info: Any, stored: _Stored, first: int, out: torch.Tensor
    ) -> None:
        """Decodes the elements from `first` on into a flat tensor of the dtype that is stored."""
        total = math.prod(stored.shape)
        end = first + out.numel()
        starts = itertools.accumulate(stored.lengths, initial=info.offset)
        for number, (start, length) in enumerate(zip(starts, stored.lengths, strict=False)):
            low = number * stored.piece
            high = min(low + stored.piece, total)
            if high <= first or low >= end:
                continue
            message = self._read(index, info, start, length)
            whole = first <= low and high <= end
            piece = (
                out[low - first : high - first]
                if whole
                else torch.empty(high - low, dtype=out.dtype)
            )
            with naming(f"{index.fqn!r} in {self._folder / info.relative_path}"):
                huffwire.torch.decode_into(
                    message,
                    piece,
                    context=_place(info.relative_path, index, number),
                    **self._options,
                )
            if not whole:
                a, b = max(low, first), min(high, end)
                out[a - first : b - first].copy_(piece[a - low : b - low])

    def _read(self, index: MetadataIndex, info: Any, start: int, length: int) -> memoryview:
        """The bytes of a message, in memory that this thread's next message takes again."""
        path = self._folder / info.relative_path
        with self._lock, system_errors(f"{index.fqn!r} is in a file that cannot be read: "):
            descriptor = self._files.get(info.relative_path)
            if descriptor is None:
                descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
                self._files[info.relative_path] = descriptor
            size = os.fstat(descriptor).st_size
        if start + length > size:
            raise huffwire.DamagedError(
                f"{index.fqn!r} in {path}: the file ends at byte {size}, and should have "
                f"{start + length}; restore it"
            )
        scratch = getattr(self._local, "scratch", None)
        if scratch is None or len(scratch) < length:
            scratch = self._local.scratch = bytearray(length)
        view = memoryview(scratch)[:length]
        done = 0
        with system_errors():
            while done < length:
                count = os.preadv(descriptor, [view[done:]], start + done)
                if count == 0:
                    raise huffwire.DamagedError(f"{index.fqn!r} in {path}: the file became shorter")
                done += count
        return view


def _wanted_bytes(item: ReadItem, stored: _Stored) -> int:
    """Bytes of the elements that an item reads."""
    sizes = stored.shape if item.type == LoadItemType.BYTE_IO else item.lengths
    return stored.torch_dtype.itemsize * math.prod(sizes)


def report(path: str | os.PathLike[str]) -> Report:
    """What the checkpoint in a folder holds, for each role, from its metadata.

    >>> import tempfile, torch, torch.distributed.checkpoint as dcp, huffwire.checkpoint
    >>> folder = tempfile.TemporaryDirectory()
    >>> moments = {"a": {"exp_avg": torch.ones(1000)}}
    >>> state = {"model": {"a": torch.ones(4000)}, "optim": {"state": moments}}
    >>> _ = dcp.save(state, storage_writer=huffwire.checkpoint.Writer(folder.name), no_dist=True)
    >>> report = huffwire.checkpoint.report(folder.name)
    >>> {role: share.bytes for role, share in report.roles.items()}
    {'weights': 16000, 'first moment': 4000}

    Raises:
        FileError: If the folder has no whole checkpoint.
        DamagedError: If its metadata are damaged.
    """
    return Reader(path).report()
