"""The training: bf16 parameters with fp32 master weights, AdamW, warm-up, cosine decay; it can be stopped and resumed.

Each step multiplies in bf16 and has bf16 gradients. AdamW changes the fp32 masters, and the parameters are their rounded copies.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

import peers
from gemma import snapshots
from gemma.model import Captured, Gemma, Shape, loss_of

RATE = 1e-3
_LAST_RATE = 0.1
_BETAS = (0.9, 0.95)
_DECAY = 0.1
_CLIP = 1.0
# Steps between two checkpoints.
_CHECKPOINT = 100


@dataclass
class Run:
    """What happened so far."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    seconds: float = 0.0


def warm_up(steps: int) -> int:
    """A tenth of the steps."""
    return max(1, steps // 10)


def rate(step: int, steps: int) -> float:
    """The learning rate of a step, counted from 1: up in a line, down in half a cosine to a tenth."""
    rising = warm_up(steps)
    if step <= rising:
        return RATE * step / rising
    done = (step - rising) / max(1, steps - rising)
    return RATE * (_LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done)))


def batch(text: np.ndarray, shape: Shape, seed: int, step: int) -> Tensor:
    """Sequences from random places of the text; they depend on seed and step alone."""
    random = np.random.default_rng([seed, step])
    starts = random.integers(len(text) - shape.length - 1, size=shape.sequences)
    return torch.from_numpy(text[starts[:, None] + np.arange(shape.length + 1)].astype(np.int64))


class Stop:
    """Whether somebody pressed Ctrl-C, or wants this process to end."""

    def __init__(self) -> None:
        self.wanted = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The first signal asks for the end of the step; the second one ends at once."""

        def ask(number: int, _frame: object) -> None:
            if self.wanted:
                raise KeyboardInterrupt
            self.wanted = True

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Training:
    """Model, masters and optimizer, and the folder that holds the snapshots and the last checkpoint."""

    def __init__(self, shape: Shape, steps: int, seed: int, text: np.ndarray, folder: Path) -> None:
        self.shape, self.steps, self.seed, self.text, self.folder = shape, steps, seed, text, folder
        self.chosen = snapshots.plan(steps, warm_up(steps))
        torch.manual_seed(seed)
        self.model = Gemma(shape)
        self.parameters = dict(self.model.named_parameters())
        self.masters = {name: one.detach().float().requires_grad_() for name, one in self.parameters.items()}
        matrices = [one for one in self.masters.values() if one.dim() == 2]
        others = [one for one in self.masters.values() if one.dim() != 2]
        groups = [{"params": matrices, "weight_decay": _DECAY}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, betas=_BETAS, fused=True)
        self.step, self.run = 0, Run()

    @property
    def checkpoint(self) -> Path:
        return self.folder / snapshots.CHECKPOINT

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a training to go on."""
        return {"shape": asdict(self.shape), "steps": self.steps, "seed": self.seed, "text_bytes": len(self.text)}

    def save(self) -> None:
        state = {
            "identity": self._identity(), "step": self.step, "run": asdict(self.run),
            "masters": {name: one.detach() for name, one in self.masters.items()}, "optimizer": self.optimizer.state_dict(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def resume(self) -> None:
        """Goes on from the checkpoint of the folder."""
        try:
            state = torch.load(self.checkpoint, weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
            raise peers.Failure(f"{self.checkpoint} cannot be read: {error}; start again in an empty folder") from None
        identity = state.get("identity") if isinstance(state, dict) else None
        if identity != self._identity():
            raise peers.Failure(f"{self.checkpoint} is of another training ({identity}); name another folder with --out")
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(state["masters"][name])
                self.parameters[name].copy_(master)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.run = state["step"], Run(**state["run"])

    def train(self, stop: Stop, tell: Callable[[Training], None]) -> None:
        """All steps that are left; checkpoints before the first one, on the way, and where `stop` is wanted."""
        if not self.checkpoint.exists():
            self.save()
        while self.step < self.steps:
            began = time.perf_counter()
            self._one_step()
            self.run.seconds += time.perf_counter() - began
            tell(self)
            if self.step % _CHECKPOINT == 0 or self.step == self.steps or stop.wanted:
                self.save()
            if stop.wanted and self.step < self.steps:
                raise KeyboardInterrupt

    def _one_step(self) -> None:
        step = self.step + 1
        full, short = step in self.chosen.full, step in self.chosen.timeline
        captured = Captured() if full or short else None
        for parameter in self.parameters.values():
            parameter.grad = None
        loss = loss_of(self.model, batch(self.text, self.shape, self.seed, step), captured)
        loss.backward()
        if captured is not None and full:
            self._keep_full(step, captured)
        layers = snapshots.timeline_layers(self.shape)
        families = {}
        if captured is not None and short:
            tokens = min(self.shape.tokens, snapshots.TIMELINE_TOKENS)
            families = snapshots.activations(captured, layers, tokens) | snapshots.weights(self.parameters, layers)
        del captured
        norm = self._update(step)
        if short:
            families["moments"] = self._moments(layers)
            merged = {name: tensor for family in families.values() for name, tensor in family.items()}
            snapshots.write(snapshots.timeline_path(self.folder, step), merged)
        self.step = step
        self.run.losses.append(loss.item())
        self.run.norms.append(norm)

    def _keep_full(self, step: int, captured: Captured) -> None:
        layers = list(range(self.shape.layers))
        families = snapshots.activations(captured, layers, self.shape.tokens) | snapshots.weights(self.parameters, layers)
        for family, tensors in families.items():
            snapshots.write(snapshots.full_path(self.folder, step, family), tensors)

    def _update(self, step: int) -> float:
        """AdamW on the masters, and their rounded copies; returns the norm of the gradient."""
        for name, parameter in self.parameters.items():
            assert parameter.grad is not None
            self.masters[name].grad = parameter.grad.float()
        norm = torch.nn.utils.clip_grad_norm_(list(self.masters.values()), _CLIP)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(step, self.steps)
        self.optimizer.step()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.masters[name])
        return norm.item()

    def _moments(self, layers: list[int]) -> dict[str, Tensor]:
        found = {}
        for name in snapshots.matrices(layers):
            state = self.optimizer.state[self.masters[name]]
            for moment in ("exp_avg", "exp_avg_sq"):
                found[f"{name}.{moment}"] = state[moment]
        return found

    def describe(self) -> dict[str, Any]:
        """What a report says about the training."""
        losses = self.run.losses
        last = losses[-10:]
        return {
            "shape": asdict(self.shape),
            "parameters": sum(one.numel() for one in self.parameters.values()),
            "steps": self.steps,
            "seed": self.seed,
            "warm_up": warm_up(self.steps),
            "rate": RATE,
            "first_loss": round(losses[0], 4),
            "last_loss": round(sum(last) / len(last), 4),
            "seconds": round(self.run.seconds),
            "full": list(self.chosen.full),
            "timeline": list(self.chosen.timeline),
        }

    def write_description(self, source: str) -> None:
        text = json.dumps({**self.describe(), "text": source, "losses": self.run.losses, "norms": self.run.norms})
        (self.folder / snapshots.DESCRIPTION).write_text(text + "\n")
