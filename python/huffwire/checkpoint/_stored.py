"""What a folder of a checkpoint holds: the names of its files, and its metadata."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
import pickle
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.distributed.checkpoint.filesystem import DEFAULT_SUFFIX
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex

import huffwire
from huffwire._files import can_be_name
from huffwire._roles import Report, Share

_METADATA = ".metadata"
# What transform descriptors of huffwire begin with. `FileSystemReader` then says that it does not
# know "huffwire", instead of taking a message for a pickle.
_DESCRIPTOR = "huffwire/1 "
# The same where messages are deltas.
_DELTA_DESCRIPTOR = "huffwire/2 "
# Behind the pickle in `.metadata`: this, and the CRC-32 and the length of the pickle. Unpicklers
# stop before it.
_SEAL = b"huffwire checkpoint 1\n"
_SEAL_BYTES = len(_SEAL) + 4 + 8
# `__<rank>_<number of the save>_<number of the file>.distcp`, and without the number of the save as
# torch writes it.
_DATA_FILE = re.compile(r"__(\d+)_(?:[0-9a-f]{16}_)?\d+" + re.escape(DEFAULT_SUFFIX))
_CODEBOOKS = re.compile(r"codebooks-[0-9a-f]{16}\.books")
_RANK_METADATA = re.compile(r"__\d+" + re.escape(_METADATA))


@dataclasses.dataclass(frozen=True)
class _Stored:
    """How a value lies in its file: messages of equal parts of its elements, in a row."""

    role: str
    #: The type of the elements, as `bfloat16`; None for a value that is no tensor.
    dtype: str | None
    shape: tuple[int, ...]
    #: Elements of each message but the last.
    piece: int
    #: Bytes of each message.
    lengths: tuple[int, ...]
    #: The id of the codebooks beside the built-in ones; they lie in the same folder.
    codebooks: str | None
    #: The numbers of the messages that are deltas, in order.
    deltas: tuple[int, ...] = ()
    #: The checkpoint that deltas were made of, as a path from the folder of this one.
    base: str | None = None

    def descriptor(self) -> str:
        fields = dataclasses.asdict(self)
        if not self.deltas:
            del fields["deltas"], fields["base"]
        begin = _DELTA_DESCRIPTOR if self.deltas else _DESCRIPTOR
        return begin + json.dumps(fields, separators=(",", ":"))

    @classmethod
    def of(cls, info: Any) -> _Stored | None:
        """What the storage information of an item says; None if huffwire did not write it."""
        descriptors: Sequence[str] = getattr(info, "transform_descriptors", None) or ()
        if len(descriptors) != 1 or not descriptors[0].startswith("huffwire/"):
            return None
        is_delta = descriptors[0].startswith(_DELTA_DESCRIPTOR)
        if not is_delta and not descriptors[0].startswith(_DESCRIPTOR):
            raise huffwire.VersionError(
                f"{info.relative_path} was written by a newer huffwire; update the package"
            )
        try:
            fields = json.loads(descriptors[0][len(_DESCRIPTOR) :])
            for name in ("shape", "lengths", "deltas"):
                fields[name] = tuple(fields.get(name, ()))
            stored = cls(**fields)
            sound = stored._is_sound(info.length) and bool(stored.deltas) == is_delta
        except (ValueError, TypeError, AttributeError, RecursionError):
            sound = False
        if not sound:
            raise huffwire.DamagedError(
                f"{info.relative_path}: the metadata contradict themselves; restore {_METADATA}"
            )
        return stored

    def _is_sound(self, length: int) -> bool:
        """Whether the fields are of their types, and agree with each other and with the length in the file."""
        numbers = (self.piece, *self.shape, *self.lengths, *self.deltas)
        if not all(type(number) is int and number >= 0 for number in numbers):
            return False
        pieces = -(-math.prod(self.shape) // self.piece) if self.piece > 0 else -1
        return (
            pieces == len(self.lengths)
            and sum(self.lengths) == length
            and all(number < pieces for number in self.deltas)
            and isinstance(self.role, str)
            and (self.codebooks is None or isinstance(self.codebooks, str))
            and (self.dtype is None or isinstance(getattr(torch, self.dtype, None), torch.dtype))
            and (not self.deltas or _is_place(self.base))
        )

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype) if self.dtype else torch.uint8

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.torch_dtype.itemsize


class _Value(NamedTuple):
    """A stored value: where it lies in its folder, and how."""

    #: Its storage information in the metadata.
    info: Any
    stored: _Stored
    #: Where each message begins in the file, and where the last one ends.
    starts: tuple[int, ...]
    #: The numbers of the messages that are deltas.
    deltas: frozenset[int]


class _Values:
    """The values of a checkpoint. The descriptor of each is read once, when the value is looked for.

    Args:
        storage: The storage information of each, from the metadata.
    """

    def __init__(self, storage: Mapping[MetadataIndex, Any] | None) -> None:
        self._storage = storage or {}
        self._found: dict[MetadataIndex, _Value] = {}

    def find(self, index: MetadataIndex) -> _Value | None:
        """The value of this name and place; None if there is none, or if huffwire did not write it.

        Raises:
            DamagedError: Its descriptor contradicts itself.
            VersionError: A newer huffwire wrote it.
        """
        # Threads that look for the same value at a time find the same.
        value = self._found.get(index)
        if value is None:
            info: Any = self._storage.get(index)
            stored = _Stored.of(info)
            if stored is None:
                return None
            starts = tuple(itertools.accumulate(stored.lengths, initial=info.offset))
            value = self._found[index] = _Value(info, stored, starts, frozenset(stored.deltas))
        return value

    def bases(self) -> set[str]:
        """The paths of the bases that values have.

        Raises:
            DamagedError: A descriptor contradicts itself.
        """
        # There may be millions of values, and nearly all have the same base. What follows the name of this field tells
        # which: of descriptors that end alike one is read. As `descriptor` writes the field last, these are few. Were
        # other fields behind it, more descriptors would be read, and the same bases found.
        unlike = {}
        for info in self._storage.values():
            for text in getattr(info, "transform_descriptors", None) or ():
                if text.startswith(_DELTA_DESCRIPTOR):
                    unlike[text.rpartition('"base":')[2]] = info
        found = (_Stored.of(info) for info in unlike.values())
        return {stored.base for stored in found if stored is not None and stored.base is not None}


def _is_place(base: Any) -> bool:
    """Whether this can be the path from the folder of a checkpoint to its base."""
    return can_be_name(base) and not os.path.isabs(base)


def _report_of(infos: Any, *, whole: bool) -> Report:
    parts = []
    for info in infos:
        stored = _Stored.of(info)
        if stored is not None:
            parts.append((stored.role, Share(1, stored.bytes, info.length)))
    return Report.of(parts, whole=whole)


def _read_metadata(path: Path) -> Metadata:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise huffwire.MissingFileError(
            f"{path.parent} holds no whole checkpoint: {path.name} is missing. A save "
            "still runs, or was interrupted"
        ) from None
    except OSError as error:
        raise huffwire.FileError(str(error)) from error
    except ValueError as error:  # of a name that no file can have
        raise huffwire.FileError(f"{str(path)!r}: {error}; give the folder of a checkpoint") from error
    seal = content[-_SEAL_BYTES:]
    pickled = memoryview(content)
    if seal.startswith(_SEAL):
        pickled = pickled[:-_SEAL_BYTES]
        checksum, length = seal[len(_SEAL) : -8], seal[-8:]
        if len(pickled) != int.from_bytes(length, "little") or zlib.crc32(
            pickled
        ) != int.from_bytes(checksum, "little"):
            raise huffwire.DamagedError(f"{path}: the checksum is wrong; restore the file")
    try:
        metadata = pickle.loads(pickled)
    except Exception as error:
        raise huffwire.DamagedError(f"{path} is damaged, or cut short: {error}") from error
    if not isinstance(metadata, Metadata):
        raise huffwire.DamagedError(
            f"{path} holds a {type(metadata).__name__}, and no metadata of a checkpoint"
        )
    if not seal.startswith(_SEAL) and any(
        _Stored.of(info) is not None for info in (metadata.storage_data or {}).values()
    ):
        raise huffwire.DamagedError(f"{path}: the checksum at its end is missing; restore the file")
    return metadata


def _place(file: str, index: MetadataIndex, piece: int) -> int:
    """The context of a message: 64 bits of a hash over its file, its tensor and its place there."""
    offset = None if index.offset is None else list(index.offset)
    place = json.dumps([file, index.fqn, offset, piece]).encode()
    return int.from_bytes(hashlib.blake2b(place, digest_size=8).digest(), "little")


def _codebooks_name(id: str) -> str:
    return f"codebooks-{id}.books"


def _metadata_name(rank: int | None) -> str:
    return _METADATA if rank is None else f"__{rank}{_METADATA}"
