"""Training, and dumps of the whole gradient on the way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from gradients import data, models

BATCH = 32
SEQUENCE = 32
SEQUENCES = 16
# The step sizes that the short runs here make progress with.
RATES = {"resnet": 0.05, "vgg": 0.02, "alexnet": 0.005, "lstm": 3e-3, "transformer": 1e-3}


@dataclass
class Training:
    """A run: what was trained, what came of it, and where its gradients are."""

    model: str
    data: str
    source: str
    parameters: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    # By step: all gradients as one tensor, and one tensor for each parameter.
    flat: dict[int, Path] = field(default_factory=dict)
    layers: dict[int, Path] = field(default_factory=dict)


def batches(source: data.Images | data.Tokens, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches for ever, drawn with a generator of their own: the same ones whatever else is random."""
    random = np.random.default_rng(seed)
    while True:
        if isinstance(source, data.Images):
            rows = random.integers(len(source.pictures), size=BATCH)
            yield torch.from_numpy(source.pictures[rows]), torch.from_numpy(source.classes[rows])
        else:
            starts = random.integers(len(source.tokens) - SEQUENCE, size=SEQUENCES)
            rows = torch.from_numpy(source.tokens[starts[:, None] + np.arange(SEQUENCE + 1)])
            yield rows[:, :-1], rows[:, 1:]


def loss_of(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    inputs, wanted = batch
    return functional.cross_entropy(network(inputs).flatten(0, -2), wanted.flatten())


def optimizer_of(name: str, network: nn.Module) -> torch.optim.Optimizer:
    if name in models.IMAGE_MODELS:
        return torch.optim.SGD(network.parameters(), lr=RATES[name], momentum=0.9)
    return torch.optim.Adam(network.parameters(), lr=RATES[name])


def start(name: str, source: data.Images | data.Tokens, seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network as it is before the first step."""
    torch.manual_seed(seed)
    network = models.build(name, source, SEQUENCE)
    return network, optimizer_of(name, network)


def flat_gradient(network: nn.Module) -> np.ndarray:
    """All gradients in the order of the parameters, as one."""
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).numpy()


def set_gradient(network: nn.Module, values: np.ndarray) -> None:
    """The inverse of `flat_gradient`."""
    place = 0
    for parameter in network.parameters():
        part = torch.from_numpy(values[place : place + parameter.numel()])
        parameter.grad = part.view_as(parameter).clone()
        place += parameter.numel()


def dump(network: nn.Module, training: Training, step: int, folder: Path) -> None:
    """The gradient as it is now, in both layouts."""
    stem = f"{training.model}-{training.data}-{step}"
    training.flat[step] = folder / f"{stem}.safetensors"
    save_file({"gradient": flat_gradient(network)}, training.flat[step])
    training.layers[step] = folder / f"{stem}-layers.safetensors"
    tensors = {name: parameter.grad.numpy() for name, parameter in network.named_parameters()}
    save_file(tensors, training.layers[step])


def train(
    name: str, data_name: str, source: data.Images | data.Tokens, steps: int, dumps: set[int], folder: Path, seed: int
) -> Training:
    """Trains, and dumps the gradients of these steps (the first is 1)."""
    training = Training(name, data_name, source.source)
    network, optimizer = start(name, source, seed)
    training.parameters = sum(parameter.numel() for parameter in network.parameters())
    began = time.perf_counter()
    for step, batch in zip(range(1, steps + 1), batches(source, seed)):
        optimizer.zero_grad()
        loss = loss_of(network, batch)
        loss.backward()
        if step in dumps:
            dump(network, training, step, folder)
        optimizer.step()
        training.losses.append(loss.item())
    training.seconds = time.perf_counter() - began
    return training


# What another worker makes of a worker's gradient: (gradient, step, worker) to what is received.
Channel = Callable[[np.ndarray, int, int], np.ndarray]


@dataclass
class Distributed:
    """A data-parallel run with quantized gradients."""

    losses: list[float] = field(default_factory=list)
    # |error memory| / |gradient| in the last step, where there is a memory.
    memory: float = 0.0
    # The step at which it left the range of floats, if it did.
    diverged: int | None = None
    seconds: float = 0.0


def train_distributed(
    name: str,
    source: data.Images | data.Tokens,
    steps: int,
    workers: int,
    channel: Channel,
    feedback: bool,
    seed: int,
) -> Distributed:
    """Each worker has a batch of its own and sends its gradient through `channel`; all apply the mean.

    With `feedback`, what the channel took away from a worker's gradient is added to its next one.
    """
    run = Distributed()
    network, optimizer = start(name, source, seed)
    streams = [batches(source, seed + 1000 * (worker + 1)) for worker in range(workers)]
    memories = [np.float32(0.0)] * workers
    began = time.perf_counter()
    for step in range(1, steps + 1):
        losses, received = [], []
        for worker in range(workers):
            optimizer.zero_grad()
            loss = loss_of(network, next(streams[worker]))
            loss.backward()
            losses.append(loss.item())
            gradient = flat_gradient(network)
            whole = gradient + memories[worker] if feedback else gradient
            if not np.isfinite(whole).all() or not np.isfinite(losses[-1]):
                run.diverged = step
                break
            received.append(channel(whole, step, worker))
            if feedback:
                memories[worker] = whole - received[-1]
                run.memory = float(np.linalg.norm(memories[worker]) / max(np.linalg.norm(gradient), 1e-30))
        if run.diverged:
            break
        set_gradient(network, np.mean(received, axis=0, dtype=np.float32))
        optimizer.step()
        run.losses.append(sum(losses) / workers)
    run.seconds = time.perf_counter() - began
    return run
