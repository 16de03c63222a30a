"""QSGD once more, in numpy: bit for bit what `huffwire quantize` computes, without coding anything.

So a training run with this and one through the program tell whether coding changes a loss.
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


def quantize(values: np.ndarray, levels: int, bucket: int, norm: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """States, and the scale of each bucket."""
    buckets = -(-len(values) // bucket)
    padded = np.zeros(buckets * bucket)
    padded[: len(values)] = values
    if not np.isfinite(padded).all():
        raise ValueError("a gradient that is not finite")
    magnitudes = np.abs(padded).reshape(buckets, bucket)
    if norm == "max":
        scales = magnitudes.max(axis=1).astype(np.float32)
    else:
        # Added one after the other, as a loop does; `sum` would add pairs.
        exact = np.sqrt(np.cumsum(magnitudes * magnitudes, axis=1)[:, -1])
        scales = exact.astype(np.float32)
        scales = np.where(scales < exact, np.nextafter(scales, np.float32(np.inf)), scales)
    factors = np.divide(levels, scales, out=np.zeros(buckets), where=scales > 0, dtype=np.float64)
    position = (magnitudes * factors[:, None]).ravel()[: len(values)]
    below = np.floor(position)
    uniform = (random_bits(seed, np.arange(len(values))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    level = np.minimum(below + (uniform < position - below), levels).astype(np.int32)
    return np.where(values < 0, -level, level), scales


def dequantize(states: np.ndarray, scales: np.ndarray, levels: int, bucket: int) -> np.ndarray:
    """The values that states stand for."""
    units = (scales.astype(np.float64) / levels).repeat(bucket)[: len(states)]
    return (units * states).astype(np.float32)
