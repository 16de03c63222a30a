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

@final
class _LinkModel:
    def __new__(
        cls,
        collective: str,
        *,
        bytes_per_second: float,
        latency: float,
        encode: float,
        decode: float,
        left: float,
        ranks: int = 2,
        cores: int = 1,
        fixed: float = 0.0,
        transport: str = "gloo",
        margin: float = 1.0,
        piece: float | None = None,
        copy: float | None = None,
        add: float | None = None,
    ) -> _LinkModel: ...
    def seconds(self, way: str, size: int, /) -> float: ...
    def best(self, size: int, /) -> str: ...
    def pays(self, size: int, /) -> bool: ...
    def break_even(self) -> int | None: ...
    def cores_to_pay(self, size: int, /) -> int | None: ...
    def cores_to_keep_up(self, size: int, /) -> int | None: ...
    def fastest_link(self, size: int, /) -> float: ...

@final
class _Refresher:
    def __new__(
        cls,
        codebooks: Codebooks | None = None,
        *,
        level: str = "fast",
        symbols: str = "auto",
        regret: float = 0.02,
        every: int = 1000,
        interval: int = 8 << 20,
        samples: int = 32,
    ) -> _Refresher: ...
    def observe(self, source: _Memory, dtype: str, name: str = "", /) -> None: ...
    def is_due(self) -> bool: ...
    def judge(self) -> bytes | None: ...
    @property
    def regret(self) -> float | None: ...
    def switch(self, codebooks: Codebooks, /) -> None: ...

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
