"""What needs neither PyTorch nor a network; some of it numpy, and is skipped where that is missing."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import peers  # noqa: E402
from gradients import data, evaluate, study  # noqa: E402

NUMPY = importlib.util.find_spec("numpy") is not None
needs_numpy = unittest.skipUnless(NUMPY, "numpy is not installed")

# As `huffwire quantize --json` printed it for resnet20-gradients-40.safetensors as one tensor (QSGD 4, 512);
# fields that are not read are left out.
REPORT = {
    "elements": 272474, "zeros_percent": 87.05454465380184, "relative_error": 1.6758127842318236, "chosen": "bitmap",
    "shannon_bytes": 23376.652454697374, "shannon_pairs_bytes": 29226.826196311322,
    "shannon_runs_bytes": 27782.552327286132, "shannon_bitmap_bytes": 23100.658850018124,
    "encoders": [
        {"name": name, "coded_bytes": coded, "codebook_bytes": book, "encode_gelem_s": 0.5, "decode_gelem_s": 0.25}
        for name, coded, book in (
            ("huffman", 40645, 6), ("rlh", 29533, 79), ("sh", 40650, 8), ("shs", 28383, 91), ("run-length", 114151, 0),
            ("elias-gamma", 36964, 0), ("elias-delta", 42555, 0), ("elias-omega", 38821, 0), ("qsgd-elias", 31800, 0),
            ("qsgd-elias-dense", 47290, 0), ("bitmap", 26030, 263), ("auto", 26031, 263),
        )
    ],
    "tensors": [{}],
}


def record(**changes: Any) -> evaluate.Record:
    place = {
        "model": "resnet", "data": "digits", "step": 40, "layout": "flat", "quantizer": evaluate.STANDARD, "in_paper": True,
    }
    return {**place, **evaluate.condense(REPORT), **changes}


def whole_report() -> dict[str, Any]:
    training = {
        "model": "resnet", "data": "digits", "parameters": 272474, "steps": 40, "dumps": [40], "first_loss": 2.5,
        "last_loss": 0.5, "seconds": 3.0,
    }
    baseline = {
        "model": "resnet", "data": "digits", "step": 40, "quantizer": evaluate.STANDARD, "omega": 38821, "rlh": 29533,
        "pairs": 38817.5, "single": 45000.0, "pairs, by index": 60000.0, "single, by index": 200000.0,
    }
    lost = {
        "model": "resnet", "data": "digits", "symbols": "values", "span": "one step", "from": 39, "to": 40,
        "loss_percent": 1.5,
    }
    run = {
        "model": "vgg", "data": "digits", "run": "QSGD", "losses": [2.0, 1.0], "first_loss": 2.0, "last_loss": 1.0,
        "memory": 0.5, "diverged": None, "identical_to": True, "bits": 2.1, "messages": 4, "different": 0,
        "seconds": 1.0,
    }
    return {
        "trainings": [training], "coded": [record(), record(layout="layers")], "baselines": [baseline], "drift": [lost],
        "convergence": [run],
    }


class Ratios(unittest.TestCase):
    def test_ratios_are_to_elias_omega(self) -> None:
        one = record()
        self.assertAlmostEqual(evaluate.ratio(one, "rlh"), 38821 / 29533)
        self.assertEqual(evaluate.size(one, "best Elias"), 36964)
        self.assertEqual(evaluate.size(one, "QSGD's Elias"), 31800)
        self.assertAlmostEqual(evaluate.ratio(one, "rlh", "best Elias"), 36964 / 29533)
        self.assertAlmostEqual(evaluate.shannon_ratio(one), 38821 / REPORT["shannon_bytes"])

    def test_a_book_is_not_held_against_the_payload(self) -> None:
        self.assertAlmostEqual(evaluate.over_shannon(record(), "rlh"), (29533 - 79) / REPORT["shannon_pairs_bytes"])

    def test_what_is_below_its_bound_is_found(self) -> None:
        self.assertEqual(evaluate.broken_bounds({"coded": [record()]}), [])
        lying = record(shannon={"values": 50000.0, "pairs": 1.0, "runs": 1.0, "bitmap": 1.0})
        found = evaluate.broken_bounds({"coded": [lying]})
        self.assertEqual(len(found), 2, "huffman and sh")
        self.assertIn("resnet, digits, step 40, QSGD 4, 512", found[0])

    def test_encoders_may_be_missing(self) -> None:
        without = record()
        del without["encoders"]["sh"]
        report = {**whole_report(), "coded": [without]}
        for table in evaluate.tables(report):
            self.assertTrue(table.plain())
        self.assertEqual(evaluate.optional([without], "sh", lambda one: 1.0), "-")


class Tables(unittest.TestCase):
    def test_a_report_becomes_tables(self) -> None:
        tables = {table.title: table for table in evaluate.tables(whole_report())}
        self.assertEqual(len(tables), 14)
        text = "\n".join(table.markdown() for table in tables.values())
        self.assertIn("| rlh, QSGD and TernGrad | 5.1 | 1.31 | 1.66 | 1.33 |", text)
        self.assertIn("all equal", text)
        for table in tables.values():
            self.assertTrue(all(len(row) == len(table.headings) for row in table.rows), table.title)

    def test_verdicts(self) -> None:
        report = whole_report()
        self.assertEqual(study.verdicts(report), [])
        report["convergence"][0].update(identical_to=False, different=1)
        report["baselines"][0]["omega"] = 1
        self.assertEqual(len(study.verdicts(report)), 3)

    def test_quantizers_that_numpy_has(self) -> None:
        self.assertEqual(evaluate.numpy_has("QSGD 4, 512"), (4, 512))
        self.assertEqual(evaluate.numpy_has("QSGD 16, all"), (16, 0))
        self.assertEqual(evaluate.numpy_has("natural"), ())
        self.assertIsNone(evaluate.numpy_has("QSGD 4, 512, max"))
        self.assertIsNone(evaluate.numpy_has("TernGrad"))

    def test_names_of_quantizers_are_different(self) -> None:
        names = [choice.name for choice in evaluate.GRID]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual(set(study.QUICK_GRID), set(names))


class Drift(unittest.TestCase):
    def test_a_code_for_the_same_loses_nothing(self) -> None:
        self.assertLess(evaluate.drift_percent({0: 9000, 1: 1000}, {0: 9000, 1: 1000}), 0.01)

    def test_another_distribution_costs(self) -> None:
        # Half and half costs a bit a value where 0.469 would do.
        self.assertAlmostEqual(evaluate.drift_percent({0: 5000, 1: 5000}, {0: 9000, 1: 1000}), 113.2, places=1)

    def test_nothing_new_costs_nothing(self) -> None:
        self.assertEqual(evaluate.drift_percent({0: 1, 1: 1}, {0: 100}), 0.0)


class Losses(unittest.TestCase):
    def test_means_of_the_last(self) -> None:
        self.assertEqual(evaluate.smooth([1.0, 3.0]), [1.0, 2.0])
        self.assertEqual(evaluate.smooth([float(n) for n in range(20)])[-1], 14.5)


class Data(unittest.TestCase):
    def test_words_by_frequency(self) -> None:
        numbers, vocabulary = data.words("b a b.\nb a c", 4)
        self.assertEqual((numbers, vocabulary), ([1, 2, 1, 0, 3, 1, 2, 0], 4))

    def test_steps_that_are_dumped(self) -> None:
        self.assertEqual(study.dumped(300), [15, 150, 299, 300])
        self.assertEqual(study.dumped(4), [1, 2, 3, 4])

    def test_folders_without_cifar(self) -> None:
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(Exception) as caught:
            data.cifar10(Path(folder))
        self.assertIsInstance(caught.exception, peers.Failure if NUMPY else ImportError)

    @needs_numpy
    def test_cifar(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for number, name in enumerate(data.CIFAR_FILES):
                record = bytes([number]) + bytes([255]) * 1024 + bytes(2048)
                (Path(folder) / name).write_bytes(record * 2)
            images = data.cifar10(Path(folder))
            self.assertEqual(images.pictures.shape, (10, 3, 32, 32))
            self.assertEqual(images.classes.tolist(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
            self.assertEqual((images.pictures[0, 0].min(), images.pictures[0, 1].max()), (1.0, -1.0))
            (Path(folder) / data.CIFAR_FILES[0]).write_bytes(b"short")
            with self.assertRaises(peers.Failure):
                data.cifar10(Path(folder))

    @needs_numpy
    def test_text_from_files(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.txt"
            path.write_text("one two " * 6000)
            tokens = data.text([path])
            self.assertEqual((len(tokens.tokens), tokens.vocabulary), (12000, 3))
            path.write_text("too short")
            with self.assertRaises(peers.Failure):
                data.text([path])

    @needs_numpy
    def test_synthetic_sets_are_the_same_each_time(self) -> None:
        first, second = data.synthetic_sequence(1, 500), data.synthetic_sequence(1, 500)
        self.assertEqual(first.tokens.tolist(), second.tokens.tolist())
        pictures = data.synthetic_images(1, 8).pictures
        self.assertEqual((pictures.shape, pictures.dtype.name), ((8, 3, 16, 16), "float32"))


@needs_numpy
class Quantizers(unittest.TestCase):
    def setUp(self) -> None:
        import numpy
        from gradients import qsgd

        self.numpy, self.qsgd = numpy, qsgd

    def test_random_numbers_are_those_of_the_library(self) -> None:
        # From the documentation of `huffwire::gradient::Random`.
        self.assertEqual(int(self.qsgd.random_bits(1, self.numpy.array([0]))[0]), 0x910A_2DEC_8902_5CC1)

    def test_values_and_floats(self) -> None:
        floats = self.numpy.array([0.0, 1.0, -0.5, 0.25, 0.0, 0.0], self.numpy.float32)
        values, scales = self.qsgd.quantize(floats, 4, 4, "max", 1)
        self.assertEqual((values.tolist(), scales.tolist()), ([0, 4, -2, 1, 0, 0], [1.0, 0.0]))
        self.assertEqual(self.qsgd.dequantize(values, scales, 4, 4).tolist(), floats.tolist())
        with self.assertRaises(ValueError):
            self.qsgd.quantize(self.numpy.array([float("nan")]), 4, 4, "max", 1)

    def test_norms_are_rounded_up(self) -> None:
        floats = self.numpy.random.default_rng(1).standard_normal(512).astype(self.numpy.float32)
        _, scales = self.qsgd.quantize(floats, 4, 512, "l2", 1)
        self.assertGreaterEqual(float(scales[0]), float(self.numpy.sqrt((floats.astype(float) ** 2).sum())))

    def test_natural_powers_stay(self) -> None:
        floats = self.numpy.array([4.0, -2.0, 0.0, 0.5], self.numpy.float32)
        self.assertEqual(self.qsgd.natural(floats, 1).tolist(), [1, -2, 0, 4])

    def test_pairs(self) -> None:
        repeated, lengths = self.qsgd.pairs(self.numpy.array([0, 0, 0, 1, 1, -1, 0]))
        self.assertEqual((repeated.tolist(), lengths.tolist()), ([0, 1, -1, 0], [3, 2, 1, 1]))

    def test_omega(self) -> None:
        # The table in Elias 1975: 0, 10 0, 11 0, 10 100 0, 10 111 0, 11 1000 0, 11 1111 0, 10 100 10000 0.
        for number, bits in ((1, 1), (2, 3), (3, 3), (4, 6), (7, 6), (8, 7), (15, 7), (16, 11)):
            self.assertEqual(self.qsgd.omega_bits(self.numpy.array([number])), bits)

    def test_numbers_for_values(self) -> None:
        values = self.numpy.array([0, -1, 1, -2])
        self.assertEqual(self.qsgd.zigzag(values).tolist(), [1, 2, 3, 4])
        self.assertEqual(self.qsgd.from_lowest(values).tolist(), [3, 2, 4, 1])

    def test_zero_runs(self) -> None:
        found = study.zero_runs(self.numpy.array([0, 0, 5, 0, 0, 0, 5, -1] + [0] * 450))
        self.assertEqual(found, {5: 2, -1: 1, 1002: 1, 1003: 1, 1050: 1, 1200: 2})


class Program(unittest.TestCase):
    def test_reports_survive_json(self) -> None:
        self.assertEqual(json.loads(json.dumps(record())), record())

    def test_programs_that_fail_are_told(self) -> None:
        with self.assertRaises(peers.Failure):
            evaluate.call(Path("/nonexistent/huffwire"), "--version")
        with self.assertRaises(peers.Failure):
            evaluate.call(Path(sys.executable), "-c", "raise SystemExit('no')")

    def test_arguments(self) -> None:
        self.assertEqual(study.parse_arguments([]).steps, study.FULL_STEPS)
        self.assertEqual(study.parse_arguments(["--quick"]).convergence_steps, study.QUICK_CONVERGENCE)
        self.assertEqual(study.parse_arguments(["--quick", "--steps", "9"]).steps, 9)


if __name__ == "__main__":
    unittest.main()
