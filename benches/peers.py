#!/usr/bin/env python3
"""Compares huffwire with ZipNN and OpenZL: the same bytes, one thread, in turns.

Only the standard library is imported at the top, so that `--help` and the tests need nothing else; what is
compared with lives in a virtual environment that the first run makes (see `ensure_environment`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, NoReturn, Sequence

ROOT = Path(__file__).resolve().parent.parent
DATA_SETS = ("weights", "gradients", "activations")
HUFFWIRE_ROUNDS = 3
ZIPNN = "ZipNN"
# glibc then keeps freed memory instead of asking the kernel for zeroed pages again; read when a process starts.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


class Failure(Exception):
    """Something that the user can act on; its message is all that is printed."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of the checkout, and the versions that are installed there."""

    folder: Path
    pinned: tuple[str, ...]
    # Without what they depend on.
    alone: tuple[str, ...] = ()
    # Taken from an index that has a smaller build, where that index can be reached.
    smaller: dict[str, str] = field(default_factory=dict)
    # How long the first run takes, for the user who waits.
    cost: str = "half a minute"


ENVIRONMENT = Environment(
    ROOT / ".venv" / "peers",
    ("openzl==0.3.0", "numpy==2.4.6", "matplotlib==3.11.2"),
    # ZipNN wants PyTorch (hundreds of MB), which coding bytes never calls.
    alone=("zipnn==0.5.4",),
)


# --- statistics ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speed:
    """GB/s (10^9 bytes of tensors per second) over the rounds. The median: machines have moods."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Speed:
        return cls(statistics.median(rounds), min(rounds), max(rounds))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.min:.3g}..{self.max:.3g})"


@dataclass
class Measured:
    """One candidate on one data set, a value for each round."""

    encode: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    coded_bytes: int = 0

    def add(self, encode_gbps: float, decode_gbps: float, coded_bytes: int) -> None:
        self.encode.append(encode_gbps)
        self.decode.append(decode_gbps)
        self.coded_bytes = coded_bytes


def saving_percent(raw: int, coded: int) -> float:
    return 100.0 * (1.0 - coded / raw)


def summary(measured: dict[str, Measured], raw_bytes: int, fastest: bool = False) -> list[dict[str, Any]]:
    """Rows of the report, with ratios to ZipNN where ZipNN ran; those of speeds are of medians by default."""
    typical = max if fastest else statistics.median
    zipnn = measured.get(ZIPNN)
    rows = []
    for name, one in measured.items():
        encode, decode = Speed.of(one.encode), Speed.of(one.decode)
        row: dict[str, Any] = {
            "name": name,
            "encode_gbps": vars(encode),
            "decode_gbps": vars(decode),
            "coded_bytes": one.coded_bytes,
            "saving_percent": saving_percent(raw_bytes, one.coded_bytes),
        }
        if zipnn:
            row["size_to_zipnn"] = one.coded_bytes / zipnn.coded_bytes
            row["encode_to_zipnn"] = typical(one.encode) / typical(zipnn.encode)
            row["decode_to_zipnn"] = typical(one.decode) / typical(zipnn.decode)
        rows.append(row)
    return rows


# --- the report ---------------------------------------------------------------------------------------------


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; the first flush left, numbers flush right."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:]))]
        return "  ".join(cells).rstrip()

    return "\n".join([line(headings), "  ".join("-" * w for w in widths), *map(line, rows)])


def data_set_table(rows: Sequence[dict[str, Any]]) -> str:
    def ratio(row: dict[str, Any], key: str, form: str) -> str:
        return format(row[key], form) if key in row else "-"

    headings = ("candidate", "encode GB/s", "decode GB/s", "saved %", "size/ZipNN", "enc x", "dec x")
    cells = [
        (
            row["name"],
            str(Speed(**row["encode_gbps"])),
            str(Speed(**row["decode_gbps"])),
            f"{row['saving_percent']:.3f}",
            ratio(row, "size_to_zipnn", ".4f"),
            ratio(row, "encode_to_zipnn", ".2f"),
            ratio(row, "decode_to_zipnn", ".2f"),
        )
        for row in rows
    ]
    return table(headings, cells)


# --- promises -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Promise:
    """A bound on a ratio to ZipNN. Sizes have upper bounds, speeds lower ones."""

    candidate: str
    quantity: str  # "encode", "decode" or "size"
    bound: float
    data_sets: tuple[str, ...] = DATA_SETS

    def holds(self, ratio: float) -> bool:
        return ratio <= self.bound if self.quantity == "size" else ratio >= self.bound


PROMISES = (
    Promise("huffwire fast avx512", "encode", 12.0),
    Promise("huffwire fast avx512", "decode", 6.0),
    Promise("huffwire fast avx512", "size", 1.015),
    Promise("huffwire max avx512", "encode", 4.0),
    Promise("huffwire max avx512", "decode", 4.0),
    Promise("huffwire max avx512", "size", 1.002, ("weights",)),
    Promise("huffwire max avx512", "size", 1.0, ("gradients", "activations")),
    Promise("huffwire fast avx2", "encode", 5.0),
    Promise("huffwire fast avx2", "decode", 2.0),
    Promise("huffwire fast portable", "encode", 1.0),
    Promise("huffwire fast portable", "decode", 0.7),
)


def check_promises(data_sets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each promise on each data set; `holds` is None where the candidate did not run."""
    checks = []
    for promise in PROMISES:
        for data_set in data_sets:
            if data_set["name"] not in promise.data_sets:
                continue
            rows = {row["name"]: row for row in data_set["candidates"]}
            ratio = rows.get(promise.candidate, {}).get(f"{promise.quantity}_to_zipnn")
            checks.append(
                {
                    "candidate": promise.candidate,
                    "data_set": data_set["name"],
                    "quantity": promise.quantity,
                    "bound": promise.bound,
                    "ratio": ratio,
                    "holds": None if ratio is None else promise.holds(ratio),
                }
            )
    return checks


def describe(check: dict[str, Any]) -> str:
    sign = "<=" if check["quantity"] == "size" else ">="
    text = f"{check['candidate']}, {check['data_set']}: {check['quantity']} {sign} {check['bound']:g}x"
    return text if check["ratio"] is None else f"{text} ({check['ratio']:.4g}x)"


def promises_line(checks: Sequence[dict[str, Any]]) -> str:
    """Says which promises to ZipNN hold; last of all that is printed."""
    parts = []
    for verdict, word in ((True, "hold"), (False, "DO NOT HOLD"), (None, "not measured")):
        some = [check for check in checks if check["holds"] is verdict]
        # What is not measured is not measured on any data set: the name says enough.
        texts = [check["candidate"] if verdict is None else describe(check) for check in some]
        if some:
            parts.append(f"{len(some)} {word}: " + "; ".join(dict.fromkeys(texts)))
    return "Promises to ZipNN: " + " | ".join(parts)


# --- data ---------------------------------------------------------------------------------------------------


def parse_size(text: str) -> int:
    """`16MiB`, `262144`: the spellings of `huffwire bench`."""
    upper = text.strip().upper()
    digits = upper.rstrip("KMGIB ")
    try:
        size = int(digits) * UNITS[upper[len(digits) :].strip()]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"not a size such as 16MiB: {text}") from None
    if size < 2 or size % 2:
        raise argparse.ArgumentTypeError("a size must be even: values are bf16")
    return size


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return int(text)


def read_bf16(path: Path) -> bytes:
    """All bf16 tensors of a safetensors file, one after the other, as they lie in it."""
    raw = path.read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", raw)
    start = 8 + header_bytes
    header = json.loads(raw[8:start])
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    ranges = sorted(entry["data_offsets"] for entry in tensors if entry["dtype"] == "BF16")
    return b"".join(raw[start + begin : start + end] for begin, end in ranges)


def fit(values: bytes, size: int) -> bytes:
    """Repeated or cut. No candidate looks for matches, so that a repetition saves none of them anything."""
    return (values * -(-size // len(values)))[:size]


def write_safetensors(path: Path, values: bytes) -> None:
    """One bf16 tensor and nothing else: its bytes are those that the other candidates get."""
    entry = {"dtype": "BF16", "shape": [len(values) // 2], "data_offsets": [0, len(values)]}
    header = json.dumps({"tensor": entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + values)


def generate(name: str, size: int) -> bytes:
    """Normal values rounded to bf16, where there are no real tensors."""
    import numpy as np

    seed = DATA_SETS.index(name)
    values = np.random.default_rng(seed).standard_normal(size // 2, dtype=np.float32) * np.float32(0.02)
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def load(name: str, folder: Path, size: int) -> tuple[bytes, str]:
    """The bytes of a data set, and where they come from."""
    path = folder / f"{name}-200.safetensors"
    if path.is_file():
        values = read_bf16(path)
        if values:
            return fit(values, size), str(path)
        raise Failure(f"{path} has no bf16 tensor")
    return generate(name, size), f"generated normal values ({path} does not exist)"


# --- candidates ---------------------------------------------------------------------------------------------


class Peer:
    """A coder that runs in this process.

    What `encode_with` and `decode_with` return is called under the clock and takes no arguments: copies of
    the input and contexts are made before.
    """

    name: str

    def encode_with(self, raw: bytes) -> Callable[[], bytes]:
        raise NotImplementedError

    def decode_with(self, coded: bytes) -> Callable[[], Any]:
        raise NotImplementedError

    def restored(self, decoded: Any) -> bytes:
        return bytes(decoded)


class ZipNN(Peer):
    """ZipNN as its users call it. It overwrites its input, hence a copy for each call."""

    name = ZIPNN

    def __init__(self) -> None:
        stand_in_for_torch()
        import zipnn

        self.coder = zipnn.ZipNN(bytearray_dtype="bfloat16", input_format="byte", threads=1)

    def encode_with(self, raw: bytes) -> Callable[[], bytes]:
        copy = bytearray(raw)
        return lambda: self.coder.compress(copy)

    def decode_with(self, coded: bytes) -> Callable[[], Any]:
        copy = bytearray(coded)
        return lambda: self.coder.decompress(copy)


class ZipNNCore(ZipNN):
    """ZipNN's compiled part alone.

    `ZipNN.compress` copies its input to a variable that nothing reads; in fairness, a row without that copy.
    """

    name = "ZipNN, C core"

    def encode_with(self, raw: bytes) -> Callable[[], bytes]:
        import zipnn_core

        # Its header depends on the size and the settings only, so that of a compressed prefix will do.
        prefix = self.coder.compress(bytearray(raw[: 1 << 18]))
        header = bytearray(prefix[: self.coder.header_length])
        header[16:24] = struct.pack("<Q", len(raw))
        copy = bytearray(raw)
        coder = self.coder
        return lambda: zipnn_core.zipnn_core(
            header,
            copy,
            2,  # planes
            1,  # the sign moves to the mantissa's byte
            10,  # the order of bytes for 16 bits
            0,
            coder.compression_chunk,
            coder.compression_threshold,
            coder.check_th_after_percent,
            coder.threads,
        )


class OpenZL(Peer):
    """OpenZL's node for bf16, and its entropy coder for both bytes that come out of it."""

    name = "OpenZL"

    def __init__(self, entropy: str) -> None:
        import openzl.ext as zl

        self.zl = zl
        coder = {"entropy": zl.graphs.Entropy, "huffman": zl.graphs.Huffman, "fse": zl.graphs.Fse}[entropy]
        self.graph = f"BFloat16Deconstruct(sign_frac={coder.__name__}, exponent={coder.__name__})"
        self.compressor = zl.Compressor()
        self.compressor.set_parameter(zl.CParam.FormatVersion, zl.MAX_FORMAT_VERSION)
        # No checksums (2 is off): the others write none either.
        self.compressor.set_parameter(zl.CParam.ContentChecksum, 2)
        self.compressor.set_parameter(zl.CParam.CompressedChecksum, 2)
        leaf = coder()(self.compressor)
        node = zl.nodes.BFloat16Deconstruct()
        self.compressor.select_starting_graph(node(self.compressor, sign_frac=leaf, exponent=leaf))

    def encode_with(self, raw: bytes) -> Callable[[], bytes]:
        import numpy as np

        context = self.zl.CCtx()
        context.ref_compressor(self.compressor)
        values = self.zl.Input(self.zl.Type.Numeric, np.frombuffer(raw, dtype="<u2"))
        return lambda: context.compress([values])

    def decode_with(self, coded: bytes) -> Callable[[], Any]:
        context = self.zl.DCtx()
        return lambda: context.decompress(coded)

    def restored(self, decoded: Any) -> bytes:
        return decoded[0].content.as_nparray().tobytes()


class StandInModule(types.ModuleType):
    """A module whose every attribute exists and means nothing, but is always the same object."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, StandInModule(name))
        return self.__dict__[name]


def stand_in_for_torch() -> None:
    """Lets `import zipnn` work without PyTorch.

    ZipNN imports torch to name its element types and to decorate functions for tensors; given bytes, it
    calls none of it, and its compiled part does not know of torch.
    """
    if "torch" in sys.modules:
        return
    torch = StandInModule("torch")
    torch.jit = types.SimpleNamespace(script=lambda function: function)
    safetensors = StandInModule("safetensors")
    safetensors.torch = StandInModule("safetensors.torch")
    sys.modules.update({"torch": torch, "safetensors": safetensors, "safetensors.torch": safetensors.torch})


def measure_peer(peer: Peer, raw: bytes, measured: Measured) -> None:
    """A round of one candidate: there, back, and is it the same?"""
    encode = peer.encode_with(raw)
    start = time.perf_counter()
    coded = encode()
    encode_seconds = time.perf_counter() - start
    decode = peer.decode_with(coded)
    start = time.perf_counter()
    decoded = decode()
    decode_seconds = time.perf_counter() - start
    if peer.restored(decoded) != raw:
        raise Failure(f"{peer.name} did not restore the tensor")
    gigabytes = len(raw) / 1e9
    measured.add(gigabytes / encode_seconds, gigabytes / decode_seconds, len(coded))


# --- huffwire -----------------------------------------------------------------------------------------------


def build() -> Path:
    """The program of this checkout; cargo knows where it puts it."""
    command = ["cargo", "build", "--release", "-p", "huffwire-cli", "--message-format=json-render-diagnostics"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError:
        raise Failure("cargo is missing; install Rust, or name the program with --huffwire") from None
    if done.returncode != 0:
        raise Failure("huffwire could not be built (above)")
    messages = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    programs = [message["executable"] for message in messages if message.get("executable")]
    if not programs:
        raise Failure("cargo built no program; name it with --huffwire")
    return Path(programs[-1])


def bench(program: Path, file: Path, *options: str) -> dict[str, Any]:
    """What `huffwire bench --json` reports; it checks by itself that every bit comes back."""
    command = [str(program), "bench", str(file), "--json", "--no-peers", "--threads", "1", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failure(f"{program} cannot be run: {error}") from None
    if done.returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed:\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def add_huffwire(report: dict[str, Any], measured: dict[str, Measured]) -> None:
    """A run of `huffwire bench` is a round for each level and platform. memcpy is there, but no candidate."""
    for row in report["results"]:
        if row["codec"] == "huffwire":
            one = measured.setdefault(f"huffwire {row['level']} {row['platform']}", Measured())
            one.add(row["encode_gbps"], row["decode_gbps"], row["coded_bytes"])


def memcpy_speeds(program: Path, file: Path) -> dict[str, float]:
    """What bounds all candidates, in the cache and from memory."""
    options = ("--level", "fast", "--rounds", str(HUFFWIRE_ROUNDS), "--working-set")
    sizes = {"in the cache (256 KiB)": "256KiB", "from memory (256 MiB)": "256MiB"}
    return {where: bench(program, file, *options, size)["memcpy_gbps"] for where, size in sizes.items()}


# --- the environment ----------------------------------------------------------------------------------------


def ensure_environment(variables: dict[str, str] | None = None, environment: Environment = ENVIRONMENT) -> None:
    """Makes the virtual environment if need be, and goes on in it: nothing is installed outside the checkout.

    Returns only in the environment, with these variables. A stamp tells a finished one from one whose installation broke off.
    """
    folder = environment.folder
    wanted = "\n".join((*environment.alone, *environment.pinned))
    stamp = folder / "installed.txt"
    ready = stamp.is_file() and stamp.read_text() == wanted
    variables = variables or {}
    inside = Path(sys.prefix).resolve() == folder.resolve()
    if ready and inside and variables.items() <= os.environ.items():
        return
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not ready:
        names = wanted.replace("\n", ", ")
        print(f"installing {names} into {folder} ({environment.cost})", file=sys.stderr)
        install(environment, str(python))
        stamp.write_text(wanted)
    os.execve(python, [str(python), *sys.argv], {**os.environ, **variables})


def install(environment: Environment, python: str) -> None:
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    binary = [*pip, "--only-binary=:all:"]
    steps = [[sys.executable, "-m", "venv", str(environment.folder)], [*binary, *environment.pinned]]
    if environment.alone:
        steps.append([*pip, "--no-deps", *environment.alone])
    for number, step in enumerate(steps):
        if number == 1:
            for package, index in environment.smaller.items():
                # What fails here comes from PyPI in the next step.
                subprocess.run([*binary, "--retries", "0", "--index-url", index, package], capture_output=True, check=False)
        if subprocess.run(step, check=False).returncode != 0:
            raise Failure(
                f"`{' '.join(step)}` failed. The first run needs Python 3.11 or newer with its venv module, and "
                "PyPI (or a mirror: PIP_INDEX_URL); without a network, fill that environment on another machine "
                "of the same kind and copy it."
            )


# --- the whole ----------------------------------------------------------------------------------------------


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions(program: Path | None) -> dict[str, str]:
    from importlib.metadata import version

    found = {name: version(name) for name in ("zipnn", "openzl", "numpy")}
    found["python"] = platform.python_version()
    if program:
        done = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
        found["huffwire"] = done.stdout.strip().removeprefix("huffwire ")
    return found


def measure(raw: bytes, peers: Sequence[Peer], program: Path | None, file: Path, rounds: int) -> dict[str, Measured]:
    """In turns: what else the machine does then hits all candidates alike. One round warms up, untimed."""
    measured: dict[str, Measured] = {}
    options = ("--rounds", str(HUFFWIRE_ROUNDS), "--level", "fast,max", "--platform", "all")
    for peer in peers:
        measure_peer(peer, raw, Measured())
    for _ in range(rounds):
        if program:
            add_huffwire(bench(program, file, *options, "--working-set", str(len(raw))), measured)
        for peer in peers:
            measure_peer(peer, raw, measured.setdefault(peer.name, Measured()))
    return measured


def busy() -> str | None:
    """A warning if others wanted the processor in the last minute: candidates then wait in line."""
    try:
        load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return None
    if load < 0.75 * cores:
        return None
    return f"the machine is busy (load {load:.1f}, {cores} cores): speeds are too low, compare the fastest rounds (--fastest)"


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures everything, printing a table as soon as a data set is done."""
    program = None if arguments.without_huffwire else arguments.huffwire or build()
    openzl = OpenZL(arguments.openzl_entropy)
    peers: list[Peer] = [ZipNN(), ZipNNCore(), openzl]
    report: dict[str, Any] = {
        "cpu": processor(),
        "versions": versions(program),
        "openzl_graph": openzl.graph,
        "bytes": arguments.size,
        "rounds": arguments.rounds,
        "ratios": "fastest rounds" if arguments.fastest else "medians",
        "memory_kept": arguments.keep_memory,
        "busy": busy(),
        "memcpy_gbps": {},
        "data_sets": [],
    }
    names = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    print(f"{report['cpu']}\n{names}\nOpenZL: {openzl.graph}, no checksums")
    print(f"{arguments.size} bytes of bf16, one thread; median (min..max) of {arguments.rounds} rounds")
    if arguments.keep_memory:
        print("glibc keeps freed memory")
    print(f"x: speed to ZipNN's, by {report['ratios']}")
    if report["busy"]:
        print(f"warning: {report['busy']}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="huffwire-peers-") as folder:
        for name in arguments.data:
            raw, source = load(name, arguments.tensors, arguments.size)
            file = Path(folder) / f"{name}.safetensors"
            write_safetensors(file, raw)
            if program and not report["memcpy_gbps"]:
                report["memcpy_gbps"] = memcpy_speeds(program, file)
            measured = measure(raw, peers, program, file, arguments.rounds)
            rows = summary(measured, len(raw), arguments.fastest)
            report["data_sets"].append({"name": name, "source": source, "candidates": rows})
            print(f"\n{name}: {source}\n{data_set_table(rows)}", flush=True)
    report["promises"] = check_promises(report["data_sets"])
    return report


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tensors", type=Path, default=ROOT.parent / "shared" / "tensors", metavar="FOLDER",
                        help="where weights-200.safetensors and the others are; normal values are generated in "
                             "place of files that are missing [default: %(default)s]")
    parser.add_argument("--data", nargs="+", choices=DATA_SETS, default=list(DATA_SETS), help="data sets [default: all]")
    parser.add_argument("--size", type=parse_size, default="16MiB", help="bytes of each data set [default: %(default)s]")
    parser.add_argument("--rounds", type=count, default=5, help="rounds [default: %(default)s]")
    parser.add_argument("--fastest", action="store_true",
                        help="take ratios from the fastest rounds, not from the medians: for busy machines")
    parser.add_argument("--keep-memory", action="store_true",
                        help="have glibc keep freed memory, so that ZipNN and OpenZL return theirs without page faults")
    program = parser.add_mutually_exclusive_group()
    program.add_argument("--huffwire", type=Path, metavar="PATH", help="the program [default: built from this checkout]")
    program.add_argument("--without-huffwire", action="store_true", help="measure the others only")
    parser.add_argument("--openzl-entropy", choices=("entropy", "huffman", "fse"), default="entropy",
                        help="what follows OpenZL's bf16 node; entropy: OpenZL chooses [default: %(default)s]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--plot", type=Path, nargs="?", const=ROOT / "docs" / "figures", metavar="FOLDER",
                        help="draw the report, as benches/plot.py does [default folder: docs/figures]")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a measured promise does not hold")
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    ensure_environment(KEEP_MEMORY if arguments.keep_memory else None)
    report = compare(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.plot:
        import plot

        for path in plot.draw([report], arguments.plot):
            print(f"wrote {path}")
    print("\n" + promises_line(report["promises"]))
    broken = any(check["holds"] is False for check in report["promises"])
    return int(arguments.strict and broken)


def run(entry: Callable[[], int]) -> NoReturn:
    """Ends the program; errors that the user can act on come without a traceback."""
    try:
        sys.exit(entry())
    except Failure as failure:
        sys.exit(f"error: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run(main)
