"""The trainings of benches/single_stage.py, deltas.py and sync.py, with tiny models: here because they need torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[2] / "benches"


@pytest.mark.parametrize(
    ("module", "one"),
    [
        ("gemma.test_gemma", "test_snapshots_have_what_the_plan_says"),
        ("changes.test_deltas", "test_a_course_starts_where_the_training_ended"),
    ],
)
def test_its_own_tests_pass(module: str, one: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "-v", module],
        cwd=BENCHES,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert one in done.stderr
    for missing in ("torch", "torch or safetensors", "numpy", "huffwire"):
        assert f"'{missing} is not installed'" not in done.stderr


def test_versions_are_measured(tmp_path: Path) -> None:
    """The program compares what a subscriber has after each version."""
    results = tmp_path / "sync.json"
    options = ["--short", "--steps", "2", "--versions", "2", "--rounds", "2", "--results", str(results)]
    # What is missing for a document is not needed here.
    program = "; ".join(
        [
            "import deltas, sync, sys",
            "deltas.ensure_python = bool",
            f"sys.argv = ['sync.py', *{options!r}, '--this-python']",
            "sync.main()",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=BENCHES,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text())
    assert len(found["deltas"]) == 2
    for row in found["deltas"]:
        assert 0 < row["changes"] < found["weights"] / 10
        assert 0 < row["file_bytes"] < found["keyframe"]["file_bytes"] / 4
        assert 0 < row["pause_seconds"] <= row["update_seconds"]
