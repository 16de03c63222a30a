"""QSGD and natural compression once more, in numpy: the values that `huffwire quantize` makes, and nothing coded.

So a training run with this and one through the program tell whether coding changes a loss, and values can be
looked at in ways that the program has no option for.
"""

from __future__ import annotations

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def random_bits(seed: int, indices: np.ndarray) -> np.ndarray:
    """SplitMix64 by index, as `huffwire::gradient::Random`."""
    z = np.uint64(seed & MASK) + np.uint64(GOLDEN) * (indices.astype(np.uint64) + np.uint64(1))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def tensor_seed(seed: int, index: int = 0) -> int:
    """The seed of a file's tensor: each has one of its own."""
    return int(random_bits(seed, np.array([index]))[0])


def rounding_words(seed: int, count: int) -> np.ndarray:
    """The random words of 32 bits that QSGD rounds elements by: two of each number of SplitMix64, the lower half first."""
    numbers = random_bits(seed, np.arange((count + 1) // 2))
    halves = np.stack([numbers & np.uint64(0xFFFFFFFF), numbers >> np.uint64(32)], axis=1)
    return halves.ravel()[:count]


def sum_of_lanes(floats: np.ndarray) -> np.ndarray:
    """Sums along the last axis, as huffwire adds: 16 lanes one after the other, then halves of the lanes."""
    rows, columns = floats.shape
    padded = np.zeros((rows, -(-columns // 16) * 16))
    padded[:, :columns] = floats
    lanes = np.cumsum(padded.reshape(rows, -1, 16), axis=1)[:, -1]
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def quantize(floats: np.ndarray, levels: int, bucket: int, norm: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Values, and the scale of each bucket."""
    buckets = -(-len(floats) // bucket)
    padded = np.zeros(buckets * bucket)
    padded[: len(floats)] = floats
    if not np.isfinite(padded).all():
        raise ValueError("a gradient that is not finite")
    magnitudes = np.abs(padded).reshape(buckets, bucket)
    if norm == "max":
        scales = magnitudes.max(axis=1).astype(np.float32)
    else:
        exact = np.sqrt(sum_of_lanes(magnitudes * magnitudes))
        scales = exact.astype(np.float32)
        scales = np.where(scales < exact, np.nextafter(scales, np.float32(np.inf)), scales)
    factors = np.divide(levels, scales, out=np.zeros(buckets), where=scales > 0, dtype=np.float64)
    position = np.minimum(magnitudes * factors[:, None], levels).ravel()[: len(floats)]
    # The fraction has 32 bits where values take a byte, else 21, and the random word as many: a carry rounds up.
    bits = 32 if levels < 128 else 21
    fixed = np.rint(position * 2.0**bits).astype(np.uint64)
    words = rounding_words(seed, len(floats)) >> np.uint64(32 - bits)
    level = ((fixed + words) >> np.uint64(bits)).astype(np.int32)
    return np.where(floats < 0, -level, level), scales


def dequantize(values: np.ndarray, scales: np.ndarray, levels: int, bucket: int) -> np.ndarray:
    """The floats that values stand for."""
    units = (scales.astype(np.float64) / levels).repeat(bucket)[: len(values)]
    return (units * values).astype(np.float32)


def natural(floats: np.ndarray, seed: int) -> np.ndarray:
    """Values of natural compression: 1 for the largest power of two, one more for each halving; 0 for 0."""
    magnitudes = np.abs(floats).astype(np.float64)
    fractions, exponents = np.frexp(magnitudes)
    fraction, exponent = np.frexp(magnitudes.max())
    # `frexp` has fractions from 1/2 up; the exponent of the power of two at or below is one less.
    top = int(exponent) - int(fraction == 0.5)
    uniform = (random_bits(seed, np.arange(len(floats))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    rounded = exponents - 1 + (uniform < 2 * fractions - 1)
    values = np.where(magnitudes > 0, top - rounded + 1, 0)
    return np.where(floats < 0, -values, values)


def pairs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The value of each run and its length."""
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
    return values[starts], np.diff(starts, append=len(values))


def omega_bits(numbers: np.ndarray) -> int:
    """Bits of Elias omega for numbers from 1 up."""
    bits, numbers = len(numbers), numbers.astype(np.int64)
    while True:
        numbers = numbers[numbers > 1]
        if not len(numbers):
            return bits
        # Exact below 2^53.
        numbers = np.frexp(numbers.astype(np.float64))[1].astype(np.int64) - 1
        bits += int((numbers + 1).sum())


def zigzag(values: np.ndarray) -> np.ndarray:
    """Numbers from 1 up for values, small magnitudes first: as huffwire's Elias codes have them."""
    values = values.astype(np.int64)
    return np.where(values >= 0, 2 * values, -2 * values - 1) + 1


def from_lowest(values: np.ndarray) -> np.ndarray:
    """Numbers from 1 up for values in their order: what an index into a table of levels is."""
    return values.astype(np.int64) - int(values.min()) + 1


def baselines(values: np.ndarray) -> dict[str, float]:
    """Bytes of Elias omega with either numbering, over pairs and over single values."""
    found = {}
    repeated, lengths = pairs(values)
    runs = omega_bits(lengths)
    for name, numbering in (("", zigzag), (", by index", from_lowest)):
        # Numbers of runs from those of all values: the lowest value is that of the tensor either way.
        found[f"pairs{name}"] = (runs + omega_bits(numbering(repeated))) / 8
        found[f"single{name}"] = omega_bits(numbering(values)) / 8
    return found
