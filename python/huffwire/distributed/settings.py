"""What the ranks of a group agree on before the first collective, and how they do."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

import torch

from huffwire._errors import OptionError
from huffwire._huffwire import Codebooks, __version__
from huffwire.distributed import device_figures, on_device, pieces, schedules
from huffwire.distributed.device_group import DeviceGroup
from huffwire.distributed.engine import Engine
from huffwire.distributed.errors import DisagreementError, PeerError
from huffwire.distributed.gloo import window
from huffwire.distributed.life import Refresh
from huffwire.distributed.policy import Codec, Link, Model, Way
from huffwire.distributed.transport import TransportName

Compression: TypeAlias = Literal["auto", "always", "never", "raw"]

# The most bytes that a rank tells the others about itself.
_TOLD = 1024
# Bytes of a piece on links of up to so many bytes a second. A link idles while the first piece of a step is coded and
# while a sum waits for the last one, so slow links have short pieces. Every piece costs time of the processors, so fast
# links have long ones.
_PIECES = ((200e6, 256 << 10), (400e6, 1 << 20), (float("inf"), 4 << 20))
# Where the link was not measured.
_PIECE = 512 << 10
# The most over TCP.
_TCP_PIECE = 1 << 20
# Bytes of elements that a rank handles in a step on its device.
_DEVICE_PIECE = 128 << 20
# Receives that are posted for all peers together take at most so many bytes.
_POSTED = 128 << 20


def compression_of(value: str | None) -> Compression:
    """The setting that a caller or the environment variable ``HUFFWIRE_COMPRESSION`` names.

    Raises:
        OptionError: There is none of that name.
    """
    origin = "compression" if value is not None else "HUFFWIRE_COMPRESSION"
    value = value if value is not None else os.environ.get("HUFFWIRE_COMPRESSION") or "auto"
    if value not in get_args(Compression):
        raise OptionError(f'{origin}={value!r}: give "auto", "always" or "never"')
    return cast(Compression, value)


def transport_of(value: str | None) -> TransportName:
    """The transport that a caller or the environment variable ``HUFFWIRE_TRANSPORT`` names.

    Raises:
        OptionError: There is none of that name.
    """
    origin = "transport" if value is not None else "HUFFWIRE_TRANSPORT"
    value = value if value is not None else os.environ.get("HUFFWIRE_TRANSPORT") or "gloo"
    if value not in get_args(TransportName):
        raise OptionError(f'{origin}={value!r}: give "gloo", "tcp" or "device"')
    return cast(TransportName, value)


@dataclass(frozen=True)
class Settings:
    """What a rank wishes for a group.

    Attributes:
        compression: ``"auto"`` codes where it pays by the measured figures, ``"always"`` codes every tensor,
            ``"never"`` none; ``"raw"`` sends all tensors in pieces without coding, for comparisons.
        codebooks: The codebooks; None for the built-in ones.
        level: As for `huffwire.encode`.
        piece: Bytes of elements in a piece; None for what suits the link.
        link: The link, if it shall not be measured.
        refresh: When codebooks are replaced; None for never.
        transport: What carries pieces.
    """

    compression: Compression = "auto"
    codebooks: Codebooks | None = None
    level: str = "fast"
    piece: int | None = None
    link: Link | None = None
    refresh: Refresh | None = None
    transport: TransportName = "gloo"


@dataclass(frozen=True)
class Agreement:
    """What all ranks of a group agreed on.

    Attributes:
        settings: The settings, alike on all ranks.
        model: The model with the measured figures; None unless ``compression="auto"``. With ``transport="device"`` it is
            about tensors of devices, and None if these cannot be coded.
        piece: Bytes of elements in a piece.
        device_codes: Whether the devices of all ranks can code; only with ``transport="device"``.
    """

    settings: Settings
    model: Model | None
    piece: int
    device_codes: bool = False


def agree(
    engine: Engine,
    settings: Settings,
    by_setup: bool = False,
    devices: DeviceGroup | None = None,
) -> tuple[Agreement, bool]:
    """Compares the settings of all ranks, and measures what the decisions rest on.

    All ranks must call this together.

    Args:
        engine: The engine, before its first call.
        settings: The settings of this rank.
        by_setup: Whether `setup` was called on this rank, in the place of a collective.
        devices: Moves bytes of devices, if the transport does.

    Returns:
        What they agreed on, and whether `setup` was called on any rank.

    Raises:
        DisagreementError: The ranks differ. It is raised on all of them.
        PeerError: A rank did not answer.
    """
    engine.configure(pieces.Coder(settings.codebooks, settings.level), _PIECE)
    kind = None if devices is None else devices.device.type
    told = _tell(engine, {**_wishes(settings), "devices": kind, "by setup": by_setup})
    by_setup = any([each.pop("by setup", False) for each in told])
    _compare(told)
    if settings.transport == "device":
        return _agree_on_devices(engine, settings, devices), by_setup
    if settings.compression != "auto" or engine.size == 1:
        return Agreement(settings, None, _piece(settings, None, engine.size)), by_setup
    codec = measured_codec(settings.codebooks, settings.level)
    told = _tell(engine, {"encode": codec.encode, "decode": codec.decode})
    codec = Codec(*(min(each[what] for each in told) for what in ("encode", "decode")))
    link = settings.link or measured_link(engine)
    piece = _piece(settings, link, engine.size)
    model = Model(link, codec, engine.size, piece, settings.transport)
    return Agreement(settings, model, piece), by_setup


def _agree_on_devices(
    engine: Engine, settings: Settings, devices: DeviceGroup | None
) -> Agreement:
    """What `agree` returns where the transport moves bytes of devices."""
    piece = _piece(settings, None, engine.size)
    if devices is None:
        return Agreement(settings, None, piece)
    problem = device_figures.problem(devices.device)
    told = _tell(engine, {"problem": problem})
    found = {rank: each["problem"] for rank, each in enumerate(told) if each["problem"]}
    if found:
        warnings.warn(
            "tensors of devices are left to the group, because not all ranks can code there: "
            + "; ".join(f"rank {rank}: {problem}" for rank, problem in list(found.items())[:3]),
            stacklevel=2,
        )
        return Agreement(settings, None, piece)
    if settings.compression != "auto":
        return Agreement(settings, None, piece, True)
    # A rank whose device fails here keeps the others from the group's own calls, for which they could wait longer.
    told = _tell(engine, asdict(device_figures.measured_codec(devices, settings.codebooks)))
    encode, decode = (min(each[what] for each in told) for what in ("encode", "decode"))
    fixed = max(each["fixed"] for each in told)
    link = settings.link
    if link is None:
        told = _tell(engine, asdict(device_figures.measured_link(devices)))
        speed = min(each["bytes_per_second"] for each in told)
        link = Link(speed, max(each["latency"] for each in told))
    # Before bytes move, letters do.
    codec = Codec(encode, decode, fixed + link.latency)
    return Agreement(settings, Model(link, codec, engine.size, piece, "device"), piece, True)


def _wishes(settings: Settings) -> dict[str, object]:
    codebooks = settings.codebooks or Codebooks.builtin()
    link = settings.link
    return {
        "version of huffwire": __version__,
        "version of pieces": pieces.VERSION,
        "compression": settings.compression,
        "transport": settings.transport,
        "codebooks": codebooks.id,
        "level": settings.level,
        "piece": settings.piece,
        "link": None if link is None else [link.bytes_per_second, link.latency, link.one_way],
        "refresh": None if settings.refresh is None else asdict(settings.refresh),
    }


def _piece(settings: Settings, link: Link | None, ranks: int) -> int:
    if settings.piece is not None:
        return settings.piece
    piece = _PIECE
    if link is not None:
        piece = next(size for speed, size in _PIECES if link.bytes_per_second <= speed)
    if settings.transport == "tcp":
        # What costs gloo time for each piece does not cost it here, and what is coded stays in the caches.
        piece = min(piece, _TCP_PIECE)
    while piece > 64 << 10 and window(ranks) * piece * (ranks - 1) > _POSTED:
        piece //= 2
    return piece


def device_piece(settings: Settings) -> int:
    """Bytes of elements that a rank handles in a step on its device."""
    return settings.piece or _DEVICE_PIECE


def _tell(engine: Engine, what: dict[str, object]) -> list[dict[str, Any]]:
    """What every rank has to say, by its rank. Only before the first call of the engine."""
    try:
        return _said(engine.transport.exchange(_to_say(what)))
    except (RuntimeError, OSError, ValueError) as error:
        raise PeerError(
            f"the ranks of the group cannot exchange their settings: {error}"
        ) from error


def tell(engine: Engine, what: dict[str, object]) -> list[dict[str, Any]]:
    """What every rank has to say, by its rank: a call among the others of the engine.

    Raises:
        Error: As collectives do.
    """
    mine = _to_say(what)
    told = [torch.empty_like(mine) for _ in range(engine.size)]
    schedules.all_gather(engine, mine, told, [], False, here=True, name="settings").wait()
    return _said(told)


def _to_say(what: dict[str, object]) -> torch.Tensor:
    text = json.dumps(what).encode()
    if len(text) > _TOLD:
        raise OptionError(f"settings of {len(text)} bytes: at most {_TOLD} can be exchanged")
    return torch.frombuffer(bytearray(text.ljust(_TOLD)), dtype=torch.uint8)


def _said(told: Sequence[torch.Tensor]) -> list[dict[str, Any]]:
    return [json.loads(bytes(each.tolist())) for each in told]


def _compare(told: Sequence[dict[str, Any]]) -> None:
    for key in sorted(set().union(*told)):
        values = [each.get(key) for each in told]
        if any(value != values[0] for value in values):
            # Of a thousand ranks, two that differ tell enough.
            other = next(rank for rank, value in enumerate(values) if value != values[0])
            raise DisagreementError(
                f"the ranks of the group differ in {key}: rank 0 has {values[0]!r}, rank {other} has "
                f"{values[other]!r}; give all ranks the same (environment variables too)"
            )


def measured_codec(codebooks: Codebooks | None, level: str) -> Codec:
    """Speed of the codec on this core: the best of a few rounds, with bf16 elements like those of a model."""
    generator = torch.Generator().manual_seed(1)
    elements = torch.randn(1 << 19, generator=generator).bfloat16()
    size = elements.nbytes
    coder = pieces.Coder(codebooks, level)
    buffer = torch.empty(pieces.capacity(size), dtype=torch.uint8, device="cpu")
    restored = torch.empty_like(elements)
    place = pieces.Place("send", 0, 0, elements.dtype, size, 0, 1, 0, size)
    encode, decode = [], []
    for _ in range(5):
        start = time.perf_counter()
        coder.write(place, elements, True, buffer)
        middle = time.perf_counter()
        coder.read(place, 0, buffer, restored)
        encode.append(middle - start)
        decode.append(time.perf_counter() - middle)
    return Codec(size / min(encode), size / min(decode))


def measured_link(engine: Engine) -> Link:
    """What the slowest link between a rank and the next one does. All ranks must call this together."""
    rank, size = engine.rank, engine.size
    to, origin = (rank + 1) % size, (rank - 1) % size

    def exchange(
        message: torch.Tensor, count: int, gives: bool = True, takes: bool = True
    ) -> float:
        room = torch.empty_like(message)
        engine.transport.barrier()
        start = time.perf_counter()
        works = [engine.post_receive(room, origin, 0) for _ in range(count if takes else 0)]
        works += [engine.post_send(message, to, 0) for _ in range(count if gives else 0)]
        for work in works:
            engine.wait(work)
        return time.perf_counter() - start

    few, many = (torch.zeros(size, dtype=torch.uint8, device="cpu") for size in (64, 1 << 20))
    latency = min(exchange(few, 1) for _ in range(5))
    exchange(many, 1)
    first = exchange(many, 1)
    # Larger messages for fast links. All ranks must send the same.
    if max(told["seconds"] for told in _tell(engine, {"seconds": first})) < 4e-3:
        many = torch.zeros(4 << 20, dtype=torch.uint8, device="cpu")
    count = 4
    both_ways = min(exchange(many, count) for _ in range(4))
    # One way from each rank of an even number to the next one.
    gives, takes = rank % 2 == 0 and rank + 1 < size, rank % 2 == 1
    one_way = min(exchange(many, count, gives, takes) for _ in range(4))
    figures = [latency, both_ways, one_way if gives or takes else 0.0]
    told = [each["figures"] for each in _tell(engine, {"figures": figures})]
    latency, both_ways, one_way = (max(each[place] for each in told) for place in range(3))
    speeds = [count * many.numel() / max(each - latency, 1e-6) for each in (both_ways, one_way)]
    return Link(speeds[0], latency, max(speeds))


# A collective, the type of its elements, and the bytes of the whole tensor.
_Key: TypeAlias = tuple[str, torch.dtype, int]


class Policy:
    """How the calls of a group are carried: a pure function of the call and of the agreement.

    Decisions are remembered, so a call that was made before costs one look-up.

    Args:
        agreement: What the ranks agreed on.
    """

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self._compression = agreement.settings.compression
        # The figures of devices tell nothing of pieces.
        on_devices = agreement.settings.transport == "device"
        self._model = None if on_devices else agreement.model
        self._device_model = agreement.model if on_devices else None
        self._decisions: dict[_Key, Way] = {}
        self._device_decisions: dict[_Key, Way] = {}

    def is_known_plain(self, collective: str, dtype: torch.dtype, size: int) -> bool:
        """Whether such a call was made before, and was left to the group."""
        return self._decisions.get((collective, dtype, size)) == "plain"

    def way(self, collective: str, dtype: torch.dtype, size: int) -> Way:
        """How a call is carried.

        Args:
            collective: Its name, as `Model.seconds` knows it.
            size: Bytes of the whole tensor.
        """
        return _remembered(self._decisions, (collective, dtype, size), self._decide)

    def device_way(self, collective: str, dtype: torch.dtype, size: int) -> Way:
        """How a call on tensors of devices is carried that stays on them. As `way`."""
        return _remembered(self._device_decisions, (collective, dtype, size), self._decide_on_device)

    def _decide(self, collective: str, dtype: torch.dtype, size: int) -> Way:
        if self._compression == "always":
            return "coded"
        if self._compression == "raw":
            return "raw"
        if self._compression == "never" or self._model is None or size == 0:
            return "plain"
        return self._model.best(collective, pieces.codec_name(dtype), size)

    def _decide_on_device(self, collective: str, dtype: torch.dtype, size: int) -> Way:
        if self._compression == "raw":
            return "raw"
        if self._compression == "always" and self.agreement.device_codes:
            # What has no codes is added up in the same order.
            return "coded" if on_device.has_codes(dtype) else "raw"
        # The speeds that were measured are those of bf16.
        is_known = self.agreement.device_codes and on_device.has_own_kernel(dtype)
        if self._device_model is None or not is_known or size == 0:
            return "plain"
        return self._device_model.best(collective, pieces.codec_name(dtype), size)


def _remembered(
    decisions: dict[_Key, Way], key: _Key, decide: Callable[[str, torch.dtype, int], Way]
) -> Way:
    way = decisions.get(key)
    if way is None:
        if len(decisions) >= 4096:
            decisions.clear()
        way = decisions[key] = decide(*key)
    return way
