"""Quantized gradients: quantizers, and lossless coders of the values that quantizers make.

Data-parallel training sends gradients between machines. A quantizer turns each float of a gradient
into a small integer, a *value*, and a few *scales*; this loses precision. An encoder turns the
values into bytes, and this loses nothing.

    >>> import array
    >>> from huffwire import gradient
    >>> floats = array.array("f", [((i * 37) % 101 - 50) ** 3 / 1e6 for i in range(10000)])
    >>> message = gradient.encode(floats, gradient.Qsgd(levels=4), seed=1, context=7)
    >>> len(message) < 40000 / 8
    True
    >>> restored = gradient.decode(message, context=7, kind="buffer")
    >>> restored.shape
    (10000,)

Gradients are torch tensors, numpy arrays, buffers of floats (`array.array`), or tuples of a dtype's
name and a buffer (``("bf16", data)``). Their types are f32, bf16 and f16. Contiguous ones of f32 on
the CPU are not copied, and none is changed. Results are of the kind that came in, and on the CPU;
functions that get only bytes have a parameter ``kind``: ``"numpy"``, ``"torch"`` or ``"buffer"`` (a
memoryview).

The same gradient, quantizer and seed give the same values on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from huffwire import _elements, _huffwire
from huffwire._elements import Kind
from huffwire._errors import LimitError, MismatchError, OptionError, UnsupportedError, VersionError
from huffwire._huffwire import Codebooks, Drift

__all__ = [
    "ENCODERS",
    "BitmapBooks",
    "Drift",
    "ErrorFeedback",
    "FixedBook",
    "Header",
    "Linear",
    "Natural",
    "Qsgd",
    "Quantized",
    "Quantizer",
    "RefreshPolicy",
    "Shannon",
    "Sign",
    "Sizes",
    "Sparsify",
    "TernGrad",
    "decode",
    "decode_into",
    "decode_quantized",
    "decode_values",
    "encode",
    "encode_values",
    "encoder_of_auto",
    "estimates",
    "inspect",
    "quantize",
    "shannon",
    "sizes",
]

ENCODERS: tuple[str, ...] = tuple(_huffwire.all_encoders())
"""The names of all encoders without codebooks of earlier steps; ``"auto"`` selects among them."""


class Quantizer:
    """What all quantizers have in common.

    They are `Qsgd`, `TernGrad`, `Natural`, `Sign`, `Sparsify` and `Linear`. Their parameters cannot
    be changed. ``str(quantizer)`` is a quantizer's text in reports.

    >>> from huffwire import gradient
    >>> str(gradient.Qsgd(levels=4))
    'qsgd levels=4 norm=l2 bucket=512'
    """

    _name: ClassVar[str]

    def __post_init__(self) -> None:
        _huffwire.quantizer_text(self._spec())

    def _spec(self) -> tuple[Any, ...]:
        # All subclasses are dataclasses.
        return (self._name, *astuple(self))  # type: ignore[call-overload]

    def __str__(self) -> str:
        return _huffwire.quantizer_text(self._spec())

    def quantize(self, gradient: Any, *, seed: int = 0) -> Quantized:
        """Quantizes a gradient: the same as the function `quantize`.

        >>> from huffwire import gradient
        >>> len(gradient.Sign().quantize(("f32", bytes(400))))
        100
        """
        return quantize(gradient, self, seed=seed)


@dataclass(frozen=True)
class Qsgd(Quantizer):
    """QSGD (Alistarh et al., NIPS 2017): stochastic rounding to levels between 0 and a norm.

    It is unbiased. ``levels`` is the number of levels above 0, 1 to 2**30; with up to 127, values
    take a byte each. ``bucket`` is how many elements share a norm, or None for all. ``norm`` is
    ``"l2"``, or ``"max"``, whose error is smaller.

    >>> from huffwire.gradient import Qsgd
    >>> Qsgd(levels=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    huffwire.OptionError: invalid option: 0 levels; QSGD takes 1 to 1073741824...
    """

    levels: int = 7
    bucket: int | None = 512
    norm: Literal["l2", "max"] = "l2"
    _name: ClassVar[str] = "qsgd"


@dataclass(frozen=True)
class TernGrad(Quantizer):
    """TernGrad (Wen et al., NIPS 2017): a sign or 0, by stochastic rounding.

    ``clip``: floats beyond so many standard deviations are clipped; None for no clipping.
    ``bucket``: how many elements share a scale, or None for all.

    >>> from huffwire.gradient import TernGrad
    >>> str(TernGrad(clip=None))
    'terngrad clip=none bucket=all'
    """

    clip: float | None = 2.5
    bucket: int | None = None
    _name: ClassVar[str] = "terngrad"


@dataclass(frozen=True)
class Natural(Quantizer):
    """Natural compression (Horváth et al., 2019): powers of two, by stochastic rounding.

    >>> from huffwire.gradient import Natural
    >>> str(Natural())
    'natural'
    """

    _name: ClassVar[str] = "natural"


@dataclass(frozen=True)
class Sign(Quantizer):
    """Signs alone. It is biased: use it with `ErrorFeedback`.

    ``scale`` says which floats the signs stand for: ``"one"``: 1 and -1 (signSGD); ``"mean"``: plus
    and minus the mean magnitude (EF-signSGD); ``"means"``: the mean of the floats that are not
    negative, and that of the others (1-bit SGD). ``bucket``: how many elements share scales, or
    None for all.

    >>> import array
    >>> from huffwire.gradient import Sign
    >>> Sign().quantize(array.array("f", [1.0, -3.0])).dequantize().tolist()
    [2.0, -2.0]
    """

    scale: Literal["one", "mean", "means"] = "mean"
    bucket: int | None = None
    _name: ClassVar[str] = "sign"


@dataclass(frozen=True)
class Sparsify(Quantizer):
    """Top-k and random-k: a few elements exactly, 0 for all others.

    ``keep`` is ``"top"`` (the largest magnitudes; biased, use it with `ErrorFeedback`) or
    ``"random"`` (scaled so that it is unbiased). ``share`` is the share that is kept, above 0 and
    at most 1.

    >>> import array
    >>> from huffwire.gradient import Sparsify
    >>> Sparsify("top", 0.5).quantize(array.array("f", [1, -3, 0, 2])).dequantize().tolist()
    [0.0, -3.0, 0.0, 2.0]
    """

    keep: Literal["top", "random"] = "top"
    share: float = 0.01
    _name: ClassVar[str] = "sparsify"


@dataclass(frozen=True)
class Linear(Quantizer):
    """Linear int8: the nearest of 255 multiples of a scale.

    ``bucket``: how many elements share a scale, such as a row of a matrix, or None for all.

    >>> import array
    >>> from huffwire.gradient import Linear
    >>> Linear().quantize(array.array("f", [1.27, -0.5, 0.25])).values.tolist()
    [127, -50, 25]
    """

    bucket: int | None = None
    _name: ClassVar[str] = "linear"


_QUANTIZERS: dict[str, type[Quantizer]] = {
    quantizer._name: quantizer for quantizer in (Qsgd, TernGrad, Natural, Sign, Sparsify, Linear)
}


def _quantizer(spec: tuple[Any, ...]) -> Quantizer:
    name, *parameters = spec
    if name not in _QUANTIZERS:
        raise VersionError(f"the quantizer {name} is not known: a newer huffwire is needed")
    return _QUANTIZERS[name](*parameters)


def _spec(quantizer: Quantizer) -> tuple[Any, ...]:
    if not isinstance(quantizer, Quantizer):
        raise OptionError("quantizer=: give one, such as huffwire.gradient.Qsgd()")
    return quantizer._spec()


@dataclass(frozen=True)
class Sizes:
    """Bytes of a stream of values, or of a message."""

    total: int
    """All of it."""
    codebook: int
    """The codebooks in it."""
    scales: int = 0
    """The scales in a message."""


class Quantized:
    """A quantized gradient: values, scales, and what is needed to restore floats.

    `quantize` makes it, and so does `decode_quantized`. It cannot be changed.

    >>> import array
    >>> from huffwire import gradient
    >>> quantized = gradient.Linear(bucket=2).quantize(array.array("f", [1.0, 2.0, 0.0, -1.0]))
    >>> quantized.values.tolist(), quantized.zeros, len(quantized.scales)
    ([63, 127, 0, -127], 1, 2)
    """

    __slots__ = ("_dtype", "_kind", "_quantized", "_shape")

    def __init__(
        self, quantized: _huffwire.Quantized, dtype: str, shape: tuple[int, ...], kind: Kind
    ) -> None:
        """Only for this module: use `quantize`, `decode_quantized` or `Quantized.of_parts`."""
        self._quantized = quantized
        self._dtype = dtype
        self._shape = tuple(shape)
        self._kind: Kind = kind

    @classmethod
    def of_parts(
        cls, quantizer: Quantizer, values: Any, scales: Any, *, dtype: str = "f32"
    ) -> Quantized:
        """A quantized gradient of values and scales that another program made; both are copied.

        >>> import array
        >>> from huffwire import gradient
        >>> values, scales = array.array("b", [1, -1, 1]), array.array("f", [0.5])
        >>> parts = gradient.Quantized.of_parts(gradient.Sign(), values, scales)
        >>> parts.dequantize().tolist()
        [0.5, -0.5, 0.5]

        Args:
            quantizer: The quantizer that gives them their meaning.
            values: Integers of 8 or 32 bits, in the shape of the gradient.
            scales: Floats of 32 bits.
            dtype: The type of the gradient: ``"f32"``, ``"bf16"`` or ``"f16"``.

        Raises:
            UnsupportedError: Values or scales of another type. (Whether the quantizer can make such
                values is found when floats are restored.)
        """
        given = _elements.elements(values)
        floats = _elements.elements(scales)
        if floats.dtype != "f32":
            raise UnsupportedError(f"scales of {floats.dtype}: they are f32")
        made = _huffwire.Quantized.of_parts(_spec(quantizer), _value_input(given), floats.memory)
        return cls(made, dtype, given.shape, given.kind)

    @property
    def quantizer(self) -> Quantizer:
        """The quantizer, with its parameters."""
        return _quantizer(self._quantized.quantizer)

    @property
    def dtype(self) -> str:
        """The type of the gradient: ``"f32"``, ``"bf16"`` or ``"f16"``."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the gradient."""
        return self._shape

    @property
    def values(self) -> Any:
        """A new array or tensor of the values, int8 or int32, in the shape of the gradient."""
        dtype = "i32" if self._quantized.wide else "i8"
        result, memory = _elements.empty(self._kind, dtype, self._shape)
        self._quantized.values_into(memory)
        return result

    @property
    def scales(self) -> Any:
        """A new array or tensor of the scales, float32, of one dimension."""
        result, memory = _elements.empty(self._kind, "f32", (self._quantized.scales,))
        self._quantized.scales_into(memory)
        return result

    @property
    def zeros(self) -> int:
        """How many values are 0."""
        return self._quantized.zeros

    def dequantize(self) -> Any:
        """The restored floats, a new array or tensor of the gradient's type and shape.

        >>> from huffwire import gradient
        >>> gradient.Natural().quantize(("f32", bytes(8))).dequantize().tolist()
        [0.0, 0.0]

        Raises:
            DamagedError: Values or scales that the quantizer never makes.
        """
        result, memory = _elements.empty(self._kind, self._dtype, self._shape)
        self._quantized.restore_into(self._dtype, memory)
        return result

    def encode(
        self,
        *,
        encoder: str | BitmapBooks = "auto",
        checksums: bool = True,
        context: int | None = None,
    ) -> bytes:
        """The message of this gradient: the same as the function `encode`.

        >>> from huffwire import gradient
        >>> message = gradient.Sign().quantize(("f32", bytes(400))).encode()
        >>> gradient.inspect(message).elements
        100
        """
        return self._message(encoder, checksums, context)[0]

    def sizes(self, *, encoder: str | BitmapBooks = "auto") -> Sizes:
        """The size of the message of this gradient in bytes, with checksums and without a context.

        >>> from huffwire import gradient
        >>> quantized = gradient.Sign().quantize(("f32", bytes(400)))
        >>> quantized.sizes().total == len(quantized.encode())
        True
        """
        message, (scales, _, codebook) = self._message(encoder, True, None)
        return Sizes(len(message), codebook, scales)

    def _message(
        self, encoder: str | BitmapBooks, checksums: bool, context: int | None
    ) -> tuple[bytes, tuple[int, int, int]]:
        choice = _encoder(encoder)
        return self._quantized.message(self._dtype, list(self._shape), choice, checksums, context)

    def __len__(self) -> int:
        return len(self._quantized)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantized):
            return NotImplemented
        return (
            self._quantized == other._quantized
            and self._dtype == other._dtype
            and self._shape == other._shape
        )

    __hash__ = None  # type: ignore[assignment] # it compares by what may be gigabytes

    def __repr__(self) -> str:
        return (
            f"<huffwire.gradient.Quantized {self.quantizer}: {self._dtype} {self._shape}, "
            f"{self.zeros} values are 0>"
        )


def quantize(gradient: Any, quantizer: Quantizer, *, seed: int = 0) -> Quantized:
    """Quantizes a gradient.

    >>> import array
    >>> from huffwire import gradient
    >>> floats = array.array("f", [0.5, -0.25, 0.0])
    >>> gradient.quantize(floats, gradient.Qsgd(levels=1, norm="max"), seed=3).scales.tolist()
    [0.5]

    Args:
        gradient: Of any shape; f32, bf16 or f16.
        quantizer: The quantizer.
        seed: 0 to 2**64 - 1. The random numbers of stochastic rounding follow from it and from the
            index of each element. Take another one for each step, each tensor and each worker.

    Raises:
        QuantizeError: An element is NaN or infinite, or a norm is beyond the range of f32; with the
            index.
        UnsupportedError: Elements of another type.
    """
    found = _elements.elements(gradient)
    made = _huffwire.Quantized.of(_spec(quantizer), found.dtype, found.memory, _seed(seed))
    return Quantized(made, found.dtype, found.shape, found.kind)


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


Sets: TypeAlias = "Codebooks | BitmapBooks | Iterable[Codebooks | BitmapBooks] | None"


def _sets(codebooks: Sets) -> list[Codebooks]:
    if codebooks is None:
        return []
    if isinstance(codebooks, (Codebooks, BitmapBooks)):
        codebooks = [codebooks]
    return [books.codebooks if isinstance(books, BitmapBooks) else books for books in codebooks]


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


def encode_values(
    values: Any,
    encoder: str | FixedBook | BitmapBooks = "auto",
    *,
    seed: int = 0,
    runs: int = 200,
) -> bytes:
    """Encodes values as a stream: no header, no scales, no checksum.

    >>> import array
    >>> from huffwire import gradient
    >>> values = array.array("b", [0, 0, 0, 1, 0, -1] * 100)
    >>> stream = gradient.encode_values(values, "rlh")
    >>> gradient.decode_values(stream, "rlh", kind="buffer").tolist() == values.tolist()
    True

    Args:
        values: Integers of 8 or 32 bits, of any shape, or a `Quantized`. Encoders of the bitmap
            take up to 2**20 values.
        encoder: One of `ENCODERS`, or codebooks of earlier steps, which the receiver must hold.
        seed: For the samples of ``"sh"`` and ``"shs"``.
        runs: The longest run of zeros that ``"shs"`` has a symbol for, 1 to 65536.

    Raises:
        OptionError: An unknown encoder, an option out of range, or too many values for the encoder.
        UnsupportedError: Values of another type.
    """
    return _stream(values, encoder, seed, runs)[0]


def sizes(
    values: Any, encoder: str | FixedBook | BitmapBooks = "auto", *, seed: int = 0, runs: int = 200
) -> Sizes:
    """The size of the stream that `encode_values` makes, in bytes.

    >>> import array
    >>> from huffwire import gradient
    >>> sizes = gradient.sizes(array.array("b", [0, 0, 0, 0, 0, 0, 0, 1] * 1000), "elias-gamma")
    >>> sizes.total < 2000, sizes.codebook
    (True, 0)

    Args:
        values, encoder, seed, runs: As for `encode_values`.
    """
    stream, codebook = _stream(values, encoder, seed, runs)
    return Sizes(len(stream), codebook)


def _stream(
    values: Any, encoder: str | FixedBook | BitmapBooks, seed: int, runs: int
) -> tuple[bytes, int]:
    choice, seed, runs = _encoder(encoder), _seed(seed), _runs(runs)
    if isinstance(values, Quantized):
        return values._quantized.encode(choice, seed, runs)
    return _huffwire.encode_values(_values(values), choice, seed, runs)


def decode_values(
    stream: Any,
    encoder: str | FixedBook | BitmapBooks = "auto",
    *,
    wide: bool = False,
    kind: Kind = "numpy",
    max_size: int | None = None,
) -> Any:
    """Decodes a stream of values.

    A stream has no checksum: a changed bit can give other values. Messages have checksums.

    >>> import array
    >>> from huffwire import gradient
    >>> stream = gradient.encode_values(array.array("i", [1000, 0, -1000]))
    >>> gradient.decode_values(stream, wide=True, kind="buffer").tolist()
    [1000, 0, -1000]

    Args:
        stream: A whole stream, an object with the buffer protocol.
        encoder: The encoder that made it.
        wide: Whether values are int32; else they are int8.
        kind: As for `decode`.
        max_size: The most bytes that the values may have; set this for streams from strangers.

    Returns:
        The values, of one dimension.

    Raises:
        DamagedError: The stream is cut short, or not one of this encoder; or a value does not fit 8
            bits.
        LimitError: The values have more than ``max_size`` bytes.
        CodebookError: The stream was made with another `FixedBook`.
        OutOfMemoryError: There is no memory for as many values as the stream claims to have.
    """
    _elements.check_kind(kind)
    stream = _buffer(stream)
    count = _huffwire.count_values(stream)
    size = count * (4 if wide else 1)
    if max_size is not None and size > max_size:
        raise LimitError(f"the values of the stream take {size} bytes, and max_size is {max_size}")
    result, memory = _elements.empty(kind, "i32" if wide else "i8", (count,))
    _huffwire.decode_values(stream, _encoder(encoder), memory, bool(wide))
    return result


def encoder_of_auto(stream: Any) -> str:
    """The name of the encoder that ``"auto"`` selected for a stream.

    >>> from huffwire import gradient
    >>> gradient.encoder_of_auto(gradient.encode_values(("i8", bytes(10)))) in gradient.ENCODERS
    True

    Raises:
        DamagedError: This is no stream of ``"auto"``.
    """
    return _huffwire.chosen_encoder(_buffer(stream))


def estimates(values: Any) -> dict[str, float]:
    """The estimated bytes of the streams of the encoders that ``"auto"`` may select.

    Nothing is encoded.

    >>> from huffwire import gradient
    >>> found = gradient.estimates(("i8", bytes(1000)))
    >>> sorted(found)[:2]
    ['bitmap', 'elias-delta']

    Args:
        values: As for `encode_values`.
    """
    return dict(_huffwire.estimates(_values(values)))


@dataclass(frozen=True)
class Shannon:
    """Shannon's bounds in bytes: an ideal code for single symbols, its codebook not counted."""

    values: float
    """Each value is a symbol."""
    pairs: float
    """Each value and the number of its repetitions is a symbol."""
    zero_runs: float
    """Runs of up to 200 zeros, and other values, are symbols."""
    bitmap: float
    """Masks of which of eight neighbours are 0, and values that are not 0, are symbols."""


def shannon(values: Any) -> Shannon:
    """Shannon's bounds for values, for each way of cutting them into symbols.

    >>> import array
    >>> from huffwire import gradient
    >>> gradient.shannon(array.array("b", [0, 1] * 400)).values
    100.0

    Args:
        values: As for `encode_values`.
    """
    return Shannon(*_huffwire.shannon(_values(values)))


class FixedBook:
    """A codebook over values, pairs or runs, made from earlier steps. Both ends hold it.

    Streams carry 4 bytes of its id and no codebook. Any values can be encoded.

    >>> import array
    >>> from huffwire import gradient
    >>> def step(n):
    ...     return array.array("b", [(i * i + n * i) % 100 // 97 for i in range(5000)])
    >>> book = gradient.FixedBook.train([step(1), step(2)], "zero-runs")
    >>> stream = gradient.encode_values(step(3), book)
    >>> held = gradient.FixedBook.from_bytes(book.to_bytes())
    >>> gradient.decode_values(stream, held, kind="buffer").tolist() == step(3).tolist()
    True
    """

    __slots__ = ("_books",)

    def __init__(self, data: Any) -> None:
        """The codebook in these bytes: the same as `FixedBook.from_bytes`."""
        self._books = (
            data
            if isinstance(data, _huffwire.FixedBook)
            else _huffwire.FixedBook.from_bytes(_buffer(data))
        )

    @classmethod
    def train(
        cls,
        tensors: Iterable[Any],
        alphabet: Literal["values", "pairs", "zero-runs"] = "values",
        *,
        runs: int = 200,
    ) -> FixedBook:
        """A codebook made from tensors of values.

        >>> from huffwire import gradient
        >>> gradient.FixedBook.train([("i8", bytes(10))]).alphabet
        'values'

        Args:
            tensors: Several tensors of values, each as for `encode_values`.
            alphabet: What the symbols are: ``"values"``, ``"pairs"`` (a value and its repetitions),
                or ``"zero-runs"`` (runs of zeros, and other values).
            runs: The longest run of zeros that has a symbol, 1 to 65536.

        Raises:
            OptionError: An unknown alphabet, or ``runs`` out of range.
        """
        return cls(_huffwire.FixedBook.train(_tensors(tensors), alphabet, _runs(runs)))

    @classmethod
    def from_bytes(cls, data: Any) -> FixedBook:
        """The codebook that `to_bytes` wrote.

        >>> from huffwire import gradient
        >>> book = gradient.FixedBook.train([("i8", bytes(10))])
        >>> gradient.FixedBook.from_bytes(book.to_bytes()) == book
        True

        Raises:
            DamagedError: The bytes are cut short or changed.
            CodebookError: They are no valid codebook.
        """
        return cls(data)

    def to_bytes(self) -> bytes:
        """The codebook as bytes, for the receiver of streams."""
        return self._books.to_bytes()

    @property
    def id(self) -> str:
        """The id of the codebook, 16 hexadecimal digits: a hash of its content."""
        return self._books.id

    @property
    def alphabet(self) -> str:
        """What the symbols are: ``"values"``, ``"pairs"`` or ``"zero-runs"``."""
        return self._books.alphabet

    def drift(self, values: Any) -> Drift:
        """What the codebook costs for some values, beside one that is made for them."""
        return self._books.drift(_values(values))

    def refit(self, values: Any) -> FixedBook:
        """A codebook of the same alphabet, made for these values alone."""
        return FixedBook(self._books.refit(_values(values)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedBook) and self._books == other._books

    def __hash__(self) -> int:
        return hash(self._books)

    def __reduce__(self) -> tuple[type[FixedBook], tuple[bytes]]:
        return type(self), (self.to_bytes(),)

    def __repr__(self) -> str:
        return f"<huffwire.gradient.FixedBook {self.id}, of {self.alphabet}>"


class BitmapBooks:
    """Codebooks for bitmaps of values, made from earlier steps. Both ends hold them.

    They are a set of `huffwire.Codebooks`, with a codebook for each layer of the bitmap.

    >>> import array
    >>> from huffwire import gradient
    >>> def step(n):
    ...     return array.array("f", [((i * 37 + n) % 101 - 50) ** 3 / 1e6 for i in range(5000)])
    >>> qsgd = gradient.Qsgd(levels=4)
    >>> books = gradient.BitmapBooks.train([qsgd.quantize(step(1)), qsgd.quantize(step(2))])
    >>> message = gradient.encode(step(3), qsgd, encoder=books)
    >>> gradient.decode(message, codebooks=books, kind="buffer").shape
    (5000,)
    """

    __slots__ = ("_books",)

    def __init__(self, codebooks: Codebooks) -> None:
        """The codebooks of a set that has them for the layers of a bitmap, and for nothing else.

        Raises:
            CodebookError: The set has none, or has codebooks for other purposes, too.
        """
        self._books = (
            codebooks
            if isinstance(codebooks, _huffwire.BitmapBooks)
            else _huffwire.BitmapBooks.from_codebooks(codebooks)
        )

    @classmethod
    def train(cls, tensors: Iterable[Any]) -> BitmapBooks:
        """Codebooks made from tensors of values.

        >>> from huffwire import gradient
        >>> gradient.BitmapBooks.train([("i8", bytes(1000))]).depth > 0
        True

        Args:
            tensors: Several tensors of values, each as for `encode_values`.

        Raises:
            OptionError: There are no values.
        """
        return cls(_huffwire.BitmapBooks.train(_tensors(tensors)))  # type: ignore[arg-type]

    @property
    def codebooks(self) -> Codebooks:
        """The set: what sender and receiver must share."""
        return self._books.codebooks

    @property
    def depth(self) -> int:
        """How often zeros are split off, 0 to 4."""
        return self._books.depth

    def drift(self, values: Any) -> Drift:
        """What the codebooks cost for some values, beside ones that are made for them."""
        return self._books.drift(_values(values))

    def refit(self, values: Any) -> BitmapBooks:
        """Codebooks made for these values alone; without values the same as before."""
        return BitmapBooks(self._books.refit(_values(values)))  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BitmapBooks) and self._books == other._books

    def __hash__(self) -> int:
        return hash(self._books)

    def __reduce__(self) -> tuple[type[BitmapBooks], tuple[Codebooks]]:
        return type(self), (self.codebooks,)

    def __repr__(self) -> str:
        return f"<huffwire.gradient.BitmapBooks {self.codebooks.id}, depth {self.depth}>"


class RefreshPolicy:
    """When fixed codebooks are replaced.

    The policy samples the values that are sent. Once in a while it judges: it makes codebooks from the
    samples, and has them ready when those in use lose more than is tolerated, and the new ones pay for
    their own bytes. The caller decides when to switch, since both ends must do it at once.

    >>> import array
    >>> from huffwire import gradient
    >>> sparse = array.array("b", [i % 50 == 0 for i in range(9000)])
    >>> dense = array.array("b", [i % 7 % 3 for i in range(9000)])
    >>> policy = gradient.RefreshPolicy(
    ...     gradient.FixedBook.train([sparse]), tolerance=0.05, every=2, interval=0, samples=2
    ... )
    >>> policy.observe(sparse), policy.observe(sparse).regret < 0.05, policy.fresh
    (None, True, None)
    >>> policy.observe(dense), policy.observe(dense).regret > 0.05
    (None, True)
    >>> policy.switch(policy.fresh)
    """

    __slots__ = ("_policy",)

    def __init__(
        self,
        books: FixedBook | BitmapBooks,
        *,
        tolerance: float = 0.02,
        every: int = 1000,
        interval: int = 8 << 20,
        samples: int = 32,
    ) -> None:
        """A policy for ``books``.

        Args:
            books: The codebooks in use from now on.
            tolerance: What they may lose: 0.02 for two percent.
            every: Tensors from one judgement or switch to the next, at least. New codebooks must pay
                for their own bytes in so many tensors.
            interval: Values from one sample to the next, on average; 0 for a sample of every tensor.
            samples: How many samples a judgement is made from: the last ones, 2 to 4096.

        Raises:
            OptionError: An option has a value that it cannot have.
        """
        self._policy = _huffwire.RefreshPolicy(
            _held(books),
            tolerance,
            _number(every, "every", 1),
            _number(interval, "interval", 0),
            _number(samples, "samples", 2),
        )

    @property
    def books(self) -> FixedBook | BitmapBooks:
        """The codebooks in use."""
        return _books(self._policy.books)

    @property
    def fresh(self) -> FixedBook | BitmapBooks | None:
        """Codebooks made from the samples of the last judgement, if they pay."""
        fresh = self._policy.fresh
        return None if fresh is None else _books(fresh)

    def observe(self, values: Any) -> Drift | None:
        """Takes notice of values that will be sent; returns what a judgement found, if it was time for one."""
        return self._policy.observe(_values(values))

    def switch(self, books: FixedBook | BitmapBooks) -> None:
        """From now on these codebooks are in use.

        Raises:
            OptionError: They are of another kind than those before.
        """
        self._policy.switch(_held(books))


class ErrorFeedback:
    """The memory of error feedback: the error of one quantization is added to the next gradient.

    With error feedback, biased quantizers converge, too (Seide et al. 2014, Karimireddy et al.
    2019). Keep one for each tensor.

    >>> import array
    >>> from huffwire import gradient
    >>> memory = gradient.ErrorFeedback(2)
    >>> sent = memory.quantize(array.array("f", [1.0, -3.0]), gradient.Sign())
    >>> sent.dequantize().tolist(), memory.residual(kind="buffer").tolist()
    ([2.0, -2.0], [-1.0, -1.0])
    """

    __slots__ = ("_decay", "_memory")

    def __init__(self, elements: int, *, decay: float = 1.0) -> None:
        """An empty memory for gradients of so many elements.

        The error counts ``decay`` times in the next step; with 1, nothing is forgotten.

        Raises:
            OptionError: ``elements`` or ``decay`` has a value that it cannot have.
        """
        count = _number(elements, "elements", 0)
        _, memory = _elements.empty("buffer", "f32", (count,))
        self._begin(memory, decay)

    def _begin(self, memory: Any, decay: float) -> None:
        if not math.isfinite(decay):
            raise OptionError(f"decay={decay}: give a finite number")
        self._decay = float(decay)
        self._memory = _huffwire.ErrorFeedback(memory, self._decay)

    @classmethod
    def from_residual(cls, residual: Any, *, decay: float = 1.0) -> ErrorFeedback:
        """A memory with this error in it, such as one that was saved with a checkpoint.

        >>> import array
        >>> from huffwire import gradient
        >>> len(gradient.ErrorFeedback.from_residual(array.array("f", [0.5])))
        1

        Args:
            residual: Floats of 32 bits; they are copied.

        Raises:
            UnsupportedError: Floats of another type.
        """
        found = _elements.elements(residual)
        if found.dtype != "f32":
            raise UnsupportedError(f"an error of {found.dtype}: it is f32")
        made = cls.__new__(cls)
        made._begin(found.memory, decay)
        return made

    def quantize(self, gradient: Any, quantizer: Quantizer, *, seed: int = 0) -> Quantized:
        """Quantizes the sum of a gradient and the kept error, and keeps the new error.

        After an error the memory is as it was.

        Args:
            gradient, quantizer, seed: As for the function `quantize`.

        Raises:
            MismatchError: A gradient of another size.
            Error: As `quantize`.
        """
        found = _elements.elements(gradient)
        made = self._memory.quantize(_spec(quantizer), found.dtype, found.memory, _seed(seed))
        return Quantized(made, found.dtype, found.shape, found.kind)

    def residual(self, *, kind: Kind = "numpy") -> Any:
        """The error that is kept: a new array, tensor or buffer of f32, of one dimension."""
        result, memory = _elements.empty(kind, "f32", (len(self),))
        self._memory.residual_into(memory)
        return result

    def clear(self) -> None:
        """Sets the kept error to 0."""
        self._memory.clear()

    def __len__(self) -> int:
        return len(self._memory)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored_feedback, (self.residual(kind="buffer").tobytes(), self._decay)

    def __repr__(self) -> str:
        return f"<huffwire.gradient.ErrorFeedback of {len(self)} elements, decay {self._decay}>"


def _restored_feedback(residual: bytes, decay: float) -> ErrorFeedback:
    return ErrorFeedback.from_residual(("f32", residual), decay=decay)


def _buffer(value: Any) -> Any:
    # The compiled part takes tuples, too: an address and a length. Only this package may name them.
    if type(value) is tuple:
        raise UnsupportedError("a tuple gives no access to its bytes: pass bytes")
    return value


def _number(value: int, name: str, least: int, most: int = 2**63 - 1) -> int:
    try:
        number = value.__index__()
    except AttributeError:
        raise OptionError(f"{name}={value!r}: give an integer") from None
    if not least <= number <= most:
        raise OptionError(f"{name}={number}: give a number from {least} to {most}")
    return number


def _seed(seed: int) -> int:
    return _number(seed, "seed", 0, 2**64 - 1)


def _runs(runs: int) -> int:
    return _number(runs, "runs", 1, 1 << 16)


def _value_input(found: _elements.Elements) -> tuple[Any, bool]:
    if found.dtype not in ("i8", "i32"):
        raise UnsupportedError(f"values of {found.dtype}: values are int8 or int32")
    return found.memory, found.dtype == "i32"


def _values(values: Any) -> tuple[Any, bool]:
    """Memory of values for the compiled part; it lives as long as what is returned."""
    if isinstance(values, Quantized):
        dtype = "i32" if values._quantized.wide else "i8"
        _, memory = _elements.empty("buffer", dtype, (len(values),))
        values._quantized.values_into(memory)
        return memory, dtype == "i32"
    found = _elements.elements(values)
    return _Kept(_value_input(found), found.owner)


class _Kept(tuple[Any, bool]):
    """A pair of memory and width that keeps the memory alive."""

    owner: Any

    def __new__(cls, pair: tuple[Any, bool], owner: Any) -> _Kept:
        kept = super().__new__(cls, pair)
        kept.owner = owner
        return kept


def _tensors(tensors: Iterable[Any]) -> list[tuple[Any, bool]]:
    if isinstance(tensors, (bytes, bytearray, memoryview, str)):
        raise UnsupportedError("pass several tensors of values: a list, even if it has one")
    return [_values(values) for values in tensors]


def _held(books: Any) -> Any:
    if isinstance(books, (FixedBook, BitmapBooks)):
        return books._books
    raise OptionError("books=: give a FixedBook or BitmapBooks")


def _books(books: Any) -> FixedBook | BitmapBooks:
    if isinstance(books, _huffwire.FixedBook):
        return FixedBook(books)
    return BitmapBooks(books)


def _encoder(encoder: Any) -> Any:
    return encoder._books if isinstance(encoder, (FixedBook, BitmapBooks)) else encoder
