#!/usr/bin/env python3
"""Measures `huffwire.torch.load_file` against `huffwire decompress`, in alternating turns.

Both decode the same `.hw` file, which the page cache holds, with as many threads: one into new tensors, the other
into a new file in a folder in memory (tmpfs). The package (a release build) and torch must be importable:

    cargo build --release -p huffwire-cli
    maturin develop --release
    python benches/python_files.py --threads 1,2
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The shapes of a layer of a decoder of about a billion parameters.
LAYER = {"attention.qkv": (3072, 2048), "attention.out": (2048, 2048), "norm": (2048,), "up": (8192, 2048),
         "gate": (8192, 2048), "down": (2048, 8192)}  # fmt: skip


def make(path: Path, coded_bytes: int) -> int:
    """Writes a model of bf16 weights of about that size in the file; returns the bytes of its tensors."""
    import huffwire.torch
    import torch

    generator = torch.Generator().manual_seed(1)
    tensors: dict[str, torch.Tensor] = {}
    total = layer = 0
    while total < coded_bytes * 1.5:
        for name, shape in LAYER.items():
            tensor = torch.randn(shape, generator=generator).mul_(0.02).bfloat16()
            tensors[f"layers.{layer}.{name}"] = tensor
            total += tensor.nbytes
        layer += 1
    huffwire.torch.save_file(tensors, path)
    return total


def load(path: Path, threads: int) -> float:
    import huffwire.torch

    gc.collect()
    start = time.perf_counter()
    tensors = huffwire.torch.load_file(path, threads=threads)
    seconds = time.perf_counter() - start
    del tensors
    return seconds


def decompress(program: str, path: Path, target: Path, threads: int) -> float:
    command = [program, "decompress", path, "-o", target, "--threads", str(threads), "--json", "--quiet"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    target.unlink()
    return json.loads(done.stdout)["seconds"]


def peak(path: Path, threads: int) -> int:
    """How much more memory a process has at its peak for loading a file, in bytes."""
    script = f"""
import re, torch, huffwire.torch
torch.ones(8).sum()
# Not getrusage, which tells the peak of the parent if that is higher.
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) << 10
before = peak()
tensors = huffwire.torch.load_file({os.fspath(path)!r}, threads={threads})
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return int(done.stdout)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=2.0, help="size of the .hw file in GB (default: 2)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default: 1,2)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--program", default=ROOT / "target" / "release" / "huffwire", help="the program huffwire")
    parser.add_argument("--folder", help="where the .hw file is written (default: the system's temporary folder)")
    parser.add_argument("--memory", default="/dev/shm", help="a folder in memory (default: /dev/shm)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=args.folder) as folder, tempfile.TemporaryDirectory(dir=args.memory) as shm:
        path, target = Path(folder) / "model.safetensors.hw", Path(shm) / "model.safetensors"
        raw_bytes = make(path, int(args.size * 1e9))
        results = []
        for threads in map(int, args.threads.split(",")):
            times: dict[str, list[float]] = {"load_file": [], "decompress": []}
            for turn in range(args.rounds + 1):
                ours = load(path, threads)
                theirs = decompress(str(args.program), path, target, threads)
                # The first turn brings the file into the page cache and starts threads.
                if turn > 0:
                    times["load_file"].append(ours)
                    times["decompress"].append(theirs)
            speeds = {name: raw_bytes / statistics.median(each) / 1e9 for name, each in times.items()}
            results.append(
                {
                    "threads": threads,
                    "gigabytes_per_second": speeds,
                    "ratio": speeds["load_file"] / speeds["decompress"],
                    "spread": {name: [min(each), max(each)] for name, each in times.items()},
                    "memory_beside_tensors": peak(path, threads) - raw_bytes,
                }
            )
        report = {
            "processor": processor(),
            "raw_bytes": raw_bytes,
            "coded_bytes": path.stat().st_size,
            "rounds": args.rounds,
            "results": results,
        }
    if args.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{report['processor']}; tensors of {raw_bytes:,} bytes in a file of {report['coded_bytes']:,} bytes")
    print(f"{'threads':>7}  {'load_file':>12}  {'decompress':>12}  {'ratio':>5}  memory beside tensors")
    for result in results:
        speeds = result["gigabytes_per_second"]
        print(
            f"{result['threads']:>7}  {speeds['load_file']:>7.2f} GB/s  {speeds['decompress']:>7.2f} GB/s  "
            f"{result['ratio']:>5.2f}  {result['memory_beside_tensors'] / (1 << 20):.0f} MiB"
        )


if __name__ == "__main__":
    main()
