"""What `huffwire quantize` reports, as ratios to Elias coding, and the tables of them.

Only the standard library: a report that was kept can be read anywhere.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Sequence

import peers

Record = dict[str, Any]

# The baseline of Gajjala et al.: omega over pairs of a value and its repetitions.
BASELINE = "elias-omega"
ELIAS = ("elias-gamma", "elias-delta", "elias-omega")
QSGD_ELIAS = ("qsgd-elias", "qsgd-elias-dense")
# The "up to" of Gajjala et al., over their models, data sets and quantizers.
HEADLINE = {"rlh": 5.1, "sh": 4.32, "shs": 3.8}
# The symbols of each encoder that has one code for a whole tensor: below Shannon's bound for them it cannot go.
# Bitmaps are split as often as it pays, and see more neighbours than the eight of their bound.
SYMBOLS = {"huffman": "values", "sh": "values", "rlh": "pairs", "shs": "runs", **dict.fromkeys(ELIAS, "pairs")}
SHANNON = {
    "values": "shannon_bytes", "pairs": "shannon_pairs_bytes", "runs": "shannon_runs_bytes", "bitmap": "shannon_bitmap_bytes",
}
# In the order of tables and figures.
SHOWN = ("rlh", "sh", "shs", "huffman", "bitmap", "auto")
STANDARD = "QSGD 4, 512"
# Of stochastic rounding.
SEED = 1
# Losses of single batches are noise; what is reported is the mean of so many.
LAST = 10


@dataclass(frozen=True)
class Choice:
    """A quantizer with its parameters, as the tables name it and as the program takes it."""

    name: str
    options: tuple[str, ...]
    # Whether Gajjala et al. have it: QSGD and TernGrad.
    in_paper: bool = False


def qsgd(levels: int, bucket: str, norm: str = "l2") -> Choice:
    name = f"QSGD {levels}, {bucket}" + (", max" if norm == "max" else "")
    options = ("--quantizer", "qsgd", "--levels", str(levels), "--bucket", bucket, "--norm", norm)
    return Choice(name, options, in_paper=True)


GRID = (
    *(qsgd(levels, bucket) for levels in (1, 4, 16, 127) for bucket in ("128", "512", "all")),
    qsgd(4, "512", "max"),
    Choice("TernGrad", ("--quantizer", "terngrad"), in_paper=True),
    Choice("TernGrad, no clip", ("--quantizer", "terngrad", "--clip", "none"), in_paper=True),
    Choice("natural", ("--quantizer", "natural")),
    Choice("sign", ("--quantizer", "sign")),
    Choice("top 1 %", ("--quantizer", "topk", "--keep", "0.01")),
    Choice("int8, all", ("--quantizer", "int8", "--bucket", "all")),
    Choice("int8, 512", ("--quantizer", "int8", "--bucket", "512")),
)


# --- the program --------------------------------------------------------------------------------------------


def numpy_has(name: str) -> tuple[int, int] | tuple[()] | None:
    """Levels and bucket (0: all) of a quantizer of the grid that qsgd.py has; () for natural compression."""
    if name == "natural":
        return ()
    found = re.fullmatch(r"QSGD (\d+), (\d+|all)", name)
    return (int(found[1]), 0 if found[2] == "all" else int(found[2])) if found else None


def call(program: Path, *arguments: str) -> str:
    """Standard output of the program."""
    command = [str(program), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise peers.Failure(f"{program} cannot be run: {error}") from None
    if done.returncode != 0:
        raise peers.Failure(f"`{' '.join(command)}` failed:\n{done.stderr.strip()}")
    return done.stdout


def code(program: Path, file: Path, choice: Choice) -> Record:
    """The program quantizes the file's tensors and tries every encoder; it verifies every stream by itself."""
    return condense(json.loads(call(program, "quantize", str(file), "--json", "--seed", str(SEED), *choice.options)))


def condense(report: dict[str, Any]) -> Record:
    """What is kept of a report: figures of all tensors together."""
    return {
        "elements": report["elements"],
        "tensors": len(report["tensors"]),
        "zeros_percent": report["zeros_percent"],
        "relative_error": report["relative_error"],
        "chosen": report["chosen"],
        "shannon": {symbols: report[key] for symbols, key in SHANNON.items()},
        "encoders": {
            one["name"]: {
                "coded": one["coded_bytes"], "book": one["codebook_bytes"],
                "encode": one["encode_gelem_s"], "decode": one["decode_gelem_s"],
            }
            for one in report["encoders"]
        },
    }


# --- ratios -------------------------------------------------------------------------------------------------


def size(record: Record, name: str) -> float:
    """Bytes of an encoder, codebook included; `best Elias` and `QSGD's Elias` are the smallest of their kind."""
    groups = {"best Elias": ELIAS, "QSGD's Elias": QSGD_ELIAS}
    encoders = record["encoders"]
    return min(encoders[one]["coded"] for one in groups.get(name, (name,)))


def has(record: Record, name: str) -> bool:
    """Sampling encoders leave out alphabets that are too large for them."""
    return name in record["encoders"] or name in ("best Elias", "QSGD's Elias")


def ratio(record: Record, name: str, baseline: str = BASELINE) -> float:
    """How many times smaller than the baseline."""
    return size(record, baseline) / size(record, name)


def shannon_ratio(record: Record, symbols: str = "values", baseline: str = BASELINE) -> float:
    """How many times smaller than the baseline an ideal code for these symbols would be, its book for free."""
    return size(record, baseline) / max(record["shannon"][symbols], 1e-9)


def over_shannon(record: Record, name: str) -> float:
    """The payload (the book apart) relative to Shannon's bound on the encoder's own symbols."""
    one = record["encoders"][name]
    return (one["coded"] - one["book"]) / max(record["shannon"][SYMBOLS[name]], 1e-9)


def where(record: Record) -> str:
    return f"{record['model']}, {record['data']}, step {record['step']}, {record['quantizer']}"


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def smooth(losses: Sequence[float]) -> list[float]:
    """Means of the last so many."""
    return [mean(losses[max(0, end - LAST) : end]) for end in range(1, len(losses) + 1)]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


# --- tables -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def plain(self) -> str:
        return f"{self.title}\n{peers.table(self.headings, self.rows)}"

    def markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.headings) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (self.headings, rule, *self.rows)]
        return f"**{self.title}**\n\n" + "\n".join(lines) + "\n"


def number(value: float) -> str:
    return f"{value:.2f}"


def optional(records: Sequence[Record], name: str, figure: Callable[[Record], float]) -> str:
    """The median of a figure over the records that have this encoder."""
    values = [figure(record) for record in records if has(record, name)]
    return number(median(values)) if values else "-"


def flat(report: Record) -> list[Record]:
    return [record for record in report["coded"] if record["layout"] == "flat"]


def by_quantizer(records: Sequence[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["quantizer"], []).append(record)
    return groups


def trainings_table(report: Record) -> Table:
    rows = [
        (
            one["model"], one["data"], str(one["parameters"]), str(one["steps"]), ", ".join(map(str, one["dumps"])),
            f"{one['first_loss']:.2f}", f"{one['last_loss']:.2f}", f"{one['seconds']:.0f}",
        )
        for one in report["trainings"]
    ]
    headings = ("model", "data", "parameters", "steps", "dumped", "first loss", "last loss", "s")
    return Table("What was trained", headings, rows)


def quantizer_table(report: Record) -> Table:
    rows = []
    for name, group in by_quantizer(flat(report)).items():
        rows.append(
            (
                name,
                f"{median(record['zeros_percent'] for record in group):.1f}",
                number(median(8 * size(record, BASELINE) / record["elements"] for record in group)),
                number(median(shannon_ratio(record) for record in group)),
                *(optional(group, one, lambda record, one=one: ratio(record, one)) for one in SHOWN),
                *(number(median(ratio(record, one) for record in group)) for one in ("best Elias", "QSGD's Elias")),
            )
        )
    headings = ("quantizer", "zeros %", "omega bits", "Shannon", *SHOWN, "best Elias", "QSGD's Elias")
    return Table("Times smaller than Elias omega, medians over all gradients, codebooks included", headings, rows)


def model_table(report: Record) -> Table:
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in flat(report):
        if record["quantizer"] == STANDARD:
            groups.setdefault((record["model"], record["data"]), []).append(record)
    rows = [
        (
            model, data,
            f"{median(record['zeros_percent'] for record in group):.1f}",
            number(median(shannon_ratio(record) for record in group)),
            *(optional(group, one, lambda record, one=one: ratio(record, one)) for one in SHOWN),
            *(number(median(ratio(record, one) for record in group)) for one in ("best Elias", "QSGD's Elias")),
        )
        for (model, data), group in groups.items()
    ]
    headings = ("model", "data", "zeros %", "Shannon", *SHOWN, "best Elias", "QSGD's Elias")
    return Table(f"Times smaller than Elias omega, {STANDARD}, medians over steps", headings, rows)


def step_table(report: Record) -> Table:
    """Early, in the middle, late."""
    chosen = [record for record in flat(report) if record["quantizer"] == STANDARD and record["data"] != "extra"]
    rows = []
    for place, title in enumerate(("early", "middle", "late")):
        group = []
        for one in report["trainings"]:
            steps = sorted({r["step"] for r in chosen if (r["model"], r["data"]) == (one["model"], one["data"])})
            if place < len(steps):
                wanted = (one["model"], one["data"], steps[place])
                group += [r for r in chosen if (r["model"], r["data"], r["step"]) == wanted]
        if group:
            cells = (optional(group, name, lambda record, name=name: ratio(record, name)) for name in SHOWN)
            zeros = f"{median(record['zeros_percent'] for record in group):.1f}"
            rows.append((title, zeros, number(median(shannon_ratio(record) for record in group)), *cells))
    return Table(f"The same by step, {STANDARD}", ("step", "zeros %", "Shannon", *SHOWN), rows)


def headline_table(report: Record) -> Table:
    """The claim of Gajjala et al. beside what was measured: over their quantizers, and over all."""
    rows = []
    for scope, records in scopes(report):
        for name in SHOWN:
            having = [record for record in records if has(record, name)]
            if not having:
                continue
            best = max(having, key=lambda record: ratio(record, name))
            paper = f"{HEADLINE[name]:g}" if name in HEADLINE else "-"
            own = SYMBOLS.get(name)
            rows.append(
                (
                    f"{name}, {scope}", paper, number(ratio(best, name)),
                    number(shannon_ratio(best)), number(shannon_ratio(best, own)) if own else "-",
                    number(max(ratio(record, name, "best Elias") for record in having)),
                    number(max(ratio(record, name, "QSGD's Elias") for record in having)),
                    number(median(ratio(record, name) for record in having)), where(best),
                )
            )
    headings = (
        "encoder", "Gajjala et al., up to", "here, up to", "Shannon there", "on its symbols", "to best Elias", "to QSGD's",
        "median", "where",
    )
    return Table("Times smaller than Elias omega, at most; codebooks included", headings, rows)


def scopes(report: Record) -> list[tuple[str, list[Record]]]:
    records = flat(report)
    return [("QSGD and TernGrad", [record for record in records if record["in_paper"]]), ("all", records)]


def bound_table(report: Record) -> Table:
    """RLH against Shannon on its own symbols, the book apart."""
    rows = []
    for name, group in by_quantizer(flat(report)).items():
        over = [100 * (over_shannon(record, "rlh") - 1) for record in group]
        books = [100 * record["encoders"]["rlh"]["book"] / record["encoders"]["rlh"]["coded"] for record in group]
        most = max(group, key=lambda record: over_shannon(record, "rlh"))["encoders"]["rlh"]
        rows.append(
            (
                name, number(median(over)), number(max(over)), str(most["coded"] - most["book"]),
                f"{sum(percent > 3 for percent in over)} of {len(over)}",
                f"{median(books):.1f}", f"{max(books):.1f}",
            )
        )
    headings = ("quantizer", "over %, median", "over %, most", "bytes there", "over 3 %", "book %, median", "book %, most")
    return Table("RLH over Shannon's bound for pairs, the book apart; the book's share of the stream", headings, rows)


def auto_table(report: Record) -> Table:
    """What `auto` took, and what that cost beside the smallest of all encoders."""
    rows = []
    for name, group in by_quantizer(flat(report)).items():
        taken = Counter(record["chosen"] for record in group)
        cost = {}
        for place, record in enumerate(group):
            smallest = min(one["coded"] for other, one in record["encoders"].items() if other != "auto")
            cost[place] = size(record, "auto") / smallest
        most = max(cost, key=lambda place: cost[place])
        rows.append(
            (
                name, ", ".join(f"{encoder} {times}" for encoder, times in taken.most_common()),
                f"{median(cost.values()):.3f}", f"{cost[most]:.3f}", str(int(size(group[most], "auto"))),
            )
        )
    headings = ("quantizer", "taken", "to the smallest, median", "most", "bytes there")
    return Table("What auto took, and its size beside the smallest encoder's", headings, rows)


def above_table(report: Record) -> Table:
    """Who is smaller than Shannon's bound for single values, which only symbols of several values can be."""
    rows = []
    for name in SHOWN:
        having = [record for record in flat(report) if has(record, name)]
        above = [record for record in having if size(record, name) < record["shannon"]["values"]]
        if not having:
            continue
        if not above:
            rows.append((name, f"0 of {len(having)}", "-", "-", "-"))
            continue
        best = max(above, key=lambda record: record["shannon"]["values"] / size(record, name))
        rows.append(
            (
                name, f"{len(above)} of {len(having)}", number(best["shannon"]["values"] / size(best, name)),
                "; ".join(f"{symbols} {best['shannon']['values'] / max(best['shannon'][symbols], 1e-9):.2f}"
                          for symbols in ("pairs", "runs", "bitmap")),
                where(best),
            )
        )
    headings = ("encoder", "cases", "bound / size, at most", "bound / bounds on other symbols there", "where")
    return Table("Smaller than Shannon's bound for single values", headings, rows)


def broken_bounds(report: Record) -> list[str]:
    """Payloads below Shannon's bound on their own symbols: impossible, so something would be wrong.

    Streams begin with a count of a few bytes, and a book of one symbol takes no bits: only smaller ones count.
    """
    found = []
    for record in report["coded"]:
        for name in SYMBOLS:
            if record["tensors"] == 1 and has(record, name) and over_shannon(record, name) < 0.9999:
                found.append(f"{name}: {where(record)}: {over_shannon(record, name):.4f}")
    return found


def baseline_table(report: Record) -> Table:
    """RLH as it is, its book included, against Elias omega as it might be."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in report["baselines"]:
        groups.setdefault(one["quantizer"], []).append(one)
    kinds = ("pairs", "pairs, by index", "single", "single, by index")
    rows = []
    for name, group in groups.items():
        ratios = {kind: [one[kind] / one["rlh"] for one in group] for kind in kinds}
        cells = [f"{median(ratios[kind]):.2f} ({max(ratios[kind]):.2f})" for kind in kinds]
        rows.append((name, *cells))
    headings = ("quantizer", *kinds)
    return Table("RLH, times smaller than Elias omega over other numbers: median (most), the last gradients", headings, rows)


def layout_table(report: Record) -> Table:
    """One tensor for the model, and one for each parameter, which has a book of its own."""
    pairs: dict[tuple[str, str, int], dict[str, Record]] = {}
    for record in report["coded"]:
        if record["quantizer"] == STANDARD and record["data"] != "extra":
            key = (record["model"], record["data"], record["step"])
            pairs.setdefault(key, {})[record["layout"]] = record
    rows = []
    for (model, data, step), both in pairs.items():
        if len(both) == 2:
            cells = []
            for name in ("rlh", "shs", "bitmap", "auto"):
                for layout in ("flat", "layers"):
                    one = both[layout]["encoders"][name]
                    cells.append(f"{one['coded']} ({100 * one['book'] / one['coded']:.0f} %)")
            rows.append((f"{model}, {data}, step {step}", str(both["layers"]["tensors"]), *cells))
    names = tuple(f"{name} {layout}" for name in ("rlh", "shs", "bitmap", "auto") for layout in ("flat", "layers"))
    title = f"Bytes (the books' share), {STANDARD}, as one tensor and as one for each parameter"
    return Table(title, ("gradient", "tensors", *names), rows)


def speed_table(report: Record) -> Table:
    """Fastest, for the machine may be at work; and how long a gradient of a million elements takes."""
    rows = []
    records = [record for record in flat(report) if record["elements"] >= 200_000]
    for choice in (STANDARD, "QSGD 1, all", "QSGD 16, 512", "TernGrad"):
        group = [record for record in records if record["quantizer"] == choice]
        if not group:
            continue
        for name in ("rlh", "sh", "shs", "bitmap", "auto", "elias-omega", "qsgd-elias"):
            having = [record["encoders"][name] for record in group if has(record, name)]
            if having:
                fastest = [max(one[way] for one in having) for way in ("encode", "decode")]
                middle = [median(one[way] for one in having) for way in ("encode", "decode")]
                milliseconds = [f"{1 / speed:.2f}" for speed in fastest]
                rows.append((f"{choice}: {name}", *map(number, fastest), *map(number, middle), *milliseconds))
    headings = ("quantizer: encoder", "encode G/s", "decode G/s", "median enc", "median dec", "enc ms/M", "dec ms/M")
    return Table("Speed in 10^9 elements a second, one thread: fastest and median over gradients", headings, rows)


def drift_table(report: Record) -> Table:
    rows = [
        (
            f"{one['model']}, {one['data']}", one["symbols"], f"{one['from']} to {one['to']}", f"{one['loss_percent']:.2f}",
        )
        for one in report["drift"]
        if one["loss_percent"] >= 1
    ]
    headings = ("gradient", "symbols", "step", "lost %")
    return Table(f"{STANDARD}: where an ideal code of an earlier step loses 1 % or more", headings, rows)


def drift_summary(report: Record) -> Table:
    groups: dict[tuple[str, str], list[float]] = {}
    for one in report["drift"]:
        groups.setdefault((one["symbols"], one["span"]), []).append(one["loss_percent"])
    rows = [
        (f"{symbols}, {span}", number(median(losses)), number(max(losses)), str(len(losses)))
        for (symbols, span), losses in groups.items()
    ]
    headings = ("symbols, steps", "median %", "most %", "gradients")
    return Table(f"{STANDARD}: what an ideal code of an earlier step loses", headings, rows)


def convergence_table(report: Record) -> Table:
    rows = []
    for one in report["convergence"]:
        same = one.get("identical_to")
        rows.append(
            (
                f"{one['model']}, {one['data']}: {one['run']}",
                f"{one['first_loss']:.3f}", "diverged" if one["diverged"] else f"{one['last_loss']:.4f}",
                f"{one['memory']:.2g}" if one["memory"] else "-",
                f"{one['bits']:.2f}" if one.get("bits") else "-",
                "-" if same is None else ("all equal" if same else "DIFFERENT"),
            )
        )
    headings = ("run", "first loss", "last loss", "memory / gradient", "bits an element", "losses to those not coded")
    return Table("Training with two workers", headings, rows)


def tables(report: Record) -> list[Table]:
    """All of them, as far as there is something to show."""
    makers = (
        trainings_table, headline_table, quantizer_table, model_table, step_table, bound_table, above_table, baseline_table,
        auto_table, layout_table, speed_table, drift_summary, drift_table, convergence_table,
    )
    return [table for table in (make(report) for make in makers) if table.rows]


# --- drift --------------------------------------------------------------------------------------------------


def drift_percent(old: dict[int, int], new: dict[int, int]) -> float:
    """How much longer an ideal code for `old` makes `new` than a code of its own, in percent.

    Each symbol counts half more than it was seen, so that none is impossible.
    """
    symbols = old.keys() | new.keys()
    old_total = sum(old.values()) + 0.5 * len(symbols)
    new_total = sum(new.values())
    own = cross = 0.0
    for symbol, count in new.items():
        own -= count * math.log2(count / new_total)
        cross -= count * math.log2((old.get(symbol, 0) + 0.5) / old_total)
    return 100 * (cross / own - 1) if own else 0.0
