"""Threads, the interpreter lock, and processes that fork."""

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import huffwire
import huffwire.numpy
import huffwire.torch

TENSOR = torch.randn(2 << 20, generator=torch.Generator().manual_seed(1)).bfloat16()
MESSAGE = huffwire.torch.encode(TENSOR, threads=1)


def code(threads):
    """Encodes and decodes; whether all is well."""
    message = huffwire.torch.encode(TENSOR, threads=threads)
    restored = huffwire.torch.decode(message, threads=threads)
    return message == MESSAGE and torch.equal(restored.view(torch.int16), TENSOR.view(torch.int16))


def pool_threads():
    """How many threads of pools this process has."""
    names = [Path(task, "comm") for task in Path("/proc/self/task").iterdir()]
    return sum(name.read_text().startswith("huffwire-") for name in names)


# The interpreter lock.


def runs_during(work, rounds=1000):
    """Whether another Python thread runs while this one does `work`, at most so many times: where other programs run,
    the system may leave the other thread waiting for long."""
    begin, ran = threading.Event(), []

    def other():
        begin.wait()
        ran.append(True)

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=other)
    # From here on a thread runs only when the one that has the lock gives it away. One that waits for the lock
    # already would ask for it once more.
    sys.setswitchinterval(1000)
    try:
        thread.start()
        begin.set()
        for _ in range(rounds):
            work()
            if ran:
                break
        return bool(ran)
    finally:
        sys.setswitchinterval(interval)
        thread.join()


def test_the_interpreter_lock_is_released():
    large = np.zeros(64 << 20, np.uint8)
    message = huffwire.numpy.encode(large)
    out = bytearray(huffwire.max_encoded_size(large.nbytes, "u8"))
    assert not runs_during(lambda: sum(range(100_000)), rounds=20)
    assert runs_during(lambda: huffwire.numpy.encode(large, threads=1))
    assert runs_during(lambda: huffwire.encode_into(large, "u8", out, threads=1))
    assert runs_during(lambda: huffwire.decode(message, threads=1))
    assert runs_during(lambda: huffwire.decode_into(message, large, threads=1))


def test_python_threads_work_at_the_same_time():
    arrays = [np.random.default_rng(seed).normal(size=300_000) for seed in range(4)]

    def work(seed):
        array = arrays[seed % 4].astype(["float32", "float16"][seed % 2])
        level = ["fast", "max"][seed // 2 % 2]
        for threads in [None, 1, 2]:
            message = huffwire.numpy.encode(array, level=level, threads=threads)
            if not (huffwire.numpy.decode(message, threads=threads) == array).all():
                return False
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        assert all(executor.map(work, range(40)))


# How many threads.


def elsewhere(program, **environment):
    """What a program prints in another process."""
    variables = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**variables, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


DEFAULT = "import huffwire; print(huffwire.default_threads())"


def test_the_default_follows_the_variable_of_openmp():
    every = elsewhere(DEFAULT)
    for value, expected in [("1", "1"), ("3", "3"), ("4,2", "4"), (" 5 ", "5")]:
        assert elsewhere(DEFAULT, OMP_NUM_THREADS=value) == expected
    for value in ["", "0", "-1", "many"]:
        assert elsewhere(DEFAULT, OMP_NUM_THREADS=value) == every


def test_the_default_follows_the_affinity():
    program = """
import os, huffwire
every = os.sched_getaffinity(0)
os.sched_setaffinity(0, {min(every)})
assert huffwire.default_threads() == 1
os.sched_setaffinity(0, every)
# Less, if the group of processes is limited to less time.
assert 1 <= huffwire.default_threads() <= len(every)
print("done")
"""
    assert elsewhere(program) == "done"


def test_processes_of_torchrun_start_no_threads():
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_threads
assert test_threads.pool_threads() == 0
assert test_threads.code(None)
assert test_threads.pool_threads() == 0
assert test_threads.code(3)
assert test_threads.pool_threads() == 3
assert test_threads.code(3)
assert test_threads.pool_threads() == 3
print("done")
"""
    assert elsewhere(program, OMP_NUM_THREADS="1") == "done"


# Other processes.


def in_fork(work):
    """Whether `work` returns True in a fork of this process."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)  # Whoever waits for a thread that does not exist is ended.
            torch.set_num_threads(1)  # torch would wait for its own; a DataLoader does the same.
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_fork_codes_on_before_and_after_the_pool_has_started():
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_threads as t
assert t.pool_threads() == 0
assert t.in_fork(lambda: t.code(2) and t.pool_threads() == 2), "before"
assert t.code(2) and t.pool_threads() == 2
assert t.in_fork(lambda: t.code(2) and t.pool_threads() == 2), "after"
assert t.in_fork(lambda: t.code(1) and t.pool_threads() == 0), "alone"
assert t.in_fork(lambda: t.code(3) and t.in_fork(lambda: t.code(3)) and t.code(3)), "twice"
assert t.code(2) and t.code(3)
print("done")
"""
    assert elsewhere(program) == "done"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_fork_amid_other_threads_work_codes_on():
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            code(2)

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert all(in_fork(bytes_are_coded) for _ in range(20))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def bytes_are_coded():
    data = bytes(range(256)) * 10_000
    return huffwire.decode(huffwire.encode(data, "u8", threads=2), threads=2) == data


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_code(method):
    assert code(2)
    context = multiprocessing.get_context(method)
    # In a fork torch would wait for its own threads.
    with context.Pool(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        assert pool.map_async(code, [1, 2, None]).get(timeout=120) == [True] * 3


class Messages(torch.utils.data.Dataset):
    """A data set that keeps its tensors as messages."""

    def __init__(self):
        self.messages = [huffwire.torch.encode(TENSOR + number, threads=2) for number in range(4)]

    def __len__(self):
        return len(self.messages)

    def __getitem__(self, index):
        return huffwire.torch.decode(self.messages[index], (2048, 1024), threads=2)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_code(method):
    loader = torch.utils.data.DataLoader(
        Messages(), batch_size=2, num_workers=2, multiprocessing_context=method, timeout=120
    )
    batches = list(loader)
    expected = torch.stack([TENSOR + number for number in range(4)]).view(2, 2, 2048, 1024)
    assert torch.equal(torch.stack(batches), expected)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_errors_come_out_of_workers_as_themselves():
    messages = Messages()
    messages.messages = [message[:-1] for message in messages.messages]
    loader = torch.utils.data.DataLoader(messages, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(huffwire.DamagedError, match="ends early"):
        next(iter(loader))
