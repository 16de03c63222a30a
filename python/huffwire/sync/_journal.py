"""A journal: what tensors in shared memory are, whenever the process that writes to them is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from huffwire._disk import system_errors
from huffwire._errors import DamagedError, MismatchError, WrongBaseError
from huffwire._torch_deltas import content_hash
from huffwire.sync._follower import Follower, Prepared
from huffwire.sync._live import Scatter, Whole, Write, as_words
from huffwire.sync._manifest import sealed, unsealed
from huffwire.sync._versions import Item, item_of
from huffwire.torch import load_file, safe_open, save

_STATE = "state.json"
_REDO = "redo.hw"
_KEY = "huffwire.sync"
# Files until they are whole.
_UNNAMED = ".unfinished"


class _State(NamedTuple):
    """What tensors are, or are going to be."""

    run: str
    version: int
    items: dict[str, Item]
    hashes: dict[str, str]
    """The `huffwire.content_hash` of each item that has memory of its own here, in the order of what is written."""

    def to_json(self) -> str:
        """The state as a line of text."""
        items = [list(item) for item in self.items.values()]
        return json.dumps({**self._asdict(), "items": items})

    @classmethod
    def from_json(cls, line: str | bytes, path: Path) -> _State:
        """A state that `to_json` has written to a file.

        Raises:
            DamagedError: It is none.
        """
        try:
            found: dict[str, Any] = json.loads(line)
            items = {item.key: item for item in map(item_of, found["items"])}
            hashes = {key: str(hash) for key, hash in found["hashes"].items()}
            return cls(str(found["run"]), int(found["version"]), items, hashes)
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedError(f"{path} is damaged: {error!r}") from error


class Journal:
    """A folder with the version of the tensors, and with the changes that are being written.

    Changes are stored before the first of them is written, and removed when all are: a process that is started again
    writes them once more, if the tensors are those that they were made for. They are values, not differences, so it
    does not matter which of them were written before.

    Files get their names when they are whole, but nothing is brought to the disk (fsync): what a process has written,
    the system keeps when the process ends. Only the end of the machine loses it, and with it shared memory is lost as
    well. Tensors that have outlived it, in mapped files, are compared with their hashes.

    Args:
        folder: A folder of this subscriber alone.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        with system_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.glob(f"*{_UNNAMED}"):
                # A process was killed while it wrote it.
                path.unlink(missing_ok=True)

    def recover(self, follower: Follower) -> tuple[str, int] | None:
        """Ends what an earlier process began; returns the run and the version that the tensors then are. None if they
        are of no version that the journal knows: a keyframe is loaded then.

        Raises:
            DamagedError: The journal is damaged: remove its folder, and a keyframe is loaded.
            WrongBaseError: The tensors are not those of the journal. Nothing was written.
            MismatchError: They have other names, types or shapes.
        """
        redo, path = self._folder / _REDO, self._folder / _STATE
        try:
            if redo.exists():
                state, prepared = self._read(redo, follower)
                follower.commit(prepared)
                self._done(state)
                return state.run, state.version
            if not path.exists():
                return None
            with system_errors():
                line = unsealed(path.read_bytes(), str(path))
            state = _State.from_json(line, path)
            return (state.run, state.version) if _are_these(follower, state) else None
        except DamagedError as error:
            raise DamagedError(f"{error}; remove {self._folder}, and a keyframe is loaded") from error

    def _read(self, redo: Path, follower: Follower) -> tuple[_State, Prepared]:
        """What was being written, and the changes, of which each was tried on a copy of its tensor."""
        with safe_open(redo) as file:
            metadata = file.metadata() or {}
        state = _State.from_json(metadata.get(_KEY, ""), redo)
        tensors = load_file(redo)
        if {name.partition(".")[0] for name in tensors} != set(map(str, range(len(state.hashes)))):
            raise DamagedError(f"{redo} has changes of other tensors than it names")
        targets = follower.targets(state.items)
        writes: list[tuple[str, Write]] = []
        for number, (key, hash) in enumerate(state.hashes.items()):
            if key not in targets:
                raise WrongBaseError(
                    f"{redo} has changes of {key!r}, and no tensor is here for them: give the tensors that the journal "
                    f"was made with, or remove {self._folder}"
                )
            tensor = targets[key].tensor
            copy = tensor.detach().to("cpu", copy=True)
            try:
                _write(tensors, number, copy).write()
            except (KeyError, RuntimeError, IndexError, ValueError, TypeError) as error:
                raise DamagedError(f"{redo} is damaged, or {key!r} is another tensor: {error}") from error
            # Whichever changes were written before: with all of them it is the tensor of this version, or it was
            # another one.
            if content_hash(copy) != hash:
                raise WrongBaseError(
                    f"{key!r} is not the tensor whose changes {redo} has: it is another one, or somebody wrote to it. "
                    f"Nothing was written. Remove {self._folder}, and a keyframe is loaded"
                )
            writes.append((key, _write(tensors, number, tensor)))
        return state, Prepared(state.items, writes, state.hashes, follower.tensors)

    def begin(self, prepared: Prepared, run: str, version: int) -> None:
        """Stores what is going to be written."""
        state = _State(run, version, dict(prepared.items), dict(prepared.hashes))
        tensors = {
            f"{number}.{part}": tensor
            for number, (key, write) in enumerate(prepared.writes)
            for part, tensor in _stored(key, write).items()
        }
        self._store(_REDO, save(tensors, {_KEY: state.to_json()}))

    def done(
        self, run: str, version: int, items: Mapping[str, Item], hashes: Mapping[str, str]
    ) -> None:
        """Says that the tensors are of this version, and what they are then."""
        self._done(_State(run, version, dict(items), dict(hashes)))

    def _done(self, state: _State) -> None:
        self._store(_STATE, sealed(state.to_json()))
        with system_errors():
            (self._folder / _REDO).unlink(missing_ok=True)

    def forget(self) -> None:
        """Says that the tensors are of no version, from now on until `done`."""
        with system_errors():
            for name in (_REDO, _STATE):
                (self._folder / name).unlink(missing_ok=True)

    def _store(self, name: str, data: bytes) -> None:
        """Writes a file, which gets its name when it is whole."""
        unnamed = self._folder / f"{name}{_UNNAMED}"
        with system_errors():
            try:
                unnamed.write_bytes(data)
                unnamed.replace(self._folder / name)
            finally:
                # Where the disk is full, a part of it must not take room.
                unnamed.unlink(missing_ok=True)


def _are_these(follower: Follower, state: _State) -> bool:
    """Whether the tensors are those of a version. Memory may not have outlived what the journal did, or is new."""
    try:
        targets = follower.targets(state.items)
    except MismatchError:
        return False
    tensors = {key: one.tensor for key, one in targets.items() if one.first == key}
    return tensors.keys() == state.hashes.keys() and all(
        content_hash(tensor) == state.hashes[key] for key, tensor in tensors.items()
    )


def _stored(key: str, write: Write) -> dict[str, torch.Tensor]:
    """What is stored of a change, for `_write`."""
    if isinstance(write, Scatter):
        return {"indices": write.indices.cpu(), "values": write.values.cpu()}
    if isinstance(write, Whole):
        return {"whole": as_words(write.new).cpu().contiguous()}
    raise AssertionError(f"the changes of {key!r} were not listed, and a journal can store no others")


def _write(tensors: Mapping[str, torch.Tensor], number: int, tensor: torch.Tensor) -> Write:
    """A stored change, which is written to a tensor."""
    whole = tensors.get(f"{number}.whole")
    if whole is not None:
        return Whole(tensor, whole.view(tensor.dtype).view(tensor.shape))
    return Scatter(tensor, tensors[f"{number}.indices"], tensors[f"{number}.values"])
