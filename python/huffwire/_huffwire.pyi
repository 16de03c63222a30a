"""The compiled part of huffwire. What begins with an underscore is for this package alone."""

from collections.abc import Sequence
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
def _copy_checked(source: _Memory, out: _Memory, /) -> int: ...
def _program(arguments: Sequence[str], stdout_is_closed: bool, /) -> int: ...
