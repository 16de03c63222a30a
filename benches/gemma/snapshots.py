"""What is kept of a training step, and how large it is.

A *full* snapshot has all layers, in a file for each family of tensors: the study of shards reads it. A *timeline* snapshot has
a few layers and tokens in one file, with Adam's moments: many of them show how distributions drift.

| family | tensors of layer N | |
|---|---|---|
| activations | `layers.N.ffn1`, `.ffn1.linear`, `.ffn2`, `.q`, `.k`, `.v` | (tokens, width), bf16 |
| activation-gradients | the same names and `.grad` | |
| weights | `layers.N.gate.weight`, `.up.weight`, `.down.weight`, `.q.weight`, `.o.weight` | bf16 |
| gradients | the same names and `.grad` | bf16, before clipping |
| moments | the same names and `.exp_avg`, `.exp_avg_sq` | f32; timeline only |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import peers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gemma.model import Captured, Shape

ACTIVATIONS = ("ffn1", "ffn1.linear", "ffn2", "q", "k", "v")
MATRICES = ("gate", "up", "down", "q", "o")
FAMILIES = ("activations", "activation-gradients", "weights", "gradients")
# The kinds of the reports: patterns on names, the first that matches counts, and the name of the kind.
KINDS = (
    ("*.exp_avg", "Adam, first moment"),
    ("*.exp_avg_sq", "Adam, second moment"),
    ("*.gate.weight.grad", "FFN1 weight gradients"),
    ("*.up.weight.grad", "FFN1 weight gradients"),
    ("*.down.weight.grad", "FFN2 weight gradients"),
    ("*.weight.grad", "attention weight gradients"),
    ("*.gate.weight", "FFN1 weights"),
    ("*.up.weight", "FFN1 weights"),
    ("*.down.weight", "FFN2 weights"),
    ("*.weight", "attention weights"),
    ("*.ffn1", "FFN1 activation"),
    ("*.ffn1.linear", "FFN1 before the gate"),
    ("*.ffn2", "FFN2 activation"),
    ("*.q", "queries"),
    ("*.k", "keys"),
    ("*.v", "values"),
    ("*.ffn1.grad", "FFN1 activation gradients"),
    ("*.ffn1.linear.grad", "gradients before the gate"),
    ("*.ffn2.grad", "FFN2 activation gradients"),
    ("*.q.grad", "query gradients"),
    ("*.k.grad", "key gradients"),
    ("*.v.grad", "value gradients"),
)
# What a training keeps in its folder: a description, and what it goes on from. Both lie beside the snapshots.
DESCRIPTION, CHECKPOINT = "training.json", "checkpoint.pt"
# A timeline has the first layer, the one in the middle and the last, and so many tokens.
TIMELINE_TOKENS = 256
_EARLY = (1, 2, 4, 7, 10, 15)


@dataclass(frozen=True)
class Plan:
    """The steps that are kept, counted from 1."""

    full: tuple[int, ...]
    timeline: tuple[int, ...]


def plan(steps: int, warm_up: int) -> Plan:
    """The last step, the one before it and one a fifth earlier in full; a timeline that is denser in the warm-up, and has its
    last step."""
    full = {max(1, steps - steps // 5), max(1, steps - 1), steps}
    coarse, fine = max(1, steps // 20), max(1, warm_up // 5)
    # Codebooks come from the last step of the warm-up, too, which need not be a multiple of `fine`.
    warm_up = min(warm_up, steps)
    timeline = {step for step in _EARLY if step <= steps} | {warm_up, steps}
    timeline |= set(range(fine, warm_up + 1, fine)) | set(range(coarse, steps + 1, coarse))
    return Plan(tuple(sorted(full)), tuple(sorted(timeline)))


def timeline_layers(shape: Shape) -> list[int]:
    return sorted({0, shape.layers // 2, shape.layers - 1})


def planned_bytes(shape: Shape, chosen: Plan) -> int:
    """Bytes of all snapshots, without the few of their headers."""
    inner = shape.heads * shape.head_width
    widths = 2 * shape.hidden + shape.width + inner + 2 * shape.head_width
    matrices = 3 * shape.width * shape.hidden + 2 * shape.width * inner
    # Of a layer: activations, weights and the gradients of both in bf16, two moments in f32.
    full = shape.layers * 4 * (shape.tokens * widths + matrices)
    tokens = min(shape.tokens, TIMELINE_TOKENS)
    short = len(timeline_layers(shape)) * (4 * tokens * widths + 12 * matrices)
    return len(chosen.full) * full + len(chosen.timeline) * short


def _rows(tensor: Tensor, tokens: int) -> Tensor:
    """(tokens, width), of (sequences, length, width) or (sequences, heads, length, width)."""
    if tensor.dim() == 4:
        tensor = tensor.transpose(1, 2).flatten(2)
    return tensor.flatten(0, 1)[:tokens].contiguous()


def activations(captured: Captured, layers: list[int], tokens: int) -> dict[str, dict[str, Tensor]]:
    """The two families of activations."""
    found: dict[str, dict[str, Tensor]] = {"activations": {}, "activation-gradients": {}}
    for layer in layers:
        for name in ACTIVATIONS:
            tensor = captured.tensors[f"layers.{layer}.{name}"]
            found["activations"][f"layers.{layer}.{name}"] = _rows(tensor.detach(), tokens)
            assert tensor.grad is not None
            found["activation-gradients"][f"layers.{layer}.{name}.grad"] = _rows(tensor.grad, tokens)
    return found


def weights(parameters: dict[str, nn.Parameter], layers: list[int]) -> dict[str, dict[str, Tensor]]:
    """The two families of weights, copied: the optimizer is about to change them."""
    found: dict[str, dict[str, Tensor]] = {"weights": {}, "gradients": {}}
    for name in matrices(layers):
        parameter = parameters[name]
        found["weights"][name] = parameter.detach().clone()
        assert parameter.grad is not None
        found["gradients"][f"{name}.grad"] = parameter.grad.clone()
    return found


def matrices(layers: list[int]) -> list[str]:
    return [f"layers.{layer}.{matrix}.weight" for layer in layers for matrix in MATRICES]


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file that appears only when it is complete."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    partial.replace(path)


def full_path(folder: Path, step: int, family: str) -> Path:
    return folder / "full" / f"step-{step:05}" / f"{family}.safetensors"


def timeline_path(folder: Path, step: int) -> Path:
    return folder / "timeline" / f"step-{step:05}.safetensors"


def check_folder(folder: Path) -> None:
    """Refuses a folder in which another program has what a training would replace or remove. A training has its checkpoint
    there from the beginning."""
    if (folder / CHECKPOINT).exists():
        return
    for name in ("full", "timeline", DESCRIPTION):
        if (folder / name).exists():
            raise peers.Failure(f"{folder / name} is of no training that this program knows: name another folder with --out")


def remove(folder: Path) -> None:
    """Everything that a training wrote, and the folders in which nothing else is."""
    steps = list(folder.glob("full/step-*"))
    for suffix in ("safetensors", "partial"):
        for path in [step / f"{family}.{suffix}" for step in steps for family in FAMILIES]:
            path.unlink(missing_ok=True)
        for path in folder.glob(f"timeline/step-*.{suffix}"):
            path.unlink()
    for name in (CHECKPOINT, "checkpoint.partial", DESCRIPTION):
        (folder / name).unlink(missing_ok=True)
    for path in (*steps, folder / "full", folder / "timeline", folder):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
