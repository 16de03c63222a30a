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

    def test_the_table_compares_with_dd(self) -> None:
        text = files.table({"dd to /dev/null": 0.5, "compress": 1.0}, 2_000_000_000)
        self.assertIn("1.000    2.00    0.50", text)

    def test_a_folder_without_room_is_told(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stderr(out):
            code = files.main(["--size", str(1 << 60), "--memory", tempfile.gettempdir()])
        self.assertEqual(code, 1)
        self.assertIn("are needed", out.getvalue())


if __name__ == "__main__":
    unittest.main()
