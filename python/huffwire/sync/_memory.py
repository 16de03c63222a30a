"""Where the elements of tensors and arrays lie."""

from __future__ import annotations

from typing import Any


def start_of(memory: Any) -> int:
    """The address of memory as the compiled part takes it: an array, or address and bytes."""
    start = memory[0] if isinstance(memory, tuple) else memory.__array_interface__["data"][0]
    return int(start)


def was_copied(memory: Any, value: Any) -> bool:
    """Whether memory that was asked of a tensor or an array is a copy: of one on another device, or not contiguous."""
    if not hasattr(value, "is_cpu"):
        return start_of(memory) != start_of(value)
    return not value.is_cpu or start_of(memory) != value.data_ptr()
