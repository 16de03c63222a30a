#!/usr/bin/env python3
"""Draws the diagrams of the documentation: SVG files beside this script.

    python3 docs/figures/diagrams.py

Needs the standard library alone. The same script makes the same bytes; `benches/test_diagrams.py` compares them
with the files. Numbers in the diagrams of bits and lanes are computed here from the worked example of
`docs/format.md`, section 10.

A diagram is 400 units wide and has no letters below 12 units, so that it can be read on a phone. It has a background
of its own, light or dark as the reader's system asks for.
"""

from __future__ import annotations

import struct
from html import escape
from pathlib import Path
from typing import Callable

FOLDER = Path(__file__).resolve().parent
WIDTH = 400
MARGIN = 14

# --- the worked example of docs/format.md, section 10 -------------------------------------------------------

BOOK_BASE = 96
# Code lengths by slot; 62 is the escape, 63 the exact zero.
BOOK_LENGTHS = {30: 2, 31: 2, 32: 3, 33: 4, 34: 5, 35: 6, 36: 7, 62: 7, 63: 2}
VALUES = {
    33: 1.5 * 2**73,
    5: 1.0,
    40: -0.75,
    97: 48.0,
    100: 3.0,
    161: -1.5 * 2**-90,
    150: 1.5,
    195: -56.0,
    199: 0.8125,
}
UNITS = 200
LANES = 64
WORD_BITS = 8


def bf16_bits(value: float) -> int:
    """The 16 bits of a value that bf16 holds exactly."""
    return struct.unpack("<I", struct.pack("<f", value))[0] >> 16


def rotated(bits: int) -> int:
    """A 16-bit unit rotated to the left by one bit: the exponent on top, the sign at the bottom."""
    return (bits << 1 & 0xFFFF) | bits >> 15


def interleaved(units: int, unit_bytes: int) -> list[int]:
    """The numbers of the units in the order of a plane (section 3.1)."""
    order = []
    for start in range(0, units - 63, 64):
        order += [start + (p % unit_bytes) * (64 // unit_bytes) + p // unit_bytes for p in range(64)]
    return order + list(range(len(order), units))


def canonical(lengths: dict[int, int]) -> dict[int, tuple[int, int]]:
    """Code and length by slot (section 4.3)."""
    codes, code = {}, 0
    for length in range(1, 9):
        for slot in sorted(lengths):
            if lengths[slot] == length:
                codes[slot] = (code, length)
                code += 1
        code *= 2
    return codes


def encode_lanes(
    lengths: dict[int, int], slots: list[int], carried: list[int]
) -> tuple[list[int], list[tuple[int, int, int]]]:
    """The states of the lanes, and the stream as (word, step, lane) in its stored order (section 6)."""
    codes = canonical(lengths)
    v = [carried[lane] + 256 * carried[64 + lane] for lane in range(LANES)]
    n = [16] * LANES
    stream = []
    for step in reversed(range((len(slots) + LANES - 1) // LANES)):
        for lane, slot in enumerate(slots[LANES * step : LANES * (step + 1)]):
            code, length = codes[slot]
            if n[lane] + length >= 16 + WORD_BITS:
                stream.append((v[lane] % 2**WORD_BITS, step, lane))
                v[lane] //= 2**WORD_BITS
                n[lane] -= WORD_BITS
            v[lane] += code << n[lane]
            n[lane] += length
    return [(1 << n[lane]) + v[lane] for lane in range(LANES)], stream


def example() -> tuple[list[int], list[int]]:
    """The slots of plane 0, and the bytes of the remainder, of the worked example."""
    slots, remainder = [], []
    for unit in interleaved(UNITS, 2):
        r = rotated(bf16_bits(VALUES.get(unit, 0.0)))
        if r == 0:
            slots.append(63)
            continue
        slot = ((r >> 8) - BOOK_BASE) % 256
        slots.append(slot if slot in BOOK_LENGTHS and slot < 62 else 62)
        remainder.append(r & 0xFF)
    return slots, remainder


# --- drawing ------------------------------------------------------------------------------------------------

# Class: (property, light, dark). Classes of one letter are fills of boxes.
COLOURS = {
    "back": ("fill", "#ffffff", "#0d1117"),
    "text": ("fill", "#1f2328", "#e6edf3"),
    "soft": ("fill", "#57606a", "#9da7b1"),
    "line": ("stroke", "#57606a", "#9da7b1"),
    "edge": ("stroke", "#57606a", "#9da7b1"),
    "tip": ("fill", "#57606a", "#9da7b1"),
    "a": ("fill", "#cde2fb", "#17395f"),
    "b": ("fill", "#ffdfba", "#5c3607"),
    "c": ("fill", "#cdeed4", "#12462c"),
    "d": ("fill", "#e5daf9", "#41306b"),
    "n": ("fill", "#eef1f4", "#262c34"),
}


def style() -> str:
    def rules(place: int) -> str:
        return "".join(f".{name}{{{row[0]}:{row[place]}}}" for name, row in COLOURS.items())

    fonts = "text{font:13px system-ui,'Segoe UI','DejaVu Sans',sans-serif}.s{font-size:12px}.bold{font-weight:600}"
    mono = ".m{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
    lines = ".line{fill:none;stroke-width:1.2}.edge{stroke-width:.8}.dash{stroke-dasharray:3 3}"
    return f"{fonts}{mono}{lines}{rules(1)}@media(prefers-color-scheme:dark){{{rules(2)}}}"


class Picture:
    """Shapes in the order in which they are drawn; `y` is where the next row begins."""

    def __init__(self, title: str, description: str) -> None:
        self.title, self.description = title, description
        self.shapes: list[str] = []
        self.y = 0.0

    def text(self, x: float, y: float, words: str, kind: str = "text", anchor: str = "start") -> None:
        at = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.shapes.append(f'<text class="{kind}" x="{x:g}" y="{y:g}"{at}>{escape(words, quote=False)}</text>')

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, words: str = "", kind: str = "text"
    ) -> None:
        self.shapes.append(
            f'<rect class="{fill} edge" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>'
        )
        if words:
            self.text(x + width / 2, y + height / 2 + 4.5, words, kind, "middle")

    def line(self, *points: tuple[float, float], dash: bool = False, arrow: bool = False) -> None:
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        self.shapes.append(f'<path class="line{" dash" if dash else ""}" d="{path}"/>')
        if arrow:
            (x0, y0), (x, y) = points[-2:]
            dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
            base = (
                f"{x - 7 * dx - 4 * dy:g} {y - 7 * dy - 4 * dx:g}L{x - 7 * dx + 4 * dy:g} {y - 7 * dy + 4 * dx:g}"
            )
            self.shapes.append(f'<path class="tip" d="M{x:g} {y:g}L{base}Z"/>')

    def paragraph(self, *lines: str, kind: str = "text", x: float = MARGIN) -> None:
        """Lines of text below what was drawn last; the caller breaks them."""
        for words in lines:
            self.y += 17
            self.text(x, self.y, words, kind)
        self.y += 7

    def svg(self) -> str:
        height = self.y + 8
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
            ' role="img" aria-labelledby="title desc">'
        )
        return "\n".join(
            [
                head,
                f'<title id="title">{escape(self.title, quote=False)}</title>',
                f'<desc id="desc">{escape(self.description, quote=False)}</desc>',
                f"<style>{style()}</style>",
                f'<rect class="back" width="{WIDTH}" height="{height:g}" rx="6"/>',
                *self.shapes,
                "</svg>\n",
            ]
        )


# --- the diagrams -------------------------------------------------------------------------------------------


def planes() -> Picture:
    """The bits of a bf16 value, and the two planes that they go to."""
    value = -0.75
    bits = bf16_bits(value)
    picture = Picture(
        "The bits of a bf16 value in two planes",
        "A bf16 value has a sign bit, 8 exponent bits and 7 mantissa bits. huffwire rotates it to the left by one bit. "
        "The upper byte is then the exponent and goes to plane 0, which is coded with a codebook. The lower byte is "
        "mantissa and sign and goes to plane 1, which is kept as it is.",
    )
    cell, left = 23, (WIDTH - 16 * 23) / 2

    def row(y: float, number: int, fills: str) -> None:
        for i in range(16):
            picture.box(left + i * cell, y, cell, 26, fills[i], str(number >> (15 - i) & 1), "text m")

    picture.paragraph(f"The bf16 value {value:g}, 0x{bits:04x}", kind="text bold")
    y = picture.y + 18
    for first, count, name in ((0, 1, "sign"), (1, 8, "exponent"), (9, 7, "mantissa")):
        picture.text(left + (first + count / 2) * cell, y - 6, name, "soft s", "middle")
    row(y, bits, "b" + "a" * 8 + "c" * 7)
    # The sign goes round to the lowest bit.
    picture.line(
        (left + cell / 2, y + 26),
        (left + cell / 2, y + 42),
        (left + 15.5 * cell, y + 42),
        (left + 15.5 * cell, y + 78),
        arrow=True,
    )
    picture.y = y + 44
    picture.paragraph(f"rotated to the left by one bit, 0x{rotated(bits):04x}", kind="text bold")
    y = picture.y + 10
    row(y, rotated(bits), "a" * 8 + "c" * 7 + "b")
    for i in (4, 12):
        picture.line((left + i * cell, y + 26), (left + i * cell, y + 48), arrow=True)
    y += 50
    half = 8 * cell
    picture.text(left, y + 14, "plane 0: exponents", "text bold")
    picture.text(left + half + 8, y + 14, "plane 1: the remainder", "text bold")
    y += 22
    several = [bf16_bits(v) for v in (value, 1.0, 3.0, 0.8125, 48.0)]
    for i, one in enumerate(several):
        r = rotated(one)
        picture.box(left + i * 32, y, 32, 26, "a", str(r >> 8), "text m")
        picture.box(left + half + 8 + i * 32, y, 32, 26, "c", f"{r & 0xFF:02x}", "text m")
    for x in (left, left + half + 8):
        picture.text(x + 5 * 32 + 4, y + 17, "…")
    picture.y = y + 28
    for i, (one, other) in enumerate(
        (("few different numbers:", "mantissa and sign,"), ("coded with a codebook", "like noise: kept as it is"))
    ):
        picture.text(left, picture.y + 16 + 16 * i, one, "soft s")
        picture.text(left + half + 8, picture.y + 16 + 16 * i, other, "soft s")
    picture.y += 36
    return picture


def interleaving() -> Picture:
    """The order of the units of a group of 64 in the planes."""
    picture = Picture(
        "The order of units in a group of 64",
        "Units of 2 bytes: two vectors hold units 0 to 31 and 32 to 63. Planes take them in turn: 0, 32, 1, 33, 2, 34, "
        "and so on to 31, 63. Units of 4 bytes: four vectors hold 16 units each. Planes take them in turn: 0, 16, 32, "
        "48, 1, 17, 33, 49, and so on to 15, 31, 47, 63.",
    )
    cell, left = 31, MARGIN
    for unit_bytes in (2, 4):
        order = interleaved(64, unit_bytes)
        share = 64 // unit_bytes
        # The first places, a gap, and the last ones.
        places: list[int | None] = [*range(8), None, *range(64 - unit_bytes, 64)]
        cell = (WIDTH - 2 * MARGIN - 18) / (len(places) - 1)
        picture.paragraph(f"Units of {unit_bytes} bytes", kind="text bold")
        for vector in range(unit_bytes):
            picture.text(
                left,
                picture.y + 12,
                f"vector {vector}: units {vector * share} to {vector * share + share - 1}",
                "soft s",
            )
            y, x = picture.y + 18, float(left)
            for place in places:
                if place is None:
                    picture.text(x + 9, y + 14, "…", "soft", "middle")
                    x += 18
                    continue
                if order[place] // share == vector:
                    picture.box(x, y, cell, 22, "abcd"[vector], str(order[place]), "text m")
                x += cell
            picture.y = y + 26
        picture.text(left, picture.y + 14, "every plane: symbols in this order", "soft s")
        y, x = picture.y + 20, float(left)
        for place in places:
            if place is None:
                picture.text(x + 9, y + 17, "…", "text", "middle")
                x += 18
                continue
            picture.box(x, y, cell, 26, "abcd"[order[place] // share], str(order[place]), "text m")
            x += cell
        picture.y = y + 30
    picture.y += 2
    return picture


def lanes() -> Picture:
    """Which symbol belongs to which lane, and where the words of a step lie in the stream."""
    slots, remainder = example()
    _, stream = encode_lanes(BOOK_LENGTHS, slots, remainder + [0] * (128 - len(remainder)))
    taken = {(step, lane) for _, step, lane in stream}
    steps = (UNITS + LANES - 1) // LANES
    fills = "bdc"
    picture = Picture(
        "Symbols in lanes and steps, and the stream",
        f"{UNITS} symbols are spread over 64 lanes: symbol i belongs to lane i mod 64, at step i / 64. Three steps are "
        "whole, the last one has 8 symbols. In each step the decoder reads one code in every lane. Lanes that then "
        "have fewer than 16 bits take a word from the end of the stream, the last lane first: lanes 7 to 0 in step "
        "0, lane 3 in step 1, lane 3 in step 2. So the stream is read backwards, and the words of a step lie in it in "
        "the order of their lanes.",
    )
    picture.paragraph("200 symbols: which lane, which step", kind="text bold")
    cell, left = 27, MARGIN + 46
    shown: list[int | None] = [*range(9), None, 62, 63]
    y = picture.y + 8
    picture.text(MARGIN, y + 8, "lane", "soft s")
    for step in range(-1, steps):
        x = float(left)
        if step >= 0:
            picture.text(MARGIN, y + 16, f"step {step}", "soft s")
        for lane in shown:
            if lane is None:
                picture.text(
                    x + 9, y + (8 if step < 0 else 15), "…" if step < steps - 1 else "", "soft s", "middle"
                )
                x += 18
                continue
            if step < 0:
                picture.text(x + cell / 2, y + 8, str(lane), "soft m", "middle")
            elif LANES * step + lane < UNITS:
                fill = fills[step] if (step, lane) in taken else "n"
                picture.box(x, y, cell, 24, fill, str(LANES * step + lane), "text m")
            x += cell
        y += 14 if step < 0 else 26
    picture.y = y
    picture.paragraph(
        "Each lane reads one code a step. Coloured: the lane is",
        "then short of bits and takes a word of the stream.",
        kind="soft s",
    )
    picture.paragraph("The stream, as it is stored", kind="text bold")
    width = (WIDTH - MARGIN - left) / len(stream)
    y = picture.y + 2
    for row, name in ((16, "byte"), (43, "lane"), (61, "step")):
        picture.text(MARGIN, y + row, name, "soft s")
    for i, (word, step, lane) in enumerate(stream):
        x = left + i * width
        picture.box(x, y, width, 26, fills[step], f"{word:02x}", "text m")
        picture.text(x + width / 2, y + 43, str(lane), "soft m", "middle")
        picture.text(x + width / 2, y + 61, str(step), "soft m", "middle")
    y += 76
    picture.line((WIDTH - MARGIN, y), (left, y), arrow=True)
    picture.y = y
    picture.paragraph(
        "The decoder takes words from the end to the start.",
        "The encoder appends them, the last step first.",
        kind="soft s",
    )
    return picture


def payload() -> Picture:
    """How the payload of a block grows, and what the lanes carry."""
    units = 65536
    picture = Picture(
        "The payload of a block is a stack",
        "A block of 128 KiB of bf16. First plane 1, 65536 bytes of mantissas and signs, is appended to the payload. Then "
        "its last 128 bytes are taken off, and the 64 lanes begin with them, 16 bits each. The lanes code plane 0, the "
        "exponents. Last, states of 192 bytes, the stream and the escapes of plane 0 are appended. A decoder goes the "
        "other way: it takes escapes, stream and states off the end, decodes the exponents, and the lanes give the 128 "
        "bytes back.",
    )
    full = WIDTH - 2 * MARGIN
    body, tail = 160, 84
    picture.paragraph("1. Plane 1, the remainder, is appended", kind="text bold")
    picture.box(MARGIN, picture.y, body, 28, "c", f"{units - 128} bytes", "text s")
    picture.box(MARGIN + body, picture.y, tail, 28, "b", "128 bytes", "text s")
    picture.y += 32
    picture.paragraph("2. Its end is taken off: 16 bits for each lane", kind="text bold")
    y = picture.y
    picture.box(MARGIN, y, body, 28, "c", f"{units - 128} bytes", "text s")
    hole = MARGIN + body + tail / 2
    picture.line(
        (MARGIN + body, y),
        (MARGIN + body + tail, y),
        (MARGIN + body + tail, y + 28),
        (MARGIN + body, y + 28),
        dash=True,
    )
    picture.line((hole, y + 14), (hole, y + 44), arrow=True)
    lane_y, lane_width, gap = y + 46, 50, 20
    start = WIDTH - MARGIN - 4 * lane_width - gap
    for i, name in enumerate(("lane 0", "lane 1", "lane 2", "lane 63")):
        at = start + i * lane_width + (gap if i == 3 else 0)
        picture.box(at, lane_y, lane_width, 26, "b", "16 bits", "text s")
        picture.text(at + lane_width / 2, lane_y + 40, name, "soft s", "middle")
    picture.text(start + 3 * lane_width + gap / 2, lane_y + 17, "…", "text", "middle")
    picture.y = lane_y + 44
    picture.paragraph("3. The lanes code plane 0, the exponents", kind="text bold")
    x = float(MARGIN)
    for width, fill, name in (
        (96, "c", f"{units - 128}"),
        (100, "b", "states: 192"),
        (100, "a", "stream"),
        (full - 296, "a", "escapes"),
    ):
        picture.box(x, picture.y, width, 28, fill, name, "text s")
        x += width
    picture.y += 30
    picture.paragraph(
        "What they made is appended. The states hold the 128",
        "bytes and 64 more, so lanes cost a block 64 bytes.",
        kind="soft s",
    )
    y = picture.y + 8
    picture.line((WIDTH - MARGIN, y), (MARGIN, y), arrow=True)
    picture.y = y
    picture.paragraph(
        "The decoder takes the parts off the end. Its lanes",
        "are left with the 128 bytes, which go back to plane 1.",
        kind="soft s",
    )
    picture.paragraph("The block", kind="text bold")
    x = float(MARGIN)
    for width, fill, name in (
        (62, "n", "layout"),
        (96, "n", "header, pl. 0"),
        (96, "n", "header, pl. 1"),
        (full - 254, "a", "payload"),
    ):
        picture.box(x, picture.y, width, 28, fill, name, "text s")
        x += width
    picture.y += 30
    return picture


def file() -> Picture:
    """The parts of a .hw file, and what tells where they are."""
    picture = Picture(
        "The parts of a .hw file",
        "From the start: a header of 16 bytes; the entries of all items, in order and without gaps; the directory; a "
        "trailer of 24 bytes. The trailer tells where the directory is. The directory names codebook sets, original "
        "files and their items, and has the length and the checksum of every entry, so that any block can be read "
        "alone.",
    )
    left, width = 76, 262
    y = 14.0
    places: dict[str, float] = {}

    def part(name: str, height: float, fill: str, lines: tuple[str, ...], offset: str = "") -> None:
        nonlocal y
        picture.box(left, y, width, height, fill)
        top = y + (height - 16 * len(lines)) / 2 + 12.5
        for i, words in enumerate(lines):
            picture.text(left + 10, top + 16 * i, words, "text bold" if i == 0 and len(lines) > 1 else "text s")
        if offset:
            picture.text(left - 8, y + 12, offset, "soft s", "end")
        places[name] = y
        y += height

    part("header", 42, "n", ("header, 16 bytes", "HUFFWIRE, version, flags"), "offset 0")
    part("first", 26, "a", ("item 0, a file's header: block 0",), "16")
    part("i1b0", 26, "c", ("item 1, a tensor: block 0",))
    part("i1b1", 26, "c", ("block 1",))
    part("i1b2", 26, "c", ("block 2",))
    part("i2k", 26, "d", ("item 2, quantized: kind header",))
    part("i2b0", 26, "d", ("block 0",))
    entries_end = y
    part(
        "directory",
        92,
        "b",
        (
            "directory",
            "codebook sets; original files; their",
            "items: names, types, shapes; the",
            "length and CRC-32C of every entry",
        ),
    )
    part(
        "trailer",
        58,
        "n",
        ("trailer, 24 bytes", "place, length and CRC-32C", "of the directory; HWDE"),
        "size - 24",
    )
    picture.text(left - 8, (places["first"] + entries_end) / 2 + 4, "entries", "text s", "end")
    # From the trailer to the directory, and from the directory to the entries.
    right, near, far = left + width, left + width + 22, left + width + 44
    picture.line(
        (right, places["trailer"] + 29),
        (near, places["trailer"] + 29),
        (near, places["directory"] + 12),
        (right + 3, places["directory"] + 12),
        arrow=True,
    )
    picture.line((right, places["directory"] + 46), (far, places["directory"] + 46), (far, places["first"] + 13))
    for name in ("first", "i1b0", "i1b1", "i1b2", "i2k", "i2b0"):
        picture.line((far, places[name] + 13), (right + 3, places[name] + 13), arrow=True)
    picture.y = y + 6
    return picture


DIAGRAMS: dict[str, Callable[[], Picture]] = {
    "bf16-planes.svg": planes,
    "interleaving.svg": interleaving,
    "lanes.svg": lanes,
    "payload.svg": payload,
    "file.svg": file,
}


def main() -> None:
    for name, draw in DIAGRAMS.items():
        (FOLDER / name).write_text(draw().svg(), encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
