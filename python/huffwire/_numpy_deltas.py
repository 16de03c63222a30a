"""Deltas of NumPy's arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from huffwire import _huffwire
from huffwire._arrays import _source, _target
from huffwire._buffers import Level, Sets, Symbols, _buffer
from huffwire._deltas import PreparedDelta
from huffwire._errors import MismatchError, OutOfMemoryError
from huffwire._huffwire import Codebooks

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from huffwire._arrays import Array

# What the floats of a complex type are.
_PARTS = {"complex64": "float32", "complex128": "float64", "complex32": "float16"}


def encode_delta(
    tensor: Array,
    base: Array,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
) -> bytes:
    """Encodes what changed from ``base`` to ``tensor`` as one message, a *delta*.

    >>> import numpy, huffwire.numpy
    >>> base = numpy.arange(100_000, dtype="float32")
    >>> new = base.copy()
    >>> new[77] = -1
    >>> delta = huffwire.numpy.encode_delta(new, base)
    >>> bool((huffwire.numpy.decode_delta(delta, base) == new).all())
    True

    Args:
        tensor: The new array, as for `encode`.
        base: The array that the receiver has, of the same type and shape.
        level, symbols, codebooks, checksums, threads, context: As for `huffwire.encode_delta`.

    Returns:
        The message, bound to base and result by hashes. See `huffwire.encode_delta`.

    Raises:
        MismatchError: The arrays have different types or shapes.
        UnsupportedError: As for `encode`.
        Error: As for `huffwire.encode_delta`.
    """
    source, name = _source(tensor)
    old, old_name = _source(base)
    if name != old_name or np.shape(tensor) != np.shape(base):
        raise MismatchError(
            f"the base is an array of {base.dtype} and shape {np.shape(base)}, the new one of {tensor.dtype} and "
            f"{np.shape(tensor)}: give a base like it"
        )
    return _huffwire._encode_delta(
        source, old, name, level, symbols, codebooks, checksums, threads, context
    )


def decode_delta(
    message: Buffer,
    base: Array,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> Array:
    """Decodes a delta beside its base: a new array like the base, in C order and native byte order.

    Args:
        message: One whole delta.
        base: The array that it was made for. It stays as it is.
        codebooks, threads, context: As for `huffwire.decode`.

    Raises:
        WrongBaseError: The base is not the one that the delta was made for.
        MismatchError: The base has another type or size, or the message is no delta.
        Error: As for `huffwire.decode_delta`.
    """
    old, name = _source(base)
    try:
        out = np.empty(np.shape(base), base.dtype.newbyteorder("="))
    except MemoryError as error:
        raise OutOfMemoryError(f"{old.nbytes} bytes are needed: {error}") from None
    target, _ = _target(out)
    _huffwire._decode_delta_into(
        _buffer(message), old, name, target, codebooks, threads, context
    )
    return out


def apply_delta(
    message: Buffer,
    tensor: Array,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> None:
    """Turns the base into the new array, where it lies.

    All is decoded and checked before a byte of ``tensor`` changes: after an error it is as it was. This takes memory
    for the changes, not for a second array.

    >>> import numpy, huffwire.numpy
    >>> array = numpy.zeros(1000)
    >>> huffwire.numpy.apply_delta(huffwire.numpy.encode_delta(numpy.ones(1000), array), array)
    >>> float(array.mean())
    1.0

    Args:
        message: As for `decode_delta`, like all arguments that are not named here.
        tensor: The array that the delta was made for: contiguous, of the native byte order, and not read-only.

    Raises:
        OutputError: The array cannot be written to like that, or overlaps the message.
        Error: As for `decode_delta`.
    """
    target, name = _target(tensor)
    _huffwire._apply_delta(_buffer(message), target, name, codebooks, threads, context)


def prepare_delta(
    message: Buffer,
    tensor: Array,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> PreparedDelta:
    """Does all of `apply_delta` but the writing, which `huffwire.PreparedDelta.commit` does.

    >>> import numpy, huffwire.numpy
    >>> array = numpy.zeros(3)
    >>> prepared = huffwire.numpy.prepare_delta(huffwire.numpy.encode_delta(array + 1, array), array)
    >>> prepared.commit()
    >>> array
    array([1., 1., 1.])

    Args and errors are those of `apply_delta`; read-only arrays are refused by ``commit``.
    """
    target, name = _target(tensor)
    prepared = _huffwire._PreparedDelta(
        _buffer(message), target, name, codebooks, threads, context
    )
    return PreparedDelta(prepared, lambda: target)


def delta_changes(
    message: Buffer,
    base: Array,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> tuple[Array, Array]:
    """The changes that a delta makes, for programs that put them in place themselves.

    >>> import numpy, huffwire.numpy
    >>> base = numpy.zeros((2, 3), dtype="float16")
    >>> new = numpy.array([[0, 0, 5], [0, 7, 0]], dtype="float16")
    >>> indices, values = huffwire.numpy.delta_changes(huffwire.numpy.encode_delta(new, base), base)
    >>> indices, values
    (array([2, 4], dtype=uint64), array([5., 7.], dtype=float16))

    Args and errors are those of `decode_delta`.

    Returns:
        The places of the elements that change, in the flattened array, ascending; and the new elements. Of complex
        arrays they are the places and values of their floats.
    """
    old, name = _source(base)
    indices, values = _huffwire._delta_changes(
        _buffer(message), old, name, codebooks, threads, context
    )
    dtype: np.dtype[Any] = base.dtype.newbyteorder("=")
    parts = _PARTS.get(dtype.name)
    return np.frombuffer(indices, np.uint64), np.frombuffer(values, parts or dtype)


def content_hash(tensor: Array) -> str:
    """The hash by which deltas know an array, as `huffwire.content_hash`. Its shape is not part of it."""
    source, name = _source(tensor)
    return _huffwire._content_hash(source, name)
