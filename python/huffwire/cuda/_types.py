"""Element types as messages and kernels know them (docs/format.md, section 2)."""

from __future__ import annotations

from typing import NamedTuple


class ElementType(NamedTuple):
    """A row of the table in docs/format.md."""

    name: str
    number: int
    unit: int
    """In bytes."""
    coded_as: str
    """The name of the type whose layouts and books it has: its own, or another one's."""

    @property
    def is_pair(self) -> bool:
        """Whether an element has two units: a complex number."""
        return self.name.startswith("complex")


_ROWS = (
    ElementType("bf16", 1, 2, "bf16"),
    ElementType("f16", 2, 2, "f16"),
    ElementType("f32", 3, 4, "f32"),
    ElementType("e4m3", 4, 1, "e4m3"),
    ElementType("e5m2", 5, 1, "e5m2"),
    ElementType("e3m2", 6, 1, "e3m2"),
    ElementType("e2m3", 7, 1, "e2m3"),
    ElementType("e3m2-packed", 8, 3, "e3m2-packed"),
    ElementType("e2m3-packed", 9, 3, "e2m3-packed"),
    ElementType("e2m1", 10, 1, "e2m1"),
    ElementType("e8m0", 11, 1, "e8m0"),
    ElementType("i8", 12, 1, "i8"),
    ElementType("u8", 13, 1, "u8"),
    ElementType("word16", 14, 2, "word16"),
    ElementType("word32", 15, 4, "word32"),
    ElementType("word64", 16, 8, "word64"),
    ElementType("f64", 17, 8, "word64"),
    ElementType("i16", 18, 2, "word16"),
    ElementType("i32", 19, 4, "word32"),
    ElementType("i64", 20, 8, "word64"),
    ElementType("u16", 21, 2, "word16"),
    ElementType("u32", 22, 4, "word32"),
    ElementType("u64", 23, 8, "word64"),
    ElementType("bool", 24, 1, "u8"),
    ElementType("complex32", 25, 2, "f16"),
    ElementType("complex64", 26, 4, "f32"),
    ElementType("complex128", 27, 8, "word64"),
    ElementType("e4m3fnuz", 28, 1, "e4m3"),
    ElementType("e5m2fnuz", 29, 1, "e5m2"),
)

LAYOUTS = {
    "bf16": "exponent",
    "f16": "exponent",
    "f32": "exponent",
    "e8m0": "exponent",
    "e4m3": "magnitude",
    "e5m2": "magnitude",
    "e3m2": "magnitude",
    "e2m3": "magnitude",
    "e3m2-packed": "magnitude",
    "e2m3-packed": "magnitude",
    "word16": "positions",
    "word32": "positions",
    "word64": "positions",
    "e2m1": "bytes",
    "i8": "bytes",
    "u8": "bytes",
}
"""The layout whose bindings name the books of a type, by the types that others are coded as. Where a set has none, the
kernel for all types may use another layout."""

TYPES = {row.name: row for row in _ROWS}
"""By huffwire's names."""

BY_NUMBER = {row.number: row for row in _ROWS}
"""By numbers in messages."""

MAX_UNITS = 2**32 - 1
"""Of a message."""
