"""The kernels of this package as machine code."""

from __future__ import annotations

from functools import cache
from importlib import resources

from huffwire.cuda import _cache
from huffwire.cuda._nvrtc import Compiler

# NVRTC 12 takes lambdas for functions of the host unless it is told that there are none.
OPTIONS = ("--std=c++17", "--device-as-default-execution-space")
_MAIN = "kernels.cu"


@cache
def sources() -> dict[str, str]:
    """The files of the kernels, by name."""
    found = resources.files("huffwire.cuda").joinpath("kernels").iterdir()
    return {file.name: file.read_text("utf-8") for file in sorted(found, key=lambda file: file.name)}


def cubin(compiler: Compiler, architecture: int) -> bytes:
    """Machine code for an architecture, from the cache or compiled now.

    Raises:
        DeviceError: The kernels do not compile.
    """
    return _cache.kept(key(compiler, architecture), lambda: compiled(compiler, architecture)[0])


def compiled(compiler: Compiler, architecture: int, *options: str) -> tuple[bytes, str]:
    """Machine code for an architecture, compiled now, and the compiler's messages."""
    files = sources()
    headers = {name: text for name, text in files.items() if name != _MAIN}
    return compiler.compile(files[_MAIN], headers, architecture, [*OPTIONS, *options])


def key(compiler: Compiler, architecture: int) -> list[str]:
    """All that machine code depends on."""
    parts = [f"NVRTC {compiler.version}", f"sm_{architecture}", *OPTIONS]
    for name, text in sources().items():
        parts += [name, text]
    return parts
