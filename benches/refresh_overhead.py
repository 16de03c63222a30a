"""What refreshing codebooks adds to the time of `huffwire.distributed`.

First: pieces are written, read and observed in one process, and the fastest of many short rounds counts. Second: two
ranks add up small tensors with a check before each call and without checks, in turn; the difference of the medians
is a check. Needs the package
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
OBSERVED = 64 << 20
CALLS = 200


def observing(size, rounds):
    """The seconds to write a piece, to read one and to observe one, each in the fastest of many short rounds."""
    elements = (torch.randn(size // 2) * 0.02).bfloat16()
    restored = torch.empty_like(elements)
    buffer = torch.empty(pieces.capacity(size), dtype=torch.uint8)
    place = pieces.Place("send", 0, 0, elements.dtype, size, 0, 1, 0, size)
    coder = pieces.Coder(None)
    judge = life._Judge(hd.Refresh(), Codebooks.builtin(), "fast")
    memory = elements.data_ptr(), size
    jobs = {
        "write": (lambda: coder.write(place, elements, True, buffer), max((4 << 20) // size, 1)),
        "read": (lambda: coder.read(place, 0, buffer, restored), max((4 << 20) // size, 1)),
        # Some samples are taken in each round.
        "observe": (lambda: judge.observe(memory, "bf16"), OBSERVED // size),
    }
    fastest = {}
    for _ in range(rounds):
        for name, (job, count) in jobs.items():
            start = time.perf_counter()
            for _ in range(count):
                job()
            seconds = (time.perf_counter() - start) / count
            fastest[name] = min(seconds, fastest.get(name, seconds))
    return fastest


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
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: observing(size, arguments.rounds) for name, size in SIZES.items()}
    check = checking(max(arguments.rounds // 10, 1))
    if arguments.json:
        print(json.dumps({"pieces": found, "calls": check}, indent=2))
        return
    print("Microseconds for a piece of bf16, and what observing is of them:")
    for name, times in found.items():
        shares = [
            f"{what} {times[what] * 1e6:7.1f} us ({times['observe'] / times[what]:.2%})"
            for what in ("write", "read")
        ]
        print(f"{name:>8}  observe {times['observe'] * 1e6:5.2f} us  {'  '.join(shares)}")
    print(
        f"A call of all_reduce, 64 KiB, 2 ranks: {check['without'] * 1e6:.0f} us; a check before it: "
        f"{(check['with'] - check['without']) * 1e6:.0f} us"
    )


if __name__ == "__main__":
    main()
