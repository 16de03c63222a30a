"""The figures of docs/collectives.md; they need matplotlib, and look like those of plot.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plot
from wire.quantities import size_name
from wire.report import cases, faster, heading, typical

COLOURS = ("#2a6fb0", "#d9822b", "#3d8b5f", "#8a5fa8", "#777777", "#b04a4a")


def draw(found: dict[str, Any], folder: Path) -> list[Path]:
    """Draws everything; returns the paths."""
    import matplotlib

    matplotlib.use("svg")
    paths = []
    with matplotlib.rc_context(plot.STYLE):
        for name, one in (("speed", _speed), ("steps", _steps), ("model", _model), ("plan", _plan)):
            paths.append(folder / f"collectives-{name}.svg")
            figure = one(found)
            figure.set_layout_engine("constrained")
            plot.save(figure, paths[-1])
    return paths


def _bars(axes: Any, groups: list[str], series: dict[str, list[float | None]]) -> None:
    """Bars side by side in groups, with their values."""
    width = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        places = [group - 0.4 + width * (number + 0.5) for group in range(len(groups))]
        there = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
        bars = axes.bar([place for place, _ in there], [value for _, value in there], width * 0.92,
                        color=COLOURS[number % len(COLOURS)], label=name)
        axes.bar_label(bars, [f"{value:.2f}" for _, value in there], padding=1, fontsize=6)
    axes.axhline(1, color="#333333", linewidth=0.8)
    axes.set_xticks(range(len(groups)), groups, fontsize=8)
    axes.grid(axis="x", visible=False)
    axes.legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _speed(found: dict[str, Any]) -> Any:
    """The largest tensors of each run: coded against gloo, by collective."""
    import matplotlib.pyplot as plt

    runs = [run for run in found["runs"] if cases(run, "collective")]
    names = list(dict.fromkeys(case["collective"] for run in runs for case in cases(run, "collective")))
    series = {}
    for run in runs:
        largest = max(case["bytes"] for case in cases(run, "collective"))
        chosen = {case["collective"]: faster(case, "coded", "gloo") for case in cases(run, "collective", bytes=largest)}
        series[f"{heading(run)}, {size_name(largest)}"] = [chosen.get(name) for name in names]
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    _bars(axes, names, series)
    axes.set_ylabel("coded: times as fast as gloo")
    return figure


def _steps(found: dict[str, Any]) -> Any:
    """Steps of DistributedDataParallel in fp32 with each hook, against stock PyTorch, on each wire with 2 ranks."""
    import matplotlib.pyplot as plt

    runs = [run for run in found["runs"] if run["ranks"] == 2 and cases(run, "ddp")]
    runs.sort(key=lambda run: run["rate"] or float("inf"))
    figure, (left, right) = plt.subplots(2, 1, figsize=(7.2, 5.6))
    for axes, dtype in ((left, "fp32"), (right, "bf16")):
        chosen = {run["wire"]: cases(run, "ddp", dtype=dtype)[0] for run in runs}
        first = next(iter(chosen.values()))["contenders"]
        hooks = [name for name, one in first.items() if "loss" in one and name != "stock PyTorch" and "auto" not in name]
        series = {name: [faster(case, name, "stock PyTorch") for case in chosen.values()] for name in hooks}
        _bars(axes, list(chosen), series)
        axes.set_ylabel(f"{dtype}: times as fast")
        if dtype == "fp32":
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.minorticks_off()
    return figure


def _model(found: dict[str, Any]) -> Any:
    """Predicted against measured times."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.4, 4.6))
    for colour, (name, way) in zip(COLOURS, (("gloo", "plain"), ("raw pieces", "raw"), ("coded", "coded")), strict=False):
        points = [(typical(case["contenders"][name]) * 1e3, case["predicted_seconds"][way] * 1e3)
                  for run in found["runs"] for case in cases(run, "collective")]
        axes.plot(*zip(*points, strict=True), "o", color=colour, label=name, markersize=4, alpha=0.8)
    ends = axes.get_xlim()
    axes.plot(ends, ends, color="#333333", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="measured, ms", ylabel="predicted, ms")
    axes.legend()
    return figure


def _plan(found: dict[str, Any]) -> Any:
    """Coded against plain all_reduce by the model, over links."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for colour, curve in zip(COLOURS, found["plan"]["curves"], strict=False):
        over = "gloo" if curve["transport"] == "gloo" else "a transport that costs nothing"
        cores = f"{curve['cores']} core{'s' * (curve['cores'] != 1)}"
        axes.plot(curve["gbit"], curve["times_as_fast"], "o--" if curve["transport"] == "gloo" else "o-", color=colour,
                  label=f"{cores}, {over}", markersize=3.5)
    axes.axhline(1, color="#333333", linewidth=0.8)
    axes.set(xscale="log", xlabel="link, Gbit/s", ylabel="coded: times as fast as plain", ylim=(0, None))
    axes.set_xticks(found["plan"]["curves"][0]["gbit"], [f"{gbit:g}" for gbit in found["plan"]["curves"][0]["gbit"]])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    return figure
