"""A driver whose kernels an emulator runs: functions with the driver's names and calling convention."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from unittest import mock

import emulated
import torch

from huffwire.cuda import _driver, _nvrtc, _program, _torch_device

CONTEXT, MODULE, STREAM, CUBIN = 0xC0, 0x30D, 77, b"\x7fELF\0machine code"


def _write(address: int | None, kind: type, value: object) -> None:
    assert address is not None
    kind.from_address(address).value = value  # type: ignore[attr-defined]


class Library:
    """What `ctypes.CDLL` of the driver's library would be. Keeps what it was asked to do."""

    def __init__(self) -> None:
        self._names: list[bytes] = []
        self._current: list[int] = []
        self._emulator = emulated.library()
        self.failing: dict[str, int] = {}
        self.launched: list[tuple[str, int, int, int]] = []
        self.loaded = 0
        self.errors: list[BaseException] = []
        self.version = 13020
        self._functions: dict[str, object] = {}

    def __getattr__(self, name: str) -> object:
        if name not in _driver._SIGNATURES:
            raise AttributeError(name)
        if name not in self._functions:
            work = getattr(self, f"_{name}", lambda *_: None)

            def call(*arguments: object) -> int:
                if name in self.failing:
                    return self.failing[name]
                try:
                    work(*arguments)
                except BaseException as error:  # ctypes would only print it.
                    self.errors.append(error)
                    return -1
                return 0

            kind = ctypes.CFUNCTYPE(ctypes.c_int, *_driver._SIGNATURES[name])
            self._functions[name] = kind(call)
        return self._functions[name]

    def _cuDriverGetVersion(self, out: int) -> None:
        _write(out, ctypes.c_int, self.version)

    def _cuDeviceGet(self, out: int, number: int) -> None:
        _write(out, ctypes.c_int, number)

    def _cuDevicePrimaryCtxRetain(self, out: int, device: int) -> None:
        _write(out, ctypes.c_void_p, CONTEXT + device)

    def _cuCtxPushCurrent_v2(self, context: int) -> None:
        self._current.append(context)

    def _cuCtxPopCurrent_v2(self, out: int) -> None:
        _write(out, ctypes.c_void_p, self._current.pop())

    def _cuModuleLoadData(self, out: int, image: bytes) -> None:
        assert self._current, "no context is current"
        self.loaded += 1
        assert image == CUBIN.split(b"\0")[0]  # As a callback sees it; the pointer is to all of it.
        _write(out, ctypes.c_void_p, MODULE)

    def _cuModuleGetFunction(self, out: int, module: int, name: bytes) -> None:
        assert module == MODULE and self._current
        self._names.append(name)
        _write(out, ctypes.c_void_p, len(self._names))

    def _cuFuncGetAttribute(self, out: int, attribute: int, function: int) -> None:
        _write(out, ctypes.c_int, 100 * function + attribute)

    def _cuLaunchKernel(self, function: int, *rest: int) -> None:
        ctas, y, z, threads, thread_y, thread_z, shared, stream, arguments, extra = rest
        assert (y, z, thread_y, thread_z, shared, extra) == (1, 1, 1, 1, 0, None)
        assert self._current, "no context is current"
        name = self._names[function - 1]
        self.launched.append((name.decode(), ctas, threads, stream))
        failed = self._emulator.emulator_launch(name, ctas, threads, len(self.launched), ctypes.c_void_p(arguments))
        assert not failed, name

    def _cuGetErrorName(self, code: int, out: int) -> None:
        _write(out, ctypes.c_char_p, b"CUDA_ERROR_%d" % code)

    def _cuGetErrorString(self, code: int, out: int) -> None:
        _write(out, ctypes.c_char_p, b"words of the driver")


class Stream:
    """What is used of `torch.cuda.Stream`."""

    cuda_stream = STREAM

    def synchronize(self) -> None:
        pass


@contextmanager
def machine() -> Iterator[Library]:
    """Within it `torch.device("cuda")` is a GPU whose memory is the CPU's. Yields its driver."""
    library = Library()
    properties = SimpleNamespace(major=9, minor=0, multi_processor_count=3)
    with ExitStack() as stack:

        def patch(owner: object, name: str, value: object) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        patch(_driver, "driver", lambda: _driver.Driver(library))  # type: ignore[arg-type]
        patch(_nvrtc, "compiler", lambda newest: SimpleNamespace(architecture=lambda capability: 90))
        patch(_program, "cubin", lambda compiler, architecture: CUBIN)
        patch(_torch_device, "_gpus", {})
        patch(_torch_device._Gpu, "place", staticmethod(lambda index: torch.device("cpu")))
        patch(torch.cuda, "get_device_properties", lambda index: properties)
        patch(torch.cuda, "current_device", lambda: 0)
        patch(torch.cuda, "current_stream", lambda index: Stream())
        patch(torch.cuda, "stream", nullcontext)
        patch(torch.cuda, "device", nullcontext)
        patch(torch.cuda, "is_current_stream_capturing", lambda: False)
        patch(torch.Tensor, "pin_memory", lambda tensor: tensor)
        patch(torch.Tensor, "record_stream", lambda tensor, stream: None)
        yield library
        if library.errors:
            raise library.errors[0]
