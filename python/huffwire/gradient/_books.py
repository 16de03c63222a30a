"""Codebooks made from earlier steps, and when they are replaced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from huffwire import _huffwire
from huffwire._errors import OptionError
from huffwire._huffwire import Codebooks, Drift
from huffwire.gradient._arguments import _buffer, _number, _runs
from huffwire.gradient._quantized import _tensors, _values


class FixedBook:
    """A codebook over values, pairs or runs, made from earlier steps. Both ends hold it.

    Streams carry 4 bytes of its id and no codebook. Any values can be encoded.

    >>> import array
    >>> from huffwire import gradient
    >>> def step(n):
    ...     return array.array("b", [(i * i + n * i) % 100 // 97 for i in range(5000)])
    >>> book = gradient.FixedBook.train([step(1), step(2)], "zero-runs")
    >>> stream = gradient.encode_values(step(3), book)
    >>> held = gradient.FixedBook.from_bytes(book.to_bytes())
    >>> gradient.decode_values(stream, held, kind="buffer").tolist() == step(3).tolist()
    True
    """

    __slots__ = ("_books",)

    def __init__(self, data: Any) -> None:
        """The codebook in these bytes: the same as `FixedBook.from_bytes`."""
        self._books = (
            data
            if isinstance(data, _huffwire.FixedBook)
            else _huffwire.FixedBook.from_bytes(_buffer(data))
        )

    @classmethod
    def train(
        cls,
        tensors: Iterable[Any],
        alphabet: Literal["values", "pairs", "zero-runs"] = "values",
        *,
        runs: int = 200,
    ) -> FixedBook:
        """A codebook made from tensors of values.

        >>> from huffwire import gradient
        >>> gradient.FixedBook.train([("i8", bytes(10))]).alphabet
        'values'

        Args:
            tensors: Several tensors of values, each as for `encode_values`.
            alphabet: What the symbols are: ``"values"``, ``"pairs"`` (a value and its repetitions),
                or ``"zero-runs"`` (runs of zeros, and other values).
            runs: The longest run of zeros that has a symbol, 1 to 65536.

        Raises:
            OptionError: An unknown alphabet, or ``runs`` out of range.
        """
        return cls(_huffwire.FixedBook.train(_tensors(tensors), alphabet, _runs(runs)))

    @classmethod
    def from_bytes(cls, data: Any) -> FixedBook:
        """The codebook that `to_bytes` wrote.

        >>> from huffwire import gradient
        >>> book = gradient.FixedBook.train([("i8", bytes(10))])
        >>> gradient.FixedBook.from_bytes(book.to_bytes()) == book
        True

        Raises:
            DamagedError: The bytes are cut short or changed.
            CodebookError: They are no valid codebook.
        """
        return cls(data)

    def to_bytes(self) -> bytes:
        """The codebook as bytes, for the receiver of streams."""
        return self._books.to_bytes()

    @property
    def id(self) -> str:
        """The id of the codebook, 16 hexadecimal digits: a hash of its content."""
        return self._books.id

    @property
    def alphabet(self) -> str:
        """What the symbols are: ``"values"``, ``"pairs"`` or ``"zero-runs"``."""
        return self._books.alphabet

    def drift(self, values: Any) -> Drift:
        """What the codebook costs for some values, beside one that is made for them."""
        return self._books.drift(_values(values))

    def refit(self, values: Any) -> FixedBook:
        """A codebook of the same alphabet, made for these values alone."""
        return FixedBook(self._books.refit(_values(values)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedBook) and self._books == other._books

    def __hash__(self) -> int:
        return hash(self._books)

    def __reduce__(self) -> tuple[type[FixedBook], tuple[bytes]]:
        return type(self), (self.to_bytes(),)

    def __repr__(self) -> str:
        return f"<huffwire.gradient.FixedBook {self.id}, of {self.alphabet}>"


class BitmapBooks:
    """Codebooks for bitmaps of values, made from earlier steps. Both ends hold them.

    They are a set of `huffwire.Codebooks`, with a codebook for each layer of the bitmap.

    >>> import array
    >>> from huffwire import gradient
    >>> def step(n):
    ...     return array.array("f", [((i * 37 + n) % 101 - 50) ** 3 / 1e6 for i in range(5000)])
    >>> qsgd = gradient.Qsgd(levels=4)
    >>> books = gradient.BitmapBooks.train([qsgd.quantize(step(1)), qsgd.quantize(step(2))])
    >>> message = gradient.encode(step(3), qsgd, encoder=books)
    >>> gradient.decode(message, codebooks=books, kind="buffer").shape
    (5000,)
    """

    __slots__ = ("_books",)

    def __init__(self, codebooks: Codebooks) -> None:
        """The codebooks of a set that has them for the layers of a bitmap, and for nothing else.

        Raises:
            CodebookError: The set has none, or has codebooks for other purposes, too.
        """
        self._books = (
            codebooks
            if isinstance(codebooks, _huffwire.BitmapBooks)
            else _huffwire.BitmapBooks.from_codebooks(codebooks)
        )

    @classmethod
    def train(cls, tensors: Iterable[Any]) -> BitmapBooks:
        """Codebooks made from tensors of values.

        >>> from huffwire import gradient
        >>> gradient.BitmapBooks.train([("i8", bytes(1000))]).depth > 0
        True

        Args:
            tensors: Several tensors of values, each as for `encode_values`.

        Raises:
            OptionError: There are no values.
        """
        return cls(_huffwire.BitmapBooks.train(_tensors(tensors)))  # type: ignore[arg-type]

    @property
    def codebooks(self) -> Codebooks:
        """The set: what sender and receiver must share."""
        return self._books.codebooks

    @property
    def depth(self) -> int:
        """How often zeros are split off, 0 to 4."""
        return self._books.depth

    def drift(self, values: Any) -> Drift:
        """What the codebooks cost for some values, beside ones that are made for them."""
        return self._books.drift(_values(values))

    def refit(self, values: Any) -> BitmapBooks:
        """Codebooks made for these values alone; without values the same as before."""
        return BitmapBooks(self._books.refit(_values(values)))  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BitmapBooks) and self._books == other._books

    def __hash__(self) -> int:
        return hash(self._books)

    def __reduce__(self) -> tuple[type[BitmapBooks], tuple[Codebooks]]:
        return type(self), (self.codebooks,)

    def __repr__(self) -> str:
        return f"<huffwire.gradient.BitmapBooks {self.codebooks.id}, depth {self.depth}>"


class RefreshPolicy:
    """When fixed codebooks are replaced.

    The policy samples the values that are sent. Once in a while it judges: it makes codebooks from the
    samples, and has them ready when those in use lose more than is tolerated, and the new ones pay for
    their own bytes. The caller decides when to switch, since both ends must do it at once.

    >>> import array
    >>> from huffwire import gradient
    >>> sparse = array.array("b", [i % 50 == 0 for i in range(9000)])
    >>> dense = array.array("b", [i % 7 % 3 for i in range(9000)])
    >>> policy = gradient.RefreshPolicy(
    ...     gradient.FixedBook.train([sparse]), tolerance=0.05, every=2, interval=0, samples=2
    ... )
    >>> policy.observe(sparse), policy.observe(sparse).regret < 0.05, policy.fresh
    (None, True, None)
    >>> policy.observe(dense), policy.observe(dense).regret > 0.05
    (None, True)
    >>> policy.switch(policy.fresh)
    """

    __slots__ = ("_policy",)

    def __init__(
        self,
        books: FixedBook | BitmapBooks,
        *,
        tolerance: float = 0.02,
        every: int = 1000,
        interval: int = 8 << 20,
        samples: int = 32,
    ) -> None:
        """A policy for ``books``.

        Args:
            books: The codebooks in use from now on.
            tolerance: What they may lose: 0.02 for two percent.
            every: Tensors from one judgement or switch to the next, at least. New codebooks must pay
                for their own bytes in so many tensors.
            interval: Values from one sample to the next, on average; 0 for a sample of every tensor.
            samples: How many samples a judgement is made from: the last ones, 2 to 4096.

        Raises:
            OptionError: An option has a value that it cannot have.
        """
        self._policy = _huffwire.RefreshPolicy(
            _held(books),
            tolerance,
            _number(every, "every", 1),
            _number(interval, "interval", 0),
            _number(samples, "samples", 2),
        )

    @property
    def books(self) -> FixedBook | BitmapBooks:
        """The codebooks in use."""
        return _books(self._policy.books)

    @property
    def fresh(self) -> FixedBook | BitmapBooks | None:
        """Codebooks made from the samples of the last judgement, if they pay."""
        fresh = self._policy.fresh
        return None if fresh is None else _books(fresh)

    def observe(self, values: Any) -> Drift | None:
        """Takes notice of values that will be sent; returns what a judgement found, if it was time for one."""
        return self._policy.observe(_values(values))

    def switch(self, books: FixedBook | BitmapBooks) -> None:
        """From now on these codebooks are in use.

        Raises:
            OptionError: They are of another kind than those before.
        """
        self._policy.switch(_held(books))


def _held(books: Any) -> Any:
    if isinstance(books, (FixedBook, BitmapBooks)):
        return books._books
    raise OptionError("books=: give a FixedBook or BitmapBooks")


def _books(books: Any) -> FixedBook | BitmapBooks:
    if isinstance(books, _huffwire.FixedBook):
        return FixedBook(books)
    return BitmapBooks(books)


def _encoder(encoder: Any) -> Any:
    return encoder._books if isinstance(encoder, (FixedBook, BitmapBooks)) else encoder

Sets: TypeAlias = "Codebooks | BitmapBooks | Iterable[Codebooks | BitmapBooks] | None"


def _sets(codebooks: Sets) -> list[Codebooks]:
    if codebooks is None:
        return []
    if isinstance(codebooks, (Codebooks, BitmapBooks)):
        codebooks = [codebooks]
    return [books.codebooks if isinstance(books, BitmapBooks) else books for books in codebooks]
