"""Where trainings end: a small classifier, with several seeds and every hook.

Nothing is timed here, so this needs no slow wire.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from wire import trainings
from wire.turns import Rank

_INPUTS, _HIDDEN, _CLASSES, _BATCH = 64, 256, 10, 32


def _teacher() -> nn.Sequential:
    """What the classes come from."""
    torch.manual_seed(99)
    return nn.Sequential(nn.Linear(_INPUTS, 64), nn.Tanh(), nn.Linear(64, _CLASSES)).requires_grad_(False)


def _student() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(_INPUTS, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _CLASSES)
    )


def _samples(teacher: nn.Module, generator: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(count, _INPUTS, generator=generator)
    return x, teacher(x).argmax(1)


def run(rank: Rank) -> None:
    """Trains with each seed and each hook, and tells the loss on samples that no training saw."""
    seeds, steps = rank.job["seeds"]
    teacher = _teacher()
    unseen = _samples(teacher, torch.Generator().manual_seed(5), 1024)
    losses: dict[str, list[float]] = {}
    for seed in range(seeds):
        rank.tell("progress", text=f"losses with seed {seed}")
        for name, (group, hook) in trainings.hooks("fp32", ["gloo"]).items():
            # Coded or not, the lossless hook gives the same.
            if name == trainings.ALONE or name.endswith("auto"):
                continue
            torch.manual_seed(seed)
            network = trainings.wrapped(_student(), group, hook)
            losses.setdefault(name, []).append(_train(network, teacher, unseen, rank, seed, steps))
    if rank.size == 2 and losses["lossless_hook, coded"] != losses[trainings.PLAIN]:
        raise AssertionError("the lossless hook changed a training")
    contenders: dict[str, Any] = {name: {"losses": found} for name, found in losses.items()}
    rank.tell("case", what="loss", steps=steps, contenders=contenders)


def _train(network: nn.Module, teacher: nn.Module, unseen: tuple, rank: Rank, seed: int, steps: int) -> float:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(1000 * (seed + 1) + rank.rank)
    for _ in range(steps):
        x, y = _samples(teacher, generator, _BATCH)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        return nn.functional.cross_entropy(network.module(unseen[0]), unseen[1]).item()
