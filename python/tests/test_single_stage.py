"""The training of benches/single_stage.py, with a tiny model: its own tests, here because they need torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCHES = Path(__file__).parents[2] / "benches"


def test_its_own_tests_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "-v", "gemma.test_gemma"],
        cwd=BENCHES,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "test_snapshots_have_what_the_plan_says" in done.stderr
    assert "torch or safetensors is not installed" not in done.stderr
