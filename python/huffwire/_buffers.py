"""Messages from buffers, and back: bytes, bytearrays, memoryviews, memory maps, arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from huffwire import _huffwire
from huffwire._errors import UnsupportedError
from huffwire._huffwire import Codebooks, MessageHeader

if TYPE_CHECKING:
    from typing_extensions import Buffer

Level: TypeAlias = Literal["fast", "max"]
Symbols: TypeAlias = Literal["auto", "bytes", "byte-planes"]
Sets: TypeAlias = Codebooks | Sequence[Codebooks] | None


def _buffer(value: Buffer) -> Buffer:
    """An object that may be a buffer; the compiled part finds out whether it is."""
    # The compiled part takes tuples, too: an address and a length, which only this package may name.
    if isinstance(value, tuple):
        raise UnsupportedError("a tuple gives no access to its bytes: pass bytes or an array")
    return value


def encode(
    buffer: Buffer,
    dtype: str,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
    block_size: int | None = None,
) -> bytes:
    """Encodes the elements in a buffer as one message.

    >>> import array, huffwire
    >>> floats = array.array("f", [0.5, -1.25, 3.0] * 1000)
    >>> message = huffwire.encode(floats, "f32")
    >>> len(message) < 12000
    True
    >>> huffwire.decode(message) == floats.tobytes()
    True

    Args:
        buffer: Any object with the buffer protocol. Its format and shape do not matter, only its bytes
            do (little-endian, in C order). It is copied only if it is not contiguous. No other thread
            may write to it during the call.
        dtype: What the bytes are: ``"bf16"``, ``"f16"``, ``"f32"``, ``"f64"``, ``"e4m3"``, ``"e5m2"``,
            ``"i8"``, ``"u8"``, ``"i64"``, ``"complex64"``, ... The error for an unknown name lists all.
        level: ``"fast"`` or ``"max"`` (smaller and slower).
        symbols: What the Huffman code encodes: ``"auto"`` (what suits the dtype), ``"bytes"`` or
            ``"byte-planes"``.
        codebooks: The codebooks; None for the built-in ones. The receiver needs the same.
        checksums: Whether each block gets a checksum of 4 bytes.
        threads: How many threads work on a message of 1 MiB or more; None for what ``OMP_NUM_THREADS``
            says, or else for as many as there are processors that this process may run on. The message
            is the same.
        context: A number that sender and receiver know (a step, a chunk) and that is not sent. The
            receiver must give the same.
        block_size: The most bytes of elements in a block, a power of two from 1024 to 2**20; None for 128 KiB, which
            suits processors. A GPU decodes a block by one warp: blocks of 16 or 32 KiB are enough of them, and make a
            message 0.2 to 0.5 % longer.

    Returns:
        The message.

    Raises:
        MismatchError: The bytes are no whole number of elements.
        LimitError: More than 2**32 - 1 elements (of complex types half as many).
        OptionError: An option has a value that it cannot have.
        UnsupportedError: The object gives no access to its bytes.
    """
    return _huffwire._encode(
        _buffer(buffer), dtype, level, symbols, codebooks, checksums, threads, context, block_size
    )


def encode_into(
    buffer: Buffer,
    dtype: str,
    out: Buffer,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
    block_size: int | None = None,
) -> int:
    """Encodes the elements in a buffer as one message at the start of another buffer.

    >>> import huffwire
    >>> out = bytearray(huffwire.max_encoded_size(4096, "u8"))
    >>> length = huffwire.encode_into(bytes(4096), "u8", out)
    >>> huffwire.decode(out[:length]) == bytes(4096)
    True

    Args:
        buffer: As for `encode`, like all arguments that are not named here.
        out: A contiguous buffer that can be written to, of at least `max_encoded_size` bytes for the block size.
            Behind the message its content is undefined.

    Returns:
        The length of the message in bytes.

    Raises:
        OutputError: ``out`` is too small, read-only, not contiguous, or overlaps ``buffer``.
        Error: As for `encode`.
    """
    return _huffwire._encode_into(
        _buffer(buffer),
        dtype,
        _buffer(out),
        level,
        symbols,
        codebooks,
        checksums,
        threads,
        context,
        block_size,
    )


def max_encoded_size(size: int, dtype: str, *, block_size: int | None = None) -> int:
    """The longest message for ``size`` bytes of elements, in bytes, whatever their values.

    `block_size` is that of `encode`.

    >>> import huffwire
    >>> huffwire.max_encoded_size(1 << 20, "bf16") - (1 << 20)
    88

    Raises:
        MismatchError: So many bytes are no whole number of elements.
        OptionError: An unknown dtype.
    """
    return _huffwire._max_encoded_size(dtype, size, block_size)


def decode(
    message: Buffer,
    *,
    dtype: str | None = None,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
    max_size: int | None = None,
) -> bytes:
    """Decodes a message: the bytes of its elements.

    >>> import huffwire
    >>> message = huffwire.encode(bytes(6000), "bf16", context=7)
    >>> huffwire.decode(message, context=7, max_size=6000) == bytes(6000)
    True
    >>> huffwire.decode(message, context=8)
    Traceback (most recent call last):
    ...
    huffwire.WrongContextError: the header of a message (or the message belongs to another context) ...

    Args:
        message: Any object with the buffer protocol that holds one whole message.
        dtype: The dtype that the message must have; None for any.
        codebooks: Codebooks besides the built-in ones: one set, or a list of sets from which the message
            selects its own.
        threads: As for `encode`.
        context: The context that the message was encoded with.
        max_size: The most bytes of elements. A message of few bytes may decode to many: set this for
            messages from strangers.

    Raises:
        DamagedError: The message is cut short, changed, or no message.
        VersionError: A newer version of huffwire wrote it.
        CodebookError: The codebooks that it was encoded with are not among those at hand.
        ContextError: It has a context and none was given, or the other way round, or another one.
        MismatchError: It has another dtype, or holds no tensor but quantized values.
        LimitError: Its elements have more than ``max_size`` bytes.
    """
    return _huffwire._decode(_buffer(message), dtype, codebooks, threads, context, max_size)


def decode_into(
    message: Buffer,
    out: Buffer,
    *,
    dtype: str | None = None,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
    max_size: int | None = None,
) -> int:
    """Decodes a message into a buffer that has exactly the size of its elements.

    If a block turns out to be damaged, every byte of ``out`` is set to 0xff. All other errors leave ``out``
    as it was.

    >>> import huffwire
    >>> out = bytearray(4096)
    >>> huffwire.decode_into(huffwire.encode(b"ab" * 2048, "u8"), out)
    4096
    >>> out == b"ab" * 2048
    True

    Args:
        message: As for `decode`, like all arguments that are not named here.
        out: A contiguous buffer that can be written to.

    Returns:
        The bytes of the elements.

    Raises:
        OutputError: ``out`` has another size, is read-only, not contiguous, or overlaps ``message``.
        Error: As for `decode`.
    """
    return _huffwire._decode_into(
        _buffer(message), dtype, _buffer(out), codebooks, threads, context, max_size
    )


def inspect(message: Buffer, *, context: int | None = None) -> MessageHeader:
    """Reads the header of a message: its first 16 bytes are enough. Nothing is decoded.

    >>> import huffwire
    >>> header = huffwire.inspect(huffwire.encode(bytes(6000), "bf16"))
    >>> header.kind, header.dtype, header.elements, header.size
    ('tensor', 'bf16', 3000, 6000)

    Raises:
        DamagedError: The header is cut short, changed, or no header.
        VersionError: A newer version of huffwire wrote it.
        ContextError: The message has a context and none was given, or the other way round, or another one.
    """
    return _huffwire._inspect(_buffer(message), context)
