"""Collectives of tensors whose pieces are coded on their device: tensors of the CPU stand in, an emulator runs the kernels."""

from __future__ import annotations

import warnings
from unittest import mock

import pytest
import ranks
import torch
import torch.distributed as dist
from stand_in import gpu
from test_collectives import check, ordered_sum, tensor

from huffwire._errors import DeviceError

CODED = [torch.bfloat16, torch.float16, torch.float32]


def on_devices(rank: int, size: int, own: bool) -> None:
    """All collectives. With ``own`` only rank 0 codes on its device."""
    import huffwire.distributed as hd
    from huffwire.distributed import on_device

    on_device.CODE_ALL = not own or rank == 0
    hd.setup(piece=4096)
    with gpu() as device:
        for salt, dtype in enumerate(CODED):
            given = [tensor(peer, 3000, dtype, salt) for peer in range(size)]
            output = torch.empty(3000 * size, dtype=dtype)
            hd.all_gather_into_tensor(output, given[rank])
            check((dtype, "gather"), output, torch.cat(given))
            kept = given[rank].clone()
            hd.broadcast(kept, size - 1)
            check((dtype, "broadcast"), kept, given[size - 1])
            for op in (dist.ReduceOp.SUM, dist.ReduceOp.AVG):
                expected = ordered_sum(given, op == dist.ReduceOp.AVG)
                kept = given[rank].clone()
                hd.all_reduce(kept, op)
                check((dtype, op), kept, expected)
                part = torch.empty(3000 // size, dtype=dtype)
                hd.reduce_scatter_tensor(part, given[rank], op)
                check((dtype, op, "part"), part, expected.chunk(size)[rank])
            if dtype != torch.float32:
                kept = given[rank].clone()
                hd.all_reduce(kept, sum_dtype=torch.float32)
                check((dtype, "in f32"), kept, ordered_sum(given, False, torch.float32))
            split = torch.empty_like(output[:3000])
            hd.all_to_all_single(split, given[rank])
            parts = [each.chunk(size)[rank] for each in given]
            check((dtype, "all_to_all"), split, torch.cat(parts))
        launched = set(device.launches)
        for dtype, kernel in ((torch.int8, "encode_blocks_bytes"), (torch.int32, "encode_blocks_any")):
            integers = [tensor(peer, 3000, dtype) for peer in range(size)]
            output = torch.empty(3000 * size, dtype=dtype)
            hd.all_gather_into_tensor(output, integers[rank])
            check(dtype, output, torch.cat(integers))
            assert (kernel in device.launches) == on_device.CODE_ALL
        # Noise, of which a GPU's message is longer than the processor's may be.
        noise = [
            torch.randint(-(2**15), 2**15, (40000,), generator=torch.Generator().manual_seed(peer))
            for peer in range(size)
        ]
        noise = [each.to(torch.int16).view(torch.bfloat16) for each in noise]
        output = torch.empty(40000 * size, dtype=torch.bfloat16)
        hd.setup(piece=65536)
        hd.all_gather_into_tensor(output, noise[rank])
        check("noise", output, torch.cat(noise))
    assert bool(launched) == on_device.CODE_ALL
    totals = hd.stats()["all_gather"]
    assert totals["fallbacks"] == 0 and totals["bytes_after"] < totals["bytes_before"]


@pytest.mark.parametrize("transport", ["gloo", "tcp"])
def test_pieces_are_coded_on_devices(transport: str) -> None:
    ranks.run(on_devices, 2, False, transport=transport, seconds=60, limit=120)


def test_ranks_with_a_device_and_without_one_understand_each_other() -> None:
    ranks.run(on_devices, 3, True, seconds=60, limit=120)


def damaged(rank: int, size: int) -> None:
    """A damaged piece is refused by the device, too."""
    import huffwire.distributed as hd
    from huffwire.distributed import on_device, pieces

    on_device.CODE_ALL = True
    hd.setup(piece=4096)
    if rank == 0:
        sent = pieces.Coder.write_there

        def flipped(coder: pieces.Coder, place: pieces.Place, elements, buffer) -> int:
            length = sent(coder, place, elements, buffer)
            buffer[length - 9] ^= 4
            return length

        pieces.Coder.write_there = flipped
    kept = tensor(rank, 1000, torch.bfloat16, 1)
    with gpu():
        hd.broadcast(kept, 0)


def test_damaged_pieces_are_refused() -> None:
    _, answer = ranks.run(damaged, 2, seconds=20, may_fail=True)
    kind, text = answer
    assert kind == "PieceError" and "damaged piece from rank 0" in text, answer


def under_another_default(rank: int, size: int) -> None:
    """Collectives while new tensors are made elsewhere, as by torch.set_default_device."""
    import huffwire.distributed as hd
    from huffwire.distributed import memory, on_device

    given = [tensor(peer, 3000, torch.bfloat16, 1) for peer in range(size)]
    kept, output = given[rank].clone(), torch.empty(3000 * size, dtype=torch.bfloat16)
    on_device.CODE_ALL = memory.STAGE_ALL = rank == 0
    with gpu(), torch.device("meta"):
        hd.setup(piece=4096)
        # Over TCP the calling thread makes it.
        hd.all_reduce(kept)
        hd.all_gather_into_tensor(output, given[rank])
    check("gather", output, torch.cat(given))
    check("reduce", kept, ordered_sum(given, False))


@pytest.mark.parametrize("transport", ["gloo", "tcp"])
def test_the_default_device_does_not_matter(transport: str) -> None:
    ranks.run(under_another_default, 2, transport=transport, seconds=30)


def test_a_device_that_fails_is_not_the_senders_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from huffwire.distributed import on_device, pieces

    def fails(*_: object) -> None:
        raise DeviceError("no more launches")

    monkeypatch.setattr(on_device, "decode_into", fails)
    elements, buffer = torch.ones(8), torch.empty(4096, dtype=torch.uint8)
    place, coder = pieces.Place("broadcast", 0, 1, torch.float32, 32, 0, 1, 0, 32), pieces.Coder(None)
    coder.write(place, elements, True, buffer)
    with pytest.raises(DeviceError, match="no more launches"):
        coder.read_there(place, 1, buffer, elements)


def test_streams_are_waited_for_and_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from huffwire.distributed.memory import Memory

    module = mock.MagicMock()
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    device = torch.device("meta", 77)
    one = Memory(torch.empty(3, device=device))
    with one.on_device():
        pass
    with pytest.raises(ValueError, match="in the middle"), one.on_device():
        raise ValueError("in the middle")
    assert module.Stream.call_args_list == [mock.call(one.tensor.device)]
    stream = module.Stream.return_value
    assert stream.wait_event.call_count == 2 and stream.synchronize.call_count == 2


@pytest.mark.parametrize("dtype", CODED)
def test_averages_do_not_depend_on_the_device(dtype: torch.dtype) -> None:
    from huffwire.distributed.schedules import _divisor

    sums = torch.randn(1000, generator=torch.Generator().manual_seed(1)).to(dtype)
    for count in (2, 3, 7, 49, 251, 255, 256):
        assert torch.equal(sums / _divisor(sums, count), sums.clone().div_(count))


def test_without_kernels_the_processor_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    from huffwire.cuda import _torch_device
    from huffwire.distributed import on_device

    def none(device: torch.device) -> None:
        raise DeviceError("no NVRTC here")

    monkeypatch.setattr(_torch_device, "device_for", none)
    monkeypatch.setattr(on_device, "CODE_ALL", True)
    on_device._has_kernels.cache_clear()
    with pytest.warns(UserWarning, match="copied to the processor and coded there: no NVRTC here"):
        assert not on_device.codes(torch.ones(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not on_device.codes(torch.ones(3)), "one warning is enough"
    on_device._has_kernels.cache_clear()
