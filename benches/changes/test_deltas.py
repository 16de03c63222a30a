"""Tests of deltas.py. Those that need numpy or torch are skipped where they are missing; the model is tiny."""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import struct
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import deltas  # noqa: E402
import peers  # noqa: E402
from changes import document  # noqa: E402
from gemma.regions import DocumentError  # noqa: E402

NUMPY = importlib.util.find_spec("numpy") is not None
HUFFWIRE = NUMPY and importlib.util.find_spec("huffwire") is not None
TORCH = NUMPY and importlib.util.find_spec("torch") is not None
needs_numpy = unittest.skipUnless(NUMPY, "numpy is not installed")
needs_torch = unittest.skipUnless(TORCH, "torch is not installed")


def some_pair(words: int = 20_000, kind: str = "<u2") -> Any:
    """A base and a new tensor in which a hundredth of the words differ, some of them by much."""
    import numpy as np

    random = np.random.default_rng(3)
    base = random.integers(1 << 16, size=words).astype(kind)
    new = base.copy()
    new[random.choice(words, words // 100, replace=False)] ^= random.integers(1, 1 << 16, size=words // 100).astype(kind)
    return base, new


@needs_numpy
class Bounds(unittest.TestCase):
    def test_places_are_in_the_order_of_numbers(self) -> None:
        import numpy as np
        from changes.bounds import differences, places

        # -1, the number below it in magnitude, -0, +0, the smallest number, 1
        words = np.array([0xBF80, 0xBF7F, 0x8000, 0x0000, 0x0001, 0x3F80], np.uint16)
        self.assertTrue((np.diff(places(words)) > 0).all())
        self.assertEqual(differences(words[:-1], words[1:]).tolist()[:1], [1])
        self.assertEqual(differences(words[2:4], words[3:5]).tolist(), [1, 1])

    def test_entropies_are_those_of_the_definition(self) -> None:
        import numpy as np
        from changes.bounds import bits

        self.assertAlmostEqual(bits(np.array([1, 3])), 4 * (0.25 * 2 + 0.75 * 0.4150374993), places=6)
        self.assertEqual(bits(np.array([0, 7])), 0)
        self.assertEqual(bits(np.array([], np.int64)), 0)

    def test_a_pair_that_is_easy_to_count(self) -> None:
        import numpy as np
        from changes.bounds import bounds

        # 8 weights with exponent 1, of which 4 change, by 1 and by -1; 8 with exponent 2, none of which changes.
        base = np.array([0x0081] * 8 + [0x0101] * 8, np.uint16)
        new = base.copy()
        new[:4] = [0x0082, 0x0080, 0x0082, 0x0080]
        found = bounds(base, new)
        self.assertAlmostEqual(found.by_exponent, 8 + 4)
        self.assertAlmostEqual(found.alike, 16 * 0.8112781245 + 4, places=6)

    def test_each_exponent_has_differences_of_its_own(self) -> None:
        import numpy as np
        from changes.bounds import bounds

        # All weights change: those of one exponent up, those of the other down. Exponents tell everything.
        base = np.array([0x0081] * 8 + [0x0101] * 8 + [0x8001] * 8, np.uint16)
        new = np.array([0x0082] * 8 + [0x0100] * 8 + [0x8002] * 8, np.uint16)
        self.assertEqual(bounds(base, new).by_exponent, 0)
        self.assertGreater(bounds(base, new).alike, 0)
        self.assertEqual((bounds(base, base).alike, bounds(base, base).by_exponent), (0, 0))

    def test_exponents_never_make_the_bound_larger(self) -> None:
        from changes.bounds import bounds

        found = bounds(*some_pair())
        self.assertLessEqual(found.by_exponent, found.alike)


@needs_numpy
class Coders(unittest.TestCase):
    def test_every_way_leads_to_the_new_words(self) -> None:
        import numpy as np
        from changes.coders import WAYS

        for kind in ("<u2", "<u4"):
            base, new = some_pair(kind=kind)
            for way in WAYS:
                for changed in (new, base):
                    weights = base.copy()
                    way.apply(way.write(base, changed), weights)
                    self.assertTrue(np.array_equal(weights, changed), (way.name, kind))

    def test_distances_may_be_long(self) -> None:
        import numpy as np
        from changes.coders import Gaps

        base = np.zeros(200_000, np.uint16)
        for last in (0xFFFF, 0x10000, 0x10001):
            new = base.copy()
            new[[0, last]] = 7
            written = Gaps().write(base, new)
            weights = base.copy()
            Gaps().apply(written, weights)
            self.assertTrue(np.array_equal(weights, new))
            # A header, and for each of two words a distance and a value.
            self.assertEqual(len(written), 16 + 2 * (2 + (2 if last <= 0x10000 else 4)))

    def test_planes_have_the_low_bytes_first(self) -> None:
        import numpy as np
        from changes.coders import planes, words

        values = np.array([0x0102, 0x0304], "<u2")
        self.assertEqual(planes(values).tolist(), [2, 4, 1, 3])
        self.assertTrue(np.array_equal(words(planes(values), values.dtype), values))

    @unittest.skipUnless(importlib.util.find_spec("zstandard"), "zstandard is not installed")
    def test_zstd_gives_back_what_it_got(self) -> None:
        import numpy as np
        from changes import coders, measure

        base, new = some_pair()
        for coder in coders.others():
            seconds = measure.timed(coder, base, new, np.empty_like(base))
            self.assertTrue(all(one >= 0 for one in seconds))

    def test_a_coder_that_restores_something_else_is_noticed(self) -> None:
        from changes import coders, measure

        base, new = some_pair()
        with self.assertRaisesRegex(AssertionError, "does not restore"):
            measure.check(coders.others()[0], base, new)


@needs_numpy
class Measuring(unittest.TestCase):
    def test_only_bf16_tensors_are_read_and_in_their_order(self) -> None:
        from changes.measure import read_bf16

        entries = {
            "b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}, "x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
            "a": {"dtype": "BF16", "shape": [1], "data_offsets": [8, 10]},
        }
        header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "one.safetensors"
            path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(range(10)))
            found = read_bf16(path)
        self.assertEqual({name: words.tolist() for name, words in found.items()}, {"b": [0x0100, 0x0302], "a": [0x0908]})
        self.assertEqual(list(found), ["b", "a"])

    def test_missing_tensors_are_left_out(self) -> None:
        from changes import measure

        self.assertEqual(measure.real(Path("/nonexistent")), [])

    def test_weights_are_repeated_and_cut(self) -> None:
        import numpy as np
        from changes.measure import fit

        self.assertEqual(fit(np.arange(3, dtype=np.uint16), 8).tolist(), [0, 1, 2, 0])
        self.assertEqual(fit(np.arange(3, dtype=np.uint16), 4).tolist(), [0, 1])

    @unittest.skipUnless(HUFFWIRE, "huffwire is not installed")
    def test_a_delta_is_described(self) -> None:
        from changes import measure

        for kind in ("<u2", "<u4"):
            base, new = some_pair(kind=kind)
            found = measure.delta(base, new)
            self.assertEqual((found["words"], found["changes"], found["raw_bytes"]), (20_000, 200, new.nbytes))
            self.assertEqual(sum(found["blocks"].values()), 1)
            self.assertLess(found["delta_bytes"], found["plain_bytes"])
            self.assertEqual(measure.delta(base, base)["blocks"], {"unchanged": 1})

    def test_every_timed_pair_is_measured(self) -> None:
        from changes import measure

        for optimizer, rate, apart in measure.TIMED:
            self.assertIn((optimizer, rate), measure.courses())
            self.assertIn(apart, measure.APART)
        self.assertIn(measure.COURSE_OF_CHECKPOINTS, measure.courses())


class Documents(unittest.TestCase):
    def setUp(self) -> None:
        self.found = json.loads(deltas.RESULTS.read_text())
        self.text = document.DOCUMENT.read_text()

    def test_the_document_is_what_the_report_makes_of_it(self) -> None:
        self.assertEqual(document.updated(self.text, self.found), self.text)

    def test_the_guide_to_checkpoints_says_the_same(self) -> None:
        text = document.GUIDE.read_text()
        self.assertEqual(document.updated_guide(text, self.found), text)
        self.assertIn(document.checkpoint_answer(self.found), self.text)
        self.assertIn(document.changed_answer(self.found), " ".join(text.split()))

    def test_a_number_that_was_changed_is_noticed(self) -> None:
        for part in ("pairs", "real", "extremes", "checkpoints"):
            found = copy.deepcopy(self.found)
            for row in found[part]:
                row["delta_bytes"] += row["delta_bytes"] // 10
            self.assertNotEqual(document.updated(self.text, found), self.text, part)

    def test_a_document_of_other_parts_is_refused(self) -> None:
        with self.assertRaisesRegex(DocumentError, "conditions"):
            document.updated("nothing", self.found)
        with self.assertRaisesRegex(DocumentError, "schema"):
            document.updated(self.text, {**self.found, "schema_version": 99})

    def test_a_run_without_tensors_of_others_has_a_document(self) -> None:
        self.assertIn("This run had none.", document.updated(self.text, {**self.found, "real": []}))

    def test_a_pair_that_is_missing_is_told_of(self) -> None:
        with self.assertRaisesRegex(DocumentError, "0 pairs"):
            document.one(self.found, optimizer="AdamW", rate=1.0, apart=1)

    def test_numbers_have_three_digits(self) -> None:
        written = {0: "0", 0.0000123: "0.0000123", 0.93: "0.930", 12.34: "12.3", 12: "12.0", 269.7: "270", 5291.4: "5291"}
        self.assertEqual({value: document.digits(value) for value in written}, written)
        self.assertEqual(document.rate_name(1e-6), "1e-6")

    def test_less_and_more_are_told_apart(self) -> None:
        self.assertEqual(document.around([-3.21, 0.0, 6.9]), "3.2 % less to 6.9 % more")
        self.assertEqual(document.around([0.5, 6.9]), "0.5 to 6.9 % more")

    def test_bits_for_each_change_need_a_change(self) -> None:
        self.assertEqual(document.per_change({"changes": 0}, 800.0), "-")
        self.assertEqual(document.per_change({"changes": 100}, 800.0), "8.00")


class Arguments(unittest.TestCase):
    def test_too_few_steps_are_refused(self) -> None:
        with self.assertRaises(argparse.ArgumentTypeError):
            deltas.steps_number("109")
        self.assertEqual(deltas.parse_arguments(["--steps", "110"]).steps, 110)

    def test_rows_take_a_line_each(self) -> None:
        row = {"a": 1, "coders": {"x": 2}, "blocks": {"sparse": 3}}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "new" / "report.json"
            deltas.write(path, {"pairs": [row, row], "version": 1})
            self.assertEqual(json.loads(path.read_text()), {"pairs": [row, row], "version": 1})
            self.assertEqual(sum('"coders"' in line for line in path.read_text().splitlines()), 2)


@needs_torch
class Trainings(unittest.TestCase):
    def setUp(self) -> None:
        import numpy as np
        import torch
        from changes.training import Training

        torch.set_num_threads(1)
        text = np.frombuffer(b"to be or not to be, " * 100, np.uint8)
        self.training = Training(deltas.shape_of(short=True), 1, text)
        self.seen: list[int] = []

    def advance(self, steps: int, stops: tuple[int, ...], rate: float) -> list[Any]:
        from changes.training import advance

        each = advance(self.training, steps, stops, lambda _: rate, lambda one: self.seen.append(one.step))
        return [(step, self.training.weights().copy()) for step in each]

    def test_weights_are_the_rounded_master_weights(self) -> None:
        import numpy as np

        self.advance(3, (3,), 1e-3)
        found = self.training.checkpoint()
        masters = found["master weights"].astype(np.uint64)
        # To the nearest bf16, to the even one in the middle.
        rounded = (masters + 0x7FFF + (masters >> 16 & 1)) >> 16
        self.assertTrue(np.array_equal(found["weights"], rounded.astype(np.uint16)))
        self.assertEqual(list(found), ["weights", "master weights", "first moment", "second moment"])
        self.assertEqual({len(words) for words in found.values()}, {len(masters)})

    def test_stops_are_counted_from_the_start(self) -> None:
        found = self.advance(4, (0, 1, 4), 1e-3)
        self.assertEqual([step for step, _ in found], [0, 1, 4])
        self.assertEqual(self.seen, [1, 2, 3, 4])

    def test_a_course_starts_where_the_training_ended(self) -> None:
        import numpy as np
        from changes.training import Course

        (_, end), = self.advance(5, (5,), 1e-3)
        kept = self.training.keep()
        ends = []
        for optimizer in ("AdamW", "SGD", "AdamW"):
            self.training.start(Course(optimizer, 1e-4), kept)
            self.assertTrue(np.array_equal(self.training.weights(), end))
            (_, after), = self.advance(3, (3,), 1e-4)
            ends.append(after)
        self.assertTrue(np.array_equal(ends[0], ends[2]))
        self.assertFalse(np.array_equal(ends[0], ends[1]))
        self.assertEqual(self.seen[-3:], [6, 7, 8])

    def test_a_course_has_a_row_for_each_distance(self) -> None:
        from changes import coders, measure
        from changes.training import Course

        def counted(base: Any, new: Any) -> dict[str, Any]:
            """In the place of huffwire."""
            return {"words": len(base), "changes": int((base != new).sum()), "bits": base.itemsize * 8}

        self.advance(5, (5,), 1e-3)
        kept = self.training.keep()
        self.training.start(Course("AdamW", 1e-6), kept)
        with mock.patch.object(coders.Zstd, "encode", lambda *_: b"coded"), mock.patch.object(measure, "delta", counted):
            rows, checkpoints, timed = measure.course(self.training, Course("AdamW", 1e-6), lambda _: None)
        self.assertEqual([row["apart"] for row in rows], list(measure.APART))
        shares = list(measure.shares(rows))
        self.assertLess(shares[0], shares[-1])
        self.assertLess(shares[0], 0.1)
        self.assertEqual(list(timed), [("AdamW", 1e-6, 1)])
        self.assertEqual([(row["apart"], row["role"], row["bits"]) for row in checkpoints[:3]],
                         [(1, "weights", 16), (1, "master weights", 32), (1, "first moment", 32)])
        self.assertEqual(len(checkpoints), 4 * len(measure.COURSE_CHECKPOINTS_APART))


if __name__ == "__main__":
    unittest.main()
