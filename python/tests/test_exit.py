"""A process ends well, whatever the threads of huffwire do at that time."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import torch
from huffwire.distributed.engine import Worker

torch.set_num_threads(1)
matrix = torch.randn(1200, 1200)
worker = Worker("worker")
worker.put(lambda: torch.mm(matrix, matrix))
"""


def test_a_thread_that_works_at_the_end_aborts_nothing() -> None:
    # Without the interpreter lock the thread is in torch when the program ends.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
