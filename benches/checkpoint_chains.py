#!/usr/bin/env python3
"""Measures what checkpoints save that are written against earlier ones: `huffwire.checkpoint.Writer(base=)`.

A small model is trained with AdamW: bf16 weights, fp32 master weights, two fp32 moments. From the same state it then goes on at
an ordinary and at a very small learning rate. Checkpoints 1, 20 and 100 steps after the first one are saved whole, and against
that first one; each is loaded and compared. The package and torch must be importable:

    python benches/checkpoint_chains.py
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Some machines announce matrix instructions that they do not run.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

import torch
import torch.distributed.checkpoint as dcp

from gemma import text
from gemma.model import Gemma, Shape, loss_of
from gemma.train import batch

SHAPE = Shape(layers=4, width=192, heads=6, head_width=32, hidden=768, sequences=2, length=128)
SHORT = Shape(layers=1, width=32, heads=2, head_width=16, hidden=64, sequences=1, length=32)
SEED = 1
# What the model is trained with before, and the two ways on.
BEFORE = 1e-3
RATES = (3e-4, 1e-6)
APART = (1, 20, 100)


class Training:
    """A model, its fp32 master weights, and AdamW."""

    def __init__(self, words: Any, shape: Shape) -> None:
        torch.manual_seed(SEED)
        self.words, self.shape = words, shape
        self.model = Gemma(shape)
        self.weights = dict(self.model.named_parameters())
        self.masters = {name: one.detach().float().requires_grad_() for name, one in self.weights.items()}
        self.optimizer = torch.optim.AdamW(self.masters.values(), betas=(0.9, 0.95))
        self.steps = 0

    def take_step(self, rate: float) -> float:
        self.steps += 1
        for weight in self.weights.values():
            weight.grad = None
        loss = loss_of(self.model, batch(self.words, self.shape, SEED, self.steps))
        loss.backward()
        for name, weight in self.weights.items():
            assert weight.grad is not None
            self.masters[name].grad = weight.grad.float()
        torch.nn.utils.clip_grad_norm_(list(self.masters.values()), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.masters[name])
        return loss.item()

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, by the names that tell the roles."""
        moments = {
            name: {key: self.optimizer.state[master][key] for key in ("exp_avg", "exp_avg_sq")}
            for name, master in self.masters.items()
        }
        for name, master in self.masters.items():
            moments[name]["master"] = master.detach()
        weights = {name: one.detach() for name, one in self.weights.items()}
        return copy.deepcopy({"model": weights, "optim": {"state": moments}})


def save(state: dict[str, Any], folder: Path, base: Path | None = None) -> dict[str, tuple[int, int]]:
    """Saves, loads and compares a checkpoint; returns its bytes in memory and in the folder, for each role."""
    from huffwire.checkpoint import Reader, Writer

    writer = Writer(folder, base=base, sync_files=False)
    dcp.save(state, storage_writer=writer, no_dist=True)
    loaded = copy.deepcopy(state)
    for tensor in tensors_of(loaded):
        tensor.zero_()
    dcp.load(loaded, storage_reader=Reader(folder), no_dist=True)
    for found, expected in zip(tensors_of(loaded), tensors_of(state), strict=True):
        if not torch.equal(found.view(torch.uint8), expected.view(torch.uint8)):
            raise SystemExit(f"{folder}: a tensor came back as another one")
    return {role: (share.bytes, share.stored) for role, share in writer.report().roles.items()}


def tensors_of(state: Any) -> list[torch.Tensor]:
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in tensors_of(value)]
    return [state]


def saved(stored: int, size: int) -> str:
    """Percent of the bytes in memory that are not stored."""
    return f"{100 * (1 - stored / size):.3g}"


def rows(training: Training, rate: float, apart: Sequence[int], folder: Path) -> list[str]:
    """The rows of a table about one learning rate."""
    base = folder / "base"
    before = training.state()
    save(before, base)
    lines = []
    done = 0
    for steps in apart:
        while done < steps:
            training.take_step(rate)
            done += 1
        state = training.state()
        whole = save(state, folder / f"{steps}-whole")
        delta = save(state, folder / f"{steps}", base)
        changed = [
            (old != new).sum().item()
            for old, new in zip(before["model"].values(), state["model"].values(), strict=True)
        ]
        share = 100 * sum(changed) / sum(one.numel() for one in state["model"].values())
        cells = [f"{rate:g}", str(steps), f"{share:.3g}"]
        for role in ("weights", "master weights", "first moment", "second moment"):
            size, stored = whole[role][0], (whole[role][1], delta[role][1])
            cells.append(" → ".join(saved(one, size) for one in stored))
        total = sum(size for size, _ in whole.values())
        cells.append(" → ".join(saved(sum(s for _, s in one.values()), total) for one in (whole, delta)))
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150, help="steps of training before")
    parser.add_argument("--apart", type=int, nargs="+", default=list(APART), help="steps between checkpoints")
    parser.add_argument("--short", action="store_true", help="a tiny model")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="files to train on")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "torch.distributed is disabled")
    words, source = text.load(arguments.text)
    training = Training(words, SHORT if arguments.short else SHAPE)
    for _ in range(arguments.steps):
        loss = training.take_step(BEFORE)
    parameters = sum(one.numel() for one in training.weights.values())
    print(f"{parameters} weights, {source}, loss {loss:.2f} after {arguments.steps} steps")
    print("Percent saved: without a base → with one.")
    print("| learning rate | steps apart | weights changed, % | weights | master weights | first moment | second moment | all |")
    print("|---|---|---|---|---|---|---|---|")
    for rate in RATES:
        with tempfile.TemporaryDirectory() as folder:
            rows(copy.deepcopy(training), rate, sorted(arguments.apart), Path(folder))


if __name__ == "__main__":
    main()
