"""The hook for DistributedDataParallel: training stays the same, bit for bit."""

from __future__ import annotations

import os
import pickle
import signal

import pytest
import ranks
import torch
import torch.distributed as dist
import training


def trainings(rank: int, size: int, name: str, steps: int = 100) -> dict[str, list[str]]:
    import huffwire.distributed as hd
    from huffwire import ddp

    dtype = getattr(torch, name)
    found = {}
    found["stock"] = training.train(training.ddp(dtype), rank, steps, dtype)
    for way in ("always", "raw"):
        hd.setup(compression=way, piece=8192)
        hd.reset_stats()
        network = training.ddp(dtype, ddp.lossless_hook, ddp.LosslessState())
        found[way] = training.train(network, rank, steps, dtype)
        totals = hd.stats()["all_reduce"]
        assert totals["calls"] >= steps and totals["fallbacks"] == 0, totals
        found[way + " ratio"] = totals["bytes_before"] / totals["bytes_after"]
    return found


@pytest.mark.parametrize("name", ["bfloat16", "float32"])
def test_training_is_the_same(name: str) -> None:
    for found in ranks.run(trainings, 2, name, seconds=30):
        assert found["always"] == found["raw"] == found["stock"]
        assert found["always ratio"] > (1.25 if name == "bfloat16" else 1.08)
        assert found["raw ratio"] < 1


def test_training_with_four_ranks_is_the_same_with_and_without_coding() -> None:
    for found in ranks.run(trainings, 4, "bfloat16", 40, seconds=30):
        assert found["always"] == found["raw"]


def wrapped(rank: int, size: int) -> None:
    import huffwire.distributed as hd
    from huffwire import ddp
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

    dtype = torch.float32
    for wrapper in (default_hooks.bf16_compress_wrapper, default_hooks.fp16_compress_wrapper):
        stock = training.ddp(dtype, wrapper(default_hooks.allreduce_hook), dist.group.WORLD)
        ours = training.ddp(dtype, wrapper(ddp.lossless_hook), ddp.LosslessState())
        assert training.train(ours, rank, 20, dtype) == training.train(stock, rank, 20, dtype)
    assert hd.stats()["all_reduce"]["fallbacks"] == 0
    # Sums in fp32 differ from those in bf16 with more ranks, and are the same on all ranks.
    dtype = torch.bfloat16
    ours = training.ddp(dtype, ddp.lossless_hook, ddp.LosslessState(sum_dtype=torch.float32))
    found = training.train(ours, rank, 20, dtype)[:-1]
    all_ranks = [None] * size
    dist.all_gather_object(all_ranks, found)
    assert all(each == found for each in all_ranks)


def test_within_the_wrappers_of_pytorch() -> None:
    ranks.run(wrapped, 2, seconds=20)


def test_the_state_is_pickled_without_its_group() -> None:
    from huffwire import MismatchError, OptionError
    from huffwire.ddp import LosslessState

    state = LosslessState(process_group=object(), sum_dtype=torch.float32)
    copy = pickle.loads(pickle.dumps(state))
    assert copy.process_group is None and copy.sum_dtype is torch.float32
    other = LosslessState()
    other.load_state_dict(state.state_dict())
    assert other.sum_dtype is torch.float32
    with pytest.raises(MismatchError):
        other.load_state_dict({"version": 2})
    with pytest.raises(OptionError):
        LosslessState(sum_dtype=torch.int64)


def dies_in_backward(rank: int, size: int) -> tuple[str, str]:
    from huffwire import ddp

    dtype = torch.bfloat16
    network = training.ddp(dtype, ddp.lossless_hook, ddp.LosslessState())
    training.train(network, rank, 10, dtype)
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        training.train(network, rank, 10, dtype)
    except Exception as error:
        return type(error).__name__, str(error)
    return "", ""


def test_a_killed_rank_ends_the_backward_pass() -> None:
    (name, text), dead = ranks.run(dies_in_backward, 2, seconds=4)
    assert isinstance(dead, ranks.Died)
    assert name and "another rank died" in text, (name, text)
