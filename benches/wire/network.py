"""A slow wire on one machine: each rank in a network namespace of its own, all of them joined by a bridge.

A rank has one interface, `eth0`, whose other end is a port of the bridge. `tc tbf` limits what leaves either end, so
both what a rank sends and what it receives is limited. `tc netem` delays what a rank sends. The bridge is in a
namespace of its own, too: nothing is added to the network of the machine, and all is gone when the namespaces are.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

INTERFACE = "eth0"
# What waits longer than this in front of a limit is dropped, as a switch would.
_QUEUE = "50ms"


class Unavailable(Exception):
    """This machine cannot make such a wire; the message says why."""


class NetworkError(Exception):
    """A command that makes the wire failed."""


@dataclass(frozen=True)
class Wire:
    """What joins the ranks.

    Attributes:
        ranks: How many there are.
        rate: Bits a second, each way; None for no limit.
        delay: Seconds that each packet is delayed, one way.
    """

    ranks: int
    rate: int | None = None
    delay: float = 0.0


def burst(rate: int) -> int:
    """Bytes that may pass at once: two of the largest packets that the kernel hands down, or 0.2 milliseconds."""
    return max(128 << 10, rate // 8 // 5000)


def limits(wire: Wire) -> tuple[list[str], list[str]]:
    """Arguments of `tc qdisc add dev INTERFACE` that limit and that delay; empty where nothing does."""
    limited, delayed = [], []
    if wire.rate is not None:
        limited = ["root", "handle", "1:", "tbf", "rate", f"{wire.rate}bit", "burst", str(burst(wire.rate)), "latency", _QUEUE]
    if wire.delay:
        place = ["parent", "1:1"] if limited else ["root"]
        delayed = [*place, "netem", "delay", f"{round(wire.delay * 1e6)}us", "limit", "100000"]
    return limited, delayed


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NetworkError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")


class Network:
    """Makes the wire on entering, and removes it on leaving.

    >>> with Network(Wire(ranks=2, rate=10**9)) as network:             # doctest: +SKIP
    ...     subprocess.run([*network.inside(0), "ip", "address"])

    Raises:
        Unavailable: Something that it needs is missing.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        # Unique while this process lives.
        self._prefix = f"huffwire-{os.getpid()}"
        self._made: list[str] = []

    def name(self, rank: int) -> str:
        return f"{self._prefix}-{rank}"

    def inside(self, rank: int) -> list[str]:
        """What is put before a command so that it runs where a rank lives."""
        return ["ip", "netns", "exec", self.name(rank)]

    def __enter__(self) -> Network:
        check_tools()
        try:
            self._make()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _namespace(self, name: str) -> None:
        self._made.append(name)
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "set", "lo", "up")

    def _make(self) -> None:
        switch = f"{self._prefix}-switch"
        try:
            self._namespace(switch)
            _run("ip", "-n", switch, "link", "add", "bridge0", "type", "bridge")
        except NetworkError as error:
            raise Unavailable(f"namespaces and bridges cannot be made here: {error}") from None
        _run("ip", "-n", switch, "link", "set", "bridge0", "up")
        for rank in range(self.wire.ranks):
            name, port = self.name(rank), f"port{rank}"
            self._namespace(name)
            _run("ip", "link", "add", INTERFACE, "netns", name, "type", "veth", "peer", "name", port, "netns", switch)
            _run("ip", "-n", switch, "link", "set", port, "master", "bridge0", "up")
            _run("ip", "-n", name, "address", "add", f"10.77.0.{rank + 1}/24", "dev", INTERFACE)
            _run("ip", "-n", name, "link", "set", INTERFACE, "up")
            limited, delayed = limits(self.wire)
            if limited:
                self._queue(switch, port, limited)
                self._queue(name, INTERFACE, limited)
            if delayed:
                self._queue(name, INTERFACE, delayed)

    @staticmethod
    def _queue(namespace: str, interface: str, arguments: list[str]) -> None:
        try:
            _run("tc", "-n", namespace, "qdisc", "add", "dev", interface, *arguments)
        except NetworkError as error:
            kind = "netem" if "netem" in arguments else "tbf"
            raise Unavailable(f"this kernel has no queues of the kind {kind}: {error}") from None

    def remove(self) -> None:
        """Removes everything; interfaces end with their namespaces."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            while self._made:
                subprocess.run(["ip", "netns", "delete", self._made.pop()], capture_output=True, check=False)
        finally:
            signal.signal(signal.SIGINT, before)


def check_tools() -> None:
    """Raises `Unavailable` without root, `ip` or `tc`."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise Unavailable("network namespaces need root")
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            raise Unavailable(f"`{tool}` is missing (on Debian it is in the package iproute2)")


def sent_bytes(interface: str, table: str | None = None) -> int:
    """Bytes that the interface of this process's namespace has sent, headers of packets included.

    Args:
        interface: Its name.
        table: The content of /proc/self/net/dev, if it shall not be read.
    """
    table = Path("/proc/self/net/dev").read_text() if table is None else table
    for line in table.splitlines():
        name, colon, counters = line.partition(":")
        if colon and name.strip() == interface:
            return int(counters.split()[8])
    raise NetworkError(f"there is no interface {interface}")
