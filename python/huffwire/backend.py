"""A backend of `torch.distributed`, for programs that are not changed: it wraps gloo and codes what pays.

>>> import torch, torch.distributed as dist, huffwire.backend
>>> dist.init_process_group("huffwire", store=dist.HashStore(), rank=0, world_size=1)
>>> gradients = torch.ones(1000)
>>> dist.all_reduce(gradients)
>>> dist.get_backend()
'huffwire'
>>> dist.destroy_process_group()

``"cpu:huffwire"`` works as well. All that huffwire does not code is gloo's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from huffwire._errors import OptionError, UnsupportedError
from huffwire.distributed import collectives, totals
from huffwire.distributed.c10d import one_of
from huffwire.distributed.groups import CodedGroup

__all__ = ["HuffwireProcessGroup"]

# PyTorch does not tell the types of all its classes.
_untyped: Any = dist


class HuffwireProcessGroup(dist.ProcessGroup):
    """A process group that passes its collectives to gloo, or carries them in coded pieces.

    ``torch.distributed.init_process_group("huffwire")`` makes it; programs need not know this class.

    Args:
        store: Where the ranks find each other.
        rank, size: This rank, and how many there are.
        timeout: How long a rank waits for another one.
    """

    def __init__(self, store: Any, rank: int, size: int, timeout: timedelta) -> None:
        try:
            super().__init__(store, rank, size)
        except TypeError:  # An earlier torch, such as 2.11, takes no store.
            super().__init__(rank, size)
        gloo: Any = dist.ProcessGroupGloo(_untyped.PrefixStore("gloo/", store), rank, size, timeout=timeout)
        # What is not overridden here is dispatched to gloo by the base class.
        self._register_backend(torch.device("cpu"), dist.ProcessGroup.BackendType.CUSTOM, gloo)
        self._set_default_backend(dist.ProcessGroup.BackendType.CUSTOM)
        self._gloo = gloo
        self.huffwire_group = CodedGroup(gloo, store, rank, size, timeout) if size > 1 else None

    def getBackendName(self) -> str:
        return "huffwire"

    def _coded(self, tensors: Sequence[torch.Tensor]) -> CodedGroup | None:
        if not all(map(collectives._simple, tensors)):
            return None
        return self.huffwire_group

    def allreduce(self, tensors: Any, opts: Any = None) -> Any:  # type: ignore[override]
        opts = dist.AllreduceOptions() if opts is None else opts
        coded = self._coded(tensors) if len(tensors) == 1 else None
        if coded is not None and collectives.is_sum(opts.reduceOp, tensors[0].dtype):
            how = collectives.how_to_add(opts.reduceOp, None)
            work = collectives.add_up(coded, tensors[0], how)
            if work is not None:
                return work
        totals.fallback("all_reduce")
        return self._gloo.allreduce(tensors, opts)

    def broadcast(self, tensors: Any, opts: Any = None) -> Any:  # type: ignore[override]
        opts = dist.BroadcastOptions() if opts is None else opts
        coded = self._coded(tensors) if len(tensors) == 1 else None
        work = None if coded is None else collectives.spread(coded, tensors[0], opts.rootRank)
        if work is not None:
            return work
        totals.fallback("broadcast")
        return self._gloo.broadcast(tensors, opts)

    def allgather(self, output_tensors: Any, input_tensors: Any, opts: Any = None) -> Any:
        opts = _untyped.AllgatherOptions() if opts is None else opts
        if len(input_tensors) == 1:
            outputs = output_tensors[0]
            coded = self._coded([input_tensors[0], *outputs])
            work = None
            if coded is not None:
                work = collectives.gather(coded, outputs, input_tensors[0], list(outputs))
            if work is not None:
                return work
        totals.fallback("all_gather")
        return self._gloo.allgather(output_tensors, input_tensors, opts)

    def all_gather_single(self, output: Any, input: Any, opts: Any = None) -> Any:
        opts = _untyped.AllgatherOptions() if opts is None else opts
        coded = self._coded([output, input])
        work = None if coded is None else collectives.gather_into(coded, output, input)
        if work is not None:
            return work
        totals.fallback("all_gather")
        return one_of(self._gloo, "all_gather_single", "_allgather_base")(output, input, opts)

    def reduce_scatter_single(self, output: Any, input: Any, opts: Any = None) -> Any:
        opts = dist.ReduceScatterOptions() if opts is None else opts
        coded = self._coded([output, input])
        if coded is not None and collectives.is_sum(opts.reduceOp, input.dtype):
            how = collectives.how_to_add(opts.reduceOp, None)
            work = collectives.scatter_sum(coded, output, input, how)
            if work is not None:
                return work
        totals.fallback("reduce_scatter")
        return one_of(self._gloo, "reduce_scatter_single", "_reduce_scatter_base")(
            output, input, opts
        )

    def all_to_all_single(
        self,
        output: Any,
        input: Any,
        output_split_sizes: Any,
        input_split_sizes: Any,
        opts: Any = None,
    ) -> Any:
        opts = dist.AllToAllOptions() if opts is None else opts
        coded = self._coded([output, input])
        work = None
        if coded is not None:
            work = collectives.exchange(coded, output, input, output_split_sizes, input_split_sizes)
        if work is not None:
            return work
        totals.fallback("all_to_all")
        call = one_of(self._gloo, "all_to_all_single", "alltoall_base")
        return call(output, input, output_split_sizes, input_split_sizes, opts)

    # PyTorch before 2.15 calls these.
    _allgather_base = all_gather_single
    _reduce_scatter_base = reduce_scatter_single  # type: ignore[assignment]
    alltoall_base = all_to_all_single  # type: ignore[assignment]

    def send(self, tensors: Any, dst: int, tag: int = 0) -> Any:
        coded = self._coded(tensors)
        if coded is None or len(tensors) != 1:
            totals.fallback("send")
            return self._gloo.send(tensors, dst, tag)
        return collectives.send_to(coded, tensors[0], dst, tag)

    def recv(self, tensors: Any, src: int, tag: int = 0) -> Any:
        coded = self._coded(tensors)
        if coded is None or len(tensors) != 1:
            totals.fallback("send")
            return self._gloo.recv(tensors, src, tag)
        return collectives.receive_from(coded, tensors[0], src, tag)

    def recv_anysource(self, tensors: Any, tag: int = 0) -> Any:
        if self.huffwire_group is not None and self.huffwire_group.settings.compression != "never":
            raise UnsupportedError(
                "a receive from any rank cannot be coded: name the rank that sends"
            )
        totals.fallback("send")
        return self._gloo.recv_anysource(tensors, tag)


def _create(store: Any, rank: int, size: int, timeout: timedelta) -> HuffwireProcessGroup:
    _refuse_other_devices()
    return HuffwireProcessGroup(store, rank, size, timeout)


def _refuse_other_devices() -> None:
    """Raises an error for ``"cpu:huffwire,cuda:nccl"``, which PyTorch would take for ``"huffwire"``.

    PyTorch does not pass the other backends on, so they are looked up where it keeps them while it makes a group.
    """
    frame = sys._getframe(2)
    configuration = frame.f_locals.get("backend_config")
    devices: dict[str, str] = getattr(configuration, "get_device_backend_map", dict)()
    others = sorted({f"{device}:{name}" for device, name in devices.items() if name != "huffwire"})
    if others:
        raise OptionError(
            f"the backend huffwire cannot be combined with {', '.join(others)}: PyTorch takes one process group of "
            "Python for all devices. Use the backend 'cpu:gloo,cuda:nccl' with huffwire.ddp.lossless_hook, "
            "huffwire.fsdp.compress or huffwire.distributed, which make a gloo group of their own"
        )


dist.Backend.register_backend("huffwire", _create, devices=["cpu"])
