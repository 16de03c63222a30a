"""Tables of a report, for terminals and for docs/collectives.md.

A report is what slow_wire.py writes as JSON. `schema_version` tells what is in it:

1: `date`, `machine`, `versions`, `short`, `plan` (see planning.plan), and `runs`. A run has `wire`, `rate` (bits a second
   each way, or null), `delay` (seconds one way), `ranks`, `others` (the part of the processors that other programs used before
   it), `notes`, `transports`, `took` (seconds) and `cases`; where collectives ran, `agreed` (planning.figures) and `data`. A
   case has `what` and, by their names, `contenders`. A contender has `seconds` (the slowest rank's, for each round) and
   `sent_bytes` (of all ranks together, by the counters of their interfaces), and more where it applies: `chose`, `loss`,
   `losses`, `equal`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import peers
from wire.planning import step
from wire.quantities import median, median_interval, milliseconds, percent, quartiles, size_name

SCHEMA_VERSION = 1
# From this part of the processors on, other programs count as having disturbed a run.
BUSY = 0.1

Table = tuple[Sequence[str], list[Sequence[str]]]
Case = dict[str, Any]
Run = dict[str, Any]


def as_json(found: dict[str, Any]) -> str:
    """JSON in which lists of numbers take one line each, and so do small objects."""
    text = json.dumps(found, indent=1)
    text = re.sub(r"\[[^\[\]{}\"]*\]", _one_line, text)
    return re.sub(r"\{[^\[\]{}]{1,400}\}", _one_line, text) + "\n"


def _one_line(match: re.Match) -> str:
    return " ".join(match[0].split())


def markdown(table: Table) -> str:
    headings, rows = table
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def typical(contender: dict[str, Any]) -> float:
    """Its median seconds."""
    return median(contender["seconds"])


def spread(contender: dict[str, Any]) -> str:
    """Milliseconds: the median, and half of what the middle half of the rounds spans."""
    low, high = quartiles(contender["seconds"])
    return f"{milliseconds(typical(contender))} ± {milliseconds((high - low) / 2)}"


def faster(case: Case, name: str, than: str) -> float:
    """How many times as fast a contender is, by medians."""
    return typical(case["contenders"][than]) / typical(case["contenders"][name])


def fewer(case: Case, name: str, than: str) -> float:
    """How many times fewer bytes a contender sends."""
    return case["contenders"][than]["sent_bytes"] / case["contenders"][name]["sent_bytes"]


def cases(run: Run, what: str, **having: Any) -> list[Case]:
    found = [case for case in run["cases"] if case["what"] == what]
    return [case for case in found if all(case.get(key) == value for key, value in having.items())]


def transports(run: Run) -> list[str]:
    """Suffixes of the names of contenders, by transport."""
    return ["" if transport == "gloo" else f", {transport}" for transport in run["transports"]]


def collectives(run: Run, suffix: str = "") -> Table:
    """Times of collectives over one transport."""
    headings = ("collective", "size", "gloo, ms", "raw pieces, ms", "coded, ms", "coded: times as fast as gloo", "as raw pieces",
                "times fewer bytes", "auto, ms (what it chose)")
    rows = []
    for case in cases(run, "collective"):
        all_ = case["contenders"]
        raw, coded, auto = (f"{name}{suffix}" for name in ("raw pieces", "coded", "auto"))
        rows.append((
            case["collective"],
            size_name(case["bytes"]),
            spread(all_["gloo"]),
            spread(all_[raw]),
            spread(all_[coded]),
            f"**{faster(case, coded, 'gloo'):.2f}**",
            f"{faster(case, coded, raw):.2f}",
            f"{fewer(case, coded, 'gloo'):.2f}",
            f"{spread(all_[auto])} ({all_[auto]['chose']})",
        ))
    return headings, rows


def steps(case: Case) -> Table:
    """Times of training steps."""
    stock = "stock PyTorch"
    headings = ("contender", "step, ms", "times as fast", "MB sent by all ranks", "times fewer bytes", "loss of the last step", "")
    rows = []
    for name, one in case["contenders"].items():
        alone = "loss" not in one
        rows.append((
            f"`{name}`" if "_" in name or "." in name else name,
            spread(one),
            f"{faster(case, name, stock):.2f}",
            "" if alone else f"{one['sent_bytes'] / 1e6:.3g}",
            "" if alone else f"{fewer(case, name, stock):.2f}",
            "" if alone else f"{one['loss']:.4f}",
            "the same bits as stock PyTorch" if one.get("equal") else "",
        ))
    return headings, rows


def loopback(run: Run) -> Table:
    """What `auto` takes to what gloo takes, by pairs of one round."""
    headings = ("collective", "size", "rounds", "gloo, ms", "auto chose", "auto / gloo", "gloo again / gloo")
    rows = []
    for case in cases(run, "loopback"):
        gloo = case["contenders"]["gloo"]
        rows.append((
            case["collective"],
            size_name(case["bytes"]),
            str(len(gloo["seconds"])),
            milliseconds(typical(gloo)),
            case["contenders"]["auto"]["chose"],
            ratio(case, "auto"),
            ratio(case, "gloo again"),
        ))
    return headings, rows


def pairs(case: Case, name: str) -> list[float]:
    """A contender's seconds to gloo's, round by round."""
    both = zip(case["contenders"][name]["seconds"], case["contenders"]["gloo"]["seconds"], strict=True)
    return [mine / gloo for mine, gloo in both]


def ratio(case: Case, name: str) -> str:
    ratios = pairs(case, name)
    low, high = median_interval(ratios)
    return f"{median(ratios):.3f} ({low:.3f} to {high:.3f})"


def losses(run: Run) -> Table:
    """Where trainings with several seeds end."""
    headings = ("contender", "mean loss", "smallest and largest of the seeds", "mean distance to stock PyTorch, same seed")
    rows = []
    for case in cases(run, "loss"):
        stock = case["contenders"]["stock PyTorch"]["losses"]
        for name, one in case["contenders"].items():
            found = one["losses"]
            distance = sum(abs(a - b) for a, b in zip(found, stock, strict=True)) / len(found)
            rows.append((
                f"`{name}`" if "_" in name else name,
                f"{sum(found) / len(found):.4f}",
                f"{min(found):.4f} to {max(found):.4f}",
                f"{distance:.4f}",
            ))
    return headings, rows


def check_of_model(runs: Sequence[Run]) -> Table:
    """Predicted to measured seconds of collectives over gloo, one number for each size."""
    headings = ("wire", "ranks", "collective", "sizes, MiB", "gloo", "raw pieces", "coded")
    rows = []
    for run in runs:
        for name in sorted({case["collective"] for case in cases(run, "collective")}):
            found = cases(run, "collective", collective=name)
            ratios = [predictions(case) for case in found]
            rows.append((run["wire"], str(run["ranks"]), name, ", ".join(f"{case['bytes'] / 2**20:g}" for case in found),
                         *(", ".join(f"{each[way]:.2f}" for each in ratios) for way in ("gloo", "raw pieces", "coded"))))
    return headings, rows


def predictions(case: Case) -> dict[str, float]:
    """Predicted to measured seconds of a collective, by contender."""
    names = {"gloo": "plain", "raw pieces": "raw", "coded": "coded"}
    predicted = case["predicted_seconds"]
    return {name: predicted[way] / typical(case["contenders"][name]) for name, way in names.items()}


def step_predictions(case: Case) -> Iterator[tuple[str, float, float, float]]:
    """Of a contender of DDP or FSDP2: its name, and seconds with full overlap, without overlap, and measured."""
    compute = typical(case["contenders"]["no communication"])
    lossless = "lossless_hook, coded" if case["what"] == "ddp" else "huffwire.fsdp, coded"
    for name, way in (("stock PyTorch", "plain"), (lossless, "coded")):
        seconds = case["predicted_seconds"][way]
        yield name, step(compute, seconds, 1), step(compute, seconds, 0), typical(case["contenders"][name])


def check_of_steps(runs: Sequence[Run]) -> Table:
    """Predicted and measured seconds of training steps."""
    headings = ("wire", "ranks", "step", "contender", "full overlap, ms", "no overlap, ms", "measured, ms")
    rows = []
    for run in runs:
        for case in (case for case in run["cases"] if case["what"] in ("ddp", "fsdp")):
            for name, shortest, longest, measured in step_predictions(case):
                rows.append((run["wire"], str(run["ranks"]), f"{case['what'].upper()} {case['dtype']}",
                             f"`{name}`" if "_" in name or "." in name else name,
                             *map(milliseconds, (shortest, longest, measured))))
    return headings, rows


def heading(run: Run) -> str:
    """`1 Gbit/s, 2 ranks`."""
    delay = f", {milliseconds(run['delay'])} ms of delay" if run["delay"] else ""
    return f"{run['wire']}, {run['ranks']} ranks{delay}"


def text(run: Run) -> str:
    """All tables of a run, for a terminal."""
    parts = [f"== {heading(run)} ({run['took']:.0f} s)"]
    parts += [f"note: {note}" for note in run["notes"]]
    if run["others"] > BUSY:
        parts.append(f"note: other programs used {percent(run['others'])} of the processors")
    if "agreed" in run:
        agreed = run["agreed"]
        parts.append(f"the ranks measured {agreed['bytes_per_second'] * 8e-9:.3g} Gbit/s both ways, {agreed['latency'] * 1e6:.0f} "
                     f"us, encoding {agreed['encode'] / 1e9:.3g} GB/s, decoding {agreed['decode'] / 1e9:.3g} GB/s")
    tables: list[tuple[str, Callable[[], Table]]] = []
    if cases(run, "collective"):
        for transport, suffix in zip(run["transports"], transports(run), strict=True):
            tables.append((f"collectives over {transport}", lambda suffix=suffix: collectives(run, suffix)))
    for case in run["cases"]:
        if case["what"] in ("ddp", "fsdp"):
            name = f"{case['what'].upper()}, {case['dtype']}, {case['parameters'] / 1e6:.1f} million parameters"
            tables.append((name, lambda case=case: steps(case)))
    if cases(run, "loopback"):
        tables.append(("auto beside gloo", lambda: loopback(run)))
    if cases(run, "loss"):
        tables.append((f"losses after {cases(run, 'loss')[0]['steps']} steps", lambda: losses(run)))
    for name, table in tables:
        headings, rows = table()
        plain = [[cell.replace("**", "").replace("`", "") for cell in row] for row in rows]
        parts.append(f"\n{name}\n{peers.table(headings, plain)}")
    return "\n".join(parts)


def plan_of_calls(plan: dict[str, Any]) -> Table:
    """Collectives on links and with ranks that no single machine has."""
    headings = ("collective", "link, Gbit/s", "ranks", "plain, ms", "coded with one core, ms", "times as fast",
                "cores from which coding pays", "cores that keep up with the link")
    rows = []
    for call in plan["calls"]:
        rows.append((call["collective"], str(call["gbit"]), str(call["ranks"]), milliseconds(call["plain_seconds"]),
                     milliseconds(call["coded_seconds"]), f"{call['plain_seconds'] / call['coded_seconds']:.2f}",
                     str(call["cores_to_pay"] or "none"), str(call["cores_to_keep_up"] or "none")))
    return headings, rows


def plan_of_steps(plan: dict[str, Any]) -> Table:
    """A training step, from the model of its communication and from how much of it hides behind computing."""
    steps_ = plan["steps"]
    cores = list(steps_["rows"][0]["coded_seconds"])
    headings = ("link, Gbit/s", "overlap", "plain, s", *(f"coded, {count} core{'s' * (count != '1')}, s" for count in cores),
                "times as fast")
    rows = []
    for each in steps_["rows"]:
        for overlap, name in ((0, "none"), (1, "full")):
            plain = step(steps_["compute"], each["plain_seconds"], overlap)
            coded = [step(steps_["compute"], each["coded_seconds"][count], overlap) for count in cores]
            rows.append((str(each["gbit"]), name, f"{plain:.2f}", *(f"{seconds:.2f}" for seconds in coded),
                         ", ".join(f"{plain / seconds:.2f}" for seconds in coded)))
    return headings, rows
