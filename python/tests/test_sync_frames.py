"""Process groups whose frames are damaged or end in the middle: every rank raises, and none waits for ever."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from pathlib import Path

import huffwire
import huffwire.distributed
import pytest
import ranks
import torch
import torch.distributed as dist
from huffwire.sync import Publisher, Subscriber, _frames
from test_sync import copies, model, same, step

# Which byte of a frame is changed: a byte of its header, or of what it holds.
PLACES = {"kind": 0, "length": 13, "content": None}
SECONDS = 6


def failing(rank: int, size: int, folder: str, prepare: Callable[[int], object]) -> list[str]:
    """Rank 0 publishes, and the second version fails; what each rank says then, and to the next version."""
    state = model()
    group = dist.group.WORLD
    follows = Publisher(group) if rank == 0 else Subscriber(group, model(rank))
    run = (lambda: follows.publish(state)) if rank == 0 else follows.update
    run()
    step(state, 1)
    kept = {} if rank == 0 else copies(follows.tensors)
    undo = prepare(rank)
    found = []
    for _ in range(2):
        try:
            run()
            found.append("well")
        except (huffwire.Error, KeyboardInterrupt) as error:
            found.append(f"{type(error).__name__}: {error}")
            assert rank == 0 or same(follows.tensors, kept)
        undo()
    assert found[1] != "well" or rank == 0 or same(follows.tensors, state)
    # Connections of a process that ends are closed: nobody may need that.
    (Path(folder) / str(rank)).touch()
    end = time.monotonic() + 10 * SECONDS
    while len(list(Path(folder).iterdir())) < size:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def damaging(rank: int, size: int, folder: str, culprit: int, place: int | None) -> list[str]:
    """What ``culprit`` sends is damaged once: the third frame, its header or what is behind it."""

    def prepare(rank: int) -> Callable[[], None]:
        pass_on, calls = _frames.Chain._pass_on, 0

        def damaged(chain: _frames.Chain, piece: torch.Tensor) -> None:
            nonlocal calls
            calls += 1
            if calls == (6 if place is None else 5):
                piece = piece.clone()
                piece[place or 0] ^= 1
            pass_on(chain, piece)

        if rank == culprit:
            _frames.Chain._pass_on = damaged
        return lambda: setattr(_frames.Chain, "_pass_on", pass_on)

    return failing(rank, size, folder, prepare)


@pytest.mark.parametrize(
    ("culprit", "place"), [(0, "kind"), (0, "length"), (1, "length"), (1, "content")]
)
def test_damaged_frames(tmp_path: Path, culprit: int, place: str) -> None:
    arguments = str(tmp_path), culprit, PLACES[place]
    found = ranks.run(damaging, 3, *arguments, seconds=SECONDS, limit=20 * SECONDS)
    firsts, seconds = zip(*found, strict=True)
    if place == "content":
        # Who got it says so, and all go on.
        for rank, text in enumerate(firsts):
            assert text.startswith("DamagedError: a frame was changed") == (rank > culprit), found
        assert seconds == ("well", "well", "well")
    else:
        for rank, text in enumerate(firsts):
            assert text.startswith("DamagedError: the header" if rank > culprit else "PeerError"), found
        assert all(text.startswith("PeerError: the ranks are out of step") for text in seconds)


def interrupted(rank: int, size: int, folder: str, culprit: int) -> list[str]:
    """A rank is interrupted in the middle of a frame, by Ctrl-C for example."""

    def prepare(rank: int) -> Callable[[], None]:
        name = "_send_piece" if rank == 0 else "_receive_piece"
        whole, calls = getattr(_frames.Chain, name), 0

        def ends(chain: _frames.Chain, *arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == 6:
                raise KeyboardInterrupt
            return whole(chain, *arguments)

        if rank == culprit:
            setattr(_frames.Chain, name, ends)
        return lambda: setattr(_frames.Chain, name, whole)

    return failing(rank, size, folder, prepare)


@pytest.mark.parametrize("culprit", [0, 1])
def test_a_rank_that_is_interrupted_tells_those_behind_it(tmp_path: Path, culprit: int) -> None:
    arguments = str(tmp_path), culprit
    found = ranks.run(interrupted, 3, *arguments, seconds=SECONDS, limit=20 * SECONDS)
    for rank, (first, second) in enumerate(found):
        if rank == culprit:
            assert first.startswith("KeyboardInterrupt")
        elif rank > culprit:
            assert first.startswith("PeerError: a rank before this one failed"), found
        else:
            assert first.startswith("PeerError"), found
        assert second.startswith("PeerError: the ranks are out of step"), found


def copying(rank: int, size: int) -> tuple[int, int]:
    """How much memory of Python's own a frame of several pieces takes: to send it, and to receive it."""
    chain = _frames.Chain(dist.group.WORLD, publishes=True)
    pieces: deque[torch.Tensor] = deque()
    chain._pass_on = pieces.append
    payload = os.urandom(3 * _frames._PIECE + 7)
    tracemalloc.start()
    chain.send(_frames.Kind.WHOLE, payload)
    sending = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    chain._pass_on = id
    dist.recv = lambda piece, **_: piece.copy_(pieces.popleft())
    frame = chain.receive()
    receiving = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frame.kind is _frames.Kind.WHOLE and frame.payload == payload
    return sending, receiving


def test_pieces_are_copied_once() -> None:
    """A piece is copied into the tensor that is sent, and from the one that arrived to where the frame is."""
    ((sending, receiving),) = ranks.run(copying, 1, seconds=60)
    assert sending < _frames._PIECE / 2
    # A growing bytearray has an eighth of room.
    assert receiving < 3.6 * _frames._PIECE
