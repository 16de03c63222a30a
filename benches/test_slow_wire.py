"""Tests of slow_wire.py that need no packages, no root and no network. python/tests/test_slow_wire.py runs it."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import peers
import slow_wire
from wire import bounds, checks, document, network, planning, quantities, report
from wire.network import Network, Unavailable, Wire

MIB = 1 << 20


def contender(*seconds: float, sent: int = 1000, **more: Any) -> dict[str, Any]:
    return {"seconds": list(seconds), "sent_bytes": sent, **more}


def collective(name: str, size: int, gloo: float, raw: float, coded: float) -> dict[str, Any]:
    return {
        "what": "collective",
        "collective": name,
        "bytes": size,
        "contenders": {
            "gloo": contender(gloo, gloo, sent=1500),
            "raw pieces": contender(raw, raw, sent=1500),
            "coded": contender(coded, coded),
            "auto": contender(coded, coded, chose="coded"),
        },
        "predicted_seconds": {"plain": gloo, "raw": raw * 1.1, "coded": coded * 2},
    }


def steps(what: str, dtype: str, stock: float, lossless: float) -> dict[str, Any]:
    name = "lossless_hook, coded" if what == "ddp" else "huffwire.fsdp, coded"
    return {
        "what": what,
        "dtype": dtype,
        "bytes": 4000,
        "parameters": 1000,
        "contenders": {
            "stock PyTorch": contender(stock, loss=1.0, sent=12000),
            name: contender(lossless, loss=1.0, equal=True),
            "no communication": contender(stock / 4),
        },
        "predicted_seconds": {"plain": stock, "raw": stock, "coded": lossless},
    }


def sample() -> dict[str, Any]:
    """A small report with one case of each kind."""
    run = {
        "wire": "1 Gbit/s",
        "rate": 10**9,
        "delay": 0.0,
        "ranks": 2,
        "others": 0.5,
        "notes": [],
        "transports": ["gloo"],
        "took": 3.0,
        "agreed": {"bytes_per_second": 125e6, "one_way": 125e6, "latency": 1e-4, "encode": 5e9, "decode": 6e9, "piece": MIB},
        "data": "values",
        "cases": [
            collective("all_reduce", MIB, 0.010, 0.012, 0.011),
            collective("all_reduce", 64 * MIB, 0.75, 0.625, 0.5),
            steps("ddp", "bf16", 0.2, 0.1),
            steps("fsdp", "bf16", 0.4, 0.2),
        ],
    }
    near = {**run, "wire": "loopback", "rate": None, "cases": [
        {"what": "loopback", "collective": "broadcast", "bytes": 4096, "contenders": {
            "gloo": contender(*[1.0] * 20), "gloo again": contender(*[1.01] * 20), "auto": contender(*[1.001] * 20, chose="gloo"),
        }},
        {"what": "loss", "steps": 5, "contenders": {
            "stock PyTorch": {"losses": [1.0, 2.0]}, "quantized_hook": {"losses": [1.4, 1.8]}, "bf16_compress_hook": {"losses": [3.0, 3.0]},
        }},
    ]}
    call = {"collective": "all_reduce", "gbit": 25, "ranks": 8, "plain_seconds": 0.15, "coded_seconds": 0.1, "cores_to_pay": 1,
            "cores_to_keep_up": None}
    plan = {
        "codec": {"encode": 10e9, "decode": 11e9, "left": 0.66, "fixed": 1e-6}, "bytes": MIB, "latency": 2e-5, "margin": 1.08,
        "calls": [call], "curves": [],
        "steps": {"bytes": MIB, "compute": 1.0, "ranks": 64,
                  "rows": [{"gbit": 25, "plain_seconds": 2.0, "coded_seconds": {"1": 1.5, "4": 0.5}}]},
    }
    return {
        "schema_version": report.SCHEMA_VERSION, "date": "2026-11-21T12:00Z", "short": False, "runs": [run, near], "plan": plan,
        "machine": {"processor": "P", "cores": 2, "memory_gib": 4, "kernel": "6"},
        "versions": {"huffwire": "0", "platform": "avx512", "python": "3", "torch": "2"},
    }


class Quantities(unittest.TestCase):
    def test_rates(self) -> None:
        for text, bits in (("1gbit", 10**9), ("200mbit", 2 * 10**8), ("2.5GBIT", 2_500_000_000), ("none", None)):
            self.assertEqual(quantities.rate(text), bits)
        for text in ("1", "fast", "1gb", "0gbit", "-1gbit", "10bit", "1e3mbit"):
            with self.assertRaises(argparse.ArgumentTypeError, msg=text):
                quantities.rate(text)
        self.assertEqual([quantities.rate_name(bits) for bits in (10**10, 2 * 10**8, None)], ["10 Gbit/s", "200 Mbit/s", "no limit"])

    def test_delays_sizes_and_ranks(self) -> None:
        self.assertEqual([quantities.delay(text) for text in ("0", "1ms", "500us", "1s")], [0, 1e-3, 500 * 1e-6, 1])
        self.assertEqual(quantities.sizes("4KiB,1MiB"), [4096, MIB])
        self.assertEqual([quantities.size_name(size) for size in (4096, 64 * MIB, 1000)], ["4 KiB", "64 MiB", "1000 B"])
        self.assertEqual(quantities.ranks("4"), 4)
        self.assertEqual(quantities.words("a", "b")("b,a"), ["b", "a"])
        parsers = ((quantities.delay, "1"), (quantities.size, "1000"), (quantities.size, "0MiB"), (quantities.ranks, "1"),
                   (quantities.ranks, "x"), (quantities.words("a"), "a,c"), (quantities.words("a"), ","))
        for parse, text in parsers:
            with self.assertRaises(argparse.ArgumentTypeError, msg=text):
                parse(text)

    def test_statistics(self) -> None:
        self.assertEqual(quantities.median([3, 1, 2]), 2)
        self.assertEqual(quantities.quartiles([1, 2, 3, 4, 5]), (2, 4))
        self.assertEqual(quantities.quartiles([7]), (7, 7))
        self.assertEqual([quantities.milliseconds(s) for s in (0.000123, 0.0123456, 1.2345)], ["0.123", "12.3", "1230"])

    def test_intervals_hold_the_median_as_often_as_they_say(self) -> None:
        # From tables of the sign test: of 20 values the 6th and the 15th, of 100 the 40th and the 61st.
        self.assertEqual(quantities.median_interval(range(1, 21)), (6, 15))
        self.assertEqual(quantities.median_interval(range(1, 101)), (40, 61))
        self.assertEqual(quantities.median_interval(range(1500)), (711, 788))
        self.assertEqual(quantities.median_interval([5, 1]), (1, 5))
        self.assertEqual(quantities.median_interval([5]), (5, 5))


class Networks(unittest.TestCase):
    def test_limits(self) -> None:
        self.assertEqual(network.limits(Wire(2)), ([], []))
        limited, delayed = network.limits(Wire(2, 10**9, 0.001))
        self.assertEqual(limited[3:6], ["tbf", "rate", "1000000000bit"])
        self.assertEqual(delayed[:5], ["parent", "1:1", "netem", "delay", "1000us"])
        self.assertEqual(network.limits(Wire(2, None, 0.001))[1][0], "root")
        self.assertEqual(network.burst(10**8), 128 << 10)
        self.assertGreater(network.burst(10**11), 10**6)

    def test_counters(self) -> None:
        table = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10\n  eth0:  11 2 3 4 5 6 7 8 99 1\n"
        self.assertEqual(network.sent_bytes("eth0", table), 99)
        self.assertEqual(network.sent_bytes("lo", table), 9)
        with self.assertRaises(network.NetworkError):
            network.sent_bytes("eth1", table)

    def test_what_is_missing_is_said(self) -> None:
        with mock.patch("os.geteuid", return_value=1000), self.assertRaisesRegex(Unavailable, "root"):
            network.check_tools()
        with (mock.patch("os.geteuid", return_value=0), mock.patch("shutil.which", return_value=None),
              self.assertRaisesRegex(Unavailable, "iproute2")):
            network.check_tools()

    def test_everything_is_removed_after_a_failure(self) -> None:
        """Wherever a command fails, exactly the namespaces that were made are deleted."""
        for failing in range(30):
            made, commands = set(), 0

            def run(command: Sequence[str], failing: int = failing, made: set[str] = made, **_: object) -> mock.Mock:
                nonlocal commands
                command = list(command)
                if command[:3] == ["ip", "netns", "delete"]:
                    made.discard(command[3])
                    return mock.Mock(returncode=0)
                commands += 1
                if commands - 1 == failing:
                    return mock.Mock(returncode=1, stderr="no")
                if command[:3] == ["ip", "netns", "add"]:
                    made.add(command[3])
                return mock.Mock(returncode=0)

            with (mock.patch("subprocess.run", run), mock.patch("wire.network.check_tools"),
                  contextlib.suppress(Unavailable, network.NetworkError), Network(Wire(2, 10**9, 0.001))):
                self.assertEqual(len(made), 3)
            self.assertEqual(made, set(), failing)
            if commands <= failing:
                break
        else:
            self.fail("the wire takes more commands than were tried")

    def test_without_root_the_program_skips_aloud(self) -> None:
        errors = io.StringIO()
        with (mock.patch("slow_wire.measure", side_effect=Unavailable("network namespaces need root")),
              mock.patch("sys.argv", ["slow_wire.py"]), contextlib.redirect_stderr(errors)):
            self.assertEqual(slow_wire.main(), slow_wire.SKIPPED)
        self.assertIn("SKIPPED: network namespaces need root", errors.getvalue())


class Arguments(unittest.TestCase):
    def test_defaults(self) -> None:
        arguments = slow_wire.parse_arguments([])
        self.assertEqual((arguments.rate, arguments.delay, arguments.ranks), (10**9, 0.0, 2))
        self.assertEqual(arguments.sizes, [MIB, 16 * MIB, 64 * MIB])
        self.assertEqual([(job["what"], wire) for job, wire in slow_wire.jobs(arguments)], [(["collectives", "ddp", "fsdp"], Wire(2, 10**9))])

    def test_what_needs_no_wire_gets_none(self) -> None:
        arguments = slow_wire.parse_arguments(["--what", "ddp,loss", "--short", "--rate", "none", "--ranks", "3"])
        found = [(job["what"], job["ranks"], wire) for job, wire in slow_wire.jobs(arguments)]
        self.assertEqual(found, [(["ddp"], 3, Wire(3)), (["loss"], 3, None)])

    def test_nonsense_is_refused(self) -> None:
        for line in (["--rate", "fast"], ["--what", "lunch"], ["--transport", "udp"], ["--write-docs"], ["--tensors", "/no/such.file"]):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit, msg=line):
                slow_wire.parse_arguments(line)

    def test_documented_runs_are_readable(self) -> None:
        for rate, ranks, what, more in slow_wire.DOCUMENTED:
            quantities.rate(rate)
            self.assertTrue(set(what) <= set(slow_wire.WHAT) and ranks >= 2)
            self.assertTrue(set(more) <= {*slow_wire.FULL, "sizes"})
        self.assertGreater(len(list(slow_wire.jobs(slow_wire.parse_arguments(["--documented"])))), 5)


class Checks(unittest.TestCase):
    def test_results_that_must_be_equal(self) -> None:
        same = {"gloo": "a", "raw pieces": "a", "coded": "a", "auto": "a"}
        self.assertEqual(checks.unequal("all_gather", 2, [same, same]), [])
        self.assertEqual(checks.unequal("broadcast", 2, [same, same | {"coded": "b"}]), ["coded"])
        # More than 2 ranks: gloo adds in another order, and the others among each other do not.
        four = {"gloo": "a", "raw pieces": "b", "coded": "b", "auto": "a"}
        self.assertEqual(checks.unequal("all_reduce", 4, [four] * 4), [])
        self.assertEqual(checks.unequal("all_reduce", 4, [four | {"raw pieces": "c"}] * 4), ["raw pieces"])
        self.assertIn("coded between ranks", checks.unequal("all_reduce", 4, [four, four, four, four | {"coded": "c"}]))
        self.assertIn("raw pieces", checks.unequal("all_gather", 4, [four] * 4))


class Planning(unittest.TestCase):
    def test_steps(self) -> None:
        self.assertEqual(planning.step(2.0, 1.0, 0), 3.0)
        self.assertEqual(planning.step(2.0, 1.0, 1), 2.0)
        self.assertEqual(planning.step(1.0, 2.0, 0.5), 2.5)

    def test_predictions_beside_measurements(self) -> None:
        run = sample()["runs"][0]
        ratios = report.predictions(run["cases"][0])
        self.assertAlmostEqual(ratios["gloo"], 1.0)
        self.assertAlmostEqual(ratios["coded"], 2.0)
        name, shortest, longest, measured = next(report.step_predictions(run["cases"][2]))
        self.assertEqual((name, measured), ("stock PyTorch", 0.2))
        self.assertAlmostEqual(shortest, 0.2)
        self.assertAlmostEqual(longest, 0.25)


class Reports(unittest.TestCase):
    def test_json_is_read_back(self) -> None:
        text = report.as_json(sample())
        self.assertEqual(json.loads(text), sample())
        self.assertLess(text.count("\n"), json.dumps(sample(), indent=1).count("\n"))

    def test_tables(self) -> None:
        run = sample()["runs"][0]
        headings, rows = report.collectives(run)
        self.assertEqual({len(row) for row in rows}, {len(headings)})
        self.assertEqual(rows[1][:2], ("all_reduce", "64 MiB"))
        self.assertEqual(rows[1][5:8], ("**1.50**", "1.25", "1.50"))
        self.assertEqual(report.steps(run["cases"][2])[1][1][2:5], ("2.00", "0.001", "12.00"))
        self.assertEqual(report.markdown((("a", "b"), [("1", "2")])), "| a | b |\n|---|---|\n| 1 | 2 |")
        self.assertIn("other programs used 50 %", report.text(run))

    def test_bounds(self) -> None:
        found = dict((about.split(":")[0], (value, bound)) for about, value, bound in bounds.check(sample()))
        self.assertEqual(found["1 Gbit/s, all_reduce of 64 MiB, coded"], (1.5, 1.42))
        self.assertEqual(found["1 Gbit/s, DDP step in bf16, lossless_hook, coded"], (2.0, 1.3))
        self.assertEqual(len(found), 2)
        slow = sample()
        slow["runs"][0]["cases"][1]["contenders"]["coded"]["seconds"] = [0.7]
        self.assertIn("MISSED: 1 Gbit/s, all_reduce of 64 MiB", bounds.text(slow))

    def test_bounds_that_nothing_was_measured_for_are_told_of(self) -> None:
        missing = dict(bounds.unmeasured(sample()))
        self.assertEqual(missing["1 Gbit/s, all_gather of 64 MiB, coded: times as fast as gloo"], 2.2)
        self.assertEqual(missing["1 Gbit/s, DDP step in fp32, quantized_hook, tcp: times as fast"], 3.5)
        self.assertNotIn("1 Gbit/s, all_reduce of 64 MiB, coded: times as fast as gloo", missing)
        row = "| 1 Gbit/s, DDP step in fp32, quantized_hook, tcp: times as fast | not measured | 3.5 | - |"
        self.assertIn(row, dict(document.regions(sample()))["bounds"])
        short = sample() | {"short": True}
        self.assertEqual(list(bounds.check(short)), [])
        # The report is kept; the measurement took a quarter of an hour.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.json"
            line = ["slow_wire.py", "--documented", "--write-docs", "--json", str(path)]
            with (mock.patch("slow_wire.measure", return_value=sample()), mock.patch("sys.argv", line), mock.patch("signal.signal"),
                  mock.patch("subprocess.run") as documents, contextlib.redirect_stdout(io.StringIO()),
                  self.assertRaisesRegex(peers.Failure, "quantized_hook, tcp")):
                slow_wire.main()
            self.assertEqual(json.loads(path.read_text()), sample())
        documents.assert_not_called()


class Documents(unittest.TestCase):
    def test_parts_are_replaced_and_all_there(self) -> None:
        made = dict(document.regions(sample()))
        text = "".join(f"x\n<!-- begin {name} -->\nstale words\n<!-- end {name} -->\ny\n" for name in made)
        new = document.updated(text, sample())
        self.assertNotIn("stale words", new)
        self.assertEqual(new.count("x\n"), text.count("x\n"))
        self.assertEqual(document.updated(new, sample()), new)
        with self.assertRaisesRegex(document.DocumentError, "codec"):
            document.updated(text.replace("begin codec", "begin codex"), sample())
        with self.assertRaisesRegex(document.DocumentError, "schema"):
            document.updated(text, {**sample(), "schema_version": 0})

    def test_sentences_follow_the_numbers(self) -> None:
        made = dict(document.regions(sample()))
        self.assertIn("slower than gloo's: all_reduce (1 MiB)", made["pays"])
        self.assertIn("The machine was busy", made["conditions"])
        self.assertIn("Of 1 cases that `auto` left to gloo, 1 are within 2 %", made["loopback"])
        self.assertIn("stock PyTorch: `quantized_hook`. Outside: `bf16_compress_hook`.", made["losses"])
        self.assertIn("2 too long", made["model"])
        self.assertIn("coding pays with 1 core; no number of cores keeps up", made["plan"])
        quiet = sample()
        for run in quiet["runs"]:
            run["others"] = 0.01
        self.assertIn("did nothing else", dict(document.regions(quiet))["conditions"])

    def test_the_document_is_what_the_report_makes_of_it(self) -> None:
        found = json.loads(slow_wire.RESULTS.read_text())
        text = document.DOCUMENT.read_text()
        # For other reports: benches/slow_wire_docs.py
        self.assertEqual(document.updated(text, found), text)


if __name__ == "__main__":
    unittest.main()
