"""Files of NumPy's arrays, with the names and the behaviour of ``safetensors.numpy``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from huffwire import _files
from huffwire._arrays import _dtype, _source
from huffwire._buffers import Level, Sets, Symbols
from huffwire._errors import OptionError, OutOfMemoryError, UnsupportedError
from huffwire._files import BaseLike, PathLike
from huffwire._huffwire import Codebooks
from huffwire._progress import Progress

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]


class _Numpy:
    """The framework NumPy."""

    def device(self, device: Any) -> str:
        if device != "cpu":
            raise OptionError(f'device={device!r}: NumPy has no devices; give "cpu"')
        return "cpu"

    def stays(self, device: str) -> bool:
        return True

    def empty(self, dtype: str, shape: tuple[int, ...]) -> Array:
        theirs = _dtype(dtype)
        try:
            return np.empty(shape, theirs)
        except (ValueError, MemoryError) as error:
            raise OutOfMemoryError(f"an array of {dtype} and shape {shape}: {error}") from None

    def memory(self, tensor: Array) -> tuple[int, int]:
        return tensor.ctypes.data, tensor.nbytes

    def move(self, tensor: Array, device: str) -> Array:
        return tensor

    def contiguous(self, tensor: Array) -> Array:
        # An index of integers alone gives a scalar, where an array of no dimensions is wanted.
        array = np.asarray(tensor)
        return array if array.flags.owndata and array.flags.c_contiguous else array.copy("C")

    def decoded_there(
        self, entries: Sequence[_files.Entry], device: str
    ) -> Iterator[tuple[_files.Entry, Array]]:
        return iter(())


FRAMEWORK = _Numpy()


class safe_open(_files.safe_open):  # noqa: N801 (its name in safetensors)
    """`huffwire.safe_open` for NumPy: ``framework`` may be left out.

    >>> import numpy, tempfile, huffwire.numpy
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/model.hw"
    >>> huffwire.numpy.save_file({"a": numpy.arange(6).reshape(2, 3)}, path)
    >>> with huffwire.numpy.safe_open(path) as file:
    ...     file.get_slice("a")[1:]
    array([[3, 4, 5]])
    """

    def __init__(
        self,
        filename: PathLike,
        framework: str = "np",
        device: Any = "cpu",
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
    tensors: Mapping[str, Array],
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
    """Saves arrays in a `.hw` file. `huffwire decompress` makes a `.safetensors` file of it.

    The file appears under its name when it is complete. A file of that name is replaced only then; if something
    goes wrong before, it stays as it was. No other thread may write to the arrays during the call.

    >>> import numpy, tempfile, huffwire.numpy
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/model.safetensors.hw"
    >>> huffwire.numpy.save_file({"a": numpy.ones((2, 3), "float32")}, path, {"step": "7"})
    >>> huffwire.numpy.load_file(path)["a"].shape
    (2, 3)

    Args:
        tensors: Arrays by their names. Those that are not contiguous, or of the other byte order, are copied.
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
        UnsupportedError: An object or structured array, no array at all, or a type that safetensors files do not
            have (complex128).
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
    tensors: Mapping[str, Array],
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

    >>> import numpy, huffwire.numpy
    >>> huffwire.numpy.load(huffwire.numpy.save({"a": numpy.arange(3)}))
    {'a': array([0, 1, 2])}
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
    *,
    max_size: int | None = None,
    threads: int | None = None,
    codebooks: Sets = None,
    progress: Progress = None,
    base: BaseLike = None,
) -> dict[str, Array]:
    """Loads all arrays of a `.hw` file, in the order of the file. They are decoded straight into their memory.

    >>> import numpy, tempfile, huffwire.numpy
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/model.hw"
    >>> huffwire.numpy.save_file({"a": numpy.array([0.5, 2.0])}, path)
    >>> huffwire.numpy.load_file(path, max_size=1 << 30)
    {'a': array([0.5, 2. ])}

    Args:
        filename: A file, an index of a model or a folder, as for `huffwire.safe_open`.
        max_size: The most bytes that the arrays may have together. Set it for files from strangers: a small file
            can decode to very much.
        threads: How many threads decode; None as for `save_file`.
        codebooks: What the file was saved with, if that is neither built in nor part of the file.
        progress: As for `save_file`.
        base: What the file was saved against, if it was: a file, or a list of files as for `save_file`.

    Raises:
        FileError: The file cannot be opened or read.
        DamagedError: It is damaged, or no `.hw` file.
        LimitError: The arrays are larger than ``max_size``.
        MismatchError: Two arrays have the same name.
        MissingBaseError: The file was saved against a base, which is not given.
        WrongBaseError: The base is not the one that it was saved against.
        ChainError: The files of a base do not follow each other.
        CodebookError: The codebooks are not at hand.
        UnsupportedError: An array of a type that NumPy does not have, or that needs the package ml_dtypes.
        OptionError: An option has a value that it cannot have.
    """
    files = _files.open_files(filename, max_size, codebooks, base)
    return _files.load(
        files, FRAMEWORK, "cpu", max_size=max_size, threads=threads, progress=progress
    )


def load(
    data: bytes,
    *,
    max_size: int | None = None,
    threads: int | None = None,
    codebooks: Sets = None,
    base: BaseLike = None,
) -> dict[str, Array]:
    """Loads all arrays of the bytes of a `.hw` file. Arguments and errors are those of `load_file`.

    >>> import numpy, huffwire.numpy
    >>> huffwire.numpy.load(huffwire.numpy.save({"a": numpy.float32([0.5])}))
    {'a': array([0.5], dtype=float32)}
    """
    files = _files.open_bytes(data, max_size, codebooks, base)
    return _files.load(files, FRAMEWORK, "cpu", max_size=max_size, threads=threads, progress=None)


def _items(tensors: Mapping[str, Array]) -> dict[str, _files.Item]:
    """What of arrays is written, if they can be saved."""
    if not isinstance(tensors, Mapping):
        raise UnsupportedError(f"a {type(tensors).__name__}: give a dictionary of arrays")
    items = {}
    for name, array in tensors.items():
        if not isinstance(name, str):
            raise UnsupportedError(f"the name {name!r} of an array: give a string")
        try:
            # Of what has to be copied only a little is copied here.
            _, dtype = _source(array if np.size(array) == 0 else array[(slice(0, 1),) * array.ndim])
        except (UnsupportedError, AttributeError, TypeError) as error:
            raise UnsupportedError(f"array {name!r}: {error}") from None
        stays = bool(array.flags.c_contiguous and array.dtype.isnative)
        items[name] = _files.Item(dtype, array.shape, array.nbytes, _memory(array), stays)
    return items


def _memory(array: Array) -> Any:
    def memory() -> tuple[Array, None]:
        return _source(array)[0], None

    return memory
