"""Bytes in the memory of devices, moved by the collectives of the process group that a caller gave.

Over NCCL nothing here waits on the host: the current stream waits for what the group does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from huffwire._errors import DeviceError
from huffwire.distributed import on_device
from huffwire.distributed.c10d import one_of
from huffwire.distributed.errors import PeerError

# Backends that bring the bytes of devices to the host, whatever they are called with.
_OF_HOSTS = {"gloo", "mpi", "undefined"}


def moves(group: object, device: torch.device) -> bool:
    """Whether a group moves the memory of a device from device to device."""
    if device.type != "cuda":
        return device.type == "cpu" and on_device.CODE_ALL
    try:
        backend: Any = group._get_backend(device)  # type: ignore[attr-defined]
        return backend.name().lower() not in _OF_HOSTS
    except (AttributeError, RuntimeError):
        return False


def device_of(group: object) -> torch.device | None:
    """The device of this rank whose memory a group moves; None if there is none."""
    if on_device.CODE_ALL:
        return torch.device("cpu")
    if torch.cuda.is_available() and moves(group, torch.device("cuda")):
        bound = getattr(group, "bound_device_id", None)
        if bound is not None and bound.type == "cuda" and bound.index is not None:
            # The one that `init_process_group(device_id=...)` was given.
            return torch.device("cuda", bound.index)
        return torch.device("cuda", torch.cuda.current_device())
    return None


class DeviceGroup:
    """The collectives of bytes that coded calls consist of.

    All tensors are contiguous, of torch.uint8 or of torch.int64, and on the device.

    Args:
        group: The process group.
        rank, size: This rank, and how many there are.
        device: The device of this rank.
    """

    def __init__(self, group: Any, rank: int, size: int, device: torch.device) -> None:
        self._group = group
        self.rank = rank
        self.size = size
        self.device = device

    def gather(self, output: torch.Tensor, mine: torch.Tensor) -> None:
        """As many bytes of every rank to every rank."""
        with _failures():
            one_of(self._group, "all_gather_single", "_allgather_base")(output, mine).wait()

    def exchange(
        self, output: torch.Tensor, mine: torch.Tensor, receives: list[int], sends: list[int]
    ) -> None:
        """So many bytes from every rank to every rank."""
        with _failures():
            call = one_of(self._group, "all_to_all_single", "alltoall_base")
            call(output, mine, receives, sends).wait()

    def broadcast(self, tensor: torch.Tensor, root: int) -> None:
        """Bytes of one rank to every rank."""
        options = dist.BroadcastOptions()
        options.rootRank = root
        with _failures():
            self._group.broadcast([tensor], options).wait()

    def refuse_capture(self) -> None:
        """Raises DeviceError if the current stream is being captured into a graph: the host cannot wait then."""
        if self.device.type != "cuda":
            return
        with torch.cuda.device(self.device):
            capturing = torch.cuda.is_current_stream_capturing()
        if capturing:
            raise DeviceError(
                "the stream is being captured into a graph: coded collectives wait for the GPU, which cannot be "
                "captured; call them before or after the capture"
            )

    def synchronize(self) -> None:
        """Waits on the host for all that the device has to do."""
        if self.device.type != "cpu":
            torch.get_device_module(self.device).synchronize(self.device)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise PeerError(
            f"another rank died, failed or did not answer within the time-out of the group: {error}"
        ) from error
