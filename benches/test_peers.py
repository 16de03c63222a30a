"""What needs neither a network nor the other coders: `python3 -m unittest discover benches`."""

from __future__ import annotations

import argparse
import json
import struct
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import peers  # noqa: E402
import plot  # noqa: E402


def measured(encode: list[float], decode: list[float], coded_bytes: int) -> peers.Measured:
    return peers.Measured(encode, decode, coded_bytes)


def data_set(name: str, **ratios: float) -> dict[str, Any]:
    """A data set on which only the fast level on AVX-512 ran."""
    row = {"name": "huffwire fast avx512", **{f"{key}_to_zipnn": value for key, value in ratios.items()}}
    return {"name": name, "candidates": [row]}


# As `huffwire bench --json` prints it.
BENCH = {
    "cpu": "a processor",
    "clock_ghz": 3.0,
    "memcpy_gbps": 12.5,
    "results": [
        {"codec": "memcpy", "symbols": None, "level": None, "platform": None, "threads": 1, "checksums": False,
         "encode_gbps": 12.5, "decode_gbps": 12.4, "saving_percent": 0.0, "coded_bytes": 100},
        {"codec": "huffwire", "symbols": "auto", "level": "fast", "platform": "avx512", "threads": 1,
         "checksums": False, "encode_gbps": 4.0, "decode_gbps": 6.0, "saving_percent": 34.0, "coded_bytes": 66},
        {"codec": "huffwire", "symbols": "auto", "level": "max", "platform": "avx512", "threads": 2,
         "checksums": False, "encode_gbps": 1.5, "decode_gbps": 5.0, "saving_percent": 35.0, "coded_bytes": 65},
    ],
}


class Statistics(unittest.TestCase):
    def test_the_median_and_the_extremes(self) -> None:
        self.assertEqual(peers.Speed.of([3.0, 1.0, 2.0]), peers.Speed(2.0, 1.0, 3.0))
        self.assertEqual(peers.Speed.of([1.0, 2.0]).median, 1.5)
        self.assertEqual(str(peers.Speed(0.12345, 0.1, 12.34)), "0.123 (0.1..12.3)")

    def test_ratios_are_to_zipnn(self) -> None:
        candidates = {"ZipNN": measured([0.5, 0.4, 0.6], [1.0], 200), "other": measured([5.0], [4.0], 100)}
        zipnn, other = peers.summary(candidates, 400)
        self.assertEqual((zipnn["size_to_zipnn"], zipnn["encode_to_zipnn"]), (1.0, 1.0))
        self.assertEqual((other["size_to_zipnn"], other["encode_to_zipnn"], other["decode_to_zipnn"]), (0.5, 10.0, 4.0))
        self.assertEqual(other["saving_percent"], 75.0)

    def test_ratios_of_the_fastest_rounds(self) -> None:
        candidates = {"ZipNN": measured([0.25, 0.25, 1.0], [1.0], 200), "other": measured([3.0, 1.0, 1.0], [2.0], 100)}
        by_median = peers.summary(candidates, 400)[1]["encode_to_zipnn"]
        by_fastest = peers.summary(candidates, 400, fastest=True)[1]["encode_to_zipnn"]
        self.assertEqual((by_median, by_fastest), (4.0, 3.0))

    def test_without_zipnn_there_are_no_ratios(self) -> None:
        (row,) = peers.summary({"other": measured([5.0], [4.0], 100)}, 400)
        self.assertNotIn("size_to_zipnn", row)
        self.assertIn(" -", peers.data_set_table([row]))

    def test_a_bench_report_is_a_round_of_each_variant(self) -> None:
        rounds: dict[str, peers.Measured] = {}
        peers.add_huffwire(BENCH, rounds)
        peers.add_huffwire(BENCH, rounds)
        self.assertEqual(list(rounds), ["huffwire fast avx512", "huffwire max avx512"])
        self.assertEqual(rounds["huffwire fast avx512"], measured([4.0, 4.0], [6.0, 6.0], 66))


class Tables(unittest.TestCase):
    def test_columns_line_up(self) -> None:
        lines = peers.table(("name", "x"), [("a", "1.5"), ("longer", "10.25")]).splitlines()
        self.assertEqual(lines, ["name        x", "------  -----", "a         1.5", "longer  10.25"])


class Promises(unittest.TestCase):
    def test_bounds_include_their_ends(self) -> None:
        self.assertTrue(peers.Promise("c", "size", 1.0).holds(1.0))
        self.assertFalse(peers.Promise("c", "size", 1.0).holds(1.0001))
        self.assertTrue(peers.Promise("c", "encode", 4.0).holds(4.0))
        self.assertFalse(peers.Promise("c", "encode", 4.0).holds(3.999))

    def test_each_promise_is_checked_on_its_data_sets(self) -> None:
        checks = peers.check_promises([data_set("weights", encode=13.0, decode=5.0, size=1.01)])
        verdicts = {(check["candidate"], check["quantity"]): check["holds"] for check in checks}
        self.assertEqual(verdicts["huffwire fast avx512", "encode"], True)
        self.assertEqual(verdicts["huffwire fast avx512", "decode"], False)
        self.assertEqual(verdicts["huffwire fast avx512", "size"], True)
        self.assertIsNone(verdicts["huffwire max avx512", "size"])
        sizes = [check["bound"] for check in checks if check["candidate"] == "huffwire max avx512"]
        self.assertEqual(sizes, [4.0, 4.0, 1.002], "the bound of the other data sets does not count")

    def test_the_line_tells_what_holds(self) -> None:
        line = peers.promises_line(peers.check_promises([data_set("weights", encode=13.0, decode=5.0, size=1.01)]))
        self.assertEqual(len(line.splitlines()), 1)
        self.assertIn("2 hold: huffwire fast avx512, weights: encode >= 12x (13x)", line)
        self.assertIn("1 DO NOT HOLD: huffwire fast avx512, weights: decode >= 6x (5x)", line)
        self.assertIn("not measured", line)


class Data(unittest.TestCase):
    def test_what_is_written_is_read_back(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "t.safetensors"
            values = bytes(range(250))
            peers.write_safetensors(path, values)
            raw = path.read_bytes()
            (length,) = struct.unpack("<Q", raw[:8])
            self.assertEqual(length % 8, 0)
            entry = json.loads(raw[8 : 8 + length])["tensor"]
            self.assertEqual(entry, {"dtype": "BF16", "shape": [125], "data_offsets": [0, 250]})
            self.assertEqual(raw[8 + length :], values)
            self.assertEqual(peers.read_bf16(path), values)

    def test_bf16_tensors_come_in_the_order_of_the_file(self) -> None:
        tensors = {
            "__metadata__": {"a": "b"},
            "second": {"dtype": "BF16", "shape": [1], "data_offsets": [6, 8]},
            "other": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
            "first": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]},
        }
        header = json.dumps(tensors).encode()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "t.safetensors"
            path.write_bytes(struct.pack("<Q", len(header)) + header + b"abcdefgh")
            self.assertEqual(peers.read_bf16(path), b"abgh")

    def test_values_are_repeated_or_cut(self) -> None:
        self.assertEqual(peers.fit(b"abcd", 6), b"abcdab")
        self.assertEqual(peers.fit(b"abcd", 2), b"ab")

    def test_sizes(self) -> None:
        self.assertEqual(peers.parse_size("16MiB"), 16 << 20)
        self.assertEqual(peers.parse_size("256 kib"), 256 << 10)
        self.assertEqual(peers.parse_size("1000"), 1000)
        for text in ("", "0", "7", "MiB", "1.5MiB", "-2"):
            with self.assertRaises(argparse.ArgumentTypeError, msg=text):
                peers.parse_size(text)


class Plots(unittest.TestCase):
    def test_bars_leave_memcpy_to_the_line(self) -> None:
        ((title, rows),) = plot.bar_rows(BENCH)
        self.assertEqual(title, "bench")
        self.assertEqual([row[0] for row in rows], ["huffwire fast avx512", "huffwire max avx512 2 threads"])
        self.assertEqual(plot.bounds(BENCH), {"of the same bytes": 12.5})

    def test_names_of_sizes(self) -> None:
        self.assertEqual([plot.size_name(size) for size in (2048, 16 << 20, 1000)], ["2 KiB", "16 MiB", "1000 B"])


if __name__ == "__main__":
    unittest.main()
