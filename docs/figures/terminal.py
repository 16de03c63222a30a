#!/usr/bin/env python3
"""Draws a terminal in which the program and the Python package are used: terminal.svg beside this script.

    python3 docs/figures/terminal.py                                # draws what was recorded in terminal.json
    python docs/figures/terminal.py --record target/release         # records first, with the program of this folder

Drawing needs the standard library alone, and the same record makes the same bytes; `benches/test_terminal.py` compares
them with the file. Recording runs the commands below as they stand, and needs torch, safetensors and the package huffwire.

The lines appear one after another, once. Whoever asks the system for less motion sees all of them at once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
RECORD = FOLDER / "terminal.json"
PICTURE = FOLDER / "terminal.svg"

# The model: weights of one layer, normally distributed as trained weights nearly are.
MODEL = """
import torch
from safetensors.torch import save_file
torch.manual_seed(0)
shapes = {"embed": (8192, 512), "layer.0.q": (512, 512), "layer.0.o": (512, 512),
          "layer.0.up": (2048, 512), "layer.0.down": (512, 2048)}
save_file({name: (torch.randn(shape) * 0.02).bfloat16() for name, shape in shapes.items()}, "model.safetensors")
"""
COMMANDS = (
    "huffwire compress model.safetensors",
    "huffwire inspect model.safetensors.hw",
    """python -c '
from huffwire.torch import safe_open
with safe_open("model.safetensors.hw", framework="pt") as model:
    print(model.get_tensor("layer.0.q"))'""",
)

LETTER = 6.63  # the width of a letter of 11 units in the fonts below
LINE = 16
MARGIN = 16
SECONDS_OF_A_COMMAND = 1.2
SECONDS_OF_A_LINE = 0.08


def record(programs: Path) -> list[dict[str, str]]:
    """Runs the commands, and returns what they print."""
    steps = []
    # In the place of `python` stands the Python that runs this script.
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "bin"
        names.mkdir()
        # A link would not know its environment.
        (names / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (names / "python").chmod(0o755)
        environment = os.environ | {
            "PATH": f"{programs.resolve()}:{names}:{os.environ['PATH']}",
            "PYTHONPATH": str(FOLDER.parents[1] / "python"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        work = Path(folder) / "work"
        work.mkdir()
        subprocess.run([sys.executable, "-c", MODEL], cwd=work, env=environment, check=True)
        for command in COMMANDS:
            done = subprocess.run(
                command, shell=True, cwd=work, env=environment, check=True, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            steps.append({"command": command, "output": done.stdout})
    return steps


def lines(steps: list[dict[str, str]]) -> list[tuple[str, str, float]]:
    """The lines of the terminal: kind, text, and when each appears, in seconds."""
    shown = []
    now = 0.4
    for step in steps:
        for number, line in enumerate(step["command"].splitlines()):
            shown.append(("command", ("$ " if number == 0 else "> ") + line, now))
            now += SECONDS_OF_A_LINE
        now += SECONDS_OF_A_COMMAND
        for line in step["output"].rstrip("\n").splitlines():
            shown.append(("output", line.rstrip(), now))
            now += SECONDS_OF_A_LINE
        shown.append(("output", "", now))
        now += SECONDS_OF_A_COMMAND
    return shown[:-1]


def svg(steps: list[dict[str, str]]) -> str:
    """The picture."""
    shown = lines(steps)
    width = round(max(len(text) for _, text, _ in shown) * LETTER + 2 * MARGIN)
    height = len(shown) * LINE + 2 * MARGIN + 20
    title = "A terminal: huffwire compresses a model, lists its tensors, and loads one of them in Python"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-labelledby="title desc">',
        f'<title id="title">{title}</title>',
        f'<desc id="desc">{escape("; ".join(step["command"] for step in steps))}</desc>',
        "<style>"
        "text{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre;fill:#c9d1d9}"
        ".command{fill:#7ee787}"
        # Where nothing moves, all lines are there.
        ".line{animation:appear .01s linear backwards}"
        "@keyframes appear{from{opacity:0}}"
        "@media(prefers-reduced-motion:reduce){.line{animation:none}}"
        "</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>',
    ]
    parts += [
        f'<circle cx="{MARGIN + 5 + 18 * number}" cy="16" r="5" fill="{colour}"/>'
        for number, colour in enumerate(("#ff5f56", "#ffbd2e", "#27c93f"))
    ]
    for number, (kind, text, when) in enumerate(shown):
        if text:
            y = MARGIN + 20 + LINE * (number + 0.7)
            length = round(len(text) * LETTER, 1)
            parts.append(
                f'<text class="line {kind}" x="{MARGIN}" y="{y:.1f}" textLength="{length}" xml:space="preserve" '
                f'style="animation-delay:{when:.2f}s">{escape(text)}</text>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="run the program of this folder first")
    arguments = parser.parse_args()
    if arguments.record:
        RECORD.write_text(json.dumps(record(arguments.record), indent=1) + "\n", encoding="utf-8")
    PICTURE.write_text(svg(json.loads(RECORD.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
