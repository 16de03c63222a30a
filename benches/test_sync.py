"""Tests of sync.py that need no packages: the document, and what the command line takes."""

from __future__ import annotations

import copy
import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import peers  # noqa: E402
import sync  # noqa: E402
from gemma.regions import DocumentError  # noqa: E402


class Documents(unittest.TestCase):
    def setUp(self) -> None:
        self.found = json.loads(sync.RESULTS.read_text())
        self.text = sync.DOCUMENT.read_text()

    def test_the_document_is_what_the_report_makes_of_it(self) -> None:
        self.assertEqual(sync.updated(self.text, self.found), self.text)

    def test_a_number_that_was_changed_is_noticed(self) -> None:
        for name in ("changes", "file_bytes", *sync.TIMES):
            found = copy.deepcopy(self.found)
            found["deltas"][0][name] *= 2
            self.assertNotEqual(sync.updated(self.text, found), self.text, name)

    def test_other_reports_and_documents_are_refused(self) -> None:
        with self.assertRaisesRegex(DocumentError, "measured"):
            sync.updated("nothing", self.found)
        with self.assertRaisesRegex(DocumentError, "schema"):
            sync.updated(self.text, {**self.found, "schema_version": 99})

    def test_weights_of_another_training(self) -> None:
        self.assertIn("Versions of another training", sync.measured({**self.found, "training": None}))
        with self.assertRaisesRegex(peers.Failure, "sync-0.safetensors is missing"):
            sync.stored(Path(__file__).resolve().parent)


if __name__ == "__main__":
    unittest.main()
