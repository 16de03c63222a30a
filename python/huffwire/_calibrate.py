"""Codebooks made from tensors in memory and in files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from huffwire import _elements, _huffwire
from huffwire._errors import OptionError, UnsupportedError
from huffwire._huffwire import Codebooks, kind_of
from huffwire._progress import OpenProgress, OpenReport, open_reporting

Symbols: TypeAlias = Literal["auto", "bytes", "byte-planes"]

__all__ = ["Calibration", "KindReport", "calibrate", "kind_of"]


# No dataclasses: to import them takes longer than all of huffwire.
class KindReport(NamedTuple):
    """What calibration found for one plane of one kind of tensors.

    Bits are per symbol, means over the tensors.

    >>> import huffwire
    >>> report = huffwire.calibrate({"layers.0.w": ("bf16", bytes(2000))}).kinds[0]
    >>> report.kind, report.dtype, report.layout, report.plane, report.tensors
    ('layers.*.w', 'bf16', 'exponent', 0, 1)
    """

    kind: str
    """The kind, a pattern of tensor names."""
    dtype: str
    """The element type."""
    layout: str
    """The layout that was chosen."""
    plane: int
    """The plane, counted from 0."""
    tensors: int
    """How many tensors were averaged."""
    books: list[int]
    """Numbers of the codebooks made."""
    shannon_bits: float
    """Shannon's entropy of each tensor's own PMF."""
    huffman_bits: float
    """A Huffman code made for each tensor."""
    book_bits: float
    """The best of the codebooks made."""
    mean_kl_bits: float
    """The KL divergence of the tensors' PMFs from the average."""


class Calibration(NamedTuple):
    """A finished calibration."""

    codebooks: Codebooks
    """The codebooks, bound to the kinds."""
    kinds: list[KindReport]
    """What was found for each plane of each kind of tensors."""
    tensors: int
    """How many tensors were counted."""

    def describe(self) -> str:
        """What was found, as text for people: a line for each plane of each kind.

        >>> import huffwire
        >>> result = huffwire.calibrate({"layers.0.w": ("bf16", bytes(2000))})
        >>> print(result.describe().splitlines()[1].split()[:4])
        ['layers.*.w', 'bf16', 'exponent', '0']
        """
        rows = [["kind", "type", "symbols", "tensors", "books", "bits", "Huffman", "Shannon", "KL"]]
        for kind in self.kinds:
            rows.append(
                [
                    kind.kind,
                    kind.dtype,
                    f"{kind.layout} {kind.plane}",
                    str(kind.tensors),
                    " ".join(f"#{book}" for book in kind.books),
                    f"{kind.book_bits:.3f}",
                    f"{kind.huffman_bits:.3f}",
                    f"{kind.shannon_bits:.3f}",
                    f"{kind.mean_kl_bits:.3f}",
                ]
            )
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
        books = self.codebooks
        lines.append(
            f"{self.tensors} tensors -> set {books.id} ({books.name}), {len(books)} codebooks"
        )
        return "\n".join(lines)


def calibrate(
    tensors: Any,
    *,
    kinds: str | Callable[[str], str] | None = None,
    symbols: Symbols = "auto",
    name: str = "calibrated",
    codes: Literal[8, 12] | None = None,
    books_per_kind: int | None = None,
    smoothing: float = 0.001,
    builtin: bool = True,
    codebooks: Codebooks | Sequence[Codebooks] | None = None,
    threads: int | None = None,
    progress: OpenProgress = None,
) -> Calibration:
    """Makes codebooks from tensors of earlier steps, for tensors of later ones.

    Tensors of a kind look alike. The PMFs of their symbols are averaged, each tensor with the same
    weight, and a codebook is made from each average (Agrawal et al., arXiv 2601.10673). PMFs of
    exponents are first shifted onto each other. The more the tensors, the better.

    >>> import array, huffwire
    >>> def weights(layer):
    ...     return array.array("f", [(i * i % 97 - 48) / 2 ** (6 + layer) for i in range(5000)])
    >>> result = huffwire.calibrate({f"layers.{i}.weight": weights(i) for i in range(3)})
    >>> result.kinds[0].kind, result.kinds[0].tensors
    ('layers.*.weight', 3)
    >>> import huffwire.stats
    >>> huffwire.stats.savings(weights(3), codebooks=result.codebooks).codebooks > 0
    True

    Args:
        tensors: A mapping from names to tensors (such as a state dict), pairs of name and tensor,
            or one path or several of ``.safetensors``, ``.safetensors.index.json``, ``.npy`` or
            ``.hw`` files. Tensors are torch tensors, numpy arrays, buffers with a
            format, or tuples of a dtype's name and a buffer. Pairs may come from a generator: only
            counts are kept.
        kinds: Which tensors are of one kind. None: those whose names differ in digits alone. A
            string: all tensors are of this kind, a pattern of names (``"*"`` for any). A function:
            from name to kind.
        symbols: What the codebooks encode: ``"auto"``, ``"bytes"`` or ``"byte-planes"``.
        name: The name of the set, for people.
        codes: The most bits of a code. None: 12 where this saves 0.4 % more than 8.
        books_per_kind: Codebooks for each kind, from clusters of similar tensors. None: 1, and up
            to 4 for floats of 8 bits and less.
        smoothing: The share of probability, from 0 to below 1, that is spread over all symbols.
        builtin: Whether the built-in codebooks for the dtypes seen are put behind the new ones.
        codebooks: Codebooks that ``.hw`` files need, if they neither embed them nor use the
            built-in ones.
        threads: How many threads count; None for as many as `huffwire.default_threads` says.
        progress: True for a bar of tqdm, or a function that is called with the bytes done and,
            where they are known, the bytes in all.

    Returns:
        The codebooks, and what was found for each kind.

    Raises:
        OptionError: There is no tensor, or an option has a value that it cannot have.
        UnsupportedError: A tensor or a file that cannot be read.
        CodebookError: More than 192 codebooks.
        FileError: The system refused to read a file.
        DamagedError: A file is damaged.
    """
    kind = _kinds(kinds)
    collector = _huffwire.Collector(symbols)
    done = 0
    with open_reporting(progress, "calibrating") as report:
        for tensor_name, source in _sources(tensors):
            if tensor_name is None:
                of_file = _OfFile(report, done)
                found = _huffwire.profile_file(
                    source, symbols, threads, codebooks, of_file if report else None
                )
                done = of_file.done
                for file_tensor, profile in found:
                    collector.push(kind(file_tensor), profile)
            else:
                element = _elements.elements(source)
                profile = _huffwire.Profile._of(element.dtype, element.memory, symbols, threads)
                collector.push(kind(tensor_name), profile)
                done += _bytes(element)
                if report:
                    report(done, None)
    if collector.shards == 0:
        raise OptionError("there is no tensor with elements to make codebooks from")
    made, reports = collector.build(name, codes, books_per_kind, smoothing, builtin)
    return Calibration(made, [KindReport(*fields) for fields in reports], collector.shards)


def _kinds(kinds: str | Callable[[str], str] | None) -> Callable[[str], str]:
    if kinds is None:
        return kind_of
    if isinstance(kinds, str):
        return lambda _: kinds
    if callable(kinds):
        return kinds
    raise OptionError("kinds=: give None, a pattern, or a function from names to kinds")


def _sources(tensors: Any) -> Iterator[tuple[str | None, Any]]:
    """Names and tensors; no name stands for a file."""
    if isinstance(tensors, (str, os.PathLike)):
        yield None, os.fspath(tensors)
    elif isinstance(tensors, Mapping):
        yield from _checked(tensors.items())
    elif isinstance(tensors, Iterable) and not isinstance(tensors, (bytes, bytearray, memoryview)):
        yield from _checked(tensors)
    else:
        raise UnsupportedError(
            f"{type(tensors).__name__}: pass a mapping from names to tensors, pairs, or paths"
        )


def _checked(items: Iterable[Any]) -> Iterator[tuple[str | None, Any]]:
    for item in items:
        if isinstance(item, (str, os.PathLike)):
            yield None, os.fspath(item)
        elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            yield item
        else:
            raise UnsupportedError(
                f"{type(item).__name__}: pass pairs of a name and a tensor, or paths of files"
            )


def _bytes(element: _elements.Elements) -> int:
    memory = element.memory
    return memory[1] if isinstance(memory, tuple) else memoryview(memory).nbytes


class _OfFile:
    """Tells how far all tensors are while one of several files is read."""

    def __init__(self, report: OpenReport, before: int) -> None:
        self._report = report
        self._before = before
        self.done = before

    def __call__(self, done: int, total: int) -> None:
        self.done = self._before + done
        if self._report:
            self._report(self.done, self._before + total)
