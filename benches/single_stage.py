#!/usr/bin/env python3
"""Trains a Gemma-shaped model on text of this machine, and measures how well fixed codebooks suit its tensors.

This is the study of Agrawal et al., "Single-Stage Huffman Encoder for ML Compression" (arXiv 2601.10673), and one of how
codebooks age. docs/single-stage.md and docs/drift.md have the results, which this program writes. Ctrl-C ends the step at hand
and keeps a checkpoint: `--resume` goes on.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peers
from gemma import document, drift, snapshots
from gemma.regions import DocumentError
from gradients import study
from wire.report import as_json

if TYPE_CHECKING:
    from gemma.train import Training

RESULTS = peers.ROOT / "benches" / "results"
FIGURES = peers.ROOT / "docs" / "figures"
FOLDER = peers.ROOT / "target" / "single-stage"
SHARDS, DRIFT = "single_stage.json", "drift.json"
NEEDED = ("torch", "numpy", "safetensors", "matplotlib")
STEPS, SEED = 500, 1
LIMIT = "3GiB"


def tell(text: str) -> None:
    """Progress, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def progress(training: Training) -> None:
    run = training.run
    each = run.seconds / max(1, len(run.losses))
    left = each * (training.steps - training.step)
    line = f"step {training.step} of {training.steps}: loss {run.losses[-1]:.3f}, {each:.2f} s a step, {left / 60:.0f} min left"
    tell(line)
    if training.step % 50 == 0:
        tell("")
        print(line, flush=True)


def check_space(planned: int, limit: int, folder: Path) -> None:
    """Refuses before the training what would not fit after it. Snapshots that are there already have their place."""
    if planned > limit:
        raise peers.Failure(f"the snapshots would take {planned / 2**30:.1f} GiB; take fewer --steps, or allow it with --limit")
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    needed = planned - sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    if needed > free:
        raise peers.Failure(f"the snapshots take {needed / 2**30:.1f} GiB more, and {place} has {free / 2**30:.1f} GiB; name another with --out")


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains, or goes on; returns the description."""
    import torch
    from gemma import text
    from gemma.model import Shape
    from gemma.train import Stop, Training, warm_up

    snapshots.check_folder(arguments.out)
    torch.set_num_threads(arguments.threads)
    words, source = text.load(arguments.text)
    shape = Shape()
    check_space(snapshots.planned_bytes(shape, snapshots.plan(arguments.steps, warm_up(arguments.steps))), arguments.limit, arguments.out)
    training = Training(shape, arguments.steps, SEED, words, arguments.out)
    if arguments.resume:
        training.resume()
    elif training.checkpoint.exists():
        raise peers.Failure(f"{arguments.out} has a training already; go on with --resume, or name another folder with --out")
    print(f"{source}; {arguments.threads} threads", flush=True)
    stop = Stop()
    try:
        with stop.listening():
            training.train(stop, progress)
    except KeyboardInterrupt:
        tell("")
        print(f"stopped after step {training.step}; the same command with --resume goes on", file=sys.stderr)
        raise
    tell("")
    training.write_description(source)
    return {**training.describe(), "text": source, "threads": arguments.threads}


def versions(program: Path) -> dict[str, str]:
    from importlib.metadata import version

    from gradients import evaluate

    huffwire = evaluate.call(program, "--version").strip().removeprefix("huffwire ")
    return {"huffwire": huffwire, "torch": version("torch"), "numpy": version("numpy"), "python": platform.python_version()}


def analyze(arguments: argparse.Namespace, trained: dict[str, Any]) -> None:
    """Writes what the program finds in the snapshots."""
    from gemma import measure, timeline

    program = arguments.huffwire or peers.build()
    made = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "machine": {"processor": peers.processor(), "cores": len(os.sched_getaffinity(0)), "busy": bool(peers.busy())},
        "versions": versions(program),
        "training": trained,
    }
    found = measure.measure(program, arguments.out, tuple(trained["full"]), tell)
    write(arguments.results / SHARDS, {"schema_version": document.SCHEMA_VERSION, **made, **found})
    runs = timeline.measure(program, arguments.out, trained, tell)
    write(arguments.results / DRIFT, {"schema_version": drift.SCHEMA_VERSION, **made, "runs": runs})


def write(path: Path, found: dict[str, Any]) -> None:
    tell("")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Rows take a line each.
    path.write_text(re.sub(r"\{[^\[\]{}]+\}", lambda row: " ".join(row[0].split()), as_json(found)))
    print(f"wrote {path}", flush=True)


def write_documents(results: Path) -> None:
    """Tables and figures of both documents."""
    from gemma import drift_figures, figures

    for name, made, drawn in ((SHARDS, document, figures), (DRIFT, drift, drift_figures)):
        try:
            found = json.loads((results / name).read_text())
            text = made.updated(made.DOCUMENT.read_text(), found)
        except (OSError, ValueError, DocumentError) as error:
            raise peers.Failure(f"{results / name}: {error}") from None
        made.DOCUMENT.write_text(text)
        print(f"wrote {made.DOCUMENT}")
        for path in drawn.draw(found, FIGURES):
            print(f"wrote {path}")


def steps_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 20:
        raise argparse.ArgumentTypeError("at least 20 are needed")
    return int(text)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=steps_number, default=STEPS, metavar="N", help="[default: %(default)s]")
    parser.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE",
                        help="text to train on, in the place of the sources of Python's library")
    parser.add_argument("--threads", type=peers.count, default=2, help="threads of PyTorch [default: %(default)s]")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER",
                        help="where snapshots and checkpoint are [default: target/single-stage]")
    parser.add_argument("--limit", type=peers.parse_size, default=LIMIT, metavar="SIZE",
                        help="the most that snapshots may take [default: %(default)s]")
    parser.add_argument("--resume", action="store_true", help="go on with the training in the folder")
    parser.add_argument("--keep", action="store_true", help="keep the folder; it is removed when its figures are written")
    parser.add_argument("--train-only", action="store_true", help="stop before the analysis, and keep the folder")
    parser.add_argument("--huffwire", type=Path, metavar="PATH", help="the program [default: built from this checkout]")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER",
                        help=f"where {SHARDS} and {DRIFT} are written [default: benches/results]")
    parser.add_argument("--write-docs", action="store_true", help="write tables and figures of both documents, too")
    parser.add_argument("--docs-only", action="store_true", help="only write them again, from the results")
    parser.add_argument("--this-python", action="store_true",
                        help=f"run in this Python, which must have {', '.join(NEEDED)} [default: .venv/torch of the checkout]")
    return parser.parse_args(arguments)


def ensure_python(this: bool) -> None:
    """The environment of the study of gradients has all that is needed here."""
    # Some virtual machines announce instructions that they do not run, and PyTorch takes them for products of bf16.
    variables = {"OMP_WAIT_POLICY": "PASSIVE", "ONEDNN_MAX_CPU_ISA": os.environ.get("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")}
    if not this:
        peers.ensure_environment(variables, study.ENVIRONMENT)
        return
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise peers.Failure(f"this Python lacks {', '.join(missing)}; leave out --this-python")
    # Read when torch is loaded, which has not happened yet.
    os.environ.update(variables)


def main() -> int:
    arguments = parse_arguments()
    ensure_python(arguments.this_python)
    if arguments.docs_only:
        write_documents(arguments.results)
        return 0
    trained = train(arguments)
    if arguments.train_only:
        return 0
    analyze(arguments, trained)
    if arguments.write_docs:
        write_documents(arguments.results)
    if not arguments.keep:
        snapshots.remove(arguments.out)
    return 0


if __name__ == "__main__":
    peers.run(main)
