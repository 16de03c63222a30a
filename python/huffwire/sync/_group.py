"""Publishing to a process group: each rank passes versions on to the next one, and all write them, or none."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist

from huffwire._buffers import Sets
from huffwire._errors import DamagedError, Error, MismatchError, OptionError
from huffwire._huffwire import Codebooks
from huffwire._tensors import _dtype
from huffwire.sync._copy import Copy
from huffwire.sync._follower import Follower, Prepared
from huffwire.sync._following import Totals, Update
from huffwire.sync._frames import Chain, Frame, Kind
from huffwire.sync._live import Change
from huffwire.sync._manifest import state_of
from huffwire.sync._publisher import Items, Published
from huffwire.sync._versions import Item, Options, empty, item_of


class GroupPublishing:
    """Publishing to all other ranks of a group."""

    def __init__(self, group: dist.ProcessGroup, options: Options) -> None:
        self.version: int | None = None
        self._chain = Chain(group, publishes=True)
        self._options = options
        self._copy = Copy()
        self._closed = False

    def close(self) -> None:
        """Ends publishing. The group stays."""
        self._closed = True

    def publish(self, make_items: Callable[[], Items], keyframe: bool) -> Published:
        """Sends the next version. Every subscriber calls `update` at the same time."""
        if self._closed:
            raise OptionError("the publisher is closed: open another one")
        start = time.monotonic()
        number = 0 if self.version is None else self.version + 1
        if keyframe or self.version is None:
            self._copy = Copy()
        is_whole = not self._copy.tensors
        self._copy.begin()
        try:
            items = make_items()
            sent, changes = self._send(number, items)
        except BaseException:
            if self._chain.in_step:
                self._chain.send(Kind.FAILED, b"")
                self._chain.agree(False)
            raise
        if not self._chain.agree(True):
            raise Error(
                f"version {number} was not published: a subscriber could not apply it, and no rank did; its own error "
                "tells why"
            )
        self.version = number
        copy, self._copy = self._copy, Copy()
        # If somebody wrote to a tensor meanwhile, what the others have is not known here: the next version has everything.
        with contextlib.suppress(MismatchError):
            copy.commit()
            self._copy = copy
        return Published(
            version=number,
            keyframe=is_whole,
            bytes=sent,
            raw_bytes=sum(tensor.nbytes for _, tensor in items.values()),
            changes=changes,
            seconds=time.monotonic() - start,
        )

    def _send(self, number: int, items: Items) -> tuple[int, int]:
        """Sends what changed; returns the bytes of messages, and how many words change."""
        import huffwire.torch

        options = self._options
        books = options.codebooks
        begin = {
            "version": number,
            "base": self.version if self._copy.tensors else None,
            "codebooks": None if books is None else books.to_bytes().hex(),
            "items": [list(item) for item, _ in items.values()],
        }
        self._chain.send(Kind.BEGIN, json.dumps(begin).encode())
        sent = changes = 0
        hashes = {}
        for key, (item, tensor) in items.items():
            encoded = self._copy.encode(item, tensor, options)
            kind, message = Kind.DELTA, encoded.message
            if encoded.whole is not None:
                kind = Kind.WHOLE
                message = huffwire.torch.encode(
                    encoded.whole,
                    level=options.level,
                    symbols=options.symbols,
                    codebooks=books,
                    threads=options.threads,
                )
            self._chain.send(kind, message or b"")
            hashes[key] = encoded.hash
            sent += len(message or b"")
            changes += encoded.changes
        state = state_of([(k, i.dtype, i.shape, hashes[k]) for k, (i, _) in items.items()])
        self._chain.send(Kind.END, state.encode())
        return sent, changes


class GroupFollowing:
    """Follows the publisher of a group."""

    def __init__(
        self, group: dist.ProcessGroup, follower: Follower, threads: int | None
    ) -> None:
        self._chain = Chain(group, publishes=False)
        self._follower = follower
        self._threads = threads
        # Changes of a version that the caller has not taken to the end, and what is then to be written.
        self._open: list[Change] = []
        self._agreed: tuple[Prepared, int] | None = None

    @property
    def version(self) -> int | None:
        """The version of the tensors."""
        return self._follower.version

    def update(self, version: int | None) -> Update | None:
        """Receives the next version, and writes it if all ranks can."""
        if version is not None:
            raise OptionError("version=: a group has no other version than the next one")
        totals = self._receive(None)
        self._open = []
        if self._agreed is not None:
            totals.deltas, totals.changes = 1, self._agreed[0].changes
            totals.pause += self._follow()
        return totals.update(self.version)

    def reload(self) -> Update | None:
        """There is nothing to load from: the group goes on."""
        raise OptionError("a group has no earlier version: let its publisher call publish(..., keyframe=True)")

    def changes(self) -> Iterator[Change]:
        """Receives the next version; own tensors follow when all changes were taken. What was left of earlier versions
        comes before: the other ranks have written it, and it is not sent again."""
        listed: list[Change] = []
        self._receive(listed)
        if self._agreed is None:
            whole = [Change(name, None, tensor) for name, tensor in self._follower.tensors.items()]
            self._open = whole
        else:
            # Indices and values, or whole tensors, which may be newer by now: in the end all are of this version.
            self._open = [*self._left(), *listed]
        mine = self._open
        yield from mine
        if self._open is mine:
            self._follow()
            self._open = []

    def _left(self) -> list[Change]:
        """What was not taken of earlier versions, which own tensors are by now. It takes no more memory than these."""
        tensors = self._follower.tensors
        size = sum(
            change.values.nbytes + (0 if change.indices is None else change.indices.nbytes)
            for change in self._open
        )
        if size <= sum(tensor.nbytes for tensor in tensors.values()):
            return self._open
        names = {change.name for change in self._open}
        return [Change(name, None, one) for name, one in tensors.items() if name in names]

    def _follow(self) -> float:
        """Writes what all ranks agreed on, if it was not; returns the seconds of the pause."""
        if self._agreed is None:
            return 0.0
        prepared, number = self._agreed
        try:
            seconds = self._follower.commit(prepared)
        except BaseException:
            # If only the pause was refused, it is asked for again before the next version.
            if self.version is None:
                self._agreed = None
            raise
        self._agreed, self._follower.version = None, number
        return seconds

    def _receive(self, listed: list[Change] | None) -> Totals:
        """Receives and checks a version. It is written already, or is what all ranks agreed on to be written."""
        totals = Totals(self.version)
        prepared = None
        arriving = Arriving(self._chain, self._threads)
        try:
            self._follow()
            totals.previous = self.version
            arriving.begin()
            if arriving.base is not None and arriving.base != self.version:
                raise DamagedError(
                    f"version {arriving.version} follows {arriving.base}, and {self.version} is here: a version was "
                    "lost; let the publisher call publish(..., keyframe=True), or make a new group"
                )
            if arriving.base is None:
                totals.pause += self._follower.load_stream(arriving)
                totals.keyframe = True
            else:
                prepared = self._follower.prepare(arriving, listed)
        except BaseException:
            # Otherwise the other ranks find that out by themselves.
            if self._chain.in_step:
                arriving.drain()
                self._chain.agree(False)
            raise
        if not self._chain.agree(True):
            raise Error(
                f"version {arriving.version} was not applied: another rank failed, and its own error tells why"
            )
        totals.bytes = arriving.bytes
        if prepared is None:
            self._follower.version = arriving.version
        else:
            self._agreed = prepared, arriving.version
        return totals


class Arriving:
    """A version while it arrives: each item is received when it is asked for."""

    def __init__(self, chain: Chain, threads: int | None) -> None:
        self._chain = chain
        self._threads = threads
        self._frame: tuple[str, Frame] | None = None
        self._ended = False
        self.items: dict[str, Item] = {}
        self.codebooks: Sets = None
        self.version = 0
        self.base: int | None = None
        self.bytes = 0

    def begin(self) -> None:
        """Receives what the version consists of."""
        begin = self._next(Kind.BEGIN)
        try:
            fields: dict[str, Any] = json.loads(begin.payload)
            self.version, self.base = fields["version"], fields["base"]
            if type(self.version) is not int or type(self.base) not in (int, type(None)):
                raise ValueError("numbers of versions")
            if fields["codebooks"] is not None:
                self.codebooks = Codebooks(bytes.fromhex(fields["codebooks"]))
            items = list(map(item_of, fields["items"]))
            self.items = {item.key: item for item in items}
            if len(self.items) != len(items):
                raise ValueError("an item comes twice")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedError(f"the beginning of a version is damaged: {error!r}") from error

    @property
    def state(self) -> str:
        """The hash of the state that it makes."""
        return self._next(Kind.END).payload.decode(errors="replace")

    def skip(self, key: str) -> None:
        """Receives an item, which is passed on, and forgets it."""
        self._item(key)

    def is_delta(self, key: str) -> bool:
        """Whether an item is a delta."""
        return self._item(key).kind is Kind.DELTA

    def message(self, key: str) -> bytes | bytearray:
        """An item that is a delta, as a message."""
        return self._item(key).payload

    def decode_into(self, key: str, tensor: torch.Tensor) -> None:
        """Decodes an item that is no delta."""
        import huffwire.torch

        frame = self._item(key)
        if frame.kind is not Kind.WHOLE:
            raise DamagedError(f"{key!r} is a delta, and there is no base")
        huffwire.torch.decode_into(
            frame.payload, tensor, codebooks=self.codebooks, threads=self._threads
        )

    def decode(self, key: str) -> torch.Tensor:
        """Decodes an item that is no delta into a new tensor."""
        item = self.items[key]
        tensor = empty(item.shape, _dtype(item.dtype))
        self.decode_into(key, tensor)
        return tensor

    def drain(self) -> None:
        """Receives the rest of the version, so that ranks behind get it, too."""
        while not self._ended:
            frame = self._chain.receive(check=False)
            self._ended = frame.kind in (Kind.END, Kind.FAILED)

    def _item(self, key: str) -> Frame:
        if self._frame is None or self._frame[0] != key:
            self._frame = key, self._next(Kind.DELTA, Kind.WHOLE)
            self.bytes += len(self._frame[1].payload)
        return self._frame[1]

    def _next(self, *kinds: Kind) -> Frame:
        frame = self._chain.receive()
        self._ended = frame.kind in (Kind.END, Kind.FAILED)
        if frame.kind is Kind.FAILED:
            raise Error("the publisher failed: no rank applied the version; its own error tells why")
        if frame.kind not in kinds:
            raise DamagedError(f"a frame of kind {frame.kind.name} came out of turn")
        return frame
