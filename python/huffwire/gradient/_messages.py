"""Messages: gradients as bytes, with all that restores them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from huffwire import _elements, _huffwire
from huffwire._elements import Kind
from huffwire._errors import LimitError, MismatchError, OptionError
from huffwire.gradient._arguments import _buffer
from huffwire.gradient._books import BitmapBooks, Sets, _sets
from huffwire.gradient._quantized import Quantized, quantize
from huffwire.gradient._quantizers import Quantizer, _quantizer


def encode(
    gradient: Any,
    quantizer: Quantizer | None = None,
    *,
    seed: int = 0,
    encoder: str | BitmapBooks = "auto",
    checksums: bool = True,
    context: int | None = None,
) -> bytes:
    """Encodes a gradient as a message: quantizer, type, shape, scales and values.

    >>> import array
    >>> from huffwire import gradient
    >>> floats = array.array("f", [0.5, -0.25, 0.0])
    >>> message = gradient.encode(floats, gradient.Sparsify("top", 0.4))
    >>> gradient.decode(message, kind="buffer").tolist()
    [0.5, 0.0, 0.0]

    Args:
        gradient: The gradient, or a `Quantized`.
        quantizer: The quantizer; None for a `Quantized`.
        seed: As for `quantize`.
        encoder: The encoder of the values: one of `ENCODERS`, or `BitmapBooks`, which the receiver
            must hold.
        checksums: Whether each block of the message gets a checksum of 4 bytes.
        context: A number that sender and receiver know (a step, a chunk), and that is not sent. The
            receiver must give the same.

    Raises:
        OptionError: No quantizer for a gradient, one for a `Quantized`, an unknown encoder, or one
            that the quantizer has too many levels for (``"sh"`` and ``"shs"`` take 32768 different
            values).
        LimitError: 2**32 elements or more.
        Error: As `quantize`.
    """
    if isinstance(gradient, Quantized):
        if quantizer is not None:
            raise OptionError("quantizer=: the gradient is quantized already, give None")
        quantized = gradient
    elif quantizer is None:
        raise OptionError("quantizer=: give one, such as huffwire.gradient.Qsgd()")
    else:
        quantized = quantize(gradient, quantizer, seed=seed)
    return quantized.encode(encoder=encoder, checksums=checksums, context=context)


@dataclass(frozen=True)
class Header:
    """What a message tells of a quantized gradient before its values."""

    quantizer: Quantizer
    """The quantizer, with its parameters."""
    encoder: str
    """The name of the encoder of the values; ``"bitmap-fixed"`` for `BitmapBooks`."""
    codebooks: str | None
    """The id of the set of the `BitmapBooks` that decoding needs, or None."""
    dtype: str
    """The type of the gradient: ``"f32"``, ``"bf16"`` or ``"f16"``."""
    shape: tuple[int, ...]
    """The shape of the gradient."""
    scales: int
    """How many scales there are."""
    wide: bool
    """Whether values may need more than a byte."""

    @property
    def elements(self) -> int:
        """The number of elements: the product of the shape."""
        return math.prod(self.shape)


def _header(found: _huffwire.ValueHeader) -> Header:
    return Header(
        quantizer=_quantizer(found.quantizer),
        encoder=found.encoder,
        codebooks=found.codebooks,
        dtype=found.dtype,
        shape=tuple(found.shape),
        scales=found.scales,
        wide=found.wide,
    )


def inspect(message: Any, *, context: int | None = None) -> Header:
    """What a message tells before its values. No value is decoded, and no codebooks are needed.

    >>> from huffwire import gradient
    >>> header = gradient.inspect(gradient.encode(("bf16", bytes(200)), gradient.Natural()))
    >>> header.quantizer, header.dtype, header.shape
    (Natural(), 'bf16', (100,))

    Args:
        message: A whole message, an object with the buffer protocol.
        context: The context that it was encoded with.

    Raises:
        DamagedError: The message is cut short, changed, or no message.
        VersionError: A newer version of huffwire wrote it.
        ContextError: It has a context and none was given, or the other way round, or another one.
        MismatchError: It holds no quantized values.
    """
    return _header(_huffwire.read_message_header(_buffer(message), context))


def decode(
    message: Any,
    *,
    kind: Kind = "numpy",
    codebooks: Sets = None,
    context: int | None = None,
    max_size: int | None = None,
) -> Any:
    """Decodes a message to floats.

    >>> from huffwire import gradient
    >>> message = gradient.encode(("f32", bytes(12)), gradient.Sign())
    >>> gradient.decode(message, kind="buffer", max_size=12).tolist()
    [0.0, 0.0, 0.0]

    Args:
        message: A whole message, an object with the buffer protocol.
        kind: ``"numpy"`` for an array, ``"torch"`` for a tensor, ``"buffer"`` for a memoryview (of
            bytes, where the gradient was bf16 or f16). bf16 needs ml_dtypes with numpy.
        codebooks: The `BitmapBooks` that it was encoded with, or their set, or several of them.
        context: The context that it was encoded with.
        max_size: The most bytes that the floats may have. A few bytes can stand for gigabytes of
            equal floats: set this for messages from strangers.

    Returns:
        Floats of the gradient's type and shape.

    Raises:
        LimitError: The floats have more than ``max_size`` bytes.
        CodebookError: Its `BitmapBooks` are not among those at hand.
        OutOfMemoryError: There is no memory for the floats.
        Error: As `inspect`.
    """
    _elements.check_kind(kind)
    message = _buffer(message)
    header = _huffwire.read_message_header(message, context)
    size = header.elements * _huffwire.dtype_bytes(header.dtype)
    if max_size is not None and size > max_size:
        raise LimitError(f"the floats of the message take {size} bytes, and max_size is {max_size}")
    result, memory = _elements.empty(kind, header.dtype, tuple(header.shape))
    _huffwire.decode_message_into(message, memory, header.dtype, _sets(codebooks), context)
    return result


def decode_into(
    message: Any, out: Any, *, codebooks: Sets = None, context: int | None = None
) -> None:
    """Decodes a message into floats that are there.

    After an error, every byte of ``out`` is 0xff, or ``out`` is as it was.

    >>> import array
    >>> from huffwire import gradient
    >>> floats = array.array("f", [1.0, 2.0])
    >>> gradient.decode_into(gradient.encode(floats, gradient.Sign()), floats)
    >>> floats.tolist()
    [1.5, 1.5]

    Args:
        message, codebooks, context: As for `decode`.
        out: A contiguous tensor or array of the gradient's type and shape, or a buffer of its size.

    Raises:
        OutputError: ``out`` is read-only, not contiguous, not on the CPU, or overlaps the message.
        MismatchError: ``out`` has another type or shape.
        Error: As `decode`.
    """
    message = _buffer(message)
    target = _elements.elements(out, writable=True)
    header = _huffwire.read_message_header(message, context)
    if target.dtype != header.dtype:
        raise MismatchError(f"the gradient is of {header.dtype}, and the output of {target.dtype}")
    if target.kind != "buffer":
        _elements.check_shape(target.shape, tuple(header.shape))
    _huffwire.decode_message_into(message, target.memory, target.dtype, _sets(codebooks), context)


def decode_quantized(
    message: Any,
    *,
    kind: Kind = "numpy",
    codebooks: Sets = None,
    context: int | None = None,
    max_size: int | None = None,
) -> Quantized:
    """Decodes a message to values and scales.

    >>> import array
    >>> from huffwire import gradient
    >>> sent = gradient.quantize(array.array("f", [0.5, -0.25]), gradient.Natural(), seed=1)
    >>> gradient.decode_quantized(sent.encode(), kind="buffer") == sent
    True

    Args:
        message, kind, codebooks, context, max_size: As for `decode`.

    Raises:
        Error: As `decode`.
    """
    _elements.check_kind(kind)
    header, quantized = _huffwire.decode_message(
        _buffer(message), _sets(codebooks), context, max_size
    )
    return Quantized(quantized, header.dtype, tuple(header.shape), kind)
