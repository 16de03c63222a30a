"""The tables of docs/single-stage.md, and all sentences there that have measured numbers, made from a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gemma.measure import SHOWN
from gemma.regions import DocumentError, check_schema, fill, machine, number, span, training
from wire.report import markdown

SCHEMA_VERSION = 1
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "single-stage.md"

Row = dict[str, Any]
Report = dict[str, Any]


# The claims of Agrawal et al.: heading, what is compared, how it is written, and whether it holds.
CLAIMS: tuple[tuple[str, str, str, Callable[[float], bool]], ...] = (
    ("KL below 0.06 bits", "max_kl_bits", ".3f", lambda value: value < 0.06),
    ("within 0.5 % of Huffman", "over_huffman_percent", ".2f", lambda value: value <= 0.5),
    ("within 1 % of Shannon", "over_shannon_percent", ".2f", lambda value: value <= 1.0),
    ("saves 21 to 23 %", "fixed_saving_percent", ".1f", lambda value: 21.0 <= value <= 23.0),
)


def updated(text: str, found: Report) -> str:
    """The document with everything that comes from a report."""
    check_schema(found, SCHEMA_VERSION)
    return fill(text, regions(found))


def regions(found: Report) -> Iterator[tuple[str, str]]:
    """Names and contents of all parts."""
    yield "conditions", conditions(found)
    yield "paper", paper(found)
    yield "savings", savings(found)
    yield "claims", f"{claims(found)}\n\n{verdict(rows(found, 'previous', symbols='bytes'))}"
    yield "shards", more_shards(found)
    yield "age", age(found)
    yield "rules", rules(found)
    yield "adds", adds(found)
    yield "rules-over", rules_over(found)
    yield "types-tensor", types(found, "tensor")
    yield "types-block", types(found, "block")
    yield "types-claims", types_claims(found)
    yield "codes", codes(found)


def rows(found: Report, case: str, **having: Any) -> list[Row]:
    chosen = [row for row in found["rows"] if row["case"] == case]
    return [row for row in chosen if all(row[key] == value for key, value in having.items())]


def one(found: Report, case: str, **having: Any) -> Row:
    chosen = rows(found, case, **having)
    if len(chosen) != 1:
        raise DocumentError(f"{case}, {having}: {len(chosen)} rows, and not one")
    return chosen[0]


def entropy(row: Row) -> float:
    """Bits of a byte: the mean over shards."""
    return 8 * (1 - row["shannon_saving_percent"] / 100)


def conditions(found: Report) -> str:
    trained = found["training"]
    earlier, previous, measured = trained["full"]
    used = f"- Measured: step {measured}. Codebooks come from step {previous}, or from step {earlier} where a table says so."
    return "\n".join([*machine(found), *training(trained), used])


def paper(found: Report) -> str:
    """The paper's figures beside those of the two kinds that may be its own, and of all kinds."""
    everything = rows(found, "previous", symbols="bytes")
    columns = [[one(found, "previous", name=name, symbols="bytes"), found["shown"][name]] for name in SHOWN]

    def all_kinds(key: str, form: str) -> str:
        return span([row[key] for row in everything], form)

    def saved(title: str, key: str, theirs: str) -> Sequence[str]:
        return (title, theirs, *(span(lists[key], ".1f") for _, lists in columns), all_kinds(key, ".1f"))

    def over(title: str, code: str, theirs: str) -> Sequence[str]:
        key = f"over_{code}_percent"
        cells = (f"{number(row[key])}; worst shard {number(row[f'worst_{key}'])}" for row, _ in columns)
        return (title, theirs, *cells, all_kinds(key, ".2f"))

    table: list[Sequence[str]] = [
        ("entropy, bits a byte", "6.25", *(f"{entropy(row):.2f}" for row, _ in columns), span([entropy(row) for row in everything], ".2f")),
        saved("Shannon's bound, % saved", "shannon_saving_percent", "21.7 to 21.9"),
        saved("Huffman for each shard, % saved", "huffman_saving_percent", "21.3 to 21.6"),
        saved("fixed codebook, % saved", "fixed_saving_percent", "21 to 23"),
        ("KL divergence of a shard, at most", "0.06", *(number(row["max_kl_bits"], ".3f") for row, _ in columns), all_kinds("max_kl_bits", ".3f")),
        over("fixed over Huffman, %", "huffman", "0.5"),
        over("fixed over Shannon, %", "shannon", "1"),
    ]
    head = ("", "paper, FFN1 activation", *(f"here, {name}, {row['shards']} shards" for name, (row, _) in zip(SHOWN, columns, strict=True)),
            "here, all kinds")
    return markdown((head, table))


def savings(found: Report) -> str:
    table = [
        (row["name"], str(row["shards"]), str(row["values"] // row["shards"]), f"{entropy(row):.2f}",
         number(row["shannon_saving_percent"]), number(row["huffman_saving_percent"]), number(row["fixed_saving_percent"]),
         number(row["mean_kl_bits"], ".4f"), number(row["chance_kl_bits"], ".4f"))
        for row in rows(found, "previous", symbols="bytes")
    ]
    head = ("bf16 by bytes", "shards", "values a shard", "entropy, bits", "Shannon, % saved", "Huffman, % saved", "fixed, % saved",
            "KL, mean", "KL by chance")
    return markdown((head, table))


def judged(value: float | None, form: str, holds: Callable[[float], bool]) -> str:
    return "-" if value is None else f"{format(value, form)} {'yes' if holds(value) else '**no**'}"


def claims(found: Report) -> str:
    table = []
    for row in rows(found, "previous", symbols="bytes"):
        table.append((row["name"], *(judged(row[key], form, holds) for _, key, form, holds in CLAIMS)))
    return markdown((("bf16 by bytes", *(name for name, *_ in CLAIMS)), table))


def counted(chosen: Sequence[Row]) -> list[int]:
    """In how many of these kinds each claim holds."""
    return [sum(row[key] is not None and holds(row[key]) for row in chosen) for _, key, _, holds in CLAIMS]


def verdict(chosen: Sequence[Row]) -> str:
    texts = [f"*{name}* holds for {number_} of {len(chosen)}" for (name, *_), number_ in zip(CLAIMS, counted(chosen), strict=True)]
    return "Of the kinds of tensors, " + ", ".join(texts) + "."


def more_shards(found: Report) -> str:
    table = []
    for name in SHOWN:
        chosen = [row for row in found["rows"] if row["name"] == name and row["symbols"] == "bytes" and row["scaling"] is None
                  and (row["case"] == "previous" or row["case"].startswith("shards"))]
        table += [
            (name, str(row["shards"]), str(row["values"] // row["shards"]), number(row["mean_kl_bits"], ".4f"),
             number(row["max_kl_bits"], ".4f"), number(row["chance_kl_bits"], ".4f"), number(row["over_huffman_percent"]),
             number(row["over_shannon_percent"]))
            for row in sorted(chosen, key=lambda row: row["shards"])
        ]
    head = ("bf16 by bytes", "shards", "values a shard", "KL, mean", "KL, max", "KL by chance", "over Huffman, %", "over Shannon, %")
    return markdown((head, table))


_RULES = {"bytes": "bytes", "byte-planes": "byte planes", "auto": "exponents"}


def _names(found: Report, case: str) -> list[str]:
    return list(dict.fromkeys(row["name"] for row in rows(found, case)))


def age(found: Report) -> str:
    """What a codebook of an earlier step costs more, by symbol rule."""
    earlier, previous, measured = found["training"]["full"]
    head = ["over Huffman, %"]
    head += [f"{_RULES[rule]}, {steps} step{'s' * (steps != 1)} old" for rule in _RULES for steps in (measured - previous, measured - earlier)]
    table = []
    for name in _names(found, "previous"):
        cells = [one(found, case, name=name, symbols=rule)["over_huffman_percent"] for rule in _RULES for case in ("previous", "earlier")]
        table.append((name, *(number(cell) for cell in cells)))
    return markdown((head, table))


def rules(found: Report) -> str:
    """Percent saved by one codebook (or one for each plane), by symbol rule."""
    table = []
    for name in _names(found, "previous"):
        by_rule = {rule: one(found, "previous", name=name, symbols=rule) for rule in _RULES}
        cells = [number(row["fixed_saving_percent"]) for row in by_rule.values()]
        gained = by_rule["auto"]["fixed_saving_percent"] - by_rule["bytes"]["fixed_saving_percent"]
        table.append((name, *cells, number(by_rule["auto"]["builtin_saving_percent"]), f"{gained:+.2f}"))
    head = ("bf16, % saved", *_RULES.values(), "exponents, built-in", "exponents against bytes, points")
    return markdown((head, table))


def adds(found: Report) -> str:
    """What planes, centring and escapes add."""
    by_rule = {rule: {row["name"]: row for row in rows(found, "previous", symbols=rule)} for rule in _RULES}

    def gained(rule: str, than: str) -> str:
        pairs = [(by_rule[rule][name], by_rule[than][name]) for name in by_rule[rule]]
        return span([more["fixed_saving_percent"] - less["fixed_saving_percent"] for more, less in pairs], ".1f")

    def worst(rule: str) -> str:
        return number(max(row["over_huffman_percent"] for row in by_rule[rule].values()))

    def longest(rule: str) -> str:
        return span([row["longest"] for row in by_rule[rule].values()], "d")

    return "\n".join([
        f"* **Planes** add {gained('byte-planes', 'bytes')} points. One codebook for both bytes of a value gives each symbol a share of the "
        "codes that only one of the two bytes needs.",
        f"* **Centring**, and exponents whole, add {gained('auto', 'byte-planes')} points, and take away what different scales cost: the "
        f"loss to Huffman is at most {worst('auto')} %, with byte planes {worst('byte-planes')} %.",
        f"* **Escapes** allow short codes. With an escape the codes of exponents have at most {longest('auto')} bits, which are decoded "
        f"with tables of 64 entries; the longest codes of bytes have {longest('bytes')} bits.",
    ])


def rules_over(found: Report) -> str:
    """Loss to Huffman and Shannon, KL, and escapes, by symbol rule: ranges over kinds."""
    table = []
    for rule, title in _RULES.items():
        chosen = rows(found, "previous", symbols=rule)
        holds = counted(chosen)
        table.append((
            title, span([row["over_huffman_percent"] for row in chosen], ".2f"),
            span([row["over_shannon_percent"] for row in chosen], ".2f"), span([row["max_kl_bits"] for row in chosen], ".3f"),
            span([row["escape_percent"] for row in chosen], ".3f"), span([row["longest"] for row in chosen], "d"),
            *(f"{each} of {len(chosen)}" for each in holds[:3]),
        ))
    head = ("symbols", "over Huffman, %", "over Shannon, %", "KL, max, bits", "escaped, % of symbols", "longest code, bits",
            *(name for name, *_ in CLAIMS[:3]))
    return markdown((head, table))


def _types(found: Report, case: str) -> list[str]:
    return list(dict.fromkeys(row["dtype"] for row in rows(found, case) if row["dtype"] != "e8m0"))


def types(found: Report, scale: str) -> str:
    case = f"types, {scale}"
    dtypes = _types(found, case)
    table = []
    for name in _names(found, case):
        cells = []
        for dtype in dtypes:
            row = one(found, case, name=name, dtype=dtype, symbols="bytes")
            cells.append(f"{number(row['fixed_saving_percent'], '.1f')} ({number(row['over_huffman_percent'])})")
        table.append((name, *cells))
    return markdown((("% saved, fixed (over Huffman, %)", *dtypes), table))


def types_claims(found: Report) -> str:
    table = []
    for scale in ("tensor", "block"):
        case = f"types, {scale}"
        for dtype in _types(found, case):
            for rule in ("bytes", "auto"):
                chosen = rows(found, case, dtype=dtype, symbols=rule)
                if chosen:
                    holds = counted(chosen)[:3]
                    table.append((dtype, scale, rule, span([row["fixed_saving_percent"] for row in chosen], ".1f"),
                                  *(f"{each} of {len(chosen)}" for each in holds)))
    head = ("type", "scale for each", "symbols", "% saved, fixed", *(name for name, *_ in CLAIMS[:3]))
    return markdown((head, table))


def codes(found: Report) -> str:
    """One codebook for the kind, of three families of codes."""
    table = []
    for name in _names(found, "previous"):
        bf16 = one(found, "previous", name=name, symbols="bytes")
        small = one(found, "types, tensor", name=name, dtype="e4m3", symbols="bytes")
        table.append((name, *(number(row[key]) for row in (bf16, small) for key in (
            "fixed_saving_percent", "quad_length_saving_percent", "dual_length_saving_percent"))))
    head = ("% saved", "bf16: Huffman", "quad", "dual", "e4m3: Huffman", "quad", "dual")
    return markdown((head, table))
