#!/usr/bin/env python3
"""Trains five networks, quantizes their gradients, and compares what encoders make of them with Elias coding.

The study of Gajjala et al., "Huffman Coding Based Encoding Techniques for Fast Distributed Deep Learning"
(DistributedML 2020), with huffwire's encoders. The first run installs PyTorch into `.venv/torch`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

if __name__ == "__main__":
    # The folder above, in place of this one: names here (`data`, `plot`) are not for everyone.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import peers  # noqa: E402
from gradients import data, evaluate  # noqa: E402

if TYPE_CHECKING:
    import numpy as np

ENVIRONMENT = peers.Environment(
    peers.ROOT / ".venv" / "torch",
    ("torch==2.15.0", "numpy==2.4.6", "safetensors==0.8.0", "scikit-learn==1.9.1", "matplotlib==3.11.2", "zstandard==0.25.0"),
    smaller={"torch==2.15.0": "https://download.pytorch.org/whl/cpu"},
    cost="some minutes; 6 GB where PyTorch's own index cannot be reached",
)
SEED = 1
WORKERS = 2
# Early, in the middle, before the last, the last; the one before it is for drift alone.
FULL_STEPS, QUICK_STEPS = 300, 40
FULL_CONVERGENCE, QUICK_CONVERGENCE = 200, 20
# The networks that show convergence, and what they are trained on.
CONVERGING = (("vgg", "images", "images"), ("lstm", "sequences", "synthetic"))
NOT_CODED = "QSGD 4, 512, max, feedback, not coded"
QUICK_GRID = ("QSGD 1, all", evaluate.STANDARD, "QSGD 16, 512", "TernGrad", "natural", "top 1 %", "int8, 512")


def dumped(steps: int) -> list[int]:
    """The steps whose gradients are kept."""
    return [max(1, steps // 20), steps // 2, steps - 1, steps]


# --- training -----------------------------------------------------------------------------------------------


def sources(arguments: argparse.Namespace) -> dict[tuple[str, str], tuple[str, Any]]:
    """(kind of model, data set) to the data set's name and the data."""
    if arguments.cifar10:
        images = ("cifar-10", data.cifar10(arguments.cifar10))
    else:
        images = ("digits", data.digits())
    return {
        ("images", "images"): images,
        ("images", "synthetic"): ("synthetic", data.synthetic_images(SEED)),
        ("sequences", "text"): ("text", data.text(arguments.text)),
        ("sequences", "synthetic"): ("synthetic", data.synthetic_sequence(SEED)),
    }


def train_all(arguments: argparse.Namespace, found: dict[Any, Any], folder: Path) -> list[Any]:
    """Every network on every data set that it is for."""
    from gradients import models, train

    steps = arguments.steps
    trainings = []
    for (kind, _), (name, source) in found.items():
        for model in models.IMAGE_MODELS if kind == "images" else models.SEQUENCE_MODELS:
            one = train.train(model, name, source, steps, set(dumped(steps)), folder, SEED)
            trainings.append(one)
            last = evaluate.mean(one.losses[-evaluate.LAST :])
            print(f"trained {model} on {name}: loss {one.losses[0]:.3f} to {last:.3f}, {one.seconds:.0f} s", flush=True)
    return trainings


def describe(one: Any) -> dict[str, Any]:
    return {
        "model": one.model, "data": one.data, "source": one.source, "parameters": one.parameters, "steps": len(one.losses),
        "dumps": sorted(one.flat), "first_loss": one.losses[0], "last_loss": evaluate.mean(one.losses[-evaluate.LAST :]),
        "seconds": one.seconds,
    }


# --- coding -------------------------------------------------------------------------------------------------


def code_all(program: Path, trainings: Sequence[Any], grid: Sequence[evaluate.Choice], quick: bool) -> list[evaluate.Record]:
    """Each gradient with each quantizer and encoder; as one tensor for each parameter with one quantizer only."""
    standard = next(choice for choice in evaluate.GRID if choice.name == evaluate.STANDARD)
    records = []
    for one in trainings:
        began = time.perf_counter()
        steps = sorted(one.flat)
        early, middle, late = steps[0], steps[1], steps[-1]
        for step in (late,) if quick else (early, middle, late):
            for choice in grid:
                records.append(coded(program, one.flat[step], choice, one, step, "flat"))
        records.append(coded(program, one.layers[late], standard, one, late, "layers"))
        print(f"coded the gradients of {one.model} on {one.data}: {time.perf_counter() - began:.0f} s", flush=True)
    return records


def coded(program: Path, file: Path, choice: evaluate.Choice, one: Any, step: int, layout: str) -> evaluate.Record:
    place = {
        "model": one.model, "data": one.data, "step": step, "layout": layout,
        "quantizer": choice.name, "in_paper": choice.in_paper,
    }
    return {**place, **evaluate.code(program, file, choice)}


def code_extra(program: Path, files: Sequence[Path], grid: Sequence[evaluate.Choice], folder: Path) -> list[evaluate.Record]:
    """Gradients that someone else dumped; the f32 tensors of a file as one."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file, save_file

    records = []
    for number, file in enumerate(files):
        try:
            tensors = load_file(file)
        except (OSError, SafetensorError) as error:
            raise peers.Failure(f"{file}: {error}") from None
        values = [tensor.ravel() for tensor in tensors.values() if tensor.dtype == np.float32]
        if not values:
            raise peers.Failure(f"{file} has no f32 tensor")
        flat = folder / f"extra-{number}.safetensors"
        save_file({"gradient": np.concatenate(values)}, flat)
        place = {"model": file.stem, "data": "extra", "step": 0, "layout": "flat"}
        for choice in grid:
            names = {"quantizer": choice.name, "in_paper": choice.in_paper}
            records.append({**place, **names, **evaluate.code(program, flat, choice)})
    return records


# --- drift --------------------------------------------------------------------------------------------------


def zero_runs(values: np.ndarray, longest: int = 200) -> dict[int, int]:
    """The symbols of SHS and how often they occur: other values by their number, runs of r zeros as 1000 + r."""
    import numpy as np

    others, counts = np.unique(values[values != 0], return_counts=True)
    found = dict(zip(others.tolist(), counts.tolist()))
    edges = np.flatnonzero(np.diff(np.concatenate([[1], values, [1]]) == 0))
    runs = edges[1::2] - edges[::2]
    whole, rest = runs // longest, runs % longest
    lengths, counts = np.unique(rest[rest > 0], return_counts=True)
    for length, number in zip(lengths.tolist(), counts.tolist()):
        found[1000 + length] = number
    if whole.sum():
        found[1000 + longest] = found.get(1000 + longest, 0) + int(whole.sum())
    return found


def drift_of(trainings: Sequence[Any]) -> list[dict[str, Any]]:
    """What books of earlier steps lose: from early to late, from the middle, and from the step before."""
    import numpy as np
    from gradients import qsgd
    from safetensors.numpy import load_file

    found = []
    for one in trainings:
        steps = sorted(one.flat)
        early, middle, before, late = steps
        spans = (("early to late", early, late), ("middle to late", middle, late), ("one step", before, late))
        counts: dict[int, dict[str, dict[int, int]]] = {}
        for step in steps:
            gradient = load_file(one.flat[step])["gradient"]
            values, _ = qsgd.quantize(gradient, 4, 512, "l2", qsgd.tensor_seed(step))
            distinct, numbers = np.unique(values, return_counts=True)
            counts[step] = {"values": dict(zip(distinct.tolist(), numbers.tolist())), "zero runs": zero_runs(values)}
        for symbols in ("values", "zero runs"):
            for span, old, new in spans:
                lost = evaluate.drift_percent(counts[old][symbols], counts[new][symbols])
                place = {"model": one.model, "data": one.data, "symbols": symbols, "span": span}
                found.append({**place, "from": old, "to": new, "loss_percent": lost})
    return found


# --- other baselines ----------------------------------------------------------------------------------------


def baselines_of(trainings: Sequence[Any], records: Sequence[evaluate.Record]) -> list[dict[str, Any]]:
    """What Elias omega would take with other numbers for values and without runs, for the last gradients.

    Values come from numpy; that they are the program's is seen in the bytes of omega over pairs.
    """
    from gradients import qsgd
    from safetensors.numpy import load_file

    found = []
    late = {(one.model, one.data): (max(one.flat), one.flat[max(one.flat)]) for one in trainings}
    for record in records:
        step, file = late.get((record["model"], record["data"]), (None, None))
        parsed = evaluate.numpy_has(record["quantizer"])
        if record["layout"] != "flat" or record["step"] != step or parsed is None:
            continue
        gradient = load_file(file)["gradient"]
        seed = qsgd.tensor_seed(evaluate.SEED)
        if parsed == ():
            values = qsgd.natural(gradient, seed)
        else:
            levels, bucket = parsed
            values, _ = qsgd.quantize(gradient, levels, bucket or len(gradient), "l2", seed)
        place = {key: record[key] for key in ("model", "data", "step", "quantizer")}
        found.append({**place, **qsgd.baselines(values), **{
            "omega": record["encoders"][evaluate.BASELINE]["coded"], "rlh": record["encoders"]["rlh"]["coded"],
        }})
    return found


# --- convergence --------------------------------------------------------------------------------------------


class Program:
    """A channel: quantized and coded to a file, decoded from it. Counts bytes, and what differs from numpy's QSGD."""

    def __init__(self, program: Path, folder: Path, levels: int, bucket: int, norm: str) -> None:
        self.program, self.folder = program, folder
        self.levels, self.bucket, self.norm = levels, bucket, norm
        self.messages = self.different = self.bytes = self.elements = 0

    def __call__(self, gradient: np.ndarray, step: int, worker: int) -> np.ndarray:
        from safetensors.numpy import load_file, save_file

        sent, wire, received = (self.folder / name for name in ("sent.safetensors", "wire.hw", "received.safetensors"))
        save_file({"gradient": gradient}, sent)
        options = ("--quantizer", "qsgd", "--levels", str(self.levels), "--bucket", str(self.bucket), "--norm", self.norm)
        seed = str(message_seed(step, worker))
        evaluate.call(self.program, "quantize", str(sent), "-o", str(wire), "--force", "--quiet", "--seed", seed, *options)
        evaluate.call(self.program, "decompress", str(wire), "-o", str(received), "--force", "--quiet")
        values = load_file(received)["gradient"]
        uncoded = Uncoded(self.levels, self.bucket, self.norm)(gradient, step, worker)
        self.messages += 1
        self.different += values.tobytes() != uncoded.tobytes()
        self.bytes += wire.stat().st_size
        self.elements += len(gradient)
        return values


class Uncoded:
    """A channel: the same quantizer in numpy, and nothing coded."""

    def __init__(self, levels: int, bucket: int, norm: str) -> None:
        self.levels, self.bucket, self.norm = levels, bucket, norm

    def __call__(self, gradient: np.ndarray, step: int, worker: int) -> np.ndarray:
        from gradients import qsgd

        seed = qsgd.tensor_seed(message_seed(step, worker))
        values, scales = qsgd.quantize(gradient, self.levels, self.bucket, self.norm, seed)
        return qsgd.dequantize(values, scales, self.levels, self.bucket)


def message_seed(step: int, worker: int) -> int:
    return step * WORKERS + worker


def converge(program: Path, found: dict[Any, Any], steps: int, folder: Path) -> list[dict[str, Any]]:
    """The same training with plain gradients, with quantized ones, and with quantized ones that are coded."""
    from gradients import train

    results = []
    for model, kind, where in CONVERGING:
        name, source = found[kind, where]
        coder = Program(program, folder, 4, 512, "max")
        plain: train.Channel = lambda gradient, step, worker: gradient
        runs = (
            ("fp32", plain, False, SEED),
            # Other starts and batches: how much chance decides.
            ("fp32, another seed", plain, False, SEED + 1),
            (NOT_CODED, Uncoded(4, 512, "max"), True, SEED),
            ("QSGD 4, 512, max, feedback, by huffwire", coder, True, SEED),
            ("QSGD 4, 512, max, no feedback", Uncoded(4, 512, "max"), False, SEED),
            ("QSGD 16, 512, max, feedback", Uncoded(16, 512, "max"), True, SEED),
            ("QSGD 16, 512, feedback", Uncoded(16, 512, "l2"), True, SEED),
            ("QSGD 4, 512, no feedback", Uncoded(4, 512, "l2"), False, SEED),
            ("QSGD 4, 512, feedback", Uncoded(4, 512, "l2"), True, SEED),
        )
        losses: dict[str, list[float]] = {}
        for title, channel, feedback, seed in runs:
            run = train.train_distributed(model, source, steps, WORKERS, channel, feedback, seed)
            losses[title] = run.losses
            result = {
                "model": model, "data": name, "run": title, "losses": run.losses, "seconds": run.seconds,
                "first_loss": run.losses[0], "last_loss": evaluate.mean(run.losses[-evaluate.LAST :]),
                "memory": run.memory, "diverged": run.diverged,
            }
            if channel is coder:
                result["identical_to"] = run.losses == losses[NOT_CODED]
                result["bits"] = 8 * coder.bytes / coder.elements
                result["messages"], result["different"] = coder.messages, coder.different
            results.append(result)
            end = f"diverged at step {run.diverged}" if run.diverged else f"loss {result['last_loss']:.4f}"
            print(f"{model} on {name}, {title}: {end}, {run.seconds:.0f} s", flush=True)
    return results


# --- the whole ----------------------------------------------------------------------------------------------


def versions(program: Path) -> dict[str, str]:
    from importlib.metadata import version

    found = {name: version(name) for name in ("torch", "numpy", "scikit-learn")}
    found["python"] = platform.python_version()
    found["huffwire"] = evaluate.call(program, "--version").strip().removeprefix("huffwire ")
    return found


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(arguments.threads)
    program = arguments.huffwire or peers.build()
    began = time.perf_counter()
    report: dict[str, Any] = {
        "cpu": peers.processor(), "versions": versions(program), "quick": arguments.quick, "threads": arguments.threads,
        "busy": peers.busy(), "sources": [],
    }
    names = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    print(f"{report['cpu']}\n{names}")
    if report["busy"]:
        print(f"warning: {report['busy'].partition(':')[0]}: speeds are too low", file=sys.stderr)
    grid = [choice for choice in evaluate.GRID if not arguments.quick or choice.name in QUICK_GRID]
    with tempfile.TemporaryDirectory(prefix="huffwire-gradients-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = sources(arguments)
        report["sources"] = [source.source for _, source in found.values()]
        print("\n".join(report["sources"]), flush=True)
        trainings = train_all(arguments, found, folder)
        report["trainings"] = [describe(one) for one in trainings]
        report["coded"] = code_all(program, trainings, grid, arguments.quick)
        report["coded"] += code_extra(program, arguments.extra, grid, folder)
        report["baselines"] = baselines_of(trainings, report["coded"])
        report["drift"] = drift_of(trainings)
        report["convergence"] = converge(program, found, arguments.convergence_steps, folder)
    report["seconds"] = time.perf_counter() - began
    return report


def steps_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 4:
        raise argparse.ArgumentTypeError("at least 4 are needed")
    return int(text)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, the late gradients only, fewer quantizers")
    parser.add_argument("--cifar10", type=Path, metavar="FOLDER",
                        help="CIFAR-10's binary files, in the place of scikit-learn's digits")
    parser.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE",
                        help="plain text, in the place of the sources of Python's library")
    parser.add_argument("--extra", type=Path, nargs="+", default=[], metavar="FILE",
                        help="safetensors with gradients of other trainings, coded too")
    parser.add_argument("--steps", type=steps_number, metavar="N",
                        help=f"steps of each training [default: {FULL_STEPS}, quick: {QUICK_STEPS}]")
    parser.add_argument("--convergence-steps", type=steps_number, metavar="N",
                        help=f"steps of the runs that show convergence [default: {FULL_CONVERGENCE}, quick: {QUICK_CONVERGENCE}]")
    parser.add_argument("--threads", type=peers.count, default=1,
                        help="threads of PyTorch; on a busy machine more are slower [default: %(default)s]")
    parser.add_argument("--huffwire", type=Path, metavar="PATH", help="the program [default: built from this checkout]")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the dumped gradients there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--plot", type=Path, nargs="?", const=peers.ROOT / "docs" / "figures", metavar="FOLDER",
                        help="draw the report, as plot.py does [default folder: docs/figures]")
    parsed = parser.parse_args(arguments)
    parsed.steps = parsed.steps or (QUICK_STEPS if parsed.quick else FULL_STEPS)
    parsed.convergence_steps = parsed.convergence_steps or (QUICK_CONVERGENCE if parsed.quick else FULL_CONVERGENCE)
    return parsed


def verdicts(report: dict[str, Any]) -> list[str]:
    """What must hold, and does not."""
    broken = [f"below Shannon's bound: {text}" for text in evaluate.broken_bounds(report)]
    for one in report["baselines"]:
        # The stream begins with a count.
        if not 0 <= one["omega"] - one["pairs"] <= 8:
            broken.append(f"{evaluate.where(one)}: omega takes {one['omega']} bytes, numpy says {one['pairs']:.0f}")
    for one in report["convergence"]:
        if one.get("identical_to") is False:
            broken.append(f"{one['model']}: coding changed a loss")
        if one.get("different"):
            broken.append(f"{one['model']}: {one['different']} of {one['messages']} messages came back different")
    return broken


def main() -> int:
    arguments = parse_arguments()
    # Threads that wait must not spin where others work.
    peers.ensure_environment({"OMP_WAIT_POLICY": "PASSIVE"}, ENVIRONMENT)
    report = study(arguments)
    tables = evaluate.tables(report)
    print()
    for table in tables:
        print(table.plain() + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(report) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(table.markdown() for table in tables))
    if arguments.plot:
        from gradients import plot

        for path in plot.draw(report, arguments.plot):
            print(f"wrote {path}")
    broken = verdicts(report)
    messages = sum(one.get("messages", 0) for one in report["convergence"])
    print(f"{report['seconds']:.0f} s; {messages} messages through the program in training")
    if broken:
        print("\n".join(broken))
    else:
        print("Coding changed no loss, no message came back different, no stream is below its bound.")
    return int(bool(broken))


if __name__ == "__main__":
    peers.run(main)
