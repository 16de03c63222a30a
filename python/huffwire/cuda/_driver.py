"""The few functions of NVIDIA's driver that huffwire calls: modules are loaded, and kernels launched.

Memory, streams and contexts are PyTorch's. The driver's library comes with the driver itself, so nothing has to be
installed or linked, and `ctypes` is all that it takes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from huffwire._errors import DeviceError, OutOfMemoryError

_LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY = 2

# Attributes of functions, as the driver counts them.
_SHARED_BYTES = 1
_LOCAL_BYTES = 3
_REGISTERS = 4

_Handle = ctypes.c_void_p
_Out = ctypes.c_void_p  # The address of what a function writes to.
_INT, _UINT, _TEXT = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p

# Names as the library exports them: a new version of a function has a new name.
_SIGNATURES: dict[str, list[type]] = {
    "cuInit": [_UINT],
    "cuDriverGetVersion": [_Out],
    "cuDeviceGet": [_Out, _INT],
    "cuDevicePrimaryCtxRetain": [_Out, _INT],
    "cuCtxPushCurrent_v2": [_Handle],
    "cuCtxPopCurrent_v2": [_Out],
    "cuModuleLoadData": [_Out, _TEXT],
    "cuModuleGetFunction": [_Out, _Handle, _TEXT],
    "cuFuncGetAttribute": [_Out, _INT, _Handle],
    "cuLaunchKernel": [_Handle, *[_UINT] * 7, _Handle, _Out, _Out],
    "cuGetErrorName": [_INT, _Out],
    "cuGetErrorString": [_INT, _Out],
}


class Driver:
    """The driver of this machine.

    Args:
        library: Its library.

    Raises:
        DeviceError: It cannot be used.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for name, arguments in _SIGNATURES.items():
            try:
                function = getattr(library, name)
            except AttributeError:
                raise DeviceError(
                    f"{_LIBRARY} has no {name}: NVIDIA's driver is too old; install one for CUDA 12 or newer"
                ) from None
            function.argtypes, function.restype = arguments, _INT
        self._call("cuInit", 0)
        version = _INT()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        self.version = (version.value // 1000, version.value % 1000 // 10)
        """The newest CUDA that the driver knows, such as (12, 8)."""

    def context(self, device: int) -> int:
        """The primary context of a device, which is also PyTorch's. It is never given back."""
        number, context = _INT(), _Handle()
        self._call("cuDeviceGet", ctypes.byref(number), device)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), number.value)
        return context.value or 0

    @contextmanager
    def current(self, context: int) -> Iterator[None]:
        """Makes a context that of this thread. A thread that PyTorch has not yet used has none."""
        self._call("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(_Handle()))

    def load(self, cubin: bytes) -> int:
        """Loads a module into the current context. It stays there."""
        module = _Handle()
        self._call("cuModuleLoadData", ctypes.byref(module), cubin)
        return module.value or 0

    def function(self, module: int, name: str) -> Function:
        """A kernel of a module."""
        function = _Handle()
        self._call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        return Function(self, function.value or 0)

    def attribute(self, function: int, attribute: int) -> int:
        """A property of a kernel."""
        value = _INT()
        self._call("cuFuncGetAttribute", ctypes.byref(value), attribute, function)
        return value.value

    def launch(
        self, function: int, ctas: int, threads: int, stream: int, arguments: Sequence[ctypes._SimpleCData[int]]
    ) -> None:
        """Starts a kernel in a stream of the current context."""
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
        self._call(
            "cuLaunchKernel", function, ctas, 1, 1, threads, 1, 1, 0, stream, ctypes.byref(pointers), None
        )

    def _call(self, name: str, *arguments: object) -> None:
        """Calls a function of the driver.

        Raises:
            OutOfMemoryError: There is no memory on the device.
            DeviceError: Any other failure.
        """
        code = getattr(self._library, name)(*arguments)
        if code == 0:
            return
        text = f"{name} failed: {self._text('cuGetErrorName', code)} ({self._text('cuGetErrorString', code)})"
        if code == _OUT_OF_MEMORY:
            raise OutOfMemoryError(text)
        raise DeviceError(text)

    def _text(self, name: str, code: int) -> str:
        text = ctypes.c_char_p()
        getattr(self._library, name)(code, ctypes.byref(text))
        return (text.value or b"error %d" % code).decode(errors="replace")


class Function:
    """A kernel in the memory of a device.

    Args:
        driver: The driver that loaded it.
        handle: What the driver knows it by.
    """

    def __init__(self, driver: Driver, handle: int) -> None:
        self._driver, self.handle = driver, handle

    @property
    def registers(self) -> int:
        """Of each thread."""
        return self._driver.attribute(self.handle, _REGISTERS)

    @property
    def shared_bytes(self) -> int:
        """Of each CTA."""
        return self._driver.attribute(self.handle, _SHARED_BYTES)

    @property
    def local_bytes(self) -> int:
        """Of each thread: what did not fit into registers."""
        return self._driver.attribute(self.handle, _LOCAL_BYTES)


@cache
def driver() -> Driver:
    """The driver of this machine, loaded once.

    Raises:
        DeviceError: There is none, or it cannot be used.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise DeviceError(
            f"NVIDIA's driver is not installed ({error}): install it, or give tensors of the CPU"
        ) from None
    return Driver(library)
