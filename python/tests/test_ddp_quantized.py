"""The quantized hook for DistributedDataParallel, with real processes."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import signal
import warnings

import numpy as np
import pytest
import ranks
import torch
import torch.distributed as dist
import training
from quantized_model import Model
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from huffwire import MismatchError, OptionError, gradient
from huffwire import _quantized_layout as layouts
from huffwire.ddp import LosslessState, QuantizedState, lossless_hook, quantized_hook


class Vector(nn.Module):
    """A parameter whose gradient is the input."""

    def __init__(self, elements: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(elements, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.weight * x).sum()


def gradient_of(rank: int, step: int, elements: int, dtype: torch.dtype) -> torch.Tensor:
    """A gradient with buckets of zeros and a few large elements."""
    generator = torch.Generator().manual_seed(1000 * step + rank)
    floats = torch.randn(elements, generator=generator) * 1e-3
    floats[200:900] = 0
    floats[::977] *= 50
    return floats.to(dtype)


def gradients(ranks: int, step: int, elements: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """The gradients of all ranks."""
    return [gradient_of(rank, step, elements, dtype) for rank in range(ranks)]


def run(function, size: int, *args: object, **options: object) -> list:
    """Runs ranks, which on a busy machine may take long."""
    return ranks.run(function, size, *args, **{"seconds": 60, "limit": 300, **options})


def means(
    rank: int, state: QuantizedState, elements: int, dtype: torch.dtype, steps: int
) -> list[torch.Tensor]:
    """What the hook makes of the gradients of some steps."""
    network = DistributedDataParallel(Vector(elements, dtype))
    network.register_comm_hook(state, quantized_hook)
    found = []
    for step in range(steps):
        network.zero_grad()
        network(gradient_of(rank, step, elements, dtype)).backward()
        found.append(network.module.weight.grad.clone())
    return found


def as_the_model(rank: int, size: int, cases: list) -> None:
    import huffwire.distributed as hd
    from huffwire.distributed import memory

    before = None
    for elements, name, options, piece, staged in cases:
        dtype = getattr(torch, name)
        if piece != before:
            hd.setup(compression="always", piece=piece)
        before = piece
        memory.STAGE_ALL = staged
        state = QuantizedState(warmup_steps=2, seed=5, min_elements=0, **options)
        found = means(rank, state, elements, dtype, 5)
        assert state.step == 5
        model = Model(
            size,
            elements,
            options.get("levels", 4),
            options.get("bucket", 512),
            5,
            options.get("error_feedback", True),
        )
        for step, mean in enumerate(found):
            given = [each.float().numpy() for each in gradients(size, step, elements, dtype)]
            if step < 2:
                continue
            due = torch.from_numpy(model.step(step, given)).to(dtype)
            same = torch.equal(mean, due)
            assert same, (elements, name, options, step, (mean - due).abs().max())


CASES = [
    (20_000, "float32", {}, 2048, False),
    (5_001, "bfloat16", {}, 2048, False),
    (5_001, "float16", {"error_feedback": False}, 2048, True),
    (1, "float32", {}, 2048, False),
    (9_000, "float32", {"levels": 127}, 2048, True),
    (20_000, "float32", {"bucket": 16, "levels": 7}, 1 << 20, False),
    # A piece has a bucket at least.
    (20_000, "float32", {"bucket": 4096}, 1024, True),
]


def test_pieces_are_whole_buckets_and_no_longer_than_the_others() -> None:
    from huffwire.distributed.quantized import elements_of_piece

    assert elements_of_piece(256 << 10, 512) == 256 << 10
    assert elements_of_piece(4 << 20, 512) == 256 << 10
    assert elements_of_piece(10_000, 512) == 19 * 512
    assert elements_of_piece(1024, 65536) == 65536


def test_a_mean_goes_behind_the_gradients_that_it_needs() -> None:
    from huffwire.distributed.schedules import stages

    for most in (0, 1, 5, 20):
        for lag in (1, 2, 6):
            order = list(stages(most, lag))
            assert sorted(order) == [(stage, index) for stage in (0, 1) for index in range(most)]
            for index in range(most):
                ahead = min(index + lag, most - 1)
                assert order.index((1, index)) > order.index((0, ahead))


def test_gradients_are_those_of_the_model_in_numpy() -> None:
    run(as_the_model, 2, CASES)


def test_with_four_ranks_too() -> None:
    run(as_the_model, 4, CASES[:3])


def test_within_the_backend() -> None:
    run(as_the_model, 2, CASES[2:3], backend="huffwire")


def every_quantizer(rank: int, size: int) -> None:
    """All ranks get the same, and what they get over many steps is the mean."""
    elements, steps = 6_000, 40
    for quantizer in (
        "qsgd",
        "terngrad",
        "int8",
        "sign",
        gradient.Sign("means", 512),
        gradient.TernGrad(3.0, 512),
    ):
        feedback = "terngrad" not in str(quantizer)
        state = QuantizedState(
            quantizer=quantizer, warmup_steps=0, min_elements=0, error_feedback=feedback
        )
        network = DistributedDataParallel(Vector(elements, torch.float32))
        network.register_comm_hook(state, quantized_hook)
        constant = [torch.rand(elements, generator=torch.Generator().manual_seed(r)) for r in (0, 1)]
        total = torch.zeros(elements)
        for _ in range(steps):
            network.zero_grad()
            network(constant[rank]).backward()
            total += network.module.weight.grad
            everywhere = [torch.empty(elements) for _ in range(size)]
            dist.all_gather(everywhere, network.module.weight.grad)
            assert all(torch.equal(each, everywhere[0]) for each in everywhere)
        off = (total / steps - sum(constant) / 2).abs().mean()
        assert off < 0.09, (quantizer, off)


def test_every_quantizer() -> None:
    run(every_quantizer, 2)


def bytes_of(rank: int, size: int) -> float:
    import huffwire.distributed as hd

    elements = 1 << 19
    found = means(rank, QuantizedState(warmup_steps=1), elements, torch.float32, 4)
    assert all(torch.isfinite(mean).all() for mean in found)
    totals = hd.stats()["quantized_all_reduce"]
    assert totals["calls"] == 3 and totals["fallbacks"] == 0
    # What a plain all_reduce sends: shares of the gradient to all others, and the sum of the own share.
    assert totals["bytes_before"] == 3 * 2 * (size - 1) * elements * 4 // size
    return totals["bytes_before"] / totals["bytes_after"]


def test_eleven_times_fewer_bytes() -> None:
    for ratio in run(bytes_of, 4):
        assert ratio > 11, ratio


def learned(rank: int, size: int, seed: int, hook: bool) -> float:
    """The loss after a training on a small task."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(32, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 1))
    network = DistributedDataParallel(network)
    if hook:
        network.register_comm_hook(QuantizedState(min_elements=0, warmup_steps=5), quantized_hook)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(50 * seed + rank)
    weights = torch.randn(32, 1, generator=torch.Generator().manual_seed(3))
    losses = []
    for _ in range(250):
        x = torch.randn(64, 32, generator=generator)
        y = torch.tanh(x @ weights / 3)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    last = torch.tensor(losses[-30:]).mean()
    dist.all_reduce(last)
    return last.item() / size


def trainings(rank: int, size: int) -> tuple[list[float], list[float]]:
    plain = [learned(rank, size, seed, False) for seed in range(3)]
    return plain, [learned(rank, size, seed, True) for seed in range(2)]


def test_a_training_ends_where_plain_ones_end() -> None:
    for plain, quantized in run(trainings, 2):
        assert max(plain) < 0.05, plain
        spread = max(plain) - min(plain)
        assert max(quantized) < max(plain) + 2 * spread, (plain, quantized)


def wrapped(rank: int, size: int) -> None:
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

    import huffwire.distributed as hd

    dtype = torch.float32
    for wrapper in (default_hooks.bf16_compress_wrapper, default_hooks.fp16_compress_wrapper):
        hd.reset_stats()
        state = QuantizedState(min_elements=0)
        found = training.train(training.ddp(dtype, wrapper(quantized_hook), state), rank, 20, dtype)
        everywhere = [None] * size
        dist.all_gather_object(everywhere, found[:-1])
        assert all(each == found[:-1] for each in everywhere)
        totals = hd.stats()["quantized_all_reduce"]
        assert totals["calls"] > 18 and totals["fallbacks"] == 0
        assert 4.5 < totals["bytes_before"] / totals["bytes_after"]


def warmed_up(rank: int, size: int) -> None:
    """In the warm-up, and for small buckets, the training is that of the lossless hook."""
    dtype = torch.float32
    due = training.train(training.ddp(dtype, lossless_hook, LosslessState()), rank, 20, dtype)
    for options in ({"warmup_steps": 20, "min_elements": 0}, {"min_elements": 1 << 30}):
        network = training.ddp(dtype, quantized_hook, QuantizedState(**options))
        assert training.train(network, rank, 20, dtype) == due
    mixed = training.ddp(dtype, quantized_hook, QuantizedState(warmup_steps=15, min_elements=0))
    found = training.train(mixed, rank, 20, dtype)
    assert found[0] == due[0] and found[1] != due[1]


def both(rank: int, size: int) -> None:
    wrapped(rank, size)
    warmed_up(rank, size)


def test_within_the_wrappers_and_in_the_warm_up() -> None:
    run(both, 2)


class Run:
    """A training that can be saved and continued."""

    def __init__(
        self, rank: int, hook, state, saved: bytes | None = None, loads_state: bool = True
    ) -> None:
        self.rank = rank
        self.state = state
        network = training.model(torch.float32)
        self.step = 0
        loaded = None
        if saved is not None:
            loaded = torch.load(io.BytesIO(saved), weights_only=True)
            network.load_state_dict(loaded["model"])
            self.step = loaded["step"]
            if loads_state:
                state.load_state_dict(loaded["hook"])
        self.network = DistributedDataParallel(network, bucket_cap_mb=0.05)
        self.network.register_comm_hook(state, hook)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9)
        if loaded is not None:
            self.optimizer.load_state_dict(loaded["optimizer"])

    def train(self, steps: int) -> str:
        for _ in range(steps):
            generator = torch.Generator().manual_seed(1000 * self.step + self.rank)
            x = torch.randn(8, training.WIDTH, generator=generator)
            self.optimizer.zero_grad()
            nn.functional.mse_loss(self.network(x), x[:, :8]).backward()
            self.optimizer.step()
            self.step += 1
        return training.digest(self.network.parameters())

    def save(self) -> bytes:
        out = io.BytesIO()
        whole = {
            "model": self.network.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "hook": self.state.state_dict(),
            "step": self.step,
        }
        torch.save(whole, out)
        return out.getvalue()


def restarted(rank: int, size: int, cases: int) -> None:
    for hook, make in (
        (quantized_hook, lambda: QuantizedState(min_elements=3000, seed=9)),
        (quantized_hook, lambda: QuantizedState(quantizer="sign", min_elements=0, warmup_steps=3)),
        (lossless_hook, lambda: LosslessState(sum_dtype=torch.float32)),
    )[:cases]:
        whole = Run(rank, hook, make())
        first = Run(rank, hook, make())
        first.train(10)
        saved, pickled = first.save(), pickle.dumps(first.state)
        # The run that is saved goes on undisturbed, too.
        due = whole.train(20)
        assert first.train(10) == due
        second = Run(rank, hook, make(), saved)
        assert second.train(10) == due
        if hook is quantized_hook:
            # The buckets of the first step were others, and those of the second step the same again.
            assert second.state._regrouped == 0 and second.state.step == 20
            third = Run(rank, hook, pickle.loads(pickled), saved, loads_state=False)
            assert third.train(10) == due
            lost = Run(rank, hook, make(), saved)
            lost.state.reset_errors()
            assert lost.train(10) != due
        everywhere = [None] * size
        dist.all_gather_object(everywhere, due)
        assert len(set(everywhere)) == 1


def test_a_restart_continues_bit_by_bit() -> None:
    run(restarted, 2, 3)


def test_a_restart_with_four_ranks() -> None:
    run(restarted, 4, 1)


def test_parameters_that_are_gone_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    # As ids are in CPython: the place in memory, which another parameter gets later.
    monkeypatch.setattr(layouts, "id", lambda parameter: parameter.place, raising=False)

    def parameter(place: int) -> torch.Tensor:
        made = torch.ones(1)
        made.place = place  # type: ignore[attr-defined]
        return made

    def step(*shown: torch.Tensor) -> list[int]:
        numbers.restart(shown[:1])
        for each in shown:
            numbers.number(each)
        numbers.settle()
        return [numbers.number(each) for each in shown]

    numbers = layouts.Numbers()
    a, b = parameter(1), parameter(2)
    assert step(a, b) == [0, 1]
    # The same model, in other buckets.
    assert step(b, a) == [1, 0]
    del b
    gc.collect()
    c = parameter(2)
    assert step(a, c) == [0, 1]
    del a
    gc.collect()
    assert step(c) == [0]


def restarted_after_changes(rank: int, size: int) -> None:
    def reset(run: Run) -> None:
        run.state.reset_errors()

    def load(run: Run) -> None:
        run.state.load_state_dict(run.state.state_dict())

    def widen(run: Run) -> None:
        # As when layers that were frozen are trained, too.
        run.network = DistributedDataParallel(
            nn.Sequential(nn.Linear(training.WIDTH, training.WIDTH), run.network.module),
            bucket_cap_mb=0.05,
        )
        run.network.register_comm_hook(run.state, quantized_hook)
        run.state.reset_errors()

    def gradients_of(run: Run, steps: int) -> list[torch.Tensor]:
        found = []
        for step in range(steps):
            torch.manual_seed(100 * step + rank)
            run.network.zero_grad()
            run.network(torch.randn(8, training.WIDTH)).square().mean().backward()
            found += [parameter.grad.clone() for parameter in run.network.parameters()]
        return found

    for change in (reset, load, widen):
        first = Run(rank, quantized_hook, QuantizedState(min_elements=0, warmup_steps=0))
        gradients_of(first, 3)
        change(first)
        gradients_of(first, 3)
        saved, module = first.state.state_dict(), first.network.module
        due = gradients_of(first, 3)
        state = QuantizedState()
        state.load_state_dict(saved)
        second = Run(rank, quantized_hook, state)
        second.network = DistributedDataParallel(copy.deepcopy(module), bucket_cap_mb=0.05)
        second.network.register_comm_hook(state, quantized_hook)
        assert all(map(torch.equal, gradients_of(second, 3), due)), change
        # The buckets of the first step were others, and those of the second step the same again.
        assert state._regrouped == 0, change


def test_a_restart_after_errors_were_reset_and_states_were_loaded() -> None:
    run(restarted_after_changes, 2)


def other_states(rank: int, size: int) -> list[tuple[str, str]]:
    """What each way of having different states raises."""
    found = []
    other = rank == 1

    def attempt(state: QuantizedState, change=None) -> None:
        group = dist.new_group(backend="gloo")
        state.process_group = group
        network = DistributedDataParallel(Vector(5120, torch.float32), process_group=group)
        network.register_comm_hook(state, quantized_hook)
        try:
            for step in range(5):
                if step == 4 and change is not None:
                    change(state)
                network.zero_grad()
                network(torch.ones(5120)).backward()
        except Exception as error:
            found.append((type(error).__name__, str(error)))
        else:
            found.append(("none", ""))

    attempt(QuantizedState(levels=4 + other, min_elements=0))
    attempt(QuantizedState(seed=int(other), min_elements=0))
    state = QuantizedState(min_elements=0)
    state.step = int(other)
    attempt(state)
    later = QuantizedState(min_elements=0)
    attempt(later, lambda state: setattr(state, "step", state.step + other))
    # A state of another rank.
    mixed = QuantizedState(min_elements=0)
    attempt(mixed)
    saved = mixed.state_dict()
    saved["rank"] = [1 - rank, size]
    swapped = QuantizedState()
    swapped.load_state_dict(saved)
    attempt(swapped)
    return found


def test_states_that_differ_raise_on_all_ranks() -> None:
    for found in run(other_states, 2):
        texts = [text for _, text in found]
        assert "differ in QuantizedState, quantizer" in texts[0], found
        assert "differ in QuantizedState, seed" in texts[1], found
        assert "differ in QuantizedState, step" in texts[2], found
        assert "quantizes in another way" in texts[3] or "rank 1 failed" in texts[3] or (
            "rank 0 failed" in texts[3]
        ), found
        assert found[4] == ("none", "")
        assert "was saved by another rank" in texts[5], found


def other_collectives(rank: int, size: int) -> tuple[str, str]:
    import huffwire.distributed as hd
    from huffwire.distributed import groups, quantized

    hd.setup(compression="raw", piece=4 << 20)
    x = torch.ones(4 << 20)
    engine, _ = groups.coded_group(dist.group.WORLD).ready()
    exchange = QuantizedState()._exchange(0, x.numel(), rank, size)
    try:
        if rank == 0:
            hd.all_reduce(x)
        else:
            quantized.average(engine, x, exchange, [x]).wait()
    except hd.GroupError:
        raise
    except Exception as error:
        return type(error).__name__, str(error)
    return "none", ""


def test_ranks_that_call_other_collectives() -> None:
    found = run(other_collectives, 2)
    # gloo ends a process that receives more than it has room for.
    assert not any(isinstance(each, ranks.Died) for each in found), found
    assert {name for name, _ in found} <= {"OutOfStepError", "PeerError"}, found


def not_finite(rank: int, size: int) -> tuple[str, str]:
    elements = 5000
    state = QuantizedState(min_elements=0, non_finite="nan", warmup_steps=1)
    network = DistributedDataParallel(Vector(elements, torch.float32))
    network.register_comm_hook(state, quantized_hook)
    model = Model(size, elements, 4, 512, 0)
    for step in range(5):
        given = gradients(size, step, elements, torch.float32)
        if step == 2:
            given[0][600] = float("nan")
            given[1][4999] = float("-inf")
        network.zero_grad()
        network(given[rank]).backward()
        if step:
            due = model.step(step, [each.numpy() for each in given])
            found = network.module.weight.grad.numpy()
            assert np.array_equal(found, due, equal_nan=True), step
            assert np.isnan(found).sum() == (512 + 5000 - 9 * 512 if step == 2 else 0)
    state = QuantizedState(min_elements=0, warmup_steps=1)
    network = DistributedDataParallel(Vector(elements, torch.float32))
    network.register_comm_hook(state, quantized_hook)
    try:
        for step in range(3):
            given = torch.ones(elements)
            if rank == 1 and step == 2:
                given[17] = float("inf")
            network(given).backward()
    except Exception as error:
        return type(error).__name__, str(error)
    return "none", ""


def test_gradients_that_are_not_finite() -> None:
    (_, other), (_, own) = run(not_finite, 2)
    assert "step 2, bucket 0: 1 of the quantizer's buckets" in own, own
    # The failed process may be gone before its last message arrives.
    assert ("rank 1 failed" in other and "infinite or NaN" in other) or "died" in other, other


def alone(rank: int, size: int) -> None:
    from huffwire.distributed import GroupError

    group = dist.new_group([rank]) if size == 1 else None
    state = QuantizedState(group)
    network = DistributedDataParallel(Vector(5000, torch.float32), process_group=group)
    network.register_comm_hook(state, quantized_hook)
    for _ in range(4):
        network.zero_grad()
        network(torch.arange(5000.0)).backward()
        assert torch.equal(network.module.weight.grad, torch.arange(5000.0))
    assert state.step == 4
    assert QuantizedState().state_dict()["layout"] is None
    double = DistributedDataParallel(Vector(5000, torch.float64))
    double.register_comm_hook(QuantizedState(), quantized_hook)
    with pytest.raises(Exception, match="gradients of torch.float64"):
        double(torch.ones(5000, dtype=torch.float64)).backward()
    gone = dist.new_group([0])
    late = DistributedDataParallel(Vector(5000, torch.float32), process_group=gone)
    late.register_comm_hook(QuantizedState(gone), quantized_hook)
    loss = late(torch.ones(5000))
    dist.destroy_process_group(gone)
    with pytest.raises(Exception, match="was destroyed") as found:
        loss.backward()
    assert isinstance(found.value, GroupError)


def test_one_rank_alone_and_groups_that_are_gone() -> None:
    run(alone, 1)


def dies(rank: int, size: int) -> tuple[str, str]:
    state = QuantizedState(min_elements=0)
    network = training.ddp(torch.float32, quantized_hook, state)
    training.train(network, rank, 10, torch.float32)
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        training.train(network, rank, 10, torch.float32)
    except Exception as error:
        return type(error).__name__, str(error)
    return "", ""


def test_a_killed_rank_ends_the_backward_pass() -> None:
    (name, text), dead = run(dies, 2, seconds=10)
    assert isinstance(dead, ranks.Died)
    assert name and "another rank died" in text, (name, text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"quantizer": "fp4"}, "give \"qsgd\""),
        ({"quantizer": gradient.Natural()}, "no buckets"),
        ({"levels": 0}, "levels"),
        ({"levels": 128}, "128"),
        ({"bucket": 100}, "bucket=100"),
        ({"bucket": 0}, "bucket"),
        ({"bucket": 1 << 20}, "65536"),
        ({"norm": "l3"}, "norm"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"min_elements": 1.5}, "min_elements"),
        ({"seed": True}, "seed"),
        ({"non_finite": "zero"}, "non_finite"),
        ({"error_decay": 0}, "error_decay"),
        ({"error_feedback": 1}, "error_feedback"),
        ({"sum_dtype": torch.int8}, "sum_dtype"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        QuantizedState(**options)


def test_feedback_that_diverges_warns() -> None:
    for options in ({"norm": "l2"}, {"levels": 1}, {"quantizer": "terngrad"}):
        with pytest.warns(UserWarning, match="grows from step to step"):
            QuantizedState(**options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            QuantizedState(error_feedback=False, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in ({}, {"norm": "l2", "levels": 16}, {"quantizer": "sign"}, {"levels": 2}):
            QuantizedState(**options)


class Bucket:
    """A bucket of DistributedDataParallel."""

    def __init__(self, number: int, elements: int, last: bool) -> None:
        self._number, self._parameter, self._last = number, torch.zeros(elements), last

    def index(self) -> int:
        return self._number

    def parameters(self) -> list[torch.Tensor]:
        return [self._parameter]

    def is_last(self) -> bool:
        return self._last


def test_error_memories_are_as_long_as_their_buckets() -> None:
    state = QuantizedState(min_elements=0, warmup_steps=0)
    first = Bucket(0, 64, True)
    state._at(first)
    state._end(first)
    # A step that ends with an error before its last bucket.
    assert state._at(Bucket(0, 64, False)).quantizes
    state._add_to_layout(((0, 64),))
    assert state._exchange(0, 64, 0, 2).errors.numel() == 64
    # The next one has another bucket.
    other = Bucket(0, 4096, True)
    state._at(other)
    state._add_to_layout(((0, 4096),))
    how = state._exchange(0, 4096, 0, 2)
    assert how.errors.numel() == 4096 and how.mean_errors.numel() == 2048
    state._end(other)
    for elements, ranks in ((4095, 2), (4096, 4)):
        with pytest.raises(MismatchError, match="reset_errors"):
            state._exchange(0, elements, 0, ranks)


def test_error_memories_are_of_floats_whatever_the_default_is() -> None:
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("meta"):
            how = QuantizedState(levels=4)._exchange(0, 64, 0, 2)
    finally:
        torch.set_default_dtype(before)
    for errors in (how.errors, how.mean_errors):
        assert errors.dtype == torch.float32 and errors.is_cpu


def test_states_that_are_none_are_refused() -> None:
    state = QuantizedState(levels=5, seed=3)
    state.step = 7
    good = state.state_dict()
    copy = pickle.loads(pickle.dumps(state))
    assert copy.step == 7 and copy.quantizer == "qsgd levels=5 norm=max bucket=512"
    other = QuantizedState()
    other.load_state_dict(good)
    assert other.seed == 3 and other.step == 7 and "levels=5" in repr(other)
    for change in (
        {"version": 2},
        {"quantizer": ("fp4",)},
        {"levels": None, "quantizer": ("qsgd", 500, 512, "max")},
        {"step": "x"},
        {"layout": [[[0, 10]]], "rank": [0, 2], "errors": {0: torch.zeros(9)}},
        {"errors": {0: torch.zeros(9)}},
        {"layout": 7},
        {"seed": -1},
    ):
        with pytest.raises(MismatchError, match="no state of QuantizedState"):
            other.load_state_dict({**good, **change})
    for wrong in ({}, None, [], LosslessState().state_dict()):
        with pytest.raises(MismatchError):
            other.load_state_dict(wrong)
    assert other.seed == 3 and other.step == 7
