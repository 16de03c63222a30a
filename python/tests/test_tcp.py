"""Collectives over TCP: connections, strangers, and what goes wrong with them."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import ranks
import test_collectives
import test_failures
import torch
import torch.distributed as dist


def test_collectives_over_tcp() -> None:
    ranks.run(test_collectives.gathers, 3, "always", False, transport="tcp")
    ranks.run(test_collectives.gathers, 2, "raw", False, transport="tcp")
    ranks.run(test_collectives.sums, 4, False, transport="tcp")
    ranks.run(test_collectives.exchanges, 3, False, transport="tcp")
    ranks.run(test_collectives.many_at_once, 2, transport="tcp")
    assert max(ranks.run(test_collectives.memory_of_a_gather, 2, transport="tcp")) < 64 << 20


def small_and_large(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    hd.setup(piece=65536)
    # Calls in this thread and in others, one after the other and at the same time.
    for count in (0, 1, 1000, 70_000, 400_000):
        x = torch.full((count,), float(rank), dtype=torch.bfloat16)
        kept, waiting = x.clone(), x.clone()
        work = hd.all_reduce(waiting, async_op=True)
        hd.all_reduce(kept)
        work.wait()
        hd.broadcast(x, size - 1)
        whole = torch.full((count,), size * (size - 1) / 2, dtype=torch.bfloat16)
        assert torch.equal(kept, whole) and torch.equal(waiting, whole)
        assert torch.equal(x, torch.full_like(x, size - 1))
        gathered = torch.empty(count * size, dtype=torch.bfloat16)
        hd.all_gather_into_tensor(gathered, kept)
        assert torch.equal(gathered, whole.repeat(size))
    totals = hd.stats()["all_reduce"]
    assert totals["calls"] == 10 and totals["fallbacks"] == 0
    assert 0 < totals["bytes_after"] < totals["bytes_before"]


def test_small_calls_are_made_in_the_calling_thread() -> None:
    ranks.run(small_and_large, 4, transport="tcp")


def automatic(rank: int, size: int) -> tuple:
    import huffwire.distributed as hd

    agreement = hd.setup(compression="auto", link=hd.Link(125e6, 50e-6))
    # Over TCP even a small call is faster than gloo's own.
    small, large = torch.ones(1024), torch.randn(4 << 20).bfloat16()
    hd.broadcast(small, 0)
    assert agreement.model.best("broadcast", "f32", 4096) != "plain"
    hd.broadcast(large, 0)
    found = hd.stats()["broadcast"]
    measured = hd.setup(compression="auto").model
    assert measured.link.bytes_per_second > 1e6 and 0 < measured.link.latency < 5
    return found["calls"], found["fallbacks"], found["pieces"], agreement.model, measured


def test_auto_knows_the_transport() -> None:
    sender, receiver = ranks.run(automatic, 2, transport="tcp")
    assert sender[:3] == (2, 0, 33) and receiver[:3] == (2, 0, 0)
    assert sender[3:] == receiver[3:], "all ranks have the same figures"
    assert sender[3].transport == "tcp"


def with_strangers(rank: int, size: int) -> list[bytes]:
    import huffwire.distributed as hd
    from huffwire.distributed import tcp

    listen = tcp._listen
    strangers = []

    def watched(*arguments):
        listener, address = listen(*arguments)
        for bytes_ in (b"GET / HTTP/1.1\r\n\r\n", b"", b"HWTC" + bytes(32), b"HWT"):
            stranger = socket.create_connection((address, listener.port), timeout=20)
            stranger.sendall(bytes_)
            strangers.append(stranger)
        return listener, address

    tcp._listen = watched
    x = torch.ones(1000, dtype=torch.bfloat16)
    hd.all_reduce(x)
    assert x[0] == size
    answers = []
    for stranger in strangers:
        try:
            answers.append(stranger.recv(100))
        except ConnectionError:
            answers.append(b"")
    return answers


def test_strangers_are_dropped() -> None:
    # Who stays silent is dropped when the group is complete.
    assert ranks.run(with_strangers, 3, transport="tcp") == [[b""] * 4] * 3


def wrong_door(rank: int, size: int, what: str) -> None:
    import huffwire.distributed as hd
    from huffwire.distributed import tcp

    class Door:
        """A listener that is not what the rank tells the others."""

        def __init__(self, address: str, ports: str | None, secret: bytes) -> None:
            if what == "token":
                secret = bytes(32)
            self._listener = tcp_listener(address, ports, secret)
            self.port = self._listener.port
            if what == "port":
                with socket.socket() as unused:
                    unused.bind((address, 0))
                    self.port = unused.getsockname()[1]

        def connect(self, *arguments):
            return self._listener.connect(*arguments)

    tcp_listener = tcp._Listener
    if rank == 1:
        tcp._Listener = Door
    started = time.monotonic()
    with pytest.raises(hd.PeerError):
        hd.setup()
    # All know it when one does, long before the time-out.
    assert time.monotonic() - started < 30
    with pytest.raises(hd.GroupError, match="setup"):
        hd.all_reduce(torch.ones(10))


@pytest.mark.parametrize("what", ["token", "port"])
def test_a_wrong_token_and_a_refused_connection(what: str) -> None:
    ranks.run(wrong_door, 3, what, seconds=40, transport="tcp")


def different_transports(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    with pytest.raises(hd.DisagreementError, match="transport"):
        hd.all_reduce(torch.ones(10))
    # What all agree on mends the group, and may be changed later.
    for transport in ("tcp", "gloo", "tcp"):
        assert hd.setup(transport=transport).settings.transport == transport
        x = torch.ones(10)
        hd.all_reduce(x)
        assert x[0] == size


def test_ranks_with_different_transports() -> None:
    ranks.run(
        different_transports,
        3,
        each=lambda rank: {"HUFFWIRE_TRANSPORT": ("gloo", "tcp", "tcp")[rank]},
    )


def bad_settings(rank: int, size: int) -> None:
    import huffwire.distributed as hd
    from huffwire import OptionError

    with pytest.raises(OptionError, match="transport='udp'"):
        hd.setup(transport="udp")
    for name, value, text in (
        ("HUFFWIRE_TCP_PORTS", "5-4", "ports"),
        ("GLOO_SOCKET_IFNAME", "nonsense7", "interface"),
    ):
        if rank == 1:
            os.environ[name] = value
        with pytest.raises(OptionError if rank == 1 else hd.PeerError, match=text):
            hd.setup(transport="tcp")
        os.environ.pop(name, None)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    os.environ["HUFFWIRE_TCP_PORTS"] = "20000-60000"
    hd.setup(transport="tcp")
    x = torch.ones(10)
    hd.all_reduce(x)
    assert x[0] == size


def test_settings_of_the_system() -> None:
    ranks.run(bad_settings, 2, seconds=40)


@pytest.mark.parametrize("name", ["all_reduce", "broadcast"])
def test_a_killed_rank(name: str) -> None:
    *others, dead = ranks.run(killed, 3, name, seconds=20, transport="tcp")
    assert isinstance(dead, ranks.Died) and dead.code == -signal.SIGKILL
    for first, second in others:
        assert (first[0] or second[0]) in ("PeerError", "GroupError"), (first, second)
        assert second[0] in ("PeerError", "GroupError")
        # A closed connection is noticed without a time-out.
        assert first[2] + second[2] < 18 + test_failures.SLOW


def killed(rank: int, size: int, name: str) -> list:
    import huffwire.distributed as hd

    hd.setup(piece=65536)
    x = torch.randn(400_000).bfloat16()
    test_failures.CALLS[name](hd, x, size)
    if rank == size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    # The root of a broadcast may be ahead of the others: what it sends waits in the system's buffers.
    time.sleep(1)
    return test_failures.outcomes(
        hd, size, [lambda: test_failures.CALLS[name](hd, x, size)] * 2, 0.5
    )


def test_a_rank_killed_within_a_call() -> None:
    dead, *others = ranks.run(test_failures.one_dies_within, 3, seconds=10, transport="tcp")
    assert isinstance(dead, ranks.Died)
    for found in others:
        names = [name for name, _, _ in found]
        first = next(index for index, name in enumerate(names) if name)
        assert names[first] == "PeerError" and set(names[first + 1 :]) <= {"GroupError"}


def stopped(rank: int, size: int) -> list:
    import huffwire.distributed as hd

    hd.setup(piece=4096)
    x = torch.randn(400_000).bfloat16()
    hd.all_reduce(x)
    if rank == 1:
        subprocess.Popen(["sh", "-c", f"sleep 5; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
    return test_failures.outcomes(hd, size, [lambda: hd.all_reduce(x)], 4 if rank != 1 else 0)


def test_a_stopped_rank() -> None:
    found = ranks.run(stopped, 3, seconds=2, transport="tcp")
    for rank, [(name, text, seconds)] in enumerate(found):
        assert name == "PeerError", (rank, name, text)
        assert seconds < 5 + test_failures.SLOW
    assert any("2 seconds" in text for [(_, text, _)] in found)


@pytest.mark.parametrize(
    ("name", "where", "coded"), [("all_gather", 5000, True), ("all_reduce", 9, False)]
)
def test_bits_flipped_in_flight(name: str, where: int, coded: bool) -> None:
    test_failures.check_flips(name, where, coded, "tcp")


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("garbage", "PieceError", "foreign"),
        ("shape", "DisagreementError", "60000 bytes"),
        ("collective", "OutOfStepError", "all_gather"),
    ],
)
def test_foreign_pieces(what: str, error: str, text: str) -> None:
    test_failures.check_foreign(what, error, text, "tcp")


def cut_off(rank: int, size: int) -> list:
    import huffwire.distributed as hd
    from huffwire.distributed import groups, pieces

    hd.setup(piece=65536)
    x = torch.randn(50_000).bfloat16()
    engine, _ = groups.coded_group(dist.group.WORLD).ready()
    if rank == 1:
        place = pieces.Place("broadcast", 0, 0, x.dtype, 100_000, 0, 2, 1, 65536)
        buffer = torch.empty(pieces.capacity(65536), dtype=torch.uint8)
        length = engine.coder.write(place, x[:32768], True, buffer)
        engine.wait(engine.post_send(buffer[: length // 2], 0, 0))
        time.sleep(0.5)
        engine.transport.close()
    return test_failures.outcomes(hd, size, [lambda: hd.broadcast(x, 1)], 1)


def test_a_rank_that_closes_in_the_middle_of_a_piece() -> None:
    [(name, text, seconds)], [there] = ranks.run(cut_off, 2, seconds=30, transport="tcp")
    assert name == "PeerError" and "bytes early" in text, text
    assert seconds < 10 + test_failures.SLOW
    assert there[0] == "PeerError"


def ended(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    def threads() -> list[str]:
        names = []
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/comm", encoding="ascii") as file:
                names.append(file.read().strip())
        return [name for name in names if name.startswith("huffwire-")]

    def sockets() -> int:
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        return sum(
            os.readlink(link).startswith("socket:") for link in links if os.path.islink(link)
        )

    before = sockets()
    group = dist.new_group(list(range(size)))
    gloo = sockets() - before
    hd.setup(group)
    hd.all_reduce(torch.randn(3_000_000).bfloat16(), group=group)
    assert len(threads()) == size - 1 and sockets() >= before + gloo + 2 * (size - 1)
    dist.barrier()
    dist.destroy_process_group(group)
    del group
    end = time.monotonic() + 20
    while (threads() or sockets() > before) and time.monotonic() < end:
        gc.collect()
        time.sleep(0.05)
    assert threads() == [] and sockets() <= before, (threads(), sockets(), before)


def test_threads_and_sockets_end_with_the_group() -> None:
    ranks.run(ended, 3, transport="tcp")


def test_a_fork_has_no_group() -> None:
    assert ranks.run(test_failures.forked, 2, transport="tcp") == [0, 0]


def test_the_interpreter_ends_while_a_call_is_under_way(tmp_path) -> None:
    program = textwrap.dedent(
        """
        import sys, time
        import torch, torch.distributed as dist
        import huffwire.distributed as hd

        rank = int(sys.argv[1])
        store = dist.FileStore(sys.argv[2], 2)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
        hd.setup(transport="tcp", compression="always")
        if rank == 0:
            hd.all_reduce(torch.ones(5_000_000), async_op=True)
            time.sleep(0.5)
        else:
            time.sleep(3)
        print("end", flush=True)
        """
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    assert [out for out, _ in ends] == ["end\n", "end\n"]


def interrupted(rank: int, size: int) -> None:
    import huffwire.distributed as hd

    hd.setup()
    if rank == 0:
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            hd.broadcast(torch.ones(10), 1)
        assert time.monotonic() - started < 20
    else:
        time.sleep(2)


def test_a_signal_ends_a_wait() -> None:
    ranks.run(interrupted, 2, seconds=60, transport="tcp")
