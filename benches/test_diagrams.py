"""Tests of docs/figures/diagrams.py: `python3 -m unittest discover benches`."""

from __future__ import annotations

import importlib.util
import re
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
SPEC = importlib.util.spec_from_file_location("diagrams", DOCS / "figures" / "diagrams.py")
diagrams = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(diagrams)

SVG = "{http://www.w3.org/2000/svg}"


class Files(unittest.TestCase):
    def test_they_are_what_the_script_draws(self) -> None:
        for name, draw in diagrams.DIAGRAMS.items():
            stored = (diagrams.FOLDER / name).read_text(encoding="utf-8")
            self.assertEqual(stored, draw().svg(), f"{name}: run python3 docs/figures/diagrams.py")

    def test_each_is_shown_in_a_document(self) -> None:
        text = "".join(
            path.read_text(encoding="utf-8") for path in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]
        )
        shown = set(re.findall(r"!\[[^\]]+\]\((?:docs/)?figures/([^)]+)\)", text))
        self.assertEqual(set(diagrams.DIAGRAMS) - shown, set())


class Pictures(unittest.TestCase):
    def test_they_say_what_they_show(self) -> None:
        for name, draw in diagrams.DIAGRAMS.items():
            root = ElementTree.fromstring(draw().svg())
            self.assertEqual(root.get("role"), "img", name)
            named = {child.get("id"): child.text for child in root}
            for part in root.get("aria-labelledby", "").split():
                self.assertTrue(named.get(part), f"{name}: {part}")

    def test_nothing_leaves_the_picture(self) -> None:
        for name, draw in diagrams.DIAGRAMS.items():
            root = ElementTree.fromstring(draw().svg())
            _, _, width, height = map(float, root.get("viewBox", "").split())
            for box in root.iter(f"{SVG}rect"):
                right = float(box.get("x", 0)) + float(box.get("width", 0))
                bottom = float(box.get("y", 0)) + float(box.get("height", 0))
                self.assertLessEqual(right, width, name)
                self.assertLessEqual(bottom, height, name)
            for words in root.iter(f"{SVG}text"):
                # DejaVu Sans, the widest of the common fonts, has letters that are so wide on average.
                kind = words.get("class", "").split()
                letter = 7.8 if "bold" in kind else 7.3 if "m" in kind else 6.7 if "s" in kind else 7.2
                length = letter * len(words.text or "")
                x = float(words.get("x", 0))
                right = x + {"start": length, "middle": length / 2, "end": 0}[words.get("text-anchor", "start")]
                self.assertLessEqual(right, width, f"{name}: {words.text}")
                self.assertLessEqual(float(words.get("y", 0)), height, f"{name}: {words.text}")

    def test_both_schemes_have_all_colours(self) -> None:
        light, dark = diagrams.style().split("@media(prefers-color-scheme:dark)")
        for name in diagrams.COLOURS:
            self.assertIn(f".{name}{{", light)
            self.assertIn(f".{name}{{", dark)


class WorkedExample(unittest.TestCase):
    """The numbers in the diagrams are those of docs/format.md, section 10."""

    def test_stream(self) -> None:
        slots, remainder = diagrams.example()
        carried = remainder + [0] * (128 - len(remainder))
        states, stream = diagrams.encode_lanes(diagrams.BOOK_LENGTHS, slots, carried)
        format_text = (DOCS / "format.md").read_text(encoding="utf-8")
        hexadecimal = " ".join(f"{word:02x}" for word, _, _ in stream)
        self.assertIn(f"{hexadecimal}   stream, read from its end", format_text)
        self.assertIn(" ".join(f"{byte:02x}" for byte in remainder), format_text)
        for low in range(0, 24, 8):
            row = " ".join(f"{state >> low & 0xFF:02x}" for state in states[:20])
            self.assertIn(f"\n{row}\n", format_text)

    def test_order_of_units(self) -> None:
        self.assertEqual(diagrams.interleaved(64, 2)[:4], [0, 32, 1, 33])
        self.assertEqual(diagrams.interleaved(64, 4)[:6], [0, 16, 32, 48, 1, 17])
        self.assertEqual(diagrams.interleaved(200, 2)[192:], list(range(192, 200)))
        for unit_bytes in (2, 4):
            self.assertEqual(sorted(diagrams.interleaved(200, unit_bytes)), list(range(200)))


if __name__ == "__main__":
    unittest.main()
