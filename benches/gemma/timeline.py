"""Calls `huffwire analyze --timeline` on the snapshots of a training, and keeps what docs/drift.md needs.

A *run* has codebooks of one step, followed over all later snapshots. Its lists have an entry for each of these. Regrets
are in percent of the bits that codebooks are about: signs and mantissas that are kept as they are count in neither.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemma import snapshots
from gemma.measure import call, rounded

RULES = "auto,bytes"

Run = dict[str, Any]


def calibrations(steps: list[int], warm_up: int) -> list[int]:
    """The steps that codebooks come from: the first, the end of the warm-up, and the middle."""
    return [steps[0], warm_up, min(steps, key=lambda step: abs(step - steps[-1] / 2))]


def command(program: Path, folder: Path, calibrated: int, later: list[int]) -> list[str]:
    kinds = [f"--kind={pattern}={name}" for pattern, name in snapshots.KINDS]
    files = [str(snapshots.timeline_path(folder, step)) for step in later]
    options = ("--calibrate-on", str(snapshots.timeline_path(folder, calibrated)), "--symbols", RULES)
    return [str(program), "analyze", *files, "--timeline", *options, *kinds, "--json", "--quiet"]


def condense(found: dict[str, Any]) -> Run:
    """What is kept of `timeline` in a report."""
    return {
        "calibrated_at": found["calibrated_at"],
        "steps": [step["step"] for step in found["steps"]],
        "estimated": [rounded(step["estimated_regret_percent"]) for step in found["steps"]],
        "total": _course(found["total"]),
        "kinds": [{key: kind[key] for key in ("name", "dtype", "symbols")} | _course(kind) for kind in found["kinds"]],
        "refresh": {
            "regret_percent": found["refresh"]["regret_percent"],
            "courses": [_policy(course) for course in found["refresh"]["courses"]],
        },
    }


def _course(course: dict[str, Any]) -> dict[str, Any]:
    """Regrets by codebooks, and what fresh ones save."""
    return {
        "fresh_saving": [_short(value) for value in course["fresh_saving_percent"]],
        "saving": {curve["codebooks"]: [_short(value) for value in curve["saving_percent"]]
                   for curve in course["curves"] if curve["codebooks"] in ("built-in", "calibrated")},
        "regret": {curve["codebooks"]: [_short(value) for value in curve["regret_percent"]]
                   for curve in course["curves"] if any(value is not None for value in curve["regret_percent"])},
    }


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _policy(course: dict[str, Any]) -> dict[str, Any]:
    return {
        "began_with": course["began_with"],
        "judged": [{key: rounded(judgement[key]) for key in ("step", "regret_percent", "refreshed", "saved_bytes", "shipping_bytes")}
                   for judgement in course["judgements"]],
    }


def measure(program: Path, folder: Path, trained: dict[str, Any], tell: Callable[[str], None]) -> list[Run]:
    """A run for each calibration."""
    runs = []
    steps = trained["timeline"]
    for calibrated in calibrations(steps, trained["warm_up"]):
        tell(f"timeline from step {calibrated}")
        later = [step for step in steps if step > calibrated]
        runs.append(condense(call(command(program, folder, calibrated, later))["timeline"]))
    return runs
