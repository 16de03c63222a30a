"""Hooks for DistributedDataParallel: gradients travel with fewer bytes.

`lossless_hook` changes no bit of them. `quantized_hook` sends a few bits for each element, with loss.

>>> import torch, torch.distributed as dist, huffwire.ddp
>>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
>>> model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 8))
>>> model.register_comm_hook(huffwire.ddp.LosslessState(), huffwire.ddp.lossless_hook)
>>> model(torch.ones(2, 8)).sum().backward()
>>> dist.destroy_process_group()
"""

from typing import Any

import torch
import torch.distributed as dist

from huffwire._errors import MismatchError
from huffwire._quantized_hook import QuantizedState, quantized_hook
from huffwire._lossless import average
from huffwire.distributed.c10d import GradBucket
from huffwire.distributed.collectives import how_to_add
from huffwire.distributed.groups import resolve

__all__ = ["LosslessState", "QuantizedState", "lossless_hook", "quantized_hook"]


class LosslessState:
    """What `lossless_hook` needs to know.

    It has nothing that changes from step to step, so a training that is continued from a checkpoint needs no more
    than a new one. `state_dict` and `load_state_dict` are there for programs that save the states of all hooks. The
    state can be pickled; the process group is not part of it.

    Args:
        process_group: The group; None for the default one.
        sum_dtype: The type in which gradients are added, such as torch.float32 for gradients of torch.bfloat16;
            None for their own, as stock PyTorch does.
    """

    def __init__(
        self,
        process_group: dist.ProcessGroup | None = None,
        *,
        sum_dtype: torch.dtype | None = None,
    ) -> None:
        how_to_add(dist.ReduceOp.SUM, sum_dtype)
        self.process_group = process_group
        self.sum_dtype = sum_dtype

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"version": 1, "sum_dtype": self.sum_dtype}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` returned.

        Raises:
            MismatchError: A newer version of huffwire wrote it, or it is no such state.
        """
        if not isinstance(state, dict) or state.get("version") != 1 or "sum_dtype" not in state:
            raise MismatchError(
                "this is no state of LosslessState that this version of huffwire knows"
            )
        self.sum_dtype = state["sum_dtype"]

    def __getstate__(self) -> dict[str, Any]:
        return self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.process_group = None
        self.load_state_dict(state)


def lossless_hook(
    state: LosslessState, bucket: GradBucket
) -> torch.futures.Future[torch.Tensor]:
    """Averages gradients as DistributedDataParallel does without a hook, in coded pieces.

    The gradients are divided by the number of ranks, and added as `huffwire.distributed.all_reduce` does. So with 2
    ranks every bit is that of stock PyTorch on gloo; with more ranks the order of additions is another one, and is the
    same whether anything is coded or not.

    The hook works within PyTorch's ``bf16_compress_wrapper`` and ``fp16_compress_wrapper``.

    Args:
        state: A `LosslessState`.
        bucket: Gradients, from DistributedDataParallel.

    Returns:
        A future of the averaged gradients. What `huffwire.distributed.all_reduce` raises comes out of the backward
        pass.
    """
    work = average(resolve(state.process_group), bucket.buffer(), state.sum_dtype)
    return work.get_future().then(lambda future: future.value()[0])
