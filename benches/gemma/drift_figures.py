"""The figures of docs/drift.md; they need matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plot
from gemma import drift

# One kind of each sort.
_SHOWN = ("FFN1 weights", "FFN1 weight gradients", "FFN1 activation", "FFN1 activation gradients", "keys", "values",
          "Adam, first moment", "Adam, second moment")
_COLOURS = {"built-in": plot.SAVED, "calibrated": plot.ENCODE, "uncentred": plot.DECODE, "bytes": "#b04a4a"}


def draw(found: dict[str, Any], folder: Path) -> list[Path]:
    """Draws everything; returns the paths."""
    import matplotlib

    matplotlib.use("svg")
    paths = []
    with matplotlib.rc_context(plot.STYLE):
        for name, run in zip(("start", "warm-up", "middle"), found["runs"], strict=True):
            paths.append(folder / f"drift-{name}.svg")
            figure = _regrets(run)
            figure.set_layout_engine("constrained")
            plot.save(figure, paths[-1])
    return paths


def _regrets(run: dict[str, Any]) -> Any:
    """Regret by step, a panel for each kind, all with the same scale."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 4, figsize=(7.6, 3.9), sharex=True, sharey=True)
    for axes, name in zip(panels.flat, _SHOWN, strict=True):
        for symbols, codebooks, title in drift.CURVES:
            values = drift.curve(run, name, symbols, codebooks)
            if title in _COLOURS and values:
                pairs = [(step, max(value, 0.01)) for step, value in zip(run["steps"], values, strict=True) if value is not None]
                axes.plot([step for step, _ in pairs], [value for _, value in pairs], color=_COLOURS[title], linewidth=0.9, label=title)
        axes.axhline(2, color=plot.BOUND, linewidth=0.6, linestyle=":")
        axes.set_title(name, fontsize=7)
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.tick_params(labelsize=6)
    figure.supxlabel(f"step; codebooks of step {run['calibrated_at']}", fontsize=8)
    figure.supylabel("regret, %", fontsize=8)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, ncols=4, loc="outside upper center")
    return figure
