"""Codebooks and calibration."""

import array
import copy
import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import huffwire
from huffwire import Codebooks, stats


@pytest.fixture(scope="module")
def calibrated():
    return huffwire.calibrate({f"layers.{i}.w": normal(i) for i in range(3)}, name="three layers")


def normal(seed, size=20_000, scale=0.02, dtype=ml_dtypes.bfloat16):
    return (np.random.default_rng(seed).standard_normal(size) * scale).astype(dtype)


# Codebooks.


def test_the_builtin_set_is_what_it_says():
    books = Codebooks.builtin()
    assert len(books) == len(books.books) == 107
    assert re.fullmatch("[0-9a-f]{16}", books.id)
    assert [book.number for book in books.books] == list(range(107))
    assert all(book.about for book in books.books)
    assert {binding.layout for binding in books.bindings} >= {"exponent", "magnitude", "bytes"}
    assert repr(books) == f"<huffwire.Codebooks {books.id} (builtin), 107 codebooks>"


def test_codebooks_have_complete_codes_of_the_lengths_that_they_tell():
    for book in Codebooks.builtin().books:
        lengths, codes = book.lengths, book.codes
        assert {key: len(code) for key, code in codes.items()} == lengths
        assert sum(2.0**-bits for bits in lengths.values()) == 1.0
        assert set(lengths) <= {*range(256), "zero", "escape"}
        assert max(lengths.values()) <= book.max_code_bits
        assert book.width <= 8 and book.alphabet in ("centred", "plain")


def test_a_set_survives_bytes_json_pickle_and_copies(calibrated):
    for books in (Codebooks.builtin(), calibrated.codebooks):
        again = [
            Codebooks.from_bytes(books.to_bytes()),
            Codebooks(memoryview(books.to_bytes())),
            Codebooks.from_json(books.to_json()),
            *(pickle.loads(pickle.dumps(books, protocol)) for protocol in range(2, 6)),
            copy.copy(books),
            copy.deepcopy(books),
        ]
        for other in again:
            assert other == books and hash(other) == hash(books) and other.id == books.id
            assert other.books == books.books and other.bindings == books.bindings
    assert calibrated.codebooks != Codebooks.builtin()
    assert calibrated.codebooks != "a set"
    assert len({Codebooks.builtin(), Codebooks.builtin(), calibrated.codebooks}) == 2


def test_bindings_are_compared_though_the_id_does_not_cover_them():
    first = huffwire.calibrate({"a": normal(1)}, builtin=False).codebooks
    second = huffwire.calibrate({"b": normal(1)}, builtin=False).codebooks
    assert first.id == second.id and hash(first) == hash(second)
    assert first != second


def test_a_description_names_every_codebook_and_binding(calibrated):
    text = calibrated.codebooks.describe()
    assert text.startswith(f"set {calibrated.codebooks.id} (three layers), ")
    for book in calibrated.codebooks.books:
        assert book.id in text
    assert "layers.*.w" in text


def test_mean_bits_are_between_entropy_and_the_longest_code():
    pmf = stats.pmf(normal(1))
    # Built-in codebooks are centred: symbol 0 stands for the exponent `base`.
    best = min(
        book.mean_bits(pmf, base)
        for book in Codebooks.builtin().books
        if book.alphabet == "centred"
        for base in range(60, 140)
    )
    assert pmf.entropy() <= best < pmf.entropy() + 0.2
    # PMFs of other sizes are no reason to crash.
    for symbols in (1, 2, 255, 256, 257, 300):
        for book in Codebooks.builtin().books[::10]:
            assert book.mean_bits(stats.Pmf([1] * symbols)) >= 0


# Files.


def test_files_of_all_three_kinds_are_loaded(tmp_path, calibrated):
    books = calibrated.codebooks
    for name in ("my.books", "my.json", "MY.JSON", "noending"):
        path = tmp_path / name
        books.save(path)
        assert Codebooks.load(path) == books
        assert Codebooks.load(str(path)) == books
        assert path.read_bytes()[:1] == (b"{" if name.lower().endswith("json") else b"H")
    assert sorted(os.listdir(tmp_path)) == ["MY.JSON", "my.books", "my.json", "noending"]
    assert json.loads((tmp_path / "my.json").read_text())["name"] == "three layers"


def test_missing_files_and_folders_are_told(tmp_path):
    with pytest.raises(huffwire.MissingFileError, match="nothing.books"):
        Codebooks.load(tmp_path / "nothing.books")
    with pytest.raises(FileNotFoundError):
        Codebooks.load(tmp_path / "nothing.books")
    with pytest.raises(huffwire.FileError, match="folder"):
        Codebooks.load(tmp_path)
    with pytest.raises(huffwire.FileError, match="folder"):
        Codebooks.builtin().save(tmp_path)
    with pytest.raises(huffwire.FileError):
        Codebooks.builtin().save(tmp_path / "no folder" / "my.books")
    (tmp_path / "weights.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(huffwire.Error):
        Codebooks.load(tmp_path / "weights.safetensors")
    (tmp_path / "text.json").write_bytes(b'{"format": "\xff"}')
    with pytest.raises(huffwire.CodebookError, match="text.json"):
        Codebooks.load(tmp_path / "text.json")


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    path = tmp_path / "my.books"
    path.write_bytes(b"old")
    path.chmod(0o640)
    Codebooks.builtin().save(path)
    assert path.stat().st_mode & 0o777 == 0o640
    assert Codebooks.load(path) == Codebooks.builtin()


def test_an_interrupted_save_leaves_a_whole_file(tmp_path):
    path = tmp_path / "my.books"
    Codebooks.builtin().save(path)
    code = (
        "import sys, huffwire\n"
        "books = huffwire.Codebooks.builtin()\n"
        "print(flush=True)\n"
        f"while True: books.save({str(path)!r})\n"
    )
    for delay in (0.0, 0.003, 0.007, 0.02):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert Codebooks.load(path) == Codebooks.builtin()


ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "test_vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())["vectors"]


def test_sets_of_format_version_1_are_loaded():
    golden = ROOT / "crates/huffwire/tests/golden/v1"
    assert Codebooks.load(golden / "builtin.codebooks") == Codebooks.builtin()
    small = Codebooks.load(golden / "small.codebooks")
    assert small == Codebooks.load(golden / "small.codebooks.json")
    assert small.to_bytes() == (golden / "small.codebooks").read_bytes()


def test_sets_are_found_in_files_that_embed_them():
    embedded = Codebooks.load(ROOT / "crates/huffwire/tests/golden/v1/model.huffwire")
    assert embedded == Codebooks.load(ROOT / "crates/huffwire/tests/golden/v1/small.codebooks")
    with pytest.raises(huffwire.CodebookError, match="several"):
        Codebooks.load(VECTORS / "valid/two-originals.hw")
    with pytest.raises(huffwire.CodebookError, match="none"):
        Codebooks.load(VECTORS / "valid/no-originals.hw")


def vectors(ok, suffix):
    found = [v for v in MANIFEST if v["file"].endswith(suffix) and ("error" not in v) == ok]
    assert found
    return [pytest.param(vector, id=vector["name"]) for vector in found]


@pytest.mark.parametrize("vector", vectors(True, ".codebooks"))
def test_sets_of_other_writers_are_loaded(vector):
    books = Codebooks.load(VECTORS / vector["file"])
    assert books.id == vector["id"]
    assert Codebooks.from_bytes(books.to_bytes()) == books == Codebooks.from_json(books.to_json())
    assert len(books.describe().splitlines()) == len(books) + len(books.bindings) + 5


@pytest.mark.parametrize("vector", vectors(False, ".codebooks"))
def test_hostile_sets_are_refused(vector):
    with pytest.raises(huffwire.Error):
        Codebooks.from_bytes((VECTORS / vector["file"]).read_bytes())
    with pytest.raises(huffwire.Error, match=Path(vector["file"]).name):
        Codebooks.load(VECTORS / vector["file"])


@pytest.mark.parametrize("vector", vectors(True, ".hw"))
def test_files_of_other_writers_are_calibrated(vector):
    sets = [Codebooks.load(VECTORS / path) for path in vector["sets"]]
    # Sets that nothing needs do no harm.
    sets.append(Codebooks.builtin())
    try:
        found = huffwire.calibrate(VECTORS / vector["file"], codebooks=sets)
    except huffwire.OptionError as error:
        assert "no tensor" in str(error)
    except huffwire.MissingBaseError:
        assert "bases" in vector
    else:
        assert found.tensors > 0


@pytest.mark.parametrize("vector", vectors(False, ".hw"))
def test_damaged_files_are_refused(vector):
    sets = [Codebooks.load(VECTORS / path) for path in vector["sets"]]
    with pytest.raises(huffwire.Error):
        huffwire.calibrate(VECTORS / vector["file"], codebooks=sets)


# Hostile bytes.

BYTES = huffwire.calibrate({"w": normal(1)}, builtin=False).codebooks.to_bytes()


@given(st.binary(max_size=200))
def test_random_bytes_are_no_set(data):
    for bytes_ in (data, b"HUFFBOOK" + data, b"HUFFBOOK\x01" + data):
        with pytest.raises(huffwire.Error):
            Codebooks.from_bytes(bytes_)


def test_cut_and_longer_sets_are_refused():
    for length in range(len(BYTES)):
        with pytest.raises(huffwire.DamagedError):
            Codebooks.from_bytes(BYTES[:length])
    with pytest.raises(huffwire.DamagedError):
        Codebooks.from_bytes(BYTES + b"\0")


@given(st.integers(0, 8 * len(BYTES) - 1))
@settings(max_examples=300)
def test_flipped_bits_are_found(bit):
    damaged = bytearray(BYTES)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises((huffwire.DamagedError, huffwire.VersionError)):
        Codebooks.from_bytes(damaged)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"version": 1', '"version": 2', huffwire.VersionError),
        ('"limit": 8', '"limit": 9', huffwire.CodebookError),
        ('"centred"', '"plain"', huffwire.CodebookError),
        ('"name"', '"nom"', huffwire.CodebookError),
        ('"plane": 0', '"plane": 200', huffwire.CodebookError),
        ("{", "[", huffwire.CodebookError),
    ],
)
def test_changed_json_is_refused(old, new, error):
    text = Codebooks.builtin().to_json()
    changed = text.replace(old, new, 1)
    assert changed != text
    with pytest.raises(error):
        Codebooks.from_json(changed)


@given(st.text(max_size=100))
def test_random_text_is_no_json_of_a_set(text):
    with pytest.raises(huffwire.Error):
        Codebooks.from_json(text)


@pytest.mark.parametrize("what", [None, 5, "text", object(), [1, 2], (0, 8)])
def test_what_is_no_buffer_is_refused(what):
    for read in (Codebooks, Codebooks.from_bytes):
        with pytest.raises(huffwire.UnsupportedError):
            read(what)


# Calibration.


def test_kinds_are_names_without_digits():
    assert huffwire.kind_of("model.layers.11.mlp.3.weight") == "model.layers.*.mlp.*.weight"
    assert huffwire.kind_of("") == ""


def test_tensors_of_all_sorts_give_the_same_codebooks():
    values = [normal(i) for i in range(3)]
    sorts = {
        "numpy": {f"w.{i}": v for i, v in enumerate(values)},
        "torch": {
            f"w.{i}": torch.from_numpy(v.view(np.int16)).view(torch.bfloat16)
            for i, v in enumerate(values)
        },
        "pairs": [(f"w.{i}", ("bf16", v.tobytes())) for i, v in enumerate(values)],
        "generator": ((f"w.{i}", v[:, None]) for i, v in enumerate(values)),
        "strided": {f"w.{i}": np.stack([v, v])[0] for i, v in enumerate(values)},
    }
    made = {sort: huffwire.calibrate(tensors).codebooks for sort, tensors in sorts.items()}
    assert len({books.id for books in made.values()}) == 1
    assert len(set(made.values())) == 1


def test_the_report_tells_what_was_found(calibrated):
    (kind,) = calibrated.kinds
    assert (kind.kind, kind.dtype, kind.layout, kind.plane) == ("layers.*.w", "bf16", "exponent", 0)
    assert kind.tensors == calibrated.tensors == 3
    assert kind.shannon_bits <= kind.huffman_bits <= kind.book_bits * 1.001
    assert 0 <= kind.mean_kl_bits < 0.01
    assert kind.books == [0]
    assert calibrated.codebooks.name == "three layers"
    assert calibrated.codebooks.bindings[0].pattern == "layers.*.w"
    assert "layers.*.w" in calibrated.describe()
    assert kind.kind in repr(kind)


def test_kinds_can_be_given():
    tensors = {"a.1": normal(1), "b.1": normal(2)}
    of = lambda **options: {k.kind for k in huffwire.calibrate(tensors, **options).kinds}  # noqa: E731
    assert of() == {"a.*", "b.*"}
    assert of(kinds="*") == {"*"}
    assert of(kinds=lambda name: name[0] + "*") == {"a*", "b*"}
    with pytest.raises(huffwire.OptionError):
        of(kinds=5)
    with pytest.raises(TypeError):
        of(kinds=lambda name: 5)
    with pytest.raises(ZeroDivisionError):
        of(kinds=lambda name: 1 / 0)


def test_options_are_those_of_the_library():
    tensors = {f"w.{i}": normal(i, dtype=ml_dtypes.float8_e4m3fn, scale=1 + i) for i in range(4)}
    one = huffwire.calibrate(tensors, books_per_kind=1, builtin=False, codes=8)
    four = huffwire.calibrate(tensors, books_per_kind=4, builtin=False, codes=12)
    assert [book.max_code_bits for book in one.codebooks.books] == [8]
    assert {book.max_code_bits for book in four.codebooks.books} == {12}
    assert len(four.codebooks) > 1
    assert len(huffwire.calibrate(tensors).codebooks) > len(four.codebooks)
    planes = huffwire.calibrate({"w": normal(1)}, symbols="byte-planes").kinds
    assert [(kind.layout, kind.plane) for kind in planes] == [("positions", 0), ("positions", 1)]


@pytest.mark.parametrize(
    "options",
    [
        {"codes": 9},
        {"books_per_kind": 0},
        {"books_per_kind": -1},
        {"smoothing": 1.0},
        {"smoothing": -0.1},
        {"smoothing": float("nan")},
        {"symbols": "letters"},
        {"threads": 0},
        {"kinds": 7},
    ],
)
def test_options_out_of_range_are_refused(options):
    # Large enough for threads.
    with pytest.raises(huffwire.OptionError):
        huffwire.calibrate({"w": normal(1, size=1 << 20)}, **options)


@pytest.mark.parametrize(
    ("tensors", "error"),
    [
        ({}, huffwire.OptionError),
        ([], huffwire.OptionError),
        ({"w": np.zeros(0, np.float32)}, huffwire.OptionError),
        (5, huffwire.UnsupportedError),
        (b"bytes", huffwire.UnsupportedError),
        ([5], huffwire.UnsupportedError),
        ([("w",)], huffwire.UnsupportedError),
        ({5: np.zeros(3)}, huffwire.UnsupportedError),
        ({"w": "text"}, huffwire.UnsupportedError),
        ({"w": np.array([object()])}, huffwire.UnsupportedError),
        ({"w": ("bf16", b"123")}, huffwire.MismatchError),
        ({"w": ("bf17", b"1234")}, huffwire.OptionError),
        ({"w": torch.zeros(3, device="meta")}, huffwire.UnsupportedError),
        ({"w": torch.zeros(3, 3).to_sparse()}, huffwire.UnsupportedError),
    ],
)
def test_what_cannot_be_calibrated_is_refused(tensors, error):
    with pytest.raises(error):
        huffwire.calibrate(tensors)


def test_files_give_what_their_tensors_give(tmp_path):
    tensors = {f"layers.{i}.w": normal(i, size=100_000).reshape(-1, 100) for i in range(3)}
    raw = {name: value.view(np.uint16).view(np.int16) for name, value in tensors.items()}
    save_file(raw, tmp_path / "model.safetensors")
    np.save(tmp_path / "w.npy", raw["layers.0.w"])
    found = huffwire.calibrate(tmp_path / "model.safetensors")
    assert found.codebooks == huffwire.calibrate(raw).codebooks
    assert found.tensors == 3
    assert huffwire.calibrate([str(tmp_path / "w.npy")]).kinds[0].kind == "w.npy"
    both = huffwire.calibrate([tmp_path / "model.safetensors", ("more", raw["layers.1.w"])])
    assert both.tensors == 4


def test_the_files_of_a_sharded_model_are_one_model(tmp_path):
    tensors = {f"layers.{i}.w": normal(i, dtype=np.float32) for i in range(4)}
    index = {"metadata": {}, "weight_map": {}}
    for shard in range(2):
        name = f"model-{shard}.safetensors"
        part = {key: tensors[key] for key in list(tensors)[2 * shard : 2 * shard + 2]}
        save_file(part, tmp_path / name)
        index["weight_map"].update(dict.fromkeys(part, name))
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    found = huffwire.calibrate(path)
    assert found.tensors == 4 and found.codebooks == huffwire.calibrate(tensors).codebooks


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_calibrate_too(method):
    tensors = {"w": ("bf16", normal(1, size=1 << 21).tobytes())}
    # Threads of this process have worked, and a fork has none of them.
    expected = huffwire.calibrate(tensors, threads=2)
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.apply_async(huffwire.calibrate, (tensors,), {"threads": 2})
        assert found.get(timeout=120) == expected


def test_progress_reaches_the_whole(tmp_path):
    tensors = {f"w.{i}": normal(i, size=1_000_000).view(np.int16) for i in range(2)}
    save_file(tensors, tmp_path / "model.safetensors")
    calls = []
    huffwire.calibrate(
        tmp_path / "model.safetensors", progress=lambda done, total: calls.append((done, total))
    )
    assert calls[-1] == (4_000_000, 4_000_000)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert len(calls) > 2
    calls.clear()
    huffwire.calibrate(tensors, progress=lambda *call: calls.append(call))
    assert [done for done, _ in calls] == [2_000_000, 4_000_000]
    assert huffwire.calibrate(tensors, progress=True).tensors == 2

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        huffwire.calibrate(tmp_path / "model.safetensors", progress=stop)


def test_bad_files_are_told(tmp_path):
    with pytest.raises(huffwire.MissingFileError):
        huffwire.calibrate(tmp_path / "nothing.safetensors")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\xff" * 100)
    with pytest.raises(huffwire.DamagedError, match="bad.safetensors"):
        huffwire.calibrate(bad)
    (tmp_path / "file.txt").write_bytes(b"text")
    with pytest.raises(huffwire.UnsupportedError, match="file.txt"):
        huffwire.calibrate(tmp_path / "file.txt")
    (tmp_path / "cut.hw").write_bytes(b"HUFFWIRE" + bytes(30))
    with pytest.raises(huffwire.Error):
        huffwire.calibrate(tmp_path / "cut.hw")


def test_a_calibrated_set_saves_what_it_promises(calibrated):
    other = normal(99)
    saved = stats.savings(other, codebooks=calibrated.codebooks)
    assert saved.shannon > 30
    assert saved.shannon - 1.5 < saved.codebooks <= saved.huffman


def test_array_arrays_are_tensors():
    floats = array.array("f", (float(x) for x in normal(1)))
    assert huffwire.calibrate({"w": floats}).kinds[0].dtype == "f32"
