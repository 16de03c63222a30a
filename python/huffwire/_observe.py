"""What coding would save in a program that is only watched."""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

import torch
import torch.distributed as dist

import huffwire
from huffwire._errors import UnsupportedError
from huffwire.distributed import settings
from huffwire.distributed.engine import Engine
from huffwire.distributed.groups import _store, _timeout, resolve
from huffwire.distributed.pieces import Coder, codec_name
from huffwire.distributed.policy import Link, Model
from huffwire._tensors import _refusal

# Bytes of a sample, and the most samples of a row. Half of them make books, the other half is measured with them.
_SAMPLE = 256 << 10
_SAMPLES = 32
# Any number will do that nobody else uses for hooks of a process group.
_HOOK = 0x68757766

# Names of torch's hooks, and what the policy calls the same.
_NAMES = {
    "ALLREDUCE": "all_reduce",
    "ALLREDUCE_COALESCED": "all_reduce",
    "ALLGATHER": "all_gather",
    "ALLGATHER_BASE": "all_gather",
    "ALLGATHER_COALESCED": "all_gather",
    "REDUCE_SCATTER": "reduce_scatter",
    "REDUCE_SCATTER_BASE": "reduce_scatter",
    "ALLTOALL": "all_to_all",
    "ALLTOALL_BASE": "all_to_all",
    "BROADCAST": "broadcast",
    "SEND": "send",
}


@dataclass
class Row:
    """What was seen of one collective with one element type.

    Attributes:
        collective, dtype: Which.
        calls: How many calls.
        bytes: Bytes of all ranks' tensors in these calls: of the output of gathers, of the input of all others.
        builtin, calibrated: The part of the bytes that is saved with the built-in codebooks, and with codebooks
            made from half of the samples, measured on the other half; None without two samples.
        seconds, coded_seconds: What all these calls take by the model, as they are and coded with the built-in
            codebooks, on the link that was measured; None for collectives that huffwire does not code.
    """

    collective: str
    dtype: str
    calls: int = 0
    bytes: int = 0
    builtin: float | None = None
    calibrated: float | None = None
    seconds: float | None = None
    coded_seconds: float | None = None
    _sizes: Counter[int] = field(default_factory=Counter, repr=False)
    _samples: list[torch.Tensor] = field(default_factory=list, repr=False)


class Observation:
    """What `huffwire.observe` found: `rows` after the block has ended, and `describe`."""

    def __init__(self, rank: int, size: int, link: Link) -> None:
        self.link = link
        self.rows: list[Row] = []
        self._rank = rank
        self._ranks = size
        self._found: dict[tuple[str, str], Row] = {}

    def _see(self, call: Any) -> None:
        """torch calls this before each collective."""
        tensors = [each for each in call.input_tensors if _refusal(each) is None]
        name = _NAMES.get(call.name.name, call.name.name.lower())
        for tensor in tensors:
            key = name, codec_name(tensor.dtype)
            row = self._found.setdefault(key, Row(*key))
            size = tensor.nbytes * (self._ranks if name == "all_gather" else 1)
            row.calls += 1
            row.bytes += size
            row._sizes[size] += 1
            # Other ranks than the root of a broadcast hold what will be overwritten.
            mine = call.name.name != "BROADCAST" or call.root in (-1, self._rank)
            # Samples of the whole run: the more calls, the fewer of them are looked at.
            wanted = len(row._samples) < _SAMPLES and row.calls % (1 + len(row._samples) // 4) == 0
            if mine and wanted and tensor.numel():
                row._samples.append(_sample(tensor, row.calls))

    def _finish(self) -> None:
        codec = settings.measured_codec(None, "fast")
        model = Model(self.link, codec, self._ranks)
        for row in self._found.values():
            row.builtin = _saved(row._samples, None)
            if len(row._samples) > 1 and row.dtype != "bool":
                books, measured = row._samples[::2], row._samples[1::2]
                made = huffwire.calibrate(
                    {f"{index}": each for index, each in enumerate(books)}, kinds=lambda _: "all"
                )
                row.calibrated = _saved(measured, made.codebooks)
            if row.collective in _NAMES.values() and self._ranks > 1:
                ways = [
                    (
                        count,
                        model.seconds("plain", row.collective, row.dtype, size),
                        model.seconds("coded", row.collective, row.dtype, size),
                    )
                    for size, count in row._sizes.items()
                ]
                row.seconds = sum(count * plain for count, plain, _ in ways)
                # A call that would take longer is not coded.
                row.coded_seconds = sum(count * min(plain, coded) for count, plain, coded in ways)
            row._samples = []
            row._sizes.clear()
        self.rows = sorted(self._found.values(), key=lambda row: -row.bytes)

    def describe(self) -> str:
        """The rows as a table."""
        table = [
            ["collective", "dtype", "calls", "MB", "built-in", "calibrated", "seconds", "coded"]
        ]
        for row in self.rows:
            table.append(
                [
                    row.collective,
                    row.dtype,
                    str(row.calls),
                    f"{row.bytes / 1e6:.1f}",
                    _percent(row.builtin),
                    _percent(row.calibrated),
                    "-" if row.seconds is None else f"{row.seconds:.3f}",
                    "-" if row.coded_seconds is None else f"{row.coded_seconds:.3f}",
                ]
            )
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in table
        ]
        speed = self.link.bytes_per_second * 8e-9
        head = f"huffwire: {self._ranks} ranks, link of {speed:.2f} Gbit/s, latency {self.link.latency * 1e6:.0f} us"
        return "\n".join([head, *lines])


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.1f} %"


def _sample(tensor: torch.Tensor, call: int) -> torch.Tensor:
    """Some of a tensor's elements, copied, from another place in each call."""
    flat = tensor.detach().reshape(-1)
    count = max(1, _SAMPLE // flat.itemsize)
    places = max(1, flat.numel() // count)
    start = call % places * count
    return flat[start : start + count].cpu().clone()


def _saved(samples: list[torch.Tensor], codebooks: huffwire.Codebooks | None) -> float | None:
    """The part of the samples' bytes that coding saves."""
    coded = sum(len(_encode(each, codebooks)) for each in samples)
    raw = sum(each.nbytes for each in samples)
    return 1 - coded / raw if raw else None


def _encode(sample: torch.Tensor, codebooks: huffwire.Codebooks | None) -> bytes:
    name = codec_name(sample.dtype)
    memory = sample.data_ptr(), sample.nbytes
    return huffwire._huffwire._encode(memory, name, "fast", "auto", codebooks, True, 1, None)


@contextmanager
def observe(
    group: dist.ProcessGroup | None = None,
    *,
    link: Link | None = None,
    file: TextIO | None = None,
) -> Iterator[Observation]:
    """Watches the collectives of a process group, and prints at the end what coding them would save.

    Nothing that the program does changes. Samples of the tensors are copied: at most 8 MiB for each collective and
    element type.

    >>> import sys, torch, torch.distributed as dist, huffwire
    >>> from huffwire.distributed import Link
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> gradients = torch.randn(100_000).bfloat16()
    >>> with huffwire.observe(link=Link(125e6, 100e-6), file=sys.stdout):
    ...     dist.all_reduce(gradients)
    huffwire: 1 ranks, link of 1.00 Gbit/s, latency 100 us
    collective  dtype  calls   MB  built-in  calibrated  seconds  coded
    all_reduce  bf16       1  0.2    ...
    >>> dist.destroy_process_group()

    Args:
        group: The group; None for the default one.
        link: What the link between the ranks does. None measures it, for which all ranks must enter the block
            together.
        file: Where rank 0 prints; None for the standard error.

    Yields:
        What was found, complete when the block has ended.

    Raises:
        UnsupportedError: This PyTorch has no hooks for process groups.
        GroupError: The group was destroyed, or there is none.
        PeerError: The link cannot be measured, because a rank does not answer.
    """
    group = resolve(group)
    if not hasattr(group, "register_pre_hook"):
        raise UnsupportedError(
            f"torch {torch.__version__} has no hooks for process groups: update it"
        )
    rank, size = group.rank(), group.size()
    if link is None:
        link = _measure(group)
    observation = Observation(rank, size, link)
    group.register_pre_hook(_HOOK, observation._see)
    try:
        yield observation
    finally:
        group.unregister_pre_hook(_HOOK)
    observation._finish()
    if rank == 0:
        print(observation.describe(), file=file or sys.stderr)


# How often the link of each group was measured, which its ranks do together.
_MEASURED: weakref.WeakKeyDictionary[dist.ProcessGroup, int] = weakref.WeakKeyDictionary()


def _measure(group: dist.ProcessGroup) -> Link:
    """Measures the link over a gloo group of its own."""
    if group.size() == 1:
        return Link(1e12, 1e-6)
    _MEASURED[group] = number = _MEASURED.get(group, 0) + 1
    store = dist.PrefixStore(  # type: ignore[attr-defined]
        f"huffwire/observe/{number}/", _store(group)
    )
    engine = Engine(store, group.rank(), group.size(), _timeout(group))
    engine.configure(Coder(None), 1 << 20)
    return settings.measured_link(engine)
