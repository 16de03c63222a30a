"""Tests of front_page.py: `python3 -m unittest discover benches`."""

from __future__ import annotations

import copy
import json
import re
import sys
import unittest
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import front_page  # noqa: E402

DATA = json.loads(front_page.DATA.read_text())


class Readme(unittest.TestCase):
    def test_its_numbers_are_those_of_the_file(self) -> None:
        readme = front_page.README.read_text()
        self.assertEqual(readme, front_page.written(readme, DATA), "run python3 benches/front_page.py")

    def test_no_speed_stands_outside_of_the_marks(self) -> None:
        # But for speeds of links, and of small messages, which docs/performance.md has.
        rest = front_page.BLOCK.sub("", front_page.README.read_text())
        performance = (front_page.ROOT / "docs" / "performance.md").read_text()
        for number in re.findall(r"([\d.]+) GB/s", rest):
            self.assertTrue(number == "10" or f"{number} GB/s" in performance, number)

    def test_another_number_is_written(self) -> None:
        data = copy.deepcopy(DATA)
        data["codebooks"]["saved_percent"]["weights"]["built_in"] = 12.3
        readme = front_page.README.read_text()
        self.assertIn("| **12.3** |", front_page.written(readme, data))
        with self.assertRaises(ValueError):
            front_page.written(readme.replace("numbers: peers", "numbers: friends"), data)

    def test_every_number_has_a_machine_and_a_date(self) -> None:
        for measurement in [*DATA["peers"]["measurements"], DATA["instructions"]]:
            self.assertRegex(measurement["date"], r"^\d{4}-\d\d-\d\d$")
            self.assertTrue(measurement["machine"] and measurement["program"])


class Words(unittest.TestCase):
    def test_speeds(self) -> None:
        for number, text in ((12.0, "12"), (18.6, "18.6"), (5.5, "5.5"), (0.56, "0.56"), (1.0, "1.0"), (0.041, "0.041")):
            self.assertEqual(front_page.speed(number), text)

    def test_days(self) -> None:
        self.assertEqual(front_page.day("2026-11-01"), "1 November 2026")


class Reports(unittest.TestCase):
    def report(self, **changes: Any) -> dict[str, Any]:
        names = [row["candidate"] for row in DATA["peers"]["measurements"][0]["rows"]]
        speeds = {key: {"median": 3.456, "low": 1.0, "high": 9.0} for key in ("encode_gbps", "decode_gbps")}
        rows = [{"name": name, "saving_percent": 25.04, **speeds} for name in names]
        sets = [{"name": name, "candidates": rows} for name in front_page.DATA_SETS]
        return {"bytes": 16 << 20, "cpu": "a processor", "versions": {"ZipNN": "9.9"}, "data_sets": sets} | changes

    def test_a_report_is_taken_in(self) -> None:
        data = copy.deepcopy(DATA)
        front_page.taken(data, self.report(), "2027-01-02")
        ours, zstd = data["peers"]["measurements"]
        self.assertEqual((ours["machine"], ours["date"]), ("a processor", "2027-01-02"))
        self.assertEqual(ours["rows"][0]["saved_percent"]["gradients"], 25.0)
        self.assertEqual(ours["rows"][2]["coder"], "ZipNN 9.9")
        self.assertEqual(zstd, DATA["peers"]["measurements"][1])
        page = front_page.written(front_page.README.read_text(), data)
        self.assertIn("| ZipNN 9.9 | 25.0 % | 25.0 % | 25.0 % | 3.5 GB/s | 3.5 GB/s |", page)

    def test_other_sizes_are_refused(self) -> None:
        with self.assertRaises(ValueError):
            front_page.taken(copy.deepcopy(DATA), self.report(bytes=1 << 20), "2027-01-02")


if __name__ == "__main__":
    unittest.main()
