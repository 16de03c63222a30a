#!/usr/bin/env python3
"""Estimates cycles of the NEON kernels with llvm-mca, where no such processor is at hand.

    cargo xtask kernels
    python3 benches/kernel_cycles.py --mca llvm-mca-19

`cargo xtask kernels` has the compiler write the assembly that this reads. The longest loop of each function named
*_steps is given to llvm-mca (of LLVM 17 or newer, older ones know these processors badly), which takes branches as
predicted and memory as in the first cache.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
ASSEMBLY = "target/kernels/aarch64-unknown-linux-gnu/release/deps"
PROCESSORS = ["neoverse-n1", "neoverse-v1", "neoverse-v2", "apple-m1"]
ITERATIONS = 200


def functions(assembly):
    """Symbols of kernels and their lines."""
    for text in re.split(r"\n(?=_\w+[^\n]*:\n)", assembly):
        symbol, _, body = text.partition(":")
        if "kernels" in symbol and "_steps17h" in symbol:
            yield symbol, body.split("\n")


def longest_loop(lines):
    """The instructions between the label and the branch back that are farthest apart; none if there is no loop."""
    places = {}
    for index, line in enumerate(lines):
        if label := re.match(r"(\.L\w+):", line):
            places[label[1]] = index
    best = (0, 0)
    for index, line in enumerate(lines):
        branch = re.match(r"\t(?:b|b\.\w+|cbn?z\t\w+,|tbn?z\t\w+, #\d+,)\s*(\.L\w+)", line)
        start = places.get(branch[1], index) if branch else index
        if index - start > best[1] - best[0]:
            best = (start, index)
    loop = lines[best[0] : best[1] + 1] if best[1] else []
    return [line for line in loop if line.startswith("\t") and not line.startswith("\t.")]


def cycles(mca, processor, instructions):
    """Cycles of an iteration."""
    with tempfile.NamedTemporaryFile("w", suffix=".s") as file:
        file.write("\n".join(instructions) + "\n")
        file.flush()
        command = [mca, "-mtriple=aarch64", f"-mcpu={processor}", f"-iterations={ITERATIONS}"]
        report = subprocess.run([*command, file.name], check=True, capture_output=True, text=True)
    return int(re.search(r"Total Cycles:\s+(\d+)", report.stdout)[1]) / ITERATIONS


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--mca", default="llvm-mca", help="the program to ask")
    arguments = parser.parse_args()
    files = list((ROOT / ASSEMBLY).glob("*.s"))
    if not files:
        parser.error(f"no assembly in {ASSEMBLY}; run `cargo xtask kernels` first")
    print("instructions, of them tbl and tbx; cycles:", *PROCESSORS)
    for file in files:
        for symbol, lines in functions(file.read_text()):
            loop = longest_loop(lines)
            if not loop:
                continue
            name = re.sub(r"17h\w+$", "", symbol.partition("kernels")[2])
            tables = sum("tbl\t" in line or "tbx\t" in line for line in loop)
            found = [f"{cycles(arguments.mca, processor, loop):.0f}" for processor in PROCESSORS]
            print(name, len(loop), tables, *found)


if __name__ == "__main__":
    main()
