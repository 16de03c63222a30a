#!/usr/bin/env python3
"""Measures how fast `huffwire` compresses and decompresses files, beside `dd` and `cp`, in alternating turns.

    cargo build --release -p huffwire-cli
    python benches/files.py --size 2GiB --threads 1,2

The model lies in a folder in memory (tmpfs, by default /dev/shm), which needs room for three times its size; the disk is
the folder of --disk. Every command runs once in each turn; the table has the median of all turns, and the share of the
speed of `dd`. What goes to the disk is followed by `sync`, which is part of the time. Pipes are compared with
`cat FILE | cat`.
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


def commands(program: str, model: Path, memory: Path, disk: Path, threads: list[int]) -> dict[str, tuple[str, Path | None]]:
    """Each command by its name, and the output that is removed before it runs again."""
    packed, copy, on_disk = memory / "model.hw", memory / "copy", disk / "huffwire-bench"
    all_commands: dict[str, tuple[str, Path | None]] = {
        "dd to /dev/null": (f"dd if={model} of=/dev/null bs=1M status=none", None),
        "cp to memory": (f"cp {model} {copy}", copy),
        "cp of the .hw to memory": (f"cp {packed} {copy}", copy),
        "cp of the .hw to disk": (f"cp {packed} {on_disk} && sync {on_disk}", on_disk),
        "cp to disk": (f"cp {model} {on_disk} && sync {on_disk}", on_disk),
        "cat | cat": (f"cat {model} | cat > /dev/null", None),
    }
    for count in threads:
        flags = f"--quiet --threads {count}"
        name = f"{count} thread" + ("" if count == 1 else "s")
        compress, decompress = f"{program} compress {flags}", f"{program} decompress {flags}"
        all_commands |= {
            f"compress to /dev/null, {name}": (f"{compress} {model} -o /dev/null", None),
            f"compress to memory, {name}": (f"{compress} {model} -o {copy}", copy),
            f"compress to disk, {name}": (f"{compress} {model} -o {on_disk}", on_disk),
            f"compress from a pipe, {name}": (f"cat {model} | {compress} - -o /dev/null", None),
            f"decompress to /dev/null, {name}": (f"{decompress} {packed} -o /dev/null", None),
            f"decompress to memory, {name}": (f"{decompress} {packed} -o {copy}", copy),
            f"decompress to disk, {name}": (f"{decompress} {packed} -o {on_disk}", on_disk),
        }
    return all_commands


def seconds(command: str, output: Path | None) -> float:
    """How long a command takes; what it writes is removed before and after."""
    start = time.perf_counter()
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True)
    taken = time.perf_counter() - start
    if output is not None:
        output.unlink()
    return taken


def measure(arguments: argparse.Namespace, model: Path, memory: Path, disk: Path) -> dict[str, float]:
    """The median seconds of each command."""
    threads = [int(count) for count in arguments.threads.split(",")]
    todo = commands(arguments.program, model, memory, disk, threads)
    subprocess.run([arguments.program, "compress", "-q", model, "-o", memory / "model.hw"], check=True)
    taken: dict[str, list[float]] = {name: [] for name in todo}
    for turn in range(arguments.turns + 1):
        for name, (command, output) in todo.items():
            measured = seconds(command, output)
            # The first turn warms up.
            if turn > 0:
                taken[name].append(measured)
    return {name: statistics.median(values) for name, values in taken.items()}


def table(taken: dict[str, float], raw_bytes: int) -> str:
    """Speeds in bytes of the model, and their ratio to that of `dd`."""
    width = max(map(len, taken))
    lines = [f"{'':{width}}  {'seconds':>8}  {'GB/s':>6}  {'of dd':>6}"]
    for name, value in taken.items():
        share = taken["dd to /dev/null"] / value
        lines.append(f"{name:{width}}  {value:8.3f}  {raw_bytes / value / 1e9:6.2f}  {share:6.2f}")
    return "\n".join(lines)


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
        taken = measure(arguments, model, Path(memory), Path(disk))
    if arguments.json:
        print(json.dumps({"raw_bytes": raw_bytes, "cores": os.cpu_count(), "turns": arguments.turns, "seconds": taken}))
    else:
        print(f"{raw_bytes:,} bytes, {arguments.turns} turns, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(table(taken, raw_bytes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
