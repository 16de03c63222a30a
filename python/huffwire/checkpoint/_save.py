"""Saving: the class `Writer`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
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
from pathlib import Path
from typing import Any, cast

import torch
from torch.distributed.checkpoint.filesystem import (
    CURRENT_DCP_VERSION,
    DEFAULT_SUFFIX,
    FileSystemWriter,
    _OverlappingCpuLoader,
    _split_by_size_and_type,
    _StorageInfo,
)
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem, WriteItemType
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

import huffwire
import huffwire.torch
from huffwire._disk import naming, sync_folder, system_errors, write_all
from huffwire._progress import Progress, reporting
from huffwire._roles import Report, role_of
from huffwire.checkpoint._chain import (
    _check_base,
    _check_other,
    _folder_of,
    _path_between,
    _real,
)
from huffwire.checkpoint._pieces import _Checkpoint, _Disk, _open
from huffwire.checkpoint._stored import (
    _CODEBOOKS,
    _DATA_FILE,
    _RANK_METADATA,
    _SEAL,
    _codebooks_name,
    _metadata_name,
    _place,
    _report_of,
    _Stored,
    _Values,
)
from huffwire.checkpoint._work import _Done, _run_together

_log = logging.getLogger("huffwire.checkpoint")

#: Bytes of a tensor that become one message. A reader decodes only the messages that it needs.
PIECE_BYTES = 32 << 20

#: A delta of this share of the elements' bytes is taken without a look at the plain message.
SURELY_SMALL = 1 / 8
#: Else it is taken if it has this share of the plain message, which needs no base to be read.
WORTH = 0.98


class Writer(FileSystemWriter):
    """Writes checkpoints of `torch.distributed.checkpoint`, each tensor as huffwire messages.

    Each rank writes `thread_count` files. `dcp.save` and `dcp.async_save` take the writer, the
    latter with its thread or with its process.

    A message has a checksum, and is bound to the name of its tensor, to its place in the tensor and
    to its file: what was damaged or exchanged is noticed. Files of a save have names that no other
    save has. The metadata come last, at once, and then the files of an older checkpoint in the
    folder are removed.

    Args:
        path: The folder, on a disk that all ranks share; it is made if it is not there.
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
        base: The folder of an earlier checkpoint. What changed since is saved in place of tensors where that is
            smaller, of tensors that a rank holds with the same type and shape as then. Whoever loads needs that
            checkpoint, too, and those that it was saved against in turn.

    Raises:
        OptionError: If `base` is the same folder, or needs the checkpoint there, which would be replaced.
        MissingBaseError: If there is no checkpoint in the folder `base`, or if it lacks its own base.
        LimitError: If `base` ends a chain of 32 deltas.
        ExistsError: If `overwrite` is False and the folder has a checkpoint.
        MissingFileError: If another save into the folder removed files before this one was complete.
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
        base: str | os.PathLike[str] | None = None,
    ) -> None:
        if thread_count < 1:
            raise huffwire.OptionError(f"thread_count is {thread_count}; it must be at least 1")
        if codebooks is not None and not isinstance(codebooks, huffwire.Codebooks):
            raise huffwire.OptionError(f"codebooks={codebooks!r}: give one set of Codebooks, or None")
        #: The folder of the base.
        self.base = None if base is None else _folder_of(base)
        if self.base is not None:
            _check_other(self.base, Path(path))
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
        self._is_coordinator = True
        self._real_base: Path | None = None
        #: What `_check_base` found, until it is used.
        self._links: dict[Path, _Values] = {}

    def report(self) -> Report:
        """What the last save wrote, for each role.

        The coordinator (rank 0) reports the whole checkpoint, other ranks what they wrote
        themselves. After `async_save` in a process of its own this writer knows nothing;
        `huffwire.checkpoint.report(path)` does.
        """
        return self._report

    # --- the steps of a save, in order ---

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        super().set_up_storage_writer(is_coordinator, *args, **kwargs)
        self._is_coordinator = is_coordinator

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        folder = Path(self.path)
        self._real_base, self._links = None, {}
        if self.base is not None:
            # A link, such as one to the latest checkpoint, may be changed while this save runs.
            self._real_base = _real(self.base)
            if self._is_coordinator or not self.use_collectives:
                rank = None if self.use_collectives else self.rank
                self._links = _check_base(self._real_base, folder, rank)
        with system_errors():
            folder.mkdir(parents=True, exist_ok=True)
        metadata = folder / _metadata_name(None if self.use_collectives else 0)
        if metadata.exists() and not self.overwrite:
            raise huffwire.ExistsError(
                f"{folder} holds a checkpoint already; choose another folder, or overwrite=True"
            )
        if not self.use_collectives and (folder / _metadata_name(None)).exists():
            # Loads would go on to take that one, whose data each rank would remove.
            raise huffwire.ExistsError(
                f"{folder} holds a checkpoint that was saved with use_collectives=True, and a save without cannot "
                "replace it; choose another folder, or remove that one first"
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

        with (
            reporting(self.progress, _planned_bytes(plan.items), "saving") as report,
            self._opened_base(plan) as base,
        ):
            done = _Done(report, _planned_bytes(plan.items))
            workers = [
                _Saving(self, planner, files, done, base)
                for _ in range(max(1, min(self.thread_count, len(parts))))
            ]
            try:
                _run_together([worker.run for worker in workers])
            except BaseException:
                for name in names:
                    Path(self.path, name).unlink(missing_ok=True)
                raise
        if self.sync_files:
            sync_folder(Path(self.path))

        results = [result for worker in workers for result in worker.results]
        self._report = _report_of((result.storage_data for result in results), whole=False)
        future: Future[list[WriteResult]] = Future()
        future.set_result(results)
        return future

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        folder = Path(self.path)
        metadata.version = CURRENT_DCP_VERSION
        metadata.storage_data = {
            result.index: result.storage_data for rank in results for result in rank
        }
        storage = metadata.storage_data.values()
        ranks = [{result.storage_data.relative_path for result in rank} for rank in results]
        self._check_written(folder, ranks)
        mine = set[str]().union(*ranks)
        metadata.storage_meta = self.storage_meta()
        pickled = pickle.dumps(metadata)
        seal = (
            _SEAL + zlib.crc32(pickled).to_bytes(4, "little") + len(pickled).to_bytes(8, "little")
        )

        name = _metadata_name(None if self.use_collectives else self.rank)
        unfinished = folder / f"{name}.tmp"
        with system_errors():
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
                sync_folder(folder)

        self._remove_others(folder, mine | ({_codebooks_name(books.id)} if books else set()))
        self._report = _report_of(storage, whole=self.use_collectives)
        _log.info("%s: %s", folder, self._report)

    def _opened_base(self, plan: SavePlan) -> contextlib.AbstractContextManager[_Checkpoint | None]:
        """The checkpoint that deltas are made of."""
        if self._real_base is None:
            return contextlib.nullcontext()
        rank = None if self.use_collectives else self._rank_of(plan)
        books = self.options["codebooks"]
        links, self._links = self._links, {}
        return _open(
            self._real_base,
            "base=",
            rank=rank,
            disk=_Disk(links),
            codebooks=() if books is None else (books,),
            threads=self.options["threads"],
        )

    def _rank_of(self, plan: SavePlan) -> int:
        """The number of this rank, or what the coordinator put in its plan: `__<rank>_`."""
        if self.rank is not None:
            return self.rank
        digits = re.match(r"__(\d+)_", getattr(plan.storage_data, "prefix", ""))
        return int(digits[1]) if digits else 0

    def _check_written(self, folder: Path, ranks: Sequence[set[str]]) -> None:
        """Looks whether the files of all ranks are there. Only a warning tells of a rank of which this one sees no file,
        while it sees those of others: each computer may write to a disk of its own, and somebody may join the folders.

        Raises:
            MissingFileError: One is not.
        """
        with system_errors():
            there = set(os.listdir(folder))
        # The list may be older than the files where other computers write to the folder.
        seen = [{n for n in names if n in there or os.path.exists(folder / n)} for names in ranks]
        for names, found in zip(ranks, seen, strict=True):
            if names == found:
                continue
            gone = folder / min(names - found)
            if found or not any(seen):
                raise huffwire.MissingFileError(
                    f"{gone} is gone before this save is complete: another save into the same folder removed it; wait "
                    "for one save before you begin the next, or use other folders"
                )
            _log.warning(
                "%s and all other files of its rank cannot be seen by the rank that wrote the metadata: put them "
                "into one folder before the checkpoint is loaded",
                gone,
            )

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
        base: _Checkpoint | None,
    ) -> None:
        self.writer = writer
        self.base = base
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
            with system_errors(), Path(self.writer.path, name).open("wb", buffering=0) as file:
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
            elements = torch.empty(0, dtype=torch.uint8, device="cpu")
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
        books = self.writer.options["codebooks"]
        stored = _Stored(role, dtype, shape, piece, (), books and books.id)
        base = self.base
        if base is not None and base.find(index, dtype, shape) is None:
            base = None
        lengths: list[int] = []
        deltas = []
        for number, first in enumerate(range(0, elements.numel(), piece)):
            part = elements[first : first + piece]
            context = _place(name, index, number)
            with naming(index.fqn):
                if base is None:
                    message, is_delta = self._plain(part, context), False
                else:
                    old = torch.empty_like(part)
                    base.like(index, stored, first, old)
                    message, is_delta = self._smaller(part, old, context)
            write_all(file, message)
            lengths.append(message.nbytes)
            if is_delta:
                deltas.append(number)
            if tensor is not None:
                self.done.add(part.nbytes)

        stored = dataclasses.replace(stored, lengths=tuple(lengths), deltas=tuple(deltas))
        if deltas and base is not None:
            where = _path_between(Path(self.writer.path), base.folder)
            stored = dataclasses.replace(stored, base=where)
        size = sum(lengths)
        info = _StorageInfo(name, offset, size, transform_descriptors=[stored.descriptor()])
        self.results.append(WriteResult(index=index, size_in_bytes=size, storage_data=info))
        return offset + size

    def _plain(self, part: torch.Tensor, context: int) -> memoryview:
        """The message of a tensor, until the next one is made."""
        room = huffwire.torch.max_encoded_size(part.shape, part.dtype)
        if len(self._scratch) < room:
            self._scratch = bytearray(room)
        length = huffwire.torch.encode_into(
            part, self._scratch, context=context, **self.writer.options
        )
        return memoryview(self._scratch)[:length]

    def _smaller(
        self, part: torch.Tensor, old: torch.Tensor, context: int
    ) -> tuple[memoryview, bool]:
        """The message of a tensor, or the delta if it pays to need a base; and which of both it is."""
        delta = huffwire.torch.encode_delta(part, old, context=context, **self.writer.options)
        if len(delta) > SURELY_SMALL * part.nbytes:
            plain = self._plain(part, context)
            if len(delta) > WORTH * plain.nbytes:
                return plain, False
        return memoryview(delta), True


def _planned_bytes(items: Sequence[WriteItem]) -> int:
    """Bytes of all tensors of a plan; the sizes of other values are not known yet."""
    return sum(
        math.prod(item.tensor_data.chunk.sizes) * item.tensor_data.properties.dtype.itemsize
        for item in items
        if item.tensor_data is not None
    )
