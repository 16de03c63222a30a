"""What devices do, measured: whether they can code, how fast, and how fast their group moves bytes.

Each rank measures for itself. `settings` has all of them agree on the slowest figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from huffwire._errors import DeviceError
from huffwire._huffwire import Codebooks
from huffwire.cuda._messages import Checks
from huffwire.distributed import on_device
from huffwire.distributed.device_group import DeviceGroup
from huffwire.distributed.policy import Codec, Link

# Bytes of tensors that are coded to measure, one after the other until they take long enough: a device works on much at
# once, and what it has to do before and after does not depend on the size.
_SIZES = (64 << 10, 2 << 20, 32 << 20, 128 << 20)
_LONG = 3e-3
_ROUNDS = 4
# Bytes that a rank receives to measure the link.
_MOVED = 64 << 20


def problem(device: torch.device) -> str:
    """Why a device cannot code; empty if it can."""
    try:
        return "" if on_device.kernels_of(device) is not None else "the device has no kernels"
    except DeviceError as error:
        return str(error)[:300]


def _seconds(group: DeviceGroup, work: Callable[[], object]) -> float:
    """How long the device takes for something: the best of a few rounds."""
    found = []
    for _ in range(_ROUNDS):
        group.synchronize()
        start = time.perf_counter()
        work()
        group.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)


def measured_codec(group: DeviceGroup, codebooks: Codebooks | None) -> Codec:
    """Speed of the device of this rank, with bf16 elements like those of a model."""
    whole = smallest = 0.0
    for size in _SIZES:
        encode, decode = _coding(group, codebooks, size)
        whole = encode + decode
        smallest = smallest or whole
        if min(encode, decode) > _LONG:
            break
    # What a small message takes beyond its share of the large one.
    fixed = max(smallest - whole * _SIZES[0] / size, 0.0)
    return Codec(size / encode, size / decode, fixed)


def _coding(group: DeviceGroup, codebooks: Codebooks | None, size: int) -> tuple[float, float]:
    """Seconds for encoding and for decoding so many bytes of elements."""
    device = group.device
    generator = torch.Generator(device).manual_seed(1)
    elements = torch.randn(size // 2, generator=generator, device=device).bfloat16()
    restored = torch.empty_like(elements)
    bound = on_device.bound(elements.dtype, size)
    room = torch.empty(bound, dtype=torch.uint8, device=device)
    length = torch.empty(1, dtype=torch.int64, device=device)
    encode = _seconds(
        group, lambda: on_device.encode_there(elements, codebooks, 0, room, length)
    )
    message, checks = room[: int(length)], Checks()
    decode = _seconds(
        group, lambda: on_device.decode_into(message, codebooks, 0, restored, checks)
    )
    checks.wait()
    return encode, decode


def measured_link(group: DeviceGroup) -> Link:
    """What the group does with bytes of devices, as this rank sees it. All ranks must call this together."""
    few = torch.zeros(16, dtype=torch.int64, device=group.device)
    heard = few.new_empty(few.numel() * group.size)

    def tell() -> None:
        group.gather(heard, few)
        heard.cpu()

    tell()
    latency = _seconds(group, tell)
    many = torch.zeros(_MOVED // group.size, dtype=torch.uint8, device=group.device)
    received = many.new_empty(many.numel() * group.size)
    group.gather(received, many)
    seconds = _seconds(group, lambda: group.gather(received, many))
    return Link(many.numel() * (group.size - 1) / max(seconds - latency, 1e-6), latency)
