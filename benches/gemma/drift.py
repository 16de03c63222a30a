"""The tables of docs/drift.md, and all sentences there that have measured numbers, made from a report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemma.regions import DocumentError, check_schema, fill, machine, number, span, training
from gemma.snapshots import TIMELINE_TOKENS
from wire.report import markdown

SCHEMA_VERSION = 1
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "drift.md"
# The regret from which the policy replaces codebooks.
_HIGH = 2.0
# Codebooks by symbol rule and name in the report, and their names in the document.
CURVES = (
    ("auto", "built-in", "built-in"),
    ("auto", "calibrated", "calibrated"),
    ("auto", "several", "several"),
    ("auto", "sampled", "sampled"),
    ("auto", "uncentred", "uncentred"),
    ("bytes", "calibrated", "bytes"),
)

Report = dict[str, Any]
Run = dict[str, Any]
Kind = dict[str, Any]


def updated(text: str, found: Report) -> str:
    """The document with everything that comes from a report."""
    check_schema(found, SCHEMA_VERSION)
    return fill(text, regions(found))


def regions(found: Report) -> Iterator[tuple[str, str]]:
    """Names and contents of all parts."""
    runs = found["runs"]
    yield "conditions", conditions(found)
    yield "most", "\n\n".join(most(run) for run in runs)
    yield "how-long", how_long(runs)
    yield "gain", gain(runs[1])
    yield "answer", answer(runs)
    yield "policy", policy(runs)


def conditions(found: Report) -> str:
    steps = found["training"]["timeline"]
    kept = f"- Kept: {len(steps)} steps, {', '.join(map(str, steps))}; of each, three layers and {TIMELINE_TOKENS} tokens."
    return "\n".join([*machine(found), *training(found["training"]), kept])


def names(run: Run) -> list[str]:
    return list(dict.fromkeys(kind["name"] for kind in run["kinds"]))


def kind_of(run: Run, name: str, symbols: str) -> Kind:
    chosen = [kind for kind in run["kinds"] if (kind["name"], kind["symbols"]) == (name, symbols)]
    if len(chosen) != 1:
        raise DocumentError(f"{name} by {symbols} is {len(chosen)} times in the run from step {run['calibrated_at']}")
    return chosen[0]


def curve(run: Run, name: str, symbols: str, codebooks: str) -> list[float | None]:
    return kind_of(run, name, symbols)["regret"].get(codebooks, [])


def known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def largest(values: list[float | None]) -> float | None:
    return max(known(values), default=None)


def most(run: Run) -> str:
    """The largest regret of each kind after a calibration."""
    table = [
        (name, *(number(largest(curve(run, name, symbols, codebooks)), ".1f") for symbols, codebooks, _ in CURVES))
        for name in names(run)
    ]
    head = (f"calibrated at step {run['calibrated_at']}: largest regret, %", *(title for *_, title in CURVES))
    return markdown((head, table))


def first_above(run: Run, values: list[float | None], bound: float) -> int | None:
    """Steps from the calibration to the first snapshot with more regret than this."""
    for step, value in zip(run["steps"], values, strict=False):
        if value is not None and value > bound:
            return step - run["calibrated_at"]
    return None


def how_long(runs: list[Run]) -> str:
    """After how many steps calibrated codebooks pass the bound of the policy, by kind."""
    table = []
    for name in names(runs[0]):
        cells = []
        for symbols in ("auto", "bytes"):
            for run in runs:
                steps = first_above(run, curve(run, name, symbols, "calibrated"), _HIGH)
                cells.append("never" if steps is None else str(steps))
        table.append((name, *cells))
    titles = [f"{title}, from step {run['calibrated_at']}" for title in ("exponents", "bytes") for run in runs]
    return markdown(((f"steps until the regret is above {_HIGH:g} %", *titles), table))


def gain(run: Run) -> str:
    """What new codebooks at every step would save beyond the built-in ones, in points of the size."""
    table = []
    for name in names(run):
        kind = kind_of(run, name, "auto")
        points = gained(kind, "built-in")
        table.append((name, kind["dtype"], span(known(kind["fresh_saving"]), ".1f"), number(sum(points) / len(points)),
                      number(max(points)), number(max(gained(kind, "calibrated")))))
    head = ("kind", "type", "fresh codebooks, % saved", "more than built-in, points: mean", "at most",
            f"more than calibrated at step {run['calibrated_at']}: at most")
    return markdown((head, table))


def gained(kind: Kind, codebooks: str) -> list[float]:
    """Points of the size that fresh codebooks save more than others, by step."""
    pairs = zip(kind["fresh_saving"], kind["saving"][codebooks], strict=True)
    return [fresh - saving for fresh, saving in pairs if fresh is not None and saving is not None]


def answer(runs: list[Run]) -> str:
    """How the built-in codebooks compare with fresh ones at every step: over all tensors, and where they are worst."""
    points = [value for run in runs for value in gained(run["total"], "built-in")]
    by_kind = {name: max(max(gained(kind_of(run, name, "auto"), "built-in")) for run in runs) for name in names(runs[0])}
    worst = sorted(by_kind, key=lambda name: -by_kind[name])
    over = [name for name in worst if by_kind[name] > 0.5]
    text = (f"Over all tensors of a step together, new codebooks for each kind at every step would save {span(points, '.2f')} points more "
            f"than the built-in ones. Of single kinds it is at most {number(by_kind[worst[0]])} points ({worst[0]}, at one step)")
    return text + (f", and more than half a point for {len(over)} of {len(worst)} kinds." if len(over) > 1 else ".")


def policy(runs: list[Run]) -> str:
    table = []
    for run in runs:
        for course in run["refresh"]["courses"]:
            judged = course["judged"]
            when = [str(one["step"]) for one in judged if one["refreshed"]]
            found = [one["regret_percent"] for one in judged]
            exact = known(run["total"]["regret"][course["began_with"]])
            table.append((
                str(run["calibrated_at"]), course["began_with"], str(len(judged)), *(span(each, ".2f") if each else "-" for each in (found, exact)),
                ", ".join(when) or "never",
            ))
    head = ("from step", "began with", "judgements", "regret found in samples, %", "exact regret, %", "replaced after step")
    return markdown((head, table))
