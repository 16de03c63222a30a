"""Tests of compare.py with programs that only pretend to measure."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import compare


def program(folder, name, encode, decode=10.0):
    """A program that prints these speeds."""
    row = {
        "codec": "huffwire", "level": "fast", "platform": "portable", "threads": 1, "checksums": True,
        "encode_gbps": encode, "decode_gbps": decode, "coded_bytes": 7,
    }
    path = Path(folder, name)
    output = json.dumps({"results": [{"codec": "memcpy"}, row]})
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
    path.chmod(0o755)
    return str(path)


class Compare(unittest.TestCase):
    def run_with(self, old, new, *more):
        with tempfile.TemporaryDirectory() as folder:
            programs = [program(folder, "old", old), program(folder, "new", new)]
            record = os.path.join(folder, "record.json")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                status = compare.main([*programs, "x", "--turns", "3", "--working-set", "1KiB", "--json", record, *more])
            return status, printed.getvalue(), json.loads(Path(record).read_text())

    def test_a_slower_program_is_told(self):
        status, printed, record = self.run_with(10.0, 9.0)
        self.assertEqual(status, 1)
        self.assertIn("x 0.900", printed)
        self.assertEqual([row["new"] for row in record["rows"]], [9.0, 10.0])

    def test_what_lies_within_the_tolerance_is_the_same(self):
        self.assertEqual(self.run_with(10.0, 9.9)[0], 0)
        self.assertEqual(self.run_with(10.0, 9.0, "--tolerance", "15")[0], 0)
        self.assertEqual(self.run_with(10.0, 11.0)[0], 0)


if __name__ == "__main__":
    unittest.main()
