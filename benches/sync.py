#!/usr/bin/env python3
"""Publishes weights of a training step by step, follows them, and measures files, times and pauses: `huffwire.sync`.

docs/sync.md has the results, which this program writes. It trains the small model of deltas.py at ordinary learning rates, and goes
on with AdamW at a very small one. Each step becomes a version. A subscriber applies the versions one by one to tensors of its own;
what it then has is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltas
import peers
from changes.document import digits, rate_name
from gemma.regions import DocumentError, check_schema, fill

SCHEMA_VERSION = 1
RESULTS = peers.ROOT / "benches" / "results" / "sync.json"
DOCUMENT = peers.ROOT / "docs" / "sync.md"
RATE = 1e-6
STEPS = 150
VERSIONS = 8
# Columns of the document.
WIDTH = 128
TIMES = ("publish_seconds", "update_seconds", "pause_seconds")

State = dict[str, Any]
Report = dict[str, Any]


def trained(arguments: argparse.Namespace) -> tuple[list[State], Report]:
    """The weights after each step of the course, and what is to be told of it."""
    from changes.measure import BEFORE, SEED
    from changes.training import Course, Training, advance
    from gemma import text, train

    words, source = text.load(arguments.text)
    training = Training(deltas.shape_of(arguments.short), SEED, words)

    def tell(one: Training) -> None:
        deltas.tell(f"step {one.step}: loss {one.losses[-1]:.3f}")

    for _ in advance(training, arguments.steps, (), lambda step: train.rate(step, arguments.steps), tell):
        pass
    training.start(Course("AdamW", RATE), training.keep())
    stops = range(BEFORE, BEFORE + arguments.versions + 1)
    states = [
        {name: one.detach().clone() for name, one in training.parameters.items()}
        for _ in advance(training, stops[-1], tuple(stops), lambda _: RATE, tell)
    ]
    deltas.tell("")
    return states, {"steps": arguments.steps, "before": BEFORE, "optimizer": "AdamW", "rate": RATE, "text": source}


def stored(folder: Path) -> list[State]:
    """Weights that another training left: sync-0.safetensors and its neighbours, a step apart."""
    paths = [folder / f"sync-{number}.safetensors" for number in range(3)]
    for path in paths:
        if not path.is_file():
            raise peers.Failure(f"{path} is missing")
    from safetensors.torch import load_file

    return [load_file(path) for path in paths]


def one_round(states: Sequence[State], threads: int) -> Iterator[dict[str, float]]:
    """Publishes and follows; what each version took."""
    import torch

    from huffwire.sync import Publisher, Subscriber

    live = {name: torch.zeros_like(one) for name, one in states[0].items()}
    with tempfile.TemporaryDirectory() as folder, Publisher(folder, keep=len(states), threads=threads) as publisher:
        subscriber = Subscriber(folder, live, threads=threads)
        for state in states:
            published, update = publisher.publish(state), subscriber.update()
            if update is None or not all(torch.equal(live[name], one) for name, one in state.items()):
                raise AssertionError("the subscriber has other weights")
            yield {
                "changes": published.changes, "file_bytes": published.bytes, "raw_bytes": published.raw_bytes,
                "publish_seconds": published.seconds, "update_seconds": update.seconds, "pause_seconds": update.pause_seconds,
            }


def measure(arguments: argparse.Namespace) -> Report:
    """Trains, or loads, and measures everything. Times are medians over rounds."""
    import huffwire
    import torch

    busy = peers.busy()
    torch.set_num_threads(2)
    if arguments.tensors is None:
        states, training = trained(arguments)
    else:
        states, training = stored(arguments.tensors), None
    rounds = [list(one_round(states, arguments.threads)) for _ in range(arguments.rounds)]
    versions = [
        {**one[0], **{name: statistics.median(row[name] for row in one) for name in TIMES}}
        for one in zip(*rounds, strict=True)
    ]
    keyframe, *rows = versions
    return {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "machine": {"processor": peers.processor(), "cores": len(os.sched_getaffinity(0)), "busy": bool(busy or peers.busy())},
        "versions": deltas.versions(),
        "platform": huffwire.platform(),
        "training": training,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "tensors": len(states[0]),
        "weights": sum(one.numel() for one in states[0].values()),
        "keyframe": keyframe,
        "deltas": rows,
    }


def updated(text: str, found: Report) -> str:
    """The document with what comes from a report."""
    check_schema(found, SCHEMA_VERSION)
    return fill(text, [("measured", measured(found))])


def measured(found: Report) -> str:
    """A paragraph and a table."""
    rows, keyframe, training = found["deltas"], found["keyframe"], found["training"]
    size = f"{found['weights'] / 1e6:.1f} million bf16 weights ({keyframe['raw_bytes'] / 1e6:.1f} MB in {found['tensors']} tensors)"
    whole = f"A file with all of them has {grouped(keyframe['file_bytes'])} bytes."
    if training is None:
        begin = f"Versions of another training, a step apart: {size}. {whole}"
    else:
        begin = (
            f"A model of {size} was trained for {training['steps']} steps, and {training['before']} more with {training['optimizer']} at a "
            f"learning rate of {rate_name(training['rate'])}. {whole} Then each step at that rate became a version:"
        )
    machine = found["machine"]
    shared = ", with other programs at work" if machine["busy"] else ""
    threads = "1 thread" if found["threads"] == 1 else f"{found['threads']} threads"
    lines = [
        textwrap.fill(begin, WIDTH),
        "",
        "| step | weights changed | bytes of the file | times less than the tensors | publish | update | pause in it |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, row in enumerate(rows, 1):
        cells = [
            str(number),
            f"{digits(100 * row['changes'] / found['weights'])} %",
            grouped(row["file_bytes"]),
            digits(row["raw_bytes"] / row["file_bytes"]),
            *(f"{digits(1000 * row[name])} ms" for name in TIMES),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    end = (
        f"Times are medians of {found['rounds']} rounds with {threads} on one machine ({machine['processor']}, {machine['cores']} "
        f"cores{shared}; {found['date'].replace('T', ', ').replace('Z', ' UTC')}; huffwire {found['versions']['huffwire']}, PyTorch "
        f"{found['versions']['torch']}). Versions lay in its temporary folder, and the publisher brings them to the disk."
    )
    return "\n".join([*lines, "", textwrap.fill(end, WIDTH)])


def grouped(value: int) -> str:
    """`35 354`."""
    return f"{value:,}".replace(",", " ")


def write_document(results: Path) -> None:
    try:
        text = updated(DOCUMENT.read_text(), json.loads(results.read_text()))
    except (OSError, ValueError, DocumentError) as error:
        raise peers.Failure(f"{results}: {error}") from None
    DOCUMENT.write_text(text)
    print(f"wrote {DOCUMENT}")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=peers.count, default=STEPS, metavar="N",
                        help="of the training that comes first [default: %(default)s]")
    parser.add_argument("--versions", type=peers.count, default=VERSIONS, metavar="N", help="deltas [default: %(default)s]")
    parser.add_argument("--threads", type=peers.count, default=1, help="threads of huffwire [default: %(default)s]")
    parser.add_argument("--tensors", type=Path, metavar="FOLDER",
                        help="a folder with sync-0.safetensors, sync-1 and sync-2, weights a step apart, in the place of a training")
    deltas.add_run_arguments(parser, RESULTS, "the figures of docs/sync.md")
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    if not arguments.docs_only:
        deltas.ensure_python(arguments.this_python)
        deltas.bring_huffwire(arguments)
        began = time.perf_counter()
        found = measure(arguments)
        deltas.write(arguments.results, {**found, "seconds": round(time.perf_counter() - began)})
    if arguments.write_docs or arguments.docs_only:
        write_document(arguments.results)
    return 0


if __name__ == "__main__":
    peers.run(main)
