"""Quantizers and their parameters."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from huffwire import _huffwire
from huffwire._errors import OptionError, VersionError

if TYPE_CHECKING:
    from huffwire.gradient._quantized import Quantized


class Quantizer:
    """What all quantizers have in common.

    They are `Qsgd`, `TernGrad`, `Natural`, `Sign`, `Sparsify` and `Linear`. Their parameters cannot
    be changed. ``str(quantizer)`` is a quantizer's text in reports.

    >>> from huffwire import gradient
    >>> str(gradient.Qsgd(levels=4))
    'qsgd levels=4 norm=l2 bucket=512'
    """

    _name: ClassVar[str]

    def __post_init__(self) -> None:
        _huffwire.quantizer_text(self._spec())

    def _spec(self) -> tuple[Any, ...]:
        # All subclasses are dataclasses.
        return (self._name, *astuple(self))  # type: ignore[call-overload]

    def __str__(self) -> str:
        return _huffwire.quantizer_text(self._spec())

    def quantize(self, gradient: Any, *, seed: int = 0) -> Quantized:
        """Quantizes a gradient: the same as the function `quantize`.

        >>> from huffwire import gradient
        >>> len(gradient.Sign().quantize(("f32", bytes(400))))
        100
        """
        # That module needs quantizers.
        from huffwire.gradient._quantized import quantize

        return quantize(gradient, self, seed=seed)


@dataclass(frozen=True)
class Qsgd(Quantizer):
    """QSGD (Alistarh et al., NIPS 2017): stochastic rounding to levels between 0 and a norm.

    It is unbiased. ``levels`` is the number of levels above 0, 1 to 2**30; with up to 127, values
    take a byte each. ``bucket`` is how many elements share a norm, or None for all. ``norm`` is
    ``"l2"``, or ``"max"``, whose error is smaller.

    >>> from huffwire.gradient import Qsgd
    >>> Qsgd(levels=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    huffwire.OptionError: invalid option: 0 levels; QSGD takes 1 to 1073741824...
    """

    levels: int = 7
    bucket: int | None = 512
    norm: Literal["l2", "max"] = "l2"
    _name: ClassVar[str] = "qsgd"


@dataclass(frozen=True)
class TernGrad(Quantizer):
    """TernGrad (Wen et al., NIPS 2017): a sign or 0, by stochastic rounding.

    ``clip``: floats beyond so many standard deviations are clipped; None for no clipping.
    ``bucket``: how many elements share a scale, or None for all.

    >>> from huffwire.gradient import TernGrad
    >>> str(TernGrad(clip=None))
    'terngrad clip=none bucket=all'
    """

    clip: float | None = 2.5
    bucket: int | None = None
    _name: ClassVar[str] = "terngrad"


@dataclass(frozen=True)
class Natural(Quantizer):
    """Natural compression (Horváth et al., 2019): powers of two, by stochastic rounding.

    >>> from huffwire.gradient import Natural
    >>> str(Natural())
    'natural'
    """

    _name: ClassVar[str] = "natural"


@dataclass(frozen=True)
class Sign(Quantizer):
    """Signs alone. It is biased: use it with `ErrorFeedback`.

    ``scale`` says which floats the signs stand for: ``"one"``: 1 and -1 (signSGD); ``"mean"``: plus
    and minus the mean magnitude (EF-signSGD); ``"means"``: the mean of the floats that are not
    negative, and that of the others (1-bit SGD). ``bucket``: how many elements share scales, or
    None for all.

    >>> import array
    >>> from huffwire.gradient import Sign
    >>> Sign().quantize(array.array("f", [1.0, -3.0])).dequantize().tolist()
    [2.0, -2.0]
    """

    scale: Literal["one", "mean", "means"] = "mean"
    bucket: int | None = None
    _name: ClassVar[str] = "sign"


@dataclass(frozen=True)
class Sparsify(Quantizer):
    """Top-k and random-k: a few elements exactly, 0 for all others.

    ``keep`` is ``"top"`` (the largest magnitudes; biased, use it with `ErrorFeedback`) or
    ``"random"`` (scaled so that it is unbiased). ``share`` is the share that is kept, above 0 and
    at most 1.

    >>> import array
    >>> from huffwire.gradient import Sparsify
    >>> Sparsify("top", 0.5).quantize(array.array("f", [1, -3, 0, 2])).dequantize().tolist()
    [0.0, -3.0, 0.0, 2.0]
    """

    keep: Literal["top", "random"] = "top"
    share: float = 0.01
    _name: ClassVar[str] = "sparsify"


@dataclass(frozen=True)
class Linear(Quantizer):
    """Linear int8: the nearest of 255 multiples of a scale.

    ``bucket``: how many elements share a scale, such as a row of a matrix, or None for all.

    >>> import array
    >>> from huffwire.gradient import Linear
    >>> Linear().quantize(array.array("f", [1.27, -0.5, 0.25])).values.tolist()
    [127, -50, 25]
    """

    bucket: int | None = None
    _name: ClassVar[str] = "linear"

_QUANTIZERS: dict[str, type[Quantizer]] = {
    quantizer._name: quantizer for quantizer in (Qsgd, TernGrad, Natural, Sign, Sparsify, Linear)
}


def _quantizer(spec: tuple[Any, ...]) -> Quantizer:
    name, *parameters = spec
    if name not in _QUANTIZERS:
        raise VersionError(f"the quantizer {name} is not known: a newer huffwire is needed")
    return _QUANTIZERS[name](*parameters)


def _spec(quantizer: Quantizer) -> tuple[Any, ...]:
    if not isinstance(quantizer, Quantizer):
        raise OptionError("quantizer=: give one, such as huffwire.gradient.Qsgd()")
    return quantizer._spec()
