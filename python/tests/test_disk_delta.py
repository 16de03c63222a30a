"""Streams of weights for SGLang and slime: read as they write them, and written as they read them.

Files of the other side are made here from the layout that `docs/disk-delta.md` describes, with the libraries that they
use: safetensors and zstandard.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import huffwire
import huffwire.sync
import huffwire.sync.disk_delta._write
from huffwire import _huffwire
from huffwire.sync.disk_delta import Reader, Writer

INDEX = "model.safetensors.index.json"
ENCODINGS = ["xor", "overwrite"]
CHECKSUMS = ["xxh3-128", "adler32"]

Arrays = dict[str, np.ndarray]


def weights(seed: int = 0) -> Arrays:
    """Tensors of several types, one larger than a chunk of the codec and one empty."""
    random = np.random.default_rng(seed)
    return {
        "a.weight": random.normal(size=(700, 1100)).astype(ml_dtypes.bfloat16),
        "b.weight": random.normal(size=(33, 7)).astype("float32"),
        "c.scale": random.normal(size=()).astype("float64"),
        "d.table": random.integers(-128, 128, 4001).astype("int8"),
        "e.empty": np.zeros((0, 8), "float16"),
    }


def step(before: Arrays, seed: int, share: float = 0.01) -> Arrays:
    """The same with some bytes changed; `c.scale` never changes."""
    random = np.random.default_rng(seed)
    after = {}
    for name, array in before.items():
        after[name] = array.copy()
        if name != "c.scale":
            raw = after[name].reshape(-1).view(np.uint8)
            changed = random.random(raw.size) < share
            changed[:1] = True
            raw[changed] ^= random.integers(1, 256, int(changed.sum())).astype(np.uint8)
    return after


def raw(array: Any) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def checksum_of(name: str, array: Any) -> str:
    if name == "adler32":
        return f"{zlib.adler32(raw(array).tobytes()):08x}"
    # That this is XXH3-128 is what `test_checksums_are_those_of_the_libraries` is about.
    base = np.bitwise_not(raw(array))
    digits = _huffwire._patch("xor", name, base, raw(array))[2]
    assert digits is not None
    return digits


def their_patch(encoding: str, old: Any, new: Any) -> bytes:
    old, new = raw(old), raw(new)
    if encoding == "xor":
        content = (old ^ new).tobytes()
    else:
        places = np.flatnonzero(old != new).astype("<u4")
        content = struct.pack("<I", places.size) + places.tobytes() + new[places].tobytes()
    return zstandard.ZstdCompressor(level=1).compress(content)


def their_delta(
    folder: Path,
    version: int,
    before: Arrays,
    after: Arrays,
    *,
    encoding: str = "xor",
    checksum: str = "xxh3-128",
    files: int = 1,
) -> Path:
    """A version as slime publishes it; each of its ranks writes a file."""
    place = folder / f"weight_v{version:06d}"
    place.mkdir()
    changed = [name for name in before if not np.array_equal(raw(before[name]), raw(after[name]))]
    weight_map = {}
    for number in range(files):
        names = changed[number::files]
        file = f"model-{number:05d}-of-{files:05d}.safetensors"
        patches = {
            name: np.frombuffer(their_patch(encoding, before[name], after[name]), np.uint8)
            for name in names
        }
        sums = {name: checksum_of(checksum, after[name]) for name in names}
        (place / file).write_bytes(safetensors.numpy.save(patches, metadata=sums))
        weight_map |= dict.fromkeys(names, file)
    metadata = {
        "version": f"{version:06d}",
        "base_version": f"{version - 1:06d}",
        "delta_encoding": encoding,
        "compression_format": "zstd",
        "checksum_format": checksum,
    }
    (place / INDEX).write_text(json.dumps({"metadata": metadata, "weight_map": weight_map}))
    return place


def their_whole(folder: Path, version: int, tensors: Arrays) -> Path:
    place = folder / f"weight_v{version:06d}"
    place.mkdir()
    (place / "model.safetensors").write_bytes(safetensors.numpy.save(tensors))
    (place / "config.json").write_text("{}")
    return place


def their_header(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def they_apply(place: Path, tensors: Arrays) -> int:
    """What an engine does with a delta; returns the version that it then has."""
    metadata = json.loads((place / INDEX).read_text())["metadata"]
    assert metadata["compression_format"] == "zstd"
    assert int(metadata["base_version"]) == int(metadata["version"]) - 1
    for path in sorted(place.glob("*.safetensors")):
        header, data = their_header(path)
        sums = header.pop("__metadata__", {})
        for name, info in header.items():
            start, end = info["data_offsets"]
            target = tensors[name].reshape(-1).view(np.uint8)
            if metadata["delta_encoding"] == "xor":
                reader = zstandard.ZstdDecompressor().stream_reader(data[start:end])
                target ^= np.frombuffer(reader.read(target.size), np.uint8)
            else:
                # This call needs the size of the content in the frame.
                content = zstandard.ZstdDecompressor().decompress(data[start:end])
                (count,) = struct.unpack("<I", content[:4])
                places = np.frombuffer(content[4 : 4 + 4 * count], "<u4")
                target[places] = np.frombuffer(content[4 + 4 * count :], np.uint8)
            assert checksum_of(metadata["checksum_format"], target) == sums[name]
    return int(metadata["version"])


def copies(tensors: Arrays) -> Arrays:
    return {name: array.copy() for name, array in tensors.items()}


def assert_same(found: dict[str, Any], expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        value = found[name]
        value = value.contiguous().view(-1).view(torch.uint8).numpy() if torch.is_tensor(value) else value
        assert np.array_equal(raw(value), raw(array)), name


# Checksums.


@pytest.mark.parametrize(
    ("length", "xxh3", "adler"),
    # Of bytes (i * i + 7 * i) mod 256, made with the packages xxhash 4.1.0 and zlib.
    [
        (1, "a6cd5e9392000f6ac44bdff4074eecdb", "00010001"),
        (17, "59344d0453359049efa082dbd1b5072b", "27790591"),
        (130, "ebb4cf3d2a664e9b93c421ec3b08e1de", "2cab3f09"),
        (241, "644d48e8ee0bf9bb2d6873b128d3f478", "31c27771"),
        (1000, "613384b821e828e7542a9234ff6883c5", "9c50f020"),
        (1048579, "6563c4f906c7856c78ee07514d597b97", "2405772b"),
    ],
)
def test_checksums_are_those_of_the_libraries(length: int, xxh3: str, adler: str) -> None:
    content = bytes((i * i + 7 * i) % 256 for i in range(length))
    base = bytes(255 - byte for byte in content)
    for name, expected in (("xxh3-128", xxh3), ("adler32", adler)):
        changed, patch, found = _huffwire._patch("xor", name, base, content)
        assert (changed, found) == (length, expected)
        # Receivers make it chunk by chunk.
        assert _huffwire._check_patch("xor", name, patch or b"", base, expected) == length


# Reading theirs.


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("checksum", CHECKSUMS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_they_publish_is_read(
    tmp_path: Path, encoding: str, checksum: str, kind: str
) -> None:
    first = weights()
    second = step(first, 1)
    third = step(second, 2)
    their_delta(tmp_path, 1, first, second, encoding=encoding, checksum=checksum, files=3)
    live: dict[str, Any] = copies(first)
    if kind == "torch":
        live = {
            name: torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
            if array.dtype == ml_dtypes.bfloat16
            else torch.from_numpy(array)
            for name, array in live.items()
        }
    reader = Reader(tmp_path, live)
    update = reader.update()
    assert (update.version, update.applied) == (1, (1,))
    assert update.changed_bytes == sum((raw(first[n]) != raw(second[n])).sum() for n in first)
    assert update.pause_seconds > 0
    assert_same(live, second)

    their_delta(tmp_path, 2, second, third, encoding=encoding, checksum=checksum)
    assert reader.update().applied == (2,)
    assert_same(live, third)
    assert reader.update().applied == () and reader.version == 2


@pytest.mark.parametrize("threads", [1, 4])
def test_a_reader_that_comes_late_begins_at_the_newest_whole_checkpoint(
    tmp_path: Path, threads: int
) -> None:
    states = [weights()]
    for seed in range(1, 6):
        states.append(step(states[-1], seed))
    for version in (1, 2, 4, 5):
        their_delta(tmp_path, version, states[version - 1], states[version])
    their_whole(tmp_path, 3, states[3])
    live = copies(states[0])
    assert Reader(tmp_path, live, threads=threads).update().applied == (3, 4, 5)
    assert_same(live, states[5])
    # One that knows nothing needs no older version.
    (tmp_path / "weight_v000002").rename(tmp_path / "gone")
    live = {name: np.zeros_like(array) for name, array in states[0].items()}
    assert Reader(tmp_path, live, version=None).update(to=4).applied == (3, 4)
    assert_same(live, states[4])
    # One that is further along goes on from where it is.
    live = copies(states[4])
    assert Reader(tmp_path, live, version=4).update().applied == (5,)
    assert_same(live, states[5])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_changes_are_indices_and_values(tmp_path: Path, encoding: str) -> None:
    first = weights()
    second = step(first, 1)
    their_delta(tmp_path, 1, first, second, encoding=encoding)
    live = copies(first)
    reader = Reader(tmp_path, live)
    elsewhere = copies(first)
    names = []
    for name, indices, values in reader.changes():
        size = first[name].dtype.itemsize
        differ = (raw(first[name]) != raw(second[name])).reshape(-1, size).any(axis=1)
        assert indices.dtype == np.int64 and np.array_equal(indices, np.flatnonzero(differ))
        assert values.dtype == first[name].dtype
        elsewhere[name].reshape(-1)[indices] = values
        names.append(name)
    assert sorted(names) == ["a.weight", "b.weight", "d.table"]
    assert_same(elsewhere, second)
    assert_same(live, first)
    reader.update(to=1)
    assert_same(live, second)


def test_changes_of_torch_tensors_are_scattered(tmp_path: Path) -> None:
    first = {"w": np.arange(5000, dtype="float32")}
    second = {"w": first["w"].copy()}
    second["w"][[3, 4999]] = [7.5, np.nan]
    their_delta(tmp_path, 1, first, second)
    live = torch.from_numpy(first["w"].copy())
    device = live.clone()
    [(name, indices, values)] = Reader(tmp_path, {"w": live}).changes()
    assert (name, indices.tolist(), values.dtype) == ("w", [3, 4999], torch.float32)
    device.index_copy_(0, indices, values)
    assert np.array_equal(raw(device.numpy()), raw(second["w"]))


# What is wrong with theirs.


def edit(place: Path, **changes: Any) -> None:
    index = json.loads((place / INDEX).read_text())
    index["metadata"] |= changes
    (place / INDEX).write_text(json.dumps(index))


def replace_patch(place: Path, name: str, patch: bytes, sum: str | None = None) -> None:
    """Another patch for a tensor, in a file that is otherwise right."""
    [path] = place.glob("*.safetensors")
    header, data = their_header(path)
    sums = header.pop("__metadata__")
    patches = {
        other: np.frombuffer(data[slice(*info["data_offsets"])], np.uint8)
        for other, info in header.items()
    }
    patches[name] = np.frombuffer(patch, np.uint8)
    if sum is not None:
        sums[name] = sum
    path.write_bytes(safetensors.numpy.save(patches, metadata=sums))


@pytest.fixture
def stream(tmp_path: Path) -> tuple[Path, Arrays, Arrays]:
    first = weights()
    second = step(first, 1)
    return their_delta(tmp_path, 1, first, second), first, second


def refused(place: Path, before: Arrays, error: type[Exception], text: str, **options: Any) -> None:
    """The error of an update, which must leave the tensors as they were."""
    live = copies(before)
    reader = Reader(place.parent, live, **options)
    with pytest.raises(error, match=text) as caught:
        reader.update(to=1)
    assert isinstance(caught.value, huffwire.Error)
    assert_same(live, before)
    assert reader.version == options.get("version", 0)


def test_tensors_of_another_base_are_refused(stream: Any) -> None:
    place, first, second = stream
    other = copies(first)
    other["d.table"][17] ^= 1
    refused(place, other, huffwire.WrongBaseError, "version 1 on version 0, tensor 'd.table': .*checksum")
    # A delta that was applied already, to tensors whose version is not known.
    refused(place, second, huffwire.WrongBaseError, "was expected")


def test_versions_out_of_order_are_refused(stream: Any) -> None:
    place, first, second = stream
    reader = Reader(place.parent, copies(second), version=1)
    with pytest.raises(huffwire.ChainError, match="version 0 is older"):
        reader.update(to=0)
    with pytest.raises(huffwire.MissingFileError, match="weight_v000003"):
        reader.update(to=3)
    their_delta(place.parent, 3, second, second)
    with pytest.raises(huffwire.ChainError, match="weight_v000002.* version 3 builds on it"):
        reader.update()
    edit(place, base_version="000007")
    refused(place, first, huffwire.ChainError, "builds on version 7")
    edit(place, base_version="000000", version="000002")
    refused(place, first, huffwire.MismatchError, "says that this is version 2")
    with pytest.raises(huffwire.ChainError, match="version=0"):
        edit(place, version="000001")
        Reader(place.parent, first, version=None).update(to=1)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"compression_format": "lz4"}, huffwire.UnsupportedError),
        ({"delta_encoding": "sum"}, huffwire.UnsupportedError),
        ({"checksum_format": "blake3"}, huffwire.UnsupportedError),
        ({"version": "1e3"}, huffwire.DamagedError),
        ({"version": "-1"}, huffwire.DamagedError),
        ({"base_version": "9" * 5000}, huffwire.DamagedError),
        ({"base_version": None}, huffwire.DamagedError),
        ({"checksum_format": ["xxh3-128"]}, huffwire.DamagedError),
    ],
)
def test_indexes_that_say_something_else_are_refused(
    stream: Any, changes: dict[str, Any], error: type[Exception]
) -> None:
    place, first, _ = stream
    edit(place, **changes)
    refused(place, first, error, INDEX)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"metadata": 3}',
        b'{"metadata": {"delta_encoding": "xor"}}',
        b'{"metadata": {"delta_encoding": "xor"}, "weight_map": {"a": "../../secret"}}',
        b'{"metadata": {"delta_encoding": "xor"}, "weight_map": {"a": "/etc/passwd"}}',
        b'{"metadata": {"delta_encoding": "xor"}, "weight_map": [1]}',
        b"[" * 200_000,
    ],
)
def test_indexes_that_are_none_are_refused(stream: Any, content: bytes) -> None:
    place, first, _ = stream
    (place / INDEX).write_bytes(content)
    refused(place, first, huffwire.DamagedError, INDEX)


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(content)


# A frame that says that it needs a window of 2 GiB, and ends.
WIDE = bytes.fromhex("28b52ffd 00 a8 010000")


@pytest.mark.parametrize(
    ("encoding", "patch", "text"),
    [
        ("xor", b"", "cut short"),
        ("xor", b"no frame", "zstd"),
        ("xor", WIDE, "zstd"),
        ("xor", zstd(bytes(4000)), "cut short"),
        ("xor", zstd(bytes(4002)), "behind the end"),
        ("xor", zstd(bytes(1 << 26)), "behind the end"),
        ("xor", zstd(bytes(4001)) + b"x", "bytes follow"),
        ("xor", zstd(bytes(4001)) + zstd(b""), "bytes follow"),
        ("xor", zstd(bytes(4001))[:-1], "cut short|zstd"),
        ("overwrite", zstd(b"\0\0\0"), "cut short"),
        ("overwrite", zstd(struct.pack("<I", 4002) + bytes(5 * 4002)), "4002 bytes of a tensor of 4001"),
        ("overwrite", zstd(struct.pack("<I", 2**32 - 1)), "4294967295 bytes of"),
        ("overwrite", zstd(struct.pack("<III", 2, 5, 5) + b"ab"), "position 5 "),
        ("overwrite", zstd(struct.pack("<III", 2, 5, 4) + b"ab"), "position 4 "),
        ("overwrite", zstd(struct.pack("<II", 1, 4001) + b"a"), "position 4001 "),
        ("overwrite", zstd(struct.pack("<II", 1, 2**32 - 1) + b"a"), "position 4294967295 "),
        ("overwrite", zstd(struct.pack("<III", 2, 5, 6) + b"a"), "cut short"),
        ("overwrite", zstd(struct.pack("<III", 2, 5, 6)), "cut short"),
        ("overwrite", zstd(struct.pack("<III", 2, 5, 6) + b"abc"), "behind the end"),
        ("overwrite", zstd(struct.pack("<II", 2, 5)), "cut short"),
    ],
)
def test_damaged_and_hostile_patches_are_refused(
    tmp_path: Path, encoding: str, patch: bytes, text: str
) -> None:
    first = weights()
    place = their_delta(tmp_path, 1, first, step(first, 1), encoding=encoding)
    replace_patch(place, "d.table", patch)
    refused(place, first, huffwire.DamagedError, f"tensor 'd.table': .*({text})")


def test_a_wrong_checksum_is_refused(stream: Any) -> None:
    place, first, second = stream
    patch = their_patch("xor", first["d.table"], second["d.table"])
    replace_patch(place, "d.table", patch, sum="0" * 32)
    refused(place, first, huffwire.WrongBaseError, '"0{32}" was expected')


def test_files_that_contradict_the_index_are_refused(stream: Any) -> None:
    place, first, second = stream
    [path] = place.glob("*.safetensors")
    content = path.read_bytes()
    # An unknown tensor, and one that is gone from the file.
    (place / "model-00001-of-00002.safetensors").write_bytes(content)
    refused(place, first, huffwire.DamagedError, "in another file")
    (place / "model-00001-of-00002.safetensors").unlink()
    replace_patch(place, "unknown", zstd(b"x"), sum="0" * 32)
    refused(place, first, huffwire.DamagedError, "contradict each other about 'unknown'")
    index = json.loads((place / INDEX).read_text())
    index["weight_map"]["unknown"] = path.name
    (place / INDEX).write_text(json.dumps(index))
    refused(place, first, huffwire.NoSuchTensorError, "'unknown'")
    # Without checksums.
    patches = {"d.table": np.zeros(3, np.uint8)}
    path.write_bytes(safetensors.numpy.save(patches))
    refused(place, first, huffwire.DamagedError, "no checksum")
    # Cut short, or with a header that claims too much.
    for damaged in (content[:-1], content[:5], b"", b"\xff" * 8 + content[8:], content + b"x"):
        path.write_bytes(damaged)
        refused(place, first, huffwire.DamagedError, "safetensors")
    path.unlink()
    refused(place, first, huffwire.MissingFileError, "the index names this file")


def test_a_file_too_large_to_be_a_delta_is_refused(tmp_path: Path) -> None:
    first = {"w": np.zeros(8, "float32")}
    place = their_delta(tmp_path, 1, first, {"w": first["w"] + 1})
    [path] = place.glob("*.safetensors")
    os.truncate(path, 1 << 40)
    refused(place, first, huffwire.DamagedError, "the most that it can need")


def test_a_delta_without_its_index_is_no_checkpoint(stream: Any) -> None:
    place, first, _ = stream
    (place / INDEX).unlink()
    refused(place, first, huffwire.MismatchError, "has no tensor 'c.scale'|is U8")
    for path in place.iterdir():
        path.unlink()
    refused(place, first, huffwire.MissingFileError, "neither")


def test_whole_checkpoints_of_other_tensors_are_refused(tmp_path: Path) -> None:
    first = weights()
    for change, text in (
        ({"new": np.zeros(3)}, "'new' that this reader has not"),
        ({"b.weight": None}, "no tensor 'b.weight'"),
        ({"b.weight": first["b.weight"].T.copy()}, r"F32 \[7, 33\]"),
        ({"b.weight": first["b.weight"].view("int32")}, "I32"),
    ):
        stored = {name: array for name, array in (first | change).items() if array is not None}
        folder = tmp_path / text[:4].strip("'")
        folder.mkdir()
        refused(their_whole(folder, 1, stored), first, huffwire.MismatchError, text)


def test_tensors_that_cannot_take_a_delta_are_refused(stream: Any) -> None:
    place, first, _ = stream
    shared = np.zeros(100, "float32")
    with pytest.raises(huffwire.SharedStorageError, match="'a' and 'b' share memory"):
        Reader(place.parent, {"a": shared[:60], "b": shared[59:]})
    Reader(place.parent, {"a": shared[:60], "b": shared[60:]})
    tied = torch.zeros(4)
    with pytest.raises(huffwire.SharedStorageError):
        Reader(place.parent, {"head": tied, "embedding": tied.view(2, 2)})
    constant = np.zeros(3)
    constant.flags.writeable = False
    for value in (constant, torch.zeros(4, 4).T, torch.zeros(3, requires_grad=True)):
        with pytest.raises(huffwire.OutputError, match="'w'"):
            Reader(place.parent, {"w": value})
    for name in (7, "\ud800"):
        with pytest.raises(huffwire.UnsupportedError):
            Writer(place.parent / "new", {name: first["b.weight"], "a": first["b.weight"]})
    for value in (bytearray(4), [1.0], "text"):
        with pytest.raises(huffwire.UnsupportedError):
            Reader(place.parent, {"w": value})
    with pytest.raises(huffwire.UnsupportedError):
        Reader(place.parent, [first["b.weight"]])
    with pytest.raises(huffwire.OptionError):
        Reader(place.parent, first, threads=0)


def test_an_update_that_is_interrupted_needs_a_whole_checkpoint(
    stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, first, second = stream
    live = copies(first)
    reader = Reader(place.parent, live, threads=1)
    apply, calls = _huffwire._apply_patch, []

    def interrupted(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        apply(*arguments)

    monkeypatch.setattr(_huffwire, "_apply_patch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reader.update()
    monkeypatch.undo()
    assert reader.version is None
    with pytest.raises(huffwire.ChainError, match="of no version"):
        reader.update()
    with pytest.raises(huffwire.ChainError, match="of no version"):
        next(reader.changes())
    third = step(second, 2)
    their_whole(place.parent, 2, third)
    assert reader.update().applied == (2,)
    assert_same(live, third)
    with pytest.raises(huffwire.MissingFileError):
        next(reader.changes())


# Writing for them.


@pytest.mark.parametrize("checksum", CHECKSUMS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_published_is_what_they_take(
    tmp_path: Path, encoding: str, checksum: str
) -> None:
    engine = weights()
    state = copies(engine)
    writer = Writer(tmp_path / "updates", engine, encoding=encoding, checksum=checksum)
    for version in (1, 2, 3):
        state = step(state, version)
        published = writer.publish(state)
        assert published.version == writer.version == version
        assert published.folder.name == f"weight_v{version:06d}"
        assert published.tensors == 3 and not published.whole
        assert published.changed_bytes == sum((raw(engine[n]) != raw(state[n])).sum() for n in state)
        assert published.total_bytes == sum(array.nbytes for array in state.values())
        assert published.file_bytes < published.total_bytes / 4
        assert they_apply(published.folder, engine) == version
        assert_same(engine, state)
        index = json.loads((published.folder / INDEX).read_text())
        assert index["metadata"] == {
            "version": f"{version:06d}",
            "base_version": f"{version - 1:06d}",
            "delta_encoding": encoding,
            "compression_format": "zstd",
            "checksum_format": checksum,
        }
        [path] = published.folder.glob("*.safetensors")
        assert index["weight_map"] == dict.fromkeys(["a.weight", "b.weight", "d.table"], path.name)
        # The library itself reads the file.
        assert set(safetensors.numpy.load_file(path)) == set(index["weight_map"])
    # Nothing changed: they read an index without files.
    published = writer.publish(state)
    assert (published.tensors, published.file_bytes) == (0, 0)
    assert [path.name for path in published.folder.iterdir()] == [INDEX]
    assert they_apply(published.folder, engine) == 4
    live = weights()
    assert Reader(tmp_path / "updates", live).update().applied == (1, 2, 3, 4)
    assert_same(live, state)


def test_large_deltas_become_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huffwire.sync.disk_delta._write._FILE_BYTES", 1000)
    engine = weights()
    state = step(engine, 1, share=0.5)
    published = Writer(tmp_path, engine).publish(state)
    names = sorted(path.name for path in published.folder.glob("*.safetensors"))
    assert names == [f"model-{number:05d}-of-00002.safetensors" for number in range(2)]
    they_apply(published.folder, engine)
    assert_same(engine, state)


def test_whole_checkpoints_are_ordinary_ones(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"layers": 2}')
    (model / "model.safetensors").write_bytes(b"not these")
    (model / INDEX).write_text("nor this")
    state = weights()
    writer = Writer(tmp_path / "updates", state)
    state = step(state, 1)
    state["new"] = np.ones((3, 5), "float16")
    del state["d.table"]
    with pytest.raises(huffwire.MismatchError, match="tensor 'new' is new: publish_whole"):
        writer.publish(state)
    published = writer.publish_whole(state, model)
    assert published.whole and published.version == 1
    names = sorted(path.name for path in published.folder.iterdir())
    assert names == ["config.json", "model-00000-of-00001.safetensors", INDEX]
    assert (published.folder / "config.json").read_text() == '{"layers": 2}'
    loaded = safetensors.numpy.load_file(published.folder / names[1])
    assert_same(loaded, state)
    assert "delta_encoding" not in json.loads((published.folder / INDEX).read_text())["metadata"]
    # The stream goes on from there.
    after = step(state, 2)
    they_apply(writer.publish(after).folder, loaded := copies(loaded))
    assert_same(loaded, after)
    live = {name: np.zeros_like(array) for name, array in after.items()}
    assert Reader(tmp_path / "updates", live, version=None).update().applied == (1, 2)
    assert_same(live, after)
    with pytest.raises(huffwire.FileError, match="no folder"):
        writer.publish_whole(after, tmp_path / "nowhere")
    assert writer.version == 2


def test_torch_tensors_are_published(tmp_path: Path) -> None:
    base = {
        "w": torch.randn(50, 70).bfloat16(),
        "t": torch.randn(6, 4).T,
        "p": torch.nn.Parameter(torch.randn(5)),
    }
    writer = Writer(tmp_path, base)
    after = {name: (tensor + 1).detach() for name, tensor in base.items()}
    writer.publish(after)
    live = {name: tensor.detach().clone().contiguous() for name, tensor in base.items()}
    counts = {name: tensor._version for name, tensor in live.items()}
    Reader(tmp_path, live).update()
    for name, tensor in after.items():
        assert torch.equal(live[name], tensor)
        # Autograd knows.
        assert live[name]._version > counts[name]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_tensors_that_are_written_to_while_they_are_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    engine = weights()
    state: Any = step(engine, 1)
    if kind == "torch":
        del state["a.weight"], engine["a.weight"]
        state = {name: torch.from_numpy(array) for name, array in state.items()}
    writer = Writer(tmp_path, engine, threads=1)
    patch, write = _huffwire._patch, []

    def train() -> None:
        for value in state.values():
            bytes_ = value.view(-1).view(torch.uint8) if kind == "torch" else raw(value)
            bytes_[3:5] ^= 129

    def interfering(encoding: str, checksum: str, old: Any, new: Any) -> Any:
        # Before a tensor is compared, and behind it.
        train()
        found = patch(encoding, checksum, old, new)
        train() if len(write) % 2 else None
        write.append(found)
        return found

    monkeypatch.setattr(_huffwire, "_patch", interfering)
    first = writer.publish(state)
    monkeypatch.undo()
    they_apply(first.folder, engine)
    train()
    they_apply(writer.publish(state).folder, engine)
    as_arrays = {n: v.numpy() if kind == "torch" else v for n, v in state.items()}
    assert_same(engine, as_arrays)

    # A whole checkpoint, too.
    write_file = huffwire.sync.disk_delta._write._write_file

    def late(path: Path, content: bytes) -> None:
        train()
        write_file(path, content)

    monkeypatch.setattr(huffwire.sync.disk_delta._write, "_write_file", late)
    whole = writer.publish_whole(state, None)
    monkeypatch.undo()
    engine = {n: v.copy() for n, v in safetensors.numpy.load_file(next(whole.folder.glob("*.safetensors"))).items()}
    they_apply(writer.publish(state).folder, engine)
    assert_same(engine, as_arrays)


def test_a_subscriber_hands_huffwire_deltas_on(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = {"w": torch.randn(300, 200).bfloat16(), "b": torch.randn(70)}
    with huffwire.sync.Publisher(tmp_path / "far") as publisher:
        publisher.publish(state)
        subscriber = huffwire.sync.Subscriber(tmp_path / "far")
        subscriber.update()
        engine = {name: tensor.view(torch.uint8).numpy().copy() for name, tensor in state.items()}
        writer = Writer(tmp_path / "near", subscriber.tensors)
        for version in (1, 2):
            state = {name: tensor.clone() for name, tensor in state.items()}
            state["w"][version, ::7] += 1
            publisher.publish(state)
            subscriber.update()
            assert they_apply(writer.publish(subscriber.tensors).folder, engine) == version
    for name, tensor in state.items():
        assert np.array_equal(raw(engine[name]), raw(tensor.view(torch.uint8).numpy()))


def test_other_tensors_are_no_delta(tmp_path: Path) -> None:
    state = weights()
    writer = Writer(tmp_path, state)
    for name, array, text in (
        ("b.weight", state["b.weight"].T.copy(), r"f32 \[7, 33\], and was f32 \[33, 7\]"),
        ("b.weight", state["b.weight"].view("int32"), "is i32"),
        ("b.weight", state["b.weight"].astype("float64"), "is f64"),
    ):
        with pytest.raises(huffwire.MismatchError, match=text):
            writer.publish(state | {name: array})
    del state["b.weight"]
    with pytest.raises(huffwire.MismatchError, match="'b.weight' is gone"):
        writer.publish(state)
    assert list(tmp_path.iterdir()) == []


def test_a_stream_is_gone_on_with_only_where_it_ends(tmp_path: Path) -> None:
    first = weights()
    second, third = step(first, 1), step(first, 2)
    writer, rival = Writer(tmp_path, first), Writer(tmp_path, first)
    writer.publish(second)
    with pytest.raises(huffwire.LockedError, match="somebody else publishes"):
        rival.publish(third)
    assert [path.name for path in tmp_path.iterdir()] == ["weight_v000001"]
    with pytest.raises(huffwire.MismatchError, match="the newest version there is 1, and version=0"):
        Writer(tmp_path, first)
    Writer(tmp_path, second, version=1).publish(third)
    assert Reader(tmp_path, first).update().applied == (1, 2)
    assert_same(first, third)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    first = weights()
    second = step(first, 1)
    writer = Writer(tmp_path, first)
    sync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(huffwire.FileError, match="No space"):
        writer.publish(second)
    assert list(tmp_path.iterdir()) == [] and writer.version == 0
    assert writer.publish(second).version == 1
    Reader(tmp_path, first).update()
    assert_same(first, second)


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    """Once their version is published: until then they may be at work."""
    state = weights()
    names = [f".weight_v{number:06d}.{'0' * 15}{number}" for number in (1, 2, 3)]
    others = [".weight_v000001.mine", ".weight_v1.0000000000000000", ".git"]
    for name in (*names, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.part").write_bytes(b"part")
    writer = Writer(tmp_path, state)
    writer.publish(step(state, 1))
    assert not (tmp_path / names[0]).exists() and (tmp_path / names[1]).exists()
    (tmp_path / "weight_v000002").mkdir()
    Writer(tmp_path, state, version=2)
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
    assert left == {names[2], *others}


def test_a_version_that_has_its_name_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the system then refuses to bring the name to the disk: engines may have seen it."""
    first = weights()
    second, third = step(first, 1), step(first, 2)
    writer = Writer(tmp_path, first)

    def sync(folder: Path) -> None:
        if folder == tmp_path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(huffwire.sync.disk_delta._write, "sync_folder", sync)
    assert writer.publish(second).version == writer.version == 1
    monkeypatch.undo()
    assert writer.publish(third).version == 2
    assert Reader(tmp_path, first).update().applied == (1, 2)
    assert_same(first, third)


def test_options_that_there_are_not(tmp_path: Path) -> None:
    for options in ({"encoding": "diff"}, {"checksum": "blake3"}, {"threads": -1}):
        with pytest.raises(huffwire.OptionError):
            Writer(tmp_path, {}, **options)
    with pytest.raises(huffwire.OptionError):
        _huffwire._patch("diff", "adler32", b"", b"")
    with pytest.raises(huffwire.OptionError):
        _huffwire._check_patch("xor", "crc", b"", b"", "")
    with pytest.raises(huffwire.MismatchError):
        _huffwire._patch("xor", "adler32", b"a", b"ab")
    with pytest.raises(huffwire.MismatchError):
        _huffwire._changes_of_patch("xor", zstd(b"abc"), b"abc", 2)


def test_names_of_folders_that_are_no_versions_are_left_alone(tmp_path: Path) -> None:
    for name in ("weight_v1", "weight_v0000001", "weight_vx", "config.json", "weight_v000001.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "weight_v000009").write_text("a file")
    reader = Reader(tmp_path, {"w": np.zeros(3)})
    assert reader.latest() is None and reader.update().applied == ()
    with pytest.raises(huffwire.MissingFileError):
        Reader(tmp_path / "nowhere", {}).update()


@given(
    encoding=st.sampled_from(ENCODINGS),
    dtype=st.sampled_from(["uint8", "float16", "float32", "complex64"]),
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(0, 3000),
    share=st.sampled_from([0.0, 0.001, 0.1, 1.0]),
)
def test_every_change_comes_through(
    encoding: str, dtype: str, seed: int, length: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    old = random.integers(0, 256, length * np.dtype(dtype).itemsize, np.uint8)
    new = np.where(random.random(old.size) < share, random.integers(0, 256, old.size), old)
    new = new.astype(np.uint8)
    changed, patch, digits = _huffwire._patch(encoding, "adler32", old, new)
    assert changed == (old != new).sum()
    if not changed:
        assert patch is None and digits is None
        return
    assert patch is not None and digits == checksum_of("adler32", new)
    assert _huffwire._check_patch(encoding, "adler32", patch, old, digits) == changed
    places, values = _huffwire._changes_of_patch(encoding, patch, old, np.dtype(dtype).itemsize)
    scattered = old.copy().view(dtype)
    scattered[np.frombuffer(places, "<i8")] = np.frombuffer(values, dtype)
    assert np.array_equal(scattered.view(np.uint8), new)
    _huffwire._apply_patch(encoding, patch, old)
    assert np.array_equal(old, new)
