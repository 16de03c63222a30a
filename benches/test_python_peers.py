"""Tests of python_peers.py that need no packages and no network."""

from __future__ import annotations

import unittest
import zlib
from collections.abc import Callable
from typing import Any

import peers
import python_peers


class Zlib(peers.Peer):
    """A coder that is always there, with a checksum."""

    name = "zlib"

    def encode_with(self, raw: bytes) -> Callable[[], bytes]:
        return lambda: zlib.compress(raw)

    def decode_with(self, coded: bytes) -> Callable[[], Any]:
        return lambda: zlib.decompress(coded)


class Careless(Zlib):
    """A coder that notices nothing, changes its input, and dies of a message with an odd first byte."""

    name = "careless"

    def encode_with(self, raw: bytes) -> Callable[[], bytes]:
        def encode() -> bytes:
            coded = b"\0" + bytes(raw)
            if isinstance(raw, bytearray):
                raw[0] ^= 1
            return coded

        return encode

    def decode_with(self, coded: bytes) -> Callable[[], Any]:
        def decode() -> bytes:
            if coded[0] & 1:
                import os

                os.abort()
            return coded[1:]

        return decode


class Behaviour(unittest.TestCase):
    def test_of_a_careful_coder(self) -> None:
        found = python_peers.behaviour(Zlib(), bytes(range(256)) * 64)
        self.assertTrue(found.lossless and found.keeps_input)
        self.assertEqual(found.flips["noticed"] + found.flips["harmless"], python_peers.FLIPS)
        self.assertGreater(found.two_threads, 0)
        self.assertEqual(len(found.row()), len(python_peers.HEADINGS))

    def test_of_a_careless_one(self) -> None:
        found = python_peers.behaviour(Careless(), bytes(10))
        self.assertTrue(found.lossless)
        self.assertFalse(found.keeps_input)
        self.assertGreater(found.flips["CRASHES"], 0)
        self.assertGreater(found.flips["WRONG DATA"], 0)
        self.assertEqual(found.row()[1:3], ("yes", "no"))


class Arguments(unittest.TestCase):
    def test_defaults(self) -> None:
        arguments = python_peers.parse_arguments([])
        self.assertEqual(arguments.size, 16 << 20)
        self.assertEqual(arguments.data, list(peers.DATA_SETS))
        self.assertIsNone(arguments.huffwire)

    def test_everything_is_pinned(self) -> None:
        for package in (*python_peers.ENVIRONMENT.pinned, *python_peers.ENVIRONMENT.alone):
            self.assertRegex(package, r"^\w+==[\d.]+$")


if __name__ == "__main__":
    unittest.main()
