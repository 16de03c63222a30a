"""The report of deltas.py, from pairs of weights."""

from __future__ import annotations

import json
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from changes import coders
from changes.bounds import bounds

if TYPE_CHECKING:
    from changes.training import Course, Tell, Training

OPTIMIZERS = ("AdamW", "SGD")
RATES = (1e-7, 1e-6, 1e-5, 1e-4)
# Where SGD is used, its rates are higher than AdamW's.
HIGHER_RATES = (1e-2,)
# Steps between the two ends of a pair.
APART = (1, 2, 4, 8, 16, 32, 64)
# Steps of a course before the first weights that are taken.
BEFORE = 10
# Checkpoints in the training at ordinary rates, and in one of the courses.
CHECKPOINTS_APART = (1, 20, 100)
COURSE_OF_CHECKPOINTS = ("AdamW", 1e-6)
COURSE_CHECKPOINTS_APART = (1, 64)
# Pairs that are timed: optimizer, rate, steps apart.
TIMED = (("AdamW", 1e-6, 1), ("AdamW", 1e-5, 1), ("AdamW", 1e-4, 1), ("AdamW", 1e-4, 64))
TIMED_BYTES = 64 << 20
# Pairs of a training that is not ours, in a folder of tensors.
REAL = (("sync-0", "sync-1"), ("sync-1", "sync-2"), ("sync-0", "sync-2"))
SEED = 1

Row = dict[str, Any]


def courses() -> list[tuple[str, float]]:
    """All courses: optimizer and rate."""
    return [(optimizer, rate) for optimizer in OPTIMIZERS for rate in (*RATES, *(HIGHER_RATES if optimizer == "SGD" else ()))]


def delta(base: np.ndarray, new: np.ndarray) -> Row:
    """What huffwire makes of a pair. The delta is applied, and its result compared."""
    import huffwire

    coder = coders.Huffwire()
    coded = coder.encode(base, new)
    restored = base.copy()
    coder.apply(coded, restored)
    check(coder, restored, new)
    info = huffwire.inspect_delta(coded)
    kinds = Counter(block.kind for block in info.blocks)
    return {
        "words": info.words, "changes": info.changes, "raw_bytes": new.nbytes,
        "plain_bytes": len(huffwire.encode(new, coders.DTYPES[new.dtype], threads=1)), "delta_bytes": len(coded),
        "blocks": dict(sorted(kinds.items())),
    }


def check(coder: coders.Coder, restored: np.ndarray, new: np.ndarray) -> None:
    if not np.array_equal(restored, new):
        raise AssertionError(f"{coder.name} does not restore the weights")


def pair(base: np.ndarray, new: np.ndarray) -> Row:
    """Sizes and bounds of a pair of bf16 weights."""
    found = delta(base, new)
    limits = bounds(base, new)
    sizes = {coder.name: len(coder.encode(base, new)) for coder in coders.others()}
    return {**found, "alike_bits": round(limits.alike, 1), "by_exponent_bits": round(limits.by_exponent, 1), "coders": sizes}


def course(training: Training, one: Course, tell: Tell) -> tuple[list[Row], list[Row], dict[str, Any]]:
    """Pairs of a course, checkpoints in it where they are wanted, and the weights that are to be timed."""
    from changes.training import advance

    place = {"optimizer": one.optimizer, "rate": one.rate}
    rows, checkpoints, timed = [], [], {}
    base, first = None, None
    with_checkpoints = (one.optimizer, one.rate) == COURSE_OF_CHECKPOINTS
    stops = (BEFORE, *(BEFORE + apart for apart in APART))
    for step in advance(training, stops[-1], stops, lambda _: one.rate, tell):
        weights, apart = training.weights(), step - BEFORE
        if base is None:
            base, first = weights, training.checkpoint() if with_checkpoints else None
            continue
        rows.append({**place, "apart": apart, **pair(base, weights)})
        if first is not None and apart in COURSE_CHECKPOINTS_APART:
            checkpoints += between(first, training.checkpoint(), apart, f"AdamW at {one.rate:g}")
        if (one.optimizer, one.rate, apart) in TIMED:
            timed[one.optimizer, one.rate, apart] = (base, weights)
    return rows, checkpoints, timed


def ordinary(training: Training, steps: int, tell: Tell) -> list[Row]:
    """The training at ordinary rates, and checkpoints in its last steps."""
    from changes.training import advance
    from gemma import train

    begin = steps - CHECKPOINTS_APART[-1]
    rows: list[Row] = []
    first = None
    stops = (begin, *(begin + apart for apart in CHECKPOINTS_APART))
    for step in advance(training, steps, stops, lambda number: train.rate(number, steps), tell):
        if first is None:
            first = training.checkpoint()
        else:
            rows += between(first, training.checkpoint(), step - begin, "the training before")
    return rows


def between(base: dict[str, np.ndarray], new: dict[str, np.ndarray], apart: int, where: str) -> list[Row]:
    """Two checkpoints, role by role."""
    rows = []
    for role, before in base.items():
        found = delta(before, new[role])
        planes = coders.Zstd(coders.Planes(), 3)
        limit = round(bounds(before, new[role]).by_exponent, 1) if role == "weights" else None
        sizes = {planes.name: len(planes.encode(before, new[role]))}
        rows.append({"training": where, "apart": apart, "role": role, **found, "by_exponent_bits": limit, "coders": sizes})
    return rows


def extremes(weights: np.ndarray) -> list[Row]:
    """A pair that is the same twice, and pairs that have nothing to do with each other."""
    random = np.random.default_rng(SEED)
    large = fit(weights, TIMED_BYTES)
    noise = random.integers(1 << 16, size=(2, len(large)), dtype=np.uint16)
    found = {
        "identical weights": (large, large),
        "the same weights in another order": (large, random.permutation(large)),
        "random bits": (noise[0], noise[1]),
    }
    return [{"what": what, **delta(base, new)} for what, (base, new) in found.items()]


def fit(weights: np.ndarray, size: int) -> np.ndarray:
    """So many bytes: repeated, or cut. Repetitions are farther apart than zstd at these levels looks back."""
    return np.resize(weights, size // weights.itemsize)


def times(pairs: dict[Any, tuple[np.ndarray, np.ndarray]], rounds: int, tell: Callable[[str], None]) -> list[Row]:
    """How long all take, in turns: a round of each, after one that is not timed. Seconds are those of the fastest round, and of
    the processor: what other programs do in between does not count.
    """
    rows = []
    for (optimizer, rate, apart), ends in pairs.items():
        base, new = (fit(one, TIMED_BYTES) for one in ends)
        weights = np.empty_like(base)
        taken: dict[str, list[tuple[float, float]]] = {}
        for number in range(rounds + 1):
            tell(f"times of {optimizer} at {rate:g}, {apart} apart: round {number} of {rounds}")
            for coder in (coders.Huffwire(), *coders.others()):
                taken.setdefault(coder.name, []).append(timed(coder, base, new, weights))
        rows.append({
            "optimizer": optimizer, "rate": rate, "apart": apart, "bytes": base.nbytes, "rounds": rounds,
            "encode": {name: min(one for one, _ in each[1:]) for name, each in taken.items()},
            "apply": {name: min(one for _, one in each[1:]) for name, each in taken.items()},
        })
    return rows


def timed(coder: coders.Coder, base: np.ndarray, new: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Seconds to encode and to apply."""
    np.copyto(weights, base)
    began = time.thread_time()
    coded = coder.encode(base, new)
    encoded = time.thread_time()
    coder.apply(coded, weights)
    applied = time.thread_time()
    check(coder, weights, new)
    return encoded - began, applied - encoded


def real(folder: Path) -> list[Row]:
    """Pairs of files, all their tensors as one message, and a message for each tensor. None if the files are not there."""
    paths = {name: folder / f"{name}.safetensors" for both in REAL for name in both}
    if not all(path.is_file() for path in paths.values()):
        return []
    files = {name: read_bf16(path) for name, path in paths.items()}
    rows = []
    for names in REAL:
        base, new = (files[name] for name in names)
        joined = pair(*(np.concatenate(list(one.values())) for one in (base, new)))
        single = sum(delta(base[name], new[name])["delta_bytes"] for name in base)
        rows.append({"base": names[0], "new": names[1], "tensors": len(base), **joined, "single_bytes": single})
    return rows


def read_bf16(path: Path) -> dict[str, np.ndarray]:
    """The bf16 tensors of a safetensors file by name, in the order in which they lie there."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    entries = {name: entry for name, entry in json.loads(raw[8 : 8 + length]).items() if name != "__metadata__"}
    chosen = sorted((entry["data_offsets"], name) for name, entry in entries.items() if entry["dtype"] == "BF16")
    return {name: np.frombuffer(raw, "<u2", (end - begin) // 2, 8 + length + begin) for (begin, end), name in chosen}


def shares(rows: Sequence[Row]) -> Iterator[float]:
    """Which part of the weights changes."""
    for row in rows:
        yield row["changes"] / row["words"]
