"""A journal: what tensors in shared memory are, whenever the process that writes to them is killed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from huffwire._disk import sync_folder, system_errors
from huffwire._errors import DamagedError, MissingFileError
from huffwire.sync._follower import Follower, Prepared
from huffwire.sync._live import Scatter, Whole, as_words
from huffwire.sync._manifest import sealed, unsealed
from huffwire.sync._storage import write_file
from huffwire.sync._versions import Item
from huffwire.torch import load_file, safe_open, save_file

_STATE = "state.json"
_REDO = "redo.hw"
_KEY = "huffwire.sync"


class Journal:
    """A folder with the version of the tensors, and with the changes that are being written.

    Changes are stored before the first of them is written, and removed when all are: a process that is started again
    writes them once more. They are values, not differences, so it does not matter which of them were written before.

    Args:
        folder: A folder of this subscriber alone.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        with system_errors():
            self._folder.mkdir(parents=True, exist_ok=True)

    def recover(self, follower: Follower) -> tuple[str, int] | None:
        """Ends what an earlier process began; returns the run and the version that the tensors then are, if known.

        Raises:
            DamagedError: The journal is damaged: remove its folder, and a keyframe is loaded.
            MismatchError: The tensors are not those of the journal.
        """
        redo = self._folder / _REDO
        if redo.exists():
            with safe_open(redo) as file:
                metadata = file.metadata() or {}
            try:
                about = json.loads(metadata[_KEY])
                run, version = str(about["run"]), int(about["version"])
                items = [
                    Item(key, name, None if rows is None else (rows[0], rows[1]), dtype, tuple(shape))
                    for key, name, rows, dtype, shape in about["items"]
                ]
                written = list(map(str, about["written"]))
            except (KeyError, ValueError, TypeError, IndexError) as error:
                raise DamagedError(f"{redo} is damaged: {error!r}; remove {self._folder}") from error
            self._write_again(follower, items, written, load_file(redo))
            self.done(run, version)
        try:
            with system_errors():
                found = json.loads(unsealed((self._folder / _STATE).read_bytes(), _STATE))
        except MissingFileError:
            return None
        return found["run"], found["version"]

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
        }
        save_file(tensors, self._folder / _REDO, {_KEY: json.dumps(about)})
        with system_errors():
            sync_folder(self._folder)

    def done(self, run: str, version: int) -> None:
        """Says that the tensors are of this version."""
        unnamed = self._folder / f"{_STATE}.tmp"
        write_file(unnamed, sealed(json.dumps({"run": run, "version": version})))
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

    def _write_again(
        self,
        follower: Follower,
        items: list[Item],
        written: list[str],
        tensors: dict[str, torch.Tensor],
    ) -> None:
        targets = follower.targets({item.key: item for item in items})
        for number, key in enumerate(written):
            tensor = targets[key].tensor
            whole = tensors.get(f"{number}.whole")
            if whole is not None:
                Whole(tensor, whole.view(tensor.dtype).view(tensor.shape)).write()
            else:
                Scatter(tensor, tensors[f"{number}.indices"], tensors[f"{number}.values"]).write()
