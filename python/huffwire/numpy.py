"""NumPy arrays as messages, and back. bf16 and 4- to 8-bit floats are those of the package ``ml_dtypes``.

>>> import numpy, huffwire.numpy
>>> array = numpy.linspace(-1, 1, 6000, dtype="float32").reshape(2, 3000)
>>> message = huffwire.numpy.encode(array)
>>> restored = huffwire.numpy.decode(message, array.shape)
>>> restored.dtype, bool((restored == array).all())
(dtype('float32'), True)

An array that is contiguous (in C order) is not copied; any other one is first made contiguous, and one of the
other byte order native. No input is changed. No other thread may write to an array while it is encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from huffwire import _huffwire, _shapes
from huffwire._arrays import _dtype, _name, _source, _target
from huffwire._buffers import Level, Sets, Symbols, _buffer
from huffwire._errors import OutOfMemoryError
from huffwire._huffwire import Codebooks
from huffwire._numpy_deltas import (
    apply_delta,
    content_hash,
    decode_delta,
    delta_changes,
    encode_delta,
    prepare_delta,
)
from huffwire._numpy_files import load, load_file, safe_open, save, save_file

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Buffer

    Array: TypeAlias = npt.NDArray[Any]

__all__ = [
    "apply_delta",
    "content_hash",
    "decode",
    "decode_delta",
    "decode_into",
    "delta_changes",
    "encode",
    "encode_delta",
    "encode_into",
    "load",
    "load_file",
    "max_encoded_size",
    "prepare_delta",
    "safe_open",
    "save",
    "save_file",
]


def encode(
    tensor: Array,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
    block_size: int | None = None,
) -> bytes:
    """Encodes an array as one message. Its shape is not part of the message.

    >>> import ml_dtypes, numpy, huffwire.numpy
    >>> array = numpy.ones((64, 64), dtype=ml_dtypes.bfloat16)
    >>> huffwire.numpy.decode(huffwire.numpy.encode(array, level="max"), (64, 64)).dtype
    dtype(bfloat16)

    Args:
        tensor: An array of any shape and of a type that `huffwire.inspect` has a name for.
        level, symbols, codebooks, checksums, threads, context, block_size: As for `huffwire.encode`.

    Returns:
        The message.

    Raises:
        UnsupportedError: An object array, a structured, masked or other array that cannot be coded.
        Error: As for `huffwire.encode`.
    """
    source, name = _source(tensor)
    return _huffwire._encode(
        source, name, level, symbols, codebooks, checksums, threads, context, block_size
    )


def encode_into(
    tensor: Array,
    buffer: Buffer,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
    block_size: int | None = None,
) -> int:
    """Encodes an array as one message at the start of a buffer. Nothing is copied.

    >>> import numpy, huffwire.numpy
    >>> array = numpy.arange(10_000, dtype="int32")
    >>> buffer = bytearray(huffwire.numpy.max_encoded_size(array.shape, array.dtype))
    >>> length = huffwire.numpy.encode_into(array, buffer)
    >>> bool((huffwire.numpy.decode(buffer[:length]) == array).all())
    True

    Args:
        tensor: As for `encode`, like all arguments that are not named here.
        buffer: A contiguous buffer that can be written to, of at least `max_encoded_size` bytes for the block size.
            Behind the message its content is undefined.

    Returns:
        The length of the message in bytes.

    Raises:
        OutputError: ``buffer`` is too small, read-only, not contiguous, or overlaps the array.
        Error: As for `encode`.
    """
    source, name = _source(tensor)
    return _huffwire._encode_into(
        source,
        name,
        _buffer(buffer),
        level,
        symbols,
        codebooks,
        checksums,
        threads,
        context,
        block_size,
    )


def max_encoded_size(
    shape: int | Sequence[int], dtype: npt.DTypeLike, *, block_size: int | None = None
) -> int:
    """The longest message for an array of this shape and type, in bytes, whatever its values.

    `block_size` is that of `encode`.

    >>> import huffwire.numpy
    >>> huffwire.numpy.max_encoded_size((1024, 512), "float16")
    1048664

    Raises:
        UnsupportedError: A type that huffwire has no name for.
        OptionError: No shape.
    """
    dtype = np.dtype(dtype)
    size = _shapes.elements(shape) * dtype.itemsize
    return _huffwire._max_encoded_size(_name(dtype), size, block_size)


def decode(
    message: Buffer,
    shape: int | Sequence[int] | None = None,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
    max_size: int | None = None,
) -> Array:
    """Decodes a message into a new array of the message's type.

    >>> import numpy, huffwire.numpy
    >>> message = huffwire.numpy.encode(numpy.eye(3, dtype="uint8"))
    >>> huffwire.numpy.decode(message, (3, 3), max_size=1 << 20)
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 0, 1]], dtype=uint8)

    Args:
        message: Any object with the buffer protocol that holds one whole message.
        shape: The shape of the array, of as many elements as the message has; None for one dimension.
        codebooks, threads, context, max_size: As for `huffwire.decode`.

    Raises:
        MismatchError: The message has another number of elements than the shape.
        UnsupportedError: NumPy has no such type, or it needs the package ml_dtypes.
        Error: As for `huffwire.decode`.
    """
    message = _buffer(message)
    name, size = _huffwire._check(message, codebooks, context, max_size)
    dtype = _dtype(name)
    sizes = _shapes.of_message(shape, size // dtype.itemsize)
    try:
        array = np.empty(sizes, dtype)
    except MemoryError as error:
        raise OutOfMemoryError(f"{size} bytes are needed: {error}") from None
    target, _ = _target(array)
    _huffwire._decode_into(message, name, target, codebooks, threads, context, max_size)
    return array


def decode_into(
    message: Buffer,
    tensor: Array,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
    max_size: int | None = None,
) -> None:
    """Decodes a message into an array of the message's type and number of elements. Nothing is copied.

    If a block turns out to be damaged, every byte of the array is set to 0xff. All other errors leave it as
    it was.

    >>> import numpy, huffwire.numpy
    >>> array = numpy.zeros((50, 2), dtype="float64")
    >>> huffwire.numpy.decode_into(huffwire.numpy.encode(numpy.arange(100.0)), array)
    >>> array[49]
    array([98., 99.])

    Args:
        message: As for `decode`, like all arguments that are not named here.
        tensor: A contiguous array that can be written to, of the native byte order.

    Raises:
        OutputError: The array is read-only, not contiguous, has another size than the message's
            elements, the other byte order, or overlaps the message.
        MismatchError: The array has another type than the message.
        Error: As for `huffwire.decode`.
    """
    target, name = _target(tensor)
    _huffwire._decode_into(
        _buffer(message), name, target, codebooks, threads, context, max_size
    )
