"""Collectives in real processes: what they return, over types, sizes, groups and ways."""

from __future__ import annotations

from datetime import timedelta

import pytest
import ranks
import torch
import torch.distributed as dist
import torch.overrides

from huffwire import OptionError

DTYPES = [
    torch.bfloat16,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.complex64,
    torch.int8,
    torch.uint8,
    torch.int16,
    torch.uint16,
    torch.int32,
    torch.int64,
    torch.bool,
    torch.bits8,
]
SUMS = [
    torch.bfloat16,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.int32,
    torch.int64,
]


def tensor(rank: int, count: int, dtype: torch.dtype, salt: int = 0) -> torch.Tensor:
    """The tensor of a rank, which all ranks can make."""
    generator = torch.Generator().manual_seed(1000 * salt + rank)
    values = torch.randn(count, generator=generator)
    if dtype is torch.bits8:
        return (values * 50).to(torch.uint8).view(dtype)
    if dtype.is_complex:
        return torch.complex(values, -values.flip(0))
    if dtype is torch.bool:
        return values > 0
    return values.to(dtype) if dtype.is_floating_point else (values * 50).to(dtype)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same bits."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.numel() == 0:
        return True
    return torch.equal(
        one.contiguous().view(-1).view(torch.uint8), other.contiguous().view(-1).view(torch.uint8)
    )


def check(what: object, one: torch.Tensor, other: torch.Tensor) -> None:
    assert same(one, other), what


def ordered_sum(
    inputs: list[torch.Tensor], average: bool, sum_dtype: torch.dtype | None = None
) -> torch.Tensor:
    """The sum in the documented order."""
    if inputs[0].is_complex():
        return torch.view_as_complex(
            ordered_sum([torch.view_as_real(each) for each in inputs], average)
        )
    total = inputs[0].to(sum_dtype or inputs[0].dtype)
    for each in inputs[1:]:
        total = total + each
    if average:
        total = total / len(inputs)
    return total.to(inputs[0].dtype)


def gathers(rank: int, size: int, compression: str, staged: bool) -> None:
    import huffwire.distributed as hd
    from huffwire.distributed import memory

    memory.STAGE_ALL = staged
    hd.setup(compression=compression, piece=4096)
    for salt, dtype in enumerate(DTYPES):
        for count in (0, 1, 5000):
            given = [tensor(peer, count, dtype, salt) for peer in range(size)]
            output = torch.empty(count * size, dtype=dtype)
            hd.all_gather_into_tensor(output, given[rank])
            check(
                (dtype, count),
                output.view(torch.uint8),
                torch.cat([each.view(torch.uint8) for each in given]),
            )
            for root in range(size):
                kept = given[rank].clone()
                hd.broadcast(kept, root)
                check((dtype, count, root), kept, given[root])
        # Uneven sizes, one of them nothing.
        given = [tensor(peer, 3000 * peer, dtype, salt) for peer in range(size)]
        outputs = [torch.empty_like(each) for each in given]
        work = hd.all_gather(outputs, given[rank], async_op=True)
        assert work.wait() and work.is_completed()
        for output, each in zip(outputs, given, strict=True):
            check((dtype, "uneven"), output, each)
    assert hd.stats()["all_gather"]["fallbacks"] == 0


def test_gathers_and_broadcasts() -> None:
    ranks.run(gathers, 2, "always", False)
    ranks.run(gathers, 4, "always", False)


def test_gathers_through_staging_and_raw_pieces() -> None:
    ranks.run(gathers, 2, "always", True)
    ranks.run(gathers, 3, "raw", False)


def sums(rank: int, size: int, staged: bool) -> None:
    import huffwire.distributed as hd
    from huffwire.distributed import memory

    memory.STAGE_ALL = staged
    hd.setup(piece=4096)
    for salt, dtype in enumerate(SUMS):
        floating = dtype.is_floating_point or dtype.is_complex
        for average in (False, True) if floating else (False,):
            op = dist.ReduceOp.AVG if average else dist.ReduceOp.SUM
            for count in (0, 1, 4 * size, 8192 * size):
                given = [tensor(peer, count, dtype, salt) for peer in range(size)]
                expected = ordered_sum(given, average)
                kept = given[rank].clone()
                hd.all_reduce(kept, op)
                check((dtype, average, count), kept, expected)
                if count % size == 0:
                    share = count // size
                    output = torch.empty(share, dtype=dtype)
                    hd.reduce_scatter_tensor(output, given[rank], op)
                    check(
                        (dtype, average, count), output, expected[rank * share : (rank + 1) * share]
                    )
                    # The output may be this rank's part of the input.
                    kept = given[rank].clone()
                    hd.reduce_scatter_tensor(kept[rank * share : (rank + 1) * share], kept, op)
                    check((dtype, average), kept[rank * share : (rank + 1) * share], output)
                if size == 2 and count and dtype is not torch.complex64:
                    theirs = given[rank].clone()
                    dist.all_reduce(theirs, op)
                    kept = given[rank].clone()
                    hd.all_reduce(kept, op)
                    check((dtype, "gloo"), kept, theirs)
    given = [tensor(peer, 5000 * size, torch.bfloat16) for peer in range(size)]
    kept = given[rank].clone()
    hd.all_reduce(kept, dist.ReduceOp.AVG, sum_dtype=torch.float32)
    check("fp32 sums", kept, ordered_sum(given, True, torch.float32))
    output = torch.empty(5000, dtype=torch.bfloat16)
    hd.reduce_scatter_tensor(output, given[rank], sum_dtype=torch.float32)
    check(
        "fp32 sums",
        output,
        ordered_sum(given, False, torch.float32)[rank * 5000 : (rank + 1) * 5000],
    )
    # What huffwire does not add is passed on.
    before = hd.stats()["all_reduce"]["fallbacks"]
    kept = tensor(rank, 100, torch.float32)
    hd.all_reduce(kept, dist.ReduceOp.MAX)
    check(
        "max", kept, torch.stack([tensor(peer, 100, torch.float32) for peer in range(size)]).amax(0)
    )
    assert hd.stats()["all_reduce"]["fallbacks"] == before + 1


def test_sums_are_in_the_order_of_ranks() -> None:
    ranks.run(sums, 2, False)
    ranks.run(sums, 4, False)


def test_sums_through_staging() -> None:
    ranks.run(sums, 3, True)


def exchanges(rank: int, size: int, staged: bool) -> None:
    import huffwire.distributed as hd
    from huffwire.distributed import memory

    memory.STAGE_ALL = staged
    hd.setup(piece=4096)
    for salt, dtype in enumerate(DTYPES[:6] + [torch.int64, torch.bits8]):
        for count in (0, 2, 3000):
            given = [tensor(peer, count * size, dtype, salt) for peer in range(size)]
            output = torch.empty(count * size, dtype=dtype)
            hd.all_to_all_single(output, given[rank])
            parts = [each[rank * count : (rank + 1) * count].view(torch.uint8) for each in given]
            check((dtype, count), output.view(torch.uint8), torch.cat(parts))
        # Rank r sends 700 * (r + p) rows of 2 elements to rank p, so some parts are empty.
        rows = [[700 * (peer + other) for other in range(size)] for peer in range(size)]
        given = [tensor(peer, 2 * sum(rows[peer]), dtype, salt).view(-1, 2) for peer in range(size)]
        receives = [rows[peer][rank] for peer in range(size)]
        output = torch.empty(sum(receives), 2, dtype=dtype)
        hd.all_to_all_single(output, given[rank], receives, rows[rank], async_op=True).wait()
        parts = [given[peer].view(torch.uint8).split(rows[peer])[rank] for peer in range(size)]
        check((dtype, "splits"), output.view(torch.uint8), torch.cat(parts))
        # A ring: everybody starts to send before anybody receives.
        ring = tensor(rank, 3001, dtype, salt)
        received = torch.empty_like(ring)
        works = [
            hd.isend(ring, (rank + 1) % size, tag=5),
            hd.irecv(received, (rank - 1) % size, tag=5),
        ]
        for work in works:
            work.wait()
        check((dtype, "ring"), received, tensor((rank - 1) % size, 3001, dtype, salt))
    # Two tags, received in the other order.
    one, two = torch.arange(5000.0), torch.arange(5000.0) * 2
    if rank == 0:
        works = [hd.isend(one, 1, tag=1), hd.isend(two, 1, tag=2)]
        for work in works:
            work.wait()
    elif rank == 1:
        found = torch.empty(5000), torch.empty(5000)
        hd.recv(found[0], 0, tag=2)
        hd.recv(found[1], 0, tag=1)
        assert torch.equal(found[1], one) and torch.equal(found[0], two)
        assert hd.recv(torch.empty(0), 0) == 0
    if rank == 0:
        hd.send(torch.empty(0), 1)


def test_exchanges() -> None:
    ranks.run(exchanges, 2, False)
    ranks.run(exchanges, 4, False)


def test_exchanges_through_staging() -> None:
    ranks.run(exchanges, 2, True)


def subgroups(rank: int, size: int) -> list[float]:
    import huffwire.distributed as hd

    members = [[0, 3], [1, 2]]
    groups = [dist.new_group(each, timeout=timedelta(seconds=10)) for each in members]
    mine = groups[0] if rank in members[0] else groups[1]
    kept = torch.full((100_000,), float(rank))
    # Two calls under way in two groups, waited for in the other order.
    whole = torch.full((100_000,), float(rank))
    works = [hd.all_reduce(whole, async_op=True), hd.all_reduce(kept, group=mine, async_op=True)]
    for work in reversed(works):
        work.wait()
    assert torch.equal(whole, torch.full_like(whole, 6))
    assert torch.equal(kept, torch.full_like(kept, 3))
    peer = next(member for member in members[0 if rank in members[0] else 1] if member != rank)
    value = torch.full((10,), float(rank))
    hd.broadcast(value, max(rank, peer), group=mine)
    found = [float(value[0])]
    hd.broadcast(value, group=mine, group_src=0)
    found.append(float(value[0]))
    work = hd.isend(torch.full((9,), float(rank)), peer, group=mine)
    received = torch.empty(9)
    assert hd.recv(received, peer, group=mine) == peer
    work.wait()
    found.append(float(received[0]))
    # Of a group that it is no member of, a rank has nothing to do.
    other = groups[1] if rank in members[0] else groups[0]
    assert hd.all_reduce(torch.ones(5), group=other) is None
    assert hd.all_reduce(torch.ones(5).bfloat16(), group=other, sum_dtype=torch.float32) is None
    with pytest.raises(hd.GroupError, match="no member"):
        hd.setup(other)
    return found


def test_subgroups() -> None:
    found = ranks.run(subgroups, 4)
    assert found == [[3, 3, 3], [2, 2, 2], [2, 2, 1], [3, 3, 0]]


def many_at_once(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    tensors = [tensor(rank, 50_000 + index, torch.bfloat16, index) for index in range(20)]
    works = [hd.all_reduce(each, async_op=True) for each in tensors]
    futures = [work.get_future().then(lambda future: future.value()[0]) for work in works[::2]]
    for index, future in enumerate(futures):
        assert future.wait() is tensors[2 * index]
    for work in works:
        work.wait()
    for index, each in enumerate(tensors):
        given = [tensor(peer, 50_000 + index, torch.bfloat16, index) for peer in range(size)]
        check(index, each, ordered_sum(given, False))
    # A future that is made after the end.
    assert works[0].get_future().wait()[0] is tensors[0]
    assert works[0].is_success() and works[0].result()[0] is tensors[0]


def test_many_calls_at_once() -> None:
    ranks.run(many_at_once, 4)


def around_a_broadcast(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    hd.setup(piece=16384)
    root = tensor(9, 400_000, torch.bfloat16)
    given = [tensor(each, 50_000, torch.bfloat16) for each in range(size)]
    for _ in range(3):
        spread = root.clone() if rank == 0 else torch.empty_like(root)
        gathered = [torch.empty(size * 50_000, dtype=torch.bfloat16) for _ in range(2)]
        works = [
            hd.all_gather_into_tensor(gathered[0], given[rank], async_op=True),
            hd.broadcast(spread, 0, async_op=True),
            hd.all_gather_into_tensor(gathered[1], given[rank], async_op=True),
        ]
        for work in works:
            work.wait()
        check("broadcast", spread, root)
        for output in gathered:
            check("all_gather", output, torch.cat(given))


def test_calls_around_a_broadcast_keep_their_order() -> None:
    ranks.run(around_a_broadcast, 4)


def plain(rank: int, size: int) -> dict:
    import huffwire.distributed as hd

    kept = tensor(rank, 100_000, torch.bfloat16)
    hd.all_reduce(kept)
    output = torch.empty(size * 10)
    hd.all_gather_into_tensor(output, torch.full((10,), float(rank)), async_op=True).wait()
    hd.broadcast(kept, 0)
    hd.all_to_all_single(torch.empty(10), torch.ones(10))
    hd.reduce_scatter_tensor(torch.empty(5), torch.ones(5 * size))
    if rank == 0:
        hd.send(kept, 1, tag=3)
        hd.send(kept, 1)
    else:
        hd.recv(torch.empty_like(kept), 0, tag=3)
        hd.recv(torch.empty_like(kept))
    return hd.stats()


def test_off_passes_everything_on() -> None:
    for found in ranks.run(plain, 2, environment={"HUFFWIRE_COMPRESSION": "never"}):
        assert set(found) == {
            "all_reduce",
            "all_gather",
            "broadcast",
            "all_to_all",
            "reduce_scatter",
            "send",
        }
        assert all(totals["bytes_after"] == 0 for totals in found.values())
        assert all(totals["calls"] == totals["fallbacks"] for totals in found.values())


def again(rank: int, size: int) -> dict:
    """Calls that were made before take a shorter way, with the same results and the same errors."""
    import huffwire.distributed as hd
    from huffwire import UnsupportedError

    group = dist.new_group()
    for _ in range(3):
        kept = torch.full((100,), rank + 1.0)
        hd.all_reduce(kept, group=group)
        check("sum", kept, torch.full((100,), 3.0))
        work = hd.all_reduce(kept, dist.ReduceOp.MAX, group, async_op=True)
        work.wait()
        check("greatest", kept, torch.full((100,), 3.0))
        hd.broadcast(kept, group=group, group_src=0)
        outputs = [torch.empty(50), torch.empty(50)]
        hd.all_gather(outputs, torch.full((50,), float(rank)), group=group)
        check("gather", torch.cat(outputs), torch.arange(2.0).repeat_interleave(50))
    with pytest.raises(UnsupportedError, match="meta"):
        hd.all_reduce(torch.empty(100, device="meta"), group=group)
    # Pieces carry a sum in another type, which the group has not.
    narrow = torch.full((200,), 0.1 * (rank + 1), dtype=torch.bfloat16)
    hd.all_reduce(narrow.clone(), group=group)
    hd.all_reduce(narrow, group=group, sum_dtype=torch.float32)
    found = hd.stats()
    dist.barrier()
    dist.destroy_process_group(group)
    with pytest.raises(hd.GroupError, match="was destroyed"):
        hd.all_reduce(torch.ones(100), group=group)
    return found


def test_plain_calls_again() -> None:
    for found in ranks.run(again, 2, environment={"HUFFWIRE_COMPRESSION": "never"}):
        calls = {name: (totals["calls"], totals["fallbacks"]) for name, totals in found.items()}
        assert calls == {"all_reduce": (8, 7), "broadcast": (3, 3), "all_gather": (3, 3)}


class Refusing(torch.overrides.TorchFunctionMode):
    """A mode that every function has to ask."""

    def __torch_function__(
        self, function: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if getattr(function, "__name__", "") == "all_reduce":
            raise RuntimeError("the mode was asked")
        return function(*args, **kwargs or {})


def shortcuts(rank: int, size: int) -> dict:
    """What is unusual about a call that is known is noticed: it takes the way of `torch.distributed`."""
    import huffwire.distributed as hd
    from huffwire.distributed import plain

    whole, part = torch.arange(10.0), torch.arange(5.0)
    for _ in range(3):
        output = torch.empty(5)
        hd.reduce_scatter_tensor(output, whole)
        check("scatter", output, 2 * whole[5 * rank : 5 * rank + 5])
        hd.all_gather_into_tensor(output := torch.empty(10), part + rank)
        check("gather into", output, torch.cat([part, part + 1]))
        hd.all_to_all_single(output := torch.empty(10), whole + 100 * rank)
        mine = whole[5 * rank : 5 * rank + 5]
        check("exchange", output, torch.cat([mine, mine + 100]))
        rows = [3, 7] if rank == 0 else [7, 3]
        sends = [3, 7]
        hd.all_to_all_single(output := torch.empty(2 * rows[0]), whole, [rows[0]] * 2, sends)
        hd.broadcast(kept := part + rank, 1)
        check("broadcast", kept, part + 1)
        hd.broadcast(kept := part + rank, group_src=1)
        check("broadcast", kept, part + 1)
        pairs = torch.full((3,), complex(1, rank))
        hd.all_reduce(pairs)
        check("complex", pairs, torch.full((3,), complex(2, 1)))
    assert plain.find(None, "all_reduce", torch.complex64, 24) is None
    counted = hd.stats()
    assert all(totals["calls"] == totals["fallbacks"] for totals in counted.values())

    hd.all_reduce(kept := part.clone())
    assert plain.find(None, "all_reduce", torch.float32, 20) is dist.group.WORLD
    with Refusing(), pytest.raises(RuntimeError, match="the mode was asked"):
        hd.all_reduce(kept)
    compiled = torch.compile(lambda given: hd.all_reduce(given), backend="eager")
    compiled(other := part.clone())
    check("compiled", other, 2 * part)
    with dist._coalescing_manager():
        hd.all_reduce(kept)
        hd.all_reduce(other := part.clone())
    check("together", kept, 4 * part)
    check("together", other, 2 * part)
    with pytest.raises(RuntimeError, match="root rank"):
        hd.broadcast(part, 2)
    with pytest.raises(OptionError, match="either src or group_src"):
        hd.broadcast(part, 0, group_src=0)
    hd.all_gather([torch.empty(5), torch.empty(5)], part)
    with pytest.raises((ValueError, TypeError), match="dtype|types"):
        hd.all_gather([torch.empty(5), torch.empty(5, dtype=torch.int32)], part)
    hd.reset_stats()
    hd.all_reduce(part.clone())
    assert hd.stats()["all_reduce"]["fallbacks"] == 1
    # What was known is forgotten when the ranks agree anew.
    hd.setup(compression="always")
    hd.all_reduce(kept := part.clone())
    check("coded", kept, 2 * part)
    assert plain.find(None, "all_reduce", torch.float32, 20) is None
    return hd.stats()["all_reduce"]


def test_unusual_calls_that_are_known() -> None:
    for found in ranks.run(shortcuts, 2, environment={"HUFFWIRE_COMPRESSION": "never"}):
        assert (found["calls"], found["fallbacks"]) == (2, 1)


def automatic(rank: int, size: int, speed: float) -> tuple[dict, object]:
    import huffwire.distributed as hd

    agreement = hd.setup(compression="auto", link=hd.Link(speed, 100e-6))
    hd.all_reduce(torch.ones(10, dtype=torch.bfloat16))
    hd.all_reduce(torch.ones(4 << 20, dtype=torch.bfloat16))
    hd.all_reduce(torch.ones(4 << 20, dtype=torch.int32))
    found = hd.stats()["all_reduce"]
    # Here the link is measured.
    measured = hd.setup(compression="auto").model
    assert measured.link.bytes_per_second > 1e6 and 0 < measured.link.latency < 5
    assert measured.codec.encode > 1e7 and measured.codec.decode > 1e7
    return found, (agreement.model, measured)


def test_auto_codes_what_pays() -> None:
    slow = ranks.run(automatic, 2, 12.5e6)
    assert [(found["calls"], found["fallbacks"]) for found, _ in slow] == [(3, 2)] * 2
    assert slow[0][1] == slow[1][1], "all ranks have the same figures"
    fast = ranks.run(automatic, 2, 1e12)
    assert [found["fallbacks"] for found, _ in fast] == [3, 3]


def autograd(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    kept = torch.ones(10)
    before = kept._version
    hd.all_reduce(kept)
    assert kept._version > before
    # A parameter is reduced in place, as torch does it under no_grad.
    parameter = torch.nn.Parameter(torch.full((10,), float(rank)))
    hd.broadcast(parameter, 1)
    assert parameter.requires_grad and torch.equal(parameter.detach(), torch.ones(10))
    # One rank alone needs nobody.
    alone = dist.new_group([rank], use_local_synchronization=True)
    hd.all_reduce(kept, group=alone)
    assert torch.equal(kept, torch.full((10,), float(size)))


def test_versions_parameters_and_single_ranks() -> None:
    ranks.run(autograd, 2)


def memory_of_a_gather(rank: int, size: int) -> int:
    import resource

    import huffwire.distributed as hd

    shard = torch.full((1 << 20,), float(rank))
    hd.all_gather_into_tensor(torch.empty(size << 20), shard)
    shard = torch.full((48 << 20,), float(rank))
    output = torch.zeros(size * (48 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hd.all_gather_into_tensor(output, shard)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def test_memory_of_a_call_is_its_pieces() -> None:
    # The tensor has 384 MiB. 8 slots to send, 4 posted receives and the coder's own memory are a few pieces.
    assert max(ranks.run(memory_of_a_gather, 2)) < 64 << 20
