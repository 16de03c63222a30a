"""Real processes for tests of `huffwire.distributed`: each is a rank of a gloo group."""

from __future__ import annotations

import os
import queue
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta

import huffwire.backend  # noqa: F401 (ranks may be of it)
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# `huffwire.observe` needs them.
needs_hooks = pytest.mark.skipif(
    not hasattr(dist.ProcessGroup, "register_pre_hook"),
    reason=f"torch {torch.__version__} has no hooks for process groups",
)

# A server that has imported torch forks the ranks, which then start at once.
_CONTEXT = mp.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "torch.distributed.fsdp", "huffwire.backend"])


class Died:
    """What a rank that ended without an answer leaves."""

    def __init__(self, code: int | None) -> None:
        self.code = code

    def __repr__(self) -> str:
        return f"<died with {self.code}>"


def _rank(function, rank, size, args, path, backend, seconds, environment, answers) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        if backend is not None:
            dist.init_process_group(
                backend,
                store=dist.FileStore(path, size),
                rank=rank,
                world_size=size,
                timeout=timedelta(seconds=seconds),
            )
        answer = True, function(rank, size, *args)
    except BaseException as error:
        answer = False, (type(error).__name__, str(error), traceback.format_exc())
    answers.put((rank, answer))
    answers.close()
    answers.join_thread()
    # Connections of other ranks end when this process does.
    sys.stdout.flush()
    os._exit(0)


def run(
    function: Callable,
    size: int,
    *args: object,
    backend: str | None = "gloo",
    seconds: float = 10,
    limit: float = 60,
    environment: dict[str, str] | None = None,
    each: Callable[[int], dict[str, str]] | None = None,
    may_fail: bool = False,
    transport: str = "gloo",
) -> list:
    """Runs ``function(rank, size, *args)`` in as many processes, and returns what each returned.

    Args:
        function: A function of a module, which other processes can import.
        size: How many ranks.
        backend: The backend of the default group; None for no group.
        seconds: The time-out of the group.
        limit: After so many seconds all processes are killed, and the test fails.
        environment: Variables for all ranks.
        each: Variables for one rank, by its number.
        may_fail: Whether a rank's exception is returned, as a tuple of its class's name and its text. Otherwise
            it fails the test.
        transport: What carries the pieces.
    """
    environment = {
        "HUFFWIRE_COMPRESSION": "always",
        "HUFFWIRE_TRANSPORT": transport,
        **(environment or {}),
    }
    answers = _CONTEXT.Queue()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "store")
        processes = [
            _CONTEXT.Process(
                target=_rank,
                args=(
                    function,
                    rank,
                    size,
                    args,
                    path,
                    backend,
                    seconds,
                    {**environment, **(each(rank) if each else {})},
                    answers,
                ),
                daemon=True,
            )
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        try:
            found = _collect(processes, answers, limit)
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                process.join()
    results = []
    for rank in range(size):
        well, value = found[rank]
        if isinstance(value, Died) and (value.code or 0) < 0 and value.code != -signal.SIGKILL:
            # Tests kill ranks. Whatever else ends one is a crash.
            raise AssertionError(f"rank {rank} crashed: {signal.strsignal(-value.code)}")
        if not well and not may_fail and not isinstance(value, Died):
            raise AssertionError(f"rank {rank} raised\n{value[2]}")
        results.append(value if well or isinstance(value, Died) else value[:2])
    return results


def _collect(processes, answers, limit: float) -> dict[int, tuple[bool, object]]:
    end = time.monotonic() + limit
    found: dict[int, tuple[bool, object]] = {}
    while len(found) < len(processes):
        try:
            rank, answer = answers.get(timeout=0.2)
            found[rank] = answer
            continue
        except queue.Empty:
            pass
        for rank, process in enumerate(processes):
            if rank not in found and not process.is_alive():
                # What it had put may still be on its way.
                try:
                    late, answer = answers.get(timeout=1)
                    found[late] = answer
                except queue.Empty:
                    found[rank] = False, Died(process.exitcode)
        if time.monotonic() > end:
            missing = [rank for rank in range(len(processes)) if rank not in found]
            raise AssertionError(
                f"after {limit} seconds no answer from ranks {missing}; the others: {found}"
            )
    return found
