"""The quantized hook for DistributedDataParallel; `huffwire.ddp` has what its users see.

DistributedDataParallel looks at the annotations of a hook, so they must not be strings here.
"""

import logging
from typing import Any

import torch
import torch.distributed as dist

from huffwire import _quantized_layout as layout
from huffwire._errors import MismatchError, UnsupportedError
from huffwire._lossless import average
from huffwire._quantized_state import QuantizedState
from huffwire.distributed import quantized, settings
from huffwire.distributed.c10d import GradBucket
from huffwire.distributed.groups import CodedGroup, coded_group, resolve
from huffwire.distributed.memory import flat

_LOG = logging.getLogger("huffwire.ddp")

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)

Future = torch.futures.Future


def quantized_hook(state: QuantizedState, bucket: GradBucket) -> Future[torch.Tensor]:
    """Averages gradients in quantized values, with loss: a few bits for each element.

    In the first ``warmup_steps`` steps, and for buckets of fewer than ``min_elements`` elements, gradients are averaged
    as by `lossless_hook`. After that, every rank quantizes its gradient and sends to each rank the share that this rank
    owns. The owner restores all ranks' shares, its own as well, adds them in fp32 in the order of ranks, divides by
    the number of ranks, quantizes the mean, and sends it to all. Error feedback keeps in either stage what was lost,
    and adds it in the next step. All ranks end with the same bits.

    Values are coded with codebooks that are built in. The environment variable ``HUFFWIRE_COMPRESSION`` has no say in
    this; it decides about warm-up steps and small buckets. In a group of one rank, gradients stay as they are.

    The hook works within PyTorch's ``bf16_compress_wrapper`` and ``fp16_compress_wrapper``.

    Args:
        state: A `QuantizedState`, of this model alone.
        bucket: Gradients of torch.float32, torch.bfloat16 or torch.float16, from DistributedDataParallel.

    Returns:
        A future of the averaged gradients.

    Raises:
        UnsupportedError: Gradients of another type.
        DisagreementError: The ranks' states differ. All ranks raise it.
        MismatchError: The state was loaded, and belongs to another model, rank or number of ranks.
        QuantizeError: A gradient is infinite or NaN; the other ranks raise PeerError. See ``non_finite`` of the state.
        Error: Whatever `huffwire.distributed.all_reduce` raises. All of these come out of the backward pass.
    """
    group = resolve(state.process_group)
    tensor = bucket.buffer()
    if tensor.dtype not in _FLOATS:
        raise UnsupportedError(
            f"quantized_hook: gradients of {tensor.dtype}; it takes torch.float32, torch.bfloat16 and torch.float16. "
            "Use lossless_hook for this model"
        )
    coded = getattr(group, "huffwire_group", None) or coded_group(group)
    if coded is None or coded.size == 1:
        state._end(bucket)
        future: Future[torch.Tensor] = Future()
        future.set_result(tensor)
        return future
    _agree(state, coded)
    step = state._at(bucket)
    try:
        if not step.quantizes:
            return _only(average(group, tensor, state.sum_dtype))
        if step.collected is None:
            number = bucket.index()
            here = layout.of(state._numbers, bucket)
            if step.is_new:
                state._add_to_layout(here)
            if number < len(state._layout) and state._layout[number] == here:
                step.done.add(number)
                return _only(_start(state, group, coded, number, tensor))
            step.collected = []
        return _collect(state, step.done, step.collected, group, coded, bucket)
    finally:
        state._end(bucket)


def _only(work: dist.Work) -> Future[torch.Tensor]:
    return work.get_future().then(lambda future: future.value()[0])


def _agree(state: QuantizedState, coded: CodedGroup) -> None:
    """Compares the states of all ranks, at the first call of a state that was made or loaded."""
    if state._agreed:
        return
    told = settings.tell(
        coded.ready()[0],
        {
            **{f"QuantizedState, {name}": value for name, value in state._summary().items()},
            "fits": state._fits(coded.rank, coded.size),
        },
    )
    fits = [each.pop("fits", None) for each in told]
    settings._compare(told)
    if not all(fits):
        raise MismatchError(
            f"the QuantizedState of rank {fits.index(False)} was saved by another rank or in a group of another size: "
            "load on each rank what the same rank saved, or call reset_errors() on all ranks"
        )
    state._agreed = True


def _start(
    state: QuantizedState,
    group: dist.ProcessGroup,
    coded: CodedGroup,
    number: int,
    tensor: torch.Tensor,
) -> dist.Work:
    """Starts to average one bucket of the layout."""
    if tensor.numel() < state.min_elements:
        return average(group, tensor, state.sum_dtype)
    how = state._exchange(number, tensor.numel(), coded.rank, coded.size)
    return quantized.average(coded.ready()[0], flat(tensor, "the gradient"), how, [tensor])


def _collect(
    state: QuantizedState,
    done: set[int],
    collected: list[layout.Collected],
    group: dist.ProcessGroup,
    coded: CodedGroup,
    bucket: GradBucket,
) -> Future[torch.Tensor]:
    """Averages buckets that are not those of the layout.

    In its first step DistributedDataParallel has other buckets than later. After a restart, that would give each bucket
    the error memory of another one, and other results than without the restart. So all buckets of such a step are
    collected, and their gradients averaged as the layout has them.
    """
    tensor = bucket.buffer()
    future: Future[torch.Tensor] = Future(
        devices=[tensor.device] if tensor.device.type == "cuda" else []
    )
    collected.append((layout.of(state._numbers, bucket), tensor, future))
    if bucket.is_last():
        due = [number for number in range(len(state._layout)) if number not in done]
        wholes = layout.regroup([state._layout[number] for number in due], collected)
        works = [
            _start(state, group, coded, number, whole)
            for number, whole in zip(due, wholes, strict=True)
        ]
        for work in works:
            work.wait()
        layout.spread([state._layout[number] for number in due], wholes, collected)
        for _, averaged, waiting in collected:
            waiting.set_result(averaged)
        state._regrouped += 1
        if state._regrouped == 3:
            _LOG.warning(
                "DistributedDataParallel's buckets differ from those of the QuantizedState in 3 steps: all of a step's "
                "buckets are collected before they are sent, so nothing overlaps with the backward pass. If the model was "
                "wrapped anew with other buckets for good, call reset_errors() on all ranks"
            )
    return future


__all__: list[Any] = ["QuantizedState", "quantized_hook"]
