"""The folder of a stream: a folder for each version, its index, and its files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from huffwire import _huffwire
from huffwire._disk import system_errors
from huffwire._errors import DamagedError, MismatchError, MissingFileError, UnsupportedError
from huffwire._files import _MAX_INDEX_BYTES, INDEX, _weight_map

ENCODINGS = ("xor", "overwrite")
CHECKSUMS = ("xxh3-128", "adler32")
COMPRESSION = "zstd"

_FOLDER = re.compile(r"weight_v(\d{6,})")
_FILE_ENDING = ".safetensors"
# The most bytes that the header of a safetensors file may have: the limit of the safetensors library.
_MAX_HEADER_BYTES = 100_000_000


def version_folder(folder: Path, version: int) -> Path:
    """The folder of a version."""
    return folder / f"weight_v{version:06d}"


def published(folder: Path) -> list[int]:
    """The versions that a folder holds, in order."""
    versions = []
    with system_errors(), os.scandir(folder) as entries:
        for entry in entries:
            match = _FOLDER.fullmatch(entry.name)
            # A number with more digits than it needs is none of theirs.
            if match and entry.name == f"weight_v{int(match[1]):06d}" and entry.is_dir():
                versions.append(int(match[1]))
    return sorted(versions)


class Index(NamedTuple):
    """What the index of a version says."""

    version: int
    base_version: int
    encoding: str
    checksum: str
    files: dict[str, str]
    """The file of each tensor that changed."""

    def to_json(self) -> bytes:
        """The content of the file."""
        metadata = {
            "version": f"{self.version:06d}",
            "base_version": f"{self.base_version:06d}",
            "delta_encoding": self.encoding,
            "compression_format": COMPRESSION,
            "checksum_format": self.checksum,
        }
        return json.dumps({"metadata": metadata, "weight_map": self.files}).encode()


def read_index(folder: Path, version: int) -> Index | None:
    """The index of a delta; None if the version is a whole checkpoint.

    Raises:
        MissingFileError: The version is not there.
        DamagedError: Its index is damaged.
        MismatchError: Its index belongs to another version.
        UnsupportedError: It is encoded, compressed or checked in a way that this package does not know.
    """
    place = version_folder(folder, version)
    if not place.is_dir():
        raise MissingFileError(f"{place}: this version is not there")
    path = place / INDEX
    try:
        content = _read(path, _MAX_INDEX_BYTES)
    except MissingFileError:
        return None
    try:
        metadata = json.loads(content).get("metadata", {})
        is_delta = "delta_encoding" in metadata
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path}: this is not an index of a model: {error}") from None
    if not is_delta:
        return None
    files = _weight_map(str(path), content)
    texts = {name: _text(path, metadata, name) for name in _KEYS}
    index = Index(
        _number(path, texts, "version"),
        _number(path, texts, "base_version"),
        texts["delta_encoding"],
        texts["checksum_format"],
        files,
    )
    known = {
        "compression_format": (COMPRESSION,),
        "delta_encoding": ENCODINGS,
        "checksum_format": CHECKSUMS,
    }
    for name, values in known.items():
        if texts[name] not in values:
            raise UnsupportedError(
                f"{path}: {name} is {texts[name]!r}, and only {' and '.join(values)} are supported: "
                "ask the publisher for one of these"
            )
    if index.version != version:
        raise MismatchError(f"{path}: it says that this is version {index.version}")
    return index


_KEYS = ("version", "base_version", "delta_encoding", "compression_format", "checksum_format")


def _text(path: Path, metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name)
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise DamagedError(f"{path}: its metadata have no {name}")
    return str(value)


def _number(path: Path, texts: Mapping[str, str], name: str) -> int:
    text = texts[name]
    # `int` takes signs, spaces and other alphabets, too.
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise DamagedError(f"{path}: {name} is {text!r}, which is no number of a version")
    return int(text)


class Stored(NamedTuple):
    """A tensor in a safetensors file."""

    name: str
    dtype: str | None
    """huffwire's name of its type."""
    spelled: str
    """Its type as the file spells it."""
    shape: tuple[int, ...]
    start: int
    """Where its bytes begin in the file."""
    end: int


def read_header(path: Path) -> tuple[dict[str, str], list[Stored]]:
    """The metadata and the tensors of a safetensors file, whose size fits.

    Raises:
        FileError: It cannot be read.
        DamagedError: It is no whole safetensors file.
    """
    with system_errors(), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        return _parse(path, head + file.read(_header_bytes(path, head, size)), size)


def _header_bytes(path: Path, start: bytes | memoryview, size: int) -> int:
    """How long the header of a file of so many bytes is, by the first 8."""
    length = int.from_bytes(start[:8], "little")
    if size < 8 or length > _MAX_HEADER_BYTES or 8 + length > size:
        raise DamagedError(f"{path}: this is no safetensors file, or it is cut short")
    return length


def _parse(
    path: Path, head: bytes | memoryview, size: int
) -> tuple[dict[str, str], list[Stored]]:
    metadata, described = _huffwire._parse_safetensors_header(str(path), head)
    data = len(head)
    tensors = [
        Stored(name, dtype, spelled, tuple(shape), data + start, data + end)
        for name, spelled, dtype, shape, start, end in described
    ]
    expected = tensors[-1].end if tensors else data
    if expected != size:
        raise DamagedError(f"{path}: it has {size} bytes, and should have {expected}")
    return metadata, tensors


def files_of(folder: Path, version: int) -> list[Path]:
    """The safetensors files of a version, sorted."""
    place = version_folder(folder, version)
    with system_errors():
        return sorted(place / name for name in os.listdir(place) if name.endswith(_FILE_ENDING))


class Patch(NamedTuple):
    """What changes in a tensor."""

    name: str
    content: memoryview
    checksum: str
    """Of the tensor that it makes."""


def read_patches(folder: Path, index: Index, room: int) -> list[Patch]:
    """The patches of a version, whose files have at most `room` bytes besides their headers.

    Raises:
        FileError: A file cannot be read.
        DamagedError: Files and index contradict each other.
    """
    place = version_folder(folder, index.version)
    patches = []
    found: dict[str, str] = {}
    for name in sorted(set(index.files.values())):
        if not (place / name).is_file():
            raise MissingFileError(f"{place / name}: the index names this file, and it is not there")
    for path in files_of(folder, index.version):
        content = memoryview(_read(path, _MAX_HEADER_BYTES + room))
        head = content[: 8 + _header_bytes(path, content, len(content))]
        checksums, tensors = _parse(path, head, len(content))
        for tensor in tensors:
            if tensor.name in found:
                raise DamagedError(f"{path}: tensor {tensor.name!r} is in another file, too")
            if tensor.name not in checksums:
                raise DamagedError(f"{path}: tensor {tensor.name!r} has no checksum")
            found[tensor.name] = path.name
            piece = content[tensor.start : tensor.end]
            patches.append(Patch(tensor.name, piece, checksums[tensor.name]))
    if found != index.files:
        names = sorted(dict(found.items() ^ index.files.items()))
        raise DamagedError(f"{place}: index and files contradict each other about {names[0]!r}")
    return patches


def _read(path: Path, limit: int) -> bytes:
    with system_errors(), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise DamagedError(f"{path}: it has {size} bytes, and {limit} are the most that it can need")
        content = file.read(size)
    if len(content) != size:
        raise DamagedError(f"{path}: the file became shorter")
    return content
