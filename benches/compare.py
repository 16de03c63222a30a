"""Compares two builds of the program: runs `huffwire bench` of both in turns, and prints medians and their ratio.

    python3 benches/compare.py OLD NEW weights.safetensors activations.safetensors

OLD and NEW are the programs. Turns alternate, so that a machine that slows down slows both. The new program is said to
be slower where its median is below that of the old one by more than `--tolerance` percent, and the exit status is then 1.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

WORKING_SETS = "256KiB,256MiB"


def measure(program, file, working_set, arguments):
    """The results of one run, as {(codec, level, platform, threads, checksums): (encode, decode, coded bytes)}."""
    command = [program, "bench", file, "--working-set", working_set, "--json", *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    results = {}
    for row in json.loads(output)["results"]:
        if row["codec"] != "huffwire":
            continue
        key = (row["level"], row["platform"], row["threads"], row["checksums"])
        results[key] = (row["encode_gbps"], row["decode_gbps"], row["coded_bytes"])
    if not results:
        raise SystemExit(f"{program} measured nothing of huffwire's own")
    return results


def compare(runs):
    """Rows of (key, direction, old median, new median, ratio, old spread) of alternating runs [(old, new), ...]."""
    rows = []
    for key in runs[0][0]:
        if not all(key in old and key in new for old, new in runs):
            continue
        for index, direction in enumerate(["encode", "decode"]):
            old = [run[0][key][index] for run in runs]
            new = [run[1][key][index] for run in runs]
            before, after = statistics.median(old), statistics.median(new)
            rows.append((key, direction, before, after, after / before, (min(old), max(old))))
    return rows


def processor():
    """The processor's name, as far as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="the program as it was")
    parser.add_argument("new", help="the program as it is")
    parser.add_argument("files", nargs="+", help="tensors, as for huffwire bench")
    parser.add_argument("--turns", type=int, default=20, help="runs of each program (default: %(default)s)")
    parser.add_argument("--working-set", default=WORKING_SETS, help="sizes, with commas (default: %(default)s)")
    parser.add_argument("--tolerance", type=float, default=2.0, help="percent (default: %(default)s)")
    parser.add_argument("--bench", default="--threads 1 --level fast", help="arguments of huffwire bench (default: %(default)s)")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(arguments)
    if options.turns < 1:
        parser.error("--turns must be at least 1")
    print(f"{processor()}, {options.turns} turns, GB/s of elements, medians")
    slower, record = [], []
    for file in options.files:
        for working_set in options.working_set.split(","):
            measured = options.bench.split()
            runs = [
                tuple(measure(program, file, working_set, measured) for program in (options.old, options.new))
                for _ in range(options.turns)
            ]
            print(f"\n{Path(file).name}, {working_set}")
            for key, direction, before, after, ratio, spread in compare(runs):
                level, on, threads, checksums = key
                what = f"{level} {on} {threads} thread{'s' if threads > 1 else ''} {'with' if checksums else 'no'} checksums {direction}"
                print(f"  {what:<50} {before:7.2f} -> {after:7.2f}  x {ratio:.3f}  (old {spread[0]:.2f} to {spread[1]:.2f})")
                record.append({"file": Path(file).name, "working_set": working_set, "what": what, "old": before, "new": after})
                if ratio < 1 - options.tolerance / 100:
                    slower.append(f"{Path(file).name}, {working_set}: {what}: {ratio:.3f}")
            key = next(iter(runs[0][0]))
            sizes = [run[key][2] for run in runs[0] if key in run]
            print(f"  coded bytes: {' -> '.join(map(str, sizes))}")
    if options.json:
        Path(options.json).write_text(json.dumps({"cpu": processor(), "turns": options.turns, "rows": record}, indent=1))
    if slower:
        print(f"\nslower by more than {options.tolerance} %:", *slower, sep="\n  ")
        return 1
    print(f"\nnothing is slower by more than {options.tolerance} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
