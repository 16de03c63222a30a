"""What the library's model of links says: beside what was measured, and for links and ranks beyond one machine."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

WAYS = {"plain": "gloo", "raw": "raw pieces", "coded": "coded"}

# The links and groups that are planned for.
LINKS = (25, 100, 400)
RANKS = (8, 64, 1024)
SIZE = 256 << 20
LATENCY = 20e-6
# How many times as fast a coded call has to be for it to count as paying.
MARGIN = 1.08
COLLECTIVES = ("all_gather", "reduce_scatter", "all_reduce")
CURVE_LINKS = (1, 2, 5, 10, 25, 50, 100, 200, 400)
CURVE_CORES = (1, 4, 16)
CURVE_RANKS = 64
# A training step: bytes of bf16 gradients of a billion parameters, and seconds of computing.
STEP_BYTES, STEP_COMPUTE, STEP_RANKS = 2 * 10**9, 1.0, 64
STEP_LINKS = (1, 10, 25, 100, 400)


def figures(model: Any) -> dict[str, Any]:
    """What the ranks measured and agreed on, for the report."""
    link, codec = model.link, model.codec
    return {
        "bytes_per_second": round(link.bytes_per_second),
        "one_way": round(link.one_way or link.bytes_per_second),
        "latency": round(link.latency, 7),
        "encode": round(codec.encode),
        "decode": round(codec.decode),
        "piece": model.piece,
    }


def predicted(model: Any, collective: str, dtype: str, size: int) -> dict[str, float]:
    """Seconds of a call, each way, from the figures that the ranks agreed on.

    Args:
        model: A `huffwire.distributed.policy.Model`.
        collective, dtype, size: As its method `seconds` takes them.
    """
    return {way: round(model.seconds(way, collective, dtype, size), 7) for way in WAYS}


def measured_codec() -> dict[str, float]:
    """Speed and saving of the codec on one core of this machine, as `huffwire plan` measures them on generated weights."""
    command = [sys.executable, "-m", "huffwire", "plan", "--link", "25gbit", "--size", "64MiB", "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {key: told[key] for key in ("encode", "decode", "left", "fixed")}


def _model(collective: str, gbit: float, ranks: int, codec: dict[str, float], transport: str, cores: int) -> Any:
    from huffwire._huffwire import _LinkModel

    return _LinkModel(
        collective,
        bytes_per_second=gbit * 1e9 / 8,
        latency=LATENCY,
        ranks=ranks,
        transport=transport,
        cores=cores,
        margin=MARGIN,
        **codec,
    )


def plan(codec: dict[str, float]) -> dict[str, Any]:
    """The tables and curves of links and groups that no single machine has."""
    calls = []
    for collective in COLLECTIVES:
        for gbit in LINKS:
            for ranks in RANKS:
                model = _model(collective, gbit, ranks, codec, "overlapped", 1)
                keep_up = model.cores_to_keep_up(SIZE)
                calls.append({
                    "collective": collective,
                    "gbit": gbit,
                    "ranks": ranks,
                    "plain_seconds": model.seconds("plain", SIZE),
                    "coded_seconds": model.seconds("coded", SIZE),
                    "cores_to_pay": model.cores_to_pay(SIZE),
                    "cores_to_keep_up": keep_up,
                })
    curves = []
    for transport, all_cores in (("overlapped", CURVE_CORES), ("gloo", (1,))):
        for cores in all_cores:
            models = [_model("all_reduce", gbit, CURVE_RANKS, codec, transport, cores) for gbit in CURVE_LINKS]
            ratios = [model.seconds("plain", SIZE) / model.seconds("coded", SIZE) for model in models]
            curves.append({"transport": transport, "cores": cores, "gbit": list(CURVE_LINKS), "times_as_fast": ratios})
    steps = []
    for gbit in STEP_LINKS:
        plain = _model("all_reduce", gbit, STEP_RANKS, codec, "overlapped", 1).seconds("plain", STEP_BYTES)
        coded = {
            str(cores): _model("all_reduce", gbit, STEP_RANKS, codec, "overlapped", cores).seconds("coded", STEP_BYTES)
            for cores in CURVE_CORES
        }
        steps.append({"gbit": gbit, "plain_seconds": plain, "coded_seconds": coded})
    return {"codec": codec, "bytes": SIZE, "latency": LATENCY, "margin": MARGIN, "calls": calls, "curves": curves,
            "steps": {"bytes": STEP_BYTES, "compute": STEP_COMPUTE, "ranks": STEP_RANKS, "rows": steps}}


def step(compute: float, communication: float, overlap: float) -> float:
    """Seconds of a training step.

    Args:
        compute: Seconds of computing.
        communication: Seconds of communication, if nothing else were done.
        overlap: Which part of the shorter of the two hides behind the longer one: 0 if they follow each other, 1 if they
            begin together.
    """
    return compute + communication - overlap * min(compute, communication)
