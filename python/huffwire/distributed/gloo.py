"""Pieces over a gloo group of their own.

What gloo demands is kept here. A receive is posted for the most bytes that a piece may have, because a longer
message would end the process that receives it. Every work is waited for exactly once, and never polled. Receives are
posted ahead: `Posted` keeps `window` of them open for each peer.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from huffwire.distributed.c10d import Store

if TYPE_CHECKING:
    from huffwire.distributed.calls import Operation
    from huffwire.distributed.engine import Engine
    from huffwire.distributed.pieces import Place


def window(ranks: int) -> int:
    """Receives that are posted ahead for each peer. Of few peers, more are needed to keep the link busy."""
    return 4 if ranks <= 4 else 2


class Gloo:
    """The transport over gloo.

    Args:
        store: Where the ranks find each other; nobody else uses it.
        rank, size: This rank, and how many there are.
        timeout: How long a rank waits for another one.
    """

    takes_at_once = False
    sends_parts = False

    def __init__(self, store: Store, rank: int, size: int, timeout: timedelta) -> None:
        # PyTorch's stubs do not have its methods.
        self._group: Any = dist.ProcessGroupGloo(store, rank, size, timeout=timeout)
        self._rank = rank
        self._size = size
        self._last: list[tuple[torch.Tensor, dist.Work]] = []

    def check(self, engine: Engine) -> None:
        """gloo tells of other ranks when they are waited for."""

    def post_send(self, message: torch.Tensor, peer: int, tag: int) -> dist.Work:
        work: dist.Work = self._group.send([message], peer, tag)
        return work

    def post_parts(self, head: bytes, elements: torch.Tensor, peer: int) -> dist.Work:
        raise NotImplementedError("gloo sends from one place")

    def post_receive(self, buffer: torch.Tensor, peer: int, tag: int) -> dist.Work:
        work: dist.Work = self._group.recv([buffer], peer, tag)
        return work

    def wait(self, pending: dist.Work) -> None:
        pending.wait()

    def stream(self, engine: Engine, operation: Operation, peer: int, pieces: int) -> Posted:
        return Posted(engine, operation, peer, pieces)

    def exchange(self, mine: torch.Tensor) -> list[torch.Tensor]:
        told = [torch.empty_like(mine) for _ in range(self._size)]
        self._group.allgather([told], [mine]).wait()
        return told

    def barrier(self) -> None:
        self._group.barrier().wait()

    def fail(self, reason: bytes, tag: int) -> None:
        message = torch.frombuffer(bytearray(reason), dtype=torch.uint8)
        for peer in range(self._size):
            if peer != self._rank:
                try:
                    # gloo may still send it after the end of this call.
                    self._last.append((message, self.post_send(message, peer, tag)))
                except RuntimeError:
                    # The peer is gone; it needs no message.
                    continue

    def close(self) -> None:
        """gloo ends its connections when nobody holds them any more."""


class Posted:
    """The pieces that one peer sends in a call: receives for them are posted ahead."""

    def __init__(self, engine: Engine, operation: Operation, peer: int, pieces: int) -> None:
        self.peer = peer
        self._engine = engine
        self._tag = operation.tag
        self._unposted = pieces
        self._posted: deque[tuple[torch.Tensor, dist.Work]] = deque()
        for _ in range(min(window(engine.size), pieces)):
            self._post(engine.take(operation.room))

    def _post(self, buffer: torch.Tensor) -> None:
        self._unposted -= 1
        self._posted.append((buffer, self._engine.post_receive(buffer, self.peer, self._tag)))

    def next(self, place: Place, elements: torch.Tensor | None) -> torch.Tensor:
        self._engine.check()
        buffer, work = self._posted.popleft()
        try:
            self._engine.wait(work)
        except BaseException:
            self._engine.leave([(buffer, [work])])
            raise
        return buffer

    def release(self, buffer: torch.Tensor) -> None:
        if self._unposted > 0:
            self._post(buffer)
        else:
            self._engine.give(buffer)

    def abandon(self) -> None:
        """Leaves the posted receives to gloo, which may still write to them."""
        self._engine.leave((buffer, [work]) for buffer, work in self._posted)
