"""The trainings of benches/single_stage.py and benches/deltas.py, with tiny models: here because they need torch."""

from __future__ import annotations

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
