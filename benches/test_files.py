"""Tests of files.py: what needs no program."""

import contextlib
import io
import json
import struct
import tempfile
import unittest
from pathlib import Path

import files


class Files(unittest.TestCase):
    def test_sizes(self) -> None:
        self.assertEqual([files.size(text) for text in ("7", "3KiB", "2GiB")], [7, 3 << 10, 2 << 30])

    def test_the_model_is_a_safetensors_file_of_different_tensors(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            files.make(path, 5 << 20)
            content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
        parts = [data[start:end] for start, end in (tensor["data_offsets"] for tensor in header.values())]
        self.assertEqual(b"".join(parts), data)
        self.assertEqual(len(set(parts)), len(parts))

    def test_the_table_has_shares_and_bounds(self) -> None:
        todo = {
            "dd": files.Row("dd"),
            "fast": files.Row("huffwire", compared_with="dd", least=0.8),
            "slow": files.Row("huffwire", compared_with="dd", least=0.8),
            "free": files.Row("huffwire", compared_with="dd"),
        }
        taken = {"dd": 0.5, "fast": 0.625, "slow": 1.0, "free": 0.25}
        lines = files.table(todo, taken, 2_000_000_000).splitlines()
        self.assertEqual(
            lines,
            [
                "       seconds    GB/s  share  of  least",
                "dd       0.500    4.00",
                "fast     0.625    3.20   0.80  dd   0.80  holds",
                "slow     1.000    2.00   0.50  dd   0.80  missed",
                "free     0.250    8.00   2.00  dd",
            ],
        )
        slow = files.as_json(todo, taken)["slow"]
        self.assertEqual(slow, {"seconds": 1.0, "compared_with": "dd", "share": 0.5, "least_share": 0.8})

    def test_each_row_is_compared_with_one_that_is_measured(self) -> None:
        todo = files.rows("huffwire", Path("model"), Path("memory"), Path("disk"), [1, 2])
        least = {}
        for name, row in todo.items():
            self.assertEqual("huffwire " in row.command, row.compared_with is not None, name)
            self.assertTrue(row.compared_with is None or row.compared_with in todo, name)
            # What a command writes is removed, lest the next one replaces it.
            self.assertEqual(row.output is None, "/dev/null" in row.command, name)
            least[name] = row.least
        self.assertEqual(least["compress to /dev/null, 1 thread"], 0.6)
        self.assertEqual(least["compress to /dev/null, 2 threads"], 0.8)
        self.assertIsNone(least["compress to disk, 1 thread"])
        self.assertAlmostEqual(least["compress to disk, 2 threads"], 1 / 1.1)

    def test_the_whole_with_a_program_that_copies(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "program"
            # Its last arguments are: MODEL -o OUT. `cat` takes a model named `-` from standard input.
            program.write_text('#!/bin/bash\nwhile [ $# -gt 3 ]; do shift; done\ncat "$1" > "$3"\n')
            program.chmod(0o755)
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                code = files.main(
                    ["--program", str(program), "--size", "4MiB", "--threads", "2", "--turns", "1"]
                    + ["--memory", folder, "--disk", folder, "--json"]
                )
            left = sorted(path.name for path in Path(folder).iterdir())
        self.assertEqual((code, left), (0, ["program"]))
        found = json.loads(out.getvalue())
        self.assertGreaterEqual(found["raw_bytes"], 4 << 20)
        self.assertEqual(len(found["rows"]), 5 + 7)
        row = found["rows"]["decompress to disk, 2 threads"]
        self.assertEqual(row["compared_with"], "cp to disk")
        self.assertAlmostEqual(row["share"], found["rows"]["cp to disk"]["seconds"] / row["seconds"])

    def test_a_folder_without_room_is_told(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stderr(out):
            code = files.main(["--size", str(1 << 60), "--memory", tempfile.gettempdir()])
        self.assertEqual(code, 1)
        self.assertIn("are needed", out.getvalue())


if __name__ == "__main__":
    unittest.main()
