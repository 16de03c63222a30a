"""Streams: values alone as bytes, and what they would take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from huffwire import _elements, _huffwire
from huffwire._elements import Kind
from huffwire._errors import LimitError
from huffwire.gradient._arguments import _buffer, _runs, _seed
from huffwire.gradient._books import BitmapBooks, FixedBook, _encoder
from huffwire.gradient._quantized import Quantized, Sizes, _values

ENCODERS: tuple[str, ...] = tuple(_huffwire.all_encoders())
"""The names of all encoders without codebooks of earlier steps; ``"auto"`` selects among them."""


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
