"""The tables of docs/deltas.md, and all sentences there that have measured numbers, made from a report. One of these sentences is
in docs/checkpoints.md, too, with another one that only that guide has."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gemma.regions import DocumentError, check_schema, fill, number, span
from wire.report import markdown

SCHEMA_VERSION = 1
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "deltas.md"
# The guide that says what chains of checkpoints save.
GUIDE = DOCUMENT.with_name("checkpoints.md")
# Characters of a line of the guide.
GUIDE_WIDTH = 128
# The distance for which the guide says how many weights change.
GUIDE_APART = 20
# Steps apart in the tables that have many columns.
SHOWN_APART = (1, 8, 64)
XOR, PLANES, GAPS = "exclusive-or, zstd-1", "byte planes of it, zstd-3", "gaps and values, zstd-1"
# The share of weights that change for which the answer compares with the bounds.
SPARSE = (0.001, 0.3)

Row = dict[str, Any]
Report = dict[str, Any]


def updated(text: str, found: Report) -> str:
    """The document with everything that comes from a report."""
    check_schema(found, SCHEMA_VERSION)
    return fill(text, regions(found))


def updated_guide(text: str, found: Report) -> str:
    """The guide with the sentences about checkpoints."""
    check_schema(found, SCHEMA_VERSION)
    sentences = f"At ordinary learning rates {checkpoint_answer(found)} {changed_answer(found)}"
    filled = textwrap.fill(sentences, GUIDE_WIDTH, break_long_words=False, break_on_hyphens=False)
    return fill(text, [("chains", filled)])


def regions(found: Report) -> Iterator[tuple[str, str]]:
    """Names and contents of all parts."""
    yield "answer", answer(found)
    yield "conditions", conditions(found)
    yield "real", real(found)
    yield "share", matrix(found, share)
    yield "smaller", matrix(found, lambda row: ratio(row, row["delta_bytes"]))
    yield "coders", all_coders(found)
    yield "bits", bits(found)
    yield "blocks", blocks(found)
    yield "extremes", extremes(found)
    yield "checkpoints", checkpoints(found)
    yield "times", times(found)


# --- numbers ------------------------------------------------------------------------------------------------


def share(row: Row) -> str:
    """Percent of the words that change, three digits of it."""
    return digits(100 * row["changes"] / row["words"])


def digits(value: float) -> str:
    """Three digits without an exponent: `0.00123`, `12.0`, `1234`."""
    rounded = float(f"{value:.3g}")
    if rounded == 0:
        return "0"
    behind = max(0, 2 - math.floor(math.log10(rounded)))
    return f"{value:.{behind}f}"


def ratio(row: Row, size: int) -> str:
    """How many times smaller than the raw words."""
    return digits(row["raw_bytes"] / size)


def changed_share(row: Row) -> float:
    return row["changes"] / row["words"]


def per_change(row: Row, size_bits: float, form: str = ".2f") -> str:
    return number(size_bits / row["changes"], form) if row["changes"] else "-"


def more(size: float, than: float) -> float:
    """Percent."""
    return 100 * (size / than - 1)


def zstd_best(row: Row) -> int:
    """The smallest of the compared coders."""
    return min(row["coders"].values())


def pairs(found: Report, **having: Any) -> list[Row]:
    return [row for row in found["pairs"] if all(row[key] == value for key, value in having.items())]


def one(found: Report, **having: Any) -> Row:
    chosen = pairs(found, **having)
    if len(chosen) != 1:
        raise DocumentError(f"{having}: {len(chosen)} pairs, and not one")
    return chosen[0]


def courses(found: Report) -> list[tuple[str, float]]:
    return list(dict.fromkeys((row["optimizer"], row["rate"]) for row in found["pairs"]))


def rate_name(rate: float) -> str:
    """`1e-6`."""
    return f"{rate:.0e}".replace("e-0", "e-")


def course_name(optimizer: str, rate: float) -> str:
    return f"{optimizer}, {rate_name(rate)}"


def kinds(row: Row) -> str:
    """`5 sparse, 1 plain`."""
    return ", ".join(f"{count} {kind.replace('sparse, with densities', 'with densities')}" for kind, count in row["blocks"].items())


# --- parts --------------------------------------------------------------------------------------------------


def answer(found: Report) -> str:
    """What came out, with numbers."""
    low, high = SPARSE
    sparse = [row for row in found["pairs"] if low <= changed_share(row) <= high]
    over = [more(8 * row["delta_bytes"], row["by_exponent_bits"]) for row in sparse]
    alike = [row["alike_bits"] / row["by_exponent_bits"] for row in sparse]
    against = [zstd_best(row) / row["delta_bytes"] for row in sparse]
    lines = []
    if found["real"]:
        step = found["real"][:2]
        def smaller(name: str) -> str:
            return span([row["raw_bytes"] / row["coders"][name] for row in step], ".0f")

        lines.append(
            f"* **One step at 1e-6 in the training of another model** becomes {span([row['raw_bytes'] / row['delta_bytes'] for row in step], '.0f')} "
            f"times smaller than the weights. Byte planes of the exclusive-or with zstd-3 become {smaller(PLANES)} times smaller, gaps and values "
            f"with zstd-1 {smaller(GAPS)} times."
        )
    lines += [
        f"* **Where {100 * low:g} to {100 * high:g} % of the weights change**, a delta takes {around(over)} than the entropy given the "
        f"exponents, and is {span(against, '.2f')} times smaller than the best of the six others. A code that does not look at exponents "
        f"needs at least {span(alike, '.2f')} times the entropy given the exponents.",
        f"* **Where most weights change**, less is saved, and where all do, nothing is lost: {worst(found)}",
        f"* **Checkpoints at ordinary learning rates** gain less: {checkpoint_answer(found)}",
        f"* **Time**: {time_answer(found)}",
    ]
    return "\n".join(lines)


def around(percents: Sequence[float]) -> str:
    """`3.2 % less to 6.9 % more`."""
    low, high = min(percents), max(percents)
    return f"{-low:.1f} % less to {high:.1f} % more" if low < 0 < high else f"{span(percents, '.1f')} % more"


def worst(found: Report) -> str:
    over = worst_over_plain(found)
    if over <= 0:
        return "no delta of this study is larger than the message that needs no base."
    return f"a delta is at most {over:.3f} % larger than the message that needs no base."


def worst_over_plain(found: Report) -> float:
    rows = [*found["pairs"], *found["checkpoints"], *found["extremes"], *found["real"]]
    return max(more(row["delta_bytes"], row["plain_bytes"]) for row in rows)


def checkpoint_answer(found: Report) -> str:
    """Of a whole checkpoint, for each distance: what messages without a base save, and what deltas save."""
    texts = []
    first = found["checkpoints"][0]["training"]
    for apart in dict.fromkeys(row["apart"] for row in found["checkpoints"] if row["training"] == first):
        rows = [row for row in found["checkpoints"] if row["apart"] == apart and row["training"] == first]
        raw, plain, delta = (sum(row[key] for row in rows) for key in ("raw_bytes", "plain_bytes", "delta_bytes"))
        texts.append(f"{100 * (1 - delta / raw):.1f} % of the size {apart} step{'s' * (apart != 1)} apart "
                     f"(without a base {100 * (1 - plain / raw):.1f} %)")
    return f"deltas of weights, master weights and moments save {', '.join(texts)}."


def changed_answer(found: Report) -> str:
    """How many weights of a checkpoint are others some steps later."""
    first = found["checkpoints"][0]["training"]
    (row,) = (
        row for row in found["checkpoints"]
        if (row["training"], row["apart"], row["role"]) == (first, GUIDE_APART, "weights")
    )
    return (
        f"After {GUIDE_APART} steps {100 * changed_share(row):.1f} % of the weights are others; what still helps then is that signs "
        "and exponents stay."
    )


def time_answer(found: Report) -> str:
    """Speeds beside those of zstd-1 on the exclusive-or, pair by pair."""
    texts = []
    for row in found["times"]:
        encode, apply = (row[what][XOR] / row[what]["huffwire"] for what in ("encode", "apply"))
        texts.append(f"{encode:.2f} and {apply:.2f} where {share_of(found, row)} % change")
    return f"to encode, and to apply, deltas are so many times as fast as {XOR}: {', '.join(texts)}."


def conditions(found: Report) -> str:
    made, trained, used = found["machine"], found["training"], found["versions"]
    shape = trained["shape"]
    rates = {optimizer: ", ".join(rate_name(rate) for name, rate in courses(found) if name == optimizer) for optimizer, _ in courses(found)}
    losses = [row["loss"] for row in trained["courses"]]
    return "\n".join([
        f"- Date: {found['date'].replace('T', ', ').replace('Z', ' UTC')}.",
        f"- Machine: {made['processor']}, {made['cores']} cores{', with other programs at work' if made['busy'] else ''}; "
        f"huffwire uses {found['platform']}. Sizes do not depend on it. Everything took {found['seconds'] / 60:.0f} minutes.",
        f"- Versions: huffwire {used['huffwire']}, PyTorch {used['torch']}, numpy {used['numpy']}, Python {used['python']}, zstd {used['zstd']}.",
        f"- Model: {shape['layers']} layers, width {shape['width']}, {shape['heads']} heads of {shape['head_width']} for queries and one for "
        f"keys and values, FFN width {shape['hidden']}, {trained['parameters'] / 1e6:.2f} million parameters.",
        f"- Training that comes first: {trained['steps']} steps of {shape['sequences']} x {shape['length']} bytes of text; AdamW, learning "
        f"rates up to 0.001. The loss went from {trained['first_loss']:.2f} to {trained['last_loss']:.2f} nats a byte.",
        f"- Text: {trained['text']}.",
        f"- Courses: {'; '.join(f'{name} at {each}' for name, each in rates.items())}; {trained['before']} steps, then 64 more. "
        f"Their losses end at {span(losses, '.2f')}.",
    ])


def real(found: Report) -> str:
    if not found["real"]:
        return "This run had none."
    rows = found["real"]
    table: list[Sequence[str]] = [("weights that change, %", *(share(row) for row in rows))]
    table += [(name, *(ratio(row, row["coders"][name]) for row in rows)) for name in rows[0]["coders"]]
    table.append(("bound: all weights alike", *(digits(8 * row["raw_bytes"] / row["alike_bits"]) for row in rows)))
    table.append(("bound: by exponent", *(digits(8 * row["raw_bytes"] / row["by_exponent_bits"]) for row in rows)))
    table.append(("**huffwire**", *(f"**{ratio(row, row['delta_bytes'])}**" for row in rows)))
    table.append((f"huffwire, a message for each of {rows[0]['tensors']} tensors", *(ratio(row, row["single_bytes"]) for row in rows)))
    head = ("times smaller", *(f"{row['base']} to {row['new']}" for row in rows))
    size = rows[0]["raw_bytes"]
    return f"{markdown((head, table))}\n\nThe weights are {size / 1e6:.2f} MB."


def matrix(found: Report, cell: Any) -> str:
    """A row for each course, a column for each distance."""
    apart = list(dict.fromkeys(row["apart"] for row in found["pairs"]))
    table = [(course_name(*each), *(cell(one(found, optimizer=each[0], rate=each[1], apart=steps)) for steps in apart)) for each in courses(found)]
    return markdown((("steps apart", *map(str, apart)), table))


def shown(found: Report) -> list[Row]:
    return [one(found, optimizer=optimizer, rate=rate, apart=apart) for optimizer, rate in courses(found) for apart in SHOWN_APART]


def named(row: Row) -> tuple[str, str, str]:
    return course_name(row["optimizer"], row["rate"]), str(row["apart"]), share(row)


def all_coders(found: Report) -> str:
    """How many times smaller all coders make the weights."""
    names = list(found["pairs"][0]["coders"])
    table = [
        (*named(row), *(ratio(row, row["coders"][name]) for name in names), f"**{ratio(row, row['delta_bytes'])}**",
         ratio(row, row["plain_bytes"]))
        for row in shown(found)
    ]
    return markdown((("times smaller", "steps apart", "changed, %", *names, "huffwire", "huffwire without a base"), table))


def bits(found: Report) -> str:
    """Bits for each change."""
    table = []
    for row in shown(found):
        over = number(more(8 * row["delta_bytes"], row["by_exponent_bits"]), ".1f") if row["by_exponent_bits"] else "-"
        table.append((*named(row), per_change(row, row["alike_bits"]), per_change(row, row["by_exponent_bits"]),
                      per_change(row, 8 * row["delta_bytes"]), over, per_change(row, 8 * zstd_best(row))))
    head = ("bits for each change", "steps apart", "changed, %", "bound: all weights alike", "bound: by exponent", "huffwire",
            "huffwire over the bound by exponent, %", "best with zstd")
    return markdown((head, table))


def blocks(found: Report) -> str:
    """Which kinds of blocks the encoder chose, at the ends of each course."""
    table = []
    for optimizer, rate in courses(found):
        for apart in (SHOWN_APART[0], SHOWN_APART[-1]):
            row = one(found, optimizer=optimizer, rate=rate, apart=apart)
            table.append((*named(row), kinds(row), f"{more(row['delta_bytes'], row['plain_bytes']):+.3f}"))
    head = ("course", "steps apart", "changed, %", "blocks of the delta", "to a message without a base, %")
    return markdown((head, table))


def extremes(found: Report) -> str:
    table = [
        (row["what"], f"{row['raw_bytes'] / 2**20:.0f}", kinds(row), str(row["delta_bytes"]), digits(row["raw_bytes"] / row["delta_bytes"]),
         f"{more(row['delta_bytes'], row['plain_bytes']):+.4f}")
        for row in found["extremes"]
    ]
    return markdown((("base and new tensor", "MiB", "blocks", "bytes of the delta", "times smaller", "to a message without a base, %"), table))


def checkpoints(found: Report) -> str:
    """Percent saved, role by role."""
    def saved(row: Row, size: float) -> str:
        return number(100 * (1 - size / row["raw_bytes"]), ".1f")

    table = [
        (row["training"].replace("e-0", "e-"), str(row["apart"]), row["role"], share(row), saved(row, row["plain_bytes"]), saved(row, row["delta_bytes"]),
         saved(row, min(row["coders"].values())), saved(row, row["by_exponent_bits"] / 8) if row["by_exponent_bits"] else "-", kinds(row))
        for row in found["checkpoints"]
    ]
    head = ("% saved", "steps apart", "", "changed, %", "without a base", "delta", next(iter(found["checkpoints"][0]["coders"])),
            "bound: by exponent", "blocks of the delta")
    return markdown((head, table))


def times(found: Report) -> str:
    """Speeds, and how they compare with those of zstd-1 on the exclusive-or."""
    rows = found["times"]

    def speed(row: Row, seconds: float) -> str:
        return digits(row["bytes"] / seconds / 1e9)

    parts = []
    for what, title in (("encode", "encode, GB/s"), ("apply", "apply, GB/s")):
        head = (title, *(f"{course_name(row['optimizer'], row['rate'])}, {row['apart']} apart: {share_of(found, row)} %" for row in rows))
        table = [(name, *(speed(row, row[what][name]) for row in rows)) for name in rows[0][what]]
        parts.append(markdown((head, table)))
    size = rows[0]["bytes"] / 2**20
    busy = " Other programs used the same memory and caches meanwhile: ratios tell more than speeds." if found["machine"]["busy"] else ""
    parts.append(f"Each pair is repeated or cut to {size:.0f} MiB of weights; the fastest of {rows[0]['rounds']} rounds. Processor: "
                 f"{found['machine']['processor']}.{busy}")
    return "\n\n".join(parts)


def share_of(found: Report, row: Row) -> str:
    return share(one(found, optimizer=row["optimizer"], rate=row["rate"], apart=row["apart"]))
