"""Files of tensors: `.hw` files, and models that consist of several of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeAlias

from huffwire._buffers import Level, Sets, Symbols
from huffwire._errors import (
    DamagedError,
    FileError,
    LimitError,
    MismatchError,
    NoSuchTensorError,
    OptionError,
    UnsupportedError,
)
from huffwire._huffwire import (
    MAX_CHAIN,
    Codebooks,
    FileBase,
    FileReader,
    FileWriter,
    safetensors_header,
)
from huffwire._progress import Progress, Report, reporting

PathLike: TypeAlias = str | os.PathLike[str]
# What `base=` takes: nothing, a file, or a chain of files, the oldest first.
BaseLike: TypeAlias = PathLike | Sequence[PathLike] | None

INDEX = "model.safetensors.index.json"
# Indexes of the largest models have a few megabytes.
_MAX_INDEX_BYTES = 100_000_000
# Tensors for another device are decoded in groups of about so many bytes, which then are copied there.
_GROUP_BYTES = 256 << 20


class Framework(Protocol):
    """What makes tensors: PyTorch or NumPy."""

    def device(self, device: Any) -> Any:
        """A device as the framework names it, or an error."""

    def stays(self, device: Any) -> bool:
        """Whether tensors of this device lie in the memory that is decoded to."""

    def empty(self, dtype: str, shape: tuple[int, ...]) -> Any:
        """A new tensor; ``dtype`` is huffwire's name."""

    def memory(self, tensor: Any) -> tuple[int, int]:
        """Its address and its length in bytes."""

    def move(self, tensor: Any, device: Any) -> Any:
        """The tensor on that device."""

    def contiguous(self, tensor: Any) -> Any:
        """The tensor with memory of its own that holds nothing else."""

    def decoded_there(
        self, entries: Sequence[Entry], device: Any
    ) -> Iterator[tuple[Entry, Any]]:
        """Those of a file's tensors that the device decodes itself, one after the other. All others are decoded here."""


def framework_of(name: str) -> Framework:
    """The framework of this name.

    Raises:
        OptionError: There is none of that name.
    """
    if name in ("pt", "torch", "pytorch"):
        from huffwire._torch_files import FRAMEWORK as TORCH

        return TORCH
    if name in ("np", "numpy"):
        from huffwire._numpy_files import FRAMEWORK as NUMPY

        return NUMPY
    raise OptionError(f'framework={name!r}: give "pt" for PyTorch or "np" for NumPy')


class Entry(NamedTuple):
    """A tensor in a file."""

    name: str
    spelled: str  # Its type in the original file: "BF16", "<f4".
    dtype: str | None  # huffwire's name of the type; None if it cannot become a tensor.
    shape: tuple[int, ...]  # In values, of which e2m1 has two in a byte.
    size: int  # In bytes.
    reader: FileReader
    place: int  # In the reader's list.
    path: Path | None  # Of the file, if it is one.

    def stored_shape(self) -> tuple[int, ...]:
        """The shape in elements that are whole bytes: two values of e2m1 are one element, as in PyTorch."""
        if self.dtype is None:
            raise UnsupportedError(
                f"{self.reader.label}: tensor {self.name!r} cannot become a tensor here: its type is "
                f"{self.spelled!r}, its shape {self.shape}, its size {self.size} bytes; `huffwire decompress "
                "--tensor` writes its bytes"
            )
        if self.dtype != "e2m1":
            return self.shape
        if not self.shape or self.shape[-1] % 2:
            raise UnsupportedError(
                f"{self.reader.label}: tensor {self.name!r} has an odd number of 4-bit values in each row: no "
                "tensor can hold it; `huffwire decompress --tensor` writes its bytes"
            )
        return (*self.shape[:-1], self.shape[-1] // 2)


class Files:
    """Tensors of one `.hw` file, or of a model in several, by their names."""

    def __init__(
        self, readers: Iterable[tuple[FileReader, Path | None, Callable[[str, str], bool] | None]]
    ):
        """Each reader comes with the path of its file, and with a function that tells whether a tensor counts, by its
        name and the name of the original file that it belongs to. None means that the file decides itself."""
        self.entries: dict[str, Entry] = {}
        self.metadata: dict[str, str] | None = None
        for reader, path, counts in readers:
            originals = reader.originals()
            for place in range(len(originals)):
                metadata = reader.metadata(place)
                if metadata is not None:
                    # Of several shards the first one that says something is right.
                    self.metadata = metadata | (self.metadata or {})
            if counts is None:
                counts = _counts(reader, originals)
            for place, (name, spelled, dtype, shape, size, original) in enumerate(reader.tensors()):
                if not counts(name, originals[original]):
                    continue
                known = self.entries.get(name)
                if known is not None:
                    raise MismatchError(
                        f"{reader.label}: two tensors are named {name!r}, the second one in "
                        f"{originals[original]!r}: restore the original files with `huffwire decompress`, and "
                        "load each of them"
                    )
                self.entries[name] = Entry(name, spelled, dtype, shape, size, reader, place, path)

    def entry(self, name: str) -> Entry:
        entry = self.entries.get(name)
        if entry is None:
            similar = [other for other in self.entries if name in other or other in name][:3]
            hint = f"; did you mean {' or '.join(map(repr, similar))}?" if similar else ""
            raise NoSuchTensorError(f"there is no tensor {name!r} among {len(self.entries)}{hint}")
        return entry


def _weight_map(label: str, content: bytes) -> dict[str, str]:
    """Which file holds which tensor, as an index of a model says."""
    # Not at the top: `import huffwire` is to be quick.
    import json

    try:
        names = json.loads(content)["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{label}: this is not an index of a model: {error!r}") from None
    if not isinstance(names, dict) or not all(isinstance(shard, str) for shard in names.values()):
        raise DamagedError(f"{label}: this is not an index of a model: weight_map names no files")
    for shard in set(names.values()):
        plain = os.path.basename(shard) == shard and shard not in ("", ".", "..")
        if not plain or "\\" in shard or not shard.isprintable():
            raise DamagedError(
                f"{label}: it names a file {shard!r}, which is no plain file name; a model's files lie in the "
                "folder of its index"
            )
    return names


def _counts(reader: FileReader, originals: list[str]) -> Callable[[str, str], bool]:
    """Which tensors of a file count: of a sharded model those that its index names."""
    for place, name in enumerate(originals):
        if name.lower().endswith(".safetensors.index.json"):
            content = reader.content(place, _MAX_INDEX_BYTES)
            names = _weight_map(f"{reader.label}: {name}", content)
            known = {entry[0]: originals[entry[5]] for entry in reader.tensors()}
            for tensor, shard in names.items():
                if tensor not in known:
                    raise DamagedError(
                        f"{reader.label}: the index names a tensor {tensor!r} in {shard!r}, which is not there"
                    )
            return lambda tensor, original: names.get(tensor) == original
    return lambda tensor, original: True


def can_be_name(path: object) -> bool:
    """Whether a file or a folder can have this name."""
    if not isinstance(path, str) or not path or "\0" in path:
        return False
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def open_base(base: BaseLike, codebooks: Sets) -> FileBase | None:
    """What deltas are made of and restored with.

    Raises:
        OptionError: It names no files.
        ChainError: The files do not follow each other.
        MissingBaseError: The first file is a delta.
        LimitError: With another delta behind it the chain would be too long.
        Error: A file cannot be opened.
    """
    if base is None:
        return None
    files = [base] if isinstance(base, (str, os.PathLike)) else base
    try:
        paths = [os.fspath(file) for file in files]
    except TypeError:
        raise OptionError(f"base={base!r}: give a file, or a list of files") from None
    for path in paths:
        if not can_be_name(path):
            raise OptionError(
                f"base={base!r}: no file can have the name {path!r}; give a file, or a list of files"
            )
    if len(paths) > MAX_CHAIN:
        raise LimitError(
            f"base= names {len(paths)} files, the last one {paths[-1]!r}; a chain has at most {MAX_CHAIN} deltas "
            "behind its first file: fold some of them into one with `huffwire fold`, or save a file without base= and "
            "later ones against it"
        )
    return FileBase(paths, codebooks=codebooks)


def open_files(
    path: PathLike, max_size: int | None, codebooks: Sets, base: BaseLike = None
) -> Files:
    """Opens a `.hw` file, an index of a model whose shards lie beside it as `.hw` files, or the folder of one
    of these.

    Raises:
        FileError: There is no such file, or a folder has none.
        DamagedError: A file is damaged, or an index names what is not there.
        Error: As for `open_base`.
    """
    path = Path(path)
    if not can_be_name(str(path)):
        raise FileError(f"{str(path)!r}: no file can have this name; give the file to open")
    opened = open_base(base, codebooks)
    # Unlike the methods of paths these functions raise nothing for names that are too long.
    if os.path.isdir(path):
        candidates = [INDEX, f"{INDEX}.hw", "model.safetensors.hw"]
        found = next((path / name for name in candidates if os.path.isfile(path / name)), None)
        if found is None:
            raise FileError(
                f"{path}: this folder has none of {', '.join(candidates)}; give the file to open"
            )
        path = found

    def open_one(path: Path) -> FileReader:
        return FileReader(path, max_size=max_size, codebooks=codebooks, base=opened)

    if not path.name.lower().endswith(".index.json"):
        return Files([(open_one(path), path, None)])
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise DamagedError(f"{path}: this is not an index of a model: it has more than 100 MB")
        content = path.read_bytes()
    except OSError as error:
        raise FileError(error.errno, f"{path}: {error.strerror}") from None
    names = _weight_map(str(path), content)
    readers = []
    for shard in sorted(set(names.values())):
        place = path.with_name(f"{shard}.hw")
        reader = open_one(place)
        there = {entry[0] for entry in reader.tensors()}
        wanted = {tensor for tensor, file in names.items() if file == shard}
        if not wanted <= there:
            raise DamagedError(
                f"{path}: it names a tensor {min(wanted - there)!r} in {shard!r}, but {reader.label} has none of "
                "that name"
            )
        readers.append((reader, place, lambda tensor, _, wanted=wanted: tensor in wanted))
    return Files(readers)


def open_bytes(
    data: bytes, max_size: int | None, codebooks: Sets, base: BaseLike = None
) -> Files:
    """The same for the bytes of a `.hw` file."""
    opened = open_base(base, codebooks)
    reader = FileReader.from_bytes(data, max_size=max_size, codebooks=codebooks, base=opened)
    return Files([(reader, None, None)])


def load(
    files: Files,
    framework: Framework,
    device: Any,
    *,
    max_size: int | None,
    threads: int | None,
    progress: Progress,
    names: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Decodes tensors straight into their memory: those of some names, or all."""
    entries = [files.entry(name) for name in (files.entries if names is None else names)]
    total = sum(entry.size for entry in entries)
    if max_size is not None and total > max_size:
        raise LimitError(f"the tensors have {total} bytes, and max_size is {max_size}")
    tensors: dict[str, Any] = {}
    with reporting(progress, total, "loading") as report:
        done = 0
        for entry, tensor in framework.decoded_there(entries, device):
            tensors[entry.name] = tensor
            done += entry.size
            if report is not None:
                report(done, total)
        rest = [entry for entry in entries if entry.name not in tensors]
        for group in _groups(rest, framework.stays(device)):
            made = [framework.empty(entry.dtype or "", entry.stored_shape()) for entry in group]
            wanted = [
                (entry.place, None, framework.memory(tensor))
                for entry, tensor in zip(group, made, strict=True)
            ]
            group[0].reader.decode(
                wanted, threads=threads, progress=report, done=done, total=total
            )
            done += sum(entry.size for entry in group)
            for index, entry in enumerate(group):
                tensors[entry.name] = framework.move(made[index], device)
                made[index] = None
    return {entry.name: tensors[entry.name] for entry in entries}


def _groups(entries: Sequence[Entry], stays: bool) -> Iterator[list[Entry]]:
    """Entries of one reader that are decoded together."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        full = not stays and size + entry.size > _GROUP_BYTES
        if group and (full or group[0].reader is not entry.reader):
            yield group
            group, size = [], 0
        group.append(entry)
        size += entry.size
    if group:
        yield group


class safe_open:  # noqa: N801 (its name in safetensors)
    """Opens a `.hw` file and decodes only the tensors, or parts of them, that are read.

    >>> import numpy, tempfile, huffwire, huffwire.numpy
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/model.hw"
    >>> huffwire.numpy.save_file({"a": numpy.arange(6.0).reshape(2, 3)}, path, {"step": "7"})
    >>> with huffwire.safe_open(path, framework="np") as file:
    ...     print(file.keys(), file.metadata(), file.get_slice("a")[:, 1])
    ['a'] {'step': '7'} [1. 4.]

    Args:
        filename: A `.hw` file (of a sharded model, too), or an index (`model.safetensors.index.json`)
            beside which each shard lies as a `.hw` file (`model-00001-of-00002.safetensors.hw`), or the
            folder of such an index or of `model.safetensors.hw`.
        framework: ``"pt"`` for PyTorch, ``"np"`` for NumPy.
        device: Where PyTorch's tensors are wanted.
        max_size: No call decodes more bytes. Set it for files from strangers: a small file can decode to
            very much.
        threads: How many threads decode; None for what ``OMP_NUM_THREADS`` says, or else for as many as
            there are processors that this process may run on.
        codebooks: What the file was saved with, if that is neither built in nor part of the file.
        base: What the file was saved against, if it was: a file, or a list of files, the oldest first, each but the
            first one saved against those before it. Names and metadata can be read without it.

    Raises:
        FileError: The file cannot be opened.
        DamagedError: It is damaged, or no `.hw` file.
        MismatchError: Two of its tensors have the same name, or the base lacks one.
        ChainError: The files of a base do not follow each other.
        CodebookError: Its codebooks are not at hand.
        OptionError: An unknown framework or device.
    """

    def __init__(
        self,
        filename: PathLike,
        framework: str,
        device: Any = "cpu",
        *,
        max_size: int | None = None,
        threads: int | None = None,
        codebooks: Sets = None,
        base: BaseLike = None,
    ) -> None:
        self._framework = framework_of(framework)
        self._device = self._framework.device(device)
        self._max_size, self._threads = max_size, threads
        self._files: Files | None = open_files(filename, max_size, codebooks, base)

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._files = None

    def _open(self) -> Files:
        if self._files is None:
            raise OptionError("the file is closed: use it within its `with` block")
        return self._files

    def keys(self) -> list[str]:
        """The names of all tensors, sorted."""
        return sorted(self._open().entries)

    def offset_keys(self) -> list[str]:
        """The names of all tensors in the order of the file."""
        return list(self._open().entries)

    def metadata(self) -> dict[str, str] | None:
        """The metadata that the file was saved with; None if there are none. Of a sharded model they are
        those of all shards; where two differ, those of the first one."""
        metadata = self._open().metadata
        return None if metadata is None else dict(metadata)

    def get_tensor(self, name: str) -> Any:
        """A tensor.

        Raises:
            NoSuchTensorError: There is none of that name.
            LimitError: It is larger than ``max_size``.
            DamagedError: It is damaged.
            MissingBaseError: It was saved against a base, which was not given.
            WrongBaseError: The base is not the one that it was saved against.
        """
        return self.get_tensors([name])[name]

    def get_tensors(self, names: Iterable[str] | None = None, *, progress: Progress = None) -> dict[str, Any]:
        """Tensors by their names; all of them if none are named. They are decoded together, which is faster
        than one after the other.

        Raises:
            NoSuchTensorError: There is none of that name.
            LimitError: Together they are larger than ``max_size``.
            DamagedError: One is damaged.
        """
        return load(
            self._open(),
            self._framework,
            self._device,
            max_size=self._max_size,
            threads=self._threads,
            progress=progress,
            names=names,
        )

    def get_slice(self, name: str) -> TensorSlice:
        """A view of a tensor; an index such as ``[10:20, 3]`` decodes only the blocks that it needs.

        Raises:
            NoSuchTensorError: There is no tensor of that name.
        """
        return TensorSlice(self, self._open().entry(name))


class TensorSlice:
    """A tensor in a file of which parts can be decoded. `safe_open.get_slice` makes it."""

    def __init__(self, file: safe_open, entry: Entry) -> None:
        self._file, self._entry = file, entry

    def get_shape(self) -> list[int]:
        """Its shape, in values."""
        return list(self._entry.shape)

    def get_dtype(self) -> str:
        """Its element type as safetensors files spell it: ``"BF16"``."""
        return self._entry.spelled

    def __getitem__(self, index: Any) -> Any:
        """A part of the tensor, or of a 4-bit tensor in the shape that PyTorch gives it.

        Integers, slices (of positive steps), ``...`` and None decode only the blocks that they need; any other
        index decodes the whole tensor first.

        Raises:
            IndexError: It reaches outside the tensor.
            LimitError: More than ``max_size`` bytes have to be decoded.
            DamagedError: A block is damaged.
        """
        file, entry = self._file, self._entry
        file._open()
        framework, shape = file._framework, entry.stored_shape()
        narrowed = narrow(shape, index)
        if narrowed is None:
            return framework.contiguous(file.get_tensor(entry.name)[index])
        ranges, rest = narrowed
        part = tuple(end - start for start, end in ranges)
        if prod(shape) == 0:
            tensor = framework.empty(entry.dtype or "", part)
        else:
            # Before memory is taken.
            size = entry.size // prod(shape) * prod(part)
            if file._max_size is not None and size > file._max_size:
                raise LimitError(
                    f"tensor {entry.name!r}: this part has {size} bytes, and max_size is {file._max_size}"
                )
            tensor = framework.empty(entry.dtype or "", part)
            wanted = [(entry.place, (shape, ranges), framework.memory(tensor))]
            entry.reader.decode(wanted, threads=file._threads)
        return framework.move(framework.contiguous(tensor[rest]), file._device)


def narrow(shape: tuple[int, ...], index: Any) -> tuple[list[tuple[int, int]], tuple[Any, ...]] | None:
    """The range of each dimension that an index needs, and the index into what these ranges hold; None for an
    index that is no matter of ranges."""
    parts = index if isinstance(index, tuple) else (index,)

    def simple(part: Any) -> bool:
        if isinstance(part, slice) or part is None or part is Ellipsis:
            return True
        return hasattr(part, "__index__") and not isinstance(part, bool) and not hasattr(part, "shape")

    if not all(map(simple, parts)):
        return None
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    if sum(part is Ellipsis for part in parts) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if taken > len(shape):
        raise IndexError(f"too many indices: {taken} for a tensor of {len(shape)} dimensions")
    if Ellipsis not in parts:
        parts = (*parts, Ellipsis)
    ranges: list[tuple[int, int]] = []
    rest: list[Any] = []
    for part in parts:
        dimension = len(ranges)
        if part is None:
            rest.append(None)
        elif part is Ellipsis:
            for size in shape[dimension : dimension + len(shape) - taken]:
                ranges.append((0, size))
                rest.append(slice(None))
        elif isinstance(part, slice):
            start, stop, step = part.indices(shape[dimension])
            if step < 0:
                raise OptionError("a slice must have a positive step: flip the tensor afterwards")
            ranges.append((start, max(start, stop)))
            rest.append(slice(None, None, step))
        else:
            size = shape[dimension]
            place = part.__index__()
            if not -size <= place < size:
                raise IndexError(
                    f"index {place} is out of bounds for dimension {dimension} with size {size}"
                )
            place %= size
            ranges.append((place, place + 1))
            rest.append(0)
    return ranges, tuple(rest)


class Item(NamedTuple):
    """A tensor to save."""

    dtype: str  # huffwire's name.
    shape: tuple[int, ...]  # In values.
    size: int  # In bytes.
    memory: Callable[[], tuple[Any, object]]  # Its memory, and what must live as long as that is used.
    stays: bool  # Whether it is in the memory of the processor already.


def save(
    items: Mapping[str, Item],
    filename: PathLike | None,
    metadata: Mapping[str, str] | None,
    *,
    level: Level,
    symbols: Symbols,
    codebooks: Codebooks | None,
    checksums: bool,
    threads: int | None,
    progress: Progress,
    base: BaseLike = None,
) -> bytes:
    """Writes a `.hw` file of an original `.safetensors` file. The file appears under its name only when it is complete.
    If no file is named, its bytes are returned, and else none."""
    label = "memory" if filename is None else os.fspath(filename)
    described = [(name, item.dtype, item.shape) for name, item in items.items()]
    if metadata is not None and not all(
        isinstance(text, str) for pair in metadata.items() for text in pair
    ):
        raise OptionError("metadata=: give a dictionary of strings")
    header, order = safetensors_header(label, described, None if metadata is None else dict(metadata))
    total = sum(item.size for item in items.values())
    with reporting(progress, total, "saving") as report:
        writer = FileWriter(
            filename,
            level=level,
            symbols=symbols,
            codebooks=codebooks,
            checksums=checksums,
            threads=threads,
            base=open_base(base, codebooks),
        )
        try:
            writer.begin_original(_original_name(filename))
            writer.add_bytes(header)
            _add(writer, [(name, items[name]) for name in order], report, total)
            written = writer.finish()
        finally:
            # Of a file that is finished nothing is removed.
            writer.abort()
    return written if isinstance(written, bytes) else b""


def _add(writer: FileWriter, items: list[tuple[str, Item]], report: Report, total: int) -> None:
    done = size = 0
    group: list[tuple[str, Item]] = []

    def add() -> None:
        nonlocal done, size, group
        memories = [item.memory() for _, item in group]
        tensors = [
            (name, item.dtype, item.shape, memory)
            for (name, item), (memory, _) in zip(group, memories, strict=True)
        ]
        writer.add(tensors, progress=report, done=done, total=total)
        done, size, group = done + sum(item.size for _, item in group), 0, []

    for name, item in items:
        # What is copied for the occasion is copied in parts.
        if group and not item.stays and size + item.size > _GROUP_BYTES:
            add()
        group.append((name, item))
        size += 0 if item.stays else item.size
    if group:
        add()


def _original_name(filename: PathLike | None) -> str:
    """The name of the `.safetensors` file that a `.hw` file of this name holds."""
    name = "model" if filename is None else Path(filename).name
    name = name[:-3] if name.lower().endswith(".hw") else name
    name = name[:-12] if name.lower().endswith(".safetensors") else name
    plain = name.isprintable() and not any(c in name for c in "/\\:")
    return f"{name if name and plain else 'model'}.safetensors"
