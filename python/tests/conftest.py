"""What all tests need before they import anything."""

import os
import shutil
import signal

import pytest

# A shell has what it starts in the background ignore interrupts, and all that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine may announce instructions (AMX) that it does not run. torch then dies with an illegal
# instruction in products of bf16 matrices.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

from hypothesis import settings  # noqa: E402

# Other programs may run at the same time.
settings.register_profile("patient", deadline=None, print_blob=True)
settings.load_profile("patient")

# Modules whose tests run kernels on an emulator (emulated.py).
EMULATED = {
    "test_cuda_bench",
    "test_cuda_collectives",
    "test_cuda_decode",
    "test_cuda_encode",
    "test_cuda_encode_any",
    "test_cuda_host",
    "test_cuda_sanitizers",
    "test_cuda_transport",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what this machine cannot compile, and says why."""
    if shutil.which("g++") is not None:
        return
    skip = pytest.mark.skip(reason="g++ is missing, which compiles the emulator of the kernels")
    for item in items:
        if item.path.stem in EMULATED:
            item.add_marker(skip)
