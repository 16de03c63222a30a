"""Ranks that die, stall, differ or send damaged pieces: every rank of the group raises, and none hangs."""

from __future__ import annotations

import os
import signal
import time

import pytest
import ranks
import torch
import torch.distributed as dist

CALLS = {
    "all_gather": lambda hd, x, size: hd.all_gather_into_tensor(
        torch.empty(size * x.numel(), dtype=x.dtype), x
    ),
    "all_reduce": lambda hd, x, size: hd.all_reduce(x),
    "reduce_scatter": lambda hd, x, size: hd.reduce_scatter_tensor(
        torch.empty_like(x[: x.numel() // size]), x
    ),
    "all_to_all": lambda hd, x, size: hd.all_to_all_single(torch.empty_like(x), x),
    "broadcast": lambda hd, x, size: hd.broadcast(x, 0),
}

# Seconds that a busy machine may take longer.
SLOW = 20


def outcomes(hd, size: int, calls: list, seconds: float) -> list[tuple[str, str, float]]:
    """The class and the text of what each call raises, and how long it took."""
    found = []
    for call in calls:
        start = time.monotonic()
        try:
            call()
            found.append(("", "", time.monotonic() - start))
        except Exception as error:
            found.append((type(error).__name__, str(error), time.monotonic() - start))
    # A rank that leaves would end the connections before others raised their own errors.
    time.sleep(seconds)
    return found


def one_dies(rank: int, size: int, name: str) -> list:
    import huffwire.distributed as hd

    hd.setup(piece=65536)
    x = torch.randn(400_000).bfloat16()
    CALLS[name](hd, x, size)
    if rank == size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return outcomes(hd, size, [lambda: CALLS[name](hd, x, size)] * 2, 0.5)


@pytest.mark.parametrize("name", ["all_reduce", "all_gather", "broadcast"])
def test_a_killed_rank(name: str) -> None:
    *others, dead = ranks.run(one_dies, 4, name, seconds=4)
    assert isinstance(dead, ranks.Died) and dead.code == -signal.SIGKILL
    for first, second in others:
        # In this collective or in the next one.
        assert (first[0] or second[0]) in ("PeerError", "GroupError"), (first, second)
        assert second[0] in ("PeerError", "GroupError")
        assert first[2] + second[2] < 9 + SLOW


def one_dies_within(rank: int, size: int) -> list:
    import threading

    import huffwire.distributed as hd

    hd.setup(piece=4096)
    x = torch.randn(8_000_000).bfloat16()
    if rank == 0:
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    return outcomes(hd, size, [lambda: hd.all_reduce(x)] * 30, 0.5)


def test_a_rank_killed_within_a_call() -> None:
    dead, *others = ranks.run(one_dies_within, 3, seconds=4)
    assert isinstance(dead, ranks.Died)
    for found in others:
        names = [name for name, _, _ in found]
        first = next(index for index, name in enumerate(names) if name)
        assert names[first] == "PeerError" and set(names[first + 1 :]) <= {"GroupError"}
        assert sum(seconds for _, _, seconds in found) < 15 + SLOW


def one_stalls(rank: int, size: int) -> list:
    import huffwire.distributed as hd

    hd.setup(piece=4096)
    x = torch.randn(400_000).bfloat16()
    hd.all_reduce(x)
    if rank == 1:
        time.sleep(7)
    return outcomes(hd, size, [lambda: hd.all_reduce(x)], 5 if rank != 1 else 0)


def test_a_stalled_rank() -> None:
    found = ranks.run(one_stalls, 3, seconds=3)
    for rank, [(name, text, seconds)] in enumerate(found):
        assert name == "PeerError", (rank, name, text)
        assert seconds < 6 + SLOW
    assert any("3 seconds" in text for [(_, text, _)] in found)


def flips(rank: int, size: int, name: str, coded: bool, where: int) -> list:
    import huffwire.distributed as hd
    from huffwire.distributed import engine

    hd.setup(compression="always" if coded else "raw", piece=16384)
    x = torch.randn(120_000).bfloat16()
    CALLS[name](hd, x, size)
    before = x.clone()
    original, original_parts = engine.Engine.post_send, engine.Engine.post_parts
    sent = 0

    def flipping(self, message, peer, tag):
        nonlocal sent
        sent += 1
        if sent == 3:
            message[where] ^= 16
        return original(self, message, peer, tag)

    def flipping_parts(self, head, elements, peer):
        nonlocal sent
        sent += 1
        if sent == 3:
            piece = bytearray(head) + bytes(elements.view(torch.uint8).tolist())
            piece[where] ^= 16
            head, content = bytes(piece[: len(head)]), piece[len(head) :]
            elements = torch.frombuffer(content, dtype=torch.uint8)
        return original_parts(self, head, elements, peer)

    if rank == 0:
        engine.Engine.post_send = flipping
        engine.Engine.post_parts = flipping_parts
    found = outcomes(hd, size, [lambda: CALLS[name](hd, x, size), lambda: hd.all_reduce(before)], 1)
    return found


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize(
    ("name", "where"), [("all_gather", 5000), ("all_reduce", 9), ("broadcast", 2000)]
)
def test_bits_flipped_in_flight(name: str, where: int, coded: bool) -> None:
    check_flips(name, where, coded, "gloo")


def check_flips(name: str, where: int, coded: bool, transport: str) -> None:
    found = ranks.run(flips, 3, name, coded, where, seconds=5, transport=transport)
    errors = [first[0] or second[0] for first, second in found]
    assert set(errors) <= {"PieceError", "PeerError", "GroupError"}, found
    assert "PieceError" in errors, found
    for first, second in found:
        assert second[0] in ("PieceError", "PeerError", "GroupError")
        assert first[2] + second[2] < 12 + SLOW


def foreign(rank: int, size: int, what: str) -> list:
    import huffwire.distributed as hd
    from huffwire.distributed import groups, pieces

    hd.setup(piece=4096)
    x = torch.randn(50_000).bfloat16()
    engine, _ = groups.coded_group(dist.group.WORLD).ready()

    def other_call() -> None:
        if what == "garbage":
            garbage = torch.full((1000,), 255, dtype=torch.uint8)
            work = engine.post_send(garbage, 1 - rank, 0)
            hd.all_reduce(x)
            engine.wait(work)
        elif what == "version":
            pieces.VERSION = 2
            hd.all_reduce(x)
        elif what == "codebooks":
            engine.coder.generation = b"otherset"
            hd.all_reduce(x)
        elif what == "step":
            engine._sequence += 1
            hd.all_reduce(x)
        elif what == "collective":
            hd.all_gather_into_tensor(torch.empty(2 * x.numel(), dtype=x.dtype), x)
        elif what == "shape":
            hd.all_reduce(torch.randn(60_000).bfloat16())
        elif what == "dtype":
            hd.all_reduce(x.half())
        elif what == "empty":
            hd.all_reduce(x[:0])
            hd.all_reduce(x)

    if rank == 0:
        return outcomes(hd, size, [other_call], 1)
    return outcomes(hd, size, [lambda: hd.all_reduce(x), lambda: hd.all_reduce(x)], 1)


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("garbage", "PieceError", "foreign"),
        ("version", "DisagreementError", "version 2"),
        ("codebooks", "CodebookError", "setup"),
        ("step", "OutOfStepError", "call 1"),
        ("collective", "OutOfStepError", "all_gather"),
        ("shape", "DisagreementError", "60000 bytes"),
        ("dtype", "DisagreementError", "float16"),
        ("empty", "OutOfStepError", "call 1"),
    ],
)
def test_foreign_pieces(what: str, error: str, text: str) -> None:
    check_foreign(what, error, text, "gloo")


def check_foreign(what: str, error: str, text: str, transport: str) -> None:
    (there, *_), here = ranks.run(foreign, 2, what, seconds=4, transport=transport)
    first = next(each for each in here if each[0])
    # Either rank may notice first; the other one is told.
    noticed = first if first[0] == error else there
    assert noticed[0] == error, (there, here)
    assert text in noticed[1] or noticed is there, noticed
    assert {first[0], there[0]} <= {error, "PeerError"}, (there, here)
    assert there[2] < 6 + SLOW, there


def settings(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    hd.all_reduce(torch.ones(10))


def test_ranks_with_different_settings() -> None:
    found = ranks.run(
        settings,
        3,
        each=lambda rank: {"HUFFWIRE_COMPRESSION": ("always", "always", "never")[rank]},
        may_fail=True,
    )
    for name, text in found:
        assert name == "DisagreementError"
        assert "compression: rank 0 has 'always', rank 2 has 'never'" in text
    found = ranks.run(settings, 2, environment={"HUFFWIRE_COMPRESSION": "sometimes"}, may_fail=True)
    assert found[0] == (
        "OptionError",
        'HUFFWIRE_COMPRESSION=\'sometimes\': give "auto", "always" or "never"',
    )


def different_pieces(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    with pytest.raises(hd.DisagreementError, match="piece"):
        hd.setup(piece=4096 * (rank + 1))
    with pytest.raises(hd.GroupError, match="setup"):
        hd.all_reduce(torch.ones(10))
    # What all ranks agree on mends the group.
    hd.setup(piece=8192)
    x = torch.ones(100_000)
    hd.all_reduce(x)
    assert torch.equal(x, torch.full_like(x, size))


def test_a_set_up_can_be_repeated() -> None:
    ranks.run(different_pieces, 2)


def mended(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    x = torch.ones(100_000, dtype=torch.bfloat16)
    with pytest.raises((hd.DisagreementError, hd.PeerError)):
        hd.all_reduce(x[: x.numel() - 5000 * rank].clone())
    with pytest.raises(hd.GroupError, match="failed earlier"):
        hd.all_reduce(x.clone())
    hd.setup()
    hd.all_reduce(x)
    assert x[0] == size


def test_a_failed_group_can_be_set_up_again() -> None:
    ranks.run(mended, 2, seconds=4)


def arguments(rank: int, size: int) -> None:
    import huffwire.distributed as hd
    from huffwire import MismatchError, OptionError, UnsupportedError

    x = torch.ones(10)
    cases = [
        (UnsupportedError, "contiguous", lambda: hd.all_reduce(torch.ones(4, 4).t())),
        (UnsupportedError, "meta", lambda: hd.all_reduce(torch.ones(4, device="meta"))),
        (
            hd.DisagreementError,
            "20 are needed",
            lambda: hd.all_gather_into_tensor(torch.empty(10), x),
        ),
        (
            hd.DisagreementError,
            "float64",
            lambda: hd.all_gather_into_tensor(torch.empty(20).double(), x),
        ),
        (MismatchError, "one for each rank", lambda: hd.all_gather([torch.empty(10)], x)),
        (
            hd.DisagreementError,
            "this rank's",
            lambda: hd.all_gather([torch.empty(9), torch.empty(9)], x),
        ),
        (
            MismatchError,
            "cannot share",
            lambda: hd.reduce_scatter_tensor(torch.empty(5), torch.ones(11)),
        ),
        (hd.DisagreementError, "needed", lambda: hd.reduce_scatter_tensor(torch.empty(6), x)),
        (MismatchError, "rows", lambda: hd.all_to_all_single(torch.empty(11), torch.ones(11))),
        (
            MismatchError,
            "split sizes are",
            lambda: hd.all_to_all_single(x.clone(), x, [5, 5], [5, 6]),
        ),
        (OptionError, "sum_dtype", lambda: hd.all_reduce(x, sum_dtype=torch.int32)),
        (OptionError, "itself", lambda: hd.send(x, rank)),
        (OptionError, "tag", lambda: hd.send(x, 1 - rank, tag=-1)),
        (OptionError, "either", lambda: hd.broadcast(x)),
        (OptionError, "2 ranks", lambda: hd.broadcast(x, group_src=2)),
        (UnsupportedError, "name the rank", lambda: hd.recv(x)),
        (
            UnsupportedError,
            "sum_dtype",
            lambda: hd.all_reduce(x.to(torch.int32), dist.ReduceOp.MAX, sum_dtype=torch.float32),
        ),
        (
            UnsupportedError,
            "integers",
            lambda: hd.all_reduce(x.to(torch.int64), sum_dtype=torch.float32),
        ),
        (
            UnsupportedError,
            "holds all",
            lambda: hd.reduce_scatter_tensor(x[:5].double(), x.double(), sum_dtype=torch.float32),
        ),
        (
            UnsupportedError,
            "holds all",
            lambda: hd.all_reduce(x.bfloat16(), sum_dtype=torch.float16),
        ),
        (
            UnsupportedError,
            "holds all",
            lambda: hd.all_reduce(x, sum_dtype=torch.float8_e5m2),
        ),
    ]
    for error, text, call in cases:
        with pytest.raises(error, match=text):
            call()
    # None of them harmed the group.
    hd.all_reduce(x)
    assert x[0] == 2
    group = dist.group.WORLD
    dist.destroy_process_group()
    with pytest.raises(hd.GroupError, match="destroyed"):
        hd.all_reduce(x, group=group)
    with pytest.raises(hd.GroupError, match="init_process_group"):
        hd.all_reduce(x)


def test_bad_arguments_and_a_destroyed_group() -> None:
    ranks.run(arguments, 2)


def forked(rank: int, size: int) -> int:
    import huffwire.distributed as hd

    def exchange() -> None:
        other = torch.ones(10)
        (hd.recv if rank else hd.send)(other, 1 - rank)
        # The other way, so that no thread of a rank is under way when it forks.
        (hd.send if rank else hd.recv)(other, 1 - rank)

    hd.all_reduce(torch.ones(10))
    exchange()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 0
        for call in (
            lambda: hd.all_reduce(torch.ones(10)),
            lambda: hd.send(torch.ones(10), 1 - rank),
            lambda: hd.irecv(torch.ones(10), 1 - rank),
            hd.setup,
        ):
            try:
                call()
                code += 1
            except hd.GroupError as error:
                code += "fork" not in str(error)
        os._exit(code)
    _, status = os.waitpid(child, 0)
    x = torch.ones(10)
    hd.all_reduce(x)
    assert x[0] == size
    exchange()
    return os.waitstatus_to_exitcode(status)


def test_a_fork_has_no_group() -> None:
    assert ranks.run(forked, 2) == [0, 0]


def long_reason(rank: int, size: int) -> tuple[str, str]:
    import huffwire.distributed as hd
    from huffwire.distributed import groups

    hd.setup(piece=1024)
    x = torch.ones(100_000)
    if rank == 0:
        engine, _ = groups.coded_group(dist.group.WORLD).ready()

        def send(_: object) -> None:
            raise ValueError("x" * 5000)

        work = engine.start("all_reduce", [x], send, None)
        [(name, text, _)] = outcomes(hd, size, [work.wait], 2)
    else:
        [(name, text, _)] = outcomes(hd, size, [lambda: hd.all_reduce(x)], 0)
    return name, text


def test_a_long_reason_of_a_failure() -> None:
    _, *others = ranks.run(long_reason, 3, seconds=20)
    for found in others:
        assert not isinstance(found, ranks.Died)
        name, text = found
        assert name == "PeerError" and "rank 0 failed: xxx" in text, found


def pairs_fail(rank: int, size: int) -> list:
    import huffwire.distributed as hd

    x = torch.randn(50_000).bfloat16()
    if rank == 0:
        found = outcomes(hd, size, [lambda: hd.send(x[:40_000], 1), lambda: hd.send(x, 1)], 2)
    else:
        found = outcomes(hd, size, [lambda: hd.recv(x, 0), lambda: hd.recv(x, 0)], 2)
    # The collectives of the group have connections of their own.
    y = torch.ones(1000)
    hd.all_reduce(y)
    assert y[0] == 2
    return found


def test_a_send_of_another_size() -> None:
    sender, receiver = ranks.run(pairs_fail, 2, seconds=4)
    assert receiver[0][0] == "DisagreementError" and "80000 bytes" in receiver[0][1]
    assert receiver[1][0] == "GroupError"
