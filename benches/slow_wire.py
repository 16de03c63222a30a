#!/usr/bin/env python3
"""Measures huffwire's collectives and hooks on a slow wire: network namespaces, joined by a bridge with limits.

Run it as root, with the packages huffwire, torch and safetensors installed. All contenders take turns in one run. Where root,
`ip`, `tc` or a feature of the kernel is missing, it says so and ends with 77. docs/collectives.md has its results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peers
from peers import ROOT, Failure
from wire import bounds, planning, quantities, report
from wire.network import INTERFACE, Network, NetworkError, Unavailable, Wire

SKIPPED = 77
RESULTS = ROOT / "benches" / "results" / "slow_wire.json"
MIB = 1 << 20
# What needs no namespaces.
ON_LOOPBACK = ("loopback", "loss")
WHAT = ("collectives", "ddp", "fsdp", *ON_LOOPBACK)

# Parameters of the cases. `ddp`: width, depth, batch. `fsdp`: width, depth, words, length. `seeds`: how many, and steps.
# `limit`: seconds after which no round of a case begins.
FULL = {"rounds": 9, "steps": 9, "limit": 11.0, "ddp": [1024, 8, 8], "fsdp": [512, 4, 1024, 16], "seeds": [4, 200]}
SHORT = {"rounds": 2, "steps": 2, "limit": 5.0, "ddp": [160, 2, 4], "fsdp": [64, 1, 64, 8], "seeds": [1, 5]}
LOOPBACK = {"rounds": 1500, "limit": 12.0, "sizes": [4 << 10, 64 << 10, MIB, 16 * MIB]}

# The runs behind docs/collectives.md: rate, ranks, cases, and what differs from FULL.
DOCUMENTED: list[tuple[str, int, list[str], dict[str, Any]]] = [
    ("1gbit", 2, ["collectives", "ddp", "fsdp"], {"limit": 7.5}),
    ("10gbit", 2, ["collectives", "ddp", "fsdp"], {"limit": 4.0, "rounds": 15, "steps": 15}),
    ("200mbit", 2, ["ddp"], {"limit": 14.0}),
    ("none", 2, ["collectives", "ddp"], {"limit": 3.0, "rounds": 15, "steps": 15}),
    ("1gbit", 4, ["collectives", "ddp"], {"limit": 4.0}),
    ("10gbit", 4, ["collectives", "ddp"], {"limit": 3.0}),
    ("none", 2, ["loopback", "loss"], {}),
]


class Launched:
    """The processes of a job's ranks."""

    def __init__(self, job: dict[str, Any], network: Network | None, folder: Path) -> None:
        path = folder / "job.json"
        path.write_text(json.dumps({**job, "store": str(folder / "store")}))
        places = [str(Path(__file__).parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in places),
            "GLOO_SOCKET_IFNAME": job["interface"],
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("HUFFWIRE_COMPRESSION", None)
        self.errors = [folder / f"rank{rank}.txt" for rank in range(job["ranks"])]
        self.processes: list[subprocess.Popen] = []
        self.lines: queue.Queue[str] = queue.Queue()
        try:
            for rank in range(job["ranks"]):
                command = network.inside(rank) if network else []
                with self.errors[rank].open("wb") as errors:
                    self.processes.append(subprocess.Popen(
                        [*command, sys.executable, "-m", "wire.rank", str(path), str(rank)],
                        env=environment, stdin=subprocess.PIPE, stderr=errors, text=True,
                        stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                        # Ctrl-C is for this program, which ends them.
                        start_new_session=True,
                    ))
        except BaseException:
            self.end()
            raise
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.processes[0].stdout or ():
            self.lines.put(line)

    def rows(self, patience: float) -> Iterator[dict[str, Any]]:
        """What rank 0 tells, until it is done; it must not be silent for longer than `patience` seconds."""
        end, last_told = time.monotonic() + patience, "starting"
        while True:
            try:
                told = json.loads(self.lines.get(timeout=0.2))
            except queue.Empty:
                self._check()
                if time.monotonic() > end:
                    raise Failure(f"no rank told anything for {patience:.0f} seconds; the last was: {last_told}") from None
                continue
            end, last_told = time.monotonic() + patience, told.get("text", last_told)
            last = told["kind"] == "done"
            yield told
            if last:
                return

    def _check(self) -> None:
        for rank, process in enumerate(self.processes):
            code = process.poll()
            # Those that are done leave after the one that tells so, which may still have lines on their way.
            if code:
                # The rank that failed first has more to tell than those that lost it.
                time.sleep(1)
                texts = [path.read_text(errors="replace")[-1500:] for path in self.errors]
                raise Failure(f"rank {rank} ended with {code}:\n" + "\n".join(filter(None, texts)))

    def end(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def show(text: str) -> None:
    """Progress, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def others(seconds: float = 1.0) -> float:
    """The part of all processors that other programs use now, while this one sleeps."""
    try:
        before = _processor_times()
        time.sleep(seconds)
        after = _processor_times()
    except (OSError, ValueError):
        return 0.0
    idle, total = (late - early for late, early in zip(after, before, strict=True))
    return round(1 - idle / total, 3) if total else 0.0


def _processor_times() -> tuple[int, int]:
    times = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return times[3] + times[4], sum(times)


def run(job: dict[str, Any], wire: Wire | None) -> dict[str, Any]:
    """One wire with all cases of a job; None is the loopback of this machine."""
    name = quantities.rate_name(wire.rate) if wire else "loopback"
    found: dict[str, Any] = {
        "wire": name,
        "rate": wire.rate if wire else None,
        "delay": wire.delay if wire else 0.0,
        "ranks": job["ranks"],
        "others": others(),
        "notes": [],
        "cases": [],
    }
    job = {**job, "interface": INTERFACE if wire else "lo", "timeout": 120}
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="huffwire-wire-")))
        network = stack.enter_context(Network(wire)) if wire else None
        launched = Launched(job, network, folder)
        stack.callback(launched.end)
        show(f"{name}, {job['ranks']} ranks: starting")
        for told in launched.rows(patience=300):
            kind = told.pop("kind")
            if kind == "progress":
                show(f"{name}, {job['ranks']} ranks: {told['text']}")
            elif kind == "note":
                found["notes"].append(told["text"])
            elif kind == "agreed":
                found.update(agreed=told["figures"], data=told["data"])
            elif kind == "case":
                found["cases"].append(told)
            else:
                found.update(told)
    show("")
    found["took"] = round(time.monotonic() - started, 1)
    return found


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": peers.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    import huffwire

    return {"huffwire": huffwire.__version__, "platform": huffwire.platform(), "python": platform.python_version()}


def jobs(arguments: argparse.Namespace) -> Iterator[tuple[dict[str, Any], Wire | None]]:
    """What is to run, and on which wire."""
    given = {"tensors": arguments.tensors, "transports": arguments.transport}
    if arguments.documented:
        for rate, ranks, what, more in DOCUMENTED:
            yield from _jobs(what, Wire(ranks, quantities.rate(rate)), False, {"sizes": [MIB, 16 * MIB, 64 * MIB], **FULL, **given, **more})
        return
    parameters = {**(SHORT if arguments.short else FULL), **given, "sizes": arguments.sizes}
    if arguments.rounds:
        parameters |= {"rounds": arguments.rounds, "steps": arguments.rounds}
    yield from _jobs(arguments.what, Wire(arguments.ranks, arguments.rate, arguments.delay), arguments.short, parameters)


def _jobs(
    what: list[str], wire: Wire, short: bool, parameters: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], Wire | None]]:
    parameters = {**parameters, "ranks": wire.ranks}
    slow = [case for case in what if case not in ON_LOOPBACK]
    if slow:
        yield {**parameters, "what": slow}, wire
    near = [case for case in what if case in ON_LOOPBACK]
    if near:
        yield {**parameters, **({} if short else LOOPBACK), "what": near}, None


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "schema_version": report.SCHEMA_VERSION,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "machine": machine(),
        "versions": versions(),
        "short": arguments.short,
        "runs": [],
    }
    print(f"{found['machine']['processor']}, {found['machine']['cores']} cores, "
          + ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    for job, wire in jobs(arguments):
        one = run(job, wire)
        found["versions"]["torch"] = one.pop("torch")
        found["runs"].append(one)
        print(f"\n{report.text(one)}", flush=True)
    found["plan"] = planning.plan(planning.measured_codec())
    return found


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0],
                                     epilog=f"Exit codes: 0 done, 1 failed, 2 wrong arguments, {SKIPPED} skipped.")
    parser.add_argument("--rate", type=quantities.rate, default="1gbit",
                        help="limit each way, such as 200mbit; none for no limit [default: %(default)s]")
    parser.add_argument("--delay", type=quantities.delay, default="0", help="delay one way, such as 1ms [default: %(default)s]")
    parser.add_argument("--ranks", type=quantities.ranks, default="2", help="[default: %(default)s]")
    parser.add_argument("--transport", type=quantities.words("gloo", "tcp"), default="gloo,tcp",
                        help="values of HUFFWIRE_TRANSPORT [default: %(default)s]")
    parser.add_argument("--sizes", type=quantities.sizes, help="sizes of a rank's tensor [default: 1MiB,16MiB,64MiB; with --short 256KiB]")
    parser.add_argument("--what", type=quantities.words(*WHAT), default="collectives,ddp,fsdp",
                        help=f"cases: {','.join(WHAT)} [default: %(default)s]")
    parser.add_argument("--tensors", nargs="+", metavar="FILE", help="safetensors files with the bf16 tensors that travel [default: generated]")
    parser.add_argument("--rounds", type=int, help="rounds of each case at most [default: as many as make sense]")
    parser.add_argument("--short", action="store_true", help="small sizes, few rounds: whether it works, in half a minute")
    parser.add_argument("--check", action="store_true", help="only make the wire and remove it: whether this machine can")
    parser.add_argument("--documented", action="store_true",
                        help="all runs of docs/collectives.md, in about a quarter of an hour; rates, ranks and cases are set")
    parser.add_argument("--json", type=Path, metavar="OUT", help=f"write the report there [default with --documented: {RESULTS.relative_to(ROOT)}]")
    parser.add_argument("--write-docs", action="store_true", help="with --documented: write tables and figures of docs/collectives.md, too")
    parsed = parser.parse_args(arguments)
    if parsed.write_docs and not parsed.documented:
        parser.error("--write-docs goes with --documented")
    if parsed.sizes is None:
        parsed.sizes = [256 << 10] if parsed.short else [MIB, 16 * MIB, 64 * MIB]
    for path in parsed.tensors or ():
        if not Path(path).is_file():
            parser.error(f"--tensors: there is no file {path}")
    if parsed.tensors:
        parsed.tensors = [os.path.abspath(path) for path in parsed.tensors]
    if parsed.documented and parsed.json is None:
        parsed.json = RESULTS
    return parsed


def _end(number: int, _frame: object) -> None:
    """As Ctrl-C does, so that everything is removed."""
    raise SystemExit(128 + number)


def main() -> int:
    arguments = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        if arguments.check:
            with Network(Wire(arguments.ranks, arguments.rate, arguments.delay)):
                return 0
        found = measure(arguments)
    except Unavailable as reason:
        print(f"SKIPPED: {reason}", file=sys.stderr)
        return SKIPPED
    except ImportError as error:
        raise Failure(f"{error}: install the packages huffwire, torch and safetensors") from None
    except NetworkError as error:
        raise Failure(str(error)) from None
    if checked := bounds.text(found):
        print(f"\n{checked}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(report.as_json(found))
        print(f"wrote {arguments.json}")
    if arguments.documented and (missing := bounds.unmeasured(found)):
        raise Failure("nothing was measured of what these bounds are about:\n" + "\n".join(about for about, _ in missing))
    if arguments.write_docs:
        subprocess.run([sys.executable, str(Path(__file__).with_name("slow_wire_docs.py")), str(arguments.json)], check=True)
    return 0


if __name__ == "__main__":
    peers.run(main)
