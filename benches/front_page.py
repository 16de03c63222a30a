#!/usr/bin/env python3
"""Writes the measured numbers of README.md, which come from front_page.json beside this script.

    python3 benches/front_page.py                       # writes the numbers of the file into README.md
    python3 benches/front_page.py --peers report.json   # takes a report of peers.py --json into the file first

Needs the standard library alone. The file says on which machine, when and by which program each number was measured.
In README.md the numbers stand between the marks `<!-- numbers: NAME -->` and `<!-- end of numbers -->`;
`benches/test_front_page.py` tests that they are those of the file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "benches" / "front_page.json"
README = ROOT / "README.md"
DATA_SETS = ("weights", "gradients", "activations")
PEERS = "benches/peers.py"
BLOCK = re.compile(r"(<!-- numbers: (\w+) -->\n)(.*?)(<!-- end of numbers -->)", re.DOTALL)
# As wide as the other lines of the document.
WIDTH = 120


def speed(gigabytes: float) -> str:
    """A speed with two digits that count, or three from 17 on, where the third is a difference one can measure."""
    places = max(0, 1 - math.floor(math.log10(gigabytes)))
    text = f"{gigabytes:.{places}f}"
    return f"{gigabytes:.1f}" if places == 0 and gigabytes != round(gigabytes) else text


def day(date: str) -> str:
    """`2026-11-21` as a person writes it."""
    at = datetime.date.fromisoformat(date)
    return f"{at.day} {at:%B %Y}"


def peers(data: dict[str, Any]) -> str:
    """The table of coders, and what was measured where."""
    part = data["peers"]
    lines = [
        "| | saved: weights | gradients | activations | encode weights | decode weights |",
        "|---|---|---|---|---|---|",
    ]
    for measurement in part["measurements"]:
        for row in measurement["rows"]:
            name = f"**{row['coder']}**" if row["coder"] == "huffwire" else row["coder"]
            name += f", {row['detail']}" if row["detail"] else ""
            saved = " | ".join(f"{row['saved_percent'][kind]:.1f} %" for kind in DATA_SETS)
            both = f"{speed(row['encode_gbps'])} GB/s | {speed(row['decode_gbps'])} GB/s"
            lines.append(f"| {name} | {saved} | {both} |")
    ours, zstd = part["measurements"]
    text = (
        f"Measured on {day(ours['date'])} on an {ours['machine']} by `{ours['program']}`; zstd on an {zstd['machine']} "
        f"by `{zstd['program']}`, where huffwire reached {speed(zstd['huffwire_gbps'])} GB/s both ways. "
        f"[`{part['documents']}`]({part['documents']}) has the conditions and more."
    )
    return f"{part['data']}:\n\n" + "\n".join(lines) + "\n\n" + filled(text)


def codebooks(data: dict[str, Any]) -> str:
    """The table of what codebooks save."""
    lines = [
        "| bf16 | Shannon | Huffman | **built-in** | calibrated | bytes as symbols, calibrated |",
        "|---|---|---|---|---|---|",
    ]
    for kind, saved in data["codebooks"]["saved_percent"].items():
        cells = ["" if value is None else f" {value:.1f}" for value in saved.values()]
        cells[2] = f" **{cells[2].strip()}**"
        lines.append(f"| {kind} |" + "".join(f"{cell} |" for cell in cells))
    return "\n".join(lines) + "\n"


def instructions(data: dict[str, Any]) -> str:
    """The sentence about sets of instructions."""
    part = data["instructions"]

    def both(name: str, between: str = " and ") -> str:
        return speed(part[name]["encode_gbps"]) + between + speed(part[name]["decode_gbps"])

    copy = part["of_a_copy_from_memory"]
    text = (
        f"One core of an {part['machine']}, bf16 weights in cache, no checksums: "
        f"{both('avx512', ' GB/s encode and ')} decode with AVX-512 "
        f"({both('avx512_checksums')} with checksums), {both('avx2')} with AVX2, {both('portable')} in portable Rust. "
        f"From memory, AVX-512 encodes at {copy['encode']} and decodes at {copy['decode']} of the speed of a copy."
    )
    return filled(text)


PARTS = {"peers": peers, "codebooks": codebooks, "instructions": instructions}


def filled(text: str) -> str:
    """A paragraph in lines."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def written(readme: str, data: dict[str, Any]) -> str:
    """The document with the numbers of the file."""
    found = [match[2] for match in BLOCK.finditer(readme)]
    if sorted(found) != sorted(PARTS):
        raise ValueError(f"README.md has numbers of {found}, and should have those of {list(PARTS)}")
    return BLOCK.sub(lambda match: match[1] + PARTS[match[2]](data) + match[4], readme)


def taken(data: dict[str, Any], report: dict[str, Any], date: str) -> None:
    """Takes a report of peers.py into the file."""
    if not report["bytes"] == 16 << 20:
        raise ValueError(f"the front page has 16 MiB of each data set, and the report {report['bytes']} bytes")
    rows = {
        (part["name"], row["name"]): row for part in report["data_sets"] for row in part["candidates"]
    }
    (measurement,) = (one for one in data["peers"]["measurements"] if one["program"] == PEERS)
    for row in measurement["rows"]:
        found = {kind: rows[kind, row["candidate"]] for kind in DATA_SETS}
        row["saved_percent"] = {kind: round(one["saving_percent"], 1) for kind, one in found.items()}
        for direction in ("encode_gbps", "decode_gbps"):
            row[direction] = round(found["weights"][direction]["median"], 2)
        version = report["versions"].get(row["coder"].split()[0])
        if version and row["coder"] != "huffwire":
            row["coder"] = f"{row['coder'].split()[0]} {version}"
    measurement |= {"date": date, "machine": report["cpu"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=Path, metavar="REPORT", help="a report of benches/peers.py --json")
    arguments = parser.parse_args()
    data = json.loads(DATA.read_text())
    if arguments.peers:
        taken(data, json.loads(arguments.peers.read_text()), datetime.date.today().isoformat())
        DATA.write_text(json.dumps(data, indent=1) + "\n")
    README.write_text(written(README.read_text(), data))


if __name__ == "__main__":
    try:
        main()
    except (KeyError, ValueError) as failure:
        sys.exit(f"error: {failure}")
