"""FSDP2 (`torch.distributed.fsdp.fully_shard`) with fewer bytes: parameters are gathered, and gradients are reduced,
in coded pieces.

>>> import torch, torch.distributed as dist, huffwire.fsdp
>>> from torch.distributed.fsdp import fully_shard
>>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
>>> mesh = dist.init_device_mesh("cpu", (1,))
>>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
>>> for layer in model:
...     _ = fully_shard(layer, mesh=mesh)
>>> model = huffwire.fsdp.compress(fully_shard(model, mesh=mesh))
>>> model(torch.ones(2, 8)).sum().backward()
>>> dist.destroy_process_group()

What is private of PyTorch here: the base classes ``AllGather`` and ``ReduceScatter`` are in the module
``torch.distributed.fsdp._fully_shard._fsdp_api``. The methods ``set_custom_all_gather`` and
``set_custom_reduce_scatter`` are public. `compress` raises an error if it does not find them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from huffwire._errors import UnsupportedError
from huffwire.distributed import collectives
from huffwire.distributed.collectives import how_to_add

__all__ = ["compress"]

_Module = TypeVar("_Module", bound=torch.nn.Module)


def _api() -> tuple[type, Any, Any]:
    """FSDP2's classes: of modules, and of its two kinds of communication."""
    try:
        from torch.distributed.fsdp import FSDPModule
        from torch.distributed.fsdp._fully_shard._fsdp_api import AllGather, ReduceScatter

        FSDPModule.set_custom_all_gather, FSDPModule.set_custom_reduce_scatter  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise UnsupportedError(
            f"torch {torch.__version__} has not what huffwire.fsdp needs ({error}): torch 2.11 to 2.15 have it. "
            "Use the backend of huffwire.backend instead, which FSDP needs not know about"
        ) from error
    return FSDPModule, AllGather, ReduceScatter


def _allocate(size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.empty(*size, dtype=dtype, device=device)


def compress(module: _Module, *, sum_dtype: torch.dtype | None = None) -> _Module:
    """Has a module that was prepared by ``fully_shard``, and all such modules in it, use coded pieces.

    The parameters that are gathered are the same, bit for bit. Gradients are added as
    `huffwire.distributed.reduce_scatter_tensor` does: with 2 ranks the same bits as stock PyTorch on gloo. Mixed
    precision works: what travels has the types of the policy (``param_dtype``, ``reduce_dtype``), and those decide
    what is saved. A module with parameters of different types has FSDP2 gather their bytes, of which little is saved.

    Args:
        module: The root. Call this after the last ``fully_shard``, and before the first step.
        sum_dtype: The type in which gradients are added, such as torch.float32 if ``reduce_dtype`` is
            torch.bfloat16; None for their own.

    Returns:
        The module.

    Raises:
        UnsupportedError: No module in it was prepared by ``fully_shard``, one has parameters on several meshes, or
            PyTorch has changed.
    """
    sharded, gather_base, scatter_base = _api()
    how_to_add(dist.ReduceOp.SUM, sum_dtype)

    class AllGather(gather_base):  # type: ignore[misc, valid-type]
        allocate = staticmethod(_allocate)

        def __call__(
            self,
            output_tensor: torch.Tensor,
            input_tensor: torch.Tensor,
            group: dist.ProcessGroup,
            async_op: bool = False,
        ) -> dist.Work | None:
            return collectives.all_gather_into_tensor(output_tensor, input_tensor, group, async_op)

    class ReduceScatter(scatter_base):  # type: ignore[misc, valid-type]
        allocate = staticmethod(_allocate)

        def __call__(
            self,
            output_tensor: torch.Tensor,
            input_tensor: torch.Tensor,
            group: dist.ProcessGroup,
            op: dist.ReduceOp | dist.ReduceOp.RedOpType,
            async_op: bool = False,
        ) -> dist.Work | None:
            coded = collectives.is_sum(op, input_tensor.dtype)
            return collectives.reduce_scatter_tensor(
                output_tensor,
                input_tensor,
                op,
                group,
                async_op,
                sum_dtype=sum_dtype if coded else None,
            )

    found: list[Any] = [child for child in module.modules() if isinstance(child, sharded)]
    if not found:
        raise UnsupportedError(
            "no module here was prepared by torch.distributed.fsdp.fully_shard: call it first"
        )
    # Either all modules take them, or none is changed.
    for child in found:
        _check_module(child)
    for child in found:
        try:
            child.set_custom_all_gather(AllGather())
            child.set_custom_reduce_scatter(ReduceScatter())
        except (AttributeError, ValueError) as error:
            raise UnsupportedError(
                f"a {type(child).__name__} cannot take other collectives: {error}"
            ) from error
    return module


def _check_module(module: Any) -> None:
    """Checks what PyTorch demands of a module that takes other collectives.

    Raises:
        UnsupportedError: It has parameters on several meshes.
    """
    # Earlier versions of PyTorch have no such modules.
    groups = getattr(module._get_fsdp_state(), "_fsdp_param_groups", ())
    if len(groups) > 1:
        raise UnsupportedError(
            f"a {type(module).__name__} cannot take other collectives: it has parameters on {len(groups)} meshes"
        )
