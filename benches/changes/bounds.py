"""How many bits the changes of a pair need at least, if each weight is coded for itself.

A weight changes or not, and if it changes, then by a number of units in the last place. The first bound takes all weights to
be alike: `n H(p)` bits tell which of `n` weights change, and `H(d)` bits for each change tell by how much. The second bound
takes the weights with the same exponent in the base to be alike, and adds up their bounds. Both take the probabilities from
the pair itself, and count nothing for telling them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# bf16: the exponent is what is left of the lower 7 bits, without the sign.
_MANTISSA_BITS = 7
_SIGN = 1 << 15
_EXPONENTS = 256
# Differences of two places fit into this many bits, with their sign.
_DIFFERENCE_BITS = 17


@dataclass(frozen=True)
class Bounds:
    """Bits for all changes of a pair together."""

    alike: float
    by_exponent: float


def places(words: np.ndarray) -> np.ndarray:
    """The places of bf16 bit patterns in the order of their numbers, with -0 right before +0."""
    words = words.astype(np.int32)
    return np.where(words < _SIGN, words + _SIGN, 2 * _SIGN - 1 - words)


def differences(base: np.ndarray, new: np.ndarray) -> np.ndarray:
    """By how many units in the last place weights differ."""
    return places(new) - places(base)


def bits(counts: np.ndarray) -> float:
    """Bits of symbols that occur so often, by their own entropy."""
    counts = counts[counts > 0].astype(np.float64)
    total = counts.sum()
    return float((counts * np.log2(total / counts)).sum()) if len(counts) > 1 else 0.0


def bounds(base: np.ndarray, new: np.ndarray) -> Bounds:
    """Both bounds of a pair of bf16 weights, given as `uint16`."""
    changed = np.flatnonzero(base != new)
    before = base[changed]
    difference = differences(before, new[changed])
    _, counts = np.unique(difference, return_counts=True)
    alike = bits(np.array([len(base) - len(changed), len(changed)])) + bits(counts)

    exponents = exponents_of(base)
    words = np.bincount(exponents, minlength=_EXPONENTS)
    changes = np.bincount(exponents[changed], minlength=_EXPONENTS)
    by_exponent = sum(bits(np.array(pair)) for pair in zip(words - changes, changes, strict=True))
    # A number for each exponent and difference: those of an exponent lie together.
    numbers, counts = np.unique((exponents[changed] << _DIFFERENCE_BITS) + difference, return_counts=True)
    owners = (numbers + (1 << _DIFFERENCE_BITS - 1)) >> _DIFFERENCE_BITS
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    by_exponent += sum(bits(one) for one in np.split(counts, starts[1:]))
    return Bounds(alike, by_exponent)


def exponents_of(words: np.ndarray) -> np.ndarray:
    return ((words >> _MANTISSA_BITS) & (_EXPONENTS - 1)).astype(np.int64)
