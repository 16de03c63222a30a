"""What refreshing codebooks adds to the time of `huffwire.distributed`.

First: pieces are written and read with and without an observer, in turn, in one process. Second: two ranks add up
small tensors with a check before each call and without checks, in turn; the difference is a check. Needs the package
huffwire (a release build) and torch.

    python benches/refresh_overhead.py [--json]
"""

import argparse
import json
import os
import statistics
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import huffwire.distributed as hd
from huffwire import Codebooks
from huffwire.distributed import life, pieces

SIZES = {"4 KiB": 4 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20, "4 MiB": 4 << 20}
# Bytes that are coded in a round, many times the interval between samples.
ROUND = 256 << 20
CALLS = 200


def observing(size, rounds):
    """Medians of the seconds for one piece, to write and to read, without and with an observer."""
    elements = (torch.randn(size // 2) * 0.02).bfloat16()
    restored = torch.empty_like(elements)
    buffer = torch.empty(pieces.capacity(size), dtype=torch.uint8)
    place = pieces.Place("send", 0, 0, elements.dtype, size, 0, 1, 0, size)
    # Judgements are due, and none is made.
    judge = life._Judge(hd.Refresh(), Codebooks.builtin(), "fast")
    judge._busy = True
    coders = {"without": pieces.Coder(None), "with": pieces.Coder(None, "fast", judge.observe)}
    count = max(ROUND // size // 4, 16)
    times = {f"{what} {name}": [] for name in coders for what in ("write", "read")}
    for _ in range(rounds):
        for name, coder in coders.items():
            start = time.perf_counter()
            for _ in range(count):
                coder.write(place, elements, True, buffer)
            middle = time.perf_counter()
            for _ in range(count):
                coder.read(place, 0, buffer, restored)
            times[f"write {name}"].append((middle - start) / count)
            times[f"read {name}"].append((time.perf_counter() - middle) / count)
    return {name: statistics.median(of) for name, of in times.items()}


def rank_of(rank, size, path, rounds, answers):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(path, size), rank=rank, world_size=size)
    group = {
        "without": dist.new_group(),
        "with": dist.new_group(),
    }
    hd.setup(group["without"], compression="always")
    hd.setup(group["with"], compression="always", refresh=hd.Refresh(check=1))
    tensor = torch.randn(32 << 10).bfloat16()
    times = {name: [] for name in group}
    for _ in range(rounds):
        for name in group:
            start = time.perf_counter()
            for _ in range(CALLS):
                hd.all_reduce(tensor, group=group[name])
            times[name].append((time.perf_counter() - start) / CALLS)
    if rank == 0:
        answers.put({name: statistics.median(of) for name, of in times.items()})
    dist.barrier()
    dist.destroy_process_group()


def checking(rounds):
    """Medians of the seconds for one call of two ranks, without and with a check before each."""
    context = mp.get_context("spawn")
    answers = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(rank_of, (2, os.path.join(folder, "store"), rounds, answers), nprocs=2)
    return answers.get()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: observing(size, arguments.rounds) for name, size in SIZES.items()}
    check = checking(arguments.rounds)
    if arguments.json:
        print(json.dumps({"pieces": found, "calls": check}, indent=2))
        return
    print("Seconds for a piece of bf16, without and with an observer:")
    for name, times in found.items():
        for what in ("write", "read"):
            without, observed = times[f"{what} without"], times[f"{what} with"]
            print(
                f"{name:>8} {what:5}  {without * 1e6:9.2f} us  {observed * 1e6:9.2f} us  "
                f"{observed / without - 1:+.2%}"
            )
    print(
        f"A call of all_reduce, 64 KiB, 2 ranks: {check['without'] * 1e6:.0f} us; a check before it: "
        f"{(check['with'] - check['without']) * 1e6:.0f} us"
    )


if __name__ == "__main__":
    main()
