"""Publishing: the class `Writer`."""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from huffwire import _huffwire
from huffwire._disk import naming, sync_folder, system_errors, write_all
from huffwire._errors import FileError, LockedError, MismatchError, OptionError
from huffwire._files import INDEX, PathLike
from huffwire.sync.disk_delta._layout import (
    CHECKSUMS,
    ENCODINGS,
    Index,
    published,
    version_folder,
)
from huffwire.sync.disk_delta._tensors import (
    PIECE_BYTES,
    Tensor,
    same,
    side_by_side,
    tensors_of,
    thread_count,
)

# Patches of about so many bytes become one file.
_FILE_BYTES = 1 << 30
# A folder that becomes the one of a version.
_STAGED = re.compile(r"\.weight_v([0-9]{6,18})\.[0-9a-f]{16}")


@dataclass(frozen=True)
class Published:
    """What `Writer` published.

    Attributes:
        version: Its number.
        folder: Its folder.
        whole: Whether it is a whole checkpoint.
        tensors: How many tensors have changed; of a whole checkpoint, how many there are.
        changed_bytes: Bytes of tensors that changed; of a whole checkpoint, all.
        total_bytes: Bytes of all tensors.
        file_bytes: Bytes of the files of tensors, without their headers.
    """

    version: int
    folder: Path
    whole: bool
    tensors: int
    changed_bytes: int
    total_bytes: int
    file_bytes: int


class _Change(NamedTuple):
    """What changed in a tensor."""

    name: str
    changed: int  # Bytes of it.
    patch: bytes
    size: int  # Bytes of the patch.
    checksum: str
    tensor: Tensor  # The copy that it was made of.


class Writer:
    """Publishes weights for engines that take them with ``POST /pull_weights``: SGLang's, as slime and others use it.

    Each version is a folder. It appears at once, when all its files are on the disk.

    Args:
        folder: Where versions are published; it is made if it is not there. What the engines call ``source_dir``.
        base: The tensors of the newest version there, by their names in the checkpoint. A copy is kept, and brought up
            to date with each version; while one is published, what changes is in memory once more. At first these are
            the tensors of the checkpoint that the engines start from, bit for bit.
        version: The number of that version; 0 is the engines' own checkpoint.
        encoding: ``"xor"``, or ``"overwrite"``, which is larger and may be applied twice.
        checksum: What engines compare: ``"xxh3-128"`` or ``"adler32"``.
        threads: How many tensors are worked on at a time; None as for `huffwire.encode`.

    Raises:
        MismatchError: The newest version in the folder is another one.
        UnsupportedError: Something is no tensor.
        OptionError: An option has a value that it cannot have.
        FileError: The system refused to read or write.

    >>> import numpy, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> writer = Writer(folder.name, {"a": numpy.zeros(1000, "float32")})
    >>> writer.publish({"a": numpy.ones(1000, "float32")}).folder.name
    'weight_v000001'
    """

    def __init__(
        self,
        folder: PathLike,
        base: Mapping[str, Any],
        *,
        version: int = 0,
        encoding: str = "xor",
        checksum: str = "xxh3-128",
        threads: int | None = None,
    ) -> None:
        if encoding not in ENCODINGS:
            raise OptionError(f"encoding={encoding!r}: give one of {', '.join(ENCODINGS)}")
        if checksum not in CHECKSUMS:
            raise OptionError(f"checksum={checksum!r}: give one of {', '.join(CHECKSUMS)}")
        self._threads = thread_count(threads)
        self._encoding, self._checksum = encoding, checksum
        self._folder = Path(folder)
        with system_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
        newest = max(published(self._folder), default=0)
        if newest != version:
            raise MismatchError(
                f"{self._folder}: the newest version there is {newest}, and version={version}: go on from that one "
                "with its tensors, or give an empty folder"
            )
        self._version = version
        self._remove_leftovers()
        self._snapshot = _copies(tensors_of(base, writable=False))

    @property
    def version(self) -> int:
        """The number of the newest version."""
        return self._version

    def publish(self, tensors: Mapping[str, Any]) -> Published:
        """Publishes what changed since the newest version.

        An error leaves nothing behind, and the call can be repeated.

        Each tensor is copied before it is worked on. If somebody writes to it meanwhile, one state of it or the other, or
        parts of both, are published, and the next version is made for what was.

        Args:
            tensors: All tensors, by the same names and of the same types and shapes as before. Those on other devices
                are copied.

        Raises:
            MismatchError: A tensor is new, gone, or has another type or shape: engines cannot take that as a delta.
                `publish_whole` can be taken.
            LimitError: A tensor has 4 GiB or more, and the encoding is ``"overwrite"``.
            LockedError: Somebody else publishes to this folder.
            FileError: The system refused to write.
        """
        found = tensors_of(tensors, writable=False)
        same(found, self._snapshot, "publish_whole takes it")
        version = self._version + 1
        files: list[list[_Change]] = []
        with self._staged(version) as place:
            for number, group in enumerate(_groups(self._changes(found))):
                _write_patches(place / f"{number}.part", group)
                # What was written is needed no more.
                files.append([change._replace(patch=b"") for change in group])
            where: dict[str, str] = {}
            for number, group in enumerate(files):
                name = _file_name(number, len(files))
                (place / f"{number}.part").rename(place / name)
                where |= {change.name: name for change in group}
            index = Index(version, self._version, self._encoding, self._checksum, where)
            _write_file(place / INDEX, index.to_json())
        changes = [change for group in files for change in group]
        # What was published, also if somebody has written to the tensors since.
        self._snapshot |= {change.name: change.tensor for change in changes}
        self._version = version
        return Published(
            version=version,
            folder=version_folder(self._folder, version),
            whole=False,
            tensors=len(changes),
            changed_bytes=sum(change.changed for change in changes),
            total_bytes=sum(tensor.size for tensor in found.values()),
            file_bytes=sum(change.size for change in changes),
        )

    def publish_whole(self, tensors: Mapping[str, Any], beside: PathLike | None) -> Published:
        """Publishes a whole checkpoint, from which engines that start later begin, and whose tensors may be others.

        Args:
            tensors: All tensors.
            beside: A folder whose other files (configuration, tokenizer) become part of the checkpoint. An engine's
                checkpoint becomes an exact copy of what is published, so without them it has none. None for readers
                that need none.

        Raises:
            LockedError: Somebody else publishes to this folder.
            FileError: The system refused to write.
        """
        found = _copies(tensors_of(tensors, writable=False))
        version = self._version + 1
        name = _file_name(0, 1)
        with self._staged(version) as place:
            size = _write_tensors(place / name, found)
            content = {"metadata": {"total_size": size}, "weight_map": dict.fromkeys(found, name)}
            _write_file(place / INDEX, _json(content))
            if beside is not None:
                _copy_others(Path(beside), place)
        self._snapshot = found
        self._version = version
        folder = version_folder(self._folder, version)
        return Published(version, folder, True, len(found), size, size, size)

    def _changes(self, tensors: Mapping[str, Tensor]) -> Iterator[_Change]:
        """The patches of the tensors that changed."""

        def made(item: tuple[str, Tensor]) -> _Change | None:
            name, tensor = item
            with naming(f"tensor {name!r}"):
                # Read once: patch, checksum and the base of the next version are of the same bytes.
                copy = tensor.copy()
                count, patch, checksum = _huffwire._patch(
                    self._encoding, self._checksum, self._snapshot[name].memory, copy.memory
                )
            if patch is None or checksum is None:
                return None
            return _Change(name, count, patch, len(patch), checksum, copy)

        for change in side_by_side(self._threads, made, list(tensors.items())):
            if change is not None:
                yield change

    @contextmanager
    def _staged(self, version: int) -> Iterator[Path]:
        """A folder that becomes the one of the version when all went well.

        A reader takes a folder without an index for a whole checkpoint, so no part of it may be seen before.
        """
        folder = version_folder(self._folder, version)
        place = self._folder / f".{folder.name}.{secrets.token_hex(8)}"
        try:
            with system_errors():
                place.mkdir()
                yield place
                sync_folder(place)
                if folder.exists():
                    raise LockedError(
                        f"{folder} is there already: somebody else publishes to this folder"
                    )
                try:
                    place.rename(folder)
                except OSError as error:
                    if folder.exists():
                        raise LockedError(
                            f"{folder} has appeared: somebody else publishes to this folder"
                        ) from error
                    raise
            # Engines see the version now: what fails from here on does not undo it.
            with suppress(OSError):
                sync_folder(self._folder)
            self._remove_leftovers()
        finally:
            # Nothing is there any more if it has got its name.
            shutil.rmtree(place, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Removes what writers left that were killed while they wrote a version that somebody has published since. A
        writer that is at it cannot publish that version any more."""
        with suppress(OSError), os.scandir(self._folder) as entries:
            newest = max(published(self._folder), default=0)
            for entry in entries:
                match = _STAGED.fullmatch(entry.name)
                if match and int(match[1]) <= newest:
                    shutil.rmtree(entry.path, ignore_errors=True)


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.copy() for name, tensor in tensors.items()}


def _file_name(number: int, count: int) -> str:
    return f"model-{number:05d}-of-{count:05d}.safetensors"


def _groups(changes: Iterable[_Change]) -> Iterator[list[_Change]]:
    """Changes that become one file."""
    group: list[_Change] = []
    size = 0
    for change in changes:
        group.append(change)
        size += change.size
        if size >= _FILE_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _write_patches(path: Path, changes: Sequence[_Change]) -> None:
    described = [(change.name, "u8", (change.size,)) for change in changes]
    checksums = {change.name: change.checksum for change in changes}
    header, order = _huffwire.safetensors_header(str(path), described, checksums)
    patches = {change.name: change.patch for change in changes}
    with _opened(path) as file:
        write_all(file, memoryview(header))
        for name in order:
            write_all(file, memoryview(patches[name]))


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> int:
    """Writes a safetensors file; returns the bytes of the tensors."""
    described = [(name, tensor.dtype, tensor.spelled_shape) for name, tensor in tensors.items()]
    header, order = _huffwire.safetensors_header(str(path), described, {"format": "pt"})
    room = bytearray(PIECE_BYTES)
    size = 0
    with _opened(path) as file:
        write_all(file, memoryview(header))
        for name in order:
            left = tensors[name].size
            size += left
            for piece in tensors[name].pieces():
                _huffwire._copy_checked(piece, room)
                length = min(left, PIECE_BYTES)
                write_all(file, memoryview(room)[:length])
                left -= length
    return size


def _write_file(path: Path, content: bytes) -> None:
    with _opened(path) as file:
        write_all(file, memoryview(content))


@contextmanager
def _opened(path: Path) -> Iterator[io.RawIOBase]:
    """A new file, which the disk has at the end."""
    with path.open("xb", buffering=0) as file:
        yield file
        os.fsync(file.fileno())


def _json(content: object) -> bytes:
    # Not at the top: whoever publishes deltas alone does not need it.
    import json

    return json.dumps(content).encode()


def _copy_others(source: Path, place: Path) -> None:
    """Copies the files of a checkpoint that hold no weights."""
    with system_errors():
        if not source.is_dir():
            raise FileError(f"{source} is no folder")
        for path in sorted(source.iterdir()):
            weights = path.suffix in (".safetensors", ".bin", ".hw") or path.name.endswith(
                ".index.json"
            )
            if path.is_file() and not weights:
                shutil.copyfile(path, place / path.name)
                with (place / path.name).open("rb") as file:
                    os.fsync(file.fileno())
