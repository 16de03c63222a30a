"""The figures of docs/deltas.md; they need matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import plot
from changes import document

_OTHERS = "#b04a4a"
# What is drawn of a pair, in bits for each change: label, bits, colour, marker.
_BITS: tuple[tuple[str, Callable[[document.Row], float], str, str], ...] = (
    (document.XOR, lambda row: 8 * row["coders"][document.XOR], _OTHERS, "x"),
    (document.GAPS, lambda row: 8 * row["coders"][document.GAPS], "#7a5ea8", "."),
    (document.PLANES, lambda row: 8 * row["coders"][document.PLANES], plot.DECODE, "+"),
    ("bound: all weights alike", lambda row: row["alike_bits"], plot.BOUND, "^"),
    ("bound: by exponent", lambda row: row["by_exponent_bits"], plot.SAVED, "v"),
    ("huffwire", lambda row: 8 * row["delta_bytes"], plot.ENCODE, "o"),
)
_COLOURS = ("#9fc5e8", "#2a6fb0", "#d9822b", "#b04a4a", "#555555")
# With fewer changes the bytes of headers are all that there is to see.
_LEAST_SHARE, _MOST_BITS = 1e-4, 30


def draw(found: dict[str, Any], folder: Path) -> list[Path]:
    """Draws everything; returns the paths."""
    import matplotlib

    matplotlib.use("svg")
    paths = []
    with matplotlib.rc_context(plot.STYLE):
        for name, one in (("bits", _bits), ("smaller", _smaller)):
            paths.append(folder / f"deltas-{name}.svg")
            figure = one(found)
            figure.set_layout_engine("constrained")
            plot.save(figure, paths[-1])
    return paths


def _panels(found: dict[str, Any]) -> Iterator[tuple[Any, Any, str]]:
    """A panel for each optimizer: figure, axes, optimizer."""
    import matplotlib.pyplot as plt

    optimizers = list(dict.fromkeys(optimizer for optimizer, _ in document.courses(found)))
    figure, panels = plt.subplots(1, len(optimizers), figsize=(7.4, 3.6), sharey=True)
    for axes, optimizer in zip(panels, optimizers, strict=True):
        axes.set_title(optimizer, fontsize=8, loc="left")
        yield figure, axes, optimizer


def _bits(found: dict[str, Any]) -> Any:
    """Bits for each change, over the share of weights that change."""
    for figure, axes, optimizer in _panels(found):
        rows = [row for row in document.pairs(found, optimizer=optimizer) if document.changed_share(row) >= _LEAST_SHARE]
        rows.sort(key=document.changed_share)
        shares = [100 * document.changed_share(row) for row in rows]
        for label, bits, colour, marker in _BITS:
            values = [bits(row) / row["changes"] for row in rows]
            axes.plot(shares, values, marker, color=colour, label=label, markersize=4.5, markerfacecolor="none")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("weights that change, %")
        axes.set_ylim(0, _MOST_BITS)
    figure.axes[0].set_ylabel("bits for each change")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=7, ncols=3, loc="outside upper center")
    return figure


def _smaller(found: dict[str, Any]) -> Any:
    """How many times smaller deltas are, over the steps apart, for each learning rate."""
    rates = sorted({rate for _, rate in document.courses(found)})
    for figure, axes, optimizer in _panels(found):
        for rate, colour in zip(rates, _COLOURS, strict=True):
            rows = document.pairs(found, optimizer=optimizer, rate=rate)
            if not rows:
                continue
            apart = [row["apart"] for row in rows]
            name = document.rate_name(rate)
            axes.plot(apart, [row["raw_bytes"] / row["delta_bytes"] for row in rows], "o-", color=colour, markersize=3.5, label=name)
            axes.plot(apart, [row["raw_bytes"] / row["coders"][document.PLANES] for row in rows], ":", color=colour, linewidth=1.0)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_xticks(apart, [str(steps) for steps in apart])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("steps apart")
    figure.axes[0].set_ylabel("times smaller")
    # The second panel has all rates.
    figure.legend(*figure.axes[-1].get_legend_handles_labels(), title="learning rate; dotted: byte planes, zstd-3", fontsize=7,
                  title_fontsize=7, ncols=len(rates), loc="outside upper center")
    return figure
