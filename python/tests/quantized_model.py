"""The algorithm of `huffwire.ddp.quantized_hook` once more, in plain NumPy, with QSGD and the largest magnitude as norm."""

from __future__ import annotations

import hashlib

import numpy as np


def words(seed: int, count: int) -> np.ndarray:
    """The random words of 32 bits of SplitMix64, two of each number."""
    with np.errstate(over="ignore"):
        places = np.arange((count + 1) // 2, dtype=np.uint64) + np.uint64(1)
        z = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * places
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    halves = np.stack([z & np.uint64(0xFFFFFFFF), z >> np.uint64(32)], axis=1)
    return halves.ravel()[:count]


def seed_of(seed: int, step: int, bucket: int, kind: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{step}/{bucket}/{kind}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def rounded(floats: np.ndarray, levels: int, bucket: int, seed: int) -> np.ndarray:
    """The floats that a receiver restores."""
    restored = np.empty_like(floats)
    noise = words(seed, len(floats)).astype(np.float64) / 2**32
    for start in range(0, len(floats), bucket):
        here = slice(start, start + bucket)
        part = floats[here].astype(np.float64)
        scale = np.abs(part).max()
        if not np.isfinite(scale):
            restored[here] = np.nan
            continue
        factor = levels / scale if scale > 0 else 0.0
        position = np.minimum(np.abs(part) * factor, levels)
        # The fraction is taken to 32 bits, the nearest ones, and a carry rounds up.
        position = np.rint(position * 2**32) / 2**32
        level = np.floor(position + noise[here])
        restored[here] = (scale / levels * np.copysign(level, part)).astype(np.float32)
    return restored


class Model:
    """The gradients of one bucket, for all ranks."""

    def __init__(
        self, ranks: int, elements: int, levels: int, bucket: int, seed: int, feedback: bool = True
    ) -> None:
        self.levels, self.bucket, self.seed, self.feedback = levels, bucket, seed, feedback
        self.errors = [np.zeros(elements, np.float32) for _ in range(ranks)]
        self.mean_error = np.zeros(elements, np.float32)

    def _send(self, floats: np.ndarray, error: np.ndarray, seed: int) -> np.ndarray:
        whole = floats + error if self.feedback else floats
        sent = rounded(whole, self.levels, self.bucket, seed)
        if self.feedback:
            good = ~np.isnan(sent)
            error[good] = (whole - sent)[good]
        return sent

    def step(self, step: int, gradients: list[np.ndarray]) -> np.ndarray:
        """The mean that all ranks get."""
        total = None
        for rank, (gradient, error) in enumerate(zip(gradients, self.errors, strict=True)):
            sent = self._send(gradient, error, seed_of(self.seed, step, 0, f"rank {rank}"))
            total = sent if total is None else total + sent
        mean = total / np.float32(len(gradients))
        return self._send(mean, self.mean_error, seed_of(self.seed, step, 0, "mean"))
