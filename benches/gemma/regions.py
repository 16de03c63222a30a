"""Parts of documents that are made from measurements.

They lie between comments, `<!-- begin NAME -->` and `<!-- end NAME -->`. So document and measurement cannot differ, as tests check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

_REGION = re.compile(r"(<!-- begin ([\w-]+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)


class DocumentError(Exception):
    """Document and report do not go together; the message says why."""


def fill(text: str, regions: Iterable[tuple[str, str]]) -> str:
    """The document with these parts, which must be exactly those that it has places for."""
    made = dict(regions)
    there = [match[2] for match in _REGION.finditer(text)]
    if sorted(there) != sorted(made):
        different = ", ".join(sorted(set(there) ^ set(made))) or "one of them twice"
        raise DocumentError(f"the document has not the parts that the report makes: {different}")
    return _REGION.sub(lambda match: f"{match[1]}{made[match[2]]}\n{match[4]}", text)


def check_schema(found: dict[str, Any], wanted: int) -> None:
    if found.get("schema_version") != wanted:
        raise DocumentError(f"the report has schema {found.get('schema_version')}, and not {wanted}")


def number(value: float | None, form: str = ".2f") -> str:
    """`1.25`; `-` for nothing, and no sign before a zero."""
    if value is None:
        return "-"
    text = format(value, form)
    return text if float(text) else text.lstrip("-")


def span(values: Sequence[float], form: str) -> str:
    """`3.1 to 4.2`."""
    low, high = number(min(values), form), number(max(values), form)
    return low if low == high else f"{low} to {high}"


def machine(found: dict[str, Any]) -> list[str]:
    """When and where a report was made."""
    one, versions = found["machine"], found["versions"]
    return [
        f"- Date: {found['date'].replace('T', ', ').replace('Z', ' UTC')}.",
        f"- Machine: {one['processor']}, {one['cores']} cores{', with other programs at work' if one['busy'] else ''}. "
        "Sizes do not depend on it.",
        f"- Versions: huffwire {versions['huffwire']}, PyTorch {versions['torch']}, numpy {versions['numpy']}, Python {versions['python']}.",
    ]


def training(one: dict[str, Any]) -> list[str]:
    """What was trained, and how."""
    shape = one["shape"]
    return [
        f"- Model: {shape['layers']} layers, width {shape['width']}, {shape['heads']} heads of {shape['head_width']} for queries and one "
        f"for keys and values, FFN width {shape['hidden']}, {one['parameters'] / 1e6:.1f} million parameters.",
        f"- Training: {one['steps']} steps of {shape['sequences']} x {shape['length']} bytes of text; bf16 parameters and gradients, fp32 "
        f"master weights and moments; AdamW, learning rate {one['rate']:g} after {one['warm_up']} steps of warm-up, then half a cosine "
        f"down to a tenth. The loss went from {one['first_loss']:.2f} to {one['last_loss']:.2f} nats a byte. It took "
        f"{one['seconds'] / 60:.0f} minutes with {one['threads']} threads.",
        f"- Text: {one['text']}.",
    ]
