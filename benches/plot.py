#!/usr/bin/env python3
"""Draws what `huffwire bench --json` and peers.py measured: SVG files under docs/figures/.

A report with one working set becomes bars, reports with message sizes become curves. matplotlib comes from the
environment that peers.py makes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Sequence

import peers

FIGURES = peers.ROOT / "docs" / "figures"
MESSAGES = tuple(1 << exponent for exponent in range(11, 25))
WORKING_SET = "16MiB"
ENCODE, DECODE, SAVED, BOUND = "#2a6fb0", "#d9822b", "#3d8b5f", "#777777"
STYLE = {
    # Text stays text: small files, and readers can search them.
    "svg.fonttype": "none",
    # The same data make the same file.
    "svg.hashsalt": "huffwire",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}

Report = dict[str, Any]


def size_name(size: int) -> str:
    """`2 KiB`, `16 MiB`; sizes that are no multiple of a unit stay bytes."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def bar_rows(report: Report) -> list[tuple[str, list[tuple[str, float, float, float]]]]:
    """(title, [(candidate, encode, decode, saved %)]) of each data set, whichever program made the report."""
    if "data_sets" in report:
        return [
            (
                data_set["name"],
                [
                    (
                        row["name"],
                        row["encode_gbps"]["median"],
                        row["decode_gbps"]["median"],
                        row["saving_percent"],
                    )
                    for row in data_set["candidates"]
                ],
            )
            for data_set in report["data_sets"]
        ]
    rows = [
        (bench_name(row), row["encode_gbps"], row["decode_gbps"], row["saving_percent"])
        for row in report["results"]
        if not row["codec"].startswith(("memcpy", "copy"))
    ]
    return [("bench", rows)]


def bench_name(row: dict[str, Any]) -> str:
    threads = f"{row['threads']} threads" if row["threads"] > 1 else None
    parts = (row["codec"], row["symbols"], row["level"], row["platform"], threads)
    return " ".join(part for part in parts if part and part != "auto")


def bounds(report: Report) -> dict[str, float]:
    """memcpy, by where its bytes are."""
    speeds = report["memcpy_gbps"]
    return speeds if isinstance(speeds, dict) else {"of the same bytes": speeds}


def draw_bars(report: Report, title: str, rows: Sequence[tuple[str, float, float, float]], path: Path) -> None:
    """Both directions of each candidate, on a logarithmic scale: memcpy is a hundred times ZipNN."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.42 * len(rows)))
    places = range(len(rows))
    for offset, colour, name, column in ((-0.19, ENCODE, "encode", 1), (0.19, DECODE, "decode", 2)):
        values = [row[column] for row in rows]
        bars = axes.barh([place + offset for place in places], values, 0.36, color=colour, label=name)
        axes.bar_label(bars, [f"{value:.2g}" for value in values], padding=2, fontsize=7)
    for index, (where, speed) in enumerate(bounds(report).items()):
        line = ("--", ":")[index % 2]
        axes.axvline(speed, color=BOUND, linestyle=line, linewidth=1.2, label=f"memcpy {where}: {speed:.3g}")
    axes.set_yticks(list(places), [f"{row[0]}  (saves {row[3]:.1f} %)" for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    # Bars of a logarithmic axis start anywhere; in all figures at the same place.
    axes.set_xlim(left=0.05)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("GB/s of tensors, one thread, logarithmic")
    figure.suptitle(f"{title}, {report['cpu']}", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    figure.set_layout_engine("constrained")
    save(figure, path)


def draw_curves(reports: Sequence[Report], path: Path) -> None:
    """Speed and saving of the fastest platform's candidate, by the size of a message."""
    import matplotlib.pyplot as plt

    reports = sorted(reports, key=lambda report: report["message_bytes"])
    sizes = [report["message_bytes"] for report in reports]
    rows = [best(report) for report in reports]
    figure, (speed, saved) = plt.subplots(2, 1, sharex=True, figsize=(6, 4.6), height_ratios=(2, 1))
    for key, colour in (("encode", ENCODE), ("decode", DECODE)):
        speed.plot(sizes, [row[f"{key}_gbps"] for row in rows], "o-", color=colour, label=key, markersize=3.5)
    speed.set_ylabel("GB/s")
    speed.set_ylim(bottom=0)
    speed.legend()
    saved.plot(sizes, [row["saving_percent"] for row in rows], "o-", color=SAVED, markersize=3.5)
    saved.set_ylabel("saved %")
    saved.set_xscale("log", base=2)
    saved.minorticks_off()
    saved.set_xticks(sizes[::2], [size_name(size) for size in sizes[::2]], fontsize=8)
    saved.set_xlabel("bytes of a message")
    figure.suptitle(f"{bench_name(rows[0])}, {reports[0]['cpu']}", fontsize=9)
    figure.set_layout_engine("constrained")
    save(figure, path)


def best(report: Report) -> dict[str, Any]:
    """huffwire's row that decodes fastest; with `--measure` there is one only."""
    rows = [row for row in report["results"] if row["codec"] == "huffwire"]
    return max(rows, key=lambda row: row["decode_gbps"])


def save(figure: Any, path: Path) -> None:
    """Without the date, and without matplotlib's trailing spaces, which git would complain about."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def draw(reports: Sequence[Report], folder: Path) -> list[Path]:
    """All figures that the reports make; returns their paths."""
    import matplotlib

    matplotlib.use("svg")
    paths = []
    with matplotlib.rc_context(STYLE):
        curves = [report for report in reports if report.get("message_bytes")]
        if curves:
            paths.append(folder / "message-size.svg")
            draw_curves(curves, paths[-1])
        for report in (report for report in reports if not report.get("message_bytes")):
            for title, rows in bar_rows(report):
                path = folder / f"speed-{title}.svg"
                if path in paths:
                    raise peers.Failure(f"two reports would both become {path}; draw them one by one")
                paths.append(path)
                draw_bars(report, title, rows, path)
    return paths


def measure_messages(program: Path, file: Path) -> list[Report]:
    options = ("--level", "fast", "--rounds", "5", "--working-set", WORKING_SET, "--message")
    return [peers.bench(program, file, *options, str(size)) for size in MESSAGES]


def read(path: Path) -> list[Report]:
    """A report, or a list of them (what `--save` writes)."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise peers.Failure(f"{path}: {error}") from None
    reports = content if isinstance(content, list) else [content]
    if not all(isinstance(one, dict) and ("data_sets" in one or "results" in one) for one in reports):
        raise peers.Failure(f"{path} is neither from `huffwire bench --json` nor from peers.py --json")
    return reports


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reports", nargs="*", type=Path, metavar="JSON", help="what to draw")
    parser.add_argument("--measure", type=Path, metavar="FILE",
                        help="measure this file's tensors in messages of 2 KiB to 16 MiB, and draw that too")
    parser.add_argument("--save", type=Path, metavar="JSON", help="where to keep what --measure measured")
    parser.add_argument("--huffwire", type=Path, metavar="PATH", help="the program [default: built from this checkout]")
    parser.add_argument("--out", type=Path, default=FIGURES, metavar="FOLDER", help="[default: %(default)s]")
    parsed = parser.parse_args(arguments)
    if not parsed.reports and not parsed.measure:
        parser.error("there is nothing to draw: name reports, or a file to --measure")
    return parsed


def main() -> int:
    arguments = parse_arguments()
    peers.ensure_environment()
    reports = [report for path in arguments.reports for report in read(path)]
    if arguments.measure:
        measured = measure_messages(arguments.huffwire or peers.build(), arguments.measure)
        if arguments.save:
            arguments.save.write_text(json.dumps(measured, indent=1) + "\n")
        reports += measured
    for path in draw(reports, arguments.out):
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    peers.run(main)
