"""Quantized gradients, the function that makes them, and the memory of error feedback."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from huffwire import _elements, _huffwire
from huffwire._elements import Kind
from huffwire._errors import OptionError, UnsupportedError
from huffwire.gradient._arguments import _number, _seed, _value_input
from huffwire.gradient._quantizers import Quantizer, _quantizer, _spec

if TYPE_CHECKING:
    from huffwire.gradient._books import BitmapBooks


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
        """Only for this package: use `quantize`, `decode_quantized` or `Quantized.of_parts`."""
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
        # That module needs values.
        from huffwire.gradient._books import _encoder

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
