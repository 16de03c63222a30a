"""Tests of docs/figures/terminal.py: `python3 -m unittest discover benches`."""

from __future__ import annotations

import importlib.util
import json
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("terminal", ROOT / "docs" / "figures" / "terminal.py")
terminal = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(terminal)

STEPS = json.loads(terminal.RECORD.read_text(encoding="utf-8"))


class Recording(unittest.TestCase):
    def test_the_picture_is_what_was_recorded(self) -> None:
        stored = terminal.PICTURE.read_text(encoding="utf-8")
        self.assertEqual(stored, terminal.svg(STEPS), "run python3 docs/figures/terminal.py")

    def test_these_commands_were_recorded(self) -> None:
        self.assertEqual([step["command"] for step in STEPS], list(terminal.COMMANDS), "record it again")
        for step in STEPS:
            self.assertTrue(step["output"].strip(), step["command"])
            self.assertNotIn("error", step["output"].lower())

    def test_the_front_page_shows_it(self) -> None:
        self.assertIn("](docs/figures/terminal.svg)", (ROOT / "README.md").read_text(encoding="utf-8"))


class Picture(unittest.TestCase):
    def test_every_line_is_in_it(self) -> None:
        root = ElementTree.fromstring(terminal.svg(STEPS))
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        for step in STEPS:
            for line in filter(None, map(str.rstrip, step["output"].splitlines())):
                self.assertIn(line, texts)

    def test_lines_appear_in_order(self) -> None:
        times = [when for _, _, when in terminal.lines(STEPS)]
        self.assertEqual(times, sorted(times))
        self.assertLess(times[-1], 15)

    def test_letters_of_markup_are_escaped(self) -> None:
        picture = terminal.svg([{"command": "a <b> & c", "output": "<d>"}])
        texts = [e.text for e in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
        self.assertEqual(texts, ["$ a <b> & c", "<d>"])


if __name__ == "__main__":
    unittest.main()
