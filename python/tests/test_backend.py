"""The backend "huffwire": programs that are not changed."""

from __future__ import annotations

import ranks
import torch
import torch.distributed as dist
import training
from test_collectives import check, ordered_sum, tensor

from huffwire._lossless import average


def everything(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    assert dist.get_backend() in ("huffwire", "cpu:huffwire")
    given = [tensor(peer, 30_000 * size, torch.bfloat16) for peer in range(size)]
    mine = given[rank]
    total = ordered_sum(given, False)
    for async_op in (False, True):
        kept = mine.clone()
        work = dist.all_reduce(kept, async_op=async_op)
        if async_op:
            work.wait()
        check("all_reduce", kept, total)
    kept = mine.clone()
    dist.all_reduce(kept, dist.ReduceOp.AVG)
    check("average", kept, ordered_sum(given, True))
    output = torch.empty(size * mine.numel(), dtype=mine.dtype)
    dist.all_gather_into_tensor(output, mine)
    check("gather", output, torch.cat(given))
    outputs = [torch.empty_like(mine) for _ in range(size)]
    dist.all_gather(outputs, mine)
    check("list", torch.cat(outputs), torch.cat(given))
    output = torch.empty(30_000, dtype=mine.dtype)
    dist.reduce_scatter_tensor(output, mine)
    check("scatter", output, total[30_000 * rank : 30_000 * (rank + 1)])
    output = torch.empty_like(mine)
    dist.all_to_all_single(output, mine)
    check("to all", output, torch.cat([each.chunk(size)[rank] for each in given]))
    kept = mine.clone()
    dist.broadcast(kept, 1)
    check("broadcast", kept, given[1])
    received = torch.empty_like(mine)
    works = dist.batch_isend_irecv(
        [
            dist.P2POp(dist.isend, mine, (rank + 1) % size),
            dist.P2POp(dist.irecv, received, (rank - 1) % size),
        ]
    )
    for work in works:
        work.wait()
    check("ring", received, given[rank - 1])
    coded = hd.stats()
    assert set(coded) == {
        "all_gather",
        "all_reduce",
        "all_to_all",
        "broadcast",
        "reduce_scatter",
        "send",
    }
    assert all(
        each["fallbacks"] == 0 and each["bytes_after"] < 0.8 * each["bytes_before"]
        for each in coded.values()
        if each["bytes_before"]
    )
    # What is gloo's.
    dist.barrier()
    objects = [None] * size
    dist.all_gather_object(objects, {"rank": rank})
    assert objects == [{"rank": peer} for peer in range(size)]
    kept = mine.float()
    dist.all_reduce(kept, dist.ReduceOp.MAX)
    check("max", kept, torch.stack(given).float().amax(0))
    dist.reduce(kept, 0)
    gathered = [torch.empty(3) for _ in range(size)] if rank == 0 else None
    dist.gather(torch.full((3,), float(rank)), gathered, 0)
    scattered = torch.empty(3)
    dist.scatter(
        scattered, [torch.full((3,), float(peer)) for peer in range(size)] if rank == 0 else None, 0
    )
    assert torch.equal(scattered, torch.full((3,), float(rank)))
    # A subgroup, whose functions of huffwire.distributed are those of torch.distributed.
    pair = dist.new_group([0, 1])
    if rank < 2:
        kept = torch.ones(10_000)
        dist.all_reduce(kept, group=pair)
        hd.all_reduce(kept, group=pair)
        assert kept[0] == 4
    # The hook for DistributedDataParallel adds as it is told.
    kept = mine.clone()
    average(dist.group.WORLD, kept, torch.float32).wait()
    check("fp32 sums", kept, ordered_sum([each / size for each in given], False, torch.float32))
    hd.setup(compression="never")
    hd.reset_stats()
    dist.all_reduce(mine)
    assert hd.stats()["all_reduce"]["fallbacks"] == 1
    dist.destroy_process_group()


def test_everything() -> None:
    ranks.run(everything, 2, backend="huffwire", seconds=20)
    ranks.run(everything, 4, backend="cpu:huffwire", seconds=20)


def trainings(rank: int, size: int) -> list[str]:
    dtype = torch.bfloat16
    found = training.train(training.ddp(dtype), rank, 50, dtype)
    from test_fsdp import MixedPrecisionPolicy, sharded

    return found + training.train(sharded(dtype, MixedPrecisionPolicy()), rank, 50, dtype)


def test_unchanged_trainings_are_the_same() -> None:
    stock = ranks.run(trainings, 2, backend="gloo", seconds=20)
    ours = ranks.run(trainings, 2, backend="huffwire", seconds=20)
    assert ours == stock


def tensor_parallel(rank: int, size: int) -> list[str]:
    from torch import nn
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = dist.init_device_mesh("cpu", (size,))
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    network = parallelize_module(network, mesh, plan)
    x = torch.randn(16, 64, requires_grad=True)
    y = network(x)
    y.square().sum().backward()
    whole = torch.randn(40, 64)
    rows = distribute_tensor(whole, mesh, [Shard(0)])
    columns = rows.redistribute(mesh, [Shard(1)])
    again = columns.redistribute(mesh, [Replicate()])
    assert isinstance(again, DTensor) and torch.equal(again.to_local(), whole)
    return [
        training.digest(
            [y, x.grad, columns.to_local(), *(each.to_local() for each in network.parameters())]
        )
    ]


def test_tensor_parallel_programs() -> None:
    stock = ranks.run(tensor_parallel, 2, backend="gloo")
    ours = ranks.run(tensor_parallel, 2, backend="huffwire")
    assert ours == stock


def combined(rank: int, size: int) -> str:
    import huffwire.backend  # noqa: F401
    from huffwire import OptionError

    try:
        dist.init_process_group(
            "cpu:huffwire,cuda:nccl", store=dist.HashStore(), rank=rank, world_size=size
        )
    except OptionError as error:
        return str(error)
    return "no error"


def test_it_cannot_be_combined() -> None:
    [text] = ranks.run(combined, 1, backend=None)
    assert "cuda:nccl" in text and "cpu:gloo,cuda:nccl" in text
