"""Whether coding pays on a link, and when codebooks are replaced: the compiled parts of both."""

import random
import struct

import pytest

import huffwire
from huffwire import _huffwire

FIGURES = {"latency": 0.0, "encode": 10e9, "decode": 11e9, "left": 0.66}


def test_times_are_those_of_bytes_and_speeds():
    model = _huffwire._LinkModel(
        "all_gather", bytes_per_second=1e9, ranks=4, transport="serial", **FIGURES
    )
    assert model.seconds("plain", 10**9) == pytest.approx(0.75)
    assert model.seconds("coded", 10**9) == pytest.approx(0.75 * 0.66 + 0.25 / 10 + 0.75 / 11)
    assert model.best(10**9) == "coded"
    assert model.pays(10**9)
    assert model.cores_to_pay(10**9) == 1
    assert model.fastest_link(10**9) > 1e9


def test_gloo_is_plain_for_small_tensors_and_coded_for_large_ones():
    model = _huffwire._LinkModel("all_reduce", bytes_per_second=125e6, margin=1.08, **FIGURES)
    smallest = model.break_even()
    assert smallest is not None
    assert model.pays(smallest)
    assert not model.pays(smallest - 1)
    assert model.best(64) == "plain"
    assert model.best(64 << 20) == "coded"


def test_bad_figures_are_refused():
    for wrong in [
        {"bytes_per_second": 0.0},
        {"bytes_per_second": float("nan")},
        {"left": 0.0},
        {"latency": -1.0},
        {"ranks": 0},
        {"transport": "pigeons"},
        {"collective": "gather"},
        {"piece": -1.0},
    ]:
        arguments = {"collective": "send", "bytes_per_second": 1e9, **FIGURES, **wrong}
        with pytest.raises(huffwire.OptionError):
            _huffwire._LinkModel(**arguments)
    model = _huffwire._LinkModel("send", bytes_per_second=1e9, **FIGURES)
    with pytest.raises(huffwire.OptionError, match="raw"):
        model.seconds("pigeon", 1)


def narrow(count, seed):
    """Bytes of bf16 values with two exponents, one of them three times as frequent."""
    generator = random.Random(seed)
    words = (
        0x3F00 | generator.getrandbits(16) & 0x807F | (generator.random() < 0.25) << 7
        for _ in range(count)
    )
    return struct.pack(f"<{count}H", *words)


def test_codebooks_are_replaced_where_that_pays():
    refresher = _huffwire._Refresher(every=40, interval=1 << 14, samples=8)
    tensor = narrow(20_000, 1)
    assert not refresher.is_due()
    assert refresher.judge() is None
    for index in range(40):
        assert refresher.observe(tensor, "bf16", "layers.0.weight") == (index == 39)
    assert refresher.is_due()
    fresh, saved = refresher.judge()
    assert refresher.regret > 0.02
    assert saved > len(fresh.to_bytes())
    assert not refresher.is_due()
    assert refresher.judge() is None

    following = narrow(20_000, 2)
    message = huffwire.encode(following, dtype="bf16", codebooks=fresh)
    assert len(message) < len(huffwire.encode(following, dtype="bf16"))
    assert huffwire.decode(message, codebooks=fresh) == following
    with pytest.raises(huffwire.CodebookError):
        huffwire.decode(message)

    refresher.switch(fresh)
    assert refresher.regret is None
    for _ in range(40):
        refresher.observe(following, "bf16", "layers.0.weight")
    assert refresher.judge() is None
    assert refresher.regret < 0.01
    assert refresher.judge(now=True) is None
    assert refresher.regret < 0.01


def test_a_judgement_before_its_time():
    refresher = _huffwire._Refresher(every=1000, interval=0, samples=8)
    refresher.observe(narrow(20_000, 1), "bf16")
    assert refresher.judge(now=True) is None and refresher.regret is None
    refresher.observe(narrow(20_000, 2), "bf16")
    assert refresher.judge() is None
    fresh, _ = refresher.judge(now=True)
    assert fresh != huffwire.Codebooks.builtin() and refresher.regret > 0.02


def test_bad_limits_are_refused():
    for wrong in [{"regret": -1.0}, {"regret": float("nan")}, {"samples": 1}, {"level": "medium"}]:
        with pytest.raises(huffwire.OptionError):
            _huffwire._Refresher(**wrong)
