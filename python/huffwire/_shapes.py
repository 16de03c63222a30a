"""Shapes of tensors."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod

from huffwire._errors import MismatchError, OptionError


def checked(shape: int | Sequence[int]) -> tuple[int, ...]:
    """A shape as a tuple of sizes.

    Raises:
        OptionError: It is no shape.
    """
    try:
        sizes = (shape,) if isinstance(shape, int) else tuple(map(operator.index, shape))
    except TypeError:
        raise OptionError(f"shape={shape!r}: give the sizes of all dimensions") from None
    if any(size < 0 for size in sizes):
        raise OptionError(f"shape={shape!r}: give the sizes of all dimensions, none below 0")
    return sizes


def elements(shape: int | Sequence[int]) -> int:
    """How many elements a shape has.

    Raises:
        OptionError: It is no shape.
    """
    return prod(checked(shape))


def of_message(shape: int | Sequence[int] | None, elements: int) -> tuple[int, ...]:
    """The shape of a message's elements as the caller wants it; one dimension if it does not matter.

    Raises:
        MismatchError: The message has another number of elements.
        OptionError: It is no shape.
    """
    if shape is None:
        return (elements,)
    sizes = checked(shape)
    if prod(sizes) != elements:
        wanted = f"shape {sizes} has {prod(sizes)} elements"
        raise MismatchError(f"{wanted}, and the message has {elements}: give its shape, or None")
    return sizes
