"""Collectives whose coded bytes stay on devices: tensors of the CPU stand in, an emulator runs the kernels, and the gloo group
that is wrapped moves the bytes."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from unittest import mock

import pytest
import ranks
import torch
import torch.distributed as dist
from torch.multiprocessing.reductions import StorageWeakRef
import training
from stand_in import gpu
from test_collectives import check, ordered_sum, tensor

CODED = [torch.bfloat16, torch.float32]
# A type that is coded as another one, types whose codebooks kernels make, and one that has no codes.
OTHERS = [torch.complex64, torch.float64, torch.int32, torch.bits8]


def run(function: Callable, size: int, *args: object, **options: object) -> list:
    return ranks.run(function, size, *args, **{"transport": "device", "limit": 120, **options})


def stand_in() -> None:
    """Has the package take the tensors of the CPU for tensors of devices, whose memory the group moves."""
    from huffwire.distributed import on_device

    on_device.CODE_ALL = True


def sequence_of_pieces() -> int:
    """How many calls went in pieces through the host."""
    from huffwire.distributed.groups import coded_group

    return coded_group(dist.group.WORLD).engine_and_policy[0]._sequence


@contextmanager
def devices(rank: int, nccl: bool) -> Iterator[tuple[torch.device, list[str]]]:
    """Where a rank has its tensors, and what the emulator launches for them: nothing where GPUs are real."""
    if nccl:
        torch.cuda.set_device(rank)
        yield torch.device("cuda", rank), []
    else:
        stand_in()
        with gpu() as device:
            yield torch.device("cpu"), device.launches


def collectives(rank: int, size: int, compression: str, nccl: bool) -> None:
    import huffwire.distributed as hd

    with devices(rank, nccl) as (place, launches):
        # Several steps for each tensor.
        hd.setup(piece=4096, compression=compression)
        for salt, dtype in enumerate(CODED + OTHERS):
            count = 600 * size
            given = [tensor(peer, count, dtype, salt) for peer in range(size)]
            mine = given[rank].to(place)
            output = torch.empty(count * size, dtype=dtype, device=place)
            hd.all_gather_into_tensor(output, mine)
            check((dtype, "gather"), octets(output), torch.cat([octets(each) for each in given]))
            # Uneven, one of them nothing, and not waited for at once.
            outputs = [torch.empty(150 * peer, dtype=dtype, device=place) for peer in range(size)]
            work = hd.all_gather(outputs, mine[: 150 * rank].clone(), async_op=True)
            assert work.wait() and work.is_completed() and work.is_success()
            assert work.exception() is None and work.get_future().wait() is not None
            for peer, found in enumerate(outputs):
                check((dtype, "uneven"), octets(found), octets(given[peer][: 150 * peer]))
            for root in range(size):
                kept = mine.clone()
                hd.broadcast(kept, root)
                check((dtype, "broadcast", root), octets(kept), octets(given[root]))
            parted = torch.empty_like(mine)
            hd.all_to_all_single(parted, mine)
            parts = [octets(each[600 * rank : 600 * (rank + 1)]) for each in given]
            check((dtype, "all_to_all"), octets(parted), torch.cat(parts))
            if dtype is torch.bits8:
                continue
            for op in (dist.ReduceOp.SUM, dist.ReduceOp.AVG):
                average = op == dist.ReduceOp.AVG
                if average and dtype is torch.int32:
                    continue
                expected = ordered_sum(given, average)
                kept = mine.clone()
                hd.all_reduce(kept, op)
                check((dtype, op), kept.cpu(), expected)
                part = torch.empty(600, dtype=dtype, device=place)
                hd.reduce_scatter_tensor(part, mine, op)
                check((dtype, op, "part"), part.cpu(), expected.chunk(size)[rank])
    for kernel in ("encode_blocks_bf16", "encode_blocks_any"):
        assert nccl or (kernel in launches) == (compression == "always")
    assert sequence_of_pieces() == 0
    totals = hd.stats()
    assert not any(each["fallbacks"] for each in totals.values())
    assert all(each["pieces"] for each in totals.values())


def octets(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.cpu().view(torch.uint8)


@pytest.mark.parametrize("compression", ["always", "raw"])
def test_collectives_of_two_ranks(compression: str) -> None:
    run(collectives, 2, compression, False, seconds=60)


def test_collectives_of_four_ranks() -> None:
    run(collectives, 4, "always", False, seconds=100)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="NCCL takes a GPU for each rank, and there are not two")
@pytest.mark.parametrize("compression", ["always", "raw"])
def test_collectives_over_nccl(compression: str) -> None:
    run(collectives, 2, compression, True, backend="cpu:gloo,cuda:nccl", seconds=60, limit=300)


def corners(rank: int, size: int) -> None:
    """Sizes that do not divide, nothing at all, sums in other types and in place, split sizes that differ much."""
    import huffwire.distributed as hd

    stand_in()
    with gpu():
        hd.setup(piece=4096)
        for count in (0, 1, 3, 1025):
            given = [tensor(peer, count, torch.bfloat16, count) for peer in range(size)]
            for sum_dtype in (None, torch.float32):
                kept = given[rank].clone()
                hd.all_reduce(kept, dist.ReduceOp.AVG, sum_dtype=sum_dtype)
                check((count, sum_dtype), kept, ordered_sum(given, True, sum_dtype))
            kept = given[rank].clone()
            hd.broadcast(kept, 0)
            check((count, "broadcast"), kept, given[0])
            output = torch.empty(count * size, dtype=torch.bfloat16)
            hd.all_gather_into_tensor(output, given[rank])
            check((count, "gather"), output, torch.cat(given))
            # From its place in the output.
            start = count * rank
            output.fill_(0)[start : start + count] = given[rank]
            hd.all_gather_into_tensor(output, output[start : start + count])
            check((count, "in place"), output, torch.cat(given))
        given = [tensor(peer, 500 * size, torch.float32, 7) for peer in range(size)]
        kept = given[rank].clone()
        hd.reduce_scatter_tensor(kept[500 * rank : 500 * (rank + 1)], kept)
        check("part in place", kept[500 * rank : 500 * (rank + 1)], ordered_sum(given, False)[500 * rank : 500 * (rank + 1)])

        # Rank r sends 2000 r (p + 1) elements to rank p: the ranks need 0, 4, 8 ... steps.
        def sent(giver: int, taker: int) -> int:
            return 1000 * giver * (taker + 1)

        sends, receives = [sent(rank, peer) for peer in range(size)], [sent(peer, rank) for peer in range(size)]
        given = [tensor(peer, sum(sent(peer, p) for p in range(size)), torch.bfloat16, 9) for peer in range(size)]
        output = torch.empty(sum(receives), dtype=torch.bfloat16)
        work = hd.all_to_all_single(output, given[rank], receives, sends, async_op=True)
        assert work.result()[0] is output
        parts = [each.split([sent(peer, p) for p in range(size)])[rank] for peer, each in enumerate(given)]
        check("splits", output, torch.cat(parts))
        # Another default device, and tensors that want gradients.
        given = [tensor(peer, 900, torch.bfloat16, 3) for peer in range(size)]
        kept = given[rank].clone().requires_grad_()
        with torch.device("meta"):
            hd.all_reduce(kept)
        check("meta", kept.detach(), ordered_sum(given, False))
        assert kept._version > 0
    assert sequence_of_pieces() == 0


def test_corners() -> None:
    run(corners, 2, seconds=60)
    run(corners, 3, seconds=60)


def like_pieces(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    stand_in()
    given = tensor(rank, 5001, torch.bfloat16)
    with gpu():
        found = []
        for transport in ("device", "gloo"):
            hd.setup(piece=2048, transport=transport)
            kept = given.clone()
            hd.all_reduce(kept, dist.ReduceOp.AVG)
            found.append(kept)
    check("transports", *found)


def test_sums_are_those_of_pieces() -> None:
    run(like_pieces, 4, seconds=60)


def passed_on(rank: int, size: int) -> None:
    """Messages of two ranks, other operations, and tensors of the host, are the group's or go in pieces."""
    import huffwire.distributed as hd
    from huffwire.distributed import on_device

    stand_in()
    with gpu() as device:
        hd.setup()
        kept = tensor(rank, 900, torch.bfloat16)
        if rank == 0:
            hd.send(kept, 1)
        else:
            assert hd.recv(kept, 0) == 0
            check("sent", kept, tensor(0, 900, torch.bfloat16))
        kept = tensor(rank, 900, torch.float32)
        hd.all_reduce(kept, dist.ReduceOp.MAX)
        assert not device.launches
        totals = hd.stats()
        assert totals["send"]["fallbacks"] == totals["all_reduce"]["fallbacks"] == 1
        assert sequence_of_pieces() == 0
    on_device.CODE_ALL = False
    hd.setup()
    given = [tensor(peer, 900, torch.bfloat16) for peer in range(size)]
    kept = given[rank].clone()
    hd.all_reduce(kept)
    check("of the host", kept, ordered_sum(given, False))
    assert sequence_of_pieces() == 1


def test_what_is_passed_on() -> None:
    run(passed_on, 2, seconds=30)


def raises(function: Callable[[], object]) -> tuple[str, str]:
    try:
        function()
    except Exception as error:
        return type(error).__name__, str(error)
    return "", ""


def differing(rank: int, size: int, what: str) -> list[tuple[str, str]]:
    """A call in which rank 0 differs from all others, and the next one."""
    import huffwire.distributed as hd
    from huffwire.distributed import pieces
    from huffwire.distributed.groups import coded_group

    stand_in()
    other = rank == 0
    with gpu():
        hd.setup(piece=4096)
        count, dtype = 1200, torch.bfloat16
        if what == "shape":
            count -= 12 * other
        elif what == "dtype" and other:
            dtype = torch.float16
        elif what == "codebooks" and other:
            coded_group(dist.group.WORLD)._device_engine.coder.generation = b"12345678"
        elif what == "version" and other:
            pieces.VERSION += 1
        given = tensor(rank, count, dtype)

        def call() -> object:
            if what == "collective" and other:
                return hd.broadcast(given, 0)
            if what == "root":
                return hd.broadcast(given, rank % 2)
            if what == "empty":
                return hd.broadcast(given[:0] if other else given, 0)
            if what == "splits":
                # Rank 0 expects less than what rank 1 sends to it.
                output = torch.empty(1200 - 10 * other, dtype=dtype)
                receives = [1200 // size] * size
                receives[1] -= 10 * other
                return hd.all_to_all_single(output, given, receives, [1200 // size] * size)
            if what == "sizes":
                # Of rank 1 the others, which are right, expect more than rank 0 does.
                counts = [400, 400 if other else 800, 400]
                return hd.all_gather([torch.empty(n, dtype=dtype) for n in counts], given[:counts[rank]].clone())
            if what == "gather":
                return hd.all_gather_into_tensor(torch.empty(size * count, dtype=dtype), given)
            return hd.all_reduce(given)

        if what == "gather":
            given, count = given[: 1100 + 100 * other].clone(), 1100 + 100 * other
        found = [raises(call), raises(lambda: hd.all_reduce(given))]
        if what == "version" and other:
            pieces.VERSION -= 1
        hd.setup()
        given = tensor(rank, 500, torch.bfloat16)
        hd.all_reduce(given)
        check("mended", given, ordered_sum([tensor(peer, 500, torch.bfloat16) for peer in range(size)], False))
    return found


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("shape", "DisagreementError", "the shapes of their tensors differ"),
        ("gather", "DisagreementError", "the shapes of their tensors differ"),
        ("empty", "DisagreementError", "the shapes of their tensors differ"),
        ("sizes", "DisagreementError", "tensors"),
        ("dtype", "DisagreementError", "has a tensor of"),
        ("collective", "OutOfStepError", "must call the same collectives"),
        ("root", "OutOfStepError", "stage"),
        ("codebooks", "CodebookError", "codes with the codebooks"),
        ("version", "DisagreementError", "pieces of version"),
    ],
)
def test_all_ranks_see_that_they_differ(what: str, error: str, text: str) -> None:
    for first, second in run(differing, 3, what, seconds=10):
        assert first[0] == error and text in first[1], first
        assert second[0] == "GroupError" and "failed earlier" in second[1], second


def test_split_sizes_that_differ() -> None:
    here, *others = run(differing, 3, "splits", seconds=10)
    assert here[0][0] == "DisagreementError" and here[1][0] == "GroupError", here
    assert "rank 1 sends another tensor" in here[0][1]
    for first, second in others:
        # They learn of it at the next call.
        assert first == ("", "") and second[0] == "PeerError" and "rank 0 failed" in second[1], (first, second)


def flips(rank: int, size: int, name: str, step: int) -> list[tuple[str, str]]:
    """A bit changes on its way to rank 1, in one step of a call. The next call follows."""
    import huffwire.distributed as hd
    from huffwire.distributed.device_group import DeviceGroup

    stand_in()
    with gpu():
        hd.setup(piece=1 << 20)
        moved = []

        def flipping(method: str) -> None:
            original = getattr(DeviceGroup, method)

            def changed(self: DeviceGroup, output: torch.Tensor, *rest: object) -> None:
                original(self, output, *rest)
                if rank == 1 and output.dtype == torch.uint8:
                    moved.append(method)
                    if len(moved) == step + 1:
                        output[40] ^= 4

            setattr(DeviceGroup, method, changed)

        for method in ("gather", "exchange", "broadcast"):
            flipping(method)
        given = tensor(rank, 1200, torch.bfloat16)
        calls = {
            "all_gather": lambda: hd.all_gather_into_tensor(given.new_empty(1200 * size), given),
            "all_reduce": lambda: hd.all_reduce(given),
            "reduce_scatter": lambda: hd.reduce_scatter_tensor(given.new_empty(1200 // size), given),
            "all_to_all": lambda: hd.all_to_all_single(torch.empty_like(given), given),
            "broadcast": lambda: hd.broadcast(given, 0),
        }
        return [raises(calls[name]), raises(lambda: hd.all_reduce(given))]


@pytest.mark.parametrize(
    ("name", "step"),
    [("all_gather", 0), ("all_reduce", 1), ("reduce_scatter", 0), ("all_to_all", 0), ("broadcast", 0)],
)
def test_a_flipped_bit_raises(name: str, step: int) -> None:
    for rank, (first, second) in enumerate(run(flips, 3, name, step, seconds=10)):
        if rank == 1:
            assert first[0] == "PieceError" and "damaged piece from rank" in first[1], first
            assert second[0] == "GroupError", second
        else:
            assert first == ("", ""), first
            assert second[0] == "PeerError" and "rank 1 failed" in second[1], second


def test_nobody_gets_a_sum_of_what_was_damaged() -> None:
    for rank, (first, second) in enumerate(run(flips, 3, "all_reduce", 0, seconds=10)):
        if rank == 1:
            assert first[0] == "PieceError" and "damaged piece from rank 0" in first[1], first
        else:
            assert first[0] == "PeerError" and "rank 1 received a damaged message" in first[1], first
        assert second[0] == "GroupError", second


def misplaced(rank: int, size: int, what: str) -> tuple[str, str]:
    """Intact messages of the same elements arrive where they do not belong: at another rank, or in a later call."""
    import huffwire.distributed as hd
    from huffwire.distributed.device_group import DeviceGroup

    stand_in()
    with gpu():
        hd.setup(piece=1 << 20)
        original, arrived = DeviceGroup.exchange, []

        def changed(
            self: DeviceGroup, output: torch.Tensor, mine: torch.Tensor, receives: list[int], sends: list[int]
        ) -> None:
            if what == "rank" and rank == 0:
                assert sends[1] == sends[2]
                mine = mine.roll(sends[1])
            original(self, output, mine, receives, sends)
            arrived.append(output.clone())
            if what == "call" and rank == 1 and len(arrived) == 2:
                assert not torch.equal(output, arrived[0])
                output.copy_(arrived[0])

        DeviceGroup.exchange = changed
        # The parts of all ranks are the same.
        part = tensor(0, 400, torch.bfloat16)
        output = torch.empty(400 * size, dtype=torch.bfloat16)
        call = lambda: hd.all_to_all_single(output, part.repeat(size))  # noqa: E731
        if what == "call":
            call()
        return raises(call)


@pytest.mark.parametrize(("what", "refused"), [("rank", {1, 2}), ("call", {1})])
def test_intact_messages_in_wrong_places_are_refused(what: str, refused: set[int]) -> None:
    for rank, (name, text) in enumerate(run(misplaced, 3, what, seconds=10)):
        if rank in refused:
            assert name == "PieceError" and "belongs to another context" in text, text
        else:
            assert (name, text) == ("", "")


def failing(rank: int, size: int, where: str) -> list[tuple[str, str]]:
    """Rank 1 fails by itself. What it calls next, and what others see."""
    import huffwire.distributed as hd
    from huffwire import DeviceError
    from huffwire.distributed import device_group, letters, on_device

    stand_in()
    with gpu():
        hd.setup(piece=1 << 20)
        given = tensor(rank, 1200, torch.bfloat16)

        def fails(*_: object) -> None:
            raise torch.OutOfMemoryError("no memory") if where == "encode" else DeviceError("gone")

        if rank == 1 and where in ("encode", "decode"):
            setattr(on_device, {"encode": "encode_there", "decode": "decode_into"}[where], fails)
        if rank == 1 and where == "letter":
            original = device_group.DeviceGroup.gather

            def changed(self: object, output: torch.Tensor, mine: torch.Tensor) -> None:
                original(self, output, mine)
                if output.dtype == torch.int64:
                    # The length that rank 0 tells.
                    output[letters._LENGTHS] = 1 << 40

            device_group.DeviceGroup.gather = changed
        if rank == 1 and where == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        gather = lambda: hd.all_gather_into_tensor(given.new_empty(1200 * size), given)  # noqa: E731
        found, store = [raises(gather)], dist.distributed_c10d._get_default_store()
        # The others hear of it in the same step, and not from what rank 1 calls next.
        if where == "encode" and rank == 1:
            store.wait(["heard"], timedelta(seconds=5))
        elif where == "encode" and rank == 0:
            store.set("heard", "")
        return [*found, raises(gather)]


def test_a_rank_that_lacks_memory_tells_the_others() -> None:
    zero, one, two = run(failing, 3, "encode", seconds=10)
    assert one[0] == ("OutOfMemoryError", "no memory") and one[1][0] == "GroupError", one
    for first, second in (zero, two):
        assert first[0] == "PeerError" and "rank 1 failed" in first[1], first
        assert second[0] == "GroupError", second


def test_a_rank_that_fails_at_the_end_tells_the_others_at_the_next_call() -> None:
    zero, one, two = run(failing, 3, "decode", seconds=10)
    assert one[0] == ("DeviceError", "gone") and one[1][0] == "GroupError", one
    for first, second in (zero, two):
        assert first == ("", "")
        assert second[0] == "PeerError" and "rank 1 failed" in second[1], second


def test_a_damaged_letter_and_a_killed_rank_end_in_errors() -> None:
    zero, one = run(failing, 2, "letter", seconds=3)
    assert one[0][0] == "PieceError" and "damaged letter from rank 0" in one[0][1], one
    assert zero[0][0] == "PeerError" and zero[1][0] == "GroupError", zero
    zero, dead = run(failing, 2, "killed", seconds=3)
    assert isinstance(dead, ranks.Died)
    assert zero[0][0] == "PeerError" and "died, failed or did not answer" in zero[0][1], zero


def settings_differ(rank: int, size: int, what: str) -> tuple[str, str]:
    import huffwire.distributed as hd
    from huffwire.distributed import on_device

    on_device.CODE_ALL = what != "devices" or rank == 0
    with gpu():
        return raises(lambda: hd.all_reduce(tensor(rank, 100, torch.bfloat16)))


def test_settings_that_differ() -> None:
    for name, text in run(
        settings_differ,
        3,
        "transport",
        each=lambda rank: {"HUFFWIRE_TRANSPORT": ("gloo", "device", "device")[rank]},
    ):
        assert name == "DisagreementError" and "differ in transport" in text, text
    for name, text in run(
        settings_differ,
        2,
        "compression",
        each=lambda rank: {"HUFFWIRE_COMPRESSION": ("raw", "always")[rank]},
    ):
        assert name == "DisagreementError" and "differ in compression" in text, text
    for name, text in run(settings_differ, 2, "devices"):
        assert name == "DisagreementError" and "differ in devices" in text, text


def options(rank: int, size: int) -> None:
    import huffwire.distributed as hd
    from huffwire import OptionError

    for wrong in ({"level": "max"}, {"refresh": hd.Refresh()}):
        with pytest.raises(OptionError, match='the transport "device" works only with level="fast"'):
            hd.setup(transport="device", **wrong)


def test_options_that_devices_do_not_have() -> None:
    run(options, 2)


def automatic(rank: int, size: int) -> object:
    import huffwire.distributed as hd
    from huffwire.distributed import device_figures

    stand_in()
    device_figures._SIZES = (4 << 10, 16 << 10)
    device_figures._MOVED = 1 << 20
    with gpu() as device:
        slow = hd.setup(compression="auto", link=hd.Link(1e3, 1e-6))
        assert slow.device_codes and slow.model.transport == "device"
        codec = slow.model.codec
        assert 0 < codec.encode < 1e9 and 0 < codec.decode < 1e9 and codec.fixed >= 1e-6
        device.launches.clear()
        given = [tensor(peer, 3000, torch.bfloat16) for peer in range(size)]
        kept = given[rank].clone()
        hd.all_reduce(kept)
        check("slow", kept, ordered_sum(given, False))
        assert device.launches and hd.stats()["all_reduce"]["fallbacks"] == 0
        # What kernels have no codes for, and nothing, is left to the group.
        hd.broadcast(tensor(0, 3000, torch.float64), 0)
        hd.broadcast(torch.empty(0), 0)
        assert hd.stats()["broadcast"]["fallbacks"] == 2
        fast = hd.setup(compression="auto", link=hd.Link(1e12, 1e-6))
        assert fast.model.break_even("all_reduce", "bf16") is None
        device.launches.clear()
        hd.all_reduce(kept)
        assert not device.launches and hd.stats()["all_reduce"]["fallbacks"] == 1
        measured = hd.setup(compression="auto")
    assert 0 < measured.model.link.latency < 1 and measured.model.link.bytes_per_second > 1e6
    return measured.model


def test_auto_rests_on_figures_of_devices_that_all_agree_on() -> None:
    one, other = run(automatic, 2, seconds=60)
    assert one == other


def without_kernels(rank: int, size: int) -> list[str]:
    import huffwire.distributed as hd
    from huffwire import DeviceError
    from huffwire.distributed import on_device

    stand_in()
    if rank == 1:

        def none(device: torch.device) -> None:
            raise DeviceError("too old a GPU")

        on_device.kernels_of = none
    with gpu() as device, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert not hd.setup().device_codes
        given = [tensor(peer, 900, torch.bfloat16) for peer in range(size)]
        kept = given[rank].clone()
        hd.all_reduce(kept)
        assert hd.stats()["all_reduce"]["fallbacks"] == 1
        # In fp32 the group cannot add up: that needs no kernels.
        kept = given[rank].clone()
        hd.all_reduce(kept, sum_dtype=torch.float32)
        check("in fp32", kept, ordered_sum(given, False, torch.float32))
        assert not device.launches and hd.stats()["all_reduce"]["fallbacks"] == 1
    return [str(each.message) for each in caught]


def test_where_a_rank_has_no_kernels_the_group_does_it() -> None:
    for texts in run(without_kernels, 2):
        assert any("not all ranks can code there: rank 1: too old a GPU" in text for text in texts), texts


def bounded(rank: int, size: int, way: str, pieces: int) -> None:
    """Messages take no more memory at once than is promised, for a tensor of some pieces."""
    import huffwire.distributed as hd
    from huffwire.distributed.device_engine import Call

    stand_in()
    piece, original = 48 << 10, Call._room
    limit = 0.0
    taken: list[tuple[StorageWeakRef, int]] = []

    def room(self: Call, size: int) -> torch.Tensor:
        found = original(self, size)
        taken.append((StorageWeakRef(found.untyped_storage()), size))
        for _ in range(200):
            held = sum(size for storage, size in taken if not storage.expired())
            if held <= limit:
                return found
            # A thread of gloo holds what it has sent for a moment longer.
            time.sleep(0.01)
        raise AssertionError(f"{held} bytes at once, and {limit} are promised")

    Call._room = room
    with gpu():
        hd.setup(compression=way, piece=piece)
        elements = pieces * piece // 4
        given = [tensor(peer, elements, torch.float32) for peer in range(size)]
        # Headers of small messages and the tables in front of their blocks.
        most = 1.1 * piece
        limit = 3 * most
        kept = given[rank].clone()
        hd.all_reduce(kept)
        check("reduce", kept, ordered_sum(given, False))
        limit = (1 + 1 / size) * most
        output = torch.empty(elements * size)
        hd.all_gather_into_tensor(output, given[rank])
        check("gather", output, torch.cat(given))
        limit = most
        hd.broadcast(kept, 0)
    assert len(taken) > 6 * pieces


@pytest.mark.parametrize(("way", "pieces"), [("raw", 40), ("always", 4)])
def test_memory_is_bounded(way: str, pieces: int) -> None:
    run(bounded, 3, way, pieces, seconds=30)


def trainings(rank: int, size: int, name: str, steps: int) -> dict[str, object]:
    import huffwire.distributed as hd
    from huffwire import ddp

    dtype = getattr(torch, name)
    found: dict[str, object] = {"stock": training.train(training.ddp(dtype), rank, steps, dtype)}
    stand_in()
    with gpu():
        for way in ("always", "raw"):
            hd.setup(compression=way, piece=16 << 10)
            hd.reset_stats()
            network = training.ddp(dtype, ddp.lossless_hook, ddp.LosslessState())
            found[way] = training.train(network, rank, steps, dtype)
            totals = hd.stats()["all_reduce"]
            assert totals["calls"] >= steps and totals["fallbacks"] == 0, totals
            found[way + " ratio"] = totals["bytes_before"] / totals["bytes_after"]
    assert sequence_of_pieces() == 0
    return found


@pytest.mark.parametrize("name", ["bfloat16", "float32"])
def test_training_is_the_same(name: str) -> None:
    for found in run(trainings, 2, name, 12, seconds=60):
        assert found["always"] == found["raw"] == found["stock"]
        assert found["always ratio"] > (1.2 if name == "bfloat16" else 1.05)
        assert 0.9 < found["raw ratio"] < 1


def test_training_with_four_ranks_is_the_same_with_and_without_coding() -> None:
    for found in run(trainings, 4, "bfloat16", 4, seconds=100):
        assert found["always"] == found["raw"]


def sharded(rank: int, size: int) -> None:
    import huffwire.distributed as hd
    from huffwire import fsdp
    from torch.distributed.fsdp import fully_shard

    def shard() -> torch.nn.Module:
        network = training.model(torch.bfloat16)
        mesh = dist.init_device_mesh("cpu", (size,))
        for layer in network:
            fully_shard(layer, mesh=mesh)
        return fully_shard(network, mesh=mesh)

    expected = training.train(shard(), rank, 10, torch.bfloat16)
    stand_in()
    with gpu():
        hd.setup(compression="always")
        found = training.train(fsdp.compress(shard()), rank, 10, torch.bfloat16)
    assert found == expected
    totals = hd.stats()
    assert totals["all_gather"]["pieces"] and totals["reduce_scatter"]["pieces"]
    assert sequence_of_pieces() == 0


def test_sharded_training_is_the_same() -> None:
    run(sharded, 2, seconds=60)


class _Group:
    """A process group, as far as it is asked for its backend."""

    def __init__(self, **names: str) -> None:
        self._names = names

    def _get_backend(self, device: torch.device) -> mock.Mock:
        if device.type not in self._names:
            raise RuntimeError(f"no backend for {device}")
        backend = mock.Mock()
        backend.name.return_value = self._names[device.type]
        return backend


def test_groups_that_move_memory_of_devices() -> None:
    from huffwire.distributed.device_group import moves

    gpu_of_rank = torch.device("cuda", 0)
    assert moves(_Group(cpu="gloo", cuda="nccl"), gpu_of_rank)
    assert not moves(_Group(cpu="gloo", cuda="gloo"), gpu_of_rank)
    assert not moves(_Group(cpu="gloo"), gpu_of_rank)
    assert not moves(_Group(cpu="gloo", cuda="nccl"), torch.device("cpu"))
    assert not moves(object(), gpu_of_rank)


def test_a_capture_is_refused_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from huffwire import DeviceError
    from huffwire.distributed.device_engine import DeviceEngine
    from huffwire.distributed.device_group import DeviceGroup

    captured = iter([True, False])
    monkeypatch.setattr(torch.cuda, "device", lambda device: mock.MagicMock())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: next(captured))
    group = DeviceGroup(None, 0, 2, torch.device("cuda", 0))
    engine, body = DeviceEngine(group, None, 4096), mock.Mock(side_effect=ValueError("it ran"))
    for error, text in ((DeviceError, "being captured"), (ValueError, "it ran")):
        with pytest.raises(error, match=text):
            engine.start("broadcast", torch.bfloat16, [], True, 1, body)
    assert body.call_count == 1


def test_a_call_under_way_is_an_event_of_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    from huffwire.distributed.device_engine import DeviceWork

    module, call = mock.MagicMock(), mock.Mock()
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    call.engine.group.device = torch.device("meta", 77)
    stream = module.current_stream.return_value
    work = DeviceWork(call, [])
    event = stream.record_event.return_value
    event.query.return_value = False
    assert not work.is_completed() and not work.is_success()
    assert work.wait() and work.wait()
    assert stream.wait_event.call_args_list == [mock.call(event)] * 2
    assert call.settle.call_count == 1
    assert work.is_success() and not call.engine.fail.called


def test_an_error_that_is_found_late_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from huffwire.distributed import PieceError
    from huffwire.distributed.device_engine import DeviceWork

    call = mock.Mock()
    call.engine.group.device = torch.device("cpu")
    call.settle.side_effect = PieceError("damaged")
    work = DeviceWork(call, [])
    assert work.is_completed()
    for _ in range(2):
        with pytest.raises(PieceError, match="damaged"):
            work.wait()
    assert isinstance(work.exception(), PieceError) and not work.is_success()
    assert call.engine.fail.call_count == 1
    with pytest.raises(Exception, match="damaged"):
        work.get_future().wait()
