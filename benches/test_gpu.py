"""Tests of gpu.py that need no packages. python/tests/test_cuda_bench.py runs the whole of it on an emulator."""

from __future__ import annotations

import contextlib
import io
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu  # noqa: E402


class Arguments(unittest.TestCase):
    def test_defaults(self) -> None:
        options = gpu.parse_arguments([])
        self.assertEqual(options.sizes[0], 1 << 20)
        self.assertEqual(options.sizes[-1], 1 << 30)
        self.assertEqual(options.blocks[:2], [None, 4 << 10])
        self.assertEqual(options.data[0], gpu.GENERATED)

    def test_lists(self) -> None:
        options = gpu.parse_arguments(["--sizes", "2KiB,3MiB", "--blocks", "8KiB", "--dtypes", "float32"])
        self.assertEqual(options.sizes, [2 << 10, 3 << 20])
        self.assertEqual((options.blocks, options.dtypes), ([8 << 10], ["float32"]))
        for wrong in (["--dtypes", "complex64"], ["--data", "noise"], ["--sizes", "x"], ["--rounds", "0"]):
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
                gpu.parse_arguments(wrong)

    def test_an_emulated_run_is_small(self) -> None:
        options = gpu.parse_arguments(["--emulate"])
        self.assertLess(max(options.sizes), 1 << 17)


class Report(unittest.TestCase):
    def test_speeds_are_compared_with_the_copy_of_the_same_tensor(self) -> None:
        row = {"data": "normal", "dtype": "bfloat16", "bytes": 1 << 20, "coded_bytes": 1 << 20, "coder": "copy"}
        row |= {"encode_tb_per_second": 2.0, "decode_tb_per_second": 2.0}
        coder = row | {"coder": "huffwire auto", "coded_bytes": 3 << 18}
        coder |= {"encode_tb_per_second": 1.0, "decode_tb_per_second": 1.5}
        report = {
            "device": "a GPU",
            "torch": "2.15",
            "cuda": "13.2",
            "messages": [row, coder],
            "files": [{"loader": "huffwire", "gb_per_second": 12.345, "file_bytes": 77}],
            "products": [
                {
                    "shape": [4, 5], "batch": 2, "bytes": 40, "coded_bytes": 30,
                    "plain_seconds": [1e-6], "compressed_seconds": [2e-6, 3e-6, 9e-6],
                }
            ],
            "tokens": [
                {
                    "layers": 3, "width": 64, "context": 9, "batch": 7, "bytes": 40, "coded_bytes": 20,
                    "plain_tokens_per_second": 123.44, "compressed_tokens_per_second": 98.76,
                }
            ],
        }  # fmt: skip
        lines = gpu.text_of(report).splitlines()
        line = next(line for line in lines if "auto" in line)
        self.assertEqual(line.split()[-5:], ["1.000", "1.500", "0.50", "0.75", "25.00"])
        self.assertIn("12.35", gpu.text_of(report).replace("12.34", "12.35"))
        line = next(line for line in lines if "batch 2" in line)
        self.assertEqual(line.split()[-3:], ["1.0", "3.0", "25.00"])

        line = next(line for line in lines if "batch 7" in line)
        self.assertEqual(line.split()[-3:], ["123.4", "98.8", "50.00"])

    def test_sizes_are_spelled(self) -> None:
        self.assertEqual([gpu.spelled(n) for n in (1 << 30, 3 << 20, 5 << 10, 77)], ["1 GiB", "3 MiB", "5 KiB", "77 B"])


if __name__ == "__main__":
    unittest.main()
