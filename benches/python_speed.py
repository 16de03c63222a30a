"""What the Python package adds to the time of the Rust library.

Encodes and decodes the same bf16 tensor through huffwire.torch and by the library alone, in turn, in one process,
on one thread, into memory that is used again. Needs the package huffwire (a release build) and torch.

    python benches/python_speed.py [--json]
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time

import torch

import huffwire.torch
from huffwire import _huffwire

SIZES = {"64 KiB": 64 << 10, "1 MiB": 1 << 20, "16 MiB": 16 << 20}


def measure(size, seconds):
    """Medians of the seconds for one call: of the library and of the package, to encode and to decode."""
    generator = torch.Generator().manual_seed(1)
    tensor = (torch.randn(size // 2, generator=generator) * 0.02).bfloat16()
    longest = huffwire.torch.max_encoded_size(tensor.shape, tensor.dtype)
    buffer = torch.zeros(longest, dtype=torch.uint8)
    restored = torch.zeros_like(tensor)
    memory = [(each.data_ptr(), each.nbytes) for each in (tensor, buffer, restored)]

    times = {name: [] for name in ("rust encode", "rust decode", "python encode", "python decode")}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        [(encode, decode)] = _huffwire._measure(memory[0], "bf16", memory[1], memory[2], 1, 1)
        times["rust encode"].append(encode)
        times["rust decode"].append(decode)

        start = time.perf_counter()
        length = huffwire.torch.encode_into(tensor, buffer, threads=1)
        times["python encode"].append(time.perf_counter() - start)
        message = buffer[:length]
        start = time.perf_counter()
        huffwire.torch.decode_into(message, restored, threads=1)
        times["python decode"].append(time.perf_counter() - start)
    assert torch.equal(restored.view(torch.int16), tensor.view(torch.int16))
    return {name: statistics.median(of) for name, of in times.items()} | {
        "rounds": len(times["rust encode"])
    }


def speed_of_threads(count, seconds):
    """Bytes in a second that so many Python threads encode and decode together, each its own tensor."""
    size = 16 << 20
    done = [0] * count
    ready = threading.Barrier(count + 1)

    def work(number):
        tensor = (torch.randn(size // 2) * 0.02).bfloat16()
        longest = huffwire.torch.max_encoded_size(tensor.shape, tensor.dtype)
        buffer = torch.zeros(longest, dtype=torch.uint8)
        ready.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            length = huffwire.torch.encode_into(tensor, buffer, threads=1)
            huffwire.torch.decode_into(buffer[:length], tensor, threads=1)
            done[number] += 2 * size

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - start)


def seconds_to_import():
    """The quickest of several imports, each in a Python of its own."""
    program = (
        "import time; t = time.perf_counter(); import huffwire; print(time.perf_counter() - t)"
    )
    run = [sys.executable, "-c", program]
    return min(float(subprocess.check_output(run)) for _ in range(10))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=5, help="for each size (default: 5)")
    arguments = parser.parse_args()

    results = {name: measure(size, arguments.seconds) for name, size in SIZES.items()}
    speeds = {count: speed_of_threads(count, arguments.seconds) for count in (1, 2)}
    imported = seconds_to_import()
    if arguments.json:
        whole = {"platform": huffwire.platform(), "import": imported}
        print(json.dumps(whole | {"sizes": results, "threads": speeds}))
        return
    print(
        f"platform {huffwire.platform()}, torch {torch.__version__}, import in {imported * 1e3:.1f} ms"
    )
    print(f"{'':8} {'':6} {'library':>12} {'package':>12} {'more':>10} {'':>7} {'library':>11}")
    for name, size in SIZES.items():
        for way in ("encode", "decode"):
            rust, python = results[name][f"rust {way}"], results[name][f"python {way}"]
            print(
                f"{name:8} {way:6} {rust * 1e6:9.1f} µs {python * 1e6:9.1f} µs "
                f"{(python - rust) * 1e6:7.1f} µs {python / rust - 1:7.1%} {size / rust / 1e9:6.1f} GB/s"
            )
    for count, speed in speeds.items():
        print(f"{count} Python threads encode and decode {speed / 1e9:.1f} GB/s together")


if __name__ == "__main__":
    main()
