#!/usr/bin/env python3
"""Measures how fast `huffwire` compresses and decompresses files, beside `dd`, `cp` and `cat`, in alternating turns.

    cargo build --release -p huffwire-cli
    python benches/files.py --size 2GiB --threads 1,2

Every command runs once in each turn; the table has the median of all turns. Beside each row of huffwire stands the
command that it is compared with, its share of the speed of that command, and the least share that is promised:

* to the null device: 0.8 of `dd bs=1M` to compress on two threads and more, 0.6 on one thread, 0.9 to decompress on two;
* to memory: the speed of `cp` of the model;
* to a disk: the speed of `cp` and `sync` of as many bytes, within 10 %;
* from a pipe: 0.8 of `cat FILE | cat`.

On one thread only the first is promised. The exit code is 0 whether promises hold or not: other work on the machine
breaks them. Needed are Python alone, bash, dd, cp, sync (with a file as argument) and cat; a folder in memory (tmpfs, by
default /dev/shm) with room for 3.5 times the size of the model; and the folder of --disk, on a disk with room for the
model. What goes to the disk is followed by `sync`, which is part of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def size(text: str) -> int:
    """A number of bytes such as 512MiB."""
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return int(text.removesuffix(unit)) * factor
    return int(text)


def make(path: Path, size: int) -> None:
    """Writes a safetensors file of about that size: bf16 weights of a normal distribution, in several tensors."""
    generator = random.Random(1)
    weights = (generator.gauss(0, 0.02) for _ in range(1 << 20))
    part = b"".join(struct.pack("<f", weight)[2:] for weight in weights)
    parts = max(1, size // len(part))
    tensors = {
        f"layers.{index}.weight": {
            "dtype": "BF16",
            "shape": [1024, len(part) // 2048],
            "data_offsets": [index * len(part), (index + 1) * len(part)],
        }
        for index in range(parts)
    }
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for index in range(parts):
            # Another start in each tensor: no two of them are the same bytes.
            start = 2 * index * 4099 % len(part)
            file.write(part[start:] + part[:start])


@dataclass(frozen=True)
class Row:
    """A command that is measured."""

    command: str
    output: Path | None = None
    """What is removed before the command runs again."""
    compared_with: str | None = None
    """The name of another row."""
    least: float | None = None
    """The least share of the speed of that row that is promised."""


def rows(program: str, model: Path, memory: Path, disk: Path, threads: list[int]) -> dict[str, Row]:
    """All commands, by their names."""
    packed, copy, on_disk = memory / "model.hw", memory / "copy", disk / "huffwire-bench"
    null = "-o /dev/null"
    all_rows = {
        "dd to /dev/null": Row(f"dd if={model} of=/dev/null bs=1M status=none"),
        "cp to memory": Row(f"cp {model} {copy}", copy),
        "cp of the .hw to disk": Row(f"cp {packed} {on_disk} && sync {on_disk}", on_disk),
        "cp to disk": Row(f"cp {model} {on_disk} && sync {on_disk}", on_disk),
        "cat | cat": Row(f"cat {model} | cat > /dev/null"),
    }
    for count in threads:
        name = f"{count} thread" + ("" if count == 1 else "s")
        compress, decompress = (f"{program} {what} --quiet --threads {count}" for what in ("compress", "decompress"))

        def promised(least: float, alone: float | None = None, count: int = count) -> float | None:
            return alone if count == 1 else least

        all_rows |= {
            f"compress to /dev/null, {name}": Row(
                f"{compress} {model} {null}", None, "dd to /dev/null", promised(0.8, alone=0.6)
            ),
            f"compress to memory, {name}": Row(f"{compress} {model} -o {copy}", copy, "cp to memory", promised(1)),
            f"compress to disk, {name}": Row(
                f"{compress} {model} -o {on_disk}", on_disk, "cp of the .hw to disk", promised(1 / 1.1)
            ),
            f"compress from a pipe, {name}": Row(
                f"cat {model} | {compress} - {null}", None, "cat | cat", promised(0.8)
            ),
            f"decompress to /dev/null, {name}": Row(
                f"{decompress} {packed} {null}", None, "dd to /dev/null", promised(0.9)
            ),
            f"decompress to memory, {name}": Row(f"{decompress} {packed} -o {copy}", copy, "cp to memory", promised(1)),
            f"decompress to disk, {name}": Row(
                f"{decompress} {packed} -o {on_disk}", on_disk, "cp to disk", promised(1 / 1.1)
            ),
        }
    return all_rows


def seconds(command: str, output: Path | None) -> float:
    """How long a command takes; what it writes is removed before and after."""
    start = time.perf_counter()
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True)
    taken = time.perf_counter() - start
    if output is not None:
        output.unlink()
    return taken


def measure(todo: dict[str, Row], turns: int) -> dict[str, float]:
    """The median seconds of each command."""
    taken: dict[str, list[float]] = {name: [] for name in todo}
    for turn in range(turns + 1):
        for name, row in todo.items():
            measured = seconds(row.command, row.output)
            # The first turn warms up.
            if turn > 0:
                taken[name].append(measured)
    return {name: statistics.median(values) for name, values in taken.items()}


def share(name: str, todo: dict[str, Row], taken: dict[str, float]) -> float | None:
    """The speed of a row as a share of that which it is compared with."""
    other = todo[name].compared_with
    return None if other is None else taken[other] / taken[name]


def table(todo: dict[str, Row], taken: dict[str, float], raw_bytes: int) -> str:
    """Speeds in bytes of the model, and what they are compared with."""
    width = max(map(len, todo))
    other_width = max(len(row.compared_with or "") for row in todo.values())
    lines = [f"{'':{width}}  {'seconds':>8}  {'GB/s':>6}  {'share':>5}  {'of':{other_width}}  {'least':>5}"]
    for name, row in todo.items():
        line = f"{name:{width}}  {taken[name]:8.3f}  {raw_bytes / taken[name] / 1e9:6.2f}"
        reached = share(name, todo, taken)
        if reached is not None:
            line += f"  {reached:5.2f}  {row.compared_with:{other_width}}"
            if row.least is not None:
                line += f"  {row.least:5.2f}  {'holds' if reached >= row.least else 'missed'}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def as_json(todo: dict[str, Row], taken: dict[str, float]) -> dict[str, dict[str, object]]:
    """What the table says, by the names of the rows."""
    return {
        name: {
            "seconds": taken[name],
            "compared_with": row.compared_with,
            "share": share(name, todo, taken),
            "least_share": row.least,
        }
        for name, row in todo.items()
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "target/release/huffwire"))
    parser.add_argument("--size", type=size, default=size("2GiB"), help="size of the model, such as 512MiB")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, with commas")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a folder in memory")
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="a folder on a disk")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    free = shutil.disk_usage(arguments.memory).free
    if free < 3.5 * arguments.size:
        print(f"{arguments.memory}: {free:,} bytes are free, and {3.5 * arguments.size:,.0f} are needed", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory(dir=arguments.memory) as memory,
        tempfile.TemporaryDirectory(dir=arguments.disk) as disk,
    ):
        model = Path(memory) / "model.safetensors"
        make(model, arguments.size)
        raw_bytes = model.stat().st_size
        threads = [int(count) for count in arguments.threads.split(",")]
        todo = rows(arguments.program, model, Path(memory), Path(disk), threads)
        subprocess.run([arguments.program, "compress", "-q", model, "-o", Path(memory) / "model.hw"], check=True)
        taken = measure(todo, arguments.turns)
    machine = {"raw_bytes": raw_bytes, "cores": os.cpu_count(), "load": os.getloadavg()[0], "turns": arguments.turns}
    if arguments.json:
        print(json.dumps({**machine, "rows": as_json(todo, taken)}))
    else:
        print("{raw_bytes:,} bytes, {turns} turns, load {load:.1f} on {cores} cores".format(**machine))
        print(table(todo, taken, raw_bytes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
