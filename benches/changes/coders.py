"""huffwire's deltas, and what they are compared with: three ways to write down what changed, each with zstd behind it.

The others get what helps them: all tensors as one, no headers, no checksums, memory that was used before. They notice neither a
wrong base nor damage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

LEVELS = (1, 3)
# The element types of the pairs, as arrays and by their names.
DTYPES = {np.dtype(np.uint16): "bf16", np.dtype(np.uint32): "f32"}


class ExclusiveOr:
    """The exclusive-or of all words."""

    name = "exclusive-or"

    def write(self, base: np.ndarray, new: np.ndarray) -> np.ndarray:
        return np.bitwise_xor(base, new)

    def apply(self, written: np.ndarray, weights: np.ndarray) -> None:
        np.bitwise_xor(weights, written.view(weights.dtype), out=weights)


class Planes:
    """The exclusive-or in byte planes: first the lowest bytes of all words, at last the highest."""

    name = "byte planes of it"

    def write(self, base: np.ndarray, new: np.ndarray) -> np.ndarray:
        return planes(np.bitwise_xor(base, new))

    def apply(self, written: np.ndarray, weights: np.ndarray) -> None:
        np.bitwise_xor(weights, words(written, weights.dtype), out=weights)


class Gaps:
    """The distances between changed words, and the exclusive-or of these words, both in byte planes.

    A distance takes two bytes if all of the pair fit, and else four. Frameworks that send indices send new words and not
    their exclusive-or, which takes more.
    """

    name = "gaps and values"
    # Bytes in front: how many words change, and how many bytes a distance has.
    _HEADER = 16

    def write(self, base: np.ndarray, new: np.ndarray) -> np.ndarray:
        changed = np.flatnonzero(base != new)
        gaps = np.diff(changed, prepend=-1) - 1
        kind = np.uint16 if gaps.max(initial=0) < 1 << 16 else np.uint32
        values = base[changed] ^ new[changed]
        header = np.array([len(changed), np.dtype(kind).itemsize], "<u8").view(np.uint8)
        return np.concatenate([header, planes(gaps.astype(kind)), planes(values)])

    def apply(self, written: np.ndarray, weights: np.ndarray) -> None:
        count, width = (int(number) for number in written[: self._HEADER].view("<u8"))
        middle = self._HEADER + count * width
        gaps = words(written[self._HEADER : middle], np.dtype(f"<u{width}"))
        weights[np.cumsum(gaps.astype(np.int64) + 1) - 1] ^= words(written[middle:], weights.dtype)


WAYS = (ExclusiveOr(), Planes(), Gaps())
Way = ExclusiveOr | Planes | Gaps


def planes(values: np.ndarray) -> np.ndarray:
    """The bytes of words, all first bytes before all second ones."""
    return np.ascontiguousarray(values.view(np.uint8).reshape(len(values), values.itemsize).T).reshape(-1)


def words(written: np.ndarray, kind: np.dtype) -> np.ndarray:
    """The words whose planes these are."""
    return np.ascontiguousarray(written.reshape(kind.itemsize, -1).T).reshape(-1).view(kind)


@dataclass(frozen=True)
class Zstd:
    """A way to write down what changed, and zstd at a level."""

    way: Way
    level: int

    @property
    def name(self) -> str:
        return f"{self.way.name}, zstd-{self.level}"

    def encode(self, base: np.ndarray, new: np.ndarray) -> bytes:
        import zstandard

        return zstandard.ZstdCompressor(level=self.level).compress(self.way.write(base, new))

    def apply(self, coded: bytes, weights: np.ndarray) -> None:
        """Turns the base into the new words, where it lies."""
        import zstandard

        written: Any = zstandard.ZstdDecompressor().decompress(coded)
        self.way.apply(np.frombuffer(written, np.uint8), weights)


class Huffwire:
    """The package of this checkout, one thread, with all its checks."""

    name = "huffwire"

    def encode(self, base: np.ndarray, new: np.ndarray) -> bytes:
        import huffwire

        return huffwire.encode_delta(new, base, DTYPES[base.dtype], threads=1)

    def apply(self, coded: bytes, weights: np.ndarray) -> None:
        """Turns the base into the new words, where it lies."""
        import huffwire

        huffwire.apply_delta(coded, weights, threads=1)


Coder = Huffwire | Zstd


def others() -> list[Zstd]:
    return [Zstd(way, level) for way in WAYS for level in LEVELS]
