"""The life of a group's codebooks: traffic drifts, and all ranks change to new codebooks at the same call.

**Observe.** One rank, the *judge* (rank 0), takes notice of every coded piece that it sends or receives. Once in a
while it copies 16 KiB of one: see `huffwire::refresh` of the library. Other ranks do nothing. What the judge sends
and receives stands for the traffic of the group.

**Judge.** When enough was seen, a thread of the judge's own makes new codebooks from the samples and compares what
old and new ones spend. Nobody waits for it.

**Ship and switch.** The difficult part is to agree on the call, because ranks run ahead of each other. What they have
in common is the order of their coded calls. So every `Refresh.check` calls all ranks put a call of their own between
two of the program's, a *check*. It is an operation of the engine like all others: each of the engine's two threads
takes it in its turn. In a check the judge sends to each rank one piece of `_NEWS` bytes, and behind it the new
codebooks, if there are any: some kilobytes. The other ranks send nothing.

What a check told takes effect *at the next check*:

- No rank begins a check before it has ended the one before, in either thread. So when a rank switches, it has the
  codebooks. If it could not get them, its engine has failed, and all ranks raise.
- A rank that has passed check n switched exactly where all others do, because the news of check n - 1 are the same
  bytes on all ranks. No rank needs to tell that it has them, so there is no vote, and nothing to repeat.
- Pieces of calls before the check are coded, and read, with the old codebooks, however late that is: each thread
  switches where it comes to the check, with nothing of an earlier call left to do. The sending thread may be calls
  ahead of the receiving one, so each has codebooks of its own.
- Nobody waits for a decision. The sending thread of other ranks needs at check n what the receiving thread got at
  check n - 1, which is `Refresh.check` calls ago. Only a rank that is so far ahead of the judge waits for it. A
  check costs what a broadcast of a few bytes costs.

A wait is always for an earlier operation, as everywhere in the engine, so no two ranks wait for each other.

`huffwire.distributed.refresh` is a check at a call of the program's choosing. It judges at once, takes effect at
once, and is waited for.

Only calls of the group's engine count and switch. A call that is passed to the group has no codebooks. Sends and
receives between two ranks keep the codebooks of the set-up: they have no place in the order of calls, so a rank could
send with codebooks that the receiver gets only by a call that it makes later.

Codebooks are named in the header of each piece, so an error in all this could raise a `CodebookError`, and could not
give a wrong tensor.
"""

from __future__ import annotations

import math
import struct
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch

from huffwire import _huffwire
from huffwire._errors import CodebookError, OptionError
from huffwire._huffwire import Codebooks
from huffwire._options import check_whole
from huffwire.distributed import totals
from huffwire.distributed.calls import Operation, Worker
from huffwire.distributed.engine import Engine, Receiver, Sender
from huffwire.distributed.errors import PieceError
from huffwire.distributed.memory import Memory
from huffwire.distributed.pieces import Coder
from huffwire.distributed.schedules import Part, _others, _place, _receive

__all__ = ["Generation", "Refresh", "Report"]

# The rank that observes and judges.
_JUDGE = 0
# What a check tells: the id of the codebooks, the bytes that follow (0: no change), the regret (NaN: none was found
# yet), and the bytes that the new codebooks are expected to save.
_NEWS = struct.Struct("<8sQdd")
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Refresh:
    """When the codebooks of a group are replaced. All ranks must give the same.

    Attributes:
        regret: What codebooks may lose: 0.02 for two percent. It is the share that they spend above what new ones
            would spend on exponents.
        every: Coded pieces from one judgement or switch to the next, at least. New codebooks must save more than
            their own bytes in so many pieces.
        check: Coded calls of the group from one check to the next; None to switch only in
            `huffwire.distributed.refresh`.
        interval: Bytes of elements from one sample to the next, on average.
        samples: Samples that a judgement is made from: the last ones, 2 to 4096.
    """

    regret: float = 0.02
    every: int = 1000
    check: int | None = 256
    interval: int = 8 << 20
    samples: int = 32

    def __post_init__(self) -> None:
        if not isinstance(self.regret, (int, float)) or not 0 <= self.regret < math.inf:
            raise OptionError(f"regret={self.regret!r}: give 0 or more, such as 0.02")
        for name, least, most in [
            ("every", 1, 1 << 40),
            ("check", 1, 1 << 40),
            ("interval", 0, 1 << 40),
            ("samples", 2, 4096),
        ]:
            value = getattr(self, name)
            if name == "check" and value is None:
                continue
            check_whole(name, value, least, most)


@dataclass(frozen=True)
class Generation:
    """The codebooks that the next coded call of a group uses.

    Attributes:
        codebooks: The codebooks. Give them to `huffwire.distributed.setup` to continue with them after a restart.
        number: How often the group has switched since its set-up.
        regret: What the last judgement found that they lose: 0.01 for one percent; None before the first one and
            after a switch.
    """

    codebooks: Codebooks
    number: int = 0
    regret: float | None = None


@dataclass(frozen=True)
class Report:
    """What a call of `huffwire.distributed.refresh` did. All ranks get the same.

    Attributes:
        regret: What the codebooks lost: 0.01 for one percent; None if there were too few samples to tell.
        switched: Whether new codebooks are in use now.
        old, new: The ids of the codebooks before and now.
        shipped_bytes: The bytes of the new codebooks, which each rank received; 0 if there are none.
        saved_bytes: What they are expected to save in `Refresh.every` pieces.
    """

    regret: float | None
    switched: bool
    old: str
    new: str
    shipped_bytes: int
    saved_bytes: float


@dataclass(frozen=True)
class _News:
    """What a check told: the codebooks that are in use after the next one."""

    coder: Coder
    codebooks: Codebooks
    number: int = 0
    regret: float | None = None
    shipped_bytes: int = 0
    saved_bytes: float = 0.0


class _Judge:
    """Samples of the traffic of this rank, and what a thread of its own makes of them."""

    def __init__(self, refresh: Refresh, codebooks: Codebooks, level: str) -> None:
        self._refresher = _huffwire._Refresher(
            codebooks,
            level=level,
            regret=refresh.regret,
            every=refresh.every,
            interval=refresh.interval,
            samples=refresh.samples,
        )
        # Called for every piece, so nothing stands between.
        self.observe = self._refresher.observe
        self._worker = Worker("huffwire-judge")
        self._lock = threading.Lock()
        # From the beginning of a judgement until there is nothing more to do for it.
        self._busy = False
        self._proposal: tuple[Codebooks, float] | None = None
        self._error: BaseException | None = None
        # A judgement of an earlier round is about codebooks that were replaced, or is overtaken by another one.
        self._round = 0
        weakref.finalize(self, self._worker.close)

    @property
    def regret(self) -> float | None:
        return self._refresher.regret

    def due(self) -> None:
        """Has the thread judge, if it does not do so already."""
        with self._lock:
            if self._busy:
                return
            self._busy = True
            number = self._round
        self._worker.put(lambda: self._judge(number))

    def _judge(self, number: int) -> None:
        found = error = None
        try:
            found = self._refresher.judge()
        except BaseException as raised:
            error = raised
        with self._lock:
            if number == self._round:
                self._proposal, self._error = found, error
                self._busy = found is not None or error is not None

    def proposal(self) -> tuple[Codebooks, float] | None:
        """What the thread has found, once: codebooks, and the bytes that they are expected to save."""
        with self._lock:
            if self._error is not None:
                raise self._error
            found, self._proposal = self._proposal, None
            return found

    def now(self) -> tuple[Codebooks, float] | None:
        """The same from a judgement that is made at once."""
        self._begin_round(True)
        found = self._refresher.judge(now=True)
        if found is None:
            self._begin_round(False)
        return found

    def switch(self, codebooks: Codebooks) -> None:
        """These codebooks are in use from now on."""
        self._refresher.switch(codebooks)
        self._begin_round(False)

    def _begin_round(self, busy: bool) -> None:
        with self._lock:
            self._round += 1
            self._busy = busy
            self._proposal = self._error = None


class Life:
    """The codebooks of a group from its set-up on.

    Args:
        refresh: When they are replaced.
        codebooks: The first ones; None for the built-in ones.
        level: As for `huffwire.encode`.
        rank: This rank.
    """

    def __init__(
        self, refresh: Refresh, codebooks: Codebooks | None, level: str, rank: int
    ) -> None:
        books = Codebooks.builtin() if codebooks is None else codebooks
        self._check = refresh.check
        self._level = level
        self._judge = _Judge(refresh, books, level) if rank == _JUDGE else None
        self.coder = Coder(codebooks, level, self._judge)
        # What the last check told, and what is in use.
        self._told = self._used = _News(self.coder, books)
        self._calls = 0
        self._last: Operation | None = None

    def count(self, engine: Engine) -> None:
        """Takes notice of a call that is put next, and puts a check before it if it is time. Calls are ordered by
        the caller."""
        self._calls += 1
        if self._check is not None and self._calls % self._check == 0:
            self._put(engine, False)

    def refresh(self, engine: Engine) -> Report:
        """A check that judges, takes effect and is waited for at once."""
        before: list[_News] = []
        operation = engine.ordered(lambda: self._put(engine, True, before))
        operation.wait()
        used, told = before
        new = _wait(engine, operation)
        # What the check before told may take effect only now.
        cause = told if new.number == told.number > used.number else new
        return Report(
            cause.regret,
            new.number > used.number,
            used.codebooks.id,
            new.codebooks.id,
            cause.shipped_bytes,
            cause.saved_bytes,
        )

    def generation(self) -> Generation:
        """The codebooks of the next call, after all checks before it."""
        last = self._last
        if last is not None:
            last.done.wait()
        used, told = self._used, self._told
        # The regret that led to new codebooks is that of the ones before.
        regret = None if used is told and told.shipped_bytes else told.regret
        return Generation(used.codebooks, used.number, regret)

    def _put(self, engine: Engine, at_once: bool, before: list[_News] | None = None) -> Operation:
        """Puts a check behind the calls before it.

        Args:
            at_once: Whether it judges and takes effect at once.
            before: Gets what was in use before, and what the check before told.
        """
        previous, judge = self._last, self._judge

        def run(
            part: Sender | Receiver,
            adopt: Callable[[_News], None],
            tell: Callable[[_News], _News] | None,
        ) -> None:
            """A check in one of the two threads. One of them gets the news, and tells the other."""
            if previous is not None:
                adopt(_wait(part.engine, previous))
            if tell is not None:
                self._told = tell(self._told)
                part.operation.ready.put(self._told)
            if at_once:
                adopt(_wait(part.engine, part.operation))

        def send(sender: Sender) -> None:
            def adopt(news: _News) -> None:
                sender.engine.coder = news.coder
                if judge is not None and news.number > self._used.number:
                    judge.switch(news.codebooks)
                self._used = news

            def tell(told: _News) -> _News:
                assert judge is not None
                return self._send(sender, judge, told, at_once)

            if before is not None:
                before.extend([self._used, _wait(sender.engine, previous) if previous else self._used])
            run(sender, adopt, None if judge is None else tell)

        def receive(receiver: Receiver) -> None:
            def adopt(news: _News) -> None:
                receiver.engine.reader = news.coder

            def tell(told: _News) -> _News:
                return self._receive(receiver, told)

            run(receiver, adopt, tell if judge is None else None)

        self._last = engine.insert("refresh", [], send, receive)
        return self._last

    def _send(self, sender: Sender, judge: _Judge, before: _News, at_once: bool) -> _News:
        """Judges or takes what was found, and tells the other ranks."""
        found = judge.now() if at_once else judge.proposal()
        data, saved = b"", 0.0
        codebooks = before.codebooks
        if found is not None:
            codebooks, saved = found
            data = codebooks.to_bytes()
        regret = judge.regret
        told = math.nan if regret is None else regret
        _send_bytes(sender, _NEWS.pack(bytes.fromhex(codebooks.id), len(data), told, saved), 0)
        if data:
            _send_bytes(sender, data, 1)
        return self._news(before, codebooks, len(data), regret, saved)

    def _receive(self, receiver: Receiver, before: _News) -> _News:
        """Receives what `_send` sends."""
        identity, size, regret, saved = _NEWS.unpack(_receive_bytes(receiver, _NEWS.size, 0))
        if size > _MOST_BYTES:
            raise PieceError(
                f"rank {_JUDGE} announces codebooks of {size} bytes, and they have at most {_MOST_BYTES}"
            )
        codebooks = before.codebooks
        if size:
            codebooks = Codebooks.from_bytes(_receive_bytes(receiver, size, 1))
        if bytes.fromhex(codebooks.id) != identity:
            raise CodebookError(
                f"rank {_JUDGE} announces the codebooks {identity.hex()}, and this rank has {codebooks.id}: call "
                "huffwire.distributed.setup(group, codebooks=...) on all ranks"
            )
        return self._news(before, codebooks, size, None if math.isnan(regret) else regret, saved)

    def _news(
        self, before: _News, codebooks: Codebooks, size: int, regret: float | None, saved: float
    ) -> _News:
        coder, number = before.coder, before.number
        if size:
            coder = Coder(codebooks, self._level, self._judge)
            number += 1
        totals.judged(regret, bool(size))
        return _News(coder, codebooks, number, regret, size, saved)


def _send_bytes(sender: Sender, told: bytes, stage: int) -> None:
    """Sends bytes of the judge's to all other ranks."""
    memory = Memory(torch.frombuffer(bytearray(told), dtype=torch.uint8))
    part = Part(sender.engine.piece, torch.uint8, 0, len(told))
    for index in range(part.count):
        place = _place(sender.operation, memory, part, index, _JUDGE, stage)
        sender.send(memory, *part.range(index), place, False, _others(sender.engine))


def _receive_bytes(receiver: Receiver, size: int, stage: int) -> bytes:
    """Receives what `_send_bytes` sends."""
    told = torch.empty(size, dtype=torch.uint8, device="cpu")
    memory, part = Memory(told), Part(receiver.engine.piece, torch.uint8, 0, size)
    stream = receiver.stream(_JUDGE, part.count)
    for index in range(part.count):
        _receive(receiver, stream, memory, part, index, _JUDGE, stage)
    return bytes(told.tolist())


def _wait(engine: Engine, operation: Operation) -> _News:
    """What a check told, from the thread that gets it."""
    news = operation.ready.get()
    # Others wait, too.
    operation.ready.put(news)
    if news is None:
        engine.check()
    assert isinstance(news, _News)
    return news
