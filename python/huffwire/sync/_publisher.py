"""Publishing: each version of some tensors as what changed since the version before."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import torch
import torch.distributed as dist

from huffwire._buffers import Level, Symbols
from huffwire._errors import (
    DamagedError,
    Error,
    ExistsError,
    FileError,
    MismatchError,
    OptionError,
)
from huffwire._huffwire import Codebooks
from huffwire._options import check_whole
from huffwire._torch_deltas import content_hash
from huffwire.sync._copy import Copy
from huffwire.sync._manifest import (
    MANIFEST,
    MANIFEST_BYTES,
    File,
    Manifest,
    Version,
    file_name,
    state_of,
    version_of,
)
from huffwire.sync._storage import Folder, Storage, write_file
from huffwire.sync._versions import Item, Options, VersionReader, VersionWriter, items_of

Items = Mapping[str, tuple[Item, torch.Tensor]]


@dataclass(frozen=True)
class Published:
    """What was published."""

    version: int
    keyframe: bool
    """Whether it can be loaded without an earlier version."""
    bytes: int
    """Bytes that a subscriber reads who has the version before; all bytes if there is no delta."""
    raw_bytes: int
    """Bytes of the tensors."""
    changes: int
    """How many words changed (elements, for most types); all if there is no delta."""
    seconds: float
    """How long it took."""


class Publisher:
    """Publishes versions of some tensors, to a folder or to a process group.

    >>> import tempfile, torch, huffwire.sync
    >>> folder = tempfile.TemporaryDirectory()
    >>> weights = {"weight": torch.randn(500, 300).bfloat16()}
    >>> with huffwire.sync.Publisher(folder.name) as publisher:
    ...     first = publisher.publish(weights)
    ...     weights["weight"][7, 9] += 1
    ...     second = publisher.publish(weights)
    >>> first.version, first.keyframe, second.version, second.keyframe, second.changes
    (0, True, 1, False, 1)
    >>> subscriber = huffwire.sync.Subscriber(folder.name)
    >>> subscriber.update().version
    1
    >>> torch.equal(subscriber.tensors["weight"], weights["weight"])
    True

    It holds one copy of what it published last, in memory of the CPU, and updates it in place. Each delta is decoded
    and compared with its hashes before it is published. A publisher that is started again goes on where the last one
    ended.

    Args:
        target: A folder, a `Storage`, or a ``torch.distributed`` process group with gloo, in which this rank
            publishes and all others subscribe.
        keyframe_every: So many versions apart are keyframes, which hold the tensors as a whole, beside a delta. Who
            joins loads the last one. Of no meaning for a group, in which the first version is the only one.
        keep: So many of the newest versions can be loaded. Files that none of these needs are removed. Of no
            meaning for a group.
        split: Tensors of several dimensions are published as so many parts by rows, as ``torch.chunk`` makes them.
            Tensor-parallel ranks then decode only the parts with their rows.
        level, symbols, codebooks, threads: As for `huffwire.torch.encode_delta`.

    Raises:
        LockedError: Another publisher has the folder.
        DamagedError: The manifest of the folder is damaged.
        ExistsError: The folder has files of versions, and no manifest.
        FileError: The folder cannot be written to.
        OptionError: An option has a value that it cannot have.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | Storage | dist.ProcessGroup,
        *,
        keyframe_every: int = 32,
        keep: int = 8,
        split: int = 1,
        level: Level = "fast",
        symbols: Symbols = "auto",
        codebooks: Codebooks | None = None,
        threads: int | None = None,
    ) -> None:
        for name, value in (("keyframe_every", keyframe_every), ("keep", keep), ("split", split)):
            check_whole(name, value, 1)
        options = Options(level, symbols, codebooks, threads)
        self._split = split
        # Threads publish one after the other.
        self._turn = threading.Lock()
        self._channel: Channel
        if isinstance(target, dist.ProcessGroup):
            from huffwire.sync._group import GroupPublishing

            self._channel = GroupPublishing(target, options)
        else:
            self._channel = FolderPublishing(storage_of(target), keyframe_every, keep, options)

    @property
    def version(self) -> int | None:
        """The number of the version that was published last; None if there is none."""
        return self._channel.version

    def publish(
        self, tensors: Mapping[str, torch.Tensor], *, keyframe: bool = False
    ) -> Published:
        """Publishes the next version.

        Nobody may write to the tensors during the call. If it fails, the version does not exist, and the next call
        publishes it. (Only if the storage fails while it takes the manifest, the version may be there: `version` tells,
        and the next call publishes the next one.) Tensors may be on any device, may be new, be gone, or have another
        type or shape than before; those that share memory are published under each of their names.

        Args:
            tensors: Tensors by their names, such as a state dict.
            keyframe: Whether the version is a keyframe, whenever the last one was. In a group all tensors are then sent
                as a whole.

        Raises:
            UnsupportedError: A tensor that `huffwire.torch.encode` does not take, or a type that safetensors files
                do not have.
            FileError: The system refused to write: the disk is full, for example.
            OptionError: The publisher is closed.
        """
        with self._turn:
            return self._channel.publish(lambda: items_of(tensors, self._split), keyframe)

    def close(self) -> None:
        """Gives the folder back. Subscribers can go on reading it."""
        self._channel.close()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Channel(Protocol):
    """The way from a publisher to its subscribers."""

    @property
    def version(self) -> int | None:
        """The number of the newest version."""

    def publish(self, make_items: Callable[[], Items], keyframe: bool) -> Published:
        """Publishes the next version. If the items cannot be made, subscribers that wait for it are told."""

    def close(self) -> None:
        """Ends publishing."""


def storage_of(target: str | os.PathLike[str] | Storage) -> Storage:
    """The storage that a caller names.

    Raises:
        OptionError: It is none.
    """
    if isinstance(target, (str, os.PathLike)):
        return Folder(target)
    if isinstance(target, Storage):
        return target
    raise OptionError(f"{target!r}: give a folder, a Storage, or a process group")


class FolderPublishing:
    """Publishing to a storage."""

    def __init__(
        self, storage: Storage, keyframe_every: int, keep: int, options: Options
    ) -> None:
        self._storage = storage
        self._keyframe_every = keyframe_every
        self._keep = keep
        self._options = options
        self._lock = storage.lock()
        self._closed = False
        # What is not known is read again when it is needed.
        self._copy: Copy | None = None
        self._manifest: Manifest | None = None
        try:
            self._remove_others(self._known())
        except BaseException:
            self._lock.close()
            raise

    @property
    def version(self) -> int | None:
        """The number of the newest version."""
        latest = self._known().latest
        return None if latest is None else latest.number

    def close(self) -> None:
        """Gives back the lock."""
        self._closed = True
        self._lock.close()

    def publish(self, make_items: Callable[[], Items], keyframe: bool) -> Published:
        """Writes the files of the next version, and then names them in the manifest."""
        if self._closed:
            raise OptionError("the publisher is closed: open another one")
        start = time.monotonic()
        items = make_items()
        manifest = self._known()
        latest = manifest.latest
        copy = self._copy or self._restored(items)
        # Until the end is reached.
        self._copy = None
        number = 0 if latest is None else latest.number + 1
        base = latest.number if latest is not None and copy.tensors else None
        copy.begin()
        try:
            delta: File | None = None
            hashes: dict[str, str] = {}
            changes = 0
            if base is not None:
                delta, hashes, changes = self._write_delta(number, items, copy)
            whole = None
            if delta is None:
                encoded = [copy.encode(item, tensor, self._options) for item, tensor in items.values()]
                # What was copied for its hash is written: a tensor is read once.
                tensors = {
                    key: tensor if one.whole is None else one.whole
                    for (key, (_, tensor)), one in zip(items.items(), encoded, strict=True)
                }
                hashes = {one.item.key: one.hash for one in encoded}
                changes = sum(one.changes for one in encoded)
                whole = self._write_keyframe(number, items, tensors, hashes)
            elif keyframe or self._is_keyframe_due(manifest, number):
                tensors = {key: tensor for key, (_, tensor) in items.items()}
                whole = self._write_keyframe(number, items, tensors, hashes)
            for file in (whole, delta):
                if file is not None:
                    self._storage.put(file.name, self._storage.staging() / file.name)
            state = state_of([(k, i.dtype, i.shape, hashes[k]) for k, (i, _) in items.items()])
            version = Version(number, state, whole, delta, base)
            manifest = manifest.with_version(version, self._keep)
            unnamed = self._storage.staging() / MANIFEST
            write_file(unnamed, manifest.to_bytes())
        except BaseException:
            # The manifest does not name what was written. The copy is what it was.
            copy.begin()
            self._copy = copy
            raise
        # If this fails, only the storage knows whether the version exists.
        self._manifest = None
        self._storage.put(MANIFEST, unnamed)
        self._manifest = manifest
        try:
            copy.commit()
            self._copy = copy
        except MismatchError:
            # Somebody wrote to a tensor meanwhile. What was published is right, and the next call reads it again.
            self._copy = None
        self._remove_others(manifest)
        read = delta or whole
        return Published(
            version=number,
            keyframe=whole is not None,
            bytes=read.bytes if read else 0,
            raw_bytes=sum(tensor.nbytes for _, tensor in items.values()),
            changes=changes,
            seconds=time.monotonic() - start,
        )

    def _known(self) -> Manifest:
        """The manifest, which nobody else changes."""
        if self._manifest is None:
            names = self._storage.names()
            if MANIFEST in names:
                data = self._storage.read(MANIFEST, 0, MANIFEST_BYTES)
                self._manifest = Manifest.from_bytes(data)
            else:
                self._manifest = Manifest(secrets.token_hex(8))
                others = [n for n in names if version_of(n) is not None and not _may_remove(n, self._manifest)]
                if others:
                    self._manifest = None
                    raise ExistsError(
                        f"{self._storage!r} has files of versions, such as {others[0]}, and no {MANIFEST}, without which "
                        "they may be of another publisher: bring it back, remove them, or publish to another place"
                    )
        return self._manifest

    def _restored(self, items: Items) -> Copy:
        """A copy of the newest version, read from the storage; an empty one if there is none, or it cannot be read. The
        next version then is a keyframe."""
        from huffwire.sync._subscriber import Subscriber

        copy = Copy()
        if self._known().latest is None:
            return copy
        held = Subscriber(self._storage, threads=self._options.threads, retries=0)
        try:
            held.update()
        except Error:
            return copy
        for key, (item, tensor) in items.items():
            found = held.tensors.get(item.name)
            if found is not None and found.dtype == tensor.dtype and found.shape[1:] == tensor.shape[1:]:
                rows = found if item.rows is None else found[item.rows[0] : item.rows[1]]
                if rows.shape == tensor.shape:
                    copy.tensors[key] = rows
        return copy

    def _is_keyframe_due(self, manifest: Manifest, number: int) -> bool:
        keyframes = [v.number for v in manifest.versions if v.keyframe is not None]
        return not keyframes or number - keyframes[-1] >= self._keyframe_every

    def _write_delta(
        self, number: int, items: Items, copy: Copy
    ) -> tuple[File, dict[str, str], int]:
        """Writes what changed; returns the file, the hashes of all items, and how many words changed."""
        path = self._storage.staging() / file_name(number, "delta")
        writer = VersionWriter(path, (item for item, _ in items.values()), self._options)
        hashes, changes = {}, 0
        try:
            for key in writer.order:
                item, tensor = items[key]
                encoded = copy.encode(item, tensor, self._options)
                if encoded.message is not None:
                    writer.add_delta(key, encoded.message)
                elif encoded.whole is not None:
                    writer.add(key, encoded.whole)
                hashes[key] = encoded.hash
                changes += encoded.changes
            return writer.finish(), hashes, changes
        finally:
            writer.abort()

    def _write_keyframe(
        self,
        number: int,
        items: Items,
        tensors: Mapping[str, torch.Tensor],
        hashes: Mapping[str, str],
    ) -> File:
        """Writes all tensors, reads them again and compares their hashes."""
        path = self._storage.staging() / file_name(number, "keyframe")
        writer = VersionWriter(path, (item for item, _ in items.values()), self._options, hashes)
        try:
            for key in writer.order:
                writer.add(key, tensors[key])
            file = writer.finish()
        finally:
            writer.abort()
        reader = VersionReader(path, "", self._options.threads)
        for key, hash in hashes.items():
            if content_hash(reader.decode(key)) != hash:
                raise DamagedError(
                    f"{key!r} changed while it was published, or {path} cannot be written right: nothing was published"
                )
        return file

    def _remove_others(self, manifest: Manifest) -> None:
        """Removes the files of versions that are gone, and of one that was not finished."""
        with contextlib.suppress(FileError):  # what cannot be removed only takes space
            for name in self._storage.names():
                if _may_remove(name, manifest):
                    self._storage.remove(name)


def _may_remove(name: str, manifest: Manifest) -> bool:
    """Whether a file is needed no more, and is of the run of this manifest: of a version up to the newest, or of the next
    one, which an earlier publisher did not finish. The first version is a keyframe."""
    number = version_of(name)
    if number is None or name in manifest.files():
        return False
    if manifest.latest is None:
        return name == file_name(0, "keyframe")
    return number <= manifest.latest.number + 1
