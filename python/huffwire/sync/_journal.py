"""A journal: what tensors in shared memory are, whenever the process that writes to them is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from huffwire._disk import sync_folder, system_errors
from huffwire._errors import DamagedError, MismatchError, MissingFileError, WrongBaseError
from huffwire._torch_deltas import content_hash
from huffwire.sync._follower import Follower, Prepared
from huffwire.sync._live import Scatter, Whole, Write, as_words
from huffwire.sync._manifest import sealed, unsealed
from huffwire.sync._storage import write_file
from huffwire.sync._versions import Item, item_of
from huffwire.torch import load_file, safe_open, save_file

_STATE = "state.json"
_REDO = "redo.hw"
_KEY = "huffwire.sync"


class Journal:
    """A folder with the version of the tensors, and with the changes that are being written.

    Changes are stored before the first of them is written, and removed when all are: a process that is started again
    writes them once more, if the tensors are those that they were made for. They are values, not differences, so it
    does not matter which of them were written before.

    Args:
        folder: A folder of this subscriber alone.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        with system_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.glob(".huffwire-*.partial"):
                # A process was killed while it stored changes.
                path.unlink(missing_ok=True)

    def recover(self, follower: Follower) -> tuple[str, int] | None:
        """Ends what an earlier process began; returns the run and the version that the tensors then are. None if they
        are of no version that the journal knows: a keyframe is loaded then.

        Raises:
            DamagedError: The journal is damaged: remove its folder, and a keyframe is loaded.
            WrongBaseError: The tensors are not those of the journal. Nothing was written.
            MismatchError: They have other names, types or shapes.
        """
        redo = self._folder / _REDO
        if redo.exists():
            run, version, prepared = self._read(redo, follower)
            follower.commit(prepared)
            self.done(run, version, prepared.items, prepared.hashes)
            return run, version
        try:
            with system_errors():
                found = json.loads(unsealed((self._folder / _STATE).read_bytes(), _STATE))
        except MissingFileError:
            return None
        try:
            run, version, hashes = str(found["run"]), int(found["version"]), dict(found["hashes"])
            items = {item.key: item for item in map(item_of, found["items"])}
        except (KeyError, ValueError, TypeError) as error:
            raise DamagedError(
                f"{self._folder / _STATE} is damaged: {error!r}; remove {self._folder}"
            ) from error
        return (run, version) if _are_these(follower, items, hashes) else None

    def _read(self, redo: Path, follower: Follower) -> tuple[str, int, Prepared]:
        """What was being written: run and version, and the changes, of which each was tried on a copy of its tensor."""
        with safe_open(redo) as file:
            metadata = file.metadata() or {}
        try:
            about = json.loads(metadata[_KEY])
            run, version, hashes = str(about["run"]), int(about["version"]), about["hashes"]
            items = {item.key: item for item in map(item_of, about["items"])}
            stored = [(key, str(hashes[key])) for key in about["written"]]
        except (KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
            raise DamagedError(f"{redo} is damaged: {error!r}; remove {self._folder}") from error
        tensors = load_file(redo)
        targets = follower.targets(items)
        writes: list[tuple[str, Write]] = []
        for number, (key, hash) in enumerate(stored):
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
                raise DamagedError(
                    f"{redo} is damaged, or {key!r} is another tensor: {error}; remove {self._folder}"
                ) from error
            # Whichever changes were written before: with all of them it is the tensor of this version, or it was
            # another one.
            if content_hash(copy) != hash:
                raise WrongBaseError(
                    f"{key!r} is not the tensor whose changes {redo} has: it is another one, or somebody wrote to it. "
                    f"Nothing was written. Remove {self._folder}, and a keyframe is loaded"
                )
            writes.append((key, _write(tensors, number, tensor)))
        return run, version, Prepared(items, writes, dict(stored), follower.tensors)

    def begin(self, prepared: Prepared, run: str, version: int) -> None:
        """Stores what is going to be written."""
        tensors: dict[str, torch.Tensor] = {}
        for number, (_, write) in enumerate(prepared.writes):
            if isinstance(write, Scatter):
                tensors[f"{number}.indices"] = write.indices.cpu()
                tensors[f"{number}.values"] = write.values.cpu()
            elif isinstance(write, Whole):
                tensors[f"{number}.whole"] = as_words(write.new).cpu().contiguous()
        about = {
            "run": run,
            "version": version,
            "items": [list(item) for item in prepared.items.values()],
            "written": [key for key, _ in prepared.writes],
            "hashes": dict(prepared.hashes),
        }
        save_file(tensors, self._folder / _REDO, {_KEY: json.dumps(about)})
        with system_errors():
            sync_folder(self._folder)

    def done(
        self, run: str, version: int, items: Mapping[str, Item], hashes: Mapping[str, str]
    ) -> None:
        """Says that the tensors are of this version, and what they are then."""
        state = {
            "run": run,
            "version": version,
            "items": [list(item) for item in items.values()],
            "hashes": dict(hashes),
        }
        unnamed = self._folder / f"{_STATE}.tmp"
        write_file(unnamed, sealed(json.dumps(state)))
        with system_errors():
            unnamed.replace(self._folder / _STATE)
            sync_folder(self._folder)
            (self._folder / _REDO).unlink(missing_ok=True)

    def forget(self) -> None:
        """Says that the tensors are of no version, from now on until `done`."""
        with system_errors():
            for name in (_REDO, _STATE):
                (self._folder / name).unlink(missing_ok=True)
            sync_folder(self._folder)


def _are_these(follower: Follower, items: Mapping[str, Item], hashes: Mapping[str, str]) -> bool:
    """Whether the tensors are those of a version. Memory may not have outlived what the journal did, or is new."""
    try:
        targets = follower.targets(items)
    except MismatchError:
        return False
    tensors = {key: one.tensor for key, one in targets.items() if one.first == key}
    return tensors.keys() == hashes.keys() and all(
        content_hash(tensor) == hashes[key] for key, tensor in tensors.items()
    )


def _write(tensors: Mapping[str, torch.Tensor], number: int, tensor: torch.Tensor) -> Write:
    """A stored change, which is written to a tensor."""
    whole = tensors.get(f"{number}.whole")
    if whole is not None:
        return Whole(tensor, whole.view(tensor.dtype).view(tensor.shape))
    return Scatter(tensor, tensors[f"{number}.indices"], tensors[f"{number}.values"])
