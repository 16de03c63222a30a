"""Collectives of bf16 tensors: gloo's, and huffwire's raw and coded pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import huffwire.distributed
from wire import planning, ways
from wire.checks import unequal
from wire.turns import Contender, Rank, measure, row
from wire.ways import Way

NAMES = ("all_gather", "all_reduce", "broadcast", "all_to_all")


def real_elements(files: list[str]) -> torch.Tensor:
    """All bf16 elements of safetensors files, one after another."""
    from safetensors import safe_open

    found = []
    for path in files:
        with safe_open(path, "pt") as tensors:
            found += [tensors.get_tensor(name).reshape(-1) for name in tensors.keys()]
    found = [tensor for tensor in found if tensor.dtype is torch.bfloat16]
    if not found:
        raise ValueError(f"there is no bf16 tensor in {', '.join(files)}")
    return torch.cat(found)


def generated_elements() -> torch.Tensor:
    """Values like those of a model's weights: normally distributed, each matrix with a scale of its own."""
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(1 << 18, generator=generator) * 0.02 * 2 ** (number % 5 - 2) for number in range(16)]
    return torch.cat(matrices).bfloat16()


def elements(files: list[str] | None) -> tuple[torch.Tensor, str]:
    """What travels, and what it is."""
    if not files:
        return generated_elements(), "generated values like those of weights"
    return real_elements(files), "bf16 tensors of " + ", ".join(Path(file).name for file in files)


def cut(source: torch.Tensor, rank: int, size: int) -> torch.Tensor:
    """As many bytes as asked for, from another place for each rank, repeated if there are too few.

    Coding gains nothing from the repetition: it looks at single values.
    """
    count = size // source.element_size()
    start = rank * source.numel() // 7 % source.numel()
    turned = torch.cat([source[start:], source[:start]])
    return turned.repeat(-(-count // turned.numel()))[:count].clone()


class Call:
    """A collective on tensors that are kept from round to round."""

    def __init__(self, name: str, rank: Rank, mine: torch.Tensor) -> None:
        self.name = name
        self.rank = rank
        self.mine = mine
        parts = rank.size if name == "all_gather" else 1
        self.room = [torch.empty_like(mine) for _ in range(parts)]

    def prepare(self) -> None:
        """Sums and broadcasts write over their input."""
        if self.name in ("all_reduce", "broadcast"):
            self.room[0].copy_(self.mine)

    def run(self, way: Way) -> None:
        if self.name == "all_gather":
            way.module.all_gather(self.room, self.mine, group=way.group)
        elif self.name == "all_reduce":
            way.module.all_reduce(self.room[0], group=way.group)
        elif self.name == "broadcast":
            way.module.broadcast(self.room[0], 0, group=way.group)
        else:
            way.module.all_to_all_single(self.room[0], self.mine, group=way.group)

    @property
    def whole(self) -> int:
        """The size as the model of links counts it: the output of a gather."""
        return sum(tensor.nbytes for tensor in self.room)

    def digest(self) -> str:
        found = hashlib.sha256()
        for tensor in self.room:
            found.update(tensor.view(torch.uint8).numpy())
        return found.hexdigest()


def run(rank: Rank) -> None:
    """All collectives in all sizes, with all contenders."""
    files, job = rank.job["tensors"], rank.job
    source, described = elements(files)
    rank.tell("note", text=f"collectives of {described}")
    contenders = [ways.plain()]
    for transport in job["transports"]:
        contenders += [ways.coded(compression, transport) for compression in ways.COMPRESSIONS]
    model = next(way.agreement.model for way in contenders if way.name.startswith("auto"))
    rank.tell("agreed", figures=planning.figures(model), data=described)
    for size in job["sizes"]:
        mine = cut(source, rank.rank, size)
        for name in NAMES:
            call = Call(name, rank, mine)
            rank.tell("progress", text=f"{name} of {size >> 10} KiB")
            rank.tell("case", **_case(rank, call, contenders, model))


def first(call: Call, way: Way) -> tuple[str, str]:
    """Runs a call untimed: how it was carried, and a hash of its result."""
    call.prepare()
    huffwire.distributed.reset_stats()
    call.run(way)
    return _chosen(huffwire.distributed.stats()), call.digest()


def _case(rank: Rank, call: Call, contenders: list[Way], model: Any) -> dict[str, Any]:
    chosen: dict[str, str] = {}
    digests: dict[str, str] = {}

    def timed(way: Way) -> Callable[[], None]:
        return lambda: call.run(way)

    for way in contenders:
        chosen[way.name], digests[way.name] = first(call, way)
    differences = unequal(call.name, rank.size, rank.everybody(digests))
    if differences:
        raise AssertionError(f"{call.name}: results differ that must be the same: {', '.join(differences)}")
    measured = measure(
        rank,
        [Contender(way.name, timed(way), call.prepare) for way in contenders],
        rank.job["rounds"],
        rank.job["limit"],
    )
    rows = {name: row(one) for name, one in measured.items()}
    for name in rows:
        if name.startswith("auto"):
            # Rank 0 sends in every collective, so it knows.
            rows[name]["chose"] = chosen[name]
    return {
        "what": "collective",
        "collective": call.name,
        "bytes": call.mine.nbytes,
        "contenders": rows,
        "predicted_seconds": planning.predicted(model, call.name, "bf16", call.whole),
    }


def _chosen(stats: dict[str, dict[str, Any]]) -> str:
    """How the one call since the totals were reset was carried."""
    totals = next(iter(stats.values()), {"fallbacks": 1})
    if totals["fallbacks"]:
        return "gloo"
    return "coded" if totals["bytes_after"] < 0.95 * totals["bytes_before"] else "raw pieces"
