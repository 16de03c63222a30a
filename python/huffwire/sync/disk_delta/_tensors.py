"""Live tensors: what they are, and their bytes in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from huffwire import _huffwire
from huffwire._disk import naming
from huffwire._elements import elements
from huffwire._errors import (
    MismatchError,
    OptionError,
    OutOfMemoryError,
    SharedStorageError,
    UnsupportedError,
)
from huffwire.sync._memory import start_of, was_copied
from huffwire.sync._names import check_name

# Bytes that are read, written or copied at a time.
PIECE_BYTES = 8 << 20

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Tensor(NamedTuple):
    """A tensor of PyTorch or NumPy, in the memory of the processor."""

    dtype: str
    """huffwire's name of the type."""
    shape: tuple[int, ...]
    """In elements that are whole bytes: two values of 4 bits are one."""
    memory: Any
    """What the compiled part takes: an array of bytes, or address and bytes."""
    size: int
    """In bytes."""
    value: Any
    """What the caller gave."""
    is_own: bool
    """Whether the memory is a copy that was made here, which nobody else writes to."""

    @property
    def spelled_shape(self) -> tuple[int, ...]:
        """The shape in values, as safetensors files tell it."""
        if self.dtype != "e2m1" or not self.shape:
            return self.shape
        return (*self.shape[:-1], 2 * self.shape[-1])

    @property
    def described(self) -> str:
        """For messages."""
        return f"{self.dtype} {list(self.spelled_shape)}"

    def copy(self) -> Tensor:
        """The tensor as it is now, in memory of its own.

        Raises:
            OutOfMemoryError: There is no memory for it.
        """
        if self.is_own:
            return self
        try:
            memory = memoryview(bytearray(self.size))
        except MemoryError:
            raise OutOfMemoryError(f"a copy of a tensor of {self.size} bytes") from None
        copy = self._replace(memory=memory, value=None, is_own=True)
        for piece, room in zip(self.pieces(), copy.pieces(), strict=True):
            _huffwire._copy_checked(piece, room)
        return copy

    def tell_autograd(self) -> None:
        """Tells PyTorch that the tensor was written to."""
        if isinstance(self.memory, tuple):
            from huffwire._tensors import _changed

            _changed(self.value)

    def pieces(self) -> Iterator[Any]:
        """Its memory, in parts of `PIECE_BYTES` at most."""
        for start in range(0, self.size, PIECE_BYTES):
            length = min(PIECE_BYTES, self.size - start)
            if isinstance(self.memory, tuple):
                yield self.memory[0] + start, length
            else:
                yield self.memory[start : start + length]


def tensors_of(values: Mapping[str, Any], *, writable: bool) -> dict[str, Tensor]:
    """Tensors by their names, sorted.

    Raises:
        UnsupportedError: Something is no tensor that has elements in memory.
        OutputError: Something cannot be written to, and ought to.
        SharedStorageError: Tensors that are written to share memory.
    """
    if not isinstance(values, Mapping):
        raise UnsupportedError(f"a {type(values).__name__}: give a dictionary of tensors")
    for name in values:
        check_name(name)
    tensors = {}
    for name in sorted(values):
        with naming(f"tensor {name!r}"):
            found = elements(values[name], writable=writable)
            if found.kind == "buffer":
                raise UnsupportedError("give a torch tensor or a numpy array")
            memory = found.memory
            size = memory[1] if isinstance(memory, tuple) else memory.nbytes
            # What was copied for the occasion lives as long as this.
            value = values[name] if writable else found.owner
            is_own = not writable and was_copied(memory, values[name])
            tensors[name] = Tensor(found.dtype, tuple(found.shape), memory, size, value, is_own)
    if writable:
        _check_apart(tensors)
    return tensors


def _check_apart(tensors: Mapping[str, Tensor]) -> None:
    places = []
    for name, tensor in tensors.items():
        start = start_of(tensor.memory)
        if tensor.size:
            places.append((start, start + tensor.size, name))
    reach, last = -1, ""
    for start, end, name in sorted(places):
        if start < reach:
            raise SharedStorageError(
                f"tensors {last!r} and {name!r} share memory, and a delta would be applied to it "
                "twice: give one of them"
            )
        reach, last = end, name


def same(tensors: Mapping[str, Tensor], before: Mapping[str, Tensor], remedy: str) -> None:
    """Checks that the names, types and shapes of tensors are what they were before.

    Raises:
        MismatchError: They are not.
    """
    new, gone = sorted(tensors.keys() - before.keys()), sorted(before.keys() - tensors.keys())
    if new or gone:
        what = f"tensor {new[0]!r} is new" if new else f"tensor {gone[0]!r} is gone"
        raise MismatchError(f"{what}: {remedy}")
    for name, tensor in tensors.items():
        old = before[name]
        if (tensor.dtype, tensor.shape) != (old.dtype, old.shape):
            raise MismatchError(
                f"tensor {name!r} is {tensor.described}, and was {old.described}: {remedy}"
            )


def thread_count(threads: int | None) -> int:
    """How many tensors are worked on at a time.

    Raises:
        OptionError: No such number.
    """
    if threads is None:
        return _huffwire.default_threads()
    if not 1 <= threads <= 1024:
        raise OptionError(f"threads={threads}: give a number from 1 to 1024, or None")
    return threads


def side_by_side(
    threads: int, work: Callable[[_Item], _Result], items: Sequence[_Item]
) -> Iterable[_Result]:
    """The results of work on items, in their order; the first error ends it."""
    if threads == 1 or len(items) < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(min(threads, len(items)), "huffwire-patch") as pool:
        try:
            yield from pool.map(work, items)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
