"""The tables of docs/collectives.md, and all sentences there that have measured numbers, made from a report.

The document holds them between comments, `<!-- begin NAME -->` and `<!-- end NAME -->`. So document and report cannot
differ, as a test checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wire import bounds, report
from wire.quantities import median, median_interval, percent, size_name
from wire.report import BUSY, Run, cases, faster, heading, markdown

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "collectives.md"
_REGION = re.compile(r"(<!-- begin ([\w-]+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)
# Predictions within these bounds of what was measured count as right.
_RIGHT = 0.8, 1.25


class DocumentError(Exception):
    """Document and report do not go together; the message says why."""


def updated(text: str, found: dict[str, Any]) -> str:
    """The document with everything that comes from a report."""
    if found.get("schema_version") != report.SCHEMA_VERSION:
        raise DocumentError(f"the report has schema {found.get('schema_version')}, and not {report.SCHEMA_VERSION}")
    made = dict(regions(found))
    there = [match[2] for match in _REGION.finditer(text)]
    if sorted(there) != sorted(made):
        different = ", ".join(sorted(set(there) ^ set(made))) or "one of them twice"
        raise DocumentError(f"the document has not the parts that the report makes: {different}")
    return _REGION.sub(lambda match: f"{match[1]}{made[match[2]]}\n{match[4]}", text)


def regions(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and contents of all parts."""
    runs = found["runs"]
    yield "conditions", _conditions(found)
    yield "collectives", "\n\n".join(_collectives(run) for run in runs if cases(run, "collective"))
    yield "pays", _pays(runs)
    yield "steps", "\n\n".join(_steps(run) for run in runs if cases(run, "ddp") or cases(run, "fsdp"))
    yield "bounds", _bounds(found)
    near = [run for run in runs if cases(run, "loopback")]
    yield "loopback", "\n\n".join(f"{markdown(report.loopback(run))}\n\n{_loopback(run)}" for run in near)
    yield "losses", "\n\n".join(_losses(run) for run in runs if cases(run, "loss"))
    yield "model", f"{markdown(report.check_of_model(runs))}\n\n{_wrong(runs)}"
    yield "model-of-steps", f"{markdown(report.check_of_steps(runs))}\n\n{_between(runs)}"
    plan = found["plan"]
    yield "codec", _codec(plan)
    yield "plan", f"{markdown(report.plan_of_calls(plan))}\n\n{_plan(plan)}"
    yield "plan-of-steps", markdown(report.plan_of_steps(plan))


def _conditions(found: dict[str, Any]) -> str:
    machine, versions = found["machine"], found["versions"]
    data = sorted({run["data"] for run in found["runs"] if "data" in run})
    lines = [
        f"- Date: {found['date'].replace('T', ', ').replace('Z', ' UTC')}.",
        f"- Machine: {machine['processor']}, {machine['cores']} cores that all ranks share, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}.",
        f"- Versions: huffwire {versions['huffwire']} ({versions['platform']}), PyTorch {versions['torch']}, "
        f"Python {versions['python']}.",
        f"- Data of the collectives: {'; '.join(data)}.",
    ]
    shares = [run["others"] for run in found["runs"]]
    if max(shares) > BUSY:
        span = " to ".join(dict.fromkeys(percent(share) for share in (min(shares), max(shares))))
        lines.append(f"- **The machine was busy**: other programs used {span} of its processors before the runs. Compare what stands "
                     "in one table; times are longer than on a quiet machine.")
    else:
        lines.append("- The machine did nothing else.")
    return "\n".join(lines)


def _bounds(found: dict[str, Any]) -> str:
    rows = [(about, f"{value:.2f}", f"{bound:g}", "yes" if value >= bound else "**no**") for about, value, bound in bounds.check(found)]
    rows += [(about, "not measured", f"{bound:g}", "-") for about, bound in bounds.unmeasured(found)]
    return markdown((("ratio", "measured", "at least", "holds"), rows))


def _collectives(run: Run) -> str:
    parts = [f"### {heading(run)}"]
    agreed = run["agreed"]
    parts.append(f"The ranks measured {agreed['bytes_per_second'] * 8e-9:.3g} Gbit/s while both ways were in use, "
                 f"{agreed['one_way'] * 8e-9:.3g} one way, {agreed['latency'] * 1e6:.0f} microseconds of latency, and one core that "
                 f"encodes {agreed['encode'] / 1e9:.1f} and decodes {agreed['decode'] / 1e9:.1f} GB/s.")
    for transport, suffix in zip(run["transports"], report.transports(run), strict=True):
        if len(run["transports"]) > 1:
            parts.append(f"Over {transport}:")
        parts.append(markdown(report.collectives(run, suffix)))
    return "\n\n".join(parts)


def _named(found: list[dict[str, Any]]) -> str:
    """`all_reduce (1, 16 MiB), broadcast (1 MiB)`."""
    sizes: dict[str, list[int]] = {}
    for case in found:
        sizes.setdefault(case["collective"], []).append(case["bytes"])
    return ", ".join(f"{name} ({', '.join(map(size_name, all_))})" for name, all_ in sizes.items())


def _pays(runs: list[Run]) -> str:
    lines = []
    for run in runs:
        found = cases(run, "collective")
        for transport, suffix in zip(run.get("transports", ()), report.transports(run), strict=True) if found else ():
            coded = f"coded{suffix}"
            slower = [case for case in found if faster(case, coded, "gloo") < 1]
            useless = [case for case in found if faster(case, coded, "gloo") >= 1 > faster(case, coded, f"raw pieces{suffix}")]
            wrong = [case for case in found if _regret(case, suffix) > 1.15]
            where = f"- **{heading(run)}, over {transport}.** "
            where += f"Coded calls are slower than gloo's: {_named(slower)}. " if slower else "No coded call is slower than gloo's. "
            if useless:
                where += f"Pieces gain, but coding them does not: {_named(useless)}. "
            if wrong:
                where += f"`auto` takes over 15 % longer than the best of the three: {_named(wrong)}."
            else:
                where += "`auto` is within 15 % of the best of the three."
            lines.append(where)
    return "\n".join(lines)


def _regret(case: dict[str, Any], suffix: str) -> float:
    """How many times as long `auto` takes as the best contender of its transport."""
    names = ("gloo", f"raw pieces{suffix}", f"coded{suffix}")
    return max(1 / faster(case, f"auto{suffix}", name) for name in names)


def _steps(run: Run) -> str:
    parts = [f"### Steps: {heading(run)}"]
    for case in run["cases"]:
        if case["what"] in ("ddp", "fsdp"):
            name = "DistributedDataParallel" if case["what"] == "ddp" else "FSDP2, a small transformer"
            parts.append(f"{name}, {case['dtype']}, {case['parameters'] / 1e6:.1f} million parameters:")
            parts.append(markdown(report.steps(case)))
    return "\n\n".join(parts)


def _loopback(run: Run) -> str:
    left = [case for case in cases(run, "loopback") if case["contenders"]["auto"]["chose"] == "gloo"]
    if not left:
        return "`auto` left no call to gloo."
    within = [case for case in left if abs(median(report.pairs(case, "auto")) - 1) <= 0.02]
    noise = max(abs(median(report.pairs(case, "gloo again")) - 1) for case in left)
    slower = [case for case in left if median_interval(report.pairs(case, "auto"))[0] > 1]
    return (f"Of {len(left)} cases that `auto` left to gloo, {len(within)} are within 2 % of gloo by the median of all pairs. gloo in another "
            f"group differs from gloo by up to {percent(noise, 1)}. Slower beyond doubt, by an interval above 1: {len(slower) or 'none'}.")


def _losses(run: Run) -> str:
    case = cases(run, "loss")[0]
    stock = case["contenders"]["stock PyTorch"]["losses"]
    inside, outside = [], []
    for name, one in case["contenders"].items():
        mean = sum(one["losses"]) / len(one["losses"])
        (inside if min(stock) <= mean <= max(stock) else outside).append(f"`{name}`")
    inside.remove("`stock PyTorch`")
    text = f"{len(stock)} seeds, {case['steps']} steps.\n\n{markdown(report.losses(run))}\n\n"
    text += f"Mean losses between the smallest and the largest of stock PyTorch: {', '.join(inside) or 'none'}."
    return text + (f" Outside: {', '.join(outside)}." if outside else "")


def _wrong(runs: list[Run]) -> str:
    """Where the model is off, and how far."""
    ratios = [(run, case, way, ratio) for run in runs for case in cases(run, "collective")
              for way, ratio in report.predictions(case).items()]
    off = [each for each in ratios if not _RIGHT[0] <= each[3] <= _RIGHT[1]]
    text = (f"Of {len(ratios)} predictions, {len(ratios) - len(off)} are between {_RIGHT[0]} and {_RIGHT[1]} times what was measured. "
            f"The median is {median([each[3] for each in ratios]):.2f}, the smallest {min(each[3] for each in ratios):.2f}, the largest "
            f"{max(each[3] for each in ratios):.2f}.")
    if not off:
        return text
    counts: dict[str, list[int]] = {}
    for run, _, way, ratio in off:
        counts.setdefault(f"{heading(run)}, {way}", [0, 0])[ratio > 1] += 1
    return text + " Those that are off:\n\n" + "\n".join(
        f"- {name}: {short} too short, {long} too long" for name, (short, long) in counts.items())


def _between(runs: list[Run]) -> str:
    found = [each for run in runs for case in run["cases"] if case["what"] in ("ddp", "fsdp") for each in report.step_predictions(case)]
    below = sum(measured < shortest for _, shortest, _, measured in found)
    above = sum(measured > longest for _, _, longest, measured in found)
    return (f"Of {len(found)} steps, {len(found) - below - above} took a time between the two, {below} were shorter than with full overlap, "
            f"and {above} longer than without overlap.")


def _codec(plan: dict[str, Any]) -> str:
    codec = plan["codec"]
    return (f"One core of the machine above encodes {codec['encode'] / 1e9:.1f} GB/s and decodes {codec['decode'] / 1e9:.1f} GB/s of "
            f"bf16 from memory, and leaves {percent(codec['left'], 1)} of the bytes (generated weights, as `huffwire plan` measures them). "
            f"Messages have {plan['latency'] * 1e6:.0f} microseconds of latency. Tensors have {size_name(plan['bytes'])}. Coding counts as "
            f"paying where it takes {plan['margin']:g} times less time.")


def _plan(plan: dict[str, Any]) -> str:
    lines = []
    for gbit in sorted({call["gbit"] for call in plan["calls"]}):
        calls = [call for call in plan["calls"] if call["gbit"] == gbit]
        pay = [call for call in calls if call["cores_to_pay"] == 1]
        most = [call["cores_to_pay"] for call in calls]
        keep = [call["cores_to_keep_up"] for call in calls]
        one = "all" if len(pay) == len(calls) else "none" if not pay else f"{len(pay)} of {len(calls)}"
        needed = "no number of cores pays in some rows" if None in most else f"coding pays with {_range(most)}"
        full = "no number of cores keeps up in some rows" if None in keep else f"all of the saving takes {_range(keep)}"
        lines.append(f"- **{gbit} Gbit/s.** With one core coding pays in {one} of the rows; {needed}; {full}.")
    return "\n".join(lines)


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low} core{'s' * (low != 1)}" if low == high else f"{low} to {high} cores"
