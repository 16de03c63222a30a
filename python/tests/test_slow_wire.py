"""The measurement on a slow wire works, in its short form, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import huffwire
import pytest

PROGRAM = Path(__file__).parents[2] / "benches" / "slow_wire.py"
SKIPPED = 77


def start(*arguments: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(Path(huffwire.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), "--short", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen) -> tuple[str, str]:
    """What it printed; skips the test where the machine cannot make a slow wire."""
    try:
        printed, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    if process.returncode == SKIPPED:
        assert "SKIPPED: " in errors
        pytest.skip(f"benches/slow_wire.py: {errors.strip()}")
    return printed, errors


def namespaces(process: subprocess.Popen) -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if f"huffwire-{process.pid}-" in line]


def test_tcp_alone_is_measured(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    process = start("--transport", "tcp", "--what", "collectives", "--json", str(report))
    _, errors = end(process)
    assert process.returncode == 0, errors
    [run] = json.loads(report.read_text())["runs"]
    for case in run["cases"]:
        assert set(case["contenders"]) == {"gloo", "raw pieces, tcp", "coded, tcp", "auto, tcp"}, case


def test_the_short_form_measures_everything(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    process = start("--rate", "1gbit", "--json", str(report))
    printed, errors = end(process)
    assert process.returncode == 0, errors
    assert namespaces(process) == []

    found = json.loads(report.read_text())
    assert found["schema_version"] == 1
    [run] = found["runs"]
    cases = {(case["what"], case.get("dtype"), case.get("collective")): case for case in run["cases"]}
    for name in ("all_gather", "all_reduce", "broadcast", "all_to_all"):
        contenders = cases["collective", None, name]["contenders"]
        assert {"gloo", "raw pieces", "coded", "auto"} <= set(contenders)
        # The counters of interfaces, not huffwire's own totals.
        assert contenders["coded"]["sent_bytes"] < 0.8 * contenders["gloo"]["sent_bytes"]
        assert name in printed
    for dtype in ("fp32", "bf16"):
        contenders = cases["ddp", dtype, None]["contenders"]
        assert contenders["lossless_hook, coded"]["equal"]
        assert contenders["stock PyTorch"]["loss"] == contenders["lossless_hook, coded"]["loss"]
    assert cases["fsdp", "bf16", None]["contenders"]["huffwire.fsdp, coded"]["equal"]
    assert found["plan"]["calls"]


def test_nothing_is_left_after_an_interrupt() -> None:
    process = start("--what", "collectives", "--rounds", "100000")
    end_of_patience = time.monotonic() + 60
    while process.poll() is None and len(namespaces(process)) < 3:
        assert time.monotonic() < end_of_patience, "the program made no namespaces"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    end(process)
    assert process.returncode == 130
    assert namespaces(process) == []


def test_a_rank_that_fails_ends_the_program(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    process = start("--what", "collectives", "--tensors", str(path))
    _, errors = end(process)
    assert process.returncode == 1
    assert "there is no bf16 tensor in" in errors
    assert namespaces(process) == []
