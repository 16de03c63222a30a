"""Trainings that weights are taken from: bf16 weights with fp32 master weights, as in the studies of codebooks.

A model is trained at ordinary learning rates first. From there a *course* starts for each optimizer and each small learning
rate, from the same weights and with the same text.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gemma import train
from gemma.model import Gemma, Shape, loss_of

BETAS = (0.9, 0.95)
MOMENTUM = 0.9
DECAY = 0.1
CLIP = 1.0


@dataclass(frozen=True)
class Course:
    """An optimizer and its constant learning rate."""

    optimizer: str
    rate: float


def adamw(masters: dict[str, Tensor]) -> torch.optim.Optimizer:
    """Weight decay is for matrices."""
    matrices = [one for one in masters.values() if one.dim() == 2]
    others = [one for one in masters.values() if one.dim() != 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=train.RATE, betas=BETAS, fused=True)


class Training:
    """Model, master weights and optimizer."""

    def __init__(self, shape: Shape, seed: int, text: np.ndarray) -> None:
        self.shape, self.seed, self.text = shape, seed, text
        torch.manual_seed(seed)
        self.model = Gemma(shape)
        self.parameters = dict(self.model.named_parameters())
        self.masters = {name: one.detach().float().requires_grad_() for name, one in self.parameters.items()}
        self.optimizer = adamw(self.masters)
        self.step = 0
        self.losses: list[float] = []

    def take_step(self, rate: float) -> None:
        self.step += 1
        for parameter in self.parameters.values():
            parameter.grad = None
        loss = loss_of(self.model, train.batch(self.text, self.shape, self.seed, self.step))
        loss.backward()
        for name, parameter in self.parameters.items():
            assert parameter.grad is not None
            self.masters[name].grad = parameter.grad.float()
        torch.nn.utils.clip_grad_norm_(list(self.masters.values()), CLIP)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self._round()
        self.losses.append(loss.item())

    def _round(self) -> None:
        """The weights become the rounded master weights."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.masters[name])

    def keep(self) -> dict[str, Any]:
        """What `start` goes back to."""
        masters = {name: one.detach().clone() for name, one in self.masters.items()}
        return {"step": self.step, "masters": masters, "optimizer": copy.deepcopy(self.optimizer.state_dict())}

    def start(self, course: Course, kept: dict[str, Any]) -> None:
        """Goes back, and takes the optimizer of a course. AdamW keeps the moments that it had, SGD begins without any."""
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(kept["masters"][name])
        self._round()
        self.step = kept["step"]
        if course.optimizer == "AdamW":
            self.optimizer = adamw(self.masters)
            self.optimizer.load_state_dict(copy.deepcopy(kept["optimizer"]))
        else:
            self.optimizer = torch.optim.SGD(self.masters.values(), lr=course.rate, momentum=MOMENTUM)

    def weights(self) -> np.ndarray:
        """The bit patterns of all bf16 weights, one tensor behind the other."""
        joined = torch.cat([one.detach().flatten() for one in self.parameters.values()])
        return joined.view(torch.int16).numpy().view(np.uint16)

    def checkpoint(self) -> dict[str, np.ndarray]:
        """Everything that a checkpoint has, by role; f32 as `uint32`."""
        state = [self.optimizer.state[one] for one in self.masters.values()]
        roles = {
            "master weights": [one.detach() for one in self.masters.values()],
            "first moment": [one["exp_avg"] for one in state],
            "second moment": [one["exp_avg_sq"] for one in state],
        }
        joined = {role: torch.cat([one.flatten() for one in tensors]) for role, tensors in roles.items()}
        return {"weights": self.weights(), **{role: one.view(torch.int32).numpy().view(np.uint32) for role, one in joined.items()}}


Tell = Callable[[Training], None]


def advance(training: Training, steps: int, stops: tuple[int, ...], rate: Callable[[int], float], tell: Tell) -> Iterator[int]:
    """Takes so many steps; stops behind these, counted from 1, or before the first one for 0."""
    if 0 in stops:
        yield 0
    for number in range(1, steps + 1):
        training.take_step(rate(number))
        tell(training)
        if number in stops:
            yield number
