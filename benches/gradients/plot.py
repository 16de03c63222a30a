#!/usr/bin/env python3
"""Draws what study.py --json measured: docs/figures/gradients-*.svg."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Sequence

if __name__ == "__main__":
    # As in study.py.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import peers  # noqa: E402
import plot as shared  # noqa: E402
from gradients import evaluate, study  # noqa: E402

COLOURS = {
    "rlh": "#2a6fb0", "sh": "#d9822b", "shs": "#3d8b5f", "huffman": "#999999", "bitmap": "#8b3d7c", "auto": "#222222",
    "best Elias": "#b03a2e", "QSGD's Elias": "#d98880",
}
MARKS = {"rlh": "o", "sh": "s", "shs": "^", "bitmap": "D", "auto": ".", "best Elias": "x", "QSGD's Elias": "+"}

Report = dict[str, Any]
Rows = list[tuple[str, list[evaluate.Record]]]


def relative_size(records: Sequence[evaluate.Record], name: str) -> float | None:
    """The median size of an encoder, relative to Elias omega."""
    values = [1 / evaluate.ratio(record, name) for record in records if evaluate.has(record, name)]
    return evaluate.median(values) if values else None


def model_rows(report: Report) -> Rows:
    groups: dict[str, list[evaluate.Record]] = {}
    for record in evaluate.flat(report):
        if record["quantizer"] == evaluate.STANDARD:
            groups.setdefault(f"{record['model']}, {record['data']}", []).append(record)
    return list(groups.items())


def draw_sizes(rows: Rows, title: str, path: Path) -> None:
    """A line for each row, a mark for each encoder, a bar where Shannon's bound for single values is."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 1.4 + 0.27 * len(rows)))
    places = range(len(rows))
    bounds = [evaluate.median(1 / evaluate.shannon_ratio(record) for record in group) for _, group in rows]
    axes.barh(list(places), bounds, 0.6, color="#e9eef4", label="Shannon, single values")
    for name, mark in MARKS.items():
        points = [(relative_size(group, name), place) for place, (_, group) in zip(places, rows)]
        points = [(value, place) for value, place in points if value is not None]
        if points:
            line = {"markersize": 5, "linestyle": "none", "color": COLOURS[name], "label": name}
            axes.plot(*zip(*points), mark, **line)
    axes.axvline(1, color=shared.BOUND, linestyle="--", linewidth=1)
    axes.set_yticks(list(places), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.45)
    axes.set_xlabel("size relative to Elias omega over pairs (dashed), codebooks included")
    figure.suptitle(f"{title}; larger than 1.45: not shown", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    figure.set_layout_engine("constrained")
    shared.save(figure, path)


def draw_speeds(report: Report, path: Path) -> None:
    """Both directions, medians over all gradients."""
    import matplotlib.pyplot as plt

    table = evaluate.speed_table(report)
    rows = [
        (row[0].partition(": ")[2], float(row[3]), float(row[4]))
        for row in table.rows
        if row[0].startswith(evaluate.STANDARD)
    ]
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.42 * len(rows)))
    for offset, colour, name, column in ((-0.19, shared.ENCODE, "encode", 1), (0.19, shared.DECODE, "decode", 2)):
        values = [row[column] for row in rows]
        bars = axes.barh([place + offset for place in range(len(rows))], values, 0.36, color=colour, label=name)
        axes.bar_label(bars, [f"{value:.2g}" for value in values], padding=2, fontsize=7)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("10^9 elements a second, one thread, median over gradients")
    axes.legend(fontsize=8)
    figure.suptitle(f"{evaluate.STANDARD}, {report['cpu']}", fontsize=9)
    figure.set_layout_engine("constrained")
    shared.save(figure, path)


def draw_convergence(report: Report, path: Path) -> None:
    """A panel for each network. Where two runs are equal, the second is dashed over the first."""
    import matplotlib.pyplot as plt

    panels: dict[str, list[dict[str, Any]]] = {}
    for one in report["convergence"]:
        panels.setdefault(f"{one['model']}, {one['data']}", []).append(one)
    figure, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.6), squeeze=False)
    palette = ("#222222", "#999999", "#8fb8de", "#2a6fb0", "#3d8b5f", "#8b3d7c", "#c39bd3", "#d9822b", "#b03a2e")
    for panel, (title, runs) in zip(axes[0], panels.items()):
        for colour, run in zip(palette, runs):
            coded = "identical_to" in run
            form = {"linestyle": "--" if coded else "-", "linewidth": 3 if "not coded" in run["run"] else 1.3}
            panel.plot(range(1, len(run["losses"]) + 1), evaluate.smooth(run["losses"]), color=colour, label=run["run"], **form)
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("step")
        panel.set_ylim(0, 1.15 * max(runs[0]["losses"]))
    axes[0][0].set_ylabel("loss, mean of ten steps")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    figure.set_layout_engine("constrained")
    shared.save(figure, path)


def draw(report: Report, folder: Path) -> list[Path]:
    """All figures of a report; returns their paths."""
    import matplotlib

    matplotlib.use("svg")
    paths = [folder / f"gradients-{name}.svg" for name in ("quantizers", "models", "speed", "convergence")]
    by_quantizer = list(evaluate.by_quantizer(evaluate.flat(report)).items())
    with matplotlib.rc_context(shared.STYLE):
        draw_sizes(by_quantizer, "Quantized gradients, medians over models, data sets and steps", paths[0])
        draw_sizes(model_rows(report), f"{evaluate.STANDARD}, medians over steps", paths[1])
        draw_speeds(report, paths[2])
        draw_convergence(report, paths[3])
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path, metavar="JSON", help="what study.py --json wrote")
    parser.add_argument("--out", type=Path, default=shared.FIGURES, metavar="FOLDER", help="[default: %(default)s]")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report's tables there")
    arguments = parser.parse_args()
    peers.ensure_environment(environment=study.ENVIRONMENT)
    try:
        report = json.loads(arguments.report.read_text())
    except (OSError, ValueError) as error:
        raise peers.Failure(f"{arguments.report}: {error}") from None
    if not isinstance(report, dict) or "coded" not in report:
        raise peers.Failure(f"{arguments.report} is not from study.py --json")
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(table.markdown() for table in evaluate.tables(report)))
    for path in draw(report, arguments.out):
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    peers.run(main)
