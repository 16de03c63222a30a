"""GPUs by way of PyTorch: its memory, its streams, its contexts. Kernels are loaded and launched by the driver.

What is loaded is loaded once for each GPU and process: the kernels, and the tables of each list of codebook sets. The rest
belongs to one call, on one stream: the one that is PyTorch's current stream when the call begins.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch

from huffwire._errors import DeviceError
from huffwire._huffwire import Codebooks
from huffwire.cuda import _driver, _nvrtc, _program
from huffwire.cuda._device import Argument, Device, Span
from huffwire.cuda._driver import Function
from huffwire.cuda._tables import tables

# How many lists of codebook sets keep their tables on a GPU. A list takes some hundred kilobytes.
_KEPT_TABLES = 16


# Tests put an emulator here, which then has the tensors of the CPU.
STAND_IN: Device | None = None


def device_for(device: torch.device) -> Device | None:
    """The kernels of a device, on PyTorch's current stream of it; None for a device that has none, such as the CPU.

    Raises:
        DeviceError: It is a GPU that cannot be used.
    """
    if device.type != "cuda":
        return STAND_IN if device.type == "cpu" else None
    gpu = _gpu(torch.cuda.current_device() if device.index is None else device.index)
    stream = torch.cuda.current_stream(gpu.index)
    with torch.cuda.device(gpu.index):
        capturing = torch.cuda.is_current_stream_capturing()
    if capturing:
        raise DeviceError(
            "the stream is being captured into a graph: huffwire's calls cannot be captured, because they may load "
            "kernels or wait for the GPU; call them before or after the capture"
        )
    return TorchDevice(gpu, stream)


def tables_for(device: Device, sets: Sequence[Codebooks]) -> Span:
    """The tables of codebook sets in the memory of a device."""
    return device.tables(sets) if isinstance(device, TorchDevice) else device.upload(tables(sets))


def span_of(tensor: torch.Tensor) -> Span:
    """The memory of a contiguous tensor."""
    flat = tensor.detach().view(-1).view(torch.uint8) if tensor.numel() else None
    # The pointer of an empty tensor may be 0.
    return Span(0 if flat is None else flat.data_ptr(), tensor.nbytes, flat)


def tensor_of(span: Span) -> torch.Tensor:
    """A span that `Device.empty` made, or a part of one, as bytes."""
    flat = span.owner
    assert isinstance(flat, torch.Tensor)
    start = span.address - flat.data_ptr()
    return flat[start : start + span.size]


class TorchDevice:
    """See `huffwire.cuda._device.Device`.

    Args:
        gpu: What is loaded on the GPU.
        stream: Where everything runs.
    """

    def __init__(self, gpu: _Gpu, stream: torch.cuda.Stream) -> None:
        self._gpu, self._stream = gpu, stream

    @property
    def multiprocessors(self) -> int:
        """How many CTAs of full size run at once."""
        return self._gpu.multiprocessors

    def empty(self, size: int) -> Span:
        """Memory of PyTorch's allocator, which belongs to the stream: what is freed is used again in its order.

        Raises:
            torch.OutOfMemoryError: There is none left.
        """
        with torch.cuda.stream(self._stream):
            memory = torch.empty(size, dtype=torch.uint8, device=self._gpu.device)
        return Span(memory.data_ptr(), size, memory)

    def upload(self, data: bytes) -> Span:
        """A copy of bytes of the host. Nothing waits: the copy begins from pinned memory that PyTorch keeps until then."""
        if not data:
            return self.empty(0)
        with torch.cuda.stream(self._stream):
            pinned = torch.frombuffer(bytearray(data), dtype=torch.uint8).pin_memory()
            memory = pinned.to(self._gpu.device, non_blocking=True)
        return Span(memory.data_ptr(), len(data), memory)

    def read(self, span: Span) -> bytes:
        """The bytes of a span. Waits for the stream."""
        if not span.size:
            return b""
        with torch.cuda.stream(self._stream):
            here = tensor_of(span).cpu()
        return ctypes.string_at(here.data_ptr(), span.size)

    def launch(self, kernel: str, ctas: int, threads: int, *arguments: Argument) -> None:
        """Starts a kernel on the stream."""
        values = [ctypes.c_uint64(a.address) if isinstance(a, Span) else a for a in arguments]
        self._gpu.launch(kernel, ctas, threads, self._stream.cuda_stream, values)

    def tables(self, sets: Sequence[Codebooks]) -> Span:
        """The tables of codebook sets, which are uploaded once."""
        span = self._gpu.tables(self, sets)
        # The tables were made on the stream of the first call. Memory that other streams use is told to the allocator.
        tensor_of(span).record_stream(self._stream)
        return span

    def wait(self) -> None:
        """Waits for all that was launched on the stream."""
        self._stream.synchronize()


class _Gpu:
    """What is loaded on a GPU.

    Args:
        index: Its number, as PyTorch counts.

    Raises:
        DeviceError: It cannot be used.
    """

    def __init__(self, index: int) -> None:
        self.index, self.device = index, self.place(index)
        self.process = os.getpid()
        if torch.version.hip is not None:
            raise DeviceError("huffwire's kernels are for GPUs of NVIDIA: encode tensor.cpu(), which needs no GPU")
        properties = torch.cuda.get_device_properties(index)
        self.multiprocessors: int = properties.multi_processor_count
        self._driver = _driver.driver()
        compiler = _nvrtc.compiler(self._driver.version[0])
        architecture = compiler.architecture((properties.major, properties.minor))
        cubin = _program.cubin(compiler, architecture)
        self._context = self._driver.context(index)
        with self._driver.current(self._context):
            self._module = self._driver.load(cubin)
        self._functions: dict[str, Function] = {}
        self._tables: OrderedDict[tuple[Codebooks, ...], Span] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def place(index: int) -> torch.device:
        """Where PyTorch allocates its memory."""
        return torch.device("cuda", index)

    def launch(
        self,
        kernel: str,
        ctas: int,
        threads: int,
        stream: int,
        arguments: Sequence[ctypes.c_uint32 | ctypes.c_uint64],
    ) -> None:
        """Starts a kernel."""
        with self._driver.current(self._context):
            function = self._functions.get(kernel)
            if function is None:
                # Two threads may both do this, and find the same function.
                function = self._functions[kernel] = self._driver.function(self._module, kernel)
            self._driver.launch(function.handle, ctas, threads, stream, arguments)

    def tables(self, device: TorchDevice, sets: Sequence[Codebooks]) -> Span:
        """The tables of codebook sets, for all streams."""
        # Not by their ids: two sets of the same books may bind them to other planes.
        key = tuple(sets)
        with self._lock:
            span = self._tables.get(key)
            if span is None:
                span = self._tables[key] = device.upload(tables(sets))
                # Other streams may use the tables from now on, without an order between the streams.
                device.wait()
                if len(self._tables) > _KEPT_TABLES:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(key)
            return span


_gpus: dict[int, _Gpu] = {}
_gpus_lock = threading.Lock()


def _gpu(index: int) -> _Gpu:
    """What is loaded on a GPU, loaded by the first call.

    Raises:
        DeviceError: The GPU cannot be used.
    """
    with _gpus_lock:
        gpu = _gpus.get(index)
        if gpu is None:
            gpu = _gpus[index] = _Gpu(index)
    if gpu.process != os.getpid():
        raise DeviceError(
            "this process was forked from one that had used the GPU, which CUDA does not allow: start processes with "
            'the method "spawn" (torch.multiprocessing.set_start_method)'
        )
    return gpu
