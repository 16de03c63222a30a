"""Pieces over TCP connections of huffwire's own: `huffwire-net`, and how the ranks of a group come to them.

Each rank listens on one address, and tells the others through the group's store where, with a secret of 32 random
bytes. Whoever connects has to show the secret first, so nobody else than a member of the group gets in. Between two
ranks there are two connections, one for each direction.

A piece goes over a connection as it is: its header says how many bytes follow, and is checked before they are read.
A long piece is written by a thread of the connection, without Python, while the next one is coded; a short one by
the thread that coded it.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import struct
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from huffwire._errors import MismatchError, OptionError
from huffwire._huffwire import _Listener, _Mesh, _Ticket
from huffwire.distributed import pieces
from huffwire.distributed.c10d import PrefixStore, Store, TCPStore
from huffwire.distributed.errors import DisagreementError, OutOfStepError, PeerError

if TYPE_CHECKING:
    from huffwire.distributed.calls import Operation
    from huffwire.distributed.engine import Engine
    from huffwire.distributed.pieces import Place

# Peers that do not listen are cut off after so many seconds, once this rank has failed.
_GRACE = 2.0

# Bytes of pieces with other tags, headers included, that are kept until somebody receives them.
_KEPT = 64 << 20


class Tcp:
    """The transport over TCP.

    Args:
        store: Where the ranks find each other; nobody else uses it.
        rank, size: This rank, and how many there are.
        timeout: How long a rank waits for another one.
    """

    takes_at_once = True
    sends_parts = True

    def __init__(self, store: Store, rank: int, size: int, timeout: timedelta) -> None:
        self._rank = rank
        self._size = size
        self._others = [(rank + step) % size for step in range(1, size)]
        # Pieces that arrived before they were asked for, by their calls.
        self._kept: dict[int, deque[torch.Tensor]] = {}
        self._kept_bytes = 0
        try:
            self._mesh = _connect(store, rank, size, timeout)
        except BaseException as error:
            # The others need not wait for this rank until their time-out.
            store.set("failed", f"rank {rank}: {error}")
            store.set(f"address/{rank}", "")
            if isinstance(error, MismatchError):
                raise DisagreementError(f"{error}") from error
            raise

    def check(self, engine: Engine) -> None:
        # A rank that only sends does not read why others gave up.
        for peer, unread in self._mesh.ended():
            name = engine.names[peer]
            if not unread:
                raise PeerError(f"rank {name} ended, or gave the group up")
            pieces.raise_failure(name, unread)

    def post_send(self, message: torch.Tensor, peer: int, tag: int) -> _Ticket:
        return self._mesh.send([peer], b"", message.data_ptr(), message.nbytes, message)

    def post_parts(self, head: bytes, elements: torch.Tensor, peer: int) -> _Ticket:
        return self._mesh.send([peer], head, elements.data_ptr(), elements.nbytes, elements)

    def post_receive(self, buffer: torch.Tensor, peer: int, tag: int) -> _Receive:
        return _Receive(self._mesh, peer, buffer)

    def wait(self, pending: _Ticket | _Receive) -> None:
        pending.wait()

    def stream(self, engine: Engine, operation: Operation, peer: int, pieces: int) -> Incoming:
        return Incoming(self, engine, peer, operation.room)

    def exchange(self, mine: torch.Tensor) -> list[torch.Tensor]:
        told = [mine if rank == self._rank else torch.empty_like(mine) for rank in range(self._size)]
        ticket = self._mesh.send(self._others, b"", mine.data_ptr(), mine.nbytes, mine)
        for peer in self._others:
            self._mesh.receive(peer, (told[peer].data_ptr(), mine.nbytes))
        ticket.wait()
        return told

    def barrier(self) -> None:
        self.exchange(torch.zeros(8, dtype=torch.uint8, device="cpu"))

    def fail(self, reason: bytes, tag: int) -> None:
        self._mesh.fail(reason, _GRACE)

    def close(self) -> None:
        self._mesh.close()

    def piece(
        self,
        engine: Engine,
        peer: int,
        place: Place,
        elements: torch.Tensor | None,
        room: int = 0,
    ) -> torch.Tensor | None:
        """The next piece from a peer with the tag of `place`, as `Stream.next` returns it, in memory of at least `room` bytes."""
        buffer = engine.take(room)
        try:
            if self._take_kept(place.sequence, buffer):
                return buffer
            while True:
                length = self._read(engine, peer, place, buffer, elements)
                if length is None:
                    engine.give(buffer)
                    return None
                sequence = pieces.sequence(buffer)
                if place.collective != "send" or sequence >> 32 == place.sequence >> 32:
                    return buffer
                pieces.raise_failure(engine.names[peer], pieces.start(buffer, length))
                self._keep(engine.names[peer], place, sequence, buffer[:length])
        except BaseException:
            engine.give(buffer)
            raise

    def _take_kept(self, sequence: int, buffer: torch.Tensor) -> bool:
        """Copies the next kept piece of a call, if there is one."""
        waiting = self._kept.get(sequence)
        if not waiting:
            return False
        kept = waiting.popleft()
        if not waiting:
            del self._kept[sequence]
        self._kept_bytes -= kept.numel()
        buffer[: kept.numel()].copy_(kept)
        return True

    def _keep(self, name: int, place: Place, sequence: int, piece: torch.Tensor) -> None:
        """Keeps a piece with another tag until it is asked for."""
        if self._kept_bytes + piece.numel() > _KEPT:
            raise OutOfStepError(
                f"rank {name} has sent {_KEPT >> 20} MiB with tags such as {sequence >> 32}, and this rank receives "
                f"with the tag {place.sequence >> 32}: receive in the order of the sends"
            )
        self._kept_bytes += piece.numel()
        self._kept.setdefault(sequence, deque()).append(piece.clone())

    def _read(
        self,
        engine: Engine,
        peer: int,
        place: Place,
        buffer: torch.Tensor,
        elements: torch.Tensor | None,
    ) -> int | None:
        """Receives a piece. Returns its length in the buffer; None if its elements were brought to their place."""
        address, head = buffer.data_ptr(), pieces.HEADER
        self._mesh.receive(peer, (address, head))
        if elements is not None:
            name = engine.names[peer]
            checksum = engine.reader.raw_checksum(place, name, buffer)
            if checksum is not None:
                self._mesh.receive(peer, (elements.data_ptr(), place.size))
                engine.reader.check_raw(place, name, elements, checksum)
                return None
        length = pieces.payload(place, engine.names[peer], buffer)
        if length:
            self._mesh.receive(peer, (address + head, length))
        return head + length


class _Receive:
    """A receive that begins when it is waited for; until then the system's buffers take what comes."""

    def __init__(self, mesh: _Mesh, peer: int, buffer: torch.Tensor) -> None:
        self._mesh = mesh
        self._peer = peer
        self._buffer = buffer

    def wait(self) -> None:
        self._mesh.receive(self._peer, (self._buffer.data_ptr(), self._buffer.nbytes))


class Incoming:
    """The pieces that one peer sends in a call."""

    def __init__(self, transport: Tcp, engine: Engine, peer: int, room: int) -> None:
        self.peer = peer
        self._transport = transport
        self._engine = engine
        self._room = room

    def next(self, place: Place, elements: torch.Tensor | None) -> torch.Tensor | None:
        self._engine.check()
        with self._engine.failures():
            return self._transport.piece(self._engine, self.peer, place, elements, self._room)

    def release(self, buffer: torch.Tensor) -> None:
        self._engine.give(buffer)

    def abandon(self) -> None:
        """Nothing was posted, so nothing is left."""


def _connect(store: Store, rank: int, size: int, timeout: timedelta) -> _Mesh:
    secret = secrets.token_bytes(32)
    ports = os.environ.get("HUFFWIRE_TCP_PORTS") or None
    listener, address = _listen(store, ports, secret)
    told = {"address": address, "port": listener.port, "secret": secret.hex()}
    store.set(f"address/{rank}", json.dumps(told))
    keys = [f"address/{other}" for other in range(size) if other != rank]
    store.wait(keys, timeout)

    def look() -> None:
        if store.check(["failed"]):
            raise ConnectionError(store.get("failed").decode(errors="replace"))

    look()
    peers: list[tuple[str, int, bytes] | None] = []
    for other in range(size):
        if other == rank:
            peers.append(None)
            continue
        told_us = store.get(f"address/{other}")
        if not told_us:
            # It failed since, and has said so before it took its address back.
            look()
        found = json.loads(told_us)
        peers.append((found["address"], found["port"], bytes.fromhex(found["secret"])))
    return listener.connect(rank, peers, timeout.total_seconds(), look)


def _listen(store: Store, ports: str | None, secret: bytes) -> tuple[_Listener, str]:
    """Listens on the first address of this rank that can be listened on."""
    addresses = list(dict.fromkeys(_addresses(store)))
    for address in addresses[:-1]:
        try:
            return _Listener(address, ports, secret), address
        except OptionError:
            continue
    return _Listener(addresses[-1], ports, secret), addresses[-1]


def _addresses(store: Store) -> Iterator[str]:
    """Addresses at which other ranks may reach this one, the likeliest first."""
    names = os.environ.get("GLOO_SOCKET_IFNAME")
    if names:
        # gloo takes several, and uses them in turn.
        yield from _of_interface(names.split(",")[0].strip())
        return
    local = []
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        found = []
    for address in (str(place[0]) for *_, place in found):
        # Debian gives the host's own name an address that no other machine can reach.
        if address.startswith("127.") or address == "::1":
            local.append(address)
        elif "%" not in address:
            yield address
    yield from _towards(store)
    yield from local
    yield "127.0.0.1"


def _towards(store: Store) -> Iterator[str]:
    """The address from which this machine reaches the store."""
    while isinstance(store, PrefixStore):
        store = store.underlying_store
    if not isinstance(store, TCPStore):
        return
    try:
        found = socket.getaddrinfo(store.host, store.port, type=socket.SOCK_DGRAM)
    except OSError:
        return
    for family, kind, protocol, _, target in found:
        with socket.socket(family, kind, protocol) as probe:
            try:
                # This sends nothing.
                probe.connect(target)
            except OSError:
                continue
            yield str(probe.getsockname()[0])


def _of_interface(name: str) -> list[str]:
    """The addresses of a network interface: that of IPv4 first, and no address that only its own link knows."""
    import fcntl

    addresses = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("256s", name.encode()[:15])
        try:
            answer = fcntl.ioctl(probe.fileno(), 0x8915, request)  # SIOCGIFADDR
            addresses.append(socket.inet_ntoa(answer[20:24]))
        except OSError:
            pass
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as table:
            rows = [line.split() for line in table]
    except OSError:
        rows = []
    for digits, _, _, scope, _, interface in rows:
        if interface == name and scope in ("00", "10"):
            addresses.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)))
    if not addresses:
        raise OptionError(
            f"GLOO_SOCKET_IFNAME={name!r}: this machine has no interface of this name with an IP address"
        )
    return addresses
