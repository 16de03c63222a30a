"""Files and checkpoints that are saved against earlier ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

import huffwire
import huffwire.checkpoint
import huffwire.numpy
import huffwire.torch
from huffwire.checkpoint import Reader, Writer
from huffwire.checkpoint import _save as saving

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {
        "layers.0.weight": torch.randn(300, 500).bfloat16(),
        "layers.0.bias": torch.randn(500),
        "steps": torch.arange(40_000),
    }


def step(state: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """The same with one element in a hundred a little larger."""
    torch.manual_seed(seed)
    after = {}
    for name, tensor in state.items():
        after[name] = tensor.clone()
        flat = after[name].view(-1)
        places = torch.randperm(flat.numel())[: max(1, flat.numel() // 100)]
        flat[places] = flat[places] * 2 + 1
    return after


def assert_same(found: dict[str, Any], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


# Files.


@pytest.fixture
def chain(tmp_path: Path) -> tuple[list[Path], list[dict[str, torch.Tensor]]]:
    """Three files, each saved against those before it, and what they hold."""
    states = [weights()]
    paths: list[Path] = []
    for number in range(3):
        paths.append(tmp_path / f"step-{number}.safetensors.hw")
        huffwire.torch.save_file(
            states[number], paths[number], {"step": str(number)}, base=paths[:number] or None
        )
        states.append(step(states[-1], number))
    return paths, states


def test_a_chain_is_loaded_with_what_is_before_it(chain: Any) -> None:
    paths, states = chain
    assert paths[1].stat().st_size < paths[0].stat().st_size / 10
    for number in range(3):
        base = paths[:number] or None
        assert_same(huffwire.torch.load_file(paths[number], base=base), states[number])
        assert_same(huffwire.torch.load(paths[number].read_bytes(), base=base), states[number])
        with huffwire.torch.safe_open(paths[number], base=base) as file:
            assert file.metadata() == {"step": str(number)}
            rows = file.get_slice("layers.0.weight")[7:9, 3:]
            assert torch.equal(rows, states[number]["layers.0.weight"][7:9, 3:])
    # One file needs no list.
    assert_same(huffwire.torch.load_file(paths[1], base=str(paths[0])), states[1])


def test_a_base_may_be_a_safetensors_file(tmp_path: Path) -> None:
    first = weights()
    second = step(first, 1)
    second["new"] = torch.ones(3)
    safetensors.torch.save_file(first, tmp_path / "base.safetensors")
    data = huffwire.torch.save(second, base=tmp_path / "base.safetensors")
    plain = huffwire.torch.save(second)
    assert len(data) < len(plain) / 10
    assert_same(huffwire.torch.load(data, base=tmp_path / "base.safetensors"), second)


def test_arrays_and_models_have_bases_too(tmp_path: Path) -> None:
    first = {"a": np.arange(100_000, dtype="float32")}
    second = {"a": first["a"].copy()}
    second["a"][17] = np.nan
    base, path = tmp_path / "a.hw", tmp_path / "b.hw"
    huffwire.numpy.save_file(first, base)
    huffwire.numpy.save_file(second, path, base=base)
    assert path.stat().st_size < 1000
    loaded = huffwire.numpy.load_file(path, base=base)["a"]
    assert loaded.tobytes() == second["a"].tobytes()
    with huffwire.numpy.safe_open(path, base=[base]) as file:
        assert np.isnan(file.get_slice("a")[17])
    assert len(huffwire.numpy.save(second, base=base)) < 1000
    again = huffwire.numpy.load(huffwire.numpy.save(second, base=base), base=base)
    assert again["a"].tobytes() == second["a"].tobytes()

    model = torch.nn.Linear(300, 200)
    huffwire.torch.save_model(model, base)
    with torch.no_grad():
        model.weight[0, 0] += 1
    huffwire.torch.save_model(model, path, base=base)
    other = torch.nn.Linear(300, 200)
    huffwire.torch.load_model(other, path, base=base)
    assert torch.equal(other.weight, model.weight)


def test_files_without_their_base_are_refused(chain: Any, tmp_path: Path) -> None:
    paths, states = chain
    with pytest.raises(huffwire.MissingBaseError, match="step-1.*is a delta.*give that base"):
        huffwire.torch.load_file(paths[1])
    with huffwire.torch.safe_open(paths[1]) as file:
        assert file.metadata() == {"step": "1"} and "steps" in file.keys()
        with pytest.raises(huffwire.MissingBaseError, match='"layers.0.bias" is a delta'):
            file.get_tensor("layers.0.bias")
        with pytest.raises(huffwire.MissingBaseError):
            file.get_slice("layers.0.weight")[0]
    with pytest.raises(huffwire.MissingBaseError, match="step-1"):
        huffwire.torch.load_file(paths[2], base=paths[1])
    with pytest.raises(huffwire.MissingBaseError):
        huffwire.torch.save_file(states[3], tmp_path / "next.hw", base=paths[2])
    # Out of order, with a gap, and another model.
    with pytest.raises(huffwire.ChainError, match="a delta between them is missing, or .* out of order"):
        huffwire.torch.save_file(states[3], tmp_path / "next.hw", base=[paths[0], paths[1], paths[1]])
    with pytest.raises(huffwire.WrongBaseError, match="step-2"):
        huffwire.torch.load_file(paths[2], base=paths[0])
    other = tmp_path / "other.hw"
    huffwire.torch.save_file(weights(9), other)
    with pytest.raises(huffwire.WrongBaseError, match="with the base .*other.hw"):
        huffwire.torch.load_file(paths[1], base=other)
    huffwire.torch.save_file({"steps": torch.zeros(3)}, other)
    with pytest.raises(huffwire.MismatchError):
        huffwire.torch.load_file(paths[1], base=other)
    original = tmp_path / "step-1.safetensors"
    safetensors.torch.save_file(states[1], original)
    with pytest.raises(huffwire.MismatchError, match="no .hw file"):
        huffwire.torch.load_file(paths[2], base=[paths[0], original])
    # What the chain restores will do.
    assert_same(huffwire.torch.load_file(paths[2], base=original), states[2])
    assert not (tmp_path / "next.hw").exists()


def test_bases_that_are_none_are_refused(chain: Any, tmp_path: Path) -> None:
    paths, states = chain
    for base in ([], 3, [3], [None], b"0.hw", [b"0.hw"], "", "a\0b", "a\ud800b", [paths[0], "a\0b"]):
        with pytest.raises(huffwire.OptionError, match="base=.*(give|name at least)"):
            huffwire.torch.load_file(paths[1], base=base)
    with pytest.raises(huffwire.FileError, match="x: .*too long"):
        huffwire.torch.load_file(paths[1], base="x" * 300)
    # Nor are such names those of files and of checkpoints.
    for name in ("x" * 300, "a\0b", "a\ud800b"):
        with pytest.raises(huffwire.FileError, match="too long|no file can have this name"):
            huffwire.torch.load_file(name)
        with pytest.raises(huffwire.FileError):
            huffwire.checkpoint.report(name)
    with pytest.raises(huffwire.MissingFileError):
        huffwire.torch.load_file(paths[1], base=tmp_path / "nowhere")
    # A file is not its own base.
    before = paths[0].read_bytes()
    with pytest.raises(huffwire.FileError):
        huffwire.torch.save_file(states[1], paths[0], base=paths[0])
    assert paths[0].read_bytes() == before


def test_codebooks_of_a_base_are_given_once(tmp_path: Path) -> None:
    first = {f"layers.{number}.weight": torch.randn(300, 300).pow(3) for number in range(3)}
    books = huffwire.calibrate(first, name="cubed").codebooks
    second = step(first, 1)
    huffwire.torch.save_file(first, tmp_path / "0.hw", codebooks=books)
    huffwire.torch.save_file(second, tmp_path / "1.hw", base=tmp_path / "0.hw", codebooks=books)
    assert_same(huffwire.torch.load_file(tmp_path / "1.hw", base=tmp_path / "0.hw"), second)


def test_codebooks_that_a_base_only_names_are_passed_on(tmp_path: Path) -> None:
    first = {f"layers.{number}.weight": torch.randn(300, 300).pow(3) for number in range(3)}
    books = huffwire.calibrate(first, name="cubed").codebooks
    books.save(tmp_path / "my.books")
    original, base, path = (tmp_path / name for name in ("0.safetensors", "0.hw", "1.hw"))
    safetensors.torch.save_file(first, original)
    program = [sys.executable, "-m", "huffwire", "compress", str(original), "-o", str(base)]
    options = ["--codebooks", str(tmp_path / "my.books"), "--reference-codebooks"]
    subprocess.run([*program, *options], check=True, capture_output=True, timeout=300)
    second = step(first, 1)
    with pytest.raises(huffwire.CodebookError):
        huffwire.torch.save_file(second, path, base=base)
    huffwire.torch.save_file(second, path, base=base, codebooks=books)
    assert path.stat().st_size < base.stat().st_size / 10
    assert_same(huffwire.torch.load_file(path, base=base, codebooks=books), second)
    with pytest.raises(huffwire.CodebookError):
        huffwire.torch.load_file(path, base=base)


# Files that a file is made of are not replaced.


def test_files_in_turn_are_refused(chain: Any, tmp_path: Path) -> None:
    paths, states = chain
    before = [path.read_bytes() for path in paths]
    (tmp_path / "link.hw").symlink_to(paths[1].name)
    os.link(paths[0], tmp_path / "other name.hw")
    for number in range(3):
        with pytest.raises(huffwire.FileError, match="choose another output") as caught:
            huffwire.torch.save_file(states[3], paths[number], base=paths)
        assert str(paths[number]) in str(caught.value)
    for name in ("link.hw", "other name.hw", "./step-2.safetensors.hw"):
        with pytest.raises(huffwire.FileError, match="choose another output"):
            huffwire.torch.save_file(states[3], tmp_path / name, base=paths)
    # Two files in turn: the second one needs the first one, so both are named.
    with pytest.raises(huffwire.MissingBaseError):
        huffwire.torch.save_file(states[2], paths[0], base=paths[1])
    assert [path.read_bytes() for path in paths] == before
    assert {*tmp_path.iterdir()} == {*paths, tmp_path / "link.hw", tmp_path / "other name.hw"}


def test_chains_of_files_end(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:02}.hw" for number in range(34)]
    tensor = torch.randn(4000)
    for number, path in enumerate(paths[:33]):
        tensor[number] += 1
        huffwire.torch.save_file({"w": tensor}, path, base=paths[:number] or None)
    assert_same(huffwire.torch.load_file(paths[32], base=paths[:32]), {"w": tensor})
    # One more could be written, and then not be read.
    for base in (paths[:33], [*paths[:32], tmp_path / "nowhere"]):
        with pytest.raises(huffwire.LimitError, match="at most 32 deltas .* save a file without base="):
            huffwire.torch.save_file({"w": tensor}, paths[33], base=base)
    assert not paths[33].exists()
    with pytest.raises(huffwire.LimitError, match="at most 32 deltas"):
        huffwire.torch.load_file(paths[32], base=[*paths[:32], paths[31]])


# Checkpoints of torch.distributed.checkpoint.


def training(seed: int = 0) -> dict[str, Any]:
    torch.manual_seed(seed)
    return {
        "model": {"w": torch.randn(400, 300).bfloat16(), "scalar": torch.tensor(0.5)},
        "optim": {"state": {"w": {"exp_avg": torch.randn(400, 300), "master": torch.randn(400, 300)}}},
        "extra": {"step": 1, "name": "run"},
    }


def empty(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: empty(value) for key, value in state.items()}
    return torch.zeros_like(state) if torch.is_tensor(state) else None


def save(state: dict[str, Any], folder: Path, **options: Any) -> Writer:
    writer = Writer(folder, sync_files=False, **options)
    dcp.save(state, storage_writer=writer, no_dist=True)
    return writer


def load(folder: Path, like: dict[str, Any], **options: Any) -> dict[str, Any]:
    state = empty(like)
    dcp.load(state, storage_reader=Reader(folder, **options), no_dist=True)
    return state


def load_error(folder: Path, like: dict[str, Any], **options: Any) -> BaseException:
    with pytest.raises(CheckpointException) as caught:
        load(folder, like, **options)
    (error, _), *_ = caught.value.failures.values()
    return error


def change(state: dict[str, Any]) -> dict[str, Any]:
    """The weights and master weights a little later; the moment becomes another one."""
    weights, moments = state["model"]["w"].clone(), state["optim"]["state"]["w"]
    weights.view(-1)[::97] += 1
    master = moments["master"].clone()
    master.view(-1)[::50] *= 1.5
    return {
        "model": {"w": weights, "scalar": state["model"]["scalar"]},
        "optim": {"state": {"w": {"exp_avg": torch.randn(400, 300), "master": master}}},
        "extra": {"step": state["extra"]["step"] + 1, "name": "run"},
    }


def assert_state(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_state(found[key], expected[key])
    elif torch.is_tensor(expected):
        assert torch.equal(found, expected)
    else:
        assert found == expected


def checkpoints(folder: Path, count: int, **options: Any) -> tuple[list[Path], list[dict[str, Any]]]:
    """A chain of checkpoints, and what they hold."""
    states = [training()]
    paths = [folder / str(number) for number in range(count)]
    for number, path in enumerate(paths):
        save(states[number], path, base=paths[number - 1] if number else None, **options)
        states.append(change(states[number]))
    return paths, states


@pytest.mark.parametrize("thread_count", [1, 3])
def test_checkpoints_are_chains(
    tmp_path: Path, thread_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several messages for each tensor.
    monkeypatch.setattr(saving, "PIECE_BYTES", 100_000)
    paths, states = checkpoints(tmp_path, 4, thread_count=thread_count)
    for path, state in zip(paths, states, strict=False):
        assert_state(load(path, state, thread_count=thread_count), state)
    whole, delta = (huffwire.checkpoint.report(path).roles for path in paths[:2])
    assert delta["weights"].stored < whole["weights"].stored / 10
    assert delta["master weights"].stored < whole["master weights"].stored / 10
    # What is another tensor altogether needs no base, and is no larger.
    assert abs(delta["first moment"].stored - whole["first moment"].stored) < 2000


def test_a_part_of_a_tensor_is_loaded_from_a_chain(tmp_path: Path) -> None:
    paths, states = checkpoints(tmp_path, 3)
    other = {"model": {"w": torch.zeros(400, 300)}}
    # Another type: it is decoded beside the tensor, and converted.
    dcp.load(other, storage_reader=Reader(paths[2]), no_dist=True)
    assert torch.equal(other["model"]["w"], states[2]["model"]["w"].float())


def test_chains_may_be_moved(tmp_path: Path) -> None:
    paths, states = checkpoints(tmp_path / "a", 3)
    # Together they find each other.
    (tmp_path / "a").rename(tmp_path / "b")
    paths = [tmp_path / "b" / path.name for path in paths]
    assert_state(load(paths[2], states[2]), states[2])
    paths[0] = paths[0].rename(tmp_path / "old")
    error = load_error(paths[2], states[2])
    assert isinstance(error, huffwire.MissingBaseError)
    assert "b/0, which is not there: restore it, or give base=" in str(error)
    assert_state(load(paths[2], states[2], base=paths[:2]), states[2])
    assert_state(load(paths[1], states[1], base=paths[0]), states[1])
    with pytest.raises(CheckpointException):
        save(states[2], tmp_path / "c", base=tmp_path / "nowhere")


def test_a_base_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    paths, states = checkpoints(tmp_path, 2)
    save(training(7), paths[0])
    error = load_error(paths[1], states[1])
    assert isinstance(error, huffwire.WrongBaseError) and "/1/" in str(error)
    assert f"the checkpoint {paths[0]} is not the one that this was saved against" in str(error)
    # One without the tensor.
    shutil.rmtree(paths[0])
    save({"model": {"w": torch.zeros(3)}}, paths[0])
    error = load_error(paths[1], states[1])
    assert isinstance(error, huffwire.WrongBaseError)
    assert "of this type and shape" in str(error)
    # A damaged one.
    shutil.rmtree(paths[0])
    save(states[0], paths[0])
    for path in paths[0].glob("*.distcp"):
        os.truncate(path, path.stat().st_size // 2)
    assert isinstance(load_error(paths[1], states[1]), huffwire.DamagedError)


def test_a_checkpoint_is_not_its_own_base(tmp_path: Path) -> None:
    paths, states = checkpoints(tmp_path, 2)
    with pytest.raises(huffwire.OptionError, match="is the folder that is written"):
        Writer(paths[0], base=tmp_path / "x" / ".." / "0")
    shutil.rmtree(paths[0])
    shutil.copytree(paths[1], paths[0])
    error = load_error(paths[1], states[1])
    assert isinstance(error, huffwire.DamagedError) and "of itself" in str(error)


def test_other_tensors_are_saved_without_a_base(tmp_path: Path) -> None:
    base, path = tmp_path / "0", tmp_path / "1"
    state = {"a": torch.randn(100, 100), "b": torch.randn(50).bfloat16()}
    save(state, base)
    later = {"a": state["a"][:50].clone(), "b": state["b"].float(), "c": torch.ones(5)}
    save(later, path, base=base)
    shutil.rmtree(base)
    assert_state(load(path, later), later)


def test_codebooks_of_a_chain_lie_in_its_folders(tmp_path: Path) -> None:
    tensors = {f"layers.{number}.weight": torch.randn(300, 300).pow(3) for number in range(3)}
    books = huffwire.calibrate(tensors, name="cubed").codebooks
    save(tensors, tmp_path / "0", codebooks=books)
    later = step(tensors, 1)
    save(later, tmp_path / "1", base=tmp_path / "0")
    assert_state(load(tmp_path / "1", later), later)


def test_a_newer_kind_of_message_is_told_apart(tmp_path: Path) -> None:
    paths, _ = checkpoints(tmp_path, 2)
    [*metadata] = Reader(paths[1]).read_metadata().storage_data.values()
    begins = {info.transform_descriptors[0].split(" ")[0] for info in metadata}
    assert begins == {"huffwire/1", "huffwire/2"}
