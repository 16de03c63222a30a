"""Files: round trips, the same behaviour as safetensors, damage, limits, interrupted saves."""

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import huffwire
import huffwire.numpy
import huffwire.torch
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from huffwire._files import narrow
from huffwire._huffwire import FileReader, FileWriter

TYPES = [
    torch.bfloat16,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
    torch.float4_e2m1fn_x2,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.bool,
    torch.complex64,
]


def random(dtype, *shape, seed=0):
    """A tensor of random bits (of a bool: random truth values)."""
    generator = torch.Generator().manual_seed(seed)
    count = torch.Size(shape).numel() * dtype.itemsize
    bits = torch.randint(0, 2 if dtype == torch.bool else 256, (count,), generator=generator)
    return bits.to(torch.uint8).view(dtype).reshape(shape)


def bits(tensor):
    if isinstance(tensor, np.ndarray):
        return tensor.tobytes()
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def assert_same(a, b):
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        assert a[name].shape == b[name].shape, name
        assert bits(a[name]) == bits(b[name]), name


def tensors():
    made = {str(dtype): random(dtype, 3, 5, 8, seed=i) for i, dtype in enumerate(TYPES)}
    made |= {
        "large": torch.randn(500, 1000).bfloat16(),
        "no dimension": torch.tensor(1.5),
        "empty": torch.zeros(0),
        "empty, too": torch.zeros(3, 0, 2, dtype=torch.bfloat16),
        "needs gradients": torch.nn.Parameter(torch.randn(7)),
        "ünïcode/\"quoted\"\n": torch.arange(4),
    }
    return made


def decompress(path, target):
    """Restores the original file, as `huffwire decompress` does."""
    reader = FileReader(path)
    assert len(reader.originals()) == 1
    Path(target).write_bytes(reader.content(0, 1 << 30))
    return target


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors.hw"


@pytest.fixture
def program():
    return [sys.executable, "-m", "huffwire"]


# --- Round trips ---


@pytest.mark.parametrize("threads", [None, 1, 3])
@pytest.mark.parametrize("level", ["fast", "max"])
def test_all_types_come_back(path, threads, level):
    saved = tensors()
    metadata = {"format": "pt", "ü": "ß\n"}
    huffwire.torch.save_file(saved, path, metadata, level=level, threads=threads)
    loaded = huffwire.torch.load_file(path, threads=threads)
    assert_same({name: saved[name] for name in loaded}, loaded)
    assert set(saved) == set(loaded)
    assert not any(tensor.requires_grad for tensor in loaded.values())
    with huffwire.safe_open(path, framework="pt") as file:
        assert file.metadata() == metadata
        for name in file.keys():
            assert_same({name: file.get_tensor(name)}, {name: saved[name]})


@pytest.mark.parametrize("options", [{"symbols": "bytes"}, {"symbols": "byte-planes"}, {"checksums": False}])
def test_options_keep_the_content(path, options):
    saved = tensors()
    huffwire.torch.save_file(saved, path, **options)
    loaded = huffwire.torch.load_file(path)
    assert_same({name: saved[name] for name in loaded}, loaded)


def test_the_file_does_not_depend_on_the_threads(path, tmp_path):
    saved = tensors()
    contents = set()
    for threads in [1, 2, 5]:
        huffwire.torch.save_file(saved, path, {"b": "1", "a": "2"}, threads=threads)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    assert contents == {huffwire.torch.save(saved, {"a": "2", "b": "1"})}


def test_a_file_is_smaller(path):
    huffwire.torch.save_file({"w": torch.randn(1 << 20).bfloat16()}, path)
    assert path.stat().st_size < 0.7 * (2 << 20)


def test_bytes_instead_of_files():
    saved = tensors()
    data = huffwire.torch.save(saved, {"a": "b"})
    assert isinstance(data, bytes)
    loaded = huffwire.torch.load(data)
    assert_same({name: saved[name] for name in loaded}, loaded)
    arrays = huffwire.numpy.load(huffwire.numpy.save({"a": np.arange(3)}))
    assert arrays["a"].tolist() == [0, 1, 2]


def test_arrays(path):
    saved = {
        "a": np.arange(24, dtype=np.int32).reshape(2, 3, 4),
        "half": np.linspace(0, 1, 7, dtype=np.float16),
        "brain": np.ones((3, 3), ml_dtypes.bfloat16),
        "small": np.ones((3, 3), ml_dtypes.float8_e4m3fn),
        "truth": np.array([True, False]),
        "none": np.float64(2.5).reshape(()),
        "empty": np.zeros((0, 4)),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "backwards": np.arange(6)[::-1],
        "big-endian": np.arange(5, dtype=">i4"),
    }
    huffwire.numpy.save_file(saved, path)
    loaded = huffwire.numpy.load_file(path)
    assert set(loaded) == set(saved)
    for name, array in loaded.items():
        assert array.dtype == saved[name].dtype.newbyteorder("=") and array.flags.writeable
        assert np.array_equal(array, saved[name]) and array.shape == saved[name].shape
    # And both frameworks read what the other one wrote.
    assert huffwire.torch.load_file(path)["transposed"].tolist() == saved["transposed"].tolist()


def test_tensors_on_another_device_than_the_processor(path, monkeypatch):
    monkeypatch.setattr(huffwire._files, "_GROUP_BYTES", 300)
    saved = tensors()
    saved.pop("large")
    huffwire.torch.save_file(saved, path)
    framework, device = huffwire._torch_files.FRAMEWORK, torch.device("cpu")
    monkeypatch.setattr(type(framework), "stays", lambda *_: False)
    moved = []
    monkeypatch.setattr(type(framework), "move", lambda _, tensor, device: moved.append(1) or tensor)
    loaded = huffwire.torch.load_file(path, device)
    assert_same({name: saved[name] for name in loaded}, loaded)
    assert len(moved) == len(saved)


def test_groups_of_copies_are_added_one_after_the_other(path, monkeypatch):
    monkeypatch.setattr(huffwire._files, "_GROUP_BYTES", 1000)
    saved = {f"a{i}": np.arange(100 * i, dtype=">f8") for i in range(10)}
    steps = []
    huffwire.numpy.save_file(saved, path, progress=lambda *step: steps.append(step))
    assert len(steps) > 5 and steps[-1] == (36000, 36000)
    for name, array in huffwire.numpy.load_file(path).items():
        assert np.array_equal(array, saved[name])


# --- The same as safetensors ---


def test_the_original_is_what_safetensors_writes(path, tmp_path):
    saved = tensors()
    for metadata in [None, {"format": "pt"}]:
        huffwire.torch.save_file(saved, path, metadata)
        safetensors.torch.save_file(saved, tmp_path / "theirs", metadata)
        decompress(path, tmp_path / "ours")
        assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_the_original_can_be_loaded_by_safetensors(path, tmp_path):
    saved = tensors()
    metadata = {str(i): "x" * i for i in range(20)}
    huffwire.torch.save_file(saved, path, metadata)
    decompress(path, tmp_path / "model.safetensors")
    assert_same(huffwire.torch.load_file(path), safetensors.torch.load_file(tmp_path / "model.safetensors"))
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as theirs, huffwire.safe_open(path, "pt") as ours:
        assert ours.keys() == theirs.keys()
        assert ours.offset_keys() == theirs.offset_keys()
        assert ours.metadata() == theirs.metadata() == metadata
        for name in ours.keys():
            assert ours.get_slice(name).get_shape() == theirs.get_slice(name).get_shape()
            assert ours.get_slice(name).get_dtype() == theirs.get_slice(name).get_dtype()
        assert_same(ours.get_tensors(), theirs.get_tensors())


def test_the_program_restores_the_file(path, tmp_path, program):
    saved = tensors()
    huffwire.torch.save_file(saved, path, {"a": "b"})
    target = tmp_path / "restored.safetensors"
    subprocess.run([*program, "decompress", path, "-o", target], check=True, capture_output=True)
    loaded = safetensors.torch.load_file(target)
    assert_same(huffwire.torch.load_file(path), loaded)
    with safetensors.safe_open(target, "pt") as file:
        assert file.metadata() == {"a": "b"}
    # Into a folder it goes by the name of the original.
    (tmp_path / "folder").mkdir()
    subprocess.run([*program, "decompress", path, "-o", tmp_path / "folder"], check=True, capture_output=True)
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["model.safetensors"]
    # And what the program compresses is read here.
    subprocess.run([*program, "compress", target, "-o", tmp_path / "again.hw"], check=True, capture_output=True)
    assert_same(huffwire.torch.load_file(tmp_path / "again.hw"), loaded)


def test_no_tensors_at_all(path, tmp_path):
    for metadata in [None, {"a": "b"}]:
        huffwire.torch.save_file({}, path, metadata)
        assert huffwire.torch.load_file(path) == {}
        safetensors.torch.load_file(decompress(path, tmp_path / "x"))
        with huffwire.torch.safe_open(path) as file:
            assert file.keys() == [] and file.metadata() == metadata


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("a.safetensors.hw", "a.safetensors"),
        ("a.hw", "a.safetensors"),
        ("a", "a.safetensors"),
        ("a.HW", "a.safetensors"),
        (".hw", "model.safetensors"),
        ("a:b.hw", "model.safetensors"),
    ],
)
def test_names_of_originals(tmp_path, name, original):
    huffwire.numpy.save_file({}, tmp_path / name)
    assert FileReader(tmp_path / name).originals() == [original]


INDICES = [
    1, -1, slice(1, 3), slice(None, None, 2), (slice(None), slice(None, None, 2)), ..., (1, 2), None, [0, 1],
    slice(2, 100), slice(3, 1), (..., 1), torch.tensor([0]), (), (slice(1, 3), 0, slice(2, 4)), (0, ..., 0),
    (None, 1, None), slice(-2, None), (slice(None), slice(None), slice(5, 6)), np.int64(2), True,
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_slices_are_those_of_safetensors(path, index):
    tensor = random(torch.bfloat16, 4, 6, 7)
    huffwire.torch.save_file({"a": tensor, "b": torch.ones(3)}, path)
    with huffwire.safe_open(path, framework="pt") as file:
        part = file.get_slice("a")[index]
    expected = tensor[index]
    assert part.shape == expected.shape and bits(part) == bits(expected)
    assert part.is_contiguous() and part.untyped_storage().nbytes() == part.nbytes


@pytest.mark.parametrize(
    ("index", "error"),
    [(4, IndexError), (-5, IndexError), ((1, 2, 3, 4), IndexError), ((..., ...), IndexError)],
)
def test_indices_that_reach_outside(path, index, error):
    huffwire.torch.save_file({"a": torch.ones(4, 6, 7)}, path)
    with huffwire.safe_open(path, "pt") as file, pytest.raises(error):
        file.get_slice("a")[index]


def test_slices_backwards(path):
    huffwire.torch.save_file({"a": torch.ones(4)}, path)
    with huffwire.safe_open(path, "pt") as file, pytest.raises(ValueError, match="positive step"):
        file.get_slice("a")[::-1]


def test_slices_of_arrays_empty_ones_and_scalars(path):
    saved = {"a": np.arange(24).reshape(4, 6), "s": np.array(3.5), "e": np.zeros((3, 0, 2))}
    huffwire.numpy.save_file(saved, path)
    with huffwire.safe_open(path, "np") as file:
        for index in [1, slice(1, 3), (slice(None), slice(1, 6, 2)), (..., 2), (1, 2)]:
            part = file.get_slice("a")[index]
            assert np.array_equal(part, saved["a"][index]) and isinstance(part, np.ndarray)
        assert file.get_slice("s")[...] == 3.5 and file.get_slice("s")[()].shape == ()
        assert file.get_slice("e")[1:].shape == (2, 0, 2)
        assert file.get_slice("e")[0, :, 1].shape == (0,)


def test_slices_of_4_bit_tensors(path):
    tensor = random(torch.float4_e2m1fn_x2, 6, 10)
    huffwire.torch.save_file({"a": tensor}, path)
    with huffwire.safe_open(path, "pt") as file:
        assert file.get_slice("a").get_shape() == [6, 20] and file.get_slice("a").get_dtype() == "F4"
        part = file.get_slice("a")[2:4, 1:5]
        expected = tensor.view(torch.uint8)[2:4, 1:5]
        assert part.dtype == tensor.dtype and bits(part) == bits(expected)


def test_only_the_blocks_of_a_slice_are_read(path):
    """Damage in the other blocks is not noticed, because they are not read."""
    tensor = torch.randn(1024, 1024).bfloat16()  # 16 blocks of 64 rows.
    huffwire.torch.save_file({"a": tensor}, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with huffwire.safe_open(path, "pt") as file:
        view = file.get_slice("a")
        assert torch.equal(view[:448], tensor[:448]) and torch.equal(view[576:], tensor[576:])
        assert torch.equal(view[:400, 7:9], tensor[:400, 7:9])
        with pytest.raises(huffwire.DamagedError, match="'a'|\"a\""):
            view[:, 5]


def test_narrow_takes_what_an_index_needs():
    assert narrow((4, 6), (1, slice(2, 4))) == ([(1, 2), (2, 4)], (0, slice(None, None, 1), ))[:2]
    assert narrow((4, 6), slice(0, 0)) == ([(0, 0), (0, 6)], (slice(None, None, 1), slice(None)))
    assert narrow((4,), [0]) is None and narrow((4,), True) is None


def test_safe_open_says_what_is_wrong(path):
    huffwire.torch.save_file({"layer.weight": torch.ones(2)}, path)
    with huffwire.safe_open(path, "pt") as file:
        with pytest.raises(huffwire.NoSuchTensorError, match="layer.weight"):
            file.get_tensor("weight")
        with pytest.raises(KeyError):
            file.get_slice("nothing")
    with pytest.raises(huffwire.OptionError, match="closed"):
        file.keys()
    with pytest.raises(huffwire.OptionError, match="framework"):
        huffwire.safe_open(path, "tf")
    with pytest.raises(huffwire.OptionError, match="device"):
        huffwire.safe_open(path, "pt", "nowhere")
    with pytest.raises(huffwire.OptionError, match="device"):
        huffwire.safe_open(path, "np", "cuda")
    with pytest.raises(FileNotFoundError):
        huffwire.safe_open(path.with_name("nothing.hw"), "pt")
    (path.parent / "empty").mkdir()
    with pytest.raises(OSError, match="index.json"):
        huffwire.torch.load_file(path.parent / "empty")


def test_frameworks_may_be_left_out(path):
    huffwire.torch.save_file({"a": torch.ones(2)}, path)
    with huffwire.torch.safe_open(path) as file:
        assert isinstance(file.get_tensor("a"), torch.Tensor)
    with huffwire.numpy.safe_open(path) as file:
        assert isinstance(file.get_tensor("a"), np.ndarray)


# --- What cannot be saved ---


def test_shared_memory_is_refused_as_in_safetensors(path):
    a = torch.arange(12.0)
    cases = [
        {"a": a, "b": a},
        {"a": a, "b": a[3:]},
        {"a": a[:4], "b": a[4:], "c": a[2:6]},
        {"a": a, "b": a.view(3, 4)},
        # The first one reaches beyond the second one, into the third.
        {"a": a, "b": a[1:3], "c": a[5:7]},
    ]
    for case in cases:
        for save in [safetensors.torch.save_file, huffwire.torch.save_file]:
            with pytest.raises(RuntimeError, match="share memory"):
                save(case, path)
    with pytest.raises(huffwire.SharedStorageError, match="save_model"):
        huffwire.torch.save_file(cases[0], path)
    assert not path.exists()
    # Apart from each other, parts of one tensor can be saved.
    for save, load in [
        (safetensors.torch.save_file, safetensors.torch.load_file),
        (huffwire.torch.save_file, huffwire.torch.load_file),
    ]:
        save({"a": a[:4], "b": a[4:]}, path)
        assert load(path)["b"].tolist() == a[4:].tolist()


@pytest.mark.parametrize(
    ("tensor", "error"),
    [
        (torch.ones(2, 3).T, huffwire.LayoutError),
        (torch.ones(4)[::2], huffwire.LayoutError),
        (torch.ones(3).to_sparse(), huffwire.UnsupportedError),
        (torch.ones(3, device="meta"), huffwire.UnsupportedError),
        (torch.ones(3, dtype=torch.complex64).conj(), huffwire.UnsupportedError),
        (torch.ones(3, dtype=torch.complex128), huffwire.UnsupportedError),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), huffwire.UnsupportedError),
        (np.ones(3), huffwire.UnsupportedError),
        (3, huffwire.UnsupportedError),
        (None, huffwire.UnsupportedError),
    ],
)
def test_tensors_that_cannot_be_saved(path, tensor, error):
    path.write_bytes(b"old")
    with pytest.raises(error, match="['\"]a['\"]"):
        huffwire.torch.save_file({"a": tensor}, path)
    assert path.read_bytes() == b"old"


def test_a_tensor_that_is_not_contiguous_is_the_error_of_safetensors(path):
    for save in [safetensors.torch.save_file, huffwire.torch.save_file]:
        with pytest.raises(ValueError, match="contiguous"):
            save({"a": torch.ones(2, 3).T}, path)


@pytest.mark.parametrize(
    "array", [np.array([{}]), np.array(["a"]), np.zeros(2, "i4,f4"), np.ones(2, np.complex128), [1.0], np.ma.ones(3)]
)
def test_arrays_that_cannot_be_saved(path, array):
    with pytest.raises(huffwire.UnsupportedError, match="['\"]a['\"]"):
        huffwire.numpy.save_file({"a": array}, path)
    assert not path.exists()


def test_arguments_that_cannot_be(path):
    ones = {"a": torch.ones(2)}
    for wrong in [{"metadata": {"a": 1}}, {"level": "high"}, {"symbols": "x"}, {"threads": 0}, {"progress": 3}]:
        with pytest.raises(huffwire.OptionError):
            huffwire.torch.save_file(ones, path, **wrong)
    for wrong in [[("a", torch.ones(2))], {1: torch.ones(2)}]:
        with pytest.raises(huffwire.UnsupportedError):
            huffwire.torch.save_file(wrong, path)
    with pytest.raises(huffwire.MismatchError, match="__metadata__"):
        huffwire.torch.save_file({"__metadata__": torch.ones(2)}, path)
    with pytest.raises(FileNotFoundError):
        huffwire.torch.save_file(ones, path / "no folder" / "x.hw")
    with pytest.raises(huffwire.FileError, match="folder"):
        huffwire.torch.save_file(ones, path.parent)
    assert list(path.parent.iterdir()) == []


# --- Models ---


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.head = torch.nn.Linear(4, 10, bias=False)
        self.head.weight = self.embedding.weight


def test_models_with_shared_memory(path, tmp_path):
    model = Tied()
    huffwire.torch.save_model(model, path, {"head.weight": "mine"})
    with huffwire.torch.safe_open(path) as file:
        assert file.metadata() == {"head.weight": "mine"}
    metadata = {}
    huffwire.torch.save_model(model, path, metadata)
    assert metadata == {}
    safetensors.torch.save_model(model, tmp_path / "theirs")
    with huffwire.torch.safe_open(path) as ours, safetensors.safe_open(tmp_path / "theirs", "pt") as theirs:
        assert ours.keys() == theirs.keys() and ours.metadata() == theirs.metadata()
    other = Tied()
    assert not torch.equal(other.head.weight, model.head.weight)
    assert huffwire.torch.load_model(other, path) == (set(), [])
    assert torch.equal(other.head.weight, model.head.weight) and other.head.weight is other.embedding.weight
    # What they saved under the other name is loaded, too.
    state = {k: v for k, v in model.state_dict().items() if k != "embedding.weight"}
    huffwire.torch.save_file(state, path)
    assert huffwire.torch.load_model(Tied(), path) == (set(), [])


def test_models_and_files_that_differ(path, tmp_path):
    model = Tied()
    state = {k: v.clone() for k, v in model.state_dict().items() if k not in ("norm.bias", "head.weight")}
    state["more"] = torch.ones(1)
    huffwire.torch.save_file(state, path)
    safetensors.torch.save_file(state, tmp_path / "theirs")
    ours = huffwire.torch.load_model(Tied(), path, strict=False)
    theirs = safetensors.torch.load_model(Tied(), tmp_path / "theirs", strict=False)
    assert ours == theirs == ({"norm.bias"}, ["more"])
    with pytest.raises(RuntimeError) as their_error:
        safetensors.torch.load_model(Tied(), tmp_path / "theirs")
    with pytest.raises(huffwire.MissingKeysError) as our_error:
        huffwire.torch.load_model(Tied(), path)
    assert str(our_error.value) == str(their_error.value)


def test_models_that_are_not_contiguous(path):
    model = torch.nn.Linear(3, 4)
    model.weight = torch.nn.Parameter(torch.randn(3, 4).T)
    huffwire.torch.save_model(model, path)
    other = torch.nn.Linear(3, 4)
    huffwire.torch.load_model(other, path)
    assert torch.equal(other.weight, model.weight)
    with pytest.raises(ValueError, match="contiguous"):
        huffwire.torch.save_model(model, path, force_contiguous=False)


def test_models_of_which_no_tensor_covers_all(path):
    model = torch.nn.Module()
    whole = torch.randn(10)
    model.a, model.b = torch.nn.Parameter(whole[:6]), torch.nn.Parameter(whole[4:])
    for save in [safetensors.torch.save_model, huffwire.torch.save_model]:
        with pytest.raises(RuntimeError, match="cover"):
            save(model, path)


# --- Sharded models ---


def sharded(folder):
    """A model in two files, with its index; returns its tensors."""
    shards = {
        "model-00001-of-00002.safetensors": {"a": torch.randn(3, 4), "b": torch.randn(500, 500).bfloat16()},
        "model-00002-of-00002.safetensors": {"c": torch.arange(7)},
    }
    for name, part in shards.items():
        safetensors.torch.save_file(part, folder / name, {"format": "pt"})
    names = {tensor: shard for shard, part in shards.items() for tensor in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return {tensor: value for part in shards.values() for tensor, value in part.items()}


def compress_shards(folder):
    saved = sharded(folder)
    for file in list(folder.glob("*.safetensors")):
        huffwire.torch.save_file(safetensors.torch.load_file(file), f"{file}.hw", {"format": "pt"})
        file.unlink()
    return saved


def test_an_index_beside_its_shards(tmp_path):
    saved = compress_shards(tmp_path)
    for path in [tmp_path, str(tmp_path), tmp_path / "model.safetensors.index.json"]:
        steps = []
        loaded = huffwire.torch.load_file(path, progress=lambda *step: steps.append(step))
        assert set(loaded) == set(saved) and all(torch.equal(loaded[name], saved[name]) for name in saved)
        assert steps[-1] == (500_104, 500_104) and steps == sorted(steps)
        with huffwire.safe_open(path, "pt") as file:
            assert file.keys() == ["a", "b", "c"] and file.metadata() == {"format": "pt"}
            assert torch.equal(file.get_slice("b")[10:12], saved["b"][10:12])
            assert torch.equal(file.get_tensor("c"), saved["c"])
            assert list(file.get_tensors(["c", "a"])) == ["c", "a"]


def test_a_sharded_model_in_one_file(tmp_path, program):
    saved = sharded(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    subprocess.run([*program, "compress", index], check=True, capture_output=True)
    for file in [index, *tmp_path.glob("*.safetensors")]:
        file.unlink()
    for path in [tmp_path, f"{index}.hw"]:
        loaded = huffwire.torch.load_file(path)
        assert set(loaded) == set(saved) and all(torch.equal(loaded[name], saved[name]) for name in saved)


def test_a_folder_with_one_file(tmp_path):
    huffwire.torch.save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors.hw")
    assert list(huffwire.torch.load_file(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", huffwire.DamagedError),
        (b"[]", huffwire.DamagedError),
        (b"[" * 100_000, huffwire.DamagedError),
        (b'{"weight_map": ["a"]}', huffwire.DamagedError),
        (b'{"weight_map": {"a": 1}}', huffwire.DamagedError),
        (b'{"weight_map": {"a": "../x"}}', huffwire.DamagedError),
        (b'{"weight_map": {"a": "/etc/passwd"}}', huffwire.DamagedError),
        (b'{"weight_map": {"a": ".."}}', huffwire.DamagedError),
        (b'{"weight_map": {"a": "a\\u0000b"}}', huffwire.DamagedError),
        (b'{"weight_map": {"a": "\\ud800"}}', huffwire.DamagedError),
        (b'{"weight_map": {"a": "nothing.safetensors"}}', huffwire.MissingFileError),
        (b'{"weight_map": {"z": "model-00001-of-00002.safetensors"}}', huffwire.DamagedError),
    ],
)
def test_indexes_that_lie(tmp_path, content, error):
    compress_shards(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(error):
        huffwire.torch.load_file(tmp_path)


# --- Damage, limits, hostile files ---


def write(path, originals):
    """A `.hw` file of originals with any content: lists of bytes and of tensors."""
    writer = FileWriter(path)
    for name, parts in originals:
        writer.begin_original(name)
        for part in parts:
            if isinstance(part, bytes):
                writer.add_bytes(part)
            else:
                writer.add([part])
    writer.finish()


def header(**tensors):
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


ONES = np.ones(6, np.float32).tobytes()
ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def test_tensors_with_the_same_name(path):
    both = [("a.bin", [("w", "f32", (2, 3), ONES)]), ("b.bin", [("w", "f32", (6,), ONES)])]
    write(path, both)
    for load in [huffwire.torch.load_file, huffwire.numpy.load_file, huffwire.torch.safe_open]:
        with pytest.raises(huffwire.MismatchError, match="decompress"):
            load(path)
    write(path, [("a.bin", [("w", "f32", (2, 3), ONES), ("w", "f32", (2, 3), ONES)])])
    with pytest.raises(huffwire.MismatchError, match="'w'"):
        huffwire.torch.load_file(path)


@pytest.mark.parametrize(
    "told",
    [
        header(w=ENTRY | {"shape": [3, 2]}),
        header(w=ENTRY | {"dtype": "I32"}),
        header(v=ENTRY),
        header(w=ENTRY, v={"dtype": "U8", "shape": [0], "data_offsets": [24, 24]}),
        header(v={"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, w=ENTRY | {"data_offsets": [1, 25]}),
        header(),
        header(w=ENTRY)[:-1],
        header(w=ENTRY) + b" ",
        b"",
        b"\xff" * 16,
    ],
)
def test_a_header_that_differs_from_the_directory(path, told):
    write(path, [("a.safetensors", [header(w=ENTRY), ("w", "f32", (2, 3), ONES)])])
    assert huffwire.torch.load_file(path)["w"].shape == (2, 3)
    write(path, [("a.safetensors", [told, ("w", "f32", (2, 3), ONES)])])
    with pytest.raises(huffwire.DamagedError):
        huffwire.torch.load_file(path)


def test_tensors_without_a_header(path):
    """Other originals than `.safetensors` files can be loaded, too, where the directory tells enough."""
    write(path, [("a.bin", [("w", "f32", (2, 3), ONES), b"between", ("v", "complex128", (1,), bytes(16))])])
    loaded = huffwire.torch.load_file(path)
    assert loaded["w"].tolist() == [[1, 1, 1], [1, 1, 1]] and loaded["v"].dtype == torch.complex128


def test_arrays_of_the_program(tmp_path, program):
    arrays = {"c": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        subprocess.run([*program, "compress", tmp_path / f"{name}.npy"], check=True, capture_output=True)
    loaded = huffwire.numpy.load_file(tmp_path / "c.npy.hw")
    assert np.array_equal(loaded["c.npy"], arrays["c"])
    with pytest.raises(huffwire.UnsupportedError, match="decompress"):
        huffwire.numpy.load_file(tmp_path / "f.npy.hw")
    np.save(tmp_path / "big.npy", np.arange(3, dtype=">f4"))
    subprocess.run([*program, "compress", tmp_path / "big.npy"], check=True, capture_output=True)
    with pytest.raises(huffwire.UnsupportedError, match=">f4"):
        huffwire.numpy.load_file(tmp_path / "big.npy.hw")


def test_every_cut_and_every_flip_is_an_error(path):
    saved = {"a": torch.randn(300).bfloat16(), "b": torch.arange(5)}
    huffwire.torch.save_file(saved, path, {"x": "y"})
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(huffwire.Error):
            huffwire.torch.load_file(path)
        with pytest.raises(huffwire.Error):
            huffwire.torch.load(data[:length])
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        with pytest.raises(huffwire.Error):
            huffwire.torch.load(bytes(flipped))


def test_damage_names_tensor_and_block(path):
    huffwire.torch.save_file({"layer.weight": torch.randn(1 << 18)}, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    for threads in [1, 2]:
        with pytest.raises(huffwire.DamagedError, match=r'model.safetensors.hw: tensor "layer.weight": block \d+'):
            huffwire.torch.load_file(path, threads=threads)


def test_files_of_something_else(path):
    for content in [b"", b"x", bytes(1000), safetensors.torch.save({"a": torch.ones(3)})]:
        path.write_bytes(content)
        with pytest.raises(huffwire.DamagedError):
            huffwire.torch.load_file(path)


def test_max_size(path):
    saved = {"a": torch.ones(1000), "b": torch.ones(1000)}
    huffwire.torch.save_file(saved, path)
    for load in [huffwire.torch.load_file, huffwire.numpy.load_file]:
        assert set(load(path, max_size=8000)) == {"a", "b"}
        with pytest.raises(huffwire.LimitError, match="8000"):
            load(path, max_size=7999)
    with huffwire.safe_open(path, "pt", max_size=4000) as file:
        assert file.get_tensor("a").sum() == 1000
        with pytest.raises(huffwire.LimitError):
            file.get_tensors()
    with huffwire.safe_open(path, "pt", max_size=100) as file:
        assert file.get_slice("a")[:25].sum() == 25
        with pytest.raises(huffwire.LimitError):
            file.get_slice("a")[:26]
        with pytest.raises(huffwire.LimitError):
            file.get_tensor("a")
    data = path.read_bytes()
    with pytest.raises(huffwire.LimitError):
        huffwire.torch.load(data, max_size=7999)


def test_a_header_counts_for_the_limit_of_headers_alone(path):
    huffwire.torch.save_file({"a": torch.ones(2)}, path, {"long": "x" * 10_000})
    assert list(huffwire.torch.load_file(path, max_size=8)) == ["a"]


def test_headers_have_limits_of_their_own(path):
    spaces = b" " * (4 << 20)
    told = json.dumps({"w": ENTRY}).encode() + spaces
    told = struct.pack("<Q", len(told)) + told
    write(path, [("a.safetensors", [told, ("w", "f32", (2, 3), ONES)])])
    assert path.stat().st_size < 100_000
    assert list(huffwire.torch.load_file(path, max_size=8 << 20)) == ["w"]
    with pytest.raises(huffwire.LimitError, match="header"):
        huffwire.torch.load_file(path, max_size=1 << 20)


def test_a_small_file_of_large_tensors(path):
    """Zeros take almost nothing in a file. With a limit, no memory is taken for them."""
    huffwire.torch.save_file({"zeros": torch.zeros(1 << 26, dtype=torch.uint8)}, path)
    assert path.stat().st_size < 100_000
    with pytest.raises(huffwire.LimitError):
        huffwire.torch.load_file(path, max_size=1 << 20)
    assert not huffwire.torch.load_file(path)["zeros"].any()


def test_codebooks_that_are_not_at_hand(path):
    # The built-in ones are at hand always, whatever else is given.
    huffwire.torch.save_file({"a": torch.ones(100)}, path, codebooks=huffwire.Codebooks.builtin())
    sets = [huffwire.Codebooks.builtin()]
    assert huffwire.torch.load_file(path, codebooks=sets)["a"].sum() == 100


# --- Whole files or none ---


def test_a_save_that_fails_leaves_the_old_file(path):
    huffwire.torch.save_file({"a": torch.ones(2)}, path)
    old = path.read_bytes()

    def fail(done, total):
        if done:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        huffwire.torch.save_file({"a": torch.randn(1 << 22)}, path, progress=fail)
    assert path.read_bytes() == old and list(path.parent.iterdir()) == [path]


def test_a_replaced_file_keeps_its_mode_and_a_link_stays_one(path, tmp_path):
    huffwire.torch.save_file({"a": torch.ones(2)}, path)
    path.chmod(0o600)
    link = tmp_path / "link.hw"
    link.symlink_to(path)
    huffwire.torch.save_file({"b": torch.ones(2)}, link)
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o600
    assert list(huffwire.torch.load_file(path)) == ["b"]


def test_a_file_can_be_replaced_while_it_is_open(path):
    huffwire.torch.save_file({"a": torch.ones(2)}, path)
    with huffwire.torch.safe_open(path) as file:
        huffwire.torch.save_file({"b": torch.zeros(2)}, path)
        assert file.get_tensor("a").tolist() == [1, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_save_leaves_the_old_file(path, number):
    huffwire.torch.save_file({"a": torch.ones(2)}, path)
    old = path.read_bytes()
    script = f"""
        import sys, huffwire.torch, torch
        def progress(done, total):
            if done:
                print("working", flush=True)
        try:
            huffwire.torch.save_file({{"a": torch.randn(1 << 27)}}, {str(path)!r}, progress=progress)
        except KeyboardInterrupt:
            sys.exit(77)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"working\n"
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == (77 if number == signal.SIGINT else -signal.SIGKILL)
    assert path.read_bytes() == old
    if number == signal.SIGINT:
        assert list(path.parent.iterdir()) == [path]


# --- Threads and processes ---


def test_an_open_file_works_in_a_fork(path):
    saved = {"a": torch.randn(1 << 20)}
    huffwire.torch.save_file(saved, path)
    with huffwire.torch.safe_open(path, threads=3) as file:
        assert torch.equal(file.get_tensor("a"), saved["a"])
        child = os.fork()
        if child == 0:
            same = bits(file.get_tensor("a")) == bits(saved["a"])
            os._exit(0 if same else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert torch.equal(file.get_tensor("a"), saved["a"])


def test_several_threads_read_one_file(path):
    from concurrent.futures import ThreadPoolExecutor

    saved = {f"t{i}": torch.randn(100_000 + i) for i in range(20)}
    huffwire.torch.save_file(saved, path)
    with huffwire.torch.safe_open(path) as file, ThreadPoolExecutor(4) as pool:
        loaded = dict(zip(saved, pool.map(file.get_tensor, saved), strict=True))
    assert_same(loaded, saved)


def test_peak_memory_is_that_of_the_tensors(path):
    size = 256 << 20
    huffwire.torch.save_file({f"w{i}": torch.randn(size // 8 // 2).bfloat16() for i in range(8)}, path)
    script = f"""
        import re, torch, huffwire.torch
        torch.ones(10).sum()
        # Not getrusage, which tells the peak of the parent if that is higher.
        peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) << 10
        before = peak()
        loaded = huffwire.torch.load_file({str(path)!r}, threads=4)
        print(peak() - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True)
    assert size <= int(done.stdout) < size + (64 << 20)


# --- The compiled classes ---


def test_memory_that_overlaps_is_refused(path):
    huffwire.torch.save_file({"a": torch.ones(4), "b": torch.ones(4)}, path)
    reader, memory = FileReader(path), bytearray(24)
    with pytest.raises(huffwire.OutputError, match="overlap"):
        reader.decode([(0, None, memoryview(memory)[:16]), (1, None, memoryview(memory)[8:])])
    with pytest.raises(huffwire.MismatchError):
        reader.decode([(0, None, memory)])
    with pytest.raises(huffwire.NoSuchTensorError):
        reader.decode([(2, None, memory)])
    with pytest.raises(huffwire.MismatchError):
        reader.decode([(0, ([4], [(0, 5)]), memory)])


def test_a_writer_that_is_finished_takes_no_more(path):
    writer = FileWriter(path)
    writer.begin_original("a")
    with pytest.raises(huffwire.MismatchError, match="16 bytes"):
        writer.add([("a", "f32", (5,), bytes(16))])
    writer.add([("a", "f32", (4,), bytes(16))])
    assert writer.finish() == path.stat().st_size
    for call in [writer.finish, lambda: writer.begin_original("b"), lambda: writer.add_bytes(b"")]:
        with pytest.raises(huffwire.OptionError):
            call()
    writer.abort()
    assert path.exists()
    FileWriter(path.with_name("other")).abort()
    assert not path.with_name("other").exists()
