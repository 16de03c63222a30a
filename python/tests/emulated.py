"""A device that runs the kernels of `huffwire.cuda` on the CPU, lane by lane."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import huffwire.cuda
from huffwire.cuda._device import ALIGNMENT, Argument, Span

_EMULATOR = Path(__file__).parent / "emulator"
_KERNELS = Path(huffwire.cuda.__file__).parent / "kernels"
_WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-variable"]


@cache
def library(sanitize: str = "") -> ctypes.CDLL:
    """Compiles the emulator with g++ and loads it, with a sanitizer if one is named.

    Those for addresses and threads must be preloaded to be used.
    """
    folder = Path(os.environ.get("HUFFWIRE_TEST_CACHE", tempfile.gettempdir())) / "huffwire-emulator"
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++17", "-g", "-fPIC", "-shared", *_WARNINGS]
    # With the sanitizer, g++ takes longer to optimize than tests take without that.
    flags += ["-O0", f"-fsanitize={sanitize}", "-fno-sanitize-recover=all"] if sanitize else ["-O1"]
    sources = sorted([*_EMULATOR.iterdir(), *_KERNELS.iterdir()])
    digest = hashlib.sha256(b"\0".join([*(p.read_bytes() for p in sources), repr(flags).encode()]))
    built = folder / f"{digest.hexdigest()[:24]}.so"
    if not built.exists():
        partial = built.with_suffix(f".{os.getpid()}")
        command = ["g++", *flags, f"-I{_KERNELS}", "-o", partial, _EMULATOR / "emulator.cpp"]
        subprocess.run(command, check=True)
        partial.rename(built)
    return ctypes.CDLL(str(built))


class EmulatedDevice:
    """See `huffwire.cuda._device.Device`. Memory is of its own object each, so that a sanitizer sees its ends."""

    def __init__(self, *, seed: int = 1, sanitize: str = "") -> None:
        self._library = library(sanitize)
        self._seed = seed
        self.launches: list[str] = []

    multiprocessors = 2

    def empty(self, size: int) -> Span:
        # Not set to 0: what a kernel reads before it was written should show.
        memory = ctypes.create_string_buffer(b"\xa5" * (size + ALIGNMENT), size + ALIGNMENT)
        whole = ctypes.addressof(memory)
        start = whole + -whole % ALIGNMENT
        # What is there for the alignment only belongs to nobody.
        self._library.emulator_forbid(ctypes.c_void_p(start + size), ctypes.c_size_t(whole + ALIGNMENT - start))
        return Span(start, size, memory)

    def upload(self, data: bytes) -> Span:
        span = self.empty(len(data))
        ctypes.memmove(span.address, bytes(data), len(data))
        return span

    def read(self, span: Span) -> bytes:
        return ctypes.string_at(span.address, span.size)

    def launch(self, kernel: str, ctas: int, threads: int, *arguments: Argument) -> None:
        self.launches.append(kernel)
        values = [ctypes.c_uint64(a.address) if isinstance(a, Span) else a for a in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        self._seed += 1
        if self._library.emulator_launch(kernel.encode(), ctas, threads, self._seed, pointers):
            raise ValueError(f"the emulator has no kernel {kernel}")
