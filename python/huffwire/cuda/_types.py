"""Numbers of element types in messages, and the bytes of their units (docs/format.md, section 2)."""

from __future__ import annotations

from typing import NamedTuple


class ElementType(NamedTuple):
    """An element type as messages and kernels know it."""

    number: int
    unit: int
    """In bytes."""


# By huffwire's names. A complex number is two units.
TYPES = {
    "bf16": ElementType(1, 2),
    "f16": ElementType(2, 2),
    "f32": ElementType(3, 4),
    "e4m3": ElementType(4, 1),
    "e5m2": ElementType(5, 1),
    "e3m2": ElementType(6, 1),
    "e2m3": ElementType(7, 1),
    "e3m2-packed": ElementType(8, 3),
    "e2m3-packed": ElementType(9, 3),
    "e2m1": ElementType(10, 1),
    "e8m0": ElementType(11, 1),
    "i8": ElementType(12, 1),
    "u8": ElementType(13, 1),
    "word16": ElementType(14, 2),
    "word32": ElementType(15, 4),
    "word64": ElementType(16, 8),
    "f64": ElementType(17, 8),
    "i16": ElementType(18, 2),
    "i32": ElementType(19, 4),
    "i64": ElementType(20, 8),
    "u16": ElementType(21, 2),
    "u32": ElementType(22, 4),
    "u64": ElementType(23, 8),
    "bool": ElementType(24, 1),
    "complex32": ElementType(25, 2),
    "complex64": ElementType(26, 4),
    "complex128": ElementType(27, 8),
    "e4m3fnuz": ElementType(28, 1),
    "e5m2fnuz": ElementType(29, 1),
}

UNITS = {kind.number: kind.unit for kind in TYPES.values()}
"""Bytes of a unit, by numbers of types."""

MAX_UNITS = 2**32 - 1
"""Of a message."""
