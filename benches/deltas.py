#!/usr/bin/env python3
"""Trains a small model, and measures how small the difference between weights a few steps apart becomes.

docs/deltas.md has the results, which this program writes. It trains with AdamW and SGD at small learning rates, takes weights 1 to
64 steps apart, and compares huffwire's deltas with their entropies and with what frameworks do: zstd on the exclusive-or, on its
byte planes, and on gaps and values.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peers
import python_peers
from changes import document
from gemma.regions import DocumentError
from gradients import study
from wire.report import as_json

RESULTS = peers.ROOT / "benches" / "results" / "deltas.json"
FIGURES = peers.ROOT / "docs" / "figures"
NEEDED = ("torch", "numpy", "safetensors", "matplotlib", "zstandard")
STEPS = 300
ROUNDS = 5
# glibc gives memory that was used before, so that no coder waits for new pages. The other two are for PyTorch, as in single_stage.py.
VARIABLES = {
    **peers.KEEP_MEMORY, "OMP_WAIT_POLICY": "PASSIVE",
    "ONEDNN_MAX_CPU_ISA": os.environ.get("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16"),
}


def tell(text: str) -> None:
    """Progress, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def shape_of(short: bool) -> Any:
    from gemma.model import Shape

    if short:
        return Shape(layers=2, width=32, heads=2, head_width=16, hidden=64, sequences=2, length=32)
    return Shape(layers=6, width=256, heads=4, head_width=64, hidden=1024, sequences=2, length=128)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains, and measures everything."""
    import torch
    import huffwire
    from changes import measure as measuring
    from changes.training import Course, Training
    from gemma import text

    began = time.perf_counter()
    busy = peers.busy()
    torch.set_num_threads(arguments.threads)
    words, source = text.load(arguments.text)
    shape = shape_of(arguments.short)
    training = Training(shape, measuring.SEED, words)
    print(f"{source}; {arguments.threads} threads", flush=True)

    def progress(one: Training) -> None:
        tell(f"step {one.step}: loss {one.losses[-1]:.3f}")

    checkpoints = measuring.ordinary(training, arguments.steps, progress)
    kept, losses = training.keep(), list(training.losses)
    print(f"\ntrained: loss {losses[0]:.2f} to {sum(losses[-10:]) / 10:.2f}, {time.perf_counter() - began:.0f} s", flush=True)
    rows, timed, ends = [], {}, []
    for optimizer, rate in measuring.courses():
        one = Course(optimizer, rate)
        training.start(one, kept)
        more, others, pairs = measuring.course(training, one, progress)
        rows += more
        checkpoints += others
        timed.update(pairs)
        ends.append({"optimizer": optimizer, "rate": rate, "loss": round(sum(training.losses[-10:]) / 10, 4)})
        print(f"\n{optimizer} at {rate:g}: {', '.join(f'{100 * part:.3g} %' for part in measuring.shares(more))} changed", flush=True)
    weights = training.weights()
    found = {
        "pairs": rows,
        "checkpoints": checkpoints,
        "real": measuring.real(arguments.tensors),
        "extremes": measuring.extremes(weights),
        "times": measuring.times(timed, arguments.rounds, tell),
    }
    tell("")
    return {
        "schema_version": document.SCHEMA_VERSION,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "machine": {"processor": peers.processor(), "cores": len(os.sched_getaffinity(0)), "busy": bool(busy or peers.busy())},
        "versions": versions(),
        "platform": huffwire.platform(),
        "training": {
            "shape": vars(shape), "parameters": len(weights), "steps": arguments.steps, "before": measuring.BEFORE,
            "first_loss": round(losses[0], 4), "last_loss": round(sum(losses[-10:]) / 10, 4), "text": source,
            "threads": arguments.threads, "courses": ends,
        },
        "seconds": round(time.perf_counter() - began),
        **found,
    }


def versions() -> dict[str, str]:
    from importlib.metadata import version

    import huffwire
    import zstandard

    return {
        "huffwire": huffwire.__version__, "torch": version("torch"), "numpy": version("numpy"),
        "python": platform.python_version(), "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
    }


def write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Rows take a line each, with the small objects in them.
    path.write_text(re.sub(r"\{(?:[^\[\]{}]|\{[^\[\]{}]*\})+\}", lambda row: " ".join(row[0].split()), as_json(found)))
    print(f"wrote {path}", flush=True)


def write_document(results: Path) -> None:
    """Tables and figures."""
    from changes import figures

    try:
        found = json.loads(results.read_text())
        texts = {
            document.DOCUMENT: document.updated(document.DOCUMENT.read_text(), found),
            document.GUIDE: document.updated_guide(document.GUIDE.read_text(), found),
        }
    except (OSError, ValueError, DocumentError) as error:
        raise peers.Failure(f"{results}: {error}") from None
    for path, text in texts.items():
        path.write_text(text)
        print(f"wrote {path}")
    for path in figures.draw(found, FIGURES):
        print(f"wrote {path}")


def steps_number(text: str) -> int:
    # Checkpoints are taken from the last hundred.
    if not text.isdecimal() or int(text) < 110:
        raise argparse.ArgumentTypeError("at least 110 are needed")
    return int(text)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=steps_number, default=STEPS, metavar="N",
                        help="of the training that comes first [default: %(default)s]")
    parser.add_argument("--tensors", type=Path, default=tensors_folder(), metavar="FOLDER",
                        help="where sync-0.safetensors, sync-1 and sync-2 are: weights of another training, a step apart; "
                             "left out where they are missing [default: %(default)s]")
    parser.add_argument("--threads", type=peers.count, default=2, help="threads of PyTorch [default: %(default)s]")
    add_run_arguments(parser, RESULTS, "tables and figures of the document")
    return parser.parse_args(arguments)


def add_run_arguments(parser: argparse.ArgumentParser, results: Path, written: str) -> None:
    """Arguments of programs that train a model, measure, and write a part of a document."""
    parser.add_argument("--short", action="store_true", help="a tiny model: whether it works")
    parser.add_argument("--rounds", type=peers.count, default=ROUNDS, help="rounds of times [default: %(default)s]")
    parser.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE",
                        help="text to train on, in the place of the sources of Python's library")
    parser.add_argument("--huffwire", type=Path, metavar="FOLDER",
                        help="a folder with a built package huffwire [default: that of this checkout is built, or with --this-python taken "
                             "from this Python]")
    parser.add_argument("--results", type=Path, default=results, metavar="JSON", help=f"[default: benches/results/{results.name}]")
    parser.add_argument("--write-docs", action="store_true", help=f"write {written}, too")
    parser.add_argument("--docs-only", action="store_true", help="only write them again, from the results")
    parser.add_argument("--this-python", action="store_true",
                        help=f"run in this Python, which must have {', '.join(NEEDED)} [default: .venv/torch of the checkout]")


def bring_huffwire(arguments: argparse.Namespace) -> None:
    """Makes the package that is measured importable."""
    if arguments.huffwire:
        sys.path.insert(0, str(arguments.huffwire.resolve()))
    elif not arguments.this_python:
        python_peers.install_huffwire()


def tensors_folder() -> Path:
    return Path(os.environ.get("HUFFWIRE_TENSORS") or peers.ROOT.parent / "shared" / "tensors")


def ensure_python(this: bool) -> None:
    """Goes on in the environment of the study of gradients, or in this Python, with the variables that are needed."""
    if not this:
        peers.ensure_environment(VARIABLES, study.ENVIRONMENT)
        return
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise peers.Failure(f"this Python lacks {', '.join(missing)}; leave out --this-python")
    if not VARIABLES.items() <= os.environ.items():
        # The allocator reads its variables when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **VARIABLES})


def main() -> int:
    arguments = parse_arguments()
    ensure_python(arguments.this_python)
    if not arguments.docs_only:
        bring_huffwire(arguments)
        write(arguments.results, measure(arguments))
    if arguments.write_docs or arguments.docs_only:
        write_document(arguments.results)
    return 0


if __name__ == "__main__":
    peers.run(main)
