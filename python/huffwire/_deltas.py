"""Deltas of buffers: what changed from one tensor, the base, to another of the same type and size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from huffwire import _huffwire
from huffwire._buffers import Level, Sets, Symbols, _buffer
from huffwire._huffwire import Codebooks, DeltaInfo

if TYPE_CHECKING:
    from typing_extensions import Buffer


class PreparedDelta:
    """A delta that was decoded and checked beside its base, and is still to be written over it.

    `prepare_delta` makes it. Decoding and checking are done; `commit` writes. Blocks of which an eighth of the words or more
    changes are decoded once more then. The base must not change in between.
    """

    def __init__(
        self, prepared: _huffwire._PreparedDelta, memory: Callable[[], Buffer | tuple[int, int]]
    ) -> None:
        self._prepared = prepared
        self._memory = memory

    @property
    def changes(self) -> int:
        """How many words change: elements, for most types."""
        return self._prepared.changes

    @property
    def kept_bytes(self) -> int:
        """Bytes of memory that it holds, the message apart."""
        return self._prepared.kept_bytes

    def commit(self, *, threads: int | None = None) -> None:
        """Writes the new elements over the base. It can be called once.

        Raises:
            OutputError: The base has got another size.
            WrongBaseError: A block of which most words change does not find its base, which has changed since.
                Nothing was written then.
            OptionError: It was called before.
        """
        self._prepared.commit(self._memory(), threads)


def encode_delta(
    buffer: Buffer,
    base: Buffer,
    dtype: str,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
) -> bytes:
    """Encodes what changed from ``base`` to ``buffer`` as one message, a *delta*.

    >>> import huffwire
    >>> base = bytes(100_000)
    >>> new = base[:500] + b"changed" + base[507:]
    >>> delta = huffwire.encode_delta(new, base, "u8")
    >>> len(delta) < 150
    True
    >>> huffwire.decode_delta(delta, base) == new
    True

    Args:
        buffer: The new elements: any object with the buffer protocol.
        base: The elements that the receiver has, of the same type and size.
        dtype, level, symbols, codebooks, checksums, threads, context: As for `huffwire.encode`. The options concern
            blocks in which so much changes that they are coded without the base, or all differences are.

    Returns:
        The message. It names base and result by hashes (XXH3-128), which find accidents: a wrong base, an update
        that was skipped or applied twice. They are no protection against intent.

    Raises:
        MismatchError: The base has another size, or the bytes are no whole number of elements.
        LimitError: More than 2**32 - 1 elements (of complex types half as many).
        OptionError: An option has a value that it cannot have.
        UnsupportedError: An object gives no access to its bytes.
    """
    return _huffwire._encode_delta(
        _buffer(buffer),
        _buffer(base),
        dtype,
        level,
        symbols,
        codebooks,
        checksums,
        threads,
        context,
    )


def decode_delta(
    message: Buffer,
    base: Buffer,
    *,
    dtype: str | None = None,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> bytes:
    """Decodes a delta beside its base: the bytes of the new elements.

    Args:
        message: One whole delta.
        base: The elements that it was made for. They stay as they are.
        dtype, codebooks, threads, context: As for `huffwire.decode`.

    Raises:
        WrongBaseError: The base is not the one that the delta was made for.
        MismatchError: The base has another size, the message another dtype, or it is no delta.
        DamagedError: The message is cut short or changed, or makes something else than its sender had.
        VersionError, CodebookError, ContextError: As for `huffwire.decode`.
    """
    return _huffwire._decode_delta(
        _buffer(message), _buffer(base), dtype, codebooks, threads, context
    )


def apply_delta(
    message: Buffer,
    base: Buffer,
    *,
    dtype: str | None = None,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> None:
    """Turns the base into the new elements, where it lies.

    All is decoded and checked before a byte of ``base`` changes: after an error it is as it was. This takes memory for
    the changes, not for a second tensor.

    >>> import huffwire
    >>> weights = bytearray(100_000)
    >>> delta = huffwire.encode_delta(b"new" + bytes(99_997), weights, "u8")
    >>> huffwire.apply_delta(delta, weights)
    >>> bytes(weights[:5])
    b'new\\x00\\x00'
    >>> huffwire.apply_delta(delta, weights)
    Traceback (most recent call last):
    ...
    huffwire.WrongBaseError: ...

    Args:
        message: As for `decode_delta`, like all arguments that are not named here.
        base: A contiguous buffer that can be written to. Nobody else may write to it during the call.

    Raises:
        OutputError: ``base`` is read-only, not contiguous, or overlaps ``message``.
        Error: As for `decode_delta`.
    """
    _huffwire._apply_delta(
        _buffer(message), _buffer(base), dtype, codebooks, threads, context
    )


def prepare_delta(
    message: Buffer,
    base: Buffer,
    *,
    dtype: str | None = None,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> PreparedDelta:
    """Does all of `apply_delta` but the writing, which `PreparedDelta.commit` does.

    Whoever reads the elements has to pause for the writing alone.

    >>> import huffwire
    >>> weights = bytearray(1000)
    >>> prepared = huffwire.prepare_delta(huffwire.encode_delta(b"x" * 1000, weights, "u8"), weights)
    >>> prepared.changes, bytes(weights[:2])
    (1000, b'\\x00\\x00')
    >>> prepared.commit()
    >>> bytes(weights[:2])
    b'xx'

    Args and errors are those of `apply_delta`.
    """
    memory = _buffer(base)
    prepared = _huffwire._PreparedDelta(
        _buffer(message), memory, dtype, codebooks, threads, context
    )
    return PreparedDelta(prepared, lambda: memory)


def delta_changes(
    message: Buffer,
    base: Buffer,
    *,
    dtype: str | None = None,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> tuple[memoryview, bytes]:
    """The changes that a delta makes, for programs that put them in place themselves.

    >>> import huffwire
    >>> delta = huffwire.encode_delta(bytes([0, 1, 9, 9]), bytes([0, 1, 2, 3]), "bf16")
    >>> indices, values = huffwire.delta_changes(delta, bytes([0, 1, 2, 3]))
    >>> list(indices), values
    ([1], b'\\t\\t')

    Args and errors are those of `decode_delta`.

    Returns:
        The places of the words that change, ascending, as a view of 64-bit integers; and the new words, one behind
        the other. Words are elements, but floats of complex elements, and bytes of packed elements of 6 bits.
    """
    indices, values = _huffwire._delta_changes(
        _buffer(message), _buffer(base), dtype, codebooks, threads, context
    )
    return memoryview(indices).cast("Q"), bytes(values)


def inspect_delta(message: Buffer, *, context: int | None = None) -> DeltaInfo:
    """What a delta tells without its base: how much changes, and in which way it is coded. Checksums are verified.

    >>> import huffwire
    >>> base = bytes(100_000)
    >>> info = huffwire.inspect_delta(huffwire.encode_delta(base[:-1] + b"x", base, "u8"))
    >>> info.words, info.changes, [block.kind for block in info.blocks]
    (100000, 1, ['sparse, with densities'])
    >>> info.base == huffwire.content_hash(base, "u8")
    True

    Raises:
        MismatchError: The message is no delta.
        DamagedError, VersionError, ContextError: As for `huffwire.inspect`.
    """
    return _huffwire._inspect_delta(_buffer(message), context)


def content_hash(buffer: Buffer, dtype: str) -> str:
    """The hash by which deltas know a tensor: the XXH3-128 of the XXH3-128s of its blocks of 2**20 units, as 32
    hexadecimal digits. It finds accidents, and is no protection against intent.

    >>> import huffwire
    >>> huffwire.content_hash(b"", "u8")
    '7f498d4624c30160d8984701d306aa99'
    """
    return _huffwire._content_hash(_buffer(buffer), dtype)
