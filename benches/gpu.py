#!/usr/bin/env python3
"""Measures the kernels for GPUs: encoding, decoding, files, products with compressed weights, tokens of a decoder.

Beside them, in the same run and in turns: a copy within the device, and nvCOMP and EntroPack if they are installed. Every message is decoded
by the CPU, too, and every message of the CPU by the GPU. At the top only the standard library is imported, so that `--help`
and the tests need nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from peers import ROOT, Failure, count, fit, parse_size, read_bf16, table

SIZES = ("1MiB", "4MiB", "16MiB", "64MiB", "256MiB", "1GiB")
BLOCKS = ("auto", "4KiB", "8KiB", "16KiB", "32KiB", "128KiB")
DTYPES = ("bfloat16", "float16", "float32", "float8_e4m3fn", "int32")
DATA_SETS = ("weights", "gradients", "activations")
GENERATED = "normal"
# What a candidate runs in one measurement, so that small tensors are measured, too.
BYTES_OF_A_ROUND = 4 << 30
MOST_RUNS = 200
NVCOMP = ("ANS", "Bitcomp", "LZ4")
ENTROPACK = ("DFloat11", "TileANS")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    try:
        report = measure(options)
    except Failure as failure:
        sys.exit(f"gpu.py: {failure}")
    print(text_of(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sizes", type=sizes, default=sizes(",".join(SIZES)), help="bytes of elements, such as 1MiB,1GiB")
    add("--blocks", type=blocks, default=blocks(",".join(BLOCKS)), help="block sizes, such as auto,16KiB")
    add("--dtypes", type=names(DTYPES), default=list(DTYPES), help=f"some of {','.join(DTYPES)}")
    add("--data", type=names((GENERATED, *DATA_SETS)), default=[GENERATED, *DATA_SETS], help="data sets, for bf16")
    add("--tensors", type=Path, default=ROOT.parent / "shared" / "tensors", help="where the data sets are")
    add("--rounds", type=count, default=9)
    add("--seconds", type=float, default=0.5, help="the most that a candidate may take in a round")
    add("--json", type=Path, help="where the report is written")
    add("--no-peers", action="store_true", help="leave nvCOMP and EntroPack out, also where they are installed")
    add("--emulate", action="store_true", help="small, on the CPU's emulator of the tests: whether this program works")
    options = parser.parse_args(arguments)
    if options.emulate:
        options.sizes, options.blocks, options.rounds, options.seconds = [32 << 10], [None, 4 << 10], 2, 0.0
    return options


def sizes(text: str) -> list[int]:
    return [parse_size(part) for part in text.split(",")]


def blocks(text: str) -> list[int | None]:
    return [None if part == "auto" else parse_size(part) for part in text.split(",")]


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        found = text.split(",")
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name}: give some of {','.join(known)}")
        return found

    return parse


# --- the device -----------------------------------------------------------------------------------------------


class Gpu:
    """The GPU that is measured, or the emulator in its place."""

    def __init__(self, emulate: bool) -> None:
        import torch

        self.torch = torch
        self.emulated = emulate
        self.stand_in: AbstractContextManager[Any] = nullcontext()
        if emulate:
            sys.path.insert(0, str(ROOT / "python" / "tests"))
            from stand_in import gpu

            self.device, self.stand_in = torch.device("cpu"), gpu()
            self.name = "emulator on the CPU: times mean nothing"
        elif not torch.cuda.is_available():
            raise Failure("PyTorch finds no GPU: --emulate tries the program without one")
        else:
            self.device = torch.device("cuda", torch.cuda.current_device())
            self.name = torch.cuda.get_device_name(self.device)

    def seconds(self, run: Callable[[], object], runs: int) -> float:
        """Of one run, on the average of several that are launched one after the other."""
        if self.emulated:
            start = time.perf_counter()
            for _ in range(runs):
                run()
            return (time.perf_counter() - start) / runs
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(runs):
            run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3 / runs


def in_turns(
    gpu: Gpu, candidates: dict[str, Callable[[], object]], size: int, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds of one run of each candidate, in each round, after one that does not count."""
    runs = {}
    for name, run in candidates.items():
        took = max(gpu.seconds(run, 1), 1e-6)
        took = max(min(took, gpu.seconds(run, 1)), 1e-6)
        runs[name] = max(1, min(MOST_RUNS, BYTES_OF_A_ROUND // size, int(seconds / took)))
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            found[name].append(gpu.seconds(run, runs[name]))
    return found


# --- messages -------------------------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> dict[str, Any]:
    gpu = Gpu(options.emulate)
    with gpu.stand_in:
        rows = []
        for data in options.data:
            for dtype in options.dtypes if data == GENERATED else ["bfloat16"]:
                for size in options.sizes:
                    source = tensor_of(gpu, options, data, dtype, size)
                    if source is not None:
                        rows += messages(gpu, options, data, source)
        biggest = max(options.sizes)
        return {
            "device": gpu.name,
            "torch": gpu.torch.__version__,
            "cuda": gpu.torch.version.cuda,
            "messages": rows,
            "files": files(gpu, options, biggest),
            "products": products(gpu, options),
            "tokens": tokens(gpu, options),
        }


def tensor_of(gpu: Gpu, options: argparse.Namespace, data: str, dtype: str, size: int) -> Any:
    """Elements on the device; None if a data set is not there."""
    torch = gpu.torch
    kind = getattr(torch, dtype)
    if data == GENERATED:
        generator = torch.Generator(gpu.device).manual_seed(1)
        values = torch.randn(size // kind.itemsize, generator=generator, device=gpu.device)
        # Those who store weights as float8 scale them to its range first. The numbers are such as tokens have.
        scale = 0.02 if kind.itemsize > 1 else 40
        return (values * scale).to(kind) if kind.is_floating_point else (values.abs() * 20_000).to(kind)
    path = options.tensors / f"{data}-200.safetensors"
    if not path.exists():
        print(f"{path} is missing: {data} is left out", file=sys.stderr)
        return None
    values = bytearray(fit(read_bf16(path), size))
    return torch.frombuffer(values, dtype=kind).to(gpu.device)


def messages(gpu: Gpu, options: argparse.Namespace, data: str, source: Any) -> list[dict[str, Any]]:
    """Rows for one tensor: the copy, each block size, each algorithm of nvCOMP."""
    size = source.nbytes
    copied = gpu.torch.empty_like(source)
    coders: list[Coder] = [Copy(source, copied)]
    coders += [Huffwire(gpu, source, block) for block in options.blocks]
    if not options.emulate and not options.no_peers:
        coders += peers_of(gpu, source)
    candidates = {}
    for coder in coders:
        candidates[coder.name, "encode"] = coder.encode
        candidates[coder.name, "decode"] = coder.decode
    taken = in_turns(
        gpu, {" ".join(key): run for key, run in candidates.items()}, size, options.rounds, options.seconds
    )
    rows = []
    for coder in coders:
        coder.verify()
        row: dict[str, Any] = {"data": data, "dtype": str(source.dtype).removeprefix("torch."), "bytes": size}
        row |= {"coder": coder.name, "coded_bytes": coder.coded_bytes}
        for way in ("encode", "decode"):
            seconds = taken[f"{coder.name} {way}"]
            row[f"{way}_seconds"] = seconds
            row[f"{way}_tb_per_second"] = size / statistics.median(seconds) / 1e12
        rows.append(row)
    return rows


class Coder:
    """What encodes and decodes a tensor in the memory of the device."""

    name: str
    coded_bytes: int

    def encode(self) -> object:
        raise NotImplementedError

    def decode(self) -> object:
        raise NotImplementedError

    def verify(self) -> None:
        """Compares what was decoded last with the tensor."""
        raise NotImplementedError


class Copy(Coder):
    """A copy of the elements, which is what a coder is to be compared with."""

    def __init__(self, source: Any, copied: Any) -> None:
        self.name, self.coded_bytes = "copy", source.nbytes
        self.source, self.copied = source, copied

    def encode(self) -> object:
        return self.copied.copy_(self.source)

    decode = encode

    def verify(self) -> None:
        same(self.name, self.copied, self.source)


class Huffwire(Coder):
    """The kernels, with blocks of one size. Nothing waits within a measurement."""

    def __init__(self, gpu: Gpu, source: Any, block: int | None) -> None:
        from huffwire._huffwire import Codebooks
        from huffwire._tensors import _name
        from huffwire.cuda import _decode, _encode, _torch_device
        from huffwire.cuda._types import TYPES

        self.name = f"huffwire {'auto' if block is None else f'{block >> 10} KiB'}"
        self.decoder, self.block = _decode, block
        self.source, self.gpu = source, gpu
        device = _torch_device.device_for(gpu.device)
        assert device is not None
        self.there, self.span = device, _torch_device.span_of
        self.books = Codebooks.builtin()
        self.tables = _torch_device.tables_for(device, [self.books])
        kind = TYPES[_name(source.dtype)]
        self.number, self.units = kind.number, source.nbytes // kind.unit
        block = block or _encode.default_block_size(source.nbytes, kind.number)
        room = _encode.bound(kind.number, self.units, block)
        self.room = gpu.torch.empty(room, dtype=gpu.torch.uint8, device=gpu.device)
        self.out = gpu.torch.empty_like(source)
        self.encoder = _encode.encode
        self.length = int.from_bytes(device.read(self.launched_encoder()), "little")
        self.coded_bytes = self.length
        self.message = self.room[: self.length].clone()
        self.status: Any = None

    def launched_encoder(self) -> Any:
        return self.encoder(
            self.there, self.tables, self.span(self.source), self.number, self.units, self.span(self.room),
            codebooks=self.books, block_size=self.block,
        )  # fmt: skip

    def encode(self) -> object:
        return self.launched_encoder()

    def decode(self) -> object:
        self.status = self.decoder.decode(
            self.there, self.tables, self.span(self.message), self.span(self.out), self.number, self.units
        )
        return self.status

    def verify(self) -> None:
        import huffwire.torch

        self.decoder.check(self.there.read(self.status))
        same(self.name, self.out, self.source)
        same(f"{self.name}, encoded again", self.room[: self.length], self.message)
        # The CPU decodes what the kernels encoded, and the other way round.
        from huffwire import _huffwire
        from huffwire._tensors import _address, _name

        here, message = self.source.cpu(), self.message.cpu()
        decoded = self.gpu.torch.empty_like(here)
        name = _name(here.dtype)
        _huffwire._decode_into(_address(message), name, _address(decoded), None, None, None, None)
        same(f"{self.name}, by the CPU", decoded, here)
        coded = _huffwire._encode(_address(here), name, "fast", "auto", None, True, None, None)
        huffwire.torch.decode_into(coded, self.out)
        same("a message of the CPU", self.out, self.source)


class Nvcomp(Coder):
    """An algorithm of nvCOMP through its Python interface, which takes new memory for each result."""

    def __init__(self, gpu: Gpu, nvcomp: Any, algorithm: str, source: Any) -> None:
        self.name, self.source, self.gpu = f"nvCOMP {algorithm}", source, gpu
        stream = gpu.torch.cuda.current_stream().cuda_stream
        self.codec = nvcomp.Codec(algorithm=algorithm, cuda_stream=stream)
        self.input = nvcomp.as_array(source.view(gpu.torch.uint8), cuda_stream=stream)
        self.message = self.codec.encode(self.input)
        self.coded_bytes = int(self.message.buffer_size)
        self.output = self.decode()

    def encode(self) -> object:
        return self.codec.encode(self.input)

    def decode(self) -> object:
        self.output = self.codec.decode(self.message)
        return self.output

    def verify(self) -> None:
        restored = self.gpu.torch.from_dlpack(self.output).view(-1).view(self.gpu.torch.uint8)
        same(self.name, restored, self.source.view(self.gpu.torch.uint8))


class EntroPack(Coder):
    """A scheme of EntroPack, which takes new memory for each result."""

    def __init__(self, gpu: Gpu, entropack: Any, scheme: str, source: Any) -> None:
        self.name, self.source = f"EntroPack {scheme}", source
        self.package, self.config = entropack, getattr(entropack, f"{scheme}Config")()
        self.message = self.encode()
        found = self.message.header["compress_method"]
        if found == "raw":
            raise Failure(f"it stores {source.dtype} as it is: {self.message.header.get('reason')}")
        self.coded_bytes = self.message.entropack_quant_state.nbytes
        self.output = self.decode()

    def encode(self) -> Any:
        return self.package.compress(self.source, self.config)

    def decode(self) -> Any:
        self.output = self.package.decompress(self.message, self.config)
        return self.output

    def verify(self) -> None:
        same(self.name, self.output.view(-1), self.source.view(-1))


def peers_of(gpu: Gpu, source: Any) -> list[Coder]:
    """Those that are installed and take the tensor; says which do not."""
    coders: list[Coder] = []
    for package, pip, algorithms, coder in (
        ("nvidia.nvcomp", "nvidia-nvcomp-cu13", NVCOMP, Nvcomp),
        ("entropack", "entropack[cuda13]", ENTROPACK, EntroPack),
    ):
        try:
            module = importlib.import_module(package)
        except ImportError as error:
            print(f"{package} is left out (pip install '{pip}'): {error}", file=sys.stderr)
            continue
        for algorithm in algorithms:
            try:
                coders.append(coder(gpu, module, algorithm, source))
            except Exception as error:  # Whatever it raises, the others are measured.
                print(f"{package} {algorithm} is left out: {error!r}", file=sys.stderr)
    return coders


def same(what: str, one: Any, other: Any) -> None:
    import torch

    if not torch.equal(one.view(torch.uint8), other.view(torch.uint8)):
        raise Failure(f"{what}: the bytes are not those that went in")


# --- files and products ---------------------------------------------------------------------------------------


def files(gpu: Gpu, options: argparse.Namespace, size: int) -> list[dict[str, Any]]:
    """Loading a file onto the device: coded bytes that are decoded there, against plain bytes."""
    import huffwire.torch

    torch = gpu.torch
    tensors = {f"layer.{i}": (torch.randn(size // 8 // 2) * 0.02).bfloat16() for i in range(8)}
    total = sum(tensor.nbytes for tensor in tensors.values())
    with tempfile.TemporaryDirectory() as folder:
        coded = Path(folder) / "model.safetensors.hw"
        huffwire.torch.save_file(tensors, coded)
        candidates = {"huffwire": lambda: huffwire.torch.load_file(coded, device=gpu.device)}
        on_disk = {"huffwire": coded.stat().st_size}
        try:
            import safetensors.torch
        except ImportError:
            print("safetensors is not installed: plain files are left out", file=sys.stderr)
        else:
            plain = Path(folder) / "model.safetensors"
            safetensors.torch.save_file(tensors, plain)
            candidates["safetensors"] = lambda: safetensors.torch.load_file(plain, device=str(gpu.device))
            on_disk["safetensors"] = plain.stat().st_size
        taken: dict[str, list[float]] = {name: [] for name in candidates}
        for turn in range(options.rounds + 1):
            for name, load in candidates.items():
                start = time.perf_counter()
                loaded = load()
                if not gpu.emulated:
                    torch.cuda.synchronize()
                if turn:  # The first one reads the file into the memory of the system.
                    taken[name].append(time.perf_counter() - start)
                for key, tensor in tensors.items():
                    same(f"{name}, a file", loaded[key].cpu(), tensor)
    return [
        {
            "loader": name,
            "bytes": total,
            "file_bytes": on_disk[name],
            "seconds": seconds,
            "gb_per_second": total / statistics.median(seconds) / 1e9,
        }
        for name, seconds in taken.items()
    ]


def products(gpu: Gpu, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Products with weights that are decoded before each of them, against those with plain weights."""
    import huffwire.torch

    torch = gpu.torch
    shapes = [(64, 128)] if gpu.emulated else [(4096, 4096), (14336, 4096), (8192, 28672)]
    rows = []
    for outputs, inputs in shapes:
        weights = (torch.randn(outputs, inputs, device=gpu.device) * 0.02).bfloat16()
        compressed = huffwire.torch.CompressedTensor.compress(weights)
        for batch in (1, 16, 256, 4096) if not gpu.emulated else (1,):
            given = torch.randn(batch, inputs, device=gpu.device).bfloat16()
            linear = torch.nn.functional.linear
            same("a product", linear(given, compressed), linear(given, weights))
            taken = in_turns(
                gpu,
                {
                    "plain": lambda given=given: linear(given, weights),
                    "compressed": lambda given=given: linear(given, compressed),
                },
                weights.nbytes,
                options.rounds,
                options.seconds,
            )
            row: dict[str, Any] = {"shape": [outputs, inputs], "batch": batch}
            row |= {"bytes": weights.nbytes, "coded_bytes": compressed.coded.nbytes}
            row |= {f"{name}_seconds": seconds for name, seconds in taken.items()}
            rows.append(row)
    return rows


def decoder_of(gpu: Gpu, width: int, inner: int, layers: int) -> Any:
    """A decoder with weights that nobody trained: attention over the tokens before, and gated layers of `inner`."""
    torch = gpu.torch
    functional = torch.nn.functional

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            made = {"device": gpu.device, "dtype": torch.bfloat16, "bias": False}
            self.queries, self.keys, self.values, self.out = (torch.nn.Linear(width, width, **made) for _ in range(4))
            self.gate, self.up = (torch.nn.Linear(width, inner, **made) for _ in range(2))
            self.down = torch.nn.Linear(inner, width, **made)
            for linear in self.children():
                torch.nn.init.normal_(linear.weight, std=0.02)

        def forward(self, tokens: Any, before: Any) -> Any:
            normed = functional.rms_norm(tokens, (width,))
            heads = [each(normed).view(len(tokens), -1, 1, HEAD) for each in (self.queries, self.keys, self.values)]
            keys, values = (torch.cat([old, new], 2) for old, new in zip(before, heads[1:], strict=True))
            attended = functional.scaled_dot_product_attention(heads[0], keys, values)
            tokens = tokens + self.out(attended.reshape(len(tokens), width))
            normed = functional.rms_norm(tokens, (width,))
            return tokens + self.down(functional.silu(self.gate(normed)) * self.up(normed))

    return torch.nn.ModuleList(Layer() for _ in range(layers))


HEAD = 64


def tokens(gpu: Gpu, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Tokens in a second of a decoder, one for each sequence of a batch at a time: plain weights, then compressed ones."""
    import huffwire.torch

    torch = gpu.torch
    width, inner, layers, context = (128, 256, 1, 8) if gpu.emulated else (4096, 14336, 16, 1024)
    model = decoder_of(gpu, width, inner, layers)

    def step(given: Any, before: Any) -> Any:
        state = given
        for layer in model:
            state = layer(state, before)
        return state

    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        inputs = []
        for batch in (1, 16, 64) if not gpu.emulated else (2,):
            given = torch.randn(batch, width, device=gpu.device).bfloat16()
            before = torch.randn(2, batch, width // HEAD, context, HEAD, device=gpu.device).bfloat16()
            inputs.append((given, before, step(given, before)))
            rows.append({"layers": layers, "width": width, "context": context, "batch": batch})
        for name in ("plain", "compressed"):
            if name == "compressed":
                found = huffwire.torch.compress_module(model)
            for row, (given, before, expected) in zip(rows, inputs, strict=True):
                same("tokens", step(given, before), expected)
                taken = [gpu.seconds(lambda given=given, before=before: step(given, before), 3) for _ in range(options.rounds)]
                row[f"{name}_tokens_per_second"] = row["batch"] / statistics.median(taken)
    return [row | {"bytes": found.bytes, "coded_bytes": found.coded_bytes} for row in rows]


# --- the report -----------------------------------------------------------------------------------------------


def text_of(report: dict[str, Any]) -> str:
    """Tables for people. Speeds are medians, in 10^12 bytes of elements in a second."""
    copies = {key_of(row): row for row in report["messages"] if row["coder"] == "copy"}
    cells = []
    for row in report["messages"]:
        copy = copies[key_of(row)]
        cells.append(
            (
                f"{row['data']} {row['dtype']} {spelled(row['bytes'])}, {row['coder']}",
                f"{row['encode_tb_per_second']:.3f}",
                f"{row['decode_tb_per_second']:.3f}",
                f"{row['encode_tb_per_second'] / copy['encode_tb_per_second']:.2f}",
                f"{row['decode_tb_per_second'] / copy['decode_tb_per_second']:.2f}",
                f"{100 * (1 - row['coded_bytes'] / row['bytes']):.2f}",
            )
        )
    parts = [
        f"{report['device']}, PyTorch {report['torch']}, CUDA {report['cuda']}",
        table(("messages", "encode TB/s", "decode TB/s", "/copy", "/copy", "saved %"), cells),
        table(
            ("files", "GB/s", "bytes of the file"),
            [(r["loader"], f"{r['gb_per_second']:.2f}", str(r["file_bytes"])) for r in report["files"]],
        ),
        table(
            ("products", "plain µs", "compressed µs", "saved %"),
            [
                (
                    f"{'x'.join(map(str, r['shape']))}, batch {r['batch']}",
                    f"{1e6 * statistics.median(r['plain_seconds']):.1f}",
                    f"{1e6 * statistics.median(r['compressed_seconds']):.1f}",
                    f"{100 * (1 - r['coded_bytes'] / r['bytes']):.2f}",
                )
                for r in report["products"]
            ],
        ),
        table(
            ("a decoder", "plain tokens/s", "compressed tokens/s", "saved %"),
            [
                (
                    f"{r['layers']} layers of {r['width']}, {r['context']} tokens before, batch {r['batch']}",
                    f"{r['plain_tokens_per_second']:.1f}",
                    f"{r['compressed_tokens_per_second']:.1f}",
                    f"{100 * (1 - r['coded_bytes'] / r['bytes']):.2f}",
                )
                for r in report["tokens"]
            ],
        ),
    ]
    return "\n\n".join(parts)


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["data"], row["dtype"], row["bytes"]


def spelled(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


if __name__ == "__main__":
    main()
