"""NVRTC, NVIDIA's compiler of CUDA C++ as a library: kernels become machine code for one architecture.

PyTorch's wheels for CUDA bring the library. The result is machine code (a cubin) and not PTX, which a driver older than
NVRTC may refuse. No driver and no GPU is needed to compile.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from huffwire._errors import DeviceError

OLDEST = 80
"""The oldest architecture that the kernels are written for: Ampere."""

_NAME = re.compile(r"libnvrtc(?:-[0-9a-f]+)?\.so(?:\.(\d+))?(?:\.\d+)*")
# What the loader's path is asked for.
_MAJORS = (13, 12)

_Out = ctypes.c_void_p
_Program = ctypes.c_void_p
_INT, _TEXT = ctypes.c_int, ctypes.c_char_p
_TEXTS = ctypes.POINTER(ctypes.c_char_p)

_SIGNATURES: dict[str, list[type]] = {
    "nvrtcVersion": [_Out, _Out],
    "nvrtcGetNumSupportedArchs": [_Out],
    "nvrtcGetSupportedArchs": [_Out],
    "nvrtcCreateProgram": [_Out, _TEXT, _TEXT, _INT, _TEXTS, _TEXTS],
    "nvrtcCompileProgram": [_Program, _INT, _TEXTS],
    "nvrtcGetProgramLogSize": [_Program, _Out],
    "nvrtcGetProgramLog": [_Program, _Out],
    "nvrtcGetCUBINSize": [_Program, _Out],
    "nvrtcGetCUBIN": [_Program, _Out],
    "nvrtcDestroyProgram": [_Out],
}


class Compiler:
    """NVRTC in one version.

    Args:
        path: Its library: a file, or a name for the loader.

    Raises:
        OSError: The library cannot be loaded.
        AttributeError: It lacks a function that is needed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._library = ctypes.CDLL(path)
        for name, arguments in _SIGNATURES.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = arguments, _INT
        self._library.nvrtcGetErrorString.argtypes = [_INT]
        self._library.nvrtcGetErrorString.restype = _TEXT
        major, minor = _INT(), _INT()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)
        """Such as (13, 2)."""

    def architectures(self) -> list[int]:
        """Those that it compiles for, such as 90 for sm_90."""
        count = _INT()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        found = (_INT * count.value)()
        self._call("nvrtcGetSupportedArchs", ctypes.byref(found))
        return sorted(found)

    def architecture(self, capability: tuple[int, int]) -> int:
        """What to compile for a GPU: its own architecture, or an older one of the same major version, whose code it runs.

        Raises:
            DeviceError: The GPU is too old for the kernels, or too new for this NVRTC.
        """
        major, minor = capability
        own = 10 * major + minor
        if own < OLDEST:
            raise DeviceError(
                f"the GPU is of compute capability {major}.{minor}, and the kernels need 8.0 (Ampere) or newer: "
                "encode tensor.cpu(), which needs no GPU"
            )
        known = [a for a in self.architectures() if a // 10 == major and a <= own]
        if not known:
            raise DeviceError(
                f"NVRTC {self.version[0]}.{self.version[1]} does not know GPUs of compute capability {major}.{minor}: "
                "install a newer PyTorch"
            )
        return known[-1]

    def compile(
        self, source: str, headers: Mapping[str, str], architecture: int, options: Sequence[str]
    ) -> tuple[bytes, str]:
        """Machine code of a program, and the compiler's messages.

        Args:
            source: The program.
            headers: What it includes, by name.
            architecture: Such as 90 for sm_90.
            options: Of the compiler.

        Raises:
            DeviceError: It does not compile. The text has the compiler's messages.
        """
        program = _Program()
        names, texts = _array(list(headers)), _array(list(headers.values()))
        self._call(
            "nvrtcCreateProgram",
            ctypes.byref(program), source.encode(), b"kernels.cu", len(headers), texts, names,
        )  # fmt: skip
        try:
            every = [f"--gpu-architecture=sm_{architecture}", *options]
            code = self._library.nvrtcCompileProgram(program, len(every), _array(every))
            log = self._bytes(program, "nvrtcGetProgramLog").rstrip(b"\0").decode(errors="replace")
            if code != 0:
                raise DeviceError(
                    f"NVRTC {self.version[0]}.{self.version[1]} ({self.path}) cannot compile the kernels for "
                    f"sm_{architecture}: {self._error(code)}\n{log}"
                )
            return self._bytes(program, "nvrtcGetCUBIN"), log
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, program: ctypes.c_void_p, name: str) -> bytes:
        """What a function and its neighbour, which tells the size, give."""
        size = ctypes.c_size_t()
        self._call(f"{name}Size", program, ctypes.byref(size))
        found = ctypes.create_string_buffer(size.value)
        self._call(name, program, ctypes.byref(found))
        return found.raw

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            raise DeviceError(f"{name} of {self.path} failed: {self._error(code)}")

    def _error(self, code: int) -> str:
        text: bytes | None = self._library.nvrtcGetErrorString(code)
        return (text or b"error %d" % code).decode(errors="replace")


def _array(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))


@cache
def compiler(newest: int | None = None) -> Compiler:
    """The newest NVRTC of this machine: one of PyPI's packages, one beside PyTorch, or one of the system.

    Args:
        newest: The newest major version of CUDA that will do: that of the driver. A driver runs the code of all minor
            versions of its major version, and of older ones.

    Raises:
        DeviceError: There is none, or all are newer than that.
    """
    found, refused = [], []
    for path in _candidates():
        try:
            one = Compiler(path)
        except (OSError, AttributeError, DeviceError) as error:
            refused.append(f"{path}: {error}")
        else:
            found.append(one)
    fitting = [one for one in found if newest is None or one.version[0] <= newest]
    if fitting:
        return max(fitting, key=lambda one: one.version)
    if found:
        version = min(one.version for one in found)
        raise DeviceError(
            f"the driver is of CUDA {newest}, and the code of NVRTC {version[0]}.{version[1]} ({found[0].path}) needs CUDA "
            f"{version[0]}: install a newer driver, or a PyTorch for CUDA {newest}"
        )
    raise DeviceError(
        "NVRTC is not installed, which compiles the kernels. PyTorch's wheels for CUDA bring it; "
        f"`pip install nvidia-cuda-nvrtc` does, too. Tried: {'; '.join(refused) or 'nothing'}"
    )


def _candidates() -> Iterator[str]:
    """Where NVRTC may be, each place once."""
    seen = set()
    for folder in _folders():
        for path in sorted(folder.glob("libnvrtc*.so*")):
            real = path.resolve()
            if _NAME.fullmatch(path.name) and real not in seen:
                seen.add(real)
                yield str(path)
    for major in _MAJORS:
        yield f"libnvrtc.so.{major}"


def _folders() -> Iterator[Path]:
    """The folders of libraries in the packages `nvidia` and `torch`. Neither package is imported."""
    for package, patterns in (("nvidia", ("*/lib",)), ("torch", ("lib",))):
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            for pattern in patterns:
                yield from sorted(Path(root).glob(pattern))
