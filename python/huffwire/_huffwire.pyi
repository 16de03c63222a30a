"""The compiled part of huffwire. What begins with an underscore is for this package alone."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import final

from typing_extensions import Buffer

# A buffer, or an address and a number of bytes of memory that stays during the call.
_Memory = Buffer | tuple[int, int]
_Sets = Codebooks | Sequence[Codebooks] | None

__version__: str

@final
class Codebooks:
    @staticmethod
    def builtin() -> Codebooks: ...
    @staticmethod
    def from_bytes(data: Buffer, /) -> Codebooks: ...
    @property
    def id(self) -> str: ...

@final
class MessageHeader:
    @property
    def kind(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def elements(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def checksums(self) -> bool: ...
    @property
    def has_context(self) -> bool: ...
    @property
    def codebooks(self) -> str: ...
    @property
    def block_size(self) -> int: ...

_Progress = Callable[[int, int], object] | None
# A tensor's place in the file; for a part of it its shape and a range of each dimension; its memory.
_Wanted = tuple[int, tuple[Sequence[int], Sequence[tuple[int, int]]] | None, _Memory]

@final
class FileReader:
    def __new__(
        cls,
        path: str | os.PathLike[str],
        *,
        max_size: int | None = None,
        codebooks: _Sets = None,
    ) -> FileReader: ...
    @staticmethod
    def from_bytes(
        data: bytes, *, max_size: int | None = None, codebooks: _Sets = None
    ) -> FileReader: ...
    @property
    def label(self) -> str: ...
    @property
    def coded_bytes(self) -> int: ...
    def originals(self) -> list[str]: ...
    def tensors(self) -> list[tuple[str, str, str | None, tuple[int, ...], int, int]]: ...
    def metadata(self, original: int) -> dict[str, str] | None: ...
    def content(self, original: int, limit: int) -> bytes: ...
    def decode(
        self,
        wanted: Sequence[_Wanted],
        *,
        threads: int | None = None,
        progress: _Progress = None,
        done: int = 0,
        total: int = 0,
    ) -> None: ...

@final
class FileWriter:
    def __new__(
        cls,
        path: str | os.PathLike[str] | None,
        *,
        level: str = "fast",
        symbols: str = "auto",
        codebooks: Codebooks | None = None,
        checksums: bool = True,
        threads: int | None = None,
    ) -> FileWriter: ...
    def begin_original(self, name: str) -> None: ...
    def add_bytes(self, data: Buffer) -> None: ...
    def add(
        self,
        tensors: Sequence[tuple[str, str, Sequence[int], _Memory]],
        *,
        progress: _Progress = None,
        done: int = 0,
        total: int = 0,
    ) -> None: ...
    def finish(self) -> int | bytes: ...
    def abort(self) -> None: ...

def safetensors_header(
    label: str,
    tensors: Sequence[tuple[str, str, Sequence[int]]],
    metadata: Mapping[str, str] | None = None,
) -> tuple[bytes, list[str]]: ...
def default_threads() -> int: ...
def platform() -> str: ...
def _dtype_name(name: str, /) -> str: ...
def _inspect(message: _Memory, context: int | None, /) -> MessageHeader: ...
def _max_encoded_size(dtype: str, bytes: int, /) -> int: ...
def _encode(
    source: _Memory,
    dtype: str,
    level: str,
    symbols: str,
    codebooks: Codebooks | None,
    checksums: bool,
    threads: int | None,
    context: int | None,
    /,
) -> bytes: ...
def _encode_into(
    source: _Memory,
    dtype: str,
    out: _Memory,
    level: str,
    symbols: str,
    codebooks: Codebooks | None,
    checksums: bool,
    threads: int | None,
    context: int | None,
    /,
) -> int: ...
def _check(
    message: _Memory, codebooks: _Sets, context: int | None, max_size: int | None, /
) -> tuple[str, int]: ...
def _decode(
    message: _Memory,
    dtype: str | None,
    codebooks: _Sets,
    threads: int | None,
    context: int | None,
    max_size: int | None,
    /,
) -> bytes: ...
def _decode_into(
    message: _Memory,
    dtype: str | None,
    out: _Memory,
    codebooks: _Sets,
    threads: int | None,
    context: int | None,
    max_size: int | None,
    /,
) -> int: ...
def _measure(
    source: _Memory,
    dtype: str,
    out: _Memory,
    restored: _Memory,
    threads: int | None,
    repeats: int,
    /,
) -> list[tuple[float, float]]: ...
def _program(arguments: Sequence[str], stdout_is_closed: bool, /) -> int: ...
