#!/usr/bin/env python3
"""Writes the tables and figures of docs/collectives.md from a report of slow_wire.py.

Figures come from matplotlib in the environment that peers.py makes. `--tables` writes only tables, and `--check` only compares
them; both need the standard library alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import peers
from wire import document

RESULTS = peers.ROOT / "benches" / "results" / "slow_wire.json"
FIGURES = peers.ROOT / "docs" / "figures"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", nargs="?", type=Path, default=RESULTS, metavar="JSON", help="[default: %(default)s]")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--tables", action="store_true", help="write no figures")
    only.add_argument("--check", action="store_true", help="write nothing; exit with 1 if tables and report differ")
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    if not (arguments.tables or arguments.check):
        peers.ensure_environment()
    try:
        found = json.loads(arguments.report.read_text())
        text = document.DOCUMENT.read_text()
        new = document.updated(text, found)
    except (OSError, ValueError, document.DocumentError) as error:
        raise peers.Failure(f"{arguments.report}: {error}") from None
    if arguments.check:
        if new != text:
            raise peers.Failure(f"{document.DOCUMENT} is not what {arguments.report} makes of it; run benches/slow_wire_docs.py")
        return 0
    document.DOCUMENT.write_text(new)
    print(f"wrote {document.DOCUMENT}")
    if not arguments.tables:
        from wire import figures

        for path in figures.draw(found, FIGURES):
            print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    peers.run(main)
