"""Which parameters lie in which bucket of DistributedDataParallel, and gradients that are moved from one arrangement of buckets
to another."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch

from huffwire._errors import MismatchError
from huffwire.distributed.c10d import GradBucket

# The parameters of a bucket, in their order: their numbers and how many elements they have.
Bucket = tuple[tuple[int, int], ...]

# A bucket that was collected: its parameters, its gradients, and the future of them.
Collected = tuple[Bucket, torch.Tensor, torch.futures.Future[torch.Tensor]]


class Numbers:
    """Numbers of parameters, in the order in which they are first seen.

    DistributedDataParallel shows them in the same order in the first step of every run of a program, whatever its buckets
    are. So the numbers are those of the run before, if a state is loaded.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._next = 0
        # Which parameters were known before this step, none if one of them is gone; and those of this step in their order.
        self._known: set[int] = set()
        self._shown: dict[int, weakref.ref[torch.Tensor]] = {}

    def number(self, parameter: torch.Tensor) -> int:
        found = self._numbers.get(id(parameter))
        if found is None or found[0]() is not parameter:
            found = self._numbers[id(parameter)] = weakref.ref(parameter), self._next
            self._next += 1
        self._shown[id(parameter)] = found[0]
        return found[1]

    def restart(self, parameters: Sequence[torch.Tensor]) -> None:
        """Called with the first parameters of a step. Forgets everything if none of them is known: it is another model,
        or a new copy of it."""
        known = (self._numbers.get(id(parameter)) for parameter in parameters)
        if not any(
            found is not None and found[0]() is parameter
            for found, parameter in zip(known, parameters, strict=True)
        ):
            self._numbers.clear()
            self._next = 0
        # Where a parameter is gone, the model has others than before. Another one may have its id by now.
        alive = all(reference() is not None for reference, _ in self._numbers.values())
        self._known = set(self._numbers) if alive else set()
        self._shown.clear()

    def settle(self) -> None:
        """Called after a step. Numbers its parameters anew if they are not those that were known: the model has others than
        before."""
        if self._shown.keys() != self._known:
            shown = enumerate(self._shown.items())
            self._numbers = {key: (parameter, number) for number, (key, parameter) in shown}
            self._next = len(self._numbers)


def of(numbers: Numbers, bucket: GradBucket) -> Bucket:
    """The parameters of a bucket."""
    return tuple(
        (numbers.number(parameter), parameter.numel()) for parameter in bucket.parameters()
    )


def _slices(buckets: Sequence[Bucket], tensors: Sequence[torch.Tensor]) -> dict[int, torch.Tensor]:
    """The gradient of each parameter, by its number."""
    found = {}
    for bucket, tensor in zip(buckets, tensors, strict=True):
        start = 0
        for number, elements in bucket:
            found[number] = tensor[start : start + elements]
            start += elements
    return found


def regroup(layout: Sequence[Bucket], collected: Sequence[Collected]) -> list[torch.Tensor]:
    """The collected gradients in buckets as the layout has them.

    Raises:
        MismatchError: They are gradients of other parameters.
    """
    due = sorted(each for bucket in layout for each in bucket)
    if due != sorted(each for bucket, _, _ in collected for each in bucket):
        raise MismatchError(
            "the QuantizedState belongs to a model with other parameters: load the state of this model, make a new one, "
            "or call reset_errors() on all ranks"
        )
    here = _slices([each[0] for each in collected], [each[1] for each in collected])
    return [torch.cat([here[number] for number, _ in bucket]) for bucket in layout]


def spread(
    layout: Sequence[Bucket], wholes: Sequence[torch.Tensor], collected: Sequence[Collected]
) -> None:
    """Brings gradients in buckets of the layout back to the collected buckets."""
    averaged = _slices(layout, wholes)
    for bucket, tensor, _ in collected:
        for number, place in _slices([bucket], [tensor]).items():
            place.copy_(averaged[number])
