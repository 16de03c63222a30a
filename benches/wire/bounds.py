"""Bounds for the ratios of huffwire's collectives and hooks to plain gloo, and how a report compares with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from wire import report
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


def check(found: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """What a bound is about, what was measured, and the bound, for all that a report has that is not short."""
    for run in found["runs"]:
        if run["ranks"] == 2 and not run["delay"] and not found["short"]:
            yield from _collectives(run)
            yield from _steps(run)


def _collectives(run: Run) -> Iterator[tuple[str, float, float]]:
    for rate, collective, size, name, than, bound in _COLLECTIVES:
        for case in report.cases(run, "collective", collective=collective, bytes=size) if rate == run["rate"] else ():
            if name in case["contenders"]:
                about = f"{run['wire']}, {collective} of {size // _MIB} MiB, {name}: times as fast as {than}"
                yield about, report.faster(case, name, than), bound


def _steps(run: Run) -> Iterator[tuple[str, float, float]]:
    for rate, dtype, name, compared, word, bound in _STEPS:
        for case in report.cases(run, "ddp", dtype=dtype) if rate == run["rate"] else ():
            if name in case["contenders"]:
                about = f"{run['wire']}, DDP step in {dtype}, {name}: times {word}"
                yield about, compared(case, name, "stock PyTorch"), bound


def text(found: dict[str, Any]) -> str:
    """All bounds, and which of them do not hold."""
    lines = []
    for about, value, bound in check(found):
        lines.append(f"{'holds' if value >= bound else 'MISSED'}: {about}: {value:.2f}, at least {bound:g}")
    return "\n".join(lines)
