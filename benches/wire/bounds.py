"""Bounds for the ratios of huffwire's collectives and hooks to plain gloo, and how a report compares with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from wire import report
from wire.quantities import rate_name
from wire.report import Case, Run

_GBIT = 10**9
_MIB = 1 << 20

# Rate, collective, size, contender, than which, at least so many times as fast.
_COLLECTIVES = (
    (_GBIT, "all_gather", 64 * _MIB, "coded", "gloo", 2.2),
    (_GBIT, "all_gather", 64 * _MIB, "coded", "raw pieces", 1.42),
    (_GBIT, "broadcast", 64 * _MIB, "coded", "gloo", 1.45),
    (_GBIT, "all_reduce", 64 * _MIB, "coded", "gloo", 1.42),
    (_GBIT, "all_reduce", 16 * _MIB, "coded", "gloo", 1.4),
    (10 * _GBIT, "all_gather", 64 * _MIB, "coded", "gloo", 2.0),
    (10 * _GBIT, "broadcast", 64 * _MIB, "coded", "gloo", 1.2),
    (10 * _GBIT, "all_gather", 64 * _MIB, "coded, tcp", "gloo", 2.5),
    (10 * _GBIT, "broadcast", 64 * _MIB, "coded, tcp", "gloo", 1.4),
    (10 * _GBIT, "all_reduce", 64 * _MIB, "coded, tcp", "gloo", 1.2),
)
# Rate, dtype, contender, what is compared, at least so many times.
_STEPS: tuple[tuple[int, str, str, Callable[[Case, str, str], float], str, float], ...] = (
    (_GBIT, "bf16", "lossless_hook, coded", report.faster, "as fast", 1.3),
    (_GBIT, "fp32", "lossless_hook, coded", report.faster, "as fast", 1.12),
    (_GBIT, "fp32", "quantized_hook", report.fewer, "fewer bytes", 11.0),
    (_GBIT, "fp32", "quantized_hook", report.faster, "as fast", 3.5),
    (_GBIT, "fp32", "quantized_hook, tcp", report.faster, "as fast", 3.5),
    (_GBIT // 5, "fp32", "quantized_hook", report.faster, "as fast", 6.0),
)


# What a bound is about, what was measured, and the bound.
Checked = tuple[str, float, float]


def check(found: dict[str, Any]) -> Iterator[Checked]:
    """All bounds that a report has something about: none if it is short."""
    for _, checked in _all(found):
        yield from checked


def unmeasured(found: dict[str, Any]) -> list[tuple[str, float]]:
    """Bounds that a report has nothing about, and what they are about."""
    return [about for about, checked in _all(found) if not checked]


def _all(found: dict[str, Any]) -> Iterator[tuple[tuple[str, float], list[Checked]]]:
    """All bounds, and what a report has about each of them."""
    runs = [run for run in found["runs"] if run["ranks"] == 2 and not run["delay"] and not found["short"]]
    for rate, collective, size, name, than, bound in _COLLECTIVES:
        about = f"{rate_name(rate)}, {collective} of {size // _MIB} MiB, {name}: times as fast as {than}"
        cases = _cases(runs, rate, name, "collective", collective=collective, bytes=size)
        yield (about, bound), [(about, report.faster(case, name, than), bound) for case in cases]
    for rate, dtype, name, compared, word, bound in _STEPS:
        about = f"{rate_name(rate)}, DDP step in {dtype}, {name}: times {word}"
        cases = _cases(runs, rate, name, "ddp", dtype=dtype)
        yield (about, bound), [(about, compared(case, name, "stock PyTorch"), bound) for case in cases]


def _cases(runs: list[Run], rate: int, name: str, what: str, **having: Any) -> list[Case]:
    """The cases of wires of this rate that have this contender."""
    cases = [case for run in runs if run["rate"] == rate for case in report.cases(run, what, **having)]
    return [case for case in cases if name in case["contenders"]]


def text(found: dict[str, Any]) -> str:
    """All bounds that a report has something about, and which of them do not hold."""
    lines = []
    for about, value, bound in check(found):
        lines.append(f"{'holds' if value >= bound else 'MISSED'}: {about}: {value:.2f}, at least {bound:g}")
    return "\n".join(lines)
