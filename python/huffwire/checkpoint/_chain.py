"""Chains of checkpoints: each but the first one is a delta of the one before it, its base."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.metadata import Metadata

import huffwire
from huffwire._files import can_be_name

# Of checkpoints as of `.hw` files: each delta is read while those behind it wait, on one stack.
from huffwire._huffwire import MAX_CHAIN
from huffwire.checkpoint._stored import _metadata_name, _read_metadata, _Values

#: What the system says of names that lead nowhere, besides that nothing is there.
_NOWHERE = (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

#: What a caller gives as the folder of a checkpoint.
Folder = str | os.PathLike[str]


def _folder_of(base: Any) -> Path:
    """The folder that `base=` names.

    Raises:
        OptionError: It names none.
    """
    try:
        name = os.fspath(base)
    except TypeError:
        name = None
    if not can_be_name(name):
        raise huffwire.OptionError(f"base={base!r}: give the folder of a checkpoint")
    return Path(name)


def _folders_of(base: Folder | Iterable[Folder] | None) -> list[Path]:
    """The folders that `base=` names, the oldest first.

    Raises:
        OptionError: It names none.
    """
    if base is None:
        return []
    if isinstance(base, (str, bytes, os.PathLike)) or not isinstance(base, Iterable):
        return [_folder_of(base)]
    folders = [_folder_of(folder) for folder in base]
    if not folders:
        raise huffwire.OptionError("base=[]: name at least one folder, or leave base= out")
    return folders


def _real(folder: Path) -> Path:
    """The folder without symbolic links on the way to it."""
    return Path(os.path.realpath(folder))


def _is_same(a: Path, b: Path) -> bool:
    """Whether two paths lead to one folder."""
    if _real(a) == _real(b):
        return True
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def _path_between(folder: Path, base: Path) -> str:
    """The path from the folder of a checkpoint to its base. Links on the way do not count: they may change."""
    return os.path.relpath(_real(base), _real(folder))


def _place_of(folder: Path, name: str) -> Path:
    """Where a base lies whose path from `folder` is `name`."""
    there = _real(_real(folder) / name)
    # A checkpoint that was moved, and has a link in its old place, may have left its base behind.
    beside = Path(os.path.normpath(folder.absolute() / name))
    return beside if os.path.isdir(beside) and not os.path.isdir(there) else there


def _metadata_of(folder: Path, rank: int | None, named_by: str) -> Metadata:
    """The metadata of a base.

    Args:
        folder: Where it lies.
        rank: The rank whose metadata these are, in a checkpoint without a coordinator.
        named_by: Who says that it lies there: "base=", or the folder of the checkpoint that is a delta of it.

    Raises:
        MissingBaseError: It is not there.
        FileError: The system refuses to read it.
        DamagedError: It is damaged.
    """
    try:
        return _read_metadata(folder / _metadata_name(rank))
    except huffwire.FileError as error:
        is_missing = isinstance(error, huffwire.MissingFileError)
        if not is_missing and getattr(error.__cause__, "errno", None) not in _NOWHERE:
            raise
        reason = str(error)
    # Unlike the methods of paths these functions raise nothing for names that are too long.
    if os.path.isfile(folder):
        reason = f"{folder} is a file, and checkpoints are folders"
    elif is_missing and not os.path.exists(folder):
        reason = "there is no such folder"
    elif os.path.exists(folder / _metadata_name(None if rank is not None else 0)):
        reason = (
            "it was saved with use_collectives="
            f"{rank is not None}, and can only be the base of such checkpoints"
        )
    if named_by == "base=":
        raise huffwire.MissingBaseError(
            f"base={str(folder)!r} is no checkpoint that deltas can be made of: {reason}"
        )
    raise huffwire.MissingBaseError(
        f"{named_by} is a delta of the checkpoint {folder}, which is not there: restore it, or give base= to the "
        f"reader if it was moved ({reason})"
    )


def _check_length(folder: Path, behind: tuple[Path, ...]) -> None:
    """Refuses a base that leads in a circle, or too far; `behind` has the real folders of those that led to it.

    Raises:
        DamagedError: It is one of them.
        LimitError: They are too many.
    """
    if _real(folder) in behind:
        raise huffwire.DamagedError(f"the checkpoint {folder} says that it is a delta of itself")
    if len(behind) > MAX_CHAIN:
        raise huffwire.LimitError(
            f"{behind[0]}: a chain of more than {MAX_CHAIN} checkpoints that are deltas, and no more are read through "
            "at a time; load an earlier one, save it without base=, and save later ones against that"
        )


def _check_other(base: Path, output: Path) -> None:
    """Refuses a base in the folder that is written.

    Raises:
        OptionError: It is that folder.
    """
    if _is_same(base, output):
        raise huffwire.OptionError(
            f"base={str(base)!r} is the folder that is written: its checkpoint would be replaced, and could not be "
            "the base any more; save to another folder"
        )


def _check_base(base: Path, output: Path, rank: int | None) -> dict[Path, _Values]:
    """Refuses a base that the checkpoint in the folder `output` cannot have.

    Returns:
        The values of each checkpoint of the chain, by its folder without symbolic links.

    Raises:
        OptionError: The base, or one that it needs in turn, is what is replaced.
        LimitError: The chain would become too long.
        MissingBaseError: A checkpoint of the chain is not there.
        DamagedError: The metadata of one are damaged.
    """
    _check_other(base, output)
    links: dict[Path, _Values] = {}
    deltas: dict[Path, int] = {}

    def follow(folder: Path, named_by: str, behind: tuple[Path, ...]) -> int:
        """How many deltas of each other end in this folder."""
        _check_length(folder, behind)
        real = _real(folder)
        if real not in deltas:
            if behind and _is_same(folder, output):
                raise huffwire.OptionError(
                    f"base={str(base)!r} needs the checkpoint in {output}, which is the folder that is written: it "
                    "would be replaced, and both could not be read any more; save to another folder"
                )
            links[real] = _Values(_metadata_of(folder, rank, named_by).storage_data)
            places = {_place_of(folder, name) for name in links[real].bases()}
            deltas[real] = max(
                (1 + follow(place, str(folder), (*behind, real)) for place in places), default=0
            )
        return deltas[real]

    if follow(base, "base=", ()) >= MAX_CHAIN:
        raise huffwire.LimitError(
            f"base={str(base)!r} ends a chain of {MAX_CHAIN} checkpoints that are deltas, and no more are read through "
            "at a time; save this one without base=, and later ones against it"
        )
    return links
