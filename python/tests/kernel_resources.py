"""What the kernels for GPUs take of a GPU: registers, shared memory, spills, instructions, by architecture.

No GPU and no driver is needed: NVRTC compiles, and tells. `kernel_resources.json` keeps what it told, and test_cuda_compile.py
compares. After a change of the kernels:

    PYTHONPATH=python python python/tests/kernel_resources.py --write
"""

from __future__ import annotations

import argparse
import json
import re
import struct
from pathlib import Path
from typing import TypeAlias

from huffwire.cuda import _cache, _nvrtc, _program
from huffwire.cuda._nvrtc import Compiler

TABLE = Path(__file__).with_suffix(".json")
ARCHITECTURES = (80, 90, 100, 120)

Kernels: TypeAlias = dict[str, dict[str, int]]

# What ptxas says of each kernel, in lines of its own.
_BEGIN = re.compile(r"Compiling entry function '(\w+)' for 'sm_\d+'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")

_INSTRUCTION_BYTES = 16


def measure(compiler: Compiler, architecture: int) -> Kernels:
    """What each kernel takes. Kept in the cache of compiled kernels, because compiling takes seconds."""

    def make() -> bytes:
        cubin, log = _program.compiled(compiler, architecture, "--ptxas-options=--verbose")
        return json.dumps(_of_log(log, _code_bytes(cubin))).encode()

    key = ["resources", *_program.key(compiler, architecture), Path(__file__).read_text()]
    kernels: Kernels = json.loads(_cache.kept(key, make))
    return kernels


def _of_log(log: str, code_bytes: dict[str, int]) -> Kernels:
    kernels: Kernels = {}
    found: dict[str, int] = {}
    for line in log.splitlines():
        if begin := _BEGIN.search(line):
            found = kernels[begin[1]] = {"instructions": code_bytes[begin[1]] // _INSTRUCTION_BYTES}
        elif stack := _STACK.search(line):
            found["stack_bytes"] = int(stack[1])
            found["spilled_bytes"] = int(stack[2]) + int(stack[3])
        elif used := _USED.search(line):
            found["registers"], found["shared_bytes"] = int(used[1]), int(used[2] or 0)
    return dict(sorted(kernels.items()))


def _code_bytes(cubin: bytes) -> dict[str, int]:
    """The bytes of code of each kernel, fillings included: a cubin is an ELF file, with a section for each kernel."""
    sections = struct.unpack_from("<Q", cubin, 0x28)[0]
    size, count, names_index = struct.unpack_from("<3H", cubin, 0x3A)
    headers = [
        struct.unpack_from("<2I4Q", cubin, sections + size * number) for number in range(count)
    ]
    names = headers[names_index][4]
    found = {}
    for name, _, _, _, _, length in headers:
        start = names + name
        text = cubin[start : cubin.index(b"\0", start)].decode()
        if text.startswith(".text."):
            found[text.removeprefix(".text.")] = length
    return found


def kernel_names() -> list[str]:
    """Those that the host launches."""
    return sorted(re.findall(r"^KERNEL\((\w+)\)", _program.sources()["kernel_names.h"], re.MULTILINE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"renew {TABLE.name}")
    write = parser.parse_args().write
    compiler = _nvrtc.compiler()
    report = {
        "nvrtc": ".".join(map(str, compiler.version)),
        "kernels": {f"sm_{a}": measure(compiler, a) for a in ARCHITECTURES},
    }
    if write:
        TABLE.write_text(json.dumps(report, indent=1) + "\n")
        return
    print(f"NVRTC {report['nvrtc']}")
    for architecture, kernels in report["kernels"].items():  # type: ignore[union-attr]
        print(f"\n{architecture:24} registers  shared  stack  spilled  instructions")
        for name, k in kernels.items():
            print(
                f"{name:24} {k['registers']:9} {k['shared_bytes']:7} {k['stack_bytes']:6} {k['spilled_bytes']:8} "
                f"{k['instructions']:13}"
            )


if __name__ == "__main__":
    main()
