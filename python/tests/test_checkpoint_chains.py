"""Chains of checkpoints: what must not be replaced, links, lengths, and chains that are none."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import shutil
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from test_chains import assert_state, change, checkpoints, load, load_error, save, training
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import MetadataIndex

import huffwire
import huffwire.torch
from huffwire.checkpoint import Reader, Writer
from huffwire.checkpoint import _chain as chain
from huffwire.checkpoint import _save as saving
from huffwire.checkpoint._stored import _DELTA_DESCRIPTOR, _SEAL, _read_metadata, _Stored, _Values

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def save_error(state: dict[str, Any], folder: Path, **options: Any) -> BaseException:
    with pytest.raises(CheckpointException) as caught:
        save(state, folder, **options)
    (error, _), *_ = caught.value.failures.values()
    return error


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def small(seed: int) -> dict[str, torch.Tensor]:
    """One tensor, of which every seed changes another element."""
    torch.manual_seed(0)
    tensor = torch.randn(4000).bfloat16()
    tensor[: seed + 1] += 3
    return {"w": tensor}


# --- what must not be replaced ---


def test_folders_in_turn_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    states = [training()]
    for _ in range(2):
        states.append(change(states[-1]))
    save(states[0], first)
    save(states[1], second, base=first)
    before = contents(tmp_path)
    error = save_error(states[2], first, base=second)
    assert isinstance(error, huffwire.OptionError)
    assert str(first) in str(error) and str(second) in str(error)
    assert "save to another folder" in str(error)
    assert contents(tmp_path) == before
    assert_state(load(first, states[0]), states[0])
    assert_state(load(second, states[1]), states[1])


def test_no_link_of_a_long_chain_is_replaced(tmp_path: Path) -> None:
    paths, states = checkpoints(tmp_path, 4)
    (tmp_path / "link").symlink_to(paths[1].name)
    before = contents(tmp_path)
    for output in (*paths[:3], tmp_path / "link", tmp_path / "x" / ".." / "0"):
        error = save_error(states[4], output, base=paths[3])
        assert isinstance(error, huffwire.OptionError), error
    assert contents(tmp_path) == before
    assert_state(load(paths[3], states[3]), states[3])
    # What a checkpoint no longer needs is replaced.
    save({"model": {"w": torch.ones(3)}}, tmp_path / "whole", base=paths[3])
    save(states[4], paths[0], base=tmp_path / "whole")
    assert_state(load(paths[0], states[4]), states[4])


def test_the_folder_of_the_call_counts(tmp_path: Path) -> None:
    # `checkpoint_id=` takes the place of the writer's path.
    paths, states = checkpoints(tmp_path, 2)
    before = contents(tmp_path)
    for folder, base in ((paths[1], paths[1]), (paths[0], paths[1])):
        writer = Writer(tmp_path / "elsewhere", base=base, sync_files=False)
        with pytest.raises(CheckpointException, match="is the folder that is written"):
            dcp.save(states[2], storage_writer=writer, checkpoint_id=folder, no_dist=True)
    assert contents(tmp_path) == before


# --- what becomes a delta ---


def test_a_delta_is_taken_where_it_is_2_percent_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/checkpoints.md says. The deltas here are of a size that is wanted, and cannot be loaded."""
    tensors = {"noise": torch.randn(4000).bfloat16(), "zeros": torch.zeros(4000).bfloat16()}
    save(tensors, tmp_path / "0")
    plain = {name: len(huffwire.torch.encode(one, context=0)) for name, one in tensors.items()}
    # An eighth of the bytes of the elements is less than the message of noise, and more than that of zeros.
    eighth, worth = 1000, math.floor(0.98 * plain["noise"])
    assert plain["zeros"] < 0.98 * eighth < eighth < worth
    for size, expected in [
        (eighth, {"noise": True, "zeros": True}),
        (eighth + 1, {"noise": True, "zeros": False}),
        (worth, {"noise": True, "zeros": False}),
        (worth + 1, {"noise": False, "zeros": False}),
    ]:
        monkeypatch.setattr(huffwire.torch, "encode_delta", lambda *_, size=size, **__: bytes(size))
        save(tensors, tmp_path / "1", base=tmp_path / "0")
        storage = Reader(tmp_path / "1").read_metadata().storage_data
        found = {index.fqn: bool(_Stored.of(info).deltas) for index, info in storage.items()}
        assert found == expected, size


# --- how often metadata are read ---


def test_metadata_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, states = checkpoints(tmp_path, 4)
    read: list[Path] = []

    def reading(path: Path) -> Any:
        read.append(path.parent)
        return _read_metadata(path)

    monkeypatch.setattr(chain, "_read_metadata", reading)
    writer = save(states[4], tmp_path / "4", base=paths[3])
    assert sorted(read) == sorted(path.resolve() for path in paths)
    # A later save of the same writer finds what is there then.
    shutil.rmtree(paths[0])
    with pytest.raises(CheckpointException, match="which is not there"):
        dcp.save(states[4], storage_writer=writer, checkpoint_id=tmp_path / "5", no_dist=True)


def test_descriptors_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "PIECE_BYTES", 200)
    paths = [tmp_path / str(number) for number in range(4)]
    count = [0]
    loads = json.loads

    def counted(text: str) -> Any:
        count[0] += 1
        return loads(text)

    monkeypatch.setattr(json, "loads", counted)
    for number, path in enumerate(paths):
        # Forty messages, all of them deltas.
        save(small(number), path, base=paths[number - 1] if number else None)
        assert count[0] <= 2 + 3 * number
        count[0] = 0
    assert_state(load(paths[3], small(3)), small(3))
    assert count[0] <= 8


@pytest.mark.parametrize("order", [sorted, list, reversed], ids=["sorted", "written", "reversed"])
def test_bases_are_found_in_any_order_of_fields(order: Callable[[Any], Any]) -> None:
    storage = {}
    for number in range(20):
        base = f"../{number % 3}"
        deltas = (0,) if number < 10 else ()
        stored = _Stored(f"role-{number}", "float32", (number + 1,), 100, (4,), None, deltas, base)
        descriptor = stored.descriptor()
        if deltas:
            fields = dataclasses.asdict(stored)
            descriptor = _DELTA_DESCRIPTOR + json.dumps({name: fields[name] for name in order(fields)})
        storage[MetadataIndex(str(number))] = _StorageInfo("file", 0, 4, [descriptor])
    assert _Values(storage).bases() == {"../0", "../1", "../2"}


# --- links ---


def test_a_base_behind_a_link_is_recorded_itself(tmp_path: Path) -> None:
    paths, states = checkpoints(tmp_path / "run", 1)
    latest = tmp_path / "latest"
    latest.symlink_to(paths[0])
    following = tmp_path / "run" / "1"
    save(states[1], following, base=latest)
    # As after each save.
    latest.unlink()
    latest.symlink_to(following)
    assert_state(load(following, states[1]), states[1])
    assert_state(load(latest, states[1]), states[1])


def test_a_folder_behind_a_link_finds_its_base(tmp_path: Path) -> None:
    paths, states = checkpoints(tmp_path / "run", 1)
    (tmp_path / "far" / "away" / "disk").mkdir(parents=True)
    output = tmp_path / "1"
    output.symlink_to(tmp_path / "far" / "away" / "disk")
    save(states[1], output, base=paths[0])
    assert_state(load(output, states[1]), states[1])
    assert_state(load(tmp_path / "far" / "away" / "disk", states[1]), states[1])
    third = tmp_path / "2"
    save(states[1], third, base=output)
    assert_state(load(third, states[1]), states[1])


def test_a_checkpoint_that_moved_behind_a_link_finds_its_base(tmp_path: Path) -> None:
    paths, states = checkpoints(tmp_path / "run", 2)
    (tmp_path / "archive").mkdir()
    moved = paths[1].rename(tmp_path / "archive" / "1")
    paths[1].symlink_to(moved)
    assert_state(load(paths[1], states[1]), states[1])
    error = load_error(moved, states[1])
    assert isinstance(error, huffwire.MissingBaseError)


def test_a_link_in_a_circle_is_no_base(tmp_path: Path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    error = save_error(training(), tmp_path / "1", base=circle)
    assert isinstance(error, huffwire.MissingBaseError), error
    assert "symbolic links" in str(error) and str(circle) in str(error)


# --- lengths ---


def test_chains_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chain.MAX_CHAIN == 32
    monkeypatch.setattr(chain, "MAX_CHAIN", 3)
    paths = [tmp_path / str(number) for number in range(8)]
    save(small(0), paths[0])
    for number in range(1, 4):
        save(small(number), paths[number], base=paths[number - 1])
        assert_state(load(paths[number], small(number)), small(number))
    error = save_error(small(4), paths[4], base=paths[3])
    assert isinstance(error, huffwire.LimitError), error
    assert str(paths[3]) in str(error) and "save this one without base=" in str(error)
    assert not paths[4].exists()
    save(small(4), paths[4])
    save(small(5), paths[5], base=paths[4])
    assert_state(load(paths[5], small(5)), small(5))


def test_the_longest_chain_is_read_and_a_longer_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / str(number) for number in range(35)]
    save(small(0), paths[0])
    with monkeypatch.context() as patch:
        # What another program may have written.
        patch.setattr(chain, "MAX_CHAIN", 1000)
        for number in range(1, 35):
            save(small(number), paths[number], base=paths[number - 1])
    assert_state(load(paths[32], small(32)), small(32))
    for number in (33, 34):
        error = load_error(paths[number], small(number))
        assert isinstance(error, huffwire.LimitError), error
        assert "more than 32 checkpoints" in str(error) and "load an earlier one" in str(error)
    assert isinstance(save_error(small(35), tmp_path / "35", base=paths[32]), huffwire.LimitError)
    assert isinstance(save_error(small(35), tmp_path / "35", base=paths[34]), huffwire.LimitError)


def test_a_chain_of_hundreds_needs_no_deep_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Folders that all say to be deltas of the next one.
    paths, states = checkpoints(tmp_path, 2)
    for number in range(500):
        shutil.copytree(paths[1], tmp_path / f"copy-{number}")
        rewrite(tmp_path / f"copy-{number}", base=f"../copy-{number + 1}")
    error = load_error(tmp_path / "copy-0", states[1])
    assert isinstance(error, huffwire.LimitError), error
    error = save_error(states[2], tmp_path / "new", base=tmp_path / "copy-0")
    assert isinstance(error, huffwire.LimitError), error


def test_a_long_chain_is_read_into_the_memory_of_one_message(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {"w": torch.randn(1_000_000)}
    paths = [tmp_path / str(number) for number in range(8)]
    for number, path in enumerate(paths):
        save(state, path, base=paths[number - 1] if number else None)
        state = {"w": state["w"] + 0.01 * torch.randn(1_000_000)}
    largest = max(file.stat().st_size for path in paths for file in path.glob("*.distcp"))
    smallest = min(file.stat().st_size for path in paths for file in path.glob("*.distcp"))
    assert smallest > 2_000_000
    tracemalloc.start()
    try:
        load(paths[7], state)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # With memory for each of them it were eight times as much. What is decoded lies in the tensor.
    assert peak < 3 * largest


# --- chains that are none ---


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], None] = lambda _: None, **fields: Any) -> None:
    """Writes other metadata: changes what is said of each delta."""
    path = folder / ".metadata"
    metadata = _read_metadata(path)
    for index, info in metadata.storage_data.items():
        stored = _Stored.of(info)
        assert stored is not None
        if stored.deltas:
            said = dataclasses.asdict(stored) | fields
            edit(said)
            text = _DELTA_DESCRIPTOR + json.dumps(said)
            metadata.storage_data[index] = dataclasses.replace(info, transform_descriptors=[text])
    pickled = pickle.dumps(metadata)
    seal = _SEAL + zlib.crc32(pickled).to_bytes(4, "little") + len(pickled).to_bytes(8, "little")
    path.write_bytes(pickled + seal)


def test_chains_in_a_circle(tmp_path: Path) -> None:
    paths, states = checkpoints(tmp_path, 3)
    rewrite(paths[1], base="../2")
    error = load_error(paths[2], states[2])
    assert isinstance(error, huffwire.DamagedError) and "a delta of itself" in str(error)
    error = save_error(states[3], tmp_path / "3", base=paths[2])
    assert isinstance(error, huffwire.DamagedError) and "a delta of itself" in str(error)


@pytest.mark.parametrize(
    "fields",
    [
        {"base": None},
        {"base": ""},
        {"base": 7},
        {"base": "../0\0"},
        {"base": "/absolute"},
        {"base": "../\ud800"},
        {"deltas": []},
        {"deltas": [9]},
        {"deltas": [-1]},
        {"deltas": ["0"]},
        {"lengths": 3},
        {"shape": [-1, -1]},
        {"piece": "x"},
        {"piece": 0},
        {"dtype": "bfloat17"},
        {"dtype": "nn"},
        {"codebooks": 3},
        {"another": 1},
    ],
    ids=str,
)
def test_metadata_that_cannot_be(tmp_path: Path, fields: dict[str, Any]) -> None:
    paths, states = checkpoints(tmp_path, 2)
    rewrite(paths[1], **fields)
    reader = Reader(paths[1])
    with pytest.raises(huffwire.DamagedError, match="contradict themselves; restore .metadata"):
        reader.report()
    error = save_error(states[2], tmp_path / "2", base=paths[1])
    assert isinstance(error, huffwire.DamagedError), error


def test_shapes_that_contradict_each_other(tmp_path: Path) -> None:
    paths, states = checkpoints(tmp_path, 2)
    rewrite(paths[1], lambda said: said.update(shape=said["shape"][::-1]))
    error = load_error(paths[1], states[1])
    assert isinstance(error, huffwire.MismatchError), error
    assert "the checkpoint has something else under this name" in str(error)


# --- bases that are none ---


@pytest.mark.parametrize("base", [3, b"bytes", "", "a\0b", "a\ud800b", [], [None], object()], ids=repr)
def test_bases_that_are_none(tmp_path: Path, base: Any) -> None:
    with pytest.raises(huffwire.OptionError, match="base="):
        Reader(tmp_path, base=base)
    with pytest.raises(huffwire.OptionError, match="base=.*give the folder of a checkpoint"):
        Writer(tmp_path, base=base)
    with pytest.raises(huffwire.OptionError, match="base="):
        Writer(tmp_path, base=["a", "b"])


def test_bases_that_are_not_there(tmp_path: Path) -> None:
    state = training()
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "empty").mkdir()
    for name, reason in [
        ("nowhere", "there is no such folder"),
        ("file", "is a file, and checkpoints are folders"),
        ("empty", "holds no whole checkpoint: .metadata is missing"),
    ]:
        error = save_error(state, tmp_path / "new", base=tmp_path / name)
        assert isinstance(error, huffwire.MissingBaseError)
        assert str(error).startswith(f"base='{tmp_path / name}' is no checkpoint"), error
        assert reason in str(error)
        assert not (tmp_path / "new").exists()
    long = "x" * 300
    for name, reason in [(long, "too long"), (f"{long}/y", "too long"), ("file/x", "Not a directory")]:
        error = save_error(state, tmp_path / "new", base=tmp_path / name)
        assert isinstance(error, huffwire.MissingBaseError), error
        assert str(error).startswith(f"base='{tmp_path / name}' is no checkpoint"), error
        assert reason in str(error)
    paths, states = checkpoints(tmp_path / "chain", 3)
    rewrite(paths[1], base=f"../{long}")
    error = load_error(paths[1], states[1])
    assert isinstance(error, huffwire.MissingBaseError), error
    assert f"{paths[1]} is a delta of the checkpoint " in str(error) and "restore it" in str(error)
    rewrite(paths[1], base="../0")
    error = load_error(paths[1], states[1], base=tmp_path / "nowhere")
    assert isinstance(error, huffwire.MissingBaseError)
    assert f"base='{tmp_path / 'nowhere'}'" in str(error)
    # A base without its own base is none: the new checkpoint could never be loaded.
    shutil.rmtree(paths[0])
    error = save_error(states[3], tmp_path / "new", base=paths[2])
    assert isinstance(error, huffwire.MissingBaseError)
    assert f"{paths[1]} is a delta of the checkpoint {paths[0]}, which is not there" in str(error)
    assert not (tmp_path / "new").exists()


def test_bases_of_other_kinds(tmp_path: Path) -> None:
    state = small(0)
    together, alone = tmp_path / "together", tmp_path / "alone"
    save(state, together)
    dcp.save(state, storage_writer=Writer(alone, sync_files=False), no_dist=True, use_collectives=False)
    error = save_error(state, tmp_path / "new", base=alone)
    assert isinstance(error, huffwire.MissingBaseError) and "use_collectives=False" in str(error)
    writer = Writer(tmp_path / "new", base=together, sync_files=False)
    with pytest.raises(huffwire.MissingBaseError, match="use_collectives=True"):
        dcp.save(state, storage_writer=writer, no_dist=True, use_collectives=False)


def test_relative_paths_are_those_of_the_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = training()
    monkeypatch.chdir(tmp_path)
    save(state, Path("0"))
    save(change(state), Path("deep/er/1"), base=Path("0"))
    monkeypatch.chdir("/")
    later = load(tmp_path / "deep" / "er" / "1", state)
    assert torch.equal(later["model"]["w"], change(state)["model"]["w"])
