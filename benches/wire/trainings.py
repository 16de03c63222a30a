"""Training steps: DistributedDataParallel with hooks, and FSDP2."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

import huffwire.ddp
import huffwire.fsdp
from wire import planning, ways
from wire.turns import Contender, Measured, Rank, measure, row

ALONE = "no communication"
PLAIN = "stock PyTorch"
QUANTIZED = "quantized_hook"

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def layers(width: int, depth: int, dtype: torch.dtype) -> nn.Sequential:
    """Square layers, the same on all ranks. With a few samples in a batch, each parameter costs a few operations only.

    GELU has no exact zeros, which would make gradients easier to code than those of most models.
    """
    torch.manual_seed(7)
    found: list[nn.Module] = []
    for _ in range(depth):
        found += [nn.Linear(width, width), nn.GELU()]
    return nn.Sequential(*found[:-1]).to(dtype)


class Transformer(nn.Module):
    """A small transformer over words."""

    def __init__(self, width: int, depth: int, words: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 8, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.head = nn.Linear(width, words)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.embed(words)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Training:
    """One contender's model, optimizer and data. The data depend on rank and step alone.

    Args:
        network: The model, wrapped as its contender wraps it.
        batches: Inputs and targets, without end.
        loss: What is made small.
        quiet: Whether gradients stay on their rank.
    """

    def __init__(self, network: nn.Module, batches: Iterator, loss: Callable, rate: float, quiet: bool = False) -> None:
        self.network = network
        self.batches = batches
        self.loss = loss
        self.quiet = quiet
        self.optimizer = torch.optim.SGD(network.parameters(), lr=rate)
        self.last = 0.0
        self.next_batch()

    def next_batch(self) -> None:
        self.x, self.y = next(self.batches)

    def step(self) -> None:
        self.optimizer.zero_grad()
        with self.network.no_sync() if self.quiet else nullcontext():
            loss = self.loss(self.network(self.x), self.y)
            loss.backward()
        self.optimizer.step()
        self.last = loss.item()

    def digest(self) -> str:
        """A hash of all parameters of this rank."""
        found = hashlib.sha256()
        for parameter in self.network.parameters():
            local = getattr(parameter, "_local_tensor", parameter).detach().contiguous()
            found.update(local.view(-1).view(torch.uint8).numpy())
        return found.hexdigest()


def regression(rank: int, width: int, batch: int, dtype: torch.dtype) -> Iterator:
    """Inputs, and what a fixed layer makes of them."""
    weights = torch.randn(width, width, generator=torch.Generator().manual_seed(1)) / width**0.5
    generator = torch.Generator().manual_seed(100 + rank)
    while True:
        x = torch.randn(batch, width, generator=generator)
        yield x.to(dtype), torch.tanh(x @ weights).to(dtype)


def sentences(rank: int, words: int, length: int) -> Iterator:
    """Sequences of words, each of which follows from the one before, and their next words."""
    generator = torch.Generator().manual_seed(100 + rank)
    while True:
        first = torch.randint(words, (1, 1), generator=generator)
        sequence = (first + 17 * torch.arange(length + 1)) % words
        yield sequence[:, :-1], sequence[:, 1:]


def word_loss(predicted: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(predicted.flatten(0, 1).float(), words.flatten())


Hook = tuple[Any, Callable] | None


def lossless(compression: str, transport: str = "gloo") -> tuple[dist.ProcessGroup, Hook]:
    way = ways.coded(compression, transport)
    return way.group, (huffwire.ddp.LosslessState(way.group), huffwire.ddp.lossless_hook)


def hooks(dtype: str, transports: list[str]) -> dict[str, tuple[dist.ProcessGroup, Hook]]:
    """All contenders of a type: their groups and hooks."""
    found: dict[str, tuple[dist.ProcessGroup, Hook]] = {PLAIN: (dist.new_group(), None)}
    for transport in transports:
        where = "" if transport == "gloo" else f", {transport}"
        found[f"lossless_hook, coded{where}"] = lossless("coded", transport)
        found[f"lossless_hook, auto{where}"] = lossless("auto", transport)
    if dtype == "fp32":
        group = dist.new_group()
        found["bf16_compress_hook"] = group, (group, default_hooks.bf16_compress_hook)
        group, (state, hook) = lossless("coded")
        found["bf16_compress_wrapper(lossless_hook)"] = group, (state, default_hooks.bf16_compress_wrapper(hook))
        group = dist.new_group()
        state = powerSGD_hook.PowerSGDState(group, matrix_approximation_rank=4, start_powerSGD_iter=2)
        found["powerSGD_hook, rank 4"] = group, (state, powerSGD_hook.powerSGD_hook)
        for transport in transports:
            name = QUANTIZED if transport == "gloo" else f"{QUANTIZED}, {transport}"
            group = ways.coded("coded", transport).group
            found[name] = group, (huffwire.ddp.QuantizedState(group), huffwire.ddp.quantized_hook)
    found[ALONE] = dist.new_group(), None
    return found


def wrapped(network: nn.Module, group: dist.ProcessGroup, hook: Hook) -> DistributedDataParallel:
    # PowerSGD waits for sums in the callbacks of other sums, which run in gloo's two threads. With several buckets it may
    # wait forever, so it gets one.
    one_bucket = hook is not None and isinstance(hook[0], powerSGD_hook.PowerSGDState)
    model = DistributedDataParallel(network, process_group=group, bucket_cap_mb=10**4 if one_bucket else None)
    if hook is not None:
        model.register_comm_hook(*hook)
    return model


def compare(rank: Rank, trainings: dict[str, Training], rounds: int, warm_up: int) -> dict[str, dict[str, Any]]:
    """Steps of all trainings in turns, and where each of them ends."""
    for _ in range(warm_up):
        for training in trainings.values():
            training.step()
            training.next_batch()
    contenders = [Contender(name, training.step, training.next_batch) for name, training in trainings.items()]
    measured: dict[str, Measured] = measure(rank, contenders, rounds, rank.job["limit"])
    rows = {}
    for name, training in trainings.items():
        losses = rank.everybody(training.last)
        rows[name] = row(measured[name], digests=rank.everybody(training.digest()))
        if name != ALONE:
            rows[name]["loss"] = sum(losses) / len(losses)
    return rows


def same_bits(rank: Rank, rows: dict[str, dict[str, Any]]) -> None:
    """Checks that lossless contenders have the parameters that they must have, and drops the hashes."""
    digests = {name: found.pop("digests") for name, found in rows.items()}
    if rank.size > 2:
        # gloo adds more than 2 summands in another order.
        return
    for name, found in digests.items():
        if name.startswith(("lossless_hook", "huffwire.fsdp")):
            if found != digests[PLAIN]:
                raise AssertionError(f"{name}: the parameters are not those of {PLAIN}")
            rows[name]["equal"] = True


def ddp(rank: Rank) -> None:
    """Steps of a model with few operations for each parameter, in fp32 and in bf16."""
    job = rank.job
    width, depth, batch = job["ddp"]
    for dtype, element in DTYPES.items():
        rank.tell("progress", text=f"DDP in {dtype}")
        trainings = {}
        for name, (group, hook) in hooks(dtype, job["transports"]).items():
            network = wrapped(layers(width, depth, element), group, hook)
            batches = regression(rank.rank, width, batch, element)
            trainings[name] = Training(network, batches, nn.functional.mse_loss, 0.01, quiet=name == ALONE)
        # PowerSGD and the quantized hook send all bits in their first two steps.
        rows = compare(rank, trainings, job["steps"], 4)
        same_bits(rank, rows)
        size = sum(parameter.nbytes for parameter in trainings[PLAIN].network.parameters())
        rank.tell("case", what="ddp", dtype=dtype, bytes=size, parameters=size // element.itemsize, contenders=rows,
                  predicted_seconds=_predicted(rank, "all_reduce", dtype, size, 1))


def fsdp(rank: Rank) -> None:
    """Steps of a small transformer whose parameters and gradients travel in bf16."""
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    job = rank.job
    width, depth, words, length = job["fsdp"]
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.bfloat16)

    def made() -> Transformer:
        torch.manual_seed(7)
        return Transformer(width, depth, words)

    def sharded(group: dist.ProcessGroup) -> Transformer:
        mesh, network = DeviceMesh.from_group(group, "cpu"), made()
        for block in network.blocks:
            fully_shard(block, mesh=mesh, mp_policy=policy)
        return fully_shard(network, mesh=mesh, mp_policy=policy)

    networks: dict[str, nn.Module] = {PLAIN: sharded(dist.new_group())}
    for transport in job["transports"]:
        for compression in ("coded", "auto"):
            way = ways.coded(compression, transport)
            where = "" if transport == "gloo" else f", {transport}"
            networks[f"huffwire.fsdp, {compression}{where}"] = huffwire.fsdp.compress(sharded(way.group))
    networks[ALONE] = made().bfloat16()
    rank.tell("progress", text="FSDP2")
    trainings = {
        name: Training(network, sentences(rank.rank, words, length), word_loss, 0.05)
        for name, network in networks.items()
    }
    rows = compare(rank, trainings, job["steps"], 2)
    same_bits(rank, rows)
    size = sum(parameter.nbytes for parameter in networks[ALONE].parameters())
    rank.tell("case", what="fsdp", dtype="bf16", bytes=size, parameters=size // 2, contenders=rows,
              predicted_seconds=_predicted(rank, "fsdp", "bf16", size, depth + 1))


def _predicted(rank: Rank, collective: str, dtype: str, size: int, parts: int) -> dict[str, float]:
    """What the model of links says of the communication of a step.

    FSDP2 gathers all parameters before the forward and before the backward pass, and then scatters the gradients, each in
    as many calls as there are modules.
    """
    model = ways.coded("auto").agreement.model
    dtype = {"fp32": "f32"}.get(dtype, dtype)
    steps = ["all_gather", "all_gather", "reduce_scatter"] if collective == "fsdp" else [collective]
    total = {"plain": 0.0, "raw": 0.0, "coded": 0.0}
    for step in steps:
        for way, seconds in planning.predicted(model, step, dtype, size // parts).items():
            total[way] += parts * seconds
    return total
