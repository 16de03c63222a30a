"""`huffwire.analyze`: the same figures from modules, arrays, files and checkpoints."""

import array
import json
import pickle
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import huffwire
import huffwire.torch
from huffwire import _analysis


def weights(seed: int, scale: float = 0.02) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(100, 80, generator=generator) * scale).bfloat16()


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {f"layers.{layer}.up": weights(layer) for layer in range(3)}


def kinds(found: huffwire.Analysis) -> list[dict]:
    return found.to_dict()["kinds"]


def test_all_sources_give_the_same(state, tmp_path):
    expected = kinds(huffwire.analyze(state))
    assert [kind["name"] for kind in expected] == ["layers.*.up"]
    assert expected[0]["shards"] == 3 and expected[0]["fixed_from"] == "other layers"
    save_file(state, tmp_path / "a.safetensors")
    huffwire.torch.save_file(state, tmp_path / "a.hw")
    torch.save({"epoch": 3, "model": state, "none": None}, tmp_path / "a.pt")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for source in [
        list(state.items()),
        tmp_path / "a.safetensors",
        str(tmp_path / "a.hw"),
        tmp_path / "old.pth",
        {name: tensor.t().contiguous().t() for name, tensor in state.items()},
        {name: tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16) for name, tensor in state.items()},
        {name: ("bf16", bytes(tensor.view(torch.uint8).numpy())) for name, tensor in state.items()},
        {"layers": {layer: {"up": tensor} for layer, tensor in enumerate(state.values())}},
    ]:
        found = kinds(huffwire.analyze(source, threads=2))
        for kind in found:
            # Tuples of a type and a buffer have no shape, and no figure depends on it.
            assert kind == expected[0] | {"per_shard": kind["per_shard"]}, source
    nested = huffwire.analyze(tmp_path / "a.pt")
    assert kinds(nested)[0]["name"] == "model.layers.*.up"
    assert kinds(nested)[0]["shannon_saving_percent"] == expected[0]["shannon_saving_percent"]


def test_modules_and_other_types():
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)).bfloat16()
    found = huffwire.analyze(model, converted_to=["e4m3"], symbols=["auto", "bytes"], scale="block")
    types = {(row["dtype"], row["symbols"]) for row in found.rows()}
    assert types == {("bf16", "auto"), ("bf16", "bytes"), ("e4m3", "auto"), ("e4m3", "bytes"), ("e8m0", "auto")}
    mixed = {"f": array.array("f", [1.5] * 9), "i": np.arange(50, dtype=np.int32), "b": np.ones(5, bool)}
    assert {row["dtype"] for row in huffwire.analyze(mixed).rows()} == {"f32", "i32", "bool"}


def test_the_result_is_rows_json_and_pages(state, tmp_path):
    state["<script>bad()</script>"] = weights(9)
    found = huffwire.analyze(state, shards=2, axis=0, kinds={"layers.*": "<b>UP"})
    parsed = json.loads(found.to_json())
    assert parsed["schema_version"] == 1 and parsed["kinds"] == kinds(found)
    rows = found.rows()
    assert {row["name"] for row in rows} == {"<b>UP", "<script>bad()</script>"}
    assert all(not isinstance(value, (list, dict)) for row in rows for value in row.values())
    assert len(found.shard_rows()) == 8 and found.shard_rows()[0]["dtype"] == "bf16"
    assert found.step_rows() == [] and "saved by built-in" in repr(found)
    shown = found._repr_html_()
    assert "<script>" not in shown and "data:image/svg+xml;base64," in shown and "&lt;b&gt;UP" in shown
    assert all(svg.startswith("<svg") for svg in found.figures().values())
    page = tmp_path / "report.html"
    found.report(page)
    assert page.read_text() == found.html() and "<script>bad" not in found.html()
    with pytest.raises(huffwire.ExistsError):
        found.report(page)
    found.report(page, force=True)
    with pytest.raises(huffwire.FileError):
        found.report(tmp_path / "absent" / "report.html")


def test_steps_have_a_timeline(state, tmp_path):
    for step, scale in [(100, 0.02), (200, 0.64)]:
        save_file({name: weights(1, scale) for name in state}, tmp_path / f"step-{step}.safetensors")
    files = [tmp_path / "step-200.safetensors", tmp_path / "step-100.safetensors"]
    held = {step: {name: weights(1, scale) for name in state} for step, scale in [(100, 0.02), (200, 0.64)]}
    for steps in [files, held]:
        found = huffwire.analyze(steps, timeline=True)
        rows = [row for row in found.step_rows() if row["name"] is None]
        of = {(row["codebooks"], row["step"]): row["regret_percent"] for row in rows}
        assert of["calibrated", 100] == 0 and abs(of["calibrated", 200]) < 1
        assert of["uncentred", 200] > 20
        assert len(found.step_rows()) == 2 * 2 * 7
        assert "drift-policy" in found.figures()
        later = huffwire.analyze(held, calibrate_on={300: held[200]}, timeline=True)
        assert {row["since"] for row in later.step_rows()} == {-200, -100}


def test_a_mapping_says_the_steps_of_files(state, tmp_path):
    # By the names of the files, all are of one step, or of others.
    save_file(state, tmp_path / "step-7.safetensors")
    torch.save(state, tmp_path / "step-7.pt")
    later = {name: weights(1, 0.64) for name in state}
    steps = {100: tmp_path / "step-7.safetensors", 300: str(tmp_path / "step-7.pt"), 2**64 - 1: later}
    found = huffwire.analyze(steps, timeline=True, calibrate_on={50: tmp_path / "step-7.pt"})
    timeline = found.to_dict()["timeline"]
    assert [(step["step"], step["since"]) for step in timeline["steps"]] == [(100, 50), (300, 250), (2**64 - 1, None)]
    assert timeline["calibrated_at"] == 50


def test_numbers_are_steps_or_names(state):
    named = huffwire.analyze({0: weights(0), 1: weights(1), -2: weights(2)})
    assert [(row["name"], row["shards"]) for row in named.rows()] == [("*", 2), ("-*", 1)]
    for step in [-1, 2**64]:
        with pytest.raises(huffwire.OptionError, match=f"step {step}: .* from 0 to 18446744073709551615"):
            huffwire.analyze({1: state, step: state}, timeline=True)


def test_progress_can_stop_it(state):
    seen = []
    huffwire.analyze(state, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3 * 16_000, 3 * 16_000)

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        huffwire.analyze(state, progress=stop)


def test_what_cannot_be_analyzed_is_told(state, tmp_path):
    for options, text in [
        ({"shards": 0}, "shards"),
        ({"shards": 5000}, "1024"),
        ({"symbols": "words"}, "words"),
        ({"symbols": []}, "symbol"),
        ({"converted_to": ["bf16"]}, "e4m3"),
        ({"scale": "row"}, "row"),
        ({"leave_out": "rows"}, "rows"),
        ({"kinds": {"*": "a=b"}}, "kinds"),
        ({"kinds": {"*": ""}}, "kinds"),
        ({"timeline": True}, "several steps"),
        ({"timeline": True, "refresh_regret": -1}, "refresh_regret"),
        ({"threads": 0}, "threads"),
    ]:
        with pytest.raises(huffwire.OptionError, match=text):
            huffwire.analyze(state, **options)
    with pytest.raises(huffwire.OptionError, match="no tensor"):
        huffwire.analyze({"epoch": 3, "empty": torch.zeros(0)})
    for nothing in [3, b"bytes", [1, 2], {"x": object()}, {"x": torch.zeros(3, device="meta")}]:
        with pytest.raises(huffwire.UnsupportedError):
            huffwire.analyze(nothing)
    with pytest.raises(huffwire.MissingFileError):
        huffwire.analyze(tmp_path / "absent.pt")
    with pytest.raises(huffwire.MissingFileError):
        huffwire.analyze(tmp_path / "absent.safetensors")
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(huffwire.Error):
        huffwire.analyze(tmp_path / "text.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_checkpoints_are_told_of(state, tmp_path):
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "old.pt").read_bytes()
    path = tmp_path / "damaged.pt"
    for at in range(0, 400, 3):
        for change in [1, 0x80]:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
            try:
                huffwire.analyze(path)
            except huffwire.Error:
                pass
    # A pickle without a stack, one of an unknown memo, and one of an item of nothing.
    for damaged in [b"\x80\x02.", b"\x80\x02h\x05.", b"\x80\x02K\x01K\x02K\x03s."]:
        path.write_bytes(damaged)
        with pytest.raises(huffwire.Error, match="damaged.pt"):
            huffwire.analyze(path)


def test_checkpoints_take_no_more_memory_than_they_hold(tmp_path):
    whole = torch.ones(1000, 1000).bfloat16()
    lazy = torch.ones(9, dtype=torch.complex64).conj()
    path = tmp_path / "a.pt"
    for views in [
        {"huge": torch.ones(1).expand(1 << 20, 1 << 20)},
        {"twice": whole[:, None].expand(1000, 2, 1000)},
        {f"shared.{number}": whole.t()[number:] for number in range(3)},
        {f"lazy.{number}": lazy[number:] for number in range(3)},
        {f"shared.{number}": whole.view(-1)[number:100_000].as_strided((2, 40_000), (1, 2)) for number in range(100)},
    ]:
        torch.save(views, path)
        with pytest.raises(huffwire.UnsupportedError, match="a.pt: .*contiguous"):
            huffwire.analyze(path)
    turned = whole.t()
    torch.save({"whole": whole, "part": whole[:, 7:900], "turned": [turned, turned, whole.t()]}, path)
    assert sum(row["bytes"] for row in huffwire.analyze(path).rows()) == 2 * (4 * 1000 * 1000 + 893 * 1000)


def test_containers_may_hold_themselves(state, tmp_path, monkeypatch):
    loop: list = [state]
    loop.append(loop)
    named: dict = {"state": state}
    named["deeper"] = [named]
    # 2 to the power of 40 places.
    many: list = [1]
    for _ in range(40):
        many = [many, many]
    for held, text in [(loop, "100 deep"), (named, "100 deep")]:
        torch.save({"a": held}, tmp_path / "a.pt")
        for source in [{"a": held}, tmp_path / "a.pt"]:
            with pytest.raises(huffwire.UnsupportedError, match=text):
                huffwire.analyze(source)
    monkeypatch.setattr(_analysis, "_MOST", 10_000)
    with pytest.raises(huffwire.UnsupportedError, match="10000 values"):
        huffwire.analyze({"many": many})
    deep: object = state
    for _ in range(90):
        deep = {"x": deep}
    assert huffwire.analyze(deep).rows()[0]["shards"] == 3


class Code:
    """Makes a file when it is unpickled by something that trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_checkpoints_run_no_code(tmp_path):
    touched = tmp_path / "touched"
    torch.save({"w": torch.zeros(5), "code": Code(touched)}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Code(touched)))
    for name in ["a.pt", "b.pt"]:
        with pytest.raises(huffwire.UnsupportedError):
            huffwire.analyze(tmp_path / name)
    assert not touched.exists()
