"""The average of gradients without loss, which the hooks for DistributedDataParallel share."""

from __future__ import annotations

import torch
import torch.distributed as dist

from huffwire.distributed.collectives import add_up, how_to_add, is_sum
from huffwire.distributed.groups import coded_group, codes_itself
from huffwire.distributed.totals import fallback


def average(
    group: dist.ProcessGroup, tensor: torch.Tensor, sum_dtype: torch.dtype | None
) -> dist.Work:
    """Starts to average a tensor over a group, in place: in coded pieces where that pays.

    The tensor is divided by the number of ranks first, as DistributedDataParallel does without a hook.
    """
    tensor.div_(group.size())
    coded = getattr(group, "huffwire_group", None) or coded_group(group)
    work = None
    if coded is not None and is_sum(dist.ReduceOp.SUM, tensor.dtype):
        work = add_up(coded, tensor, how_to_add(dist.ReduceOp.SUM, sum_dtype))
    if work is None:
        if not codes_itself(group):
            fallback("all_reduce")
        work = dist.all_reduce(tensor, group=group, async_op=True)
    return work
