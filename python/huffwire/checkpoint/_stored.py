"""What a folder of a checkpoint holds: the names of its files, and its metadata."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import pickle
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import DEFAULT_SUFFIX
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex

import huffwire
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
        if not descriptors[0].startswith((_DESCRIPTOR, _DELTA_DESCRIPTOR)):
            raise huffwire.VersionError(
                f"{info.relative_path} was written by a newer huffwire; update the package"
            )
        try:
            fields = json.loads(descriptors[0][len(_DESCRIPTOR) :])
            for name in ("shape", "lengths", "deltas"):
                fields[name] = tuple(fields.get(name, ()))
            stored = cls(**fields)
            sound = stored._is_sound(info.length)
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


def _is_place(base: Any) -> bool:
    """Whether this can be the path from the folder of a checkpoint to its base."""
    return isinstance(base, str) and base != "" and "\0" not in base and not os.path.isabs(base)


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
