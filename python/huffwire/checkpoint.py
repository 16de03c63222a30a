"""Checkpoints of `torch.distributed.checkpoint` whose tensors are huffwire messages.

`Writer` and `Reader` take the places of `FileSystemWriter` and `FileSystemReader`:

    import torch.distributed.checkpoint as dcp
    from huffwire.checkpoint import Reader, Writer

    dcp.save(state_dict, storage_writer=Writer("checkpoints/1000"))
    dcp.load(state_dict, storage_reader=Reader("checkpoints/1000"))

Every bit comes back, into any number of ranks. A folder holds a checkpoint from the moment at which
its file `.metadata` is there; an interrupted save leaves an older checkpoint in the same folder
whole.

Like those of torch, checkpoints are for people who trust each other: the file `.metadata` and
values that are no tensors are pickles, and a pickle can run any program. Files of strangers are
read with `huffwire.torch.load_file`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import logging
import math
import os
import pickle
import queue
import re
import secrets
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.filesystem import (
    CURRENT_DCP_VERSION,
    DEFAULT_SUFFIX,
    _OverlappingCpuLoader,
    _split_by_size_and_type,
    _StorageInfo,
)
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, StorageMeta
from torch.distributed.checkpoint.planner import (
    LoadItemType,
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

import huffwire
import huffwire.torch
from huffwire._roles import ROLES, Report, Share, role_of
from huffwire._progress import Progress, reporting

__all__ = ["ROLES", "Reader", "Report", "Share", "Writer", "role_of", "report"]

_log = logging.getLogger(__name__)

#: Bytes of a tensor that become one message. A reader decodes only the messages that it needs.
PIECE_BYTES = 32 << 20

_METADATA = ".metadata"
# What transform descriptors of huffwire begin with. `FileSystemReader` then says that it does not
# know "huffwire", instead of taking a message for a pickle.
_DESCRIPTOR = "huffwire/1 "
# Behind the pickle in `.metadata`: this, and the CRC-32 and the length of the pickle. Unpicklers
# stop before it.
_SEAL = b"huffwire checkpoint 1\n"
_SEAL_BYTES = len(_SEAL) + 4 + 8
# `__<rank>_<number of the save>_<number of the file>.distcp`, and without the number of the save as
# torch writes it.
_DATA_FILE = re.compile(r"__(\d+)_(?:[0-9a-f]{16}_)?\d+" + re.escape(DEFAULT_SUFFIX))
_CODEBOOKS = re.compile(r"codebooks-[0-9a-f]{16}\.books")
_RANK_METADATA = re.compile(r"__\d+" + re.escape(_METADATA))


@dataclasses.dataclass(frozen=True)
class _Stored:
    """How a value lies in its file: messages of equal parts of its elements, in a row."""

    role: str
    #: The type of the elements, as `bfloat16`; None for a value that is no tensor.
    dtype: str | None
    shape: tuple[int, ...]
    #: Elements of each message but the last.
    piece: int
    #: Bytes of each message.
    lengths: tuple[int, ...]
    #: The id of the codebooks beside the built-in ones; they lie in the same folder.
    codebooks: str | None

    def descriptor(self) -> str:
        return _DESCRIPTOR + json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def of(cls, info: Any) -> _Stored | None:
        """What the storage information of an item says; None if huffwire did not write it."""
        descriptors = getattr(info, "transform_descriptors", None) or ()
        if len(descriptors) != 1 or not descriptors[0].startswith("huffwire/"):
            return None
        if not descriptors[0].startswith(_DESCRIPTOR):
            raise huffwire.VersionError(
                f"{info.relative_path} was written by a newer huffwire; update the package"
            )
        fields = json.loads(descriptors[0][len(_DESCRIPTOR) :])
        fields["shape"] = tuple(fields["shape"])
        fields["lengths"] = tuple(fields["lengths"])
        stored = cls(**fields)
        pieces = -(-math.prod(stored.shape) // stored.piece) if stored.piece > 0 else -1
        if pieces != len(stored.lengths) or sum(stored.lengths) != info.length:
            raise huffwire.DamagedError(
                f"{info.relative_path}: the metadata contradict themselves; restore {_METADATA}"
            )
        return stored

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype) if self.dtype else torch.uint8

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.torch_dtype.itemsize


class Writer(FileSystemWriter):
    """Writes checkpoints of `torch.distributed.checkpoint`, each tensor as huffwire messages.

    Each rank writes `thread_count` files. `dcp.save` and `dcp.async_save` take the writer, the
    latter with its thread or with its process.

    A message has a checksum, and is bound to the name of its tensor, to its place in the tensor and
    to its file: what was damaged or exchanged is noticed. Files of a save have names that no other
    save has. The metadata come last, at once, and then the files of an older checkpoint in the
    folder are removed.

    Args:
        path: The folder; it is made if it is not there.
        single_file_per_rank: False for one file for each tensor instead.
        sync_files: Wait until the disk has the files (fsync).
        thread_count: Threads of Python that encode and write, each to its own file.
        per_thread_copy_ahead: Bytes that are copied from a GPU ahead of coding, with one thread.
        cache_staged_state_dict: Keep the copy on the CPU that `async_save` makes, for the next
            save.
        overwrite: False to refuse a folder with a checkpoint.
        level: "fast" or "max".
        symbols: "auto", "bytes" or "byte-planes".
        codebooks: A set to use instead of the built-in one. It is kept in the folder, so `Reader`
            has it, too.
        checksums: False leaves the checksums of messages out.
        threads: Threads that encode one tensor, for each of `thread_count`. None:
            `OMP_NUM_THREADS`, or else the processors of the process.
        roles: Names the role of a value for the report, from its name. None from `roles`, or no
            `roles`, leaves it to `role_of`.
        progress: True for a bar, or a callable that gets (bytes done, bytes in total).

    Raises:
        ExistsError: If `overwrite` is False and the folder has a checkpoint.
        FileError: If the system refuses to write.
        UnsupportedError: For a sparse, quantized or meta tensor, which the error names.

        `dcp.save` raises them inside a `CheckpointException`, which holds the errors of all ranks.

    >>> import tempfile, torch, torch.distributed.checkpoint as dcp
    >>> folder = tempfile.TemporaryDirectory()
    >>> weights = torch.randn(1 << 20).bfloat16()
    >>> writer = Writer(folder.name, sync_files=False)
    >>> _ = dcp.save({"weights": weights}, storage_writer=writer, no_dist=True)
    >>> print(f"{writer.report().roles['weights'].saved:.0%}")
    34%
    >>> restored = {"weights": torch.empty_like(weights)}
    >>> dcp.load(restored, storage_reader=Reader(folder.name), no_dist=True)
    >>> torch.equal(restored["weights"], weights)
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        single_file_per_rank: bool = True,
        sync_files: bool = True,
        thread_count: int = 1,
        per_thread_copy_ahead: int = 10_000_000,
        cache_staged_state_dict: bool = False,
        overwrite: bool = True,
        *,
        level: str = "fast",
        symbols: str = "auto",
        codebooks: huffwire.Codebooks | None = None,
        checksums: bool = True,
        threads: int | None = None,
        roles: Callable[[str], str | None] | None = None,
        progress: Progress = None,
    ) -> None:
        if thread_count < 1:
            raise huffwire.OptionError(f"thread_count is {thread_count}; it must be at least 1")
        super().__init__(
            path,
            single_file_per_rank=single_file_per_rank,
            sync_files=sync_files,
            thread_count=thread_count,
            per_thread_copy_ahead=per_thread_copy_ahead,
            cache_staged_state_dict=cache_staged_state_dict,
            overwrite=overwrite,
        )
        self.roles = roles
        self.progress = progress
        self.options: dict[str, Any] = {
            "level": level,
            "symbols": symbols,
            "codebooks": codebooks,
            "checksums": checksums,
            "threads": threads,
        }
        self._report = Report(whole=False)

    def report(self) -> Report:
        """What the last save wrote, for each role.

        The coordinator (rank 0) reports the whole checkpoint, other ranks what they wrote
        themselves. After `async_save` in a process of its own this writer knows nothing;
        `huffwire.checkpoint.report(path)` does.
        """
        return self._report

    # --- the steps of a save, in order ---

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        folder = Path(self.path)
        with _system_errors():
            folder.mkdir(parents=True, exist_ok=True)
        metadata = folder / _metadata_name(None if self.use_collectives else 0)
        if metadata.exists() and not self.overwrite:
            raise huffwire.ExistsError(
                f"{folder} holds a checkpoint already; choose another folder, or overwrite=True"
            )
        return plan

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        # Plans may be cached from save to save, so the name of this save is not in the plan.
        prefix = f"__{self._rank_of(plan)}_{secrets.token_hex(8)}_"
        if self.single_file_per_rank:
            parts = _split_by_size_and_type(self.thread_count, plan.items)
        else:
            parts = [[item] for item in plan.items]
        files: queue.SimpleQueue[tuple[str, list[WriteItem]]] = queue.SimpleQueue()
        names = [f"{prefix}{number}{DEFAULT_SUFFIX}" for number in range(len(parts))]
        for name, items in zip(names, parts, strict=True):
            files.put((name, items))

        with reporting(self.progress, _planned_bytes(plan.items), "saving") as report:
            done = _Done(report, _planned_bytes(plan.items))
            workers = [
                _Saving(self, planner, files, done)
                for _ in range(max(1, min(self.thread_count, len(parts))))
            ]
            try:
                _run_together([worker.run for worker in workers])
            except BaseException:
                for name in names:
                    Path(self.path, name).unlink(missing_ok=True)
                raise
        if self.sync_files:
            _sync_folder(Path(self.path))

        results = [result for worker in workers for result in worker.results]
        self._report = _report_of((result.storage_data for result in results), whole=False)
        future: Future[list[WriteResult]] = Future()
        future.set_result(results)
        return future

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        metadata.version = CURRENT_DCP_VERSION
        metadata.storage_data = {
            result.index: result.storage_data for rank in results for result in rank
        }
        metadata.storage_meta = self.storage_meta()
        pickled = pickle.dumps(metadata)
        seal = (
            _SEAL + zlib.crc32(pickled).to_bytes(4, "little") + len(pickled).to_bytes(8, "little")
        )

        folder = Path(self.path)
        name = _metadata_name(None if self.use_collectives else self.rank)
        unfinished = folder / f"{name}.tmp"
        with _system_errors():
            if books := self.options["codebooks"]:
                books.save(folder / _codebooks_name(books.id))
            with unfinished.open("wb") as file:
                file.write(pickled)
                file.write(seal)
                if self.sync_files:
                    file.flush()
                    os.fsync(file.fileno())
            unfinished.replace(folder / name)
            if self.sync_files:
                _sync_folder(folder)

        storage = metadata.storage_data.values()
        mine = {info.relative_path for info in storage}
        self._remove_others(folder, mine | ({_codebooks_name(books.id)} if books else set()))
        self._report = _report_of(storage, whole=self.use_collectives)
        _log.info("%s: %s", folder, self._report)

    def _rank_of(self, plan: SavePlan) -> int:
        """The number of this rank, or what the coordinator put in its plan: `__<rank>_`."""
        if self.rank is not None:
            return self.rank
        digits = re.match(r"__(\d+)_", getattr(plan.storage_data, "prefix", ""))
        return int(digits[1]) if digits else 0

    def _remove_others(self, folder: Path, mine: set[str]) -> None:
        """Removes the files of older and of interrupted saves."""
        with contextlib.suppress(OSError):  # what cannot be removed only takes space
            names = os.listdir(folder)
            if self.use_collectives and any(_RANK_METADATA.fullmatch(name) for name in names):
                return  # files of a checkpoint without a coordinator: no way to know whose they are
            for name in names:
                match = _DATA_FILE.fullmatch(name)
                if self.use_collectives:
                    old = match is not None or _CODEBOOKS.fullmatch(name) is not None
                else:
                    old = match is not None and int(match[1]) == self.rank
                if old and name not in mine:
                    Path(folder, name).unlink(missing_ok=True)


class _Saving:
    """One thread's work: takes a file from the queue, and encodes the items of the file into it."""

    def __init__(
        self,
        writer: Writer,
        planner: SavePlanner,
        files: queue.SimpleQueue[tuple[str, list[WriteItem]]],
        done: _Done,
    ) -> None:
        self.writer = writer
        self.planner = planner
        self.files = files
        self.done = done
        self.results: list[WriteResult] = []
        self._scratch = bytearray()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                name, items = self.files.get_nowait()
            except queue.Empty:
                return
            with _system_errors(), Path(self.writer.path, name).open("wb", buffering=0) as file:
                offset = 0
                for item, value in self._values(items):
                    if stop.is_set():
                        return
                    offset = self._write(file, name, offset, item, value)
                if self.writer.sync_files:
                    os.fsync(file.fileno())

    def _values(
        self, items: Sequence[WriteItem]
    ) -> Iterator[tuple[WriteItem, torch.Tensor | None]]:
        """Items with tensors on the CPU; values that are no tensors come first, without one."""
        for item in items:
            if item.type == WriteItemType.BYTE_IO:
                yield item, None
        tensors = [item for item in items if item.type != WriteItemType.BYTE_IO]
        ahead = self.writer.per_thread_copy_ahead
        if self.writer.thread_count == 1 and ahead > 0 and torch.cuda.is_available():
            loader = _OverlappingCpuLoader(self._tensor, inflight_threshhold=ahead)
            for item in tensors:
                loader.add(_planned_bytes([item]), item)
            for tensor, loaded in loader.values():
                yield cast(WriteItem, loaded), tensor
        else:
            for item in tensors:
                yield item, self._tensor(item).detach().cpu()

    def _tensor(self, item: WriteItem) -> torch.Tensor:
        """The tensor of an item, where it is, if it has elements that can be saved."""
        tensor = cast(torch.Tensor, self.planner.resolve_data(item))
        plain = tensor.layout == torch.strided and not tensor.is_nested
        if not plain or tensor.is_quantized or tensor.is_meta:
            raise huffwire.UnsupportedError(
                f"{item.index.fqn!r} is a sparse, nested, quantized or meta tensor: save the dense "
                "tensors that it consists of"
            )
        return tensor

    def _write(
        self,
        file: io.RawIOBase,
        name: str,
        offset: int,
        item: WriteItem,
        tensor: torch.Tensor | None,
    ) -> int:
        """Appends the messages of an item, and returns where they end."""
        index = item.index
        dtype = None
        if tensor is None:
            content = cast(io.BytesIO, self.planner.resolve_data(item)).getbuffer()
            elements = torch.empty(0, dtype=torch.uint8)
            if content.nbytes:
                elements = torch.frombuffer(content, dtype=torch.uint8)
            shape: tuple[int, ...] = (content.nbytes,)
        else:
            elements = tensor.resolve_conj().resolve_neg().reshape(-1)
            shape = tuple(tensor.shape)
            dtype = str(tensor.dtype).removeprefix("torch.")

        role = self.writer.roles(index.fqn) if self.writer.roles else None
        if role is None:
            role = role_of(index.fqn, dtype is not None and elements.dtype.is_floating_point)
        piece = max(1, PIECE_BYTES // elements.itemsize)
        lengths = []
        for number, first in enumerate(range(0, elements.numel(), piece)):
            part = elements[first : first + piece]
            room = huffwire.torch.max_encoded_size(part.shape, part.dtype)
            if len(self._scratch) < room:
                self._scratch = bytearray(room)
            context = _place(name, index, number)
            with _naming(index.fqn):
                length = huffwire.torch.encode_into(
                    part, self._scratch, context=context, **self.writer.options
                )
            _write_all(file, memoryview(self._scratch)[:length])
            lengths.append(length)
            if tensor is not None:
                self.done.add(part.nbytes)

        books = self.writer.options["codebooks"]
        stored = _Stored(role, dtype, shape, piece, tuple(lengths), books and books.id)
        size = sum(lengths)
        info = _StorageInfo(name, offset, size, transform_descriptors=[stored.descriptor()])
        self.results.append(WriteResult(index=index, size_in_bytes=size, storage_data=info))
        return offset + size


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
            with _naming("the codebooks of the checkpoint"):
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
            with _naming(f"{index.fqn!r} in {self._folder / info.relative_path}"):
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
        with self._lock, _system_errors(f"{index.fqn!r} is in a file that cannot be read: "):
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
        with _system_errors():
            while done < length:
                count = os.preadv(descriptor, [view[done:]], start + done)
                if count == 0:
                    raise huffwire.DamagedError(f"{index.fqn!r} in {path}: the file became shorter")
                done += count
        return view


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


def _report_of(infos: Any, *, whole: bool) -> Report:
    parts = []
    for info in infos:
        stored = _Stored.of(info)
        if stored is not None:
            parts.append((stored.role, Share(1, stored.bytes, info.length)))
    return Report.of(parts, whole=whole)


def _read_metadata(path: Path) -> Metadata:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise huffwire.MissingFileError(
            f"{path.parent} holds no whole checkpoint: {path.name} is missing. A save "
            "still runs, or was interrupted"
        ) from None
    except OSError as error:
        raise huffwire.FileError(str(error)) from error
    seal = content[-_SEAL_BYTES:]
    pickled = memoryview(content)
    if seal.startswith(_SEAL):
        pickled = pickled[:-_SEAL_BYTES]
        checksum, length = seal[len(_SEAL) : -8], seal[-8:]
        if len(pickled) != int.from_bytes(length, "little") or zlib.crc32(
            pickled
        ) != int.from_bytes(checksum, "little"):
            raise huffwire.DamagedError(f"{path}: the checksum is wrong; restore the file")
    try:
        metadata = pickle.loads(pickled)
    except Exception as error:
        raise huffwire.DamagedError(f"{path} is damaged, or cut short: {error}") from error
    if not isinstance(metadata, Metadata):
        raise huffwire.DamagedError(
            f"{path} holds a {type(metadata).__name__}, and no metadata of a checkpoint"
        )
    if not seal.startswith(_SEAL) and any(
        _Stored.of(info) is not None for info in (metadata.storage_data or {}).values()
    ):
        raise huffwire.DamagedError(f"{path}: the checksum at its end is missing; restore the file")
    return metadata


def _place(file: str, index: MetadataIndex, piece: int) -> int:
    """The context of a message: 64 bits of a hash over its file, its tensor and its place there."""
    offset = None if index.offset is None else list(index.offset)
    place = json.dumps([file, index.fqn, offset, piece]).encode()
    return int.from_bytes(hashlib.blake2b(place, digest_size=8).digest(), "little")


def _codebooks_name(id: str) -> str:
    return f"codebooks-{id}.books"


def _metadata_name(rank: int | None) -> str:
    return _METADATA if rank is None else f"__{rank}{_METADATA}"


def _planned_bytes(items: Sequence[WriteItem]) -> int:
    """Bytes of all tensors of a plan; the sizes of other values are not known yet."""
    return sum(
        math.prod(item.tensor_data.chunk.sizes) * item.tensor_data.properties.dtype.itemsize
        for item in items
        if item.tensor_data is not None
    )


def _wanted_bytes(item: ReadItem, stored: _Stored) -> int:
    """Bytes of the elements that an item reads."""
    sizes = stored.shape if item.type == LoadItemType.BYTE_IO else item.lengths
    return stored.torch_dtype.itemsize * math.prod(sizes)


class _Done:
    """The bytes that are done, on all threads, and who is told."""

    def __init__(self, report: Callable[[int, int], object] | None, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if self._report is not None and count:
            with self._lock:
                self._done += count
                self._report(self._done, self._total)


def _run_together(tasks: Sequence[Callable[[threading.Event], None]]) -> None:
    """Runs tasks on a thread each, the last on this one. An error tells the others to stop."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def guarded(task: Callable[[threading.Event], None]) -> None:
        try:
            task(stop)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks[:-1]]
    for thread in threads:
        thread.start()
    guarded(tasks[-1])
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _write_all(file: io.RawIOBase, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _sync_folder(folder: Path) -> None:
    """Waits until the disk has the names of the files in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _system_errors(prefix: str = "") -> Iterator[None]:
    """Makes errors of the system huffwire's."""
    try:
        yield
    except huffwire.Error:
        raise
    except FileNotFoundError as error:
        raise huffwire.MissingFileError(f"{prefix}{error}") from error
    except OSError as error:
        raise huffwire.FileError(f"{prefix}{error}") from error


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Puts what was worked on in front of the message of an error."""
    try:
        yield
    except huffwire.Error as error:
        raise type(error)(f"{what}: {error}") from error
