"""Loading: the class `Reader`."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import logging
import math
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, StorageMeta
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem
from torch.futures import Future

import huffwire
from huffwire._progress import Progress, reporting
from huffwire._roles import Report
from huffwire.checkpoint._chain import _folders_of
from huffwire.checkpoint._pieces import _Checkpoint
from huffwire.checkpoint._stored import (
    _metadata_name,
    _read_metadata,
    _report_of,
    _Stored,
    _Value,
    _Values,
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
        base: Where the checkpoint lies that this one was saved against, if it was moved. A list of folders names those
            that it was saved against in turn, too, the oldest first. None: they lie where they did then, as seen from
            the folder.
        threads: Threads that decode one tensor. None: `OMP_NUM_THREADS`, or else the processors of
            the process.
        thread_count: Threads of Python that read and decode tensors side by side.
        progress: True for a bar, or a callable that gets (bytes done, bytes in total).

    Raises:
        OptionError: If `base` names no folders, or `codebooks` holds something else.
        FileError: If the folder has no whole checkpoint, or a file is
            missing.
        DamagedError: If a file is damaged. The error names the tensor and the file.
        MismatchError: If the tensor that the caller brings has another shape.
        CodebookError: If a set of codebooks is not at hand.
        MissingBaseError: If the checkpoint was saved against another one, which is not there.
        WrongBaseError: If that one is not what it was.
        LimitError: If the checkpoint ends a chain of more than 32 deltas.

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
        base: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        threads: int | None = None,
        thread_count: int = 1,
        progress: Progress = None,
    ) -> None:
        if thread_count < 1:
            raise huffwire.OptionError(f"thread_count is {thread_count}; it must be at least 1")
        super().__init__(path)
        self.thread_count = thread_count
        self.progress = progress
        self.bases = _folders_of(base)
        self.options: dict[str, Any] = {"codebooks": _sets_of(codebooks), "threads": threads}
        self._rank: int | None = None

    def report(self) -> Report:
        """What the checkpoint holds, for each role, of what huffwire wrote."""
        metadata = self.read_metadata()
        return _report_of((metadata.storage_data or {}).values(), whole=True)

    # --- the steps of a load, in order ---

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        self._rank = kwargs.get("rank")
        path = Path(self.path) / _metadata_name(self._rank)
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
        ours: list[tuple[ReadItem, _Value]] = []
        others: list[ReadItem] = []
        values = _Values(self.storage_data)
        for item in plan.items:
            value = values.find(item.storage_index)
            if value is None:
                others.append(item)
            else:
                ours.append((item, value))
        if others:
            super().read_data(dataclasses.replace(plan, items=others), planner).wait()

        ours.sort(key=lambda one: (one[1].info.relative_path, one[1].info.offset))
        total = sum(_wanted_bytes(item, value.stored) for item, value in ours)
        checkpoint = _Checkpoint(
            Path(self.path), values, rank=self._rank, bases=self.bases, **self.options
        )
        with reporting(self.progress, total, "loading") as report, checkpoint as loading:
            done = _Done(report, total)
            if self.thread_count == 1:
                for item, value in ours:
                    self._load(loading, planner, item, value)()
                    done.add(_wanted_bytes(item, value.stored))
            else:
                self._load_side_by_side(loading, planner, ours, done)
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def _load_side_by_side(
        self,
        loading: _Checkpoint,
        planner: LoadPlanner,
        items: Sequence[tuple[ReadItem, _Value]],
        done: _Done,
    ) -> None:
        # Planners need not be safe for threads: they are called by this thread alone, before and
        # after decoding.
        with concurrent.futures.ThreadPoolExecutor(self.thread_count, "huffwire-load") as pool:
            waiting: list[tuple[Callable[[], None], int]] = []
            try:
                for item, value in items:
                    finish = self._load(loading, planner, item, value, pool)
                    waiting.append((finish, _wanted_bytes(item, value.stored)))
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
        loading: _Checkpoint,
        planner: LoadPlanner,
        item: ReadItem,
        value: _Value,
        pool: concurrent.futures.Executor | None = None,
    ) -> Callable[[], None]:
        """Starts to load an item. The result waits for the end, and tells the planner."""
        index = item.storage_index
        if item.type == LoadItemType.BYTE_IO:
            values = torch.empty(math.prod(value.stored.shape), dtype=torch.uint8, device="cpu")
            work = partial(loading.whole, index, value, values)

            def commit() -> None:
                planner.load_bytes(item, io.BytesIO(values.numpy().tobytes()))

        else:
            target = planner.resolve_tensor(item).detach()
            if target.size() != torch.Size(item.lengths):
                raise huffwire.MismatchError(
                    f"{index.fqn!r} in {value.info.relative_path}: the tensor to load into has the shape "
                    f"{tuple(target.size())}, the checkpoint has {tuple(item.lengths)} for it"
                )
            work = partial(loading.part, index, value, item, target)
            commit = partial(planner.commit_tensor, item, target)
        if pool is None:
            work()
            return commit
        running = pool.submit(work)

        def finish() -> None:
            running.result()
            commit()

        return finish


def _sets_of(codebooks: Any) -> list[huffwire.Codebooks]:
    """What `codebooks=` gives."""
    if codebooks is None or isinstance(codebooks, huffwire.Codebooks):
        return [] if codebooks is None else [codebooks]
    sets = list(codebooks) if isinstance(codebooks, Iterable) else [codebooks]
    if not all(isinstance(books, huffwire.Codebooks) for books in sets):
        raise huffwire.OptionError(f"codebooks={codebooks!r}: give Codebooks, or a list of them")
    return sets


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
