"""Plain calls: those that a process group carries itself, the short way for calls that were made before.

Small calls take some hundred microseconds. Python code that was not used for a while takes tens of them, as it is not in the
processor's caches any more. So what has to be known of a call is found with one look into a dictionary, and then the group is
called as `torch.distributed` calls it, but for checks that are made already.
"""

from __future__ import annotations

import weakref
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor, strided
from torch.compiler import is_dynamo_compiling
from torch.distributed import distributed_c10d
from torch.overrides import has_torch_function

from huffwire.distributed import totals

__all__ = ["all_gather", "all_reduce", "broadcast", "find", "forget", "is_common", "remember"]

if TYPE_CHECKING:
    from torch._C._distributed_c10d import AllgatherOptions, AllreduceOptions, BroadcastOptions

    CAN_CALL = True
else:

    def _options(name: str, *fields: str) -> Any:
        found = getattr(distributed_c10d, name, None)
        return found if all(hasattr(found, field) for field in fields) else None

    # All of this is private, and may be otherwise in another version of PyTorch.
    AllgatherOptions = _options("AllgatherOptions", "asyncOp")
    AllreduceOptions = _options("AllreduceOptions", "reduceOp", "asyncOp")
    BroadcastOptions = _options("BroadcastOptions", "rootRank", "rootTensor", "asyncOp")
    CAN_CALL = None not in (AllgatherOptions, AllreduceOptions, BroadcastOptions) and all(
        hasattr(getattr(distributed_c10d, "_world", None), name)
        for name in ("default_pg", "pg_map", "pg_coalesce_state", "pg_group_ranks")
    )


def is_common(tensor: object) -> bool:
    """Whether a tensor is surely one that pieces could be cut from, by a look that takes no time."""
    return type(tensor) is Tensor and tensor.is_cpu and tensor.layout is strided


class _Known:
    """Calls that a group carries.

    Attributes:
        group: The group.
        alive: What has it as a key until it is destroyed.
        coalescing: What has something as long as PyTorch collects calls, to make them together.
        ranks: The ranks of the group by their global numbers.
        counter: Counts calls.
    """

    __slots__ = ("alive", "coalescing", "counter", "group", "ranks")

    def __init__(self, group: dist.ProcessGroup, collective: str) -> None:
        self.group = weakref.ref(group)
        self.alive = distributed_c10d._world.pg_map
        self.coalescing = distributed_c10d._world.pg_coalesce_state
        self.ranks = distributed_c10d._world.pg_group_ranks.get(group, {})
        self.counter = totals.counter(collective)


# By the group's `id` (None for the default group), the collective, the type of elements and the bytes.
_KNOWN: dict[tuple[int | None, str, torch.dtype, int], _Known] = {}


def remember(
    group: dist.ProcessGroup, is_default: bool, collective: str, dtype: torch.dtype, size: int
) -> None:
    """Remembers that a group carries such calls.

    Args:
        group: The group.
        is_default: Whether the caller gave none.
        collective: The collective.
        dtype: The type of elements.
        size: Bytes of the whole tensor.
    """
    # `torch.distributed` turns complex numbers into pairs first.
    if dtype.is_complex or not CAN_CALL:
        return
    if len(_KNOWN) >= 4096:
        _KNOWN.clear()
    _KNOWN[None if is_default else id(group), collective, dtype, size] = _Known(group, collective)


def forget() -> None:
    """Forgets all calls, as the ranks of a group agree anew."""
    _KNOWN.clear()


def _look(
    group: dist.ProcessGroup | None, collective: str, dtype: torch.dtype, size: int
) -> tuple[dist.ProcessGroup, dict[int, int]] | None:
    """What `find` finds, and its ranks by their global numbers.

    A compiler gets the calls of `torch.distributed`, which it knows.
    """
    known = _KNOWN.get((None if group is None else id(group), collective, dtype, size))
    if known is None or known.coalescing or is_dynamo_compiling():
        return None
    found = known.group()
    if found not in known.alive:
        return None
    if found is not (distributed_c10d._world.default_pg if group is None else group):
        return None
    known.counter.tick()
    return found, known.ranks


def find(
    group: dist.ProcessGroup | None, collective: str, dtype: torch.dtype, size: int
) -> dist.ProcessGroup | None:
    """The group that a call goes to, if it is known to carry it; the call is counted then."""
    found = _look(group, collective, dtype, size)
    return None if found is None else found[0]


class Unknown(Enum):
    """What a call returns that is not known."""

    UNKNOWN = 0


UNKNOWN = Unknown.UNKNOWN
# As type checkers see what a group returns.
_Done: TypeAlias = "dist.Work | Literal[Unknown.UNKNOWN] | None"


def all_gather(
    tensor_list: list[Tensor],
    tensor: object,
    group: dist.ProcessGroup | None,
    async_op: bool,
) -> _Done:
    """An all_gather, if its group is known to carry it; else `UNKNOWN`."""
    if type(tensor) is not Tensor or has_torch_function((tensor,)):
        return UNKNOWN
    dtype, size = tensor.dtype, 0
    for each in (tensor, *tensor_list):
        if (
            type(each) is not Tensor
            or each.dtype is not dtype
            or not each.is_cpu
            or each.layout is not strided
        ):
            return UNKNOWN
        size += each.nbytes
    found = _look(group, "all_gather", dtype, size - tensor.nbytes)
    if found is None:
        return UNKNOWN
    options = AllgatherOptions()
    options.asyncOp = async_op
    work = found[0].allgather([tensor_list], [tensor], options)
    if async_op:
        return work
    if work is not None:
        work.wait()
    return None


def all_reduce(
    tensor: object,
    op: dist.ReduceOp | dist.ReduceOp.RedOpType,
    group: dist.ProcessGroup | None,
    async_op: bool,
) -> _Done:
    """An all_reduce, if its group is known to carry it; else `UNKNOWN`."""
    if type(tensor) is not Tensor or not tensor.is_cpu or tensor.layout is not strided:
        return UNKNOWN
    if has_torch_function((tensor,)):
        return UNKNOWN
    found = _look(group, "all_reduce", tensor.dtype, tensor.nbytes)
    if found is None:
        return UNKNOWN
    options = AllreduceOptions()
    options.reduceOp = op
    options.asyncOp = async_op
    work = found[0].allreduce([tensor], options)
    if async_op:
        return work
    if work is not None:
        work.wait()
    return None


def broadcast(
    tensor: object,
    src: int | None,
    group: dist.ProcessGroup | None,
    async_op: bool,
    group_src: int | None,
) -> _Done:
    """A broadcast, if its group is known to carry it; else `UNKNOWN`."""
    if type(tensor) is not Tensor or not tensor.is_cpu or tensor.layout is not strided:
        return UNKNOWN
    if (src is None) == (group_src is None) or has_torch_function((tensor,)):
        return UNKNOWN
    found = _look(group, "broadcast", tensor.dtype, tensor.nbytes)
    if found is None:
        return UNKNOWN
    carrier, ranks = found
    root = group_src if src is None else ranks.get(src)
    if root is None:
        return UNKNOWN
    options = BroadcastOptions()
    options.rootRank = root
    options.rootTensor = 0
    options.asyncOp = async_op
    work = carrier.broadcast([tensor], options)
    if async_op:
        return work
    if work is not None:
        work.wait()
    return None
