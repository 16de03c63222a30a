#!/usr/bin/env python3
"""Compares the Python packages huffwire, ZipNN, OpenZL and zstandard: what they do, speed and size, in one run.

Like `peers.py`, from which most of it comes, this imports only the standard library at the top. The packages are
installed into a virtual environment of the checkout by the first run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
from peers import ROOT, Environment, Failure, Measured, OpenZL, Peer, ZipNN

ENVIRONMENT = Environment(
    ROOT / ".venv" / "python-peers",
    ("openzl==0.3.0", "numpy==2.4.6", "zstandard==0.25.0"),
    # ZipNN wants PyTorch (hundreds of MB), which coding bytes never calls.
    alone=("zipnn==0.5.4",),
)
FLIPS = 200


class Huffwire(Peer):
    """`huffwire.encode` and `huffwire.decode`: bytes to bytes, as the other packages work."""

    def __init__(self, level: str = "fast", checksums: bool = False) -> None:
        import huffwire

        self.huffwire = huffwire
        self.name = f"huffwire {level}" + (", checksums" if checksums else "")
        self.options = {"level": level, "checksums": checksums, "threads": 1}

    def encode_with(self, raw: bytes) -> Callable[[], bytes]:
        return lambda: self.huffwire.encode(raw, "bf16", **self.options)

    def decode_with(self, coded: bytes) -> Callable[[], Any]:
        return lambda: self.huffwire.decode(coded, threads=1)


class HuffwireInto(Huffwire):
    """`huffwire.encode_into` and `huffwire.decode_into`: into memory that the caller keeps."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.name = "huffwire fast, into buffers"
        self.coded = bytearray(self.huffwire.max_encoded_size(size, "bf16"))
        self.decoded = bytearray(size)

    def encode_with(self, raw: bytes) -> Callable[[], Any]:
        out, view = self.coded, memoryview(self.coded)
        return lambda: view[: self.huffwire.encode_into(raw, "bf16", out, **self.options)]

    def decode_with(self, coded: bytes) -> Callable[[], Any]:
        def decode() -> bytearray:
            self.huffwire.decode_into(coded, self.decoded, threads=1)
            return self.decoded

        return decode


class Zstandard(Peer):
    """The package zstandard, which looks for repetitions and knows nothing of floats."""

    def __init__(self, level: int) -> None:
        import zstandard

        self.name = f"zstandard level {level}"
        self.zstandard = zstandard
        self.level = level

    def encode_with(self, raw: bytes) -> Callable[[], bytes]:
        compressor = self.zstandard.ZstdCompressor(level=self.level)
        return lambda: compressor.compress(raw)

    def decode_with(self, coded: bytes) -> Callable[[], Any]:
        decompressor = self.zstandard.ZstdDecompressor()
        return lambda: decompressor.decompress(coded)


# --- what they do -------------------------------------------------------------------------------------------


@dataclass
class Behaviour:
    """What was tried with a package."""

    name: str
    lossless: bool
    keeps_input: bool
    flips: dict[str, int]
    two_threads: float

    def row(self) -> tuple[str, ...]:
        flips = ", ".join(f"{count} {what}" for what, count in self.flips.items() if count)
        return (
            self.name,
            "yes" if self.lossless else "NO",
            "yes" if self.keeps_input else "no",
            flips,
            f"{self.two_threads:.2f}",
        )


HEADINGS = ("package, by default", "all bit patterns", "keeps its input", f"{FLIPS} flipped bits", "2 threads x")


def behaviour(peer: Peer, raw: bytes) -> Behaviour:
    """Tries a package in its default settings."""
    return Behaviour(
        peer.name,
        lossless=_lossless(peer),
        keeps_input=_keeps_input(peer, raw),
        flips=flips(peer, raw[: 1 << 18]),
        two_threads=two_threads(peer, raw),
    )


def _lossless(peer: Peer) -> bool:
    """Whether every bit pattern of bf16 survives, 16 times over."""
    patterns = b"".join(pattern.to_bytes(2, "little") for pattern in range(1 << 16)) * 16
    return peer.restored(peer.decode_with(peer.encode_with(patterns)())()) == patterns


def _keeps_input(peer: Peer, raw: bytes) -> bool:
    given = bytearray(raw)
    _encoder_of(peer, given)()
    return given == raw


def _encoder_of(peer: Peer, given: bytearray) -> Callable[[], Any]:
    """Encodes exactly this object, and no copy that protects it."""
    if isinstance(peer, ZipNN):
        return lambda: peer.coder.compress(given)
    return peer.encode_with(given)  # type: ignore[arg-type] # the others take every buffer


def flips(peer: Peer, raw: bytes) -> dict[str, int]:
    """What becomes of messages in which a bit was flipped. Each is decoded by a process that may crash."""
    coded = bytes(peer.encode_with(raw)())
    found = {"noticed": 0, "harmless": 0, "WRONG DATA": 0, "CRASHES": 0}
    numbers = random.Random(7)
    for _ in range(FLIPS):
        bad = bytearray(coded)
        bad[numbers.randrange(len(bad))] ^= 1 << numbers.randrange(8)
        found[_outcome(peer, bytes(bad), raw)] += 1
    return found


def _outcome(peer: Peer, bad: bytes, raw: bytes) -> str:
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # what takes longer hangs, and counts as a crash
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)
        try:
            same = peer.restored(peer.decode_with(bad)()) == raw
        except Exception:
            os._exit(1)
        os._exit(0 if same else 2)
    _, status = os.waitpid(child, 0)
    outcomes = {0: "harmless", 1: "noticed", 2: "WRONG DATA"}
    return outcomes.get(os.waitstatus_to_exitcode(status), "CRASHES")


def two_threads(peer: Peer, raw: bytes) -> float:
    """How much faster two Python threads encode than one does; the best of three."""
    start = time.perf_counter()
    peer.encode_with(raw)()
    # Long enough that starting threads does not count.
    repeats = max(1, int(0.2 / (time.perf_counter() - start)))
    return max(_seconds(peer, raw, 1, 2 * repeats) / _seconds(peer, raw, 2, repeats) for _ in range(3))


def _seconds(peer: Peer, raw: bytes, threads: int, repeats: int) -> float:
    """How long it takes if each thread encodes so often."""

    def work(encoders: list[Callable[[], Any]]) -> None:
        for encode in encoders:
            encode()

    # A context of OpenZL compresses once.
    encoders = [[peer.encode_with(raw) for _ in range(repeats)] for _ in range(threads)]
    workers = [threading.Thread(target=work, args=(each,)) for each in encoders]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


# --- the whole ----------------------------------------------------------------------------------------------


def install_huffwire() -> None:
    """Builds the package of this checkout, and installs it into the environment."""
    print("building the package", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--force-reinstall", str(ROOT)]
    if subprocess.run(command, check=False).returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed; it needs Rust, or name a built package with --huffwire")


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    from importlib.metadata import version

    import huffwire

    found = {name: version(name) for name in ("zipnn", "openzl", "zstandard", "numpy")}
    report: dict[str, Any] = {
        "cpu": peers.processor(),
        "versions": {"huffwire": huffwire.__version__, **found},
        "platform": huffwire.platform(),
        "bytes": arguments.size,
        "rounds": arguments.rounds,
        "busy": peers.busy(),
        "data_sets": [],
    }
    names = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    print(f"{report['cpu']}, {report['platform']}\n{names}")
    print(f"{arguments.size} bytes of bf16, one thread; median (min..max) of {arguments.rounds} rounds")
    if report["busy"]:
        print(f"warning: {report['busy']}", file=sys.stderr)

    candidates: list[Peer] = [
        HuffwireInto(arguments.size),
        Huffwire(),
        Huffwire(checksums=True),
        Huffwire("max"),
        ZipNN(),
        OpenZL("entropy"),
        Zstandard(1),
        Zstandard(3),
    ]
    for name in arguments.data:
        raw, source = peers.load(name, arguments.tensors, arguments.size)
        measured: dict[str, Measured] = {}
        for candidate in candidates:
            peers.measure_peer(candidate, raw, Measured())
        for _ in range(arguments.rounds):
            for candidate in candidates:
                peers.measure_peer(candidate, raw, measured.setdefault(candidate.name, Measured()))
        rows = peers.summary(measured, len(raw), arguments.fastest)
        report["data_sets"].append({"name": name, "source": source, "candidates": rows})
        print(f"\n{name}: {source}\n{peers.data_set_table(rows)}", flush=True)

    raw, _ = peers.load("weights", arguments.tensors, 4 << 20)
    tried = [
        behaviour(candidate, raw)
        for candidate in (Huffwire(checksums=True), ZipNN(), OpenZLByDefault(), Zstandard(3))
    ]
    report["behaviour"] = [vars(one) for one in tried]
    print(f"\n{peers.table(HEADINGS, [one.row() for one in tried])}")
    return report


class OpenZLByDefault(OpenZL):
    """OpenZL with the checksums that it writes unless told not to."""

    def __init__(self) -> None:
        super().__init__("entropy")
        self.compressor.set_parameter(self.zl.CParam.ContentChecksum, 0)
        self.compressor.set_parameter(self.zl.CParam.CompressedChecksum, 0)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tensors", type=Path, default=ROOT.parent / "shared" / "tensors", metavar="FOLDER",
                        help="where weights-200.safetensors and the others are; normal values are generated in "
                             "place of files that are missing [default: %(default)s]")
    parser.add_argument("--data", nargs="+", choices=peers.DATA_SETS, default=list(peers.DATA_SETS),
                        help="data sets [default: all]")
    parser.add_argument("--size", type=peers.parse_size, default="16MiB",
                        help="bytes of each data set [default: %(default)s]")
    parser.add_argument("--rounds", type=peers.count, default=5, help="rounds [default: %(default)s]")
    parser.add_argument("--fastest", action="store_true",
                        help="take ratios from the fastest rounds, not from the medians: for busy machines")
    parser.add_argument("--huffwire", type=Path, metavar="FOLDER",
                        help="a folder with a built package huffwire [default: builds that of this checkout]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    peers.ensure_environment(environment=ENVIRONMENT)
    if arguments.huffwire:
        sys.path.insert(0, str(arguments.huffwire.resolve()))
    else:
        install_huffwire()
    report = compare(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    peers.run(main)
