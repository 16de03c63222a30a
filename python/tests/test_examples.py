"""The examples and the guide to PyTorch run, with 2 ranks, as their readers run them."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import socket
import subprocess
import sys
from pathlib import Path

import huffwire.distributed
import pytest
from ranks import needs_hooks

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "python" / "examples").glob("*.py"))


def run(path: Path, ranks: int = 2) -> list[str]:
    """Runs a program in several processes, as torchrun starts them, and returns what each prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    package = Path(huffwire.__file__).parents[1]
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(path)],
            env={
                **os.environ,
                **common,
                "HUFFWIRE_COMPRESSION": "always",
                "PYTHONPATH": str(package),
                "RANK": str(rank),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        found = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (printed, errors) in zip(processes, found, strict=True):
        assert process.returncode == 0, (
            f"{path.name} ended with {process.returncode}\n{printed}\n{errors}"
        )
        assert "Traceback" not in errors, errors
    return [printed for printed, _ in found]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path: Path) -> None:
    printed, other = run(path)
    sent = re.findall(r"sent (\d+) bytes for (\d+)", printed)
    assert sent and all(int(after) < 0.75 * int(before) for after, before in sent), printed
    assert other == ""


def test_the_readme_shows_what_an_example_has_and_prints() -> None:
    path = ROOT / "python" / "examples" / "all_reduce.py"
    section = (ROOT / "README.md").read_text().split("## In distributed training")[1]
    code, shown = re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[:2]
    program = [line.strip() for line in path.read_text().splitlines()]
    lines = code.splitlines()
    start = program.index(lines[0])
    assert program[start : start + len(lines)] == lines
    printed, _ = run(path)
    # Processors round the random numbers a little differently.
    for number, expected in zip(
        re.findall(r"\d+", printed), re.findall(r"\d+", shown), strict=True
    ):
        assert int(number) == pytest.approx(int(expected), rel=1e-3)
    assert re.sub(r"\d+", "N", printed) == re.sub(r"\d+", "N", shown)


@needs_hooks
def test_the_guide_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "pytorch.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    program = tmp_path / "guide.py"
    program.write_text("\n".join(blocks))
    printed, _ = run(program)
    assert printed.count("pays from") == 3


@pytest.mark.parametrize(
    "name", [module.name for module in pkgutil.iter_modules(huffwire.distributed.__path__)]
)
def test_examples_of_the_modules_run(name: str) -> None:
    module = importlib.import_module(f"huffwire.distributed.{name}")
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0
    assert module.__doc__


def test_a_decision_is_quick() -> None:
    import timeit

    import torch
    from huffwire.distributed.policy import Codec, Link, Model
    from huffwire.distributed.settings import Agreement, Policy, Settings

    model = Model(Link(125e6, 1e-4), Codec(5e9, 5e9), 2)
    policy = Policy(Agreement(Settings("auto"), model, 1 << 20))
    seconds = (
        min(timeit.repeat(lambda: policy.way("all_reduce", torch.bfloat16, 1 << 24), number=1000))
        / 1000
    )
    # Twice what is promised, for slow machines.
    assert seconds < 4e-6
    assert policy.way("all_reduce", torch.bfloat16, 1 << 24) == "coded"
    assert policy.way("all_reduce", torch.bfloat16, 64) == "plain"
    assert policy.way("all_reduce", torch.int64, 1 << 24) == "plain"
