"""Calls `huffwire analyze` on the snapshots, and keeps of its reports what docs/single-stage.md needs.

A *row* is one entry of `kinds` of a report, shortened. `case` says how it was measured:

| case | the fixed codebook was made from | |
|---|---|---|
| previous | the step before | bf16, all symbol rules |
| earlier | the full snapshot that is a fifth of the training older | bf16, all symbol rules |
| shards N | the step before | bf16 activations by bytes, in N shards |
| types, tensor; types, block | the step before | small floats, with a scale for each tensor or for 32 values |
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
from gemma import snapshots

SHARDS = 64
MORE_SHARDS = (16, 128, 256)
# More than any case has: all shards are counted alone, and none in groups.
SHARDS_ALONE = 1_000_000
TYPES = ("e4m3", "e3m2", "e2m3", "e2m1")
RULES = "bytes,byte-planes,auto"
# The two kinds that may be the one whose figures the paper shows, and the names of their tensors; and one shard of them.
SHOWN = {"FFN1 before the gate": "ffn1.linear", "FFN1 activation": "ffn1"}
SHOWN_LAYER, SHOWN_SHARD = 8, 17

Row = dict[str, Any]

# Bytes that a value takes in memory, which are its symbols by the rule `bytes`.
_BYTES = {"f32": 4, "bf16": 2, "e4m3": 1, "e3m2": 1, "e2m3": 1, "e2m1": 0.5}
_KEPT = (
    "name", "dtype", "scaling", "symbols", "shards", "groups", "values", "bytes", "fixed_from", "shannon_saving_percent",
    "huffman_saving_percent", "fixed_saving_percent", "builtin_saving_percent", "quad_length_saving_percent",
    "dual_length_saving_percent", "over_huffman_percent", "over_shannon_percent", "mean_kl_bits", "max_kl_bits", "escape_percent",
)


@dataclass(frozen=True)
class Case:
    """One way to measure: the options beside files and kinds, and which step the codebook comes from."""

    name: str
    calibrated: int
    options: tuple[str, ...]
    families: tuple[str, ...] = snapshots.FAMILIES


def cases(full: tuple[int, ...]) -> Iterator[Case]:
    """All of them, of three full snapshots: earlier, previous, measured."""
    earlier, previous, _ = full
    bf16 = ("--shards", str(SHARDS), "--symbols", RULES)
    yield Case("previous", previous, bf16)
    yield Case("earlier", earlier, bf16)
    for shards in MORE_SHARDS:
        yield Case(f"shards {shards}", previous, ("--shards", str(shards), "--symbols", "bytes"), ("activations",))
    for scale in ("tensor", "block"):
        options = ("--shards", str(SHARDS), "--symbols", "bytes,auto", "--as", ",".join(TYPES), "--scale", scale)
        yield Case(f"types, {scale}", previous, options)


def command(program: Path, case: Case, file: Path, calibrated: Path) -> list[str]:
    kinds = [f"--kind={pattern}={name}" for pattern, name in snapshots.KINDS]
    return [str(program), "analyze", str(file), "--calibrate-on", str(calibrated), *case.options,
            "--shards-alone", str(SHARDS_ALONE), *kinds, "--json", "--quiet"]


def call(words: list[str]) -> dict[str, Any]:
    """The report of a command."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise peers.Failure(f"{words[0]} cannot be run: {error}") from None
    if done.returncode != 0:
        raise peers.Failure(f"`{' '.join(words)}` failed:\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def condense(kind: dict[str, Any], case: str) -> Row:
    """What is kept of a kind: no lists. The figures must be those of shards, not of groups of them."""
    if kind["groups"] is not None:
        raise peers.Failure(f"{case}, {kind['name']}, {kind['symbols']}: {kind['shards']} shards were counted in {kind['groups']} groups")
    row: Row = {"case": case, **{key: rounded(kind.get(key)) for key in _KEPT}}
    row["chance_kl_bits"] = rounded(chance_kl(kind)) if kind["symbols"] == "bytes" else None
    row["longest"] = max(plane["longest"] for plane in kind["planes"])
    # Shards of one value take no bits by any code.
    shards = [one for one in kind["per_shard"] or () if one["huffman_saving_percent"] < 100]
    if shards and kind["fixed_saving_percent"] is not None:
        row["worst_over_huffman_percent"] = rounded(max(over(one, "huffman") for one in shards))
        row["worst_over_shannon_percent"] = rounded(max(over(one, "shannon") for one in shards))
    return row


def over(saved: dict[str, Any], code: str) -> float:
    """How much larger the fixed codebook leaves a shard than another code does, in percent."""
    return 100 * ((100 - saved["fixed_saving_percent"]) / (100 - saved[f"{code}_saving_percent"]) - 1)


def chance_kl(kind: dict[str, Any]) -> float:
    """The KL divergence that shards would have from their average by chance alone, had they all the same distribution.

    A histogram of n draws from k symbols diverges by (k - 1) / 2n nats in the mean (Miller 1955). Only symbols that a shard
    is likely to have are counted.
    """
    draws = _BYTES[kind["dtype"]] * kind["values"] / kind["shards"]
    likely = sum(probability * draws >= 1 for probability in kind["planes"][0]["pmf"])
    return max(0, likely - 1) / (2 * draws * math.log(2))


def shown(kind: dict[str, Any]) -> dict[str, Any]:
    """The lists behind the figures in the form of the paper: the average PMF, and all shards in the order of layers."""
    plane = kind["planes"][0]
    shards = sorted(kind["per_shard"], key=lambda one: (one["layer"], one["shard"]))
    pmf = [0.0] * 256
    for offset, probability in enumerate(plane["pmf"]):
        pmf[plane["first_symbol"] + offset] = float(f"{probability:.3g}")
    keys = ("shannon_saving_percent", "huffman_saving_percent", "fixed_saving_percent")
    columns = {key: [round(one[key], 3) for one in shards] for key in keys}
    columns["kl_bits"] = [round(one["kl_bits"], 5) for one in shards]
    return {"average_pmf": pmf, **columns, "layers": len({one["layer"] for one in shards})}


def shard_pmf(file: Path, name: str) -> tuple[list[float], float]:
    """The PMF of the bytes of one shard and its entropy in bits, by numpy: what the program finds must agree."""
    import numpy as np
    from safetensors.torch import load_file
    from torch import int16

    tensor = load_file(file)[f"layers.{SHOWN_LAYER}.{name}"]
    width = tensor.shape[1] // SHARDS
    part = tensor[:, SHOWN_SHARD * width : (SHOWN_SHARD + 1) * width].contiguous().view(int16).numpy()
    counts = np.bincount(part.reshape(-1).view(np.uint8), minlength=256)
    pmf = counts / counts.sum()
    entropy = -sum(p * math.log2(p) for p in pmf.tolist() if p > 0)
    return [float(f"{p:.3g}") for p in pmf.tolist()], entropy


def measure(program: Path, folder: Path, full: tuple[int, ...], tell: Any) -> dict[str, Any]:
    """All rows of all cases, and the lists of the figures."""
    measured = full[-1]
    found: dict[str, Any] = {"rows": [], "notes": [], "shown": {}}
    for case in cases(full):
        for family in case.families:
            tell(f"{case.name}: {family}")
            file, calibrated = (snapshots.full_path(folder, step, family) for step in (measured, case.calibrated))
            report = call(command(program, case, file, calibrated))
            found["notes"] += [note.replace(str(file), family) for note in report["notes"]]
            for kind in report["kinds"]:
                # Conversions come with the bf16 that they are made from, which another case has.
                if not case.name.startswith("types") or kind["converted_from"]:
                    found["rows"].append(condense(kind, case.name))
                if case.name == "previous" and kind["name"] in SHOWN and kind["symbols"] == "bytes":
                    found["shown"][kind["name"]] = shown(kind)
    for name, lists in found["shown"].items():
        pmf, entropy = shard_pmf(snapshots.full_path(folder, measured, "activations"), SHOWN[name])
        lists |= {"shard_pmf": pmf, "shard_entropy": round(entropy, 4)}
        check_entropy(lists)
    found["notes"] = sorted(set(found["notes"]))
    return found


def check_entropy(lists: dict[str, Any]) -> None:
    """The entropy of one shard as numpy finds it is that of the program."""
    saving = lists["shannon_saving_percent"][SHOWN_LAYER * SHARDS + SHOWN_SHARD]
    found = 8 * (1 - saving / 100)
    if abs(found - lists["shard_entropy"]) > 0.01:
        raise peers.Failure(f"one shard has {lists['shard_entropy']} bits a byte by numpy, and {found:.4f} by huffwire")
