"""What codes can make of a tensor: histograms and PMFs of its symbols, entropy, savings.

These are the measures of Agrawal et al. (arXiv 2601.10673, section 3): Shannon's entropy bounds
every code, a Huffman code made for the very data comes within a fraction of a bit of it, and a
fixed code costs the Kullback-Leibler divergence on top.

Tensors are torch tensors, numpy arrays, buffers with a format (`array.array`), or tuples of a
dtype's name and a buffer (``("bf16", data)``). Contiguous ones on the CPU are not copied, and none
is changed.

    >>> import array
    >>> import huffwire.stats as stats
    >>> weights = array.array("f", [(i % 97 - 48) / 64 for i in range(10000)])
    >>> stats.pmf(weights).entropy() < 8  # of the exponents, in bits
    True
    >>> stats.savings(weights).huffman <= stats.savings(weights).shannon
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from huffwire import _elements, _huffwire
from huffwire._errors import OptionError
from huffwire._huffwire import Codebooks, Pmf, Profile

__all__ = [
    "Ideal",
    "Plane",
    "Pmf",
    "Profile",
    "Savings",
    "average",
    "entropy",
    "histogram",
    "huffman_bits",
    "ideal",
    "kl_divergence",
    "planes",
    "pmf",
    "profile",
    "savings",
    "savings_by_symbols",
]

Symbols: TypeAlias = Literal["auto", "bytes", "byte-planes"]


@dataclass(frozen=True)
class Plane:
    """The symbols of one plane of a tensor."""

    layout: str
    """How elements fall apart: ``"exponent"``, ``"bytes"``, ``"positions"``, ..."""
    plane: int
    """The plane's number in its layout."""
    width: int
    """Bits of a symbol, 1 to 8."""
    centred: bool
    """Whether the symbols are exponents, which codebooks hold relative to a base."""
    counts: list[int]
    """How often each symbol occurred: ``2**width`` numbers; for exponents 257, the last for
    zeros."""
    pmf: Pmf | None
    """The same as probabilities; None for an empty tensor."""


@dataclass(frozen=True)
class Ideal:
    """Bytes of a tensor under ideal codes, codebooks not counted."""

    raw_bytes: int
    """As it is."""
    shannon_bytes: float
    """At Shannon's entropy of its own PMF."""
    huffman_bytes: float
    """Under a Huffman code made for this very tensor, with codes of any length."""


@dataclass(frozen=True)
class Savings:
    """What becomes smaller by how much, in percent of the bytes of the tensor.

    Negative where a tensor would become larger. 0 for an empty tensor.
    """

    symbols: str
    """What the symbols are: ``"auto"``, ``"bytes"`` or ``"byte-planes"``."""
    raw_bytes: int
    """Bytes of the tensor."""
    shannon: float
    """A perfect code for the tensor's own PMF. The remainder (signs and mantissas) is not coded:
    where it is not noise, messages may save more."""
    huffman: float
    """A Huffman code made for this very tensor, its codebook not counted; no remainder is coded."""
    codebooks: float | None
    """Messages with the codebooks given, every header counted; None if none were given."""
    builtin: float
    """Messages with the built-in codebooks, every header counted."""


def profile(tensor: Any, *, symbols: Symbols = "auto", threads: int | None = None) -> Profile:
    """Counts the symbols of a tensor under every layout of a rule, in one pass.

    >>> import huffwire.stats as stats
    >>> counted = stats.profile(("bf16", bytes(6000)))
    >>> counted.dtype, counted.units
    ('bf16', 3000)

    Args:
        tensor: See the module. Its shape does not matter.
        symbols: ``"auto"`` (what suits the dtype: exponents of floats), ``"bytes"`` (all bytes, one
            alphabet) or ``"byte-planes"`` (an alphabet for each byte of an element).
        threads: How many threads count; None for as many as `huffwire.default_threads` says.

    Raises:
        UnsupportedError: What is given has no elements that can be coded.
        MismatchError: A buffer is no whole number of elements.
        OptionError: An option has a value that it cannot have.
    """
    found = _elements.elements(tensor)
    return Profile._of(found.dtype, found.memory, symbols, threads)


def _profile(value: Any, symbols: Symbols, threads: int | None) -> Profile:
    if isinstance(value, Profile):
        return value
    return profile(value, symbols=symbols, threads=threads)


def planes(tensor: Any, *, symbols: Symbols = "auto", threads: int | None = None) -> list[Plane]:
    """The planes of symbols of a tensor, of every layout of a rule. Remainders are not among them.

    >>> import huffwire.stats as stats
    >>> found = stats.planes(("bf16", bytes(8)), symbols="byte-planes")
    >>> [(plane.layout, plane.plane, plane.width) for plane in found]
    [('positions', 0, 8), ('positions', 1, 8)]

    Args:
        tensor, symbols, threads: As for `profile`. A `Profile` can take the tensor's place.
    """
    counted = _profile(tensor, symbols, threads)
    return [Plane(*fields) for fields in counted._planes()]


def _plane(tensor: Any, symbols: Symbols, layout: str | None, plane: int) -> Plane:
    found = planes(tensor, symbols=symbols)
    for one in found:
        if one.plane == plane and layout in (None, one.layout):
            return one
    known = ", ".join(f"{one.layout} {one.plane}" for one in found)
    raise OptionError(
        f"there is no plane {layout or 'of number'} {plane} of symbols; there are: {known}"
    )


def histogram(
    tensor: Any, *, symbols: Symbols = "auto", layout: str | None = None, plane: int = 0
) -> list[int]:
    """How often each symbol of a plane occurs.

    >>> import huffwire.stats as stats
    >>> counts = stats.histogram(b"abracadabra", symbols="bytes")
    >>> counts[ord("a")], sum(counts), len(counts)
    (5, 11, 256)

    Args:
        tensor, symbols: As for `profile`.
        layout: The layout; None for the first one of the rule that the tensor fits.
        plane: The plane.

    Returns:
        As `Plane.counts`: ``2**width`` numbers, or for exponents 257.

    Raises:
        OptionError: There is no such plane.
        Error: As `profile`.
    """
    return _plane(tensor, symbols, layout, plane).counts


def pmf(
    tensor: Any, *, symbols: Symbols = "auto", layout: str | None = None, plane: int = 0
) -> Pmf:
    """The probabilities of the symbols of a plane.

    >>> import huffwire.stats as stats
    >>> found = stats.pmf(b"aabb", symbols="bytes")
    >>> found.probabilities[ord("a")], found.entropy()
    (0.5, 1.0)

    Args:
        tensor, symbols, layout, plane: As for `histogram`.

    Raises:
        OptionError: There is no such plane, or the tensor is empty.
        Error: As `profile`.
    """
    found = _plane(tensor, symbols, layout, plane).pmf
    if found is None:
        raise OptionError("an empty tensor has no PMF")
    return found


def _as_pmf(value: Any, symbols: Symbols) -> Pmf:
    if isinstance(value, Pmf):
        return value
    if isinstance(value, (list, range)):
        return Pmf(list(value))
    return pmf(value, symbols=symbols)


def entropy(value: Any, *, symbols: Symbols = "auto") -> float:
    """Shannon's entropy, in bits per symbol.

    >>> import huffwire.stats as stats
    >>> stats.entropy([1, 1, 1, 1])
    2.0

    Args:
        value: A `Pmf`, a list of weights, or a tensor, of which the first plane counts (see `pmf`).
        symbols: The rule for a tensor.
    """
    return _as_pmf(value, symbols).entropy()


def huffman_bits(value: Any, *, symbols: Symbols = "auto") -> float:
    """The mean bits per symbol of a Huffman code made for this very PMF, its codebook not counted.

    >>> import huffwire.stats as stats
    >>> stats.huffman_bits([2, 1, 1])
    1.5

    Args:
        value, symbols: As for `entropy`.
    """
    return _as_pmf(value, symbols).huffman_bits()


def kl_divergence(data: Any, model: Any, *, symbols: Symbols = "auto") -> float:
    """The Kullback-Leibler divergence of data from a model, in bits per symbol.

    This is what an ideal code for ``model`` spends on top of the entropy of ``data``; infinite if
    the model rules out a symbol that occurs.

    >>> import huffwire.stats as stats
    >>> stats.kl_divergence([1, 1, 0, 0], [1, 1, 1, 1])
    1.0

    Args:
        data, model, symbols: As for `entropy`.
    """
    return _as_pmf(data, symbols).kl_divergence(_as_pmf(model, symbols))


def average(pmfs: Iterable[Pmf]) -> Pmf:
    """The mean of several PMFs over as many symbols, each of the same weight.

    >>> import huffwire.stats as stats
    >>> stats.average([stats.Pmf([1, 0]), stats.Pmf([1, 1])]).probabilities
    [0.75, 0.25]

    Raises:
        OptionError: There are none, or they differ in the number of symbols.
    """
    return Pmf.average(list(pmfs))


def ideal(tensor: Any, *, symbols: Symbols = "auto", threads: int | None = None) -> Ideal:
    """The bytes of a tensor under ideal codes, over all of its planes.

    Of the layouts of the rule the smallest counts. The remainder (signs and mantissas) counts with
    all its bits, but that of exact zeros not at all.

    >>> import huffwire.stats as stats
    >>> stats.ideal(bytes(1000))
    Ideal(raw_bytes=1000, shannon_bytes=0.0, huffman_bytes=0.0)

    Args:
        tensor, symbols, threads: As for `profile`. A `Profile` can take the tensor's place.
    """
    counted = _profile(tensor, symbols, threads)
    return Ideal(*counted._ideal())


def savings(
    tensor: Any,
    *,
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    level: Literal["fast", "max"] = "fast",
    threads: int | None = None,
) -> Savings:
    """How much smaller a tensor becomes, in percent, by ideal codes and by huffwire.

    The last two are measured, by encoding the tensor (in messages of 64 MiB of elements each).

    >>> import huffwire.stats as stats
    >>> stats.savings(bytes(1000)).huffman
    100.0

    Args:
        tensor, symbols, threads: As for `profile`.
        codebooks: Codebooks to compare with the built-in ones.
        level: ``"fast"``, or ``"max"``, at which blocks may carry codebooks of their own.
    """
    found = _elements.elements(tensor)
    raw, shannon, huffman = Profile._of(found.dtype, found.memory, symbols, threads)._ideal()

    def saved(size: float) -> float:
        return 100.0 * (1.0 - size / raw) if raw else 0.0

    def coded(books: Codebooks | None) -> float:
        return saved(
            _huffwire.encoded_bytes(found.dtype, found.memory, books, symbols, level, threads)
        )

    return Savings(
        symbols=symbols,
        raw_bytes=raw,
        shannon=saved(shannon),
        huffman=saved(huffman),
        codebooks=None if codebooks is None else coded(codebooks),
        builtin=coded(None),
    )


def savings_by_symbols(
    tensor: Any,
    *,
    symbols: Sequence[Symbols] = ("auto", "byte-planes", "bytes"),
    codebooks: Codebooks | None = None,
    level: Literal["fast", "max"] = "fast",
    threads: int | None = None,
) -> dict[str, Savings]:
    """The `savings` of a tensor for each rule for symbols.

    >>> import huffwire.stats as stats
    >>> list(stats.savings_by_symbols(("bf16", bytes(1000))))
    ['auto', 'byte-planes', 'bytes']

    Args:
        tensor, codebooks, level, threads: As for `savings`.
        symbols: The rules.
    """
    return {
        rule: savings(tensor, symbols=rule, codebooks=codebooks, level=level, threads=threads)
        for rule in symbols
    }
