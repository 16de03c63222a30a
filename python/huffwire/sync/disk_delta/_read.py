"""Following a stream: the class `Reader`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huffwire import _huffwire
from huffwire._disk import naming, system_errors
from huffwire._errors import (
    ChainError,
    DamagedError,
    MismatchError,
    MissingFileError,
    NoSuchTensorError,
    UnsupportedError,
)
from huffwire._files import INDEX, PathLike
from huffwire.sync.disk_delta._layout import (
    Index,
    Patch,
    Stored,
    files_of,
    published,
    read_header,
    read_index,
    read_patches,
    version_folder,
)
from huffwire.sync.disk_delta._tensors import (
    PIECE_BYTES,
    Tensor,
    side_by_side,
    tensors_of,
    thread_count,
)


@dataclass(frozen=True)
class Update:
    """What `Reader.update` did.

    Attributes:
        version: The version that the tensors have now.
        applied: The versions that were applied, in order; none if there was nothing to do.
        changed_bytes: Bytes of tensors that changed, those that changed twice counted twice.
        pause_seconds: Seconds in which tensors were written to, and nobody ought to have used them.
    """

    version: int
    applied: tuple[int, ...]
    changed_bytes: int
    pause_seconds: float


class Reader:
    """Follows what slime, or `Writer`, publishes, and brings tensors up to date in place.

    A delta is checked before a byte of any tensor changes: that it builds on the version that the tensors have, and
    that it makes of each tensor the one whose checksum it carries. After an error all tensors are those of the version
    that `version` tells.

    Args:
        folder: Where versions are published.
        tensors: The tensors, by the names that they have in the checkpoint: of PyTorch or NumPy, contiguous, in the
            memory of the processor. Nobody else may write to them. For weights on another device give copies here, and
            take `changes` to the device.
        version: The version that they have now; 0 is the checkpoint from which the publisher started. None if they are
            of no version: then a whole checkpoint has to come first.
        threads: How many tensors are worked on at a time; None as for `huffwire.decode`.

    Raises:
        OutputError: A tensor cannot be written to.
        SharedStorageError: Tensors share memory.
        UnsupportedError: Something is no tensor.

    >>> import numpy, tempfile
    >>> from huffwire.sync.disk_delta import Writer
    >>> folder = tempfile.TemporaryDirectory()
    >>> writer = Writer(folder.name, {"a": numpy.zeros(1000, "float32")})
    >>> _ = writer.publish({"a": numpy.ones(1000, "float32")})
    >>> live = {"a": numpy.zeros(1000, "float32")}
    >>> update = Reader(folder.name, live).update()
    >>> update.version, update.changed_bytes, float(live["a"].sum())
    (1, 2000, 1000.0)
    """

    def __init__(
        self,
        folder: PathLike,
        tensors: Mapping[str, Any],
        *,
        version: int | None = 0,
        threads: int | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._threads = thread_count(threads)
        self._tensors = tensors_of(tensors, writable=True)
        self._version = version
        # A patch of positions has five bytes for each byte; what zstd cannot make smaller it makes a little larger.
        self._room = sum(6 * tensor.size + 1024 for tensor in self._tensors.values())

    @property
    def version(self) -> int | None:
        """The version of the tensors; None if they are of none."""
        return self._version

    def latest(self) -> int | None:
        """The newest version that is published; None if there is none."""
        return max(published(self._folder), default=None)

    def update(self, to: int | None = None) -> Update:
        """Brings the tensors to a version: from the newest whole checkpoint that is needed, delta by delta.

        Each delta is applied as a whole or not at all. If a later one fails, the earlier ones stay.

        Args:
            to: The version; None for the newest one.

        Raises:
            MissingFileError: The version, or a file of it, is not there.
            ChainError: A version on the way is not there, or builds on another one, or the tensors are newer already.
            WrongBaseError: A delta does not make of a tensor what it should.
            DamagedError: A file is damaged.
            MismatchError: A whole checkpoint has other tensors.
            NoSuchTensorError: A tensor of the stream is not among those of this reader.
            UnsupportedError: A delta is of a kind that this package does not know.
            FileError: The system refused to read.
        """
        target = self.latest() if to is None else to
        if target is None:
            target = self._version or 0
        whole, deltas = self._way(target)
        changed, pause = 0, 0.0
        if whole is not None:
            count, seconds = self._load(whole)
            changed, pause = changed + count, pause + seconds
        for index in deltas:
            count, seconds = self._apply(index)
            changed, pause = changed + count, pause + seconds
        applied = [index.version for index in deltas]
        if whole is not None:
            applied.insert(0, whole)
        return Update(target, tuple(applied), changed, pause)

    def changes(self) -> Iterator[tuple[str, Any, Any]]:
        """What the next version changes: of each tensor its name, the indices of the elements that change, in the
        order of its memory (int64), and their new values.

        The tensors of this reader stay as they are. The delta is checked as a whole before the first tensor is
        yielded. What takes the values elsewhere may be followed by ``update(version + 1)``, which brings the tensors
        here to the same version.

        Raises:
            UnsupportedError: The next version is a whole checkpoint.
            Error: As for `update`.
        """
        if self._version is None:
            raise ChainError("the tensors are of no version: update() comes first")
        index = read_index(self._folder, self._version + 1)
        if index is None:
            raise UnsupportedError(
                f"{version_folder(self._folder, self._version + 1)} is a whole checkpoint: update() loads it"
            )
        patches, _ = self._checked(index)
        for patch in patches:
            tensor = self._tensors[patch.name]
            element = tensor.value.dtype.itemsize
            with naming(f"tensor {patch.name!r}"):
                places, values = _huffwire._changes_of_patch(
                    index.encoding, patch.content, tensor.memory, element
                )
            if places:
                yield patch.name, *_arrays(tensor.value, places, values)

    def _way(self, target: int) -> tuple[int | None, list[Index]]:
        """The whole checkpoint and the deltas that lead to a version."""
        if self._version is not None and target < self._version:
            raise ChainError(
                f"the tensors have version {self._version}, and version {target} is older: a reader only goes forward"
            )
        deltas: list[Index] = []
        at = target
        while at != self._version:
            if at == 0:
                raise ChainError(
                    f"{self._folder}: no whole checkpoint is published, and the tensors are of no version: load the "
                    "checkpoint that the publisher started from, and give version=0"
                )
            try:
                index = read_index(self._folder, at)
            except MissingFileError as error:
                if at == target:
                    raise
                raise ChainError(
                    f"{error}; version {at + 1} builds on it, and the tensors have version {self._version}: no whole "
                    "checkpoint follows, so fetch it again, or begin anew"
                ) from None
            if index is None:
                return at, deltas[::-1]
            if index.base_version != at - 1:
                raise ChainError(
                    f"{version_folder(self._folder, at)}: it builds on version {index.base_version}, and has to build on "
                    f"version {at - 1}"
                )
            deltas.append(index)
            at -= 1
        return None, deltas[::-1]

    def _checked(self, index: Index) -> tuple[list[Patch], int]:
        """The patches of a version, which were tried on the tensors, and how many bytes they change."""
        patches = read_patches(self._folder, index, self._room)
        for patch in patches:
            if patch.name not in self._tensors:
                raise NoSuchTensorError(
                    f"{version_folder(self._folder, index.version)} changes a tensor {patch.name!r}, which is not among "
                    f"the {len(self._tensors)} of this reader"
                )

        def check(patch: Patch) -> int:
            what = f"version {index.version} on version {index.base_version}, tensor {patch.name!r}"
            with naming(what):
                return _huffwire._check_patch(
                    index.encoding,
                    index.checksum,
                    patch.content,
                    self._tensors[patch.name].memory,
                    patch.checksum,
                )

        return patches, sum(side_by_side(self._threads, check, patches))

    def _apply(self, index: Index) -> tuple[int, float]:
        patches, changed = self._checked(index)

        def apply(patch: Patch) -> None:
            tensor = self._tensors[patch.name]
            _huffwire._apply_patch(index.encoding, patch.content, tensor.memory)
            tensor.tell_autograd()

        start = time.monotonic()
        # If this is interrupted, the tensors are of no version.
        self._version = None
        for _ in side_by_side(self._threads, apply, patches):
            pass
        self._version = index.version
        return changed, time.monotonic() - start

    def _load(self, version: int) -> tuple[int, float]:
        """Loads a whole checkpoint."""
        place = version_folder(self._folder, version)
        found: dict[str, tuple[Path, Stored]] = {}
        for path in files_of(self._folder, version):
            for stored in read_header(path)[1]:
                if stored.name in found:
                    raise DamagedError(f"{path}: tensor {stored.name!r} is in another file, too")
                found[stored.name] = path, stored
        if not found:
            raise MissingFileError(f"{place} has neither an {INDEX} nor tensors")
        remedy = "make a reader with the tensors of this version, and version=None"
        for name in sorted(found.keys() - self._tensors):
            raise MismatchError(f"{place} has a tensor {name!r} that this reader has not: {remedy}")
        for name in sorted(self._tensors.keys() - found):
            raise MismatchError(f"{place} has no tensor {name!r}, which this reader has: {remedy}")
        for name, (path, stored) in found.items():
            tensor = self._tensors[name]
            if (stored.dtype, stored.shape) != (tensor.dtype, tensor.spelled_shape):
                raise MismatchError(
                    f"{path}: tensor {name!r} is {stored.spelled} {list(stored.shape)}, and that of this reader "
                    f"{tensor.described}"
                )
        start = time.monotonic()
        # A checkpoint has no checksums, and no second copy is made of it: if reading fails, the tensors are of no
        # version.
        self._version = None
        for _ in side_by_side(self._threads, self._fill, list(found.values())):
            pass
        self._version = version
        return sum(tensor.size for tensor in self._tensors.values()), time.monotonic() - start

    def _fill(self, item: tuple[Path, Stored]) -> None:
        """Reads a tensor from a file into memory."""
        path, stored = item
        tensor = self._tensors[stored.name]
        room = bytearray(min(PIECE_BYTES, tensor.size))
        left = tensor.size
        with system_errors(), path.open("rb", buffering=0) as file:
            file.seek(stored.start)
            for piece in tensor.pieces():
                view = memoryview(room)[: min(left, PIECE_BYTES)]
                left -= len(view)
                done = 0
                while done < len(view):
                    count = file.readinto(view[done:])
                    if not count:
                        raise DamagedError(f"{path}: the file became shorter")
                    done += count
                _huffwire._copy_checked(view, piece)
        tensor.tell_autograd()


def _arrays(like: Any, places: bytes, values: bytes) -> tuple[Any, Any]:
    """Indices and values as what the tensor is."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(like, torch.Tensor):
        indices = torch.frombuffer(bytearray(places), dtype=torch.int64)
        return indices, torch.frombuffer(bytearray(values), dtype=torch.uint8).view(like.dtype)
    import numpy

    return numpy.frombuffer(places, "<i8"), numpy.frombuffer(values, like.dtype)
