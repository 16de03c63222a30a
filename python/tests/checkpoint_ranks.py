"""What the ranks of `test_checkpoint.py` do: processes of their own that import this module."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

import huffwire
from huffwire.checkpoint import Reader, Writer

STEPS = 3


def start(rank: int, world: int, port: int) -> None:
    """Makes this process a rank."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", rank=rank, world_size=world)


def model_and_optimizer(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A sharded model that computes in bf16, its f32 master weights, and its optimizer."""
    torch.manual_seed(seed)
    # 7 rows on 4 ranks: the last one has a row less. 3 rows: the last one has none.
    model = nn.Sequential(
        nn.Linear(33, 257), nn.GELU(), nn.Linear(257, 7), nn.GELU(), nn.Linear(7, 3)
    )
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mp_policy=policy)
    fully_shard(model, mp_policy=policy)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        torch.manual_seed(step)
        batch = torch.randn(16, 33)
        model(batch).float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer, value: int) -> dict[str, Any]:
    """All that a checkpoint holds. `value` goes into what is no parameter: loading changes it."""
    masters, moments = get_state_dict(model, optimizer)
    return {
        "model": {name: tensor.bfloat16() for name, tensor in masters.items()},
        "master_weights": masters,
        "optim": moments,
        "plain": {
            "counts": torch.full((5,), value, dtype=torch.int64),
            "mask": torch.tensor([value > 0, False]),
            "scalar": torch.tensor(float(value), dtype=torch.float64),
            "nothing": torch.empty(0, 4),
            "columns": torch.arange(12, dtype=torch.float32).reshape(3, 4).mul(value).t(),
        },
        "step": value,
        "name": f"after step {value}",
    }


def whole(value: Any) -> Any:
    """The same nested values, with whole tensors instead of sharded ones."""
    if isinstance(value, DTensor):
        return value.full_tensor().clone()
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [whole(item) for item in value]
    return value


def differences(a: Any, b: Any, name: str = "") -> list[str]:
    """The names of values that differ in any bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{name}: {sorted(a.keys() ^ b.keys())}"]
        return [found for key in a for found in differences(a[key], b[key], f"{name}.{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [found for i, (x, y) in pairs for found in differences(x, y, f"{name}.{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape
        return [] if same and bits(a) == bits(b) else [name]
    return [] if type(a) is type(b) and a == b else [name]


def bits(tensor: torch.Tensor) -> bytes:
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def save(rank: int, world: int, port: int, folder: Path) -> None:
    """Trains and saves: with `save`, both kinds of `async_save`, and torch's own writer."""
    start(rank, world, port)
    model, optimizer = model_and_optimizer(seed=0)
    train(model, optimizer, STEPS)
    state = state_of(model, optimizer, STEPS)
    reference = whole(state)
    if rank == 0:
        torch.save(reference, folder / "reference.pt")

    writer = Writer(folder / "saved", thread_count=2, sync_files=False)
    dcp.save(state, storage_writer=writer)
    report = writer.report()
    assert report.whole == (rank == 0), report
    torch.save(report, folder / f"report-{rank}.pt")

    threaded = Writer(folder / "by thread", sync_files=False, single_file_per_rank=False)
    # Training goes on meanwhile, so the save needs a process group of its own.
    aside = dist.new_group()
    future = dcp.async_save(state, storage_writer=threaded, process_group=aside)
    train(model, optimizer, 1)  # the copy of the state must not see this
    future.result()

    model, optimizer = model_and_optimizer(seed=0)
    train(model, optimizer, STEPS)
    state = state_of(model, optimizer, STEPS)
    dcp.save(state, storage_writer=Writer(folder / "chain", base=folder / "saved", sync_files=False))
    for name, base in (("by process", None), ("chain by process", folder / "chain")):
        future = dcp.async_save(
            state,
            storage_writer=Writer(folder / name, base=base, sync_files=False),
            async_checkpointer_type=AsyncCheckpointerType.PROCESS,
        )
        future.result()

    # All ranks learn that the base of the base would be replaced, and none has written anything.
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "saved").iterdir()}
    in_turn = Writer(folder / "saved", base=folder / "chain", sync_files=False)
    with pytest.raises(CheckpointException, match="which is the folder that is written"):
        dcp.save(state, storage_writer=in_turn)
    dist.barrier()
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "saved").iterdir()} == before

    dcp.save(state, storage_writer=dcp.FileSystemWriter(folder / "by torch", sync_files=False))
    check_loaded(folder, "saved", reference)

    # Each rank for itself, without a coordinator.
    for name, base in (("alone", None), ("chain alone", folder / "alone")):
        writer = Writer(folder / name, base=base, sync_files=False)
        dcp.save(state, storage_writer=writer, use_collectives=False)
        check_loaded(folder, name, reference)
    in_turn = Writer(folder / "alone", base=folder / "chain alone", sync_files=False)
    with pytest.raises(huffwire.OptionError, match="which is the folder that is written"):
        dcp.save(state, storage_writer=in_turn, use_collectives=False)
    check_loaded(folder, "alone", reference)
    dist.destroy_process_group()


def load(rank: int, world: int, port: int, folder: Path) -> None:
    """Loads what two ranks saved."""
    start(rank, world, port)
    reference = torch.load(folder / "reference.pt", weights_only=True)
    for name in ("saved", "by thread", "by process", "by torch", "chain by process"):
        check_loaded(folder, name, reference)
    dist.destroy_process_group()


def check_loaded(folder: Path, name: str, reference: dict[str, Any]) -> None:
    model, optimizer = model_and_optimizer(seed=1)
    state = state_of(model, optimizer, 0)
    dcp.load(state, storage_reader=Reader(folder / name, thread_count=2))
    wrong = differences(whole(state), reference)
    assert not wrong, f"{name}: {wrong}"
    set_state_dict(
        model, optimizer, model_state_dict=state["master_weights"], optim_state_dict=state["optim"]
    )
    wrong = differences(whole(state_of(model, optimizer, STEPS)), reference)
    assert not wrong, f"{name}, in the model: {wrong}"
