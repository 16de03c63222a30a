"""Whether a collective is coded: a pure function of the call and of figures that all ranks agreed on.

The model is simple on purpose. A call takes what the link and the processor need for its bytes, as far as these do not
overlap, and a part that does not depend on the size. `Model.best` compares three ways to carry the same tensor:

- ``"plain"``: the call of the wrapped process group;
- ``"raw"``: huffwire's pieces without coding, where these are faster than gloo's collective;
- ``"coded"``: huffwire's pieces, coded.

>>> from huffwire.distributed.policy import Codec, Link, Model
>>> slow = Model(Link(125e6, 500e-6), Codec(5e9, 6e9), ranks=2)
>>> slow.best("all_reduce", "bf16", 64 << 20)
'coded'
>>> fast = Model(Link(12.5e9, 20e-6), Codec(5e9, 6e9), ranks=2)
>>> fast.best("all_reduce", "bf16", 64 << 20)
'plain'
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

Way: TypeAlias = Literal["plain", "raw", "coded"]

# The part of a tensor's bytes that is left after coding, as built-in codebooks reach it on weights and gradients.
# A type that is not listed gains nothing that could be relied on.
_LEFT = {
    "bf16": 0.68,
    "f16": 0.90,
    "f32": 0.84,
    "f64": 0.90,
    "e4m3": 0.88,
    "e5m2": 0.78,
    "e4m3fnuz": 0.88,
    "e5m2fnuz": 0.78,
    "complex32": 0.90,
    "complex64": 0.84,
    "complex128": 0.90,
}

# Seconds for a byte of the tensor that gloo's collective takes beyond what the link takes: it copies and waits
# between its steps. Measured with 2 ranks on links of 1 and 10 Gbit/s.
_GLOO = {
    "all_gather": 1.6e-9,
    "reduce_scatter": 2.2e-9,
    "all_reduce": 0.4e-9,
    "all_to_all": 0.4e-9,
    "broadcast": 0.05e-9,
    "send": 0.05e-9,
}

# Steps that follow each other in huffwire's collective: none starts before the first piece of the one before.
_STAGES = {
    "all_gather": 1,
    "reduce_scatter": 1,
    "all_reduce": 2,
    "all_to_all": 1,
    "broadcast": 1,
    "send": 1,
}

# How much faster the coded call has to be by the model before it is preferred.
_MARGIN = 1.08


@dataclass(frozen=True)
class Link:
    """What the slowest link between two ranks does.

    Attributes:
        bytes_per_second: Each way, while both ways are in use.
        latency: Seconds from the sending of a short message until it is received.
        one_way: Bytes a second while only one way is in use, which may be more where processors are busy; None
            for as many.
    """

    bytes_per_second: float
    latency: float
    one_way: float | None = None


@dataclass(frozen=True)
class Codec:
    """Speed of the slowest rank's codec on one core, in bytes of bf16 elements a second."""

    encode: float
    decode: float


@dataclass(frozen=True)
class Model:
    """How long a collective takes, each way.

    Attributes:
        link: The link.
        codec: The codec.
        ranks: How many ranks the group has.
        piece: Bytes of elements in a piece.
        add: Bytes a second at which two tensors are added.
        copy: Bytes a second at which one core brings memory to a socket or from it.
    """

    link: Link
    codec: Codec
    ranks: int
    piece: int = 1 << 20
    add: float = 6e9
    copy: float = 1.3e9

    def _sent(self, collective: str, size: int) -> float:
        """Bytes that a rank sends for a call on so many bytes (those of the larger of input and output)."""
        others = self.ranks - 1
        if collective in ("broadcast", "send"):
            return float(size)
        if collective == "all_reduce":
            return 2 * size * others / self.ranks
        return size * others / self.ranks

    def seconds(self, way: Way, collective: str, dtype: str, size: int) -> float:
        """How long a call on so many bytes takes.

        Args:
            way: How it is carried.
            collective: ``"all_gather"``, ``"reduce_scatter"``, ``"all_reduce"``, ``"all_to_all"``,
                ``"broadcast"`` or ``"send"``.
            dtype: huffwire's name of the element type.
            size: Bytes of the whole tensor: the output of a gather, the input of all others.
        """
        sent = self._sent(collective, size)
        # A rank of a broadcast or a send does one of both, and its core reaches more of one.
        alone = collective in ("broadcast", "send")
        speed = self.link.bytes_per_second
        if alone and self.link.one_way is not None:
            speed = self.link.one_way
        latency = self.link.latency * _STAGES[collective]
        if way == "plain":
            return sent / speed + size * _GLOO[collective] + latency
        left = _LEFT.get(dtype, 1.0) if way == "coded" else 1.0
        wire = sent * left / speed
        # Each piece is coded once, however many ranks get it.
        encoded = size if alone else size / self.ranks
        if collective in ("all_to_all", "reduce_scatter"):
            encoded = sent
        if collective == "all_reduce":
            encoded = sent / 2 + size / self.ranks
        copy = self.copy * 2 if alone else self.copy
        sender = receiver = sent * left / copy
        if way == "coded":
            sender += encoded / self.codec.encode
            receiver += sent / self.codec.decode
        else:
            sender += encoded / self.add
            receiver += sent / self.add
        if collective in ("reduce_scatter", "all_reduce"):
            receiver += size * (self.ranks - 1) / self.ranks / self.add
        processor = max(sender, receiver) if alone else sender + receiver
        # Before the link has its first piece, and after it brought the last one, it stands still.
        piece = min(self.piece, size if alone else size / self.ranks)
        edges = _STAGES[collective] * piece * (1 / self.codec.encode + 1 / self.codec.decode)
        fixed = (300e-6 + latency) * _STAGES[collective]
        # Link and processor work at the same time, but not quite: less so the more alike what both take.
        return math.hypot(wire, processor) + edges + fixed

    def best(self, collective: str, dtype: str, size: int) -> Way:
        """The fastest way to carry a call, by the model."""
        plain = self.seconds("plain", collective, dtype, size)
        raw = self.seconds("raw", collective, dtype, size)
        coded = self.seconds("coded", collective, dtype, size)
        if min(raw, coded) * _MARGIN > plain:
            return "plain"
        return "coded" if coded <= raw else "raw"

    def break_even(self, collective: str, dtype: str) -> int | None:
        """The smallest power of two of bytes that is not carried plainly; None if there is none below 16 GiB."""
        for exponent in range(8, 35):
            if self.best(collective, dtype, 1 << exponent) != "plain":
                return 1 << exponent
        return None
