"""Checkpoints of `torch.distributed.checkpoint`: ranks, resharding, damage, interrupted saves."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import re
import resource
import signal
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import checkpoint_ranks
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.metadata import MetadataIndex
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

import huffwire
import huffwire.checkpoint
from huffwire.checkpoint import Reader, Report, Writer

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def on_ranks(work: Any, world: int, folder: Path) -> None:
    torch.multiprocessing.spawn(work, (world, free_port(), folder), nprocs=world)


def save(state: dict[str, Any], folder: Path, **options: Any) -> Writer:
    options.setdefault("sync_files", False)
    writer = Writer(folder, **options)
    dcp.save(state, storage_writer=writer, no_dist=True)
    return writer


def load(state: dict[str, Any], folder: Path, **options: Any) -> dict[str, Any]:
    dcp.load(state, storage_reader=Reader(folder, **options), no_dist=True)
    return state


def load_error(state: dict[str, Any], folder: Path, **options: Any) -> BaseException:
    """The error of a load, out of the exception that collects those of all ranks."""
    with pytest.raises(CheckpointException) as caught:
        load(state, folder, **options)
    (error, _), *_ = caught.value.failures.values()
    return error


def save_error(state: dict[str, Any], folder: Path, **options: Any) -> BaseException:
    with pytest.raises(CheckpointException) as caught:
        save(state, folder, **options)
    (error, _), *_ = caught.value.failures.values()
    return error


def data_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.distcp"))


def example(scale: float = 1.0) -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "model": {"a": (torch.randn(300, 70) * scale).bfloat16(), "b": torch.randn(40) * scale},
        "optim": {"state": {"a": {"exp_avg": torch.randn(300, 70) * scale}}},
        "step": int(scale),
    }


def blank(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: blank(value) for key, value in state.items()}
    if isinstance(state, list):
        return [blank(value) for value in state]
    return torch.zeros_like(state) if isinstance(state, torch.Tensor) else None


def assert_same(a: Any, b: Any) -> None:
    assert checkpoint_ranks.differences(a, b) == []


# --- ranks ---


@pytest.fixture(scope="module")
def by_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints that two ranks saved, see `checkpoint_ranks.save`."""
    folder = tmp_path_factory.mktemp("ranks")
    on_ranks(checkpoint_ranks.save, 2, folder)
    return folder


@pytest.mark.parametrize("world", [1, 2, 4])
def test_loads_into_any_number_of_ranks(by_two_ranks: Path, world: int) -> None:
    on_ranks(checkpoint_ranks.load, world, by_two_ranks)


def test_loads_without_ranks(by_two_ranks: Path) -> None:
    reference = torch.load(by_two_ranks / "reference.pt", weights_only=True)
    for name in ("saved", "by thread", "by process", "chain"):
        loaded = load(blank(reference), by_two_ranks / name)
        assert_same(checkpoint_ranks.whole(loaded), reference)


def test_reports_what_each_kind_saved(by_two_ranks: Path) -> None:
    whole, of_rank_1 = (
        torch.load(by_two_ranks / f"report-{rank}.pt", weights_only=False) for rank in (0, 1)
    )
    assert list(whole.roles) == list(huffwire.checkpoint.ROLES)
    assert not of_rank_1.whole
    assert of_rank_1.roles["weights"].bytes < whole.roles["weights"].bytes
    parameters = 33 * 257 + 257 + 257 * 7 + 7 + 7 * 3 + 3
    elsewhere = 8 + 12 * 4  # floats outside the model and the optimizer
    assert whole.roles["weights"].bytes == 2 * parameters + elsewhere
    for role in ("master weights", "first moment", "second moment"):
        assert whole.roles[role].bytes == 4 * parameters
    assert whole.roles["weights"].saved > 0.25
    assert whole.roles["master weights"].saved > 0.1
    assert huffwire.checkpoint.report(by_two_ranks / "saved") == whole
    for name in ("chain", "chain by process"):
        unchanged = huffwire.checkpoint.report(by_two_ranks / name)
        assert unchanged.total.bytes == whole.total.bytes
        assert unchanged.roles["second moment"].stored < whole.roles["second moment"].stored / 10
    assert (
        huffwire.checkpoint.report(by_two_ranks / "by process").roles.keys() == whole.roles.keys()
    )
    assert whole.total.stored == sum(p.stat().st_size for p in data_files(by_two_ranks / "saved"))


def test_one_file_per_thread_or_per_item(by_two_ranks: Path) -> None:
    names = [path.name for path in data_files(by_two_ranks / "saved")]
    assert len(names) == 4
    assert {name[:4] for name in names} == {"__0_", "__1_"}
    assert len(data_files(by_two_ranks / "by thread")) > 20
    assert len(data_files(by_two_ranks / "by process")) == 2


def test_torch_says_that_it_cannot_read_huffwire(by_two_ranks: Path) -> None:
    state = {"model": {"0.bias": torch.zeros(257)}}
    with pytest.raises(CheckpointException, match="huffwire"):
        dcp.load(state, storage_reader=dcp.FileSystemReader(by_two_ranks / "saved"), no_dist=True)


# --- one process ---


def test_without_a_process_group(tmp_path: Path) -> None:
    assert not dist.is_initialized()
    state = example()
    writer = save(state, tmp_path, sync_files=True)
    assert writer.report().whole
    assert str(writer.report()).startswith("127 kB in ")
    assert_same(load(blank(state), tmp_path), state)


DTYPES = [
    getattr(torch, name)
    for name in (
        "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64"
        " complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
        " float8_e8m0fnu"
    ).split()
]


@pytest.mark.parametrize("threads", [1, 3])
def test_every_dtype(tmp_path: Path, threads: int) -> None:
    torch.manual_seed(5)
    state = {}
    for dtype in DTYPES:
        raw = torch.randint(0, 2 if dtype == torch.bool else 256, (6, 16 * 8), dtype=torch.uint8)
        state[str(dtype)] = raw.view(dtype)
    save(state, tmp_path, thread_count=threads)
    assert_same(load(blank(state), tmp_path, thread_count=threads), state)


def test_shapes_and_strides(tmp_path: Path) -> None:
    base = torch.randn(24, 30)
    state = {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(3, 0, 2),
        "transposed": base.t(),
        "part": base[3:9, 4:20],
        "expanded": torch.randn(4, 1).expand(4, 5),
        "conjugate": torch.randn(7, dtype=torch.complex64).conj(),
        "negative": torch.randn(7, dtype=torch.complex64).conj().imag,
        "learns": torch.nn.Parameter(torch.randn(5)),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    plain = {
        name: t.detach().resolve_conj().resolve_neg().contiguous() for name, t in state.items()
    }
    save(state, tmp_path)
    assert_same(load({name: torch.zeros_like(t) for name, t in plain.items()}, tmp_path), plain)

    # Into tensors that are not contiguous, or of another dtype.
    target = {
        "transposed": torch.zeros(24, 30).t(),
        "part": torch.zeros(6, 16, dtype=torch.float64),
    }
    load(target, tmp_path)
    assert torch.equal(target["transposed"], base.t())
    assert torch.equal(target["part"], base[3:9, 4:20].double())


def test_large_tensors_are_several_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huffwire.checkpoint._save, "PIECE_BYTES", 4096)
    state = {"a": torch.randn(100, 77), "b": torch.randn(13, 500).bfloat16(), "bytes": "x" * 10_000}
    save(state, tmp_path)
    metadata = Reader(tmp_path).read_metadata()
    pieces = {
        index.fqn: len(huffwire.checkpoint._stored._Stored.of(info).lengths)
        for index, info in metadata.storage_data.items()
    }
    assert pieces == {"a": 8, "b": 4, "bytes": 3}
    assert_same(load(blank(state), tmp_path), state)


def test_reads_only_the_messages_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huffwire.checkpoint._save, "PIECE_BYTES", 4096)
    tensor = torch.randn(64, 8, 32)  # four rows in a message
    save({"a": tensor}, tmp_path)
    decoded = []
    decode_into = huffwire.torch.decode_into

    def counting(message: Any, out: torch.Tensor, **options: Any) -> Any:
        decoded.append(out.numel())
        return decode_into(message, out, **options)

    monkeypatch.setattr(huffwire.torch, "decode_into", counting)
    for offsets, lengths, messages in [
        ((8, 0, 0), (8, 8, 32), 2),
        ((9, 0, 0), (2, 8, 32), 1),
        ((10, 0, 0), (6, 8, 32), 2),
        ((10, 3, 0), (6, 2, 32), 2),
        ((0, 7, 31), (64, 1, 1), 16),
        ((63, 7, 31), (1, 1, 1), 1),
    ]:
        decoded.clear()
        target = torch.zeros(lengths)
        plan = plan_of("a", tuple(tensor.shape), offsets, lengths)
        reader = Reader(tmp_path)
        reader.set_up_storage_reader(reader.read_metadata(), True)
        reader.read_data(plan, OneTensor(target)).wait()
        box = tuple(slice(o, o + n) for o, n in zip(offsets, lengths, strict=True))
        assert torch.equal(target, tensor[box])
        assert len(decoded) == messages, (offsets, lengths)


def plan_of(
    name: str, shape: tuple[int, ...], offsets: tuple[int, ...], lengths: tuple[int, ...]
) -> Any:
    index = dcp.metadata.MetadataIndex(name, (0,) * len(shape))
    item = dcp.planner.ReadItem(
        type=dcp.planner.LoadItemType.TENSOR,
        dest_index=index,
        dest_offsets=torch.Size([0] * len(shape)),
        storage_index=index,
        storage_offsets=torch.Size(offsets),
        lengths=torch.Size(lengths),
    )
    return dcp.planner.LoadPlan([item])


class OneTensor:
    """A planner for one tensor."""

    def __init__(self, target: torch.Tensor) -> None:
        self.target = target
        self.committed = False

    def resolve_tensor(self, _: Any) -> torch.Tensor:
        return self.target

    def commit_tensor(self, _: Any, tensor: torch.Tensor) -> None:
        assert tensor is not None
        self.committed = True


def test_async_save_without_ranks(tmp_path: Path) -> None:
    state = example()
    expected = {"model": {"a": state["model"]["a"].clone()}}
    future = dcp.async_save(state, storage_writer=Writer(tmp_path, sync_files=False), no_dist=True)
    state["model"]["a"].zero_()
    future.result()
    assert_same(load(blank(expected), tmp_path), expected)


def test_loads_without_knowing_what_is_there(tmp_path: Path) -> None:
    # As `torch.distributed.checkpoint.format_utils` does.
    state = example()
    save(state, tmp_path)
    loaded: dict[str, Any] = {}
    planner = _EmptyStateDictLoadPlanner()
    _load_state_dict(loaded, storage_reader=Reader(tmp_path), planner=planner, no_dist=True)
    assert_same(loaded, state)


def test_a_checkpoint_of_a_process_that_was_killed(tmp_path: Path) -> None:
    old = example(1.0)
    save(old, tmp_path)
    script = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
import torch, torch.distributed.checkpoint as dcp
from huffwire.checkpoint import Writer
kill = lambda done, _: done and os.kill(os.getpid(), signal.SIGKILL)
writer = Writer({str(tmp_path)!r}, progress=kill)
dcp.save({{"a": torch.randn(1000, 1000)}}, storage_writer=writer, no_dist=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(data_files(tmp_path)) == 2
    assert_same(load(blank(old), tmp_path), old)
    save(example(2.0), tmp_path)
    assert len(data_files(tmp_path)) == 1


def test_levels_and_checksums(tmp_path: Path) -> None:
    state = example()
    for number, options in enumerate(
        [{"level": "max"}, {"symbols": "bytes"}, {"checksums": False}, {"threads": 2}]
    ):
        save(state, tmp_path / str(number), **options)
        assert_same(load(blank(state), tmp_path / str(number), threads=2), state)


def test_codebooks_are_kept_in_the_folder(tmp_path: Path) -> None:
    state = example()
    books = huffwire.calibrate(
        {"a": state["model"]["a"], "m": state["optim"]["state"]["a"]["exp_avg"]}, builtin=False
    ).codebooks
    save(state, tmp_path, codebooks=books)
    assert_same(load(blank(state), tmp_path), state)
    (kept,) = tmp_path.glob("*.books")
    assert huffwire.Codebooks.load(kept) == books

    elsewhere = tmp_path / "elsewhere"
    kept.rename(elsewhere)
    error = load_error(blank(state), tmp_path)
    assert isinstance(error, huffwire.MissingFileError) and str(kept) in str(error)
    assert_same(load(blank(state), tmp_path, codebooks=books), state)
    assert_same(load(blank(state), tmp_path, codebooks=[books], thread_count=2), state)

    elsewhere.rename(kept)
    save(state, tmp_path)
    assert not kept.exists()


def test_a_writer_can_be_pickled(tmp_path: Path) -> None:
    writer = Writer(tmp_path, codebooks=huffwire.Codebooks.builtin(), level="max")
    copy = pickle.loads(pickle.dumps(writer))
    assert copy.options == writer.options and copy.path == writer.path


def test_options_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(huffwire.OptionError, match="thread_count"):
        Writer(tmp_path, thread_count=0)
    with pytest.raises(huffwire.OptionError, match="thread_count"):
        Reader(tmp_path, thread_count=0)
    for codebooks in (3, "my.books", [huffwire.Codebooks.builtin(), 3]):
        with pytest.raises(huffwire.OptionError, match="codebooks=.*give"):
            Writer(tmp_path, codebooks=codebooks)
        with pytest.raises(huffwire.OptionError, match="codebooks=.*give"):
            Reader(tmp_path, codebooks=codebooks)
    error = save_error(example(), tmp_path, level="best")
    assert isinstance(error, huffwire.OptionError)
    assert data_files(tmp_path) == []


def test_progress(tmp_path: Path) -> None:
    state = example()
    calls: list[tuple[int, int]] = []
    save(state, tmp_path, progress=lambda done, total: calls.append((done, total)))
    tensors = 300 * 70 * 2 + 40 * 4 + 300 * 70 * 4
    assert calls[-1][0] >= tensors and calls == sorted(calls)
    calls.clear()
    load(blank(state), tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1] >= tensors


def test_roles_of_the_caller(tmp_path: Path) -> None:
    writer = save(example(), tmp_path, roles=lambda name: "biases" if name.endswith("b") else None)
    assert list(writer.report().roles) == ["weights", "first moment", "other", "biases"]


def test_logs_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "huffwire.checkpoint"):
        save(example(), tmp_path)
    (record,) = [r for r in caplog.records if r.name == "huffwire.checkpoint"]
    assert re.search(r"% saved\): weights \d", record.getMessage())


def test_an_empty_report_is_one_line() -> None:
    assert str(Report(whole=False)) == "this rank: 0 B in 0 B (0.0 % saved)"


# --- saves that fail, and saves over older ones ---


def test_a_save_that_fails_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    old = example(1.0)
    save(old, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    bad = example(2.0)
    bad["sparse"] = torch.eye(4).to_sparse()
    error = save_error(bad, tmp_path)
    assert isinstance(error, huffwire.UnsupportedError) and "'sparse'" in str(error)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert_same(load(blank(old), tmp_path), old)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(4).to_sparse(),
        torch.empty(4, device="meta"),
        torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
    ],
    ids=["sparse", "meta", "quantized"],
)
def test_tensors_without_plain_elements(tmp_path: Path, tensor: torch.Tensor) -> None:
    error = save_error({"odd": tensor}, tmp_path)
    assert isinstance(error, huffwire.UnsupportedError) and "'odd'" in str(error)


def test_a_save_that_is_killed_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    old, new = example(1.0), example(2.0)
    save(old, tmp_path)
    with pytest.MonkeyPatch.context() as patch:

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        # The data of the new checkpoint are there, its metadata are not.
        patch.setattr(Writer, "finish", killed)
        with pytest.raises((KeyboardInterrupt, CheckpointException)):
            save(new, tmp_path)
    assert len(data_files(tmp_path)) == 2
    assert_same(load(blank(old), tmp_path), old)

    save(new, tmp_path)
    assert len(data_files(tmp_path)) == 1
    assert_same(load(blank(new), tmp_path), new)


def test_two_saves_at_a_time_into_one_folder(tmp_path: Path) -> None:
    class Slow(Writer):
        """Another save comes and goes before this one is complete."""

        def finish(self, metadata: Any, results: Any) -> None:
            save(example(2.0), tmp_path)
            super().finish(metadata, results)

    with pytest.raises(CheckpointException, match="wait for one save before you begin the next"):
        dcp.save(example(1.0), storage_writer=Slow(tmp_path, sync_files=False), no_dist=True)
    assert_same(load(blank(example(2.0)), tmp_path), example(2.0))


@pytest.mark.parametrize("is_one_left", [False, True])
def test_files_of_other_ranks_that_are_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_one_left: bool
) -> None:
    """If none of a rank is there, computers may have disks of their own. If one of them is, others were removed."""
    gone, left = (f"__1_0123456789abcdef_{number}.distcp" for number in range(2))

    class OfTwo(Writer):
        """What another rank wrote was removed."""

        def finish(self, metadata: Any, results: Any) -> None:
            (mine,) = results
            theirs = []
            for name in (gone, left) if is_one_left else (gone,):
                for one in mine:
                    info = dataclasses.replace(one.storage_data, relative_path=name)
                    index = MetadataIndex(f"{one.index.fqn}, {name}")
                    theirs.append(dataclasses.replace(one, index=index, storage_data=info))
            if is_one_left:
                (tmp_path / left).touch()
            super().finish(metadata, [mine, theirs])

    writer = OfTwo(tmp_path, sync_files=False)
    if is_one_left:
        with pytest.raises(CheckpointException, match=f"{gone} is gone before this save is complete"):
            dcp.save(example(), storage_writer=writer, no_dist=True)
        assert not (tmp_path / ".metadata").exists()
    else:
        dcp.save(example(), storage_writer=writer, no_dist=True)
        assert (tmp_path / ".metadata").exists()
        assert f"{gone} and all other files of its rank cannot be seen" in caplog.text


def test_a_checkpoint_without_metadata_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(example(), tmp_path)
    (tmp_path / ".metadata").rename(tmp_path / ".metadata.tmp")
    with pytest.raises(huffwire.MissingFileError, match="no whole checkpoint"):
        huffwire.checkpoint.report(tmp_path)
    caplog.clear()
    # torch 2.11 does not pass it on.
    assert "no whole checkpoint" in str(load_error(example(), tmp_path)) + caplog.text


def test_overwriting(tmp_path: Path) -> None:
    save(example(1.0), tmp_path)
    error = save_error(example(2.0), tmp_path, overwrite=False)
    assert isinstance(error, huffwire.ExistsError) and "overwrite=True" in str(error)
    (tmp_path / "notes.txt").write_text("kept")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*existing checkpoint.*")
        save(example(2.0), tmp_path, thread_count=3)
    assert len(data_files(tmp_path)) == 3
    save(example(3.0), tmp_path)
    assert len(data_files(tmp_path)) == 1
    assert (tmp_path / "notes.txt").exists()
    assert_same(load(blank(example(3.0)), tmp_path), example(3.0))


def test_overwriting_what_torch_wrote(tmp_path: Path) -> None:
    dcp.save(example(1.0), storage_writer=dcp.FileSystemWriter(tmp_path), no_dist=True)
    save(example(2.0), tmp_path)
    assert len(data_files(tmp_path)) == 1
    assert_same(load(blank(example(2.0)), tmp_path), example(2.0))


def test_a_save_of_each_rank_replaces_none_of_all_ranks(tmp_path: Path) -> None:
    # `.metadata` of the older one would stay, and loads prefer it to those of each rank.
    def save_alone(scale: float, folder: Path) -> None:
        writer = Writer(folder, sync_files=False)
        dcp.save(example(scale), storage_writer=writer, no_dist=True, use_collectives=False)

    together = tmp_path / "together"
    save(example(1.0), together)
    before = {path.name: path.read_bytes() for path in together.iterdir()}
    with pytest.raises(huffwire.ExistsError, match="use_collectives=True.*choose another folder"):
        save_alone(2.0, together)
    assert {path.name: path.read_bytes() for path in together.iterdir()} == before
    assert_same(load(blank(example(1.0)), together), example(1.0))

    alone = tmp_path / "alone"
    for scale in (1.0, 2.0):
        save_alone(scale, alone)
        assert_same(load(blank(example(scale)), alone), example(scale))
    save(example(3.0), alone)
    assert_same(load(blank(example(3.0)), alone), example(3.0))


@pytest.mark.parametrize("thread_count", [1, 3])
def test_more_files_than_may_be_open(tmp_path: Path, thread_count: int) -> None:
    state = {f"w{number}": torch.full((3,), number) for number in range(300)}
    save(state, tmp_path / "0", single_file_per_rank=False)
    save(state, tmp_path / "1", single_file_per_rank=False, base=tmp_path / "0")
    assert len(data_files(tmp_path / "1")) == 300
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 100, hard))
    try:
        loaded = load(blank(state), tmp_path / "1", thread_count=thread_count)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert_same(loaded, state)


def test_plans_that_are_cached(tmp_path: Path) -> None:
    for scale in (1.0, 2.0):
        planner = dcp.DefaultSavePlanner(enable_plan_caching=True)
        writer = Writer(tmp_path, sync_files=False)
        dcp.save(example(scale), storage_writer=writer, planner=planner, no_dist=True)
        assert_same(load(blank(example(scale)), tmp_path), example(scale))


def test_reads_what_torch_wrote(tmp_path: Path) -> None:
    state = example()
    dcp.save(state, storage_writer=dcp.FileSystemWriter(tmp_path), no_dist=True)
    assert_same(load(blank(state), tmp_path), state)
    assert huffwire.checkpoint.report(tmp_path) == Report()


# --- damage ---


def test_damaged_data_name_the_tensor_and_the_file(tmp_path: Path) -> None:
    state = example()
    save(state, tmp_path)
    (file,) = data_files(tmp_path)
    infos = Reader(tmp_path).read_metadata().storage_data
    good = file.read_bytes()
    for index, info in infos.items():
        for position in {
            info.offset,
            info.offset + 9,
            info.offset + info.length // 2,
            info.offset + info.length - 1,
        }:
            bad = bytearray(good)
            bad[position] ^= 0x10
            file.write_bytes(bad)
            error = load_error(blank(state), tmp_path)
            assert isinstance(error, (huffwire.DamagedError, huffwire.VersionError)), (
                position,
                error,
            )
            assert repr(index.fqn) in str(error) and str(file) in str(error)


def test_files_cut_short_or_missing(tmp_path: Path) -> None:
    state = example()
    save(state, tmp_path)
    (file,) = data_files(tmp_path)
    good = file.read_bytes()
    file.write_bytes(good[:-1])
    error = load_error(blank(state), tmp_path)
    assert isinstance(error, huffwire.DamagedError) and f"ends at byte {len(good) - 1}" in str(
        error
    )
    file.unlink()
    error = load_error(blank(state), tmp_path, thread_count=2)
    assert isinstance(error, huffwire.MissingFileError) and str(file) in str(error)


def test_tensors_that_were_exchanged(tmp_path: Path) -> None:
    torch.manual_seed(3)
    first = torch.randn(1000).bfloat16()
    state = {"a": first, "b": first.clone(), "c": torch.zeros(3)}
    save(state, tmp_path)
    (file,) = data_files(tmp_path)
    infos = {
        index.fqn: info for index, info in Reader(tmp_path).read_metadata().storage_data.items()
    }
    a, b = infos["a"], infos["b"]
    assert a.length == b.length
    bad = bytearray(file.read_bytes())
    bad[a.offset : a.offset + a.length], bad[b.offset : b.offset + b.length] = (
        bad[b.offset : b.offset + b.length],
        bad[a.offset : a.offset + a.length],
    )
    file.write_bytes(bad)
    error = load_error(blank(state), tmp_path)
    assert isinstance(error, huffwire.DamagedError) and "'a'" in str(error)


def test_a_file_of_an_older_save(tmp_path: Path) -> None:
    save(example(1.0), tmp_path)
    (old,) = data_files(tmp_path)
    old_bytes = old.read_bytes()
    save(example(1.0), tmp_path)
    (new,) = data_files(tmp_path)
    new.write_bytes(old_bytes)
    assert isinstance(load_error(example(), tmp_path), huffwire.DamagedError)


def test_damaged_metadata(tmp_path: Path) -> None:
    save(example(), tmp_path)
    file = tmp_path / ".metadata"
    good = file.read_bytes()
    for bad in (
        b"",
        good[: len(good) // 2],
        good[:-1],
        good.replace(b"bfloat16", b"bfloat17"),
        good.replace(b"lengths", b"lengthz"),
        good[:-9] + bytes([good[-9] ^ 1]) + good[-8:],
        pickle.dumps("no metadata"),
    ):
        assert bad != good
        file.write_bytes(bad)
        with pytest.raises(huffwire.DamagedError, match=re.escape(str(file))):
            huffwire.checkpoint.report(tmp_path)
        assert isinstance(load_error(example(), tmp_path), (huffwire.DamagedError, AssertionError))


def test_a_tensor_of_another_shape(tmp_path: Path) -> None:
    save({"a": torch.zeros(4, 4)}, tmp_path)
    reader = Reader(tmp_path)
    reader.set_up_storage_reader(reader.read_metadata(), True)
    with pytest.raises(huffwire.MismatchError, match="'a'"):
        reader.read_data(plan_of("a", (4, 4), (0, 0), (4, 4)), OneTensor(torch.zeros(4, 5)))
