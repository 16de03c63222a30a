"""Whether a collective is coded: a pure function of the call and of figures that all ranks agreed on.

How long a call takes is told by the library's model of links (`huffwire::link`, as in ``huffwire plan``). `Model.best`
compares three ways to carry the same tensor:

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

from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from huffwire._huffwire import _LinkModel
from huffwire.distributed.transport import TransportName

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
    """Speed of the slowest rank's codec, on one core or on the device, in bytes of bf16 elements a second.

    Attributes:
        encode, decode: The speeds.
        fixed: Seconds that a message takes beside, however small it is.
    """

    encode: float
    decode: float
    fixed: float = 0.0


@dataclass(frozen=True)
class Model:
    """How long a collective takes, each way.

    Collectives are ``"all_gather"``, ``"reduce_scatter"``, ``"all_reduce"``, ``"all_to_all"``, ``"broadcast"`` and
    ``"send"``; dtypes are huffwire's names; sizes are bytes of the whole tensor: the output of a gather, the input of
    all others.

    Attributes:
        link: The link.
        codec: The codec.
        ranks: How many ranks the group has.
        piece: Bytes of elements in a piece.
        transport: What carries pieces. With "device" whole parts of the tensor are coded before they are sent, and the
            transport costs nothing beside the link.
    """

    link: Link
    codec: Codec
    ranks: int
    piece: int = 1 << 20
    transport: TransportName = "gloo"

    def _model(self, collective: str, dtype: str) -> _LinkModel:
        return _LinkModel(
            collective,
            bytes_per_second=self.link.bytes_per_second,
            one_way=self.link.one_way,
            latency=self.link.latency,
            encode=self.codec.encode,
            decode=self.codec.decode,
            fixed=self.codec.fixed,
            left=_LEFT.get(dtype, 1.0),
            ranks=self.ranks,
            piece=self.piece,
            transport="serial" if self.transport == "device" else self.transport,
            margin=_MARGIN,
        )

    def seconds(self, way: Way, collective: str, dtype: str, size: int) -> float:
        """How long a call on so many bytes takes if it is carried in this way."""
        return self._model(collective, dtype).seconds(way, size)

    def best(self, collective: str, dtype: str, size: int) -> Way:
        """The fastest way to carry a call."""
        return cast(Way, self._model(collective, dtype).best(size))

    def break_even(self, collective: str, dtype: str) -> int | None:
        """The smallest size in bytes from which coding is faster than the plain call; None if there is none."""
        return self._model(collective, dtype).break_even()
