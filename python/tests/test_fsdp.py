"""FSDP2: training stays the same, bit for bit."""

from __future__ import annotations

import pytest
import ranks
import torch
import torch.distributed as dist
import training
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard


def sharded(dtype: torch.dtype, policy: MixedPrecisionPolicy) -> nn.Module:
    mesh = dist.init_device_mesh("cpu", (dist.get_world_size(),))
    network = training.model(dtype)
    for block in network:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    return fully_shard(network, mesh=mesh, mp_policy=policy)


def trainings(rank: int, size: int, name: str, mixed: bool, steps: int = 100) -> dict:
    import huffwire.distributed as hd
    from huffwire import fsdp

    dtype = getattr(torch, name)
    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        if mixed
        else MixedPrecisionPolicy()
    )
    found = {"stock": training.train(sharded(dtype, policy), rank, steps, dtype)}
    for way in ("always", "raw"):
        hd.setup(compression=way, piece=8192)
        hd.reset_stats()
        found[way] = training.train(fsdp.compress(sharded(dtype, policy)), rank, steps, dtype)
        totals = hd.stats()
        assert set(totals) == {"all_gather", "reduce_scatter"}
        assert (
            totals["reduce_scatter"]["calls"] >= 3 * steps
            and totals["all_gather"]["calls"] >= 3 * steps
        )
        assert all(each["fallbacks"] == 0 for each in totals.values())
        found[way + " ratio"] = (
            totals["all_gather"]["bytes_before"] / totals["all_gather"]["bytes_after"]
        )
    return found


@pytest.mark.parametrize(
    ("name", "mixed"), [("bfloat16", False), ("float32", False), ("float32", True)]
)
def test_training_is_the_same(name: str, mixed: bool) -> None:
    for found in ranks.run(trainings, 2, name, mixed, seconds=30):
        assert found["always"] == found["raw"] == found["stock"]
        assert found["always ratio"] > (1.25 if mixed or name == "bfloat16" else 1.05)
        assert found["raw ratio"] < 1


def test_training_with_four_ranks_is_the_same_with_and_without_coding() -> None:
    for found in ranks.run(trainings, 4, "bfloat16", False, 30, seconds=30):
        assert found["always"] == found["raw"]


def sums_in_fp32(rank: int, size: int) -> None:
    from huffwire import fsdp

    network = fsdp.compress(
        sharded(torch.bfloat16, MixedPrecisionPolicy()), sum_dtype=torch.float32
    )
    training.train(network, rank, 10, torch.bfloat16)


def test_sums_in_fp32() -> None:
    ranks.run(sums_in_fp32, 3)


def several_meshes(rank: int, size: int) -> None:
    from huffwire import UnsupportedError, fsdp

    network = sharded(torch.float32, MixedPrecisionPolicy())
    groups = getattr(network[1]._get_fsdp_state(), "_fsdp_param_groups", None)
    if groups is None:
        # Earlier versions of PyTorch refuse parameters on several meshes themselves.
        return
    groups.append(groups[0])
    with pytest.raises(UnsupportedError, match="2 meshes"):
        fsdp.compress(network)
    for module in (network, network[0]):
        for group in module._get_fsdp_state()._fsdp_param_groups:
            assert "huffwire" not in type(group._all_gather_comm).__module__
            assert "huffwire" not in type(group._reduce_scatter_comm).__module__
    groups.pop()
    fsdp.compress(network)
    assert "huffwire" in type(groups[0]._all_gather_comm).__module__


def test_all_modules_are_changed_or_none() -> None:
    ranks.run(several_meshes, 1)


def test_modules_without_shards_and_a_changed_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    from huffwire import UnsupportedError, fsdp

    with pytest.raises(UnsupportedError, match="fully_shard"):
        fsdp.compress(nn.Linear(2, 2))
    from torch.distributed.fsdp._fully_shard import _fsdp_api

    monkeypatch.delattr(_fsdp_api, "ReduceScatter")
    with pytest.raises(UnsupportedError, match="huffwire.backend"):
        fsdp.compress(nn.Linear(2, 2))
