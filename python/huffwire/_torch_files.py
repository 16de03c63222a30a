"""Files of PyTorch's tensors, with the names and the behaviour of ``safetensors.torch``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from huffwire import _files
from huffwire._compressed import CompressedTensor
from huffwire._buffers import Level, Sets, Symbols
from huffwire._errors import (
    DeviceError,
    LayoutError,
    MissingKeysError,
    OptionError,
    OutOfMemoryError,
    SharedStorageError,
    UnsupportedError,
)
from huffwire._files import BaseLike, PathLike
from huffwire._huffwire import Codebooks
from huffwire._progress import Progress
from huffwire._tensors import _CPU, _address, _dtype, _name, _refusal
from huffwire.cuda import _loading, _torch_device

Device = str | int | torch.device


class _Torch:
    """The framework PyTorch."""

    def device(self, device: Any) -> torch.device:
        try:
            return torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise OptionError(f"device={device!r}: {error}") from None

    def stays(self, device: torch.device) -> bool:
        return device == _CPU

    def empty(self, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
        theirs = _dtype(dtype)
        try:
            return torch.empty(shape, dtype=theirs, device=_CPU)
        except (RuntimeError, TypeError, OverflowError) as error:
            raise OutOfMemoryError(f"a tensor of {dtype} and shape {shape}: {error}") from None

    def memory(self, tensor: torch.Tensor) -> tuple[int, int]:
        return _address(tensor)

    def move(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        return tensor if device == _CPU else tensor.to(device)

    def contiguous(self, tensor: torch.Tensor) -> torch.Tensor:
        whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
        return tensor if whole else tensor.clone(memory_format=torch.contiguous_format)

    def decoded_there(
        self, entries: Sequence[_files.Entry], device: torch.device
    ) -> Iterator[tuple[_files.Entry, torch.Tensor]]:
        try:
            there = _torch_device.device_for(device)
        except DeviceError:
            # Such as a GPU without kernels: it gets what the processor decodes.
            there = None
        return iter(()) if there is None else _loading.load(entries, there, device)


FRAMEWORK = _Torch()


class safe_open(_files.safe_open):  # noqa: N801 (its name in safetensors)
    """`huffwire.safe_open` for PyTorch: ``framework`` may be left out.

    >>> import tempfile, torch, huffwire.torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/model.hw"
    >>> huffwire.torch.save_file({"a": torch.arange(6).reshape(2, 3)}, path)
    >>> with huffwire.torch.safe_open(path) as file:
    ...     file.get_slice("a")[1:]
    tensor([[3, 4, 5]])
    """

    def __init__(
        self,
        filename: PathLike,
        framework: str = "pt",
        device: Device = "cpu",
        *,
        max_size: int | None = None,
        threads: int | None = None,
        codebooks: Sets = None,
        base: BaseLike = None,
    ) -> None:
        super().__init__(
            filename,
            framework,
            device,
            max_size=max_size,
            threads=threads,
            codebooks=codebooks,
            base=base,
        )


def save_file(
    tensors: Mapping[str, torch.Tensor],
    filename: PathLike,
    metadata: Mapping[str, str] | None = None,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    progress: Progress = None,
    base: BaseLike = None,
) -> None:
    """Saves tensors in a `.hw` file. `huffwire decompress` makes a `.safetensors` file of it.

    The file appears under its name when it is complete. A file of that name is replaced only then; if something
    goes wrong before, it stays as it was. No other thread may write to the tensors during the call.

    >>> import tempfile, torch, huffwire.torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/model.safetensors.hw"
    >>> tensors = {"embedding": torch.zeros(512, 1024), "attention": torch.zeros(256, 256)}
    >>> huffwire.torch.save_file(tensors, path, {"format": "pt"})
    >>> sorted(huffwire.torch.load_file(path))
    ['attention', 'embedding']

    Args:
        tensors: Tensors by their names: contiguous, strided, on any device, none with memory of another one.
        filename: The file, usually with a name that ends in ``.safetensors.hw``.
        metadata: Text about the file, by keys.
        level: ``"fast"`` or ``"max"`` (smaller and slower).
        symbols: What the Huffman code encodes: ``"auto"`` (what suits the dtype), ``"bytes"`` or
            ``"byte-planes"``.
        codebooks: The codebooks, which become part of the file; None for the built-in ones. A base that only names
            them is read with them, too.
        checksums: Whether each block of 128 KiB gets a checksum of 4 bytes.
        threads: How many threads encode; None for what ``OMP_NUM_THREADS`` says, or else for as many as there
            are processors that this process may run on. The file is the same.
        progress: True for a bar (tqdm, if it is installed), or a function that is called with the bytes done and
            the bytes in all. An exception of the function ends the work.
        base: A file that whoever loads this one will have: `.safetensors`, `.hw`, an index of a model. Tensors that it
            has, too, are saved as what changed since, where that is smaller. A list of files is a chain, the oldest
            first: each but the first one saved against those before it.

    Raises:
        SharedStorageError: Tensors share memory; `save_model` drops duplicates.
        LayoutError: A tensor is not contiguous.
        UnsupportedError: A sparse, quantized or meta tensor, a lazy conjugate, no tensor at all, or a type that
            safetensors files do not have (complex128).
        MismatchError: A name that a file cannot have.
        FileError: The system refused to write, or the file is one of `base`.
        MissingBaseError, WrongBaseError, ChainError: The files of `base` are no whole chain.
        CodebookError: A base was saved with other codebooks, and does not hold them.
        LimitError: `base` names more than 32 files.
        OptionError: An option has a value that it cannot have.
    """
    _files.save(
        _items(tensors),
        filename,
        metadata,
        level=level,
        symbols=symbols,
        codebooks=codebooks,
        checksums=checksums,
        threads=threads,
        progress=progress,
        base=base,
    )


def save(
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    base: BaseLike = None,
) -> bytes:
    """The bytes of the `.hw` file that `save_file` would write. Arguments and errors are the same.

    >>> import torch, huffwire.torch
    >>> data = huffwire.torch.save({"a": torch.ones(2, 3)})
    >>> huffwire.torch.load(data)
    {'a': tensor([[1., 1., 1.],
            [1., 1., 1.]])}
    """
    return _files.save(
        _items(tensors),
        None,
        metadata,
        level=level,
        symbols=symbols,
        codebooks=codebooks,
        checksums=checksums,
        threads=threads,
        progress=None,
        base=base,
    )


def load_file(
    filename: PathLike,
    device: Device = "cpu",
    *,
    max_size: int | None = None,
    threads: int | None = None,
    codebooks: Sets = None,
    progress: Progress = None,
    base: BaseLike = None,
) -> dict[str, torch.Tensor]:
    """Loads all tensors of a `.hw` file, in the order of the file.

    They are decoded straight into their memory. To a GPU of NVIDIA the coded bytes are copied, and decoded there. For
    other devices, and where a GPU cannot decode a tensor (deltas, quantized values) or cannot be used by huffwire's kernels,
    tensors are decoded by the processor in parts of about 256 MiB, which are then copied.

    >>> import tempfile, torch, huffwire.torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/model.hw"
    >>> huffwire.torch.save_file({"a": torch.tensor([0.5, 2.0], dtype=torch.bfloat16)}, path)
    >>> huffwire.torch.load_file(path, max_size=1 << 30)
    {'a': tensor([0.5000, 2.0000], dtype=torch.bfloat16)}

    Args:
        filename: A file, an index of a model or a folder, as for `huffwire.safe_open`.
        device: Where the tensors are wanted.
        max_size: The most bytes that the tensors may have together. Set it for files from strangers: a small file
            can decode to very much.
        threads: How many threads decode; None as for `save_file`.
        codebooks: What the file was saved with, if that is neither built in nor part of the file.
        progress: As for `save_file`.
        base: What the file was saved against, if it was: a file, or a list of files as for `save_file`.

    Raises:
        FileError: The file cannot be opened or read.
        DamagedError: It is damaged, or no `.hw` file.
        LimitError: The tensors are larger than ``max_size``.
        MismatchError: Two tensors have the same name.
        MissingBaseError: The file was saved against a base, which is not given.
        WrongBaseError: The base is not the one that it was saved against.
        ChainError: The files of a base do not follow each other.
        CodebookError: The codebooks are not at hand.
        UnsupportedError: A tensor of a type that PyTorch does not have.
        OptionError: An option has a value that it cannot have.
    """
    place = FRAMEWORK.device(device)
    files = _files.open_files(filename, max_size, codebooks, base)
    return _files.load(
        files, FRAMEWORK, place, max_size=max_size, threads=threads, progress=progress
    )


def load(
    data: bytes,
    *,
    max_size: int | None = None,
    threads: int | None = None,
    codebooks: Sets = None,
    base: BaseLike = None,
) -> dict[str, torch.Tensor]:
    """Loads all tensors of the bytes of a `.hw` file. Arguments and errors are those of `load_file`.

    >>> import torch, huffwire.torch
    >>> huffwire.torch.load(huffwire.torch.save({"a": torch.tensor(3)}))
    {'a': tensor(3)}
    """
    files = _files.open_bytes(data, max_size, codebooks, base)
    return _files.load(files, FRAMEWORK, _CPU, max_size=max_size, threads=threads, progress=None)


def save_model(
    model: torch.nn.Module,
    filename: PathLike,
    metadata: Mapping[str, str] | None = None,
    force_contiguous: bool = True,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    progress: Progress = None,
    base: BaseLike = None,
) -> None:
    """Saves the tensors of a model, of those that share memory one. The metadata name the others: under the name of
    each tensor that was left out stands the name of the one that was saved.

    >>> import tempfile, torch, huffwire.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    >>> model[1].weight = model[0].weight
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/model.hw"
    >>> huffwire.torch.save_model(model, path)
    >>> with huffwire.torch.safe_open(path) as file:
    ...     print(file.keys(), file.metadata())
    ['0.weight'] {'1.weight': '0.weight'}
    >>> huffwire.torch.load_model(model, path)
    (set(), [])

    Args:
        model: The model.
        filename, metadata, level, symbols, codebooks, checksums, threads, progress, base: As for `save_file`.
        force_contiguous: Whether tensors that are not contiguous are copied into contiguous ones; else they
            are an error.

    Raises:
        SharedStorageError: None of the tensors that share memory covers all of it.
        Error: As for `save_file`.
    """
    state = model.state_dict()
    metadata = None if metadata is None else dict(metadata)
    for kept, dropped in _duplicates(state).items():
        for name in dropped:
            metadata = metadata or {}
            # What the caller says stays.
            metadata.setdefault(name, kept)
            del state[name]
    if force_contiguous:
        state = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(
        state,
        filename,
        metadata,
        level=level,
        symbols=symbols,
        codebooks=codebooks,
        checksums=checksums,
        threads=threads,
        progress=progress,
        base=base,
    )


def load_model(
    model: torch.nn.Module,
    filename: PathLike,
    strict: bool = True,
    device: Device = "cpu",
    *,
    max_size: int | None = None,
    threads: int | None = None,
    codebooks: Sets = None,
    progress: Progress = None,
    base: BaseLike = None,
) -> tuple[set[str], list[str]]:
    """Loads the tensors of a file, an index or a folder into a model. Tensors of the model that share memory need to
    be in the file once.

    Args:
        model: The model.
        filename, max_size, threads, codebooks, progress, base: As for `load_file`.
        strict: Whether a tensor that is missing or left over is an error.
        device: Where the tensors are loaded to before they are copied into the model.

    Returns:
        The names of the model's tensors that were not loaded, and the names in the file that were not needed.

    Raises:
        MissingKeysError: Tensors are missing or left over, and ``strict`` is true.
        RuntimeError: A tensor of the file has another shape than that of the model.
        Error: As for `load_file`.
    """
    loaded = load_file(
        filename,
        device,
        max_size=max_size,
        threads=threads,
        codebooks=codebooks,
        progress=progress,
        base=base,
    )
    duplicates = _duplicates(model.state_dict(), preferred=loaded)
    missing_keys, unexpected = model.load_state_dict(loaded, strict=False)
    missing = set(missing_keys)
    for dropped in duplicates.values():
        for name in dropped:
            if name in missing:
                missing.remove(name)
            else:
                unexpected.append(name)
    if strict and (missing or unexpected):
        raise MissingKeysError(
            "\n    ".join(
                [f"Error(s) in loading state_dict for {type(model).__name__}:"]
                + [
                    f"{what} key(s) in state_dict: " + ", ".join(f'"{name}"' for name in sorted(names))
                    for what, names in (("Missing", missing), ("Unexpected", unexpected))
                    if names
                ]
            )
        )
    return missing, unexpected


def _items(tensors: Mapping[str, torch.Tensor]) -> dict[str, _files.Item]:
    """What of tensors is written, if they can be saved."""
    if not isinstance(tensors, Mapping):
        raise UnsupportedError(f"a {type(tensors).__name__}: give a dictionary of tensors")
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise UnsupportedError(f"the name {name!r} of a tensor: give a string")
        refusal = _refusal(tensor)
        if refusal is not None:
            raise UnsupportedError(f"tensor {name!r}: {refusal}")
    shared = [names for names in _sharing(tensors) if len(names) > 1]
    if shared:
        listed = "; ".join(", ".join(map(repr, sorted(names))) for names in shared)
        raise SharedStorageError(
            f"tensors share memory: {listed}. A file would hold it twice, and they would not share it when they are "
            "loaded: save one of them, clones of them, or the model with save_model"
        )
    items = {}
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise LayoutError(f"tensor {name!r} is not contiguous: save tensor.contiguous()")
        dtype, shape = _name(tensor.dtype), tuple(tensor.shape)
        if dtype == "e2m1":
            if not shape:
                raise UnsupportedError(f"tensor {name!r}: a 4-bit tensor needs a dimension")
            # Of which the type of PyTorch has two in each element.
            shape = (*shape[:-1], 2 * shape[-1])
        stays = tensor.device == _CPU
        items[name] = _files.Item(dtype, shape, tensor.nbytes, _memory(tensor), stays)
    return items


def _memory(tensor: torch.Tensor) -> Any:
    def memory() -> tuple[tuple[int, int], torch.Tensor]:
        copy = tensor.detach().cpu()
        return _address(copy), copy

    return memory


def _sharing(tensors: Mapping[str, torch.Tensor]) -> list[set[str]]:
    """The names of tensors whose memory overlaps, together; every other name alone."""
    storages: dict[tuple[torch.device, int], list[tuple[int, int, str]]] = defaultdict(list)
    for name, tensor in tensors.items():
        if tensor.device.type == "meta":
            continue
        tensor = _held(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() != 0 and storage.nbytes() != 0:
            start = tensor.data_ptr()
            storages[tensor.device, storage.data_ptr()].append((start, _end(tensor), name))
    groups: list[set[str]] = []
    for areas in storages.values():
        reach = -1
        for start, end, name in sorted(areas):
            if start >= reach:
                groups.append(set())
            groups[-1].add(name)
            reach = max(reach, end)
    return groups


def _end(tensor: torch.Tensor) -> int:
    """Where the memory of a tensor ends: behind its last element."""
    if tensor.numel() == 0:
        return tensor.data_ptr()
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr() + (last + 1) * tensor.itemsize


def _duplicates(
    state: Mapping[str, torch.Tensor], preferred: Iterable[str] = ()
) -> dict[str, list[str]]:
    """Of tensors that share memory, the names to leave out, by the name that is kept: a preferred one if there is
    one."""
    preferred = set(preferred)
    dropped: dict[str, list[str]] = {}
    for names in _sharing(state):
        if len(names) < 2:
            continue
        complete = {name for name in names if _is_complete(state[name])}
        if not complete:
            listed = ", ".join(map(repr, sorted(names)))
            raise SharedStorageError(
                f"tensors share memory, and none of them covers all of it: {listed}. Saving one would lose the others: "
                "make clones of them"
            )
        kept = min(complete & preferred or complete)
        dropped[kept] = sorted(names - {kept})
    return dropped


def _is_complete(tensor: torch.Tensor) -> bool:
    tensor = _held(tensor)
    storage = tensor.untyped_storage()
    return tensor.data_ptr() == storage.data_ptr() and tensor.nbytes == storage.nbytes()


def _held(tensor: torch.Tensor) -> torch.Tensor:
    """What holds a tensor's memory."""
    return tensor.coded if isinstance(tensor, CompressedTensor) else tensor
