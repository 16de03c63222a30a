"""Process groups, and what huffwire keeps for each of them."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from huffwire._errors import OptionError, UnsupportedError
from huffwire._huffwire import Codebooks
from huffwire.distributed import device_group, pieces, plain
from huffwire.distributed.c10d import PrefixStore, Store
from huffwire.distributed.calls import CodedWork, Lines, Operation
from huffwire.distributed.device_engine import DeviceEngine
from huffwire.distributed.device_group import DeviceGroup
from huffwire.distributed.engine import Engine, Receiver, Sender
from huffwire.distributed.errors import GroupError, PeerError, check_process
from huffwire.distributed.life import Generation, Life, Refresh, Report
from huffwire.distributed.memory import Scratch
from huffwire.distributed.policy import Link, Way
from huffwire.distributed.settings import (
    Agreement,
    Compression,
    Policy,
    Settings,
    agree,
    compression_of,
    device_piece,
    transport_of,
)
from huffwire.distributed.totals import Totals
from huffwire.distributed.transport import TransportName

__all__ = ["generation", "refresh", "setup"]


class Pair:
    """Two ranks of a group that send to each other, outside of the collectives.

    The pair is connected by whichever of its threads is needed first, so that a send or a receive that is only
    started does not wait for the other rank.

    Messages one way with the same tag stand in a line, and lines do not wait for each other: the other rank may
    receive tags in any order. Over TCP all pieces one way share a connection, so they stand in one line, and the
    receiver keeps what it does not want yet. Messages that the wrapped group carries have lines of their own there.
    """

    def __init__(self, group: CodedGroup, peer: int) -> None:
        low, high = sorted((group.rank, peer))
        self.peer = peer
        self._here = int(group.rank > peer)
        self._wrapped = group.wrapped
        self._settings = group.settings
        self._store = PrefixStore(f"{low}-{high}/", group.store)
        self._names = [low, high]
        self._timeout = group.timeout
        self._lock = threading.Lock()
        self._agreed: tuple[Engine, Policy] | None = None
        self._error: BaseException | None = None
        self._order = threading.Lock()
        self._sequences: dict[tuple[bool, int], int] = {}
        self._lines = Lines("huffwire-pair")
        self._scratch = threading.local()
        weakref.finalize(self, self._lines.close)

    def start(
        self,
        sends: bool,
        tensor: torch.Tensor,
        tag: int,
        body: Callable[[Engine, bool, Any], None],
    ) -> CodedWork:
        """Starts a send or a receive.

        Args:
            sends: Which of the two.
            tensor: What is sent, or where it is received.
            tag: Its tag.
            body: Does the work: gets the engine, whether pieces are coded, and the part of the call.
        """
        line = sends, "tcp" if self._settings.transport == "tcp" else tag
        with self._order:
            sequence = self._sequences.get((sends, tag), 0)
            self._sequences[sends, tag] = sequence + 1
            # The number names the tag, too: where tags share a connection, pieces are told apart by it.
            operation = Operation("send", tag << 32 | sequence, tag, 1, [tensor])
            self._lines.put(line, lambda: self._run(sends, operation, tensor, body))
        return CodedWork(operation)

    def _run(
        self,
        sends: bool,
        operation: Operation,
        tensor: torch.Tensor,
        body: Callable[[Engine, bool, Any], None],
    ) -> None:
        try:
            engine, policy = self._agree()
            way = policy.way("send", tensor.dtype, tensor.nbytes)
        except BaseException as error:
            operation.end_part(error, Totals())
            return
        if way == "plain":
            if self._settings.transport == "tcp":
                line = sends, operation.tag
                self._lines.put(line, lambda: self._run_plain(sends, operation, tensor))
            else:
                self._run_plain(sends, operation, tensor)
            return

        def work(part: Sender | Receiver) -> None:
            part.scratch = self._own_scratch(engine)
            body(engine, way == "coded", part)

        if sends:
            engine.run(operation, Sender, work)
        else:
            engine.run(operation, Receiver, work)

    def _run_plain(self, sends: bool, operation: Operation, tensor: torch.Tensor) -> None:
        """Has the wrapped group carry a message."""
        try:
            call = self._wrapped.send if sends else self._wrapped.recv
            call([tensor], self.peer, operation.tag).wait()
        except BaseException as error:
            operation.end_part(error, Totals())
        else:
            operation.end_part(None, Totals(fallbacks=1))

    def _own_scratch(self, engine: Engine) -> Scratch:
        """Memory of this thread for pieces of tensors on other devices."""
        if not hasattr(self._scratch, "memory"):
            self._scratch.memory = Scratch(engine.piece)
        scratch: Scratch = self._scratch.memory
        return scratch

    def _agree(self) -> tuple[Engine, Policy]:
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._agreed is None:
                try:
                    engine = Engine(
                        self._store,
                        self._here,
                        2,
                        self._timeout,
                        self._names,
                        self._settings.transport,
                    )
                    agreement, _ = agree(engine, self._settings)
                    engine.configure(_coder(self._settings), agreement.piece)
                except BaseException as error:
                    self._error = error
                    raise
                self._agreed = engine, Policy(agreement)
            return self._agreed


def _coder(settings: Settings) -> pieces.Coder:
    return pieces.Coder(settings.codebooks, settings.level)


class CodedGroup:
    """What huffwire keeps for a process group: an engine beside it, and what its ranks agreed on.

    Args:
        wrapped: The group, or a backend, that plain calls of single tensors are passed to.
        store: Where its ranks find each other; nobody else uses it.
        rank, size: This rank, and how many there are.
        timeout: How long a rank waits for another one.
    """

    def __init__(
        self, wrapped: Any, store: Store, rank: int, size: int, timeout: timedelta
    ) -> None:
        self.wrapped = wrapped
        self.rank = rank
        self.size = size
        self.timeout = timeout
        self.settings = Settings(compression_of(None), transport=transport_of(None))
        self._root = store
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._begin(0)
        # Once the ranks agreed.
        self.engine_and_policy: tuple[Engine, Policy] | None = None
        self._device_engine: DeviceEngine | None = None
        self._moved: dict[torch.device, bool] = {}
        self._error: BaseException | None = None
        self.agreement: Agreement | None = None

    def _begin(self, attempt: int) -> None:
        """Begins with an attempt to connect the ranks, in a part of the store of its own."""
        self._attempt = attempt
        self.store = PrefixStore(f"huffwire/{attempt}/", self._root)
        self._pairs: dict[int, Pair] = {}

    def _begin_anew(self) -> None:
        """Begins with the first attempt that nobody gave up.

        A rank may have made attempts that others took no part in. As whoever gives up an attempt says so in the store,
        the next one is the same for all.
        """
        attempt = self._attempt
        while self._root.check([f"huffwire/given up/{attempt}"]):
            attempt += 1
        if attempt != self._attempt:
            self._begin(attempt)

    def _give_up(self) -> None:
        """Tells the other ranks that this one takes no part any more in the attempt."""
        try:
            self._root.set(f"huffwire/given up/{self._attempt}", "")
        except RuntimeError:
            # The store is gone, and with it whoever could look there.
            pass

    def setup(self, settings: Settings) -> Agreement:
        """Connects the ranks anew, and has them agree."""
        check_process(self._process)
        with self._lock:
            plain.forget()
            # Other ranks may still read what the engine before has sent, until all have agreed anew.
            before = self.engine_and_policy, self._pairs
            if self.engine_and_policy is not None:
                self._give_up()
            self.engine_and_policy = self._device_engine = self._error = None
            self.settings = settings
            self._moved = {}
            agreement = self._agree(by_setup=True)[1].agreement
            del before
            return agreement

    def _agree(self, by_setup: bool = False) -> tuple[Engine, Policy]:
        try:
            try:
                self._begin_anew()
            except RuntimeError as error:
                raise PeerError(f"the store of the group does not answer: {error}") from error
            engine = Engine(
                PrefixStore("all/", self.store),
                self.rank,
                self.size,
                self.timeout,
                transport=self.settings.transport,
            )
            devices = self._devices()
            agreement, by_setup = agree(engine, self.settings, by_setup, devices)
            self.agreement = agreement
            if devices is not None:
                self._device_engine = DeviceEngine(
                    devices, self.settings.codebooks, device_piece(self.settings)
                )
            if self.settings.refresh is None:
                engine.configure(_coder(self.settings), agreement.piece)
            else:
                engine.life = Life(
                    self.settings.refresh, self.settings.codebooks, self.settings.level, self.rank
                )
                engine.configure(engine.life.coder, agreement.piece)
        except BaseException as error:
            self._error = error
            self._give_up()
            raise
        if by_setup:
            # What was connected before for sends and receives may have failed, and has other settings. All ranks find
            # each other anew, also those that agreed by their first collective.
            self._pairs = {}
            self.store = PrefixStore("set up/", self.store)
        self.engine_and_policy = engine, Policy(agreement)
        return self.engine_and_policy

    def ready(self) -> tuple[Engine, Policy]:
        """The engine and the policy; the first call connects all ranks and has them agree."""
        ready = self.engine_and_policy
        if ready is None:
            check_process(self._process)
            with self._lock:
                if self._error is not None:
                    raise GroupError(
                        f"the set-up of the group failed earlier ({self._error}): call "
                        "huffwire.distributed.setup on all ranks, or make a new group"
                    ) from self._error
                ready = self.engine_and_policy or self._agree()
        return ready

    def _devices(self) -> DeviceGroup | None:
        """The group as one that moves bytes of devices, where the transport is that."""
        if self.settings.transport != "device":
            return None
        device = device_group.device_of(self.wrapped)
        return None if device is None else DeviceGroup(self.wrapped, self.rank, self.size, device)

    def stays(self, tensor: torch.Tensor) -> bool:
        """Whether the bytes of a tensor stay on devices, instead of going in pieces through the host."""
        if self.settings.transport != "device":
            return False
        moved = self._moved.get(tensor.device)
        if moved is None:
            moved = self._moved[tensor.device] = device_group.moves(self.wrapped, tensor.device)
        return moved

    def carrier(self, tensor: torch.Tensor) -> Engine | DeviceEngine:
        """What carries calls on a tensor."""
        engine, _ = self.ready()
        if not self.stays(tensor):
            return engine
        there = self._device_engine
        if there is None or there.group.device != tensor.device:
            found = "none" if there is None else there.group.device
            raise UnsupportedError(
                f"a tensor on {tensor.device}, and the group was set up for {found}: select the device by "
                "torch.cuda.set_device before the first collective or huffwire.distributed.setup, as NCCL wants it"
            )
        return there

    def way(self, collective: str, tensor: torch.Tensor, size: int) -> Way:
        """How a call is carried.

        Args:
            collective: Its name, as `Model.seconds` knows it.
            tensor: Has the type and the device of its tensors.
            size: Bytes of the whole tensor.
        """
        _, policy = self.ready()
        decide = policy.device_way if self.stays(tensor) else policy.way
        return decide(collective, tensor.dtype, size)

    def pair(self, peer: int) -> Pair:
        """What is kept for messages to and from one other rank."""
        check_process(self._process)
        with self._lock:
            pair = self._pairs.get(peer)
            if pair is None:
                pair = self._pairs[peer] = Pair(self, peer)
            return pair


_GROUPS: weakref.WeakKeyDictionary[dist.ProcessGroup, CodedGroup] = weakref.WeakKeyDictionary()
_GROUPS_LOCK = threading.Lock()


def resolve(group: dist.ProcessGroup | None) -> dist.ProcessGroup:
    """The process group that a caller means; None stands for the default one.

    Raises:
        GroupError: It was destroyed, or there is none.
    """
    if group is None:
        world = dist.group.WORLD
        if world is None:
            raise GroupError(
                "there is no process group: call torch.distributed.init_process_group first"
            )
        return world
    if is_no_member(group):
        return group
    if not _is_alive(group):
        raise GroupError("the process group was destroyed, or is none: make a new one")
    return group


def is_no_member(group: object) -> bool:
    """Whether a caller has this in place of a group that its rank is no member of."""
    return group is dist.GroupMember.NON_GROUP_MEMBER


def _is_alive(group: dist.ProcessGroup) -> bool:
    try:
        # 30 times as fast as the public way.
        return group in dist.distributed_c10d._world.pg_map
    except (AttributeError, TypeError):
        pass
    try:
        return bool(dist.get_backend(group))
    except (AssertionError, RuntimeError, ValueError):
        return False


def coded_group(group: dist.ProcessGroup) -> CodedGroup | None:
    """What huffwire keeps for a group; None if it has nothing to do there: one rank alone, or the group codes its
    collectives itself."""
    if is_no_member(group):
        return None
    found = _GROUPS.get(group)
    if found is not None:
        return found
    if codes_itself(group) or group.size() == 1:
        return None
    with _GROUPS_LOCK:
        found = _GROUPS.get(group)
        if found is None:
            weak = weakref.proxy(group)
            found = CodedGroup(weak, _store(group), group.rank(), group.size(), _timeout(group))
            _GROUPS[group] = found
    return found


def remember_plain(
    group: dist.ProcessGroup, is_default: bool, collective: str, dtype: torch.dtype, size: int
) -> None:
    """As `plain.remember`, if the ranks of the group agreed that it carries such calls itself."""
    found = _GROUPS.get(group)
    ready = None if found is None else found.engine_and_policy
    if ready is not None and ready[1].is_known_plain(collective, dtype, size):
        plain.remember(group, is_default, collective, dtype, size)


def codes_itself(group: object) -> bool:
    """Whether a group is of the backend ``"huffwire"``."""
    return hasattr(group, "huffwire_group")


def _store(group: dist.ProcessGroup) -> Store:
    if hasattr(group, "get_group_store"):
        return group.get_group_store()
    # Before PyTorch had the method.
    return dist.distributed_c10d._get_process_group_store(group)


def _timeout(group: dist.ProcessGroup) -> timedelta:
    for device in getattr(group, "_device_types", []):
        options = getattr(group._get_backend(device), "options", None)
        timeout = getattr(options, "_timeout", None)
        if isinstance(timeout, timedelta) and timeout > timedelta(0):
            return timeout
    return dist.default_pg_timeout


def setup(
    group: dist.ProcessGroup | None = None,
    *,
    compression: Compression | None = None,
    codebooks: Codebooks | None = None,
    level: str = "fast",
    piece: int | None = None,
    link: Link | None = None,
    refresh: Refresh | None = None,
    transport: TransportName | None = None,
) -> Agreement:
    """Connects the ranks of a group for coded collectives, and has them agree on all that they must agree on.

    All ranks of the group must call this together, while no other call of huffwire is under way in the group. The
    first collective does the same with defaults, if nobody did it before. A later call does it anew: it measures the
    link again, changes codebooks on all ranks at the same call, and mends a group whose set-up or engine failed.

    Args:
        group: The group; None for the default one.
        compression: ``"auto"``: code where it pays by the measured link and codec. ``"always"``: code every call.
            ``"never"``: pass every call to the group. ``"raw"``: send in pieces without coding, for comparisons.
            None: what the environment variable ``HUFFWIRE_COMPRESSION`` says, or else ``"auto"``.
        codebooks: The codebooks; None for the built-in ones.
        level: As for `huffwire.encode`.
        piece: Bytes of elements in a piece; None for 256 KiB on links of up to 1.6 Gbit/s, 1 MiB on links of up to
            3.2 Gbit/s, 4 MiB on faster ones (over TCP 1 MiB), and 512 KiB where the link was not measured.
            With the transport ``"device"`` bytes of elements that a rank handles at once; None for 128 MiB.
        link: The link, if it shall not be measured.
        refresh: When codebooks are replaced by ones that fit the traffic better; None for never.
        transport: ``"gloo"`` or ``"tcp"``: what carries pieces. ``"device"``: coded tensors of GPUs stay on them, and are
            moved by the group itself, such as one of NCCL; all others go as with ``"gloo"``, but under ``"auto"`` the
            group carries them. None: what the environment variable ``HUFFWIRE_TRANSPORT`` says, or else ``"gloo"``.

    Returns:
        What the ranks agreed on.

    Raises:
        DisagreementError: The ranks gave different settings, or have different versions. All ranks raise it.
        GroupError: The group was destroyed, or this rank is no member.
        PeerError: A rank did not answer within the group's time-out.
        OptionError: A setting has a value that it cannot have.
    """
    settings = Settings(
        compression_of(compression),
        codebooks,
        level,
        None if piece is None else pieces.checked_piece(piece),
        link,
        refresh,
        transport_of(transport),
    )
    if level not in ("fast", "max"):
        raise OptionError(f'level={level!r}: give "fast" or "max"')
    if settings.transport == "device" and (level != "fast" or refresh is not None):
        raise OptionError(
            'the transport "device" works only with level="fast" and without refresh: leave these out, or take another '
            "transport (setup(transport=...), or the environment variable HUFFWIRE_TRANSPORT)"
        )
    found = _of_member(group)
    if found is None:
        return Agreement(settings, None, piece or 512 << 10)
    return found.setup(settings)


def _of_member(group: dist.ProcessGroup | None) -> CodedGroup | None:
    """What huffwire keeps for a group that this rank is a member of; None for a rank alone."""
    group = resolve(group)
    if is_no_member(group):
        raise GroupError("this rank is no member of the group: call this only on its members")
    own: CodedGroup | None = getattr(group, "huffwire_group", None)
    return coded_group(group) if own is None else own


def refresh(group: dist.ProcessGroup | None = None) -> Report:
    """Replaces the codebooks of a group now, if that pays by what was sent since the last time.

    All ranks of the group must call this together, as a collective. Calls before it that are under way keep the old
    codebooks; calls behind it use the new ones. `setup` must have been given a `Refresh`, which says what pays.

    Args:
        group: The group; None for the default one.

    Returns:
        What was found and done, alike on all ranks.

    Raises:
        OptionError: `setup` was given no `Refresh`.
        PeerError: A rank died, failed, or did not answer within the group's time-out.
        GroupError: The group was destroyed, failed earlier, or this rank is no member.
    """
    found = _of_member(group)
    if found is None:
        books = Codebooks.builtin().id
        return Report(None, False, books, books, 0, 0.0)
    engine, _ = found.ready()
    if engine.life is None:
        raise OptionError(
            "nothing is known of what was sent: call huffwire.distributed.setup(group, "
            "refresh=huffwire.distributed.Refresh()) on all ranks before the first collective"
        )
    return engine.life.refresh(engine)


def generation(group: dist.ProcessGroup | None = None) -> Generation:
    """The codebooks that the next coded call of a group uses.

    A training that is restarted continues with them, if they are saved with its checkpoint and given to `setup`. All
    ranks get the same, if they call this between the same calls. It waits until the calls before the last check of
    codebooks are complete.

    Args:
        group: The group; None for the default one.

    Raises:
        GroupError: The group was destroyed, its set-up failed, or this rank is no member.
    """
    found = _of_member(group)
    if found is None:
        return Generation(Codebooks.builtin())
    engine, _ = found.ready()
    if engine.life is None:
        books = found.settings.codebooks
        return Generation(Codebooks.builtin() if books is None else books)
    return engine.life.generation()
