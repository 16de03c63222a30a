"""How compressible tensors are, and with which codebooks: `huffwire analyze` for Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from huffwire import _elements, _huffwire
from huffwire._calibrate import Symbols
from huffwire._errors import OptionError, UnsupportedError
from huffwire._huffwire import Codebooks
from huffwire._options import check_whole
from huffwire._progress import OpenProgress, open_reporting

__all__ = ["Analysis", "analyze"]

_Source: TypeAlias = "str | list[tuple[str, str, tuple[int, ...], Any]]"

# What torch.save writes, by the names that are usual.
_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin")
# What a checkpoint holds beside tensors.
_PLAIN = (str, int, float, complex, bool, bytes, type(None))
# How deep containers may lie in each other, and how much they may hold in all: one container may lie in many places.
_DEEPEST, _MOST = 100, 10_000_000
# Figures that a notebook shows.
_SHOWN = ("summary", "savings", "drift-all-books-all-tensors", "drift-policy")
# Rows of the table in a notebook.
_ROWS = 40


class Analysis:
    """A finished analysis. In a notebook it shows itself as figures and a table.

    >>> import huffwire
    >>> found = huffwire.analyze({"layers.0.w": ("bf16", bytes(2000))})
    >>> found.rows()[0]["name"], found.rows()[0]["shards"]
    ('layers.*.w', 1)
    """

    __slots__ = ("_found", "_parsed")

    def __init__(self, found: _huffwire._Analysis) -> None:
        self._found = found
        self._parsed: dict[str, Any] | None = None

    def __repr__(self) -> str:
        total = self.to_dict()["total"]
        return (
            f"<huffwire.Analysis: {total['bytes']} bytes, {len(self.to_dict()['kinds'])} kinds; saved by built-in "
            f"codebooks {total['builtin_saving_percent']:.2f} %, by fixed ones {total['fixed_saving_percent']:.2f} %>"
        )

    def to_json(self) -> str:
        """The result as ``huffwire analyze --json`` prints it, without the time that it took."""
        return self._found.to_json()

    def to_dict(self) -> dict[str, Any]:
        """The same as objects of Python."""
        if self._parsed is None:
            import json

            self._parsed = json.loads(self.to_json())
        return self._parsed

    @property
    def notes(self) -> list[str]:
        """What the reader must know: files of different models, tensors that were left out."""
        return list(self.to_dict()["notes"])

    def rows(self) -> list[dict[str, Any]]:
        """A row for each kind of tensors, type and symbol rule: ``pandas.DataFrame(found.rows())``.

        The keys are those of ``kinds[]`` in the JSON that are single values.
        """
        return [_single(kind) for kind in self.to_dict()["kinds"]]

    def shard_rows(self) -> list[dict[str, Any]]:
        """A row for each shard of each kind that has not too many of them."""
        rows = []
        for kind in self.to_dict()["kinds"]:
            for shard in kind["per_shard"] or []:
                names = {key: kind[key] for key in ("name", "model", "dtype", "symbols")}
                rows.append(names | shard)
        return rows

    def step_rows(self) -> list[dict[str, Any]]:
        """A row for each step, kind and sort of codebooks; empty without ``timeline=True``.

        The name of a row for all tensors together is None.
        """
        timeline = self.to_dict().get("timeline")
        if timeline is None:
            return []
        total = {"name": None, "model": None, "dtype": None, "symbols": None} | timeline["total"]
        rows = []
        for kind in [total, *timeline["kinds"]]:
            names = {key: kind[key] for key in ("name", "model", "dtype", "symbols")}
            for curve in kind["curves"]:
                for number, step in enumerate(timeline["steps"]):
                    rows.append(
                        names
                        | {
                            "codebooks": curve["codebooks"],
                            "step": step["step"],
                            "since": step["since"],
                            "regret_percent": curve["regret_percent"][number],
                            "saving_percent": curve["saving_percent"][number],
                        }
                    )
        return rows

    def figures(self) -> dict[str, str]:
        """The figures of the report, as SVG, by their names."""
        return dict(self._found.figures())

    def html(self) -> str:
        """The report, as one page of HTML that needs no network."""
        return self._found.html()

    def report(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Writes the report into a file.

        Raises:
            ExistsError: There is such a file, and ``force`` is false.
            FileError: The file cannot be written.
        """
        self._found.report(os.fspath(path), force)

    def _repr_html_(self) -> str:
        figures = self.figures()
        escape = _escape()
        shown = [figures[name] for name in _SHOWN if name in figures]
        # Pictures, so that their styles stay theirs.
        pictures = "".join(_picture(svg) for svg in shown)
        notes = "".join(f"<p><b>Note:</b> {escape(note)}.</p>" for note in self.notes)
        return f"<div>{pictures}{notes}{self._table()}</div>"

    def _table(self) -> str:
        columns = {
            "name": "kind",
            "dtype": "type",
            "symbols": "symbols",
            "shards": "shards",
            "values": "values",
            "shannon_saving_percent": "Shannon %",
            "huffman_saving_percent": "Huffman %",
            "fixed_saving_percent": "fixed %",
            "builtin_saving_percent": "built-in %",
            "max_kl_bits": "max KL",
        }
        head = "".join(f"<th>{name}</th>" for name in columns.values())
        rows = self.rows()
        body = "".join(
            "<tr>" + "".join(f"<td>{_cell(row[key])}</td>" for key in columns) + "</tr>"
            for row in rows[:_ROWS]
        )
        more = f"<p>and {len(rows) - _ROWS} kinds more</p>" if len(rows) > _ROWS else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def analyze(
    tensors: Any,
    *,
    calibrate_on: Any = None,
    kinds: Mapping[str, str] | None = None,
    shards: int = 1,
    axis: int = -1,
    symbols: Symbols | Sequence[Symbols] = "auto",
    converted_to: Sequence[str] = (),
    scale: Literal["tensor", "block"] = "tensor",
    leave_out: Literal["files", "layers", "shards"] | None = None,
    timeline: bool = False,
    refresh_regret: float = 0.02,
    refresh_every: int = 1000,
    refresh_interval: int = 8 << 20,
    shards_alone: int | None = None,
    codebooks: Codebooks | Sequence[Codebooks] | None = None,
    threads: int | None = None,
    progress: OpenProgress = None,
) -> Analysis:
    """Finds out how compressible tensors are, and with which codebooks.

    What is found is told for each kind of tensors, those whose names differ in digits alone: what a perfect code
    would save (Shannon), a Huffman code made for each shard, one codebook fixed in advance, and the built-in ones.
    The fixed codebook is made from other tensors than those that it codes.

    >>> import array, huffwire
    >>> def weights(layer):
    ...     return array.array("f", [(i * i % 97 - 48) / 2 ** (6 + layer) for i in range(5000)])
    >>> found = huffwire.analyze({f"layers.{i}.weight": weights(i) for i in range(3)})
    >>> row = found.rows()[0]
    >>> row["shannon_saving_percent"] >= row["fixed_saving_percent"] > 0
    True

    Args:
        tensors: A module, a mapping from names to tensors (such as a state dict, also a nested one), or the path of a
            ``.safetensors``, ``.safetensors.index.json``, ``.npy`` or ``.hw`` file or of a checkpoint of ``torch.save``
            (``.pt``, ``.pth``, ``.ckpt``, ``.bin``; loaded with ``weights_only=True``). A list of these stands for
            several steps or batches of one model; so does a mapping from numbers of steps to these, whatever the names of
            files say. Tensors are torch
            tensors, numpy arrays, buffers with a format, or tuples of a dtype's name and a buffer.
        calibrate_on: The same: tensors that the fixed codebooks are made from.
        kinds: Names of kinds, by patterns on names of tensors (``"*"`` for any characters); the first that matches
            counts.
        shards: How many shards each tensor is cut into.
        axis: The axis along which it is cut.
        symbols: What codes encode: ``"auto"``, ``"bytes"``, ``"byte-planes"``, or several of these.
        converted_to: Smaller types that bf16, f16 and f32 tensors are converted to and analyzed as, too: ``"e4m3"``,
            ``"e5m2"``, ``"e3m2"``, ``"e2m3"``, ``"e2m1"``.
        scale: How values are scaled before that: by tensor, or in blocks of 32.
        leave_out: Which part of a kind is left out when the codebook for it is made. None: files if a kind is in
            several, else layers, else shards.
        timeline: Whether codebooks are followed over the steps: `Analysis.step_rows`. Where there is no mapping from
            numbers of steps, the steps of files are told by their names.
        refresh_regret: The regret above which the refresh policy replaces codebooks: 0.02 for two percent.
        refresh_every: Messages from one judgement of the policy to the next, at least. Each tensor of a step is one.
        refresh_interval: Bytes of tensors from one sample of the policy to the next, on average.
        shards_alone: The most shards, of all kinds, types and symbol rules together, that are counted alone; those of
            kinds beyond that are counted in groups. None for 20 000, but 4096 of a kind, 1024 of a tensor, and 8192 of
            ``calibrate_on``.
        codebooks: Codebooks that ``.hw`` files need, if they neither embed them nor use the built-in ones.
        threads: How many threads count; None for as many as `huffwire.default_threads` says.
        progress: True for a bar of tqdm, or a function that is called with the bytes done and the bytes in all.

    Returns:
        What was found.

    Raises:
        OptionError: There is no tensor with values, or an option has a value that it cannot have.
        UnsupportedError: A tensor or a file that cannot be read.
        CodebookError: A ``.hw`` file needs codebooks that are not given.
        FileError: The system refused to read a file.
        DamagedError: A file is damaged.
    """
    # Tensors of a checkpoint, or copies of those on another device, live as long as the call.
    files = _files(tensors)
    others = [] if calibrate_on is None else _files(calibrate_on)
    if isinstance(symbols, str):
        symbols = [symbols]
    policy = (refresh_regret, refresh_every, refresh_interval, 32)
    if timeline and not (0 <= refresh_regret < float("inf")):
        raise OptionError(f"refresh_regret={refresh_regret!r}: give 0 or more, such as 0.02")
    for name, value, least in [
        ("shards", shards, 1),
        ("shards_alone", shards_alone or 0, 0),
        ("refresh_every", refresh_every, 1),
        ("refresh_interval", refresh_interval, 0),
    ]:
        check_whole(name, value, least, (1 << 31) - 1)
    with open_reporting(progress, "analyzing") as report:
        found = _huffwire._analyze(
            [(file.name, file.step, file.source) for file in files],
            [(file.name, file.step, file.source) for file in others],
            kinds=_kinds(kinds),
            shards=shards,
            axis=axis,
            symbols=list(symbols),
            converted_to=list(converted_to),
            scale=scale,
            leave_out=leave_out,
            timeline=policy if timeline else None,
            shards_alone=shards_alone,
            codebooks=codebooks,
            threads=threads,
            progress=report,
        )
    return Analysis(found)


def _kinds(kinds: Mapping[str, str] | None) -> list[str]:
    if kinds is None:
        return []
    if not isinstance(kinds, Mapping) or any("=" in str(name) for name in kinds.values()):
        raise OptionError("kinds=: give a mapping from patterns to names without '='")
    return [f"{pattern}={name}" for pattern, name in kinds.items()]


class _File(NamedTuple):
    """What is analyzed under one name."""

    name: str
    step: int | None
    """The step that it is from; None for the one that the name tells."""
    source: _Source
    held: list[Any]
    """What keeps its memory."""


def _files(tensors: Any) -> list[_File]:
    """Files and steps, as the caller passes them."""
    if isinstance(tensors, Mapping) and _has_steps(tensors):
        for step in tensors:
            if not 0 <= step < 1 << 64:
                raise OptionError(f"step {step}: the number of a step is from 0 to {(1 << 64) - 1}")
        return [_file(item, f"step {step}", step) for step, item in tensors.items()]
    if _is_one(tensors):
        return [_file(tensors, "tensors")]
    if isinstance(tensors, Iterable) and not isinstance(tensors, (bytes, bytearray, memoryview)):
        items = list(tensors)
        if items and all(_is_pair(item) for item in items):
            return [_file(dict(items), "tensors")]
        if all(_is_one(item) for item in items):
            return [_file(item, f"tensors {number}") for number, item in enumerate(items)]
    raise UnsupportedError(
        f"{type(tensors).__name__}: pass a module, a mapping from names to tensors, a path, or a list of these"
    )


def _has_steps(tensors: Mapping[Any, Any]) -> bool:
    """Whether the keys are numbers of steps. Numbers may also be names of tensors."""
    return bool(tensors) and all(type(key) is int and _is_one(item) for key, item in tensors.items())


def _is_one(item: Any) -> bool:
    """Whether it is tensors of one step."""
    return isinstance(item, (str, os.PathLike, Mapping)) or callable(
        getattr(item, "state_dict", None)
    )


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def _file(item: Any, name: str, step: int | None = None) -> _File:
    is_loaded = isinstance(item, (str, os.PathLike))
    if is_loaded:
        path = os.fspath(item)
        if not path.lower().endswith(_CHECKPOINTS):
            return _File(path, step, path, [])
        name, item = path, _checkpoint(path)
    elif not isinstance(item, Mapping):
        item = item.state_dict()
    held: list[Any] = []
    found = []
    copies = _Copies(name)
    for tensor, value in _flat(item):
        element = copies.elements(tensor, value) if is_loaded else _elements.elements(value)
        held.append(element.owner)
        found.append((tensor, element.dtype, element.shape, element.memory))
    return _File(name, step, found, held)


def _checkpoint(path: str) -> Any:
    """What ``torch.save`` wrote: tensors and plain values, never code."""
    try:
        import torch
    except ImportError as error:
        raise UnsupportedError(f"{path}: checkpoints of torch.save need torch") from error
    return _loaded(torch.load, path)


def _loaded(load: Callable[..., Any], path: str) -> Any:
    import pickle

    from huffwire._errors import DamagedError, FileError, MissingFileError, OutOfMemoryError

    try:
        try:
            # Tensors are read when they are counted.
            return load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:
            # Only zip archives can be mapped; older checkpoints are read whole.
            return load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such file") from error
    except OSError as error:
        raise FileError(f"{path}: {error}") from error
    except pickle.UnpicklingError as error:
        raise UnsupportedError(f"{path}: it holds more than tensors and plain values") from error
    except MemoryError as error:
        raise OutOfMemoryError(f"{path}: there is no memory for what it says that it holds") from error
    except Exception as error:
        # A damaged pickle ends in any exception, such as KeyError or AttributeError.
        raise DamagedError(f"{path}: this is no checkpoint of torch.save, or it is damaged") from error


class _Copies:
    """Tensors of a checkpoint that are analyzed as copies, since they are not contiguous, or conjugates or negatives that were
    not computed yet. Strides of 0, and views that share their memory, would make a small file take any amount of memory."""

    def __init__(self, path: str) -> None:
        self._path = path
        # By what makes a view: the same one under several names is copied once.
        self._copies: dict[tuple[Any, ...], _elements.Elements] = {}
        self._copied = 0
        # Storages, by their places, and how many bytes they have together.
        self._storages: set[int] = set()
        self._stored = 0

    def elements(self, name: str, tensor: Any) -> _elements.Elements:
        """The elements of a tensor.

        Raises:
            UnsupportedError: It has more bytes to copy than its storage has, or all have more than twice as many.
        """
        import torch

        if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided:
            return _elements.elements(tensor)
        lazy = tensor.is_conj(), tensor.is_neg()
        if tensor.is_meta or (tensor.is_contiguous() and not any(lazy)):
            return _elements.elements(tensor)
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        view = (place, tensor.storage_offset(), tensor.dtype, tensor.shape, tensor.stride(), lazy)
        if view not in self._copies:
            if place not in self._storages:
                self._storages.add(place)
                self._stored += storage.nbytes()
            self._copied += tensor.nbytes
            if tensor.nbytes > storage.nbytes() or self._copied > 2 * self._stored:
                raise UnsupportedError(
                    f"{self._path}: {name} and others are not contiguous, or conjugates, and take more memory than the "
                    "checkpoint has for them: save clones in the place of views that share or repeat elements"
                )
            self._copies[view] = _elements.elements(tensor)
        return self._copies[view]


def _flat(item: Any) -> Iterator[tuple[str, Any]]:
    """Tensors by their names; those of nested mappings and lists have names with dots.

    Raises:
        UnsupportedError: Containers lie too deep in each other, such as in themselves, or hold too much.
    """
    # What is still to be looked at, one iterator for each container around it.
    open_: list[tuple[str, Iterator[tuple[Any, Any]]]] = [("", iter([("", item)]))]
    seen = 0
    while open_:
        around, parts = open_[-1]
        key, value = next(parts, (None, _END))
        if value is _END:
            open_.pop()
            continue
        name = f"{around}.{key}" if around else str(key)
        inner = _parts(value)
        if inner is not None:
            open_.append((name, inner))
        elif not isinstance(value, _PLAIN):
            yield name, value
        seen += 1
        if len(open_) > _DEEPEST + 1:
            raise UnsupportedError(f"{name[:80]}: mappings and lists lie more than {_DEEPEST} deep in each other")
        if seen > _MOST:
            raise UnsupportedError(f"{name[:80]}: mappings and lists hold more than {_MOST} values")


_END = object()


def _parts(item: Any) -> Iterator[tuple[Any, Any]] | None:
    """What a container holds, by keys; None for what is no container."""
    if isinstance(item, Mapping):
        return iter(item.items())
    if isinstance(item, list) or (isinstance(item, tuple) and not _is_pair(item)):
        return iter(enumerate(item))
    return None


def _single(kind: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kind.items() if key not in ("planes", "per_shard")}


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else _escape()(str(value))


def _escape() -> Callable[[str], str]:
    # Imported late, as json and base64 are: most programs that import huffwire show no analysis.
    from html import escape

    return escape


def _picture(svg: str) -> str:
    from base64 import b64encode

    data = b64encode(svg.encode()).decode()
    return f'<img alt="" style="max-width: 36rem; width: 100%" src="data:image/svg+xml;base64,{data}">'
