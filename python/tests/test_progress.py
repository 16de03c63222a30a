"""Progress: what functions are told, bars with and without tqdm, exceptions."""

import sys

import huffwire
import huffwire.numpy
import huffwire.torch
import numpy as np
import pytest
import torch
from huffwire._progress import reporting


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.hw"


def model(size=40 << 20):
    return {"a": torch.randn(size // 8), "b": torch.randn(size // 8), "c": torch.ones(3)}


@pytest.mark.parametrize("threads", [1, 2])
def test_functions_are_told_how_far_the_work_is(path, threads):
    tensors = model()
    total = sum(tensor.nbytes for tensor in tensors.values())
    for work in [
        lambda progress: huffwire.torch.save_file(tensors, path, threads=threads, progress=progress),
        lambda progress: huffwire.torch.load_file(path, threads=threads, progress=progress),
        lambda progress: huffwire.torch.safe_open(path, threads=threads).get_tensors(progress=progress),
    ]:
        steps = []
        work(lambda *step: steps.append(step))
        done = [step[0] for step in steps]
        assert done[0] == 0 and done[-1] == total and len(done) > 2
        assert done == sorted(set(done))
        assert {step[1] for step in steps} == {total}


def test_an_exception_ends_the_work(path):
    class Enough(Exception):
        pass

    def enough(done, total):
        if done > 0:
            raise Enough

    tensors = model()
    with pytest.raises(Enough):
        huffwire.torch.save_file(tensors, path, progress=enough)
    assert list(path.parent.iterdir()) == []
    huffwire.torch.save_file(tensors, path)
    for threads in [1, 2]:
        with pytest.raises(Enough):
            huffwire.torch.load_file(path, threads=threads, progress=enough)


def test_an_exception_before_anything_is_done(path):
    def never(done, total):
        raise KeyError(total)

    with pytest.raises(KeyError):
        huffwire.torch.save_file({"a": torch.ones(1)}, path, progress=never)
    assert list(path.parent.iterdir()) == []


def test_a_bar_of_tqdm(path, capsys):
    pytest.importorskip("tqdm")
    huffwire.numpy.save_file({"a": np.ones(1 << 20)}, path, progress=True)
    shown = capsys.readouterr().err
    assert "saving" in shown and "8.00M" in shown
    huffwire.numpy.load_file(path, progress=True)
    assert "loading" in capsys.readouterr().err


def test_a_line_without_tqdm(path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    huffwire.numpy.save_file({"a": np.ones(1 << 20)}, path, progress=True)
    shown = capsys.readouterr().err
    assert "saving:   0 % of 8,388,608 bytes" in shown
    assert shown.endswith("saving: 100 % of 8,388,608 bytes\n")


@pytest.mark.parametrize("progress", [None, False])
def test_nobody_wants_to_know(path, capsys, progress):
    huffwire.numpy.save_file({"a": np.ones(1 << 20)}, path, progress=progress)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("progress", [3, "bar", object()])
def test_progress_that_is_none(path, progress):
    with pytest.raises(huffwire.OptionError, match="progress="):
        huffwire.numpy.save_file({"a": np.ones(1)}, path, progress=progress)
    assert not path.exists()


def test_nothing_to_do(path):
    steps = []
    huffwire.numpy.save_file({}, path, progress=lambda *step: steps.append(step))
    assert steps == [(0, 0)]
    with reporting(True, 0, "nothing") as report:
        assert callable(report)
