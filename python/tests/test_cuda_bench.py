"""The program that measures GPUs, on the emulator: it runs, verifies, and reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import huffwire

ROOT = Path(__file__).parents[2]


def test_the_bench_runs_on_the_emulator(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benches" / "gpu.py"), "--emulate", "--data", "normal", "--json", str(report)]
    # The package that is tested, wherever it is.
    environment = os.environ | {"PYTHONPATH": str(Path(huffwire.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    coders = {row["coder"] for row in found["messages"]}
    assert coders == {"copy", "huffwire auto", "huffwire 4 KiB"}
    assert {row["dtype"] for row in found["messages"]} == {"bfloat16", "float16", "float32", "float8_e4m3fn", "int32"}
    assert all(row["coded_bytes"] < row["bytes"] for row in found["messages"] if row["coder"] != "copy")
    assert {row["loader"] for row in found["files"]} >= {"huffwire"}
    assert all(row["coded_bytes"] < row["bytes"] for row in found["tokens"])
    assert found["products"] and "emulator" in done.stdout
