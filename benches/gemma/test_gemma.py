"""Tests of single_stage.py. Those that train need torch and are skipped where it is missing; their model is tiny."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import signal
import sys
import tempfile
import unittest
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import peers  # noqa: E402
import single_stage  # noqa: E402
from gemma import document, drift, measure, regions, snapshots, timeline  # noqa: E402

TORCH = all(importlib.util.find_spec(name) for name in ("torch", "safetensors", "numpy"))
needs_torch = unittest.skipUnless(TORCH, "torch or safetensors is not installed")
STEPS = 20
REPORTS = ((single_stage.SHARDS, document), (single_stage.DRIFT, drift))


def saved(fixed: float, huffman: float, shannon: float) -> dict[str, float]:
    return {"fixed_saving_percent": fixed, "huffman_saving_percent": huffman, "shannon_saving_percent": shannon}


def kind(**changes: Any) -> dict[str, Any]:
    """An entry of `kinds` as `huffwire analyze --json` prints it, without what is not read."""
    plane = {"pmf": [0.25, 0.25, 0.5], "first_symbol": 60, "longest": 9}
    shards = [{**saved(21.0, 21.5, 22.0), "kl_bits": layer / 100, "layer": layer, "shard": 0} for layer in (10, 9)]
    return {
        "name": "FFN1 activation", "dtype": "bf16", "converted_from": None, "scaling": None, "symbols": "bytes", "shards": 2,
        "groups": None, "values": 1000, "bytes": 2000, "fixed_from": "calibration files", "builtin_saving_percent": None,
        "quad_length_saving_percent": 18.0, "dual_length_saving_percent": 18.5, "over_huffman_percent": 0.637,
        "over_shannon_percent": 1.282, "mean_kl_bits": 0.01, "max_kl_bits": 0.012345678, "escape_percent": 0.0,
        "planes": [plane], "per_shard": shards, **saved(21.0, 21.5, 22.0), **changes,
    }


class Snapshots(unittest.TestCase):
    def test_the_plan_has_the_last_steps_and_a_dense_beginning(self) -> None:
        chosen = snapshots.plan(500, 50)
        self.assertEqual(chosen.full, (400, 499, 500))
        self.assertEqual(chosen.timeline[:12], (1, 2, 4, 7, 10, 15, 20, 25, 30, 40, 50, 75))
        self.assertEqual(chosen.timeline[-1], 500)

    def test_a_short_training_has_a_plan_too(self) -> None:
        chosen = snapshots.plan(20, 2)
        self.assertEqual(len(chosen.full), 3)
        self.assertTrue(all(1 <= step <= 20 for step in (*chosen.full, *chosen.timeline)))

    def test_every_step_that_codebooks_come_from_is_kept(self) -> None:
        for steps in range(20, 1200):
            # As gemma.train.warm_up, which needs torch.
            for warm_up in {steps // 10, 1, steps // 3}:
                chosen = snapshots.plan(steps, warm_up)
                self.assertLessEqual(set(timeline.calibrations(list(chosen.timeline), warm_up)), set(chosen.timeline), steps)
                self.assertTrue(all(1 <= step <= steps for step in (*chosen.full, *chosen.timeline)), steps)

    def test_every_tensor_has_its_kind(self) -> None:
        expected = {
            "layers.3.up.weight.exp_avg_sq": "Adam, second moment", "layers.3.up.weight.exp_avg": "Adam, first moment",
            "layers.12.gate.weight": "FFN1 weights", "layers.12.q.weight": "attention weights", "layers.0.q": "queries",
            "layers.0.ffn1": "FFN1 activation", "layers.0.ffn1.linear": "FFN1 before the gate",
            "layers.0.ffn1.linear.grad": "gradients before the gate", "layers.0.down.weight.grad": "FFN2 weight gradients",
            "layers.0.k.grad": "key gradients", "layers.0.o.weight.grad": "attention weight gradients",
        }
        for name, wanted in expected.items():
            found = next(title for pattern, title in snapshots.KINDS if fnmatchcase(name, pattern))
            self.assertEqual(found, wanted, name)

    def test_space_is_looked_at_before_the_training(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            single_stage.check_space(1 << 20, 1 << 20, Path(folder) / "new" / "folder")
            with self.assertRaisesRegex(peers.Failure, "--limit"):
                single_stage.check_space((1 << 20) + 1, 1 << 20, Path(folder))
            with self.assertRaisesRegex(peers.Failure, "--out"):
                single_stage.check_space(1 << 60, 1 << 60, Path(folder))

    def test_only_what_was_written_is_removed(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "run"
            own = [snapshots.full_path(folder, 1, family) for family in snapshots.FAMILIES]
            own += [snapshots.timeline_path(folder, 1), folder / "checkpoint.pt", folder / "training.json"]
            others = [folder / "notes.txt", folder / "timeline" / "notes.txt", own[0].with_name("notes.txt"), folder / "full" / "other" / "a"]
            for path in own + others:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            snapshots.remove(folder)
            self.assertEqual({path for path in folder.rglob("*") if path.is_file()}, set(others))
            for path in others:
                path.unlink()
            (folder / "full" / "other").rmdir()
            snapshots.remove(folder)
            self.assertFalse(folder.exists())

    def test_folders_of_other_programs_are_refused(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            snapshots.check_folder(folder)
            snapshots.check_folder(folder / "new")
            for path in (folder / "full" / "a", folder / "timeline" / "a", folder / "training.json"):
                path.parent.mkdir(exist_ok=True)
                path.touch()
                with self.assertRaisesRegex(peers.Failure, "--out"):
                    snapshots.check_folder(folder)
                (folder / "checkpoint.pt").touch()
                snapshots.check_folder(folder)
                (folder / "checkpoint.pt").unlink()
                path.unlink()
                if path.parent != folder:
                    path.parent.rmdir()


class Measuring(unittest.TestCase):
    def test_lists_are_left_out_and_the_worst_shard_stays(self) -> None:
        shards = [saved(21.0, 21.0, 22.0), saved(20.0, 21.0, 21.5), saved(100.0, 100.0, 100.0)]
        row = measure.condense(kind(per_shard=shards), "previous")
        self.assertNotIn("per_shard", row)
        self.assertAlmostEqual(row["worst_over_huffman_percent"], 100 * (80 / 79 - 1), places=3)
        self.assertAlmostEqual(row["worst_over_shannon_percent"], 100 * (80 / 78.5 - 1), places=3)
        self.assertEqual(row["max_kl_bits"], 0.0123)
        self.assertNotIn("worst_over_huffman_percent", measure.condense(kind(per_shard=None), "previous"))

    def test_figures_of_groups_are_refused(self) -> None:
        with self.assertRaisesRegex(peers.Failure, "shards 256.*4608 shards.*64 groups"):
            measure.condense(kind(shards=4608, groups=64, per_shard=None), "shards 256")

    def test_chance_makes_small_shards_diverge(self) -> None:
        # Two shards of 1000 bytes each, and three symbols that all of them have.
        self.assertAlmostEqual(measure.chance_kl(kind()), 2 / (2 * 1000 * math.log(2)))
        rare = [{"pmf": [0.9995, 0.0005], "first_symbol": 0, "longest": 1}]
        self.assertEqual(measure.chance_kl(kind(planes=rare)), 0)

    def test_the_average_has_a_place_for_every_byte(self) -> None:
        lists = measure.shown(kind())
        self.assertEqual(len(lists["average_pmf"]), 256)
        self.assertEqual(lists["average_pmf"][59:64], [0.0, 0.25, 0.25, 0.5, 0.0])
        self.assertEqual(lists["layers"], 2)
        self.assertEqual(lists["kl_bits"], [0.09, 0.1])

    def test_a_wrong_entropy_is_noticed(self) -> None:
        lists = {"shannon_saving_percent": [25.0] * 1152, "shard_entropy": 6.0}
        measure.check_entropy(lists)
        with self.assertRaisesRegex(peers.Failure, "bits a byte"):
            measure.check_entropy({**lists, "shard_entropy": 6.1})

    def test_every_case_is_a_command(self) -> None:
        found = list(measure.cases((400, 499, 500)))
        self.assertEqual([case.calibrated for case in found[:2]], [499, 400])
        words = measure.command(Path("huffwire"), found[-1], Path("new"), Path("old"))
        self.assertEqual(words[:5], ["huffwire", "analyze", "new", "--calibrate-on", "old"])
        self.assertIn("block", words)
        self.assertIn("--kind=*.ffn1=FFN1 activation", words)
        self.assertEqual(int(words[words.index("--shards-alone") + 1]), measure.SHARDS_ALONE)

    def test_a_program_that_fails_is_told_of(self) -> None:
        with self.assertRaisesRegex(peers.Failure, "cannot be run"):
            measure.call(["/nonexistent/huffwire"])
        with self.assertRaisesRegex(peers.Failure, "failed"):
            measure.call([sys.executable, "-c", "import sys; sys.exit('no')"])


class Documents(unittest.TestCase):
    def test_claims_are_counted(self) -> None:
        good = measure.condense(kind(), "previous")
        bad = {**good, "max_kl_bits": 0.06, "over_huffman_percent": 0.51, "over_shannon_percent": None, "fixed_saving_percent": 23.1}
        self.assertEqual(document.counted([good]), [1, 0, 0, 1])
        self.assertEqual(document.counted([bad]), [0, 0, 0, 0])
        self.assertIn("*KL below 0.06 bits* holds for 1 of 2", document.verdict([good, bad]))

    def test_the_documents_are_what_the_reports_make_of_them(self) -> None:
        for name, made in REPORTS:
            found = json.loads((single_stage.RESULTS / name).read_text())
            text = made.DOCUMENT.read_text()
            self.assertEqual(made.updated(text, found), text)

    def test_a_number_that_was_changed_is_noticed(self) -> None:
        found = json.loads((single_stage.RESULTS / single_stage.SHARDS).read_text())
        text = document.DOCUMENT.read_text()
        for row in found["rows"]:
            row["fixed_saving_percent"] += 1.0
        self.assertNotEqual(document.updated(text, found), text)

    def test_a_document_of_other_parts_is_refused(self) -> None:
        for name, made in REPORTS:
            found = json.loads((single_stage.RESULTS / name).read_text())
            with self.assertRaisesRegex(regions.DocumentError, "conditions"):
                made.updated("nothing", found)
            with self.assertRaisesRegex(regions.DocumentError, "schema"):
                made.updated("nothing", {**found, "schema_version": 99})


class Drift(unittest.TestCase):
    """What is kept of a timeline, and its tables."""

    def found(self) -> dict[str, Any]:
        """`timeline` as `huffwire analyze --timeline --json` prints it, without what is not read."""
        def curve(name: str, *regrets: float | None) -> dict[str, Any]:
            saving = [None if regret is None else 30.0 - regret for regret in regrets]
            return {"codebooks": name, "regret_percent": list(regrets), "saving_percent": saving}

        course = {
            "fresh_saving_percent": [30.0, 31.0, None],
            "curves": [curve("built-in", 0.5, 0.6, None), curve("sampled", 0.5, 2.0, None), curve("calibrated", 0.1234567, 3.0, None), curve("several", None, None, None)],
        }
        judged = {"step": 75, "regret_percent": 2.5, "refreshed": True, "saved_bytes": 1e5, "shipping_bytes": 100}
        kinds = [{"name": "keys", "model": 0, "dtype": "bf16", "symbols": symbols, **course} for symbols in ("auto", "bytes")]
        steps = [{"step": step, "since": step - 50, "files": [], "estimated_regret_percent": None} for step in (75, 100, 125)]
        return {
            "calibrated_at": 50, "steps": steps, "total": course, "kinds": kinds,
            "refresh": {"regret_percent": 2.0, "courses": [{"began_with": "sampled", "judgements": [judged]}]},
        }

    def test_empty_curves_are_left_out(self) -> None:
        run = timeline.condense(self.found())
        self.assertEqual(run["kinds"][0]["regret"], {
            "built-in": [0.5, 0.6, None], "sampled": [0.5, 2.0, None], "calibrated": [0.123, 3.0, None],
        })
        self.assertEqual(run["steps"], [75, 100, 125])

    def test_the_step_is_found_where_the_regret_becomes_high(self) -> None:
        run = timeline.condense(self.found())
        self.assertEqual(drift.first_above(run, drift.curve(run, "keys", "auto", "calibrated"), 2.0), 50)
        self.assertIsNone(drift.first_above(run, drift.curve(run, "keys", "auto", "built-in"), 2.0))
        self.assertIn("| keys | 0.6 | 3.0 | - | 2.0 |", drift.most(run))

    def test_what_fresh_codebooks_save_more_is_in_points(self) -> None:
        kind = timeline.condense(self.found())["kinds"][0]
        self.assertEqual([round(points, 3) for points in drift.gained(kind, "built-in")], [0.5, 1.6])

    def test_refreshes_are_listed(self) -> None:
        self.assertIn("| 50 | sampled | 1 | 2.50 | 0.50 to 2.00 | 75 |", drift.policy([timeline.condense(self.found())]))

    def test_codebooks_come_from_the_beginning_the_warm_up_and_the_middle(self) -> None:
        self.assertEqual(timeline.calibrations(list(snapshots.plan(500, 50).timeline), 50), [1, 50, 250])


class Arguments(unittest.TestCase):
    def test_too_few_steps_are_refused(self) -> None:
        with self.assertRaises(argparse.ArgumentTypeError):
            single_stage.steps_number("19")
        parsed = single_stage.parse_arguments(["--steps", "20", "--limit", "1GiB"])
        self.assertEqual((parsed.steps, parsed.limit), (20, 1 << 30))


@needs_torch
class Model(unittest.TestCase):
    def setUp(self) -> None:
        import torch
        from gemma.model import Gemma, Shape

        torch.set_num_threads(1)
        torch.manual_seed(1)
        self.shape = Shape(layers=2, width=16, heads=2, head_width=8, hidden=32, sequences=2, length=16)
        self.model = Gemma(self.shape)

    def test_parameters_are_bf16(self) -> None:
        import torch

        self.assertEqual({one.dtype for one in self.model.parameters()}, {torch.bfloat16})

    def test_later_tokens_do_not_change_earlier_scores(self) -> None:
        import torch

        tokens = torch.randint(256, (1, 16))
        other = tokens.clone()
        other[0, 10:] = (other[0, 10:] + 1) % 256
        with torch.no_grad():
            first, second = self.model(tokens), self.model(other)
        self.assertTrue(torch.equal(first[:, :10], second[:, :10]))
        self.assertFalse(torch.equal(first[:, 10:], second[:, 10:]))

    def test_places_matter(self) -> None:
        import torch
        from gemma.model import rotate

        x = torch.randn(1, 1, 1, 8).expand(1, 1, 4, 8)
        turned = rotate(x)
        self.assertTrue(torch.equal(turned[:, :, 0], x[:, :, 0]))
        self.assertFalse(torch.allclose(turned[:, :, 3], x[:, :, 3]))
        # Turning keeps lengths.
        self.assertTrue(torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5))

    def test_captured_tensors_are_those_that_the_backward_pass_sees(self) -> None:
        import torch
        from gemma.model import Captured, loss_of

        captured = Captured()
        loss_of(self.model, torch.randint(256, (2, 17)), captured).backward()
        families = snapshots.activations(captured, [0, 1], self.shape.tokens)
        found = families["activations"]
        self.assertEqual(found["layers.1.ffn1"].shape, (32, 32))
        self.assertEqual(found["layers.1.ffn2"].shape, (32, 16))
        self.assertEqual(found["layers.1.q"].shape, (32, 16))
        self.assertEqual(found["layers.1.k"].shape, (32, 8))
        # The gradient of a matrix is its input, transposed, times the gradient of its output.
        gradient = families["activation-gradients"]["layers.1.ffn2.grad"].float().T @ found["layers.1.ffn1"].float()
        weight = self.model.layers[1].down.weight.grad.float()
        self.assertLess((gradient - weight).norm() / weight.norm(), 0.02)


@needs_torch
class Trainings(unittest.TestCase):
    def setUp(self) -> None:
        import numpy as np
        import torch
        from gemma.model import Shape

        torch.set_num_threads(1)
        self.shape = Shape(layers=2, width=16, heads=2, head_width=8, hidden=32, sequences=2, length=16)
        self.text = np.frombuffer(b"to be or not to be, " * 100, np.uint8)
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def training(self, name: str, steps: int = STEPS) -> Any:
        from gemma.train import Training

        return Training(self.shape, steps, 1, self.text, self.folder / name)

    def test_the_rate_rises_and_falls(self) -> None:
        from gemma import train

        self.assertAlmostEqual(train.rate(1, 600), train.RATE / 60)
        self.assertAlmostEqual(train.rate(60, 600), train.RATE)
        self.assertAlmostEqual(train.rate(600, 600), train.RATE / 10)
        self.assertGreater(train.rate(200, 600), train.rate(300, 600))

    def test_a_training_that_was_stopped_goes_on_as_if_it_was_not(self) -> None:
        import torch
        from gemma.train import Stop

        whole = self.training("whole")
        whole.train(Stop(), lambda _: None)
        self.assertLess(sum(whole.run.losses[-3:]), sum(whole.run.losses[:3]))

        stop = Stop()
        # A training that fails in its first steps has a checkpoint, too.
        with self.assertRaises(ZeroDivisionError):
            self.training("parts").train(stop, lambda _: 1 // 0)
        snapshots.check_folder(self.folder / "parts")
        failed = self.training("parts")
        failed.resume()
        self.assertEqual(failed.step, 0)

        def press(training: Any) -> None:
            if training.step == 7:
                os.kill(os.getpid(), signal.SIGINT)

        with self.assertRaises(KeyboardInterrupt), stop.listening():
            failed.train(stop, press)
        resumed = self.training("parts")
        resumed.resume()
        self.assertEqual(resumed.step, 7)
        resumed.train(Stop(), lambda _: None)
        self.assertEqual(resumed.run.losses, whole.run.losses)
        for name, master in whole.masters.items():
            self.assertTrue(torch.equal(master, resumed.masters[name]), name)
        for path in sorted((self.folder / "whole").rglob("*.safetensors")):
            other = self.folder / "parts" / path.relative_to(self.folder / "whole")
            self.assertEqual(path.read_bytes(), other.read_bytes(), other)

    def test_snapshots_have_what_the_plan_says(self) -> None:
        import torch
        from gemma.train import Stop
        from safetensors.torch import load_file

        training = self.training("run")
        training.train(Stop(), lambda _: None)
        files = sorted((self.folder / "run").rglob("*.safetensors"))
        self.assertEqual(len(files), 4 * len(training.chosen.full) + len(training.chosen.timeline))
        tensors = [tensor for path in files for tensor in load_file(path).values()]
        total = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.assertEqual(total, snapshots.planned_bytes(self.shape, training.chosen))
        last = load_file(snapshots.timeline_path(self.folder / "run", STEPS))
        self.assertEqual(last["layers.1.down.weight.exp_avg_sq"].dtype, torch.float32)
        self.assertEqual(last["layers.1.down.weight.grad"].dtype, torch.bfloat16)
        self.assertTrue((last["layers.1.down.weight.exp_avg_sq"] >= 0).all())
        pmf, entropy = self.histogram(last["layers.1.ffn1"])
        self.assertAlmostEqual(sum(pmf), 1.0, places=2)
        self.assertTrue(0 < entropy < 8)

    def histogram(self, tensor: Any) -> tuple[list[float], float]:
        """By the function that the study takes; it wants 64 shards in layer 8."""
        path = self.folder / "one.safetensors"
        snapshots.write(path, {f"layers.{measure.SHOWN_LAYER}.ffn1": tensor.repeat(1, measure.SHARDS)})
        return measure.shard_pmf(path, "ffn1")

    def test_a_checkpoint_of_another_training_is_refused(self) -> None:
        training = self.training("run")
        training.save()
        with self.assertRaisesRegex(peers.Failure, "another training"):
            self.training("run", steps=30).resume()
        training.checkpoint.write_bytes(b"damaged")
        with self.assertRaisesRegex(peers.Failure, "cannot be read"):
            self.training("run").resume()

    def test_batches_depend_on_seed_and_step_alone(self) -> None:
        import torch
        from gemma import train

        first = train.batch(self.text, self.shape, 1, 5)
        self.assertEqual(first.shape, (2, 17))
        self.assertTrue(torch.equal(first, train.batch(self.text, self.shape, 1, 5)))
        self.assertFalse(torch.equal(first, train.batch(self.text, self.shape, 1, 6)))


if __name__ == "__main__":
    unittest.main()
