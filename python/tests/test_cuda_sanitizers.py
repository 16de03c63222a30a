"""Kernels in the emulator under sanitizers of g++.

The thread sanitizer tells whether lanes that exchange something through memory wait for each other. Elsewhere the
emulator lets all lanes come as far as a ballot or a shuffle before one goes on. On a GPU these order nothing in
memory; only __syncwarp and __syncthreads do. Here the sanitizer takes every lane for a thread, and knows of no order
but theirs.

The sanitizer of undefined behaviour finds words at addresses that are no multiples of their size, which a GPU does not
load, and shifts by 32 and more, which a GPU does in another way than the CPU.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import huffwire
import test_cuda_decode
import test_cuda_encode
import test_cuda_encode_any
from huffwire.cuda._types import TYPES

HERE = Path(__file__).parent


def encode_some() -> None:
    encoder = test_cuda_encode.Encoder(sanitize=os.environ["HUFFWIRE_TEST_SANITIZED"])
    for dtype, unit in test_cuda_encode.UNIT.items():
        for kind in ("relu", "positive", "constant", "noise", "nan"):
            for units, shift in ((3001, 3), (5000, 0)):
                elements = test_cuda_encode.data(dtype, kind, units)
                message = encoder.encode(
                    elements,
                    test_cuda_encode.NUMBERS[dtype],
                    unit,
                    block_size=2048 if shift else 8192,
                    source_shift=shift * unit,
                )
                assert huffwire.decode(message, dtype=dtype) == elements


def encode_any() -> None:
    test_cuda_encode_any.encode_some(test_cuda_encode.Encoder(sanitize=os.environ["HUFFWIRE_TEST_SANITIZED"]))


def decode_some() -> None:
    decode = test_cuda_decode
    for dtype in ("bf16", "f16", "f32", "e4m3", "e3m2-packed", "e8m0"):
        decode.check_drawn_messages(dtype, 1, 2)
    for dtype, longest, zero in decode.CASES:
        for elements, message, codebooks in itertools.islice(decode.common_messages(dtype, longest, zero, 1), 2):
            units = len(elements) // TYPES[dtype].unit
            assert decode.decode(message, dtype, units, sets=[codebooks]) == elements
    constant = b"\1\2" * 2048
    assert decode.decode(huffwire.encode(constant, "bf16"), "bf16", 2048) == constant
    elements = decode.gaussian(random.Random(4), "f16", 8192)
    message = huffwire.encode(elements, "f16", level="max", checksums=False)
    assert decode.decode(message, "f16", 8192) == elements


PROGRAMS = pytest.mark.parametrize("program", ["encode_some", "encode_any", "decode_some"])


def run(program: str, sanitizer: str, first: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | variables
    environment["HUFFWIRE_TEST_SANITIZED"] = sanitizer
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), *sys.path])
    command = f"import test_cuda_sanitizers; test_cuda_sanitizers.{program}(); print('all done')"
    return subprocess.run(
        [*first, sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=False
    )


@PROGRAMS
def test_lanes_wait_for_each_other(program: str) -> None:
    found = subprocess.run(["gcc", "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True)
    library = Path(found.stdout.strip())
    if not library.is_absolute():
        pytest.skip("gcc has no thread sanitizer here")
    # The sanitizer wants memory where the system may have put something else, at random.
    first = [setarch, "-R"] if (setarch := shutil.which("setarch")) else []
    options = "halt_on_error=1 exitcode=66"
    result = run(program, "thread", first, LD_PRELOAD=str(library.resolve()), TSAN_OPTIONS=options)
    if "unexpected memory mapping" in result.stderr or "set personality" in result.stderr:
        pytest.skip(f"the thread sanitizer cannot run here: {result.stderr.strip()[:200]}")
    assert result.returncode == 0, result.stderr[-4000:]
    assert "all done" in result.stdout


@PROGRAMS
def test_what_a_gpu_does_differently(program: str) -> None:
    result = run(program, "undefined", [])
    assert result.returncode == 0, result.stderr[-4000:]
    assert "all done" in result.stdout
    assert "runtime error" not in result.stderr
