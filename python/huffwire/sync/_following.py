"""How a subscriber learns of versions: from the manifest of a storage."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from huffwire._errors import DamagedError, FileError, MissingFileError
from huffwire.sync._fetch import Downloads
from huffwire.sync._follower import Follower, Prepared
from huffwire.sync._journal import Journal
from huffwire.sync._live import Change
from huffwire.sync._manifest import MANIFEST, MANIFEST_BYTES, Manifest, Version
from huffwire.sync._storage import Storage
from huffwire.sync._versions import VersionReader

# Seconds between two attempts, at most.
_LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class Update:
    """What an update did."""

    version: int
    """The version that the tensors are now."""
    previous: int | None
    """The version that they were; None if that was not known."""
    keyframe: bool
    """Whether tensors were loaded as a whole."""
    deltas: int
    """How many deltas were applied."""
    bytes: int
    """Bytes that were read or received."""
    changes: int
    """How many words were written by deltas (elements, for most types)."""
    pause_seconds: float
    """How long was written to tensors, until devices had done it. What was decoded before is not in it; keyframes, and
    blocks of deltas of which much changes, are decoded in that time."""
    seconds: float
    """How long all of it took."""


class Totals:
    """Adds up what an update does."""

    def __init__(self, previous: int | None) -> None:
        self.previous = previous
        self.start = time.monotonic()
        self.keyframe = False
        self.bytes = self.deltas = self.changes = 0
        self.pause = 0.0

    def update(self, version: int | None) -> Update | None:
        """The report; None if nothing was to be done."""
        if version is None or not (self.keyframe or self.deltas):
            return None
        return Update(
            version=version,
            previous=self.previous,
            keyframe=self.keyframe,
            deltas=self.deltas,
            bytes=self.bytes,
            changes=self.changes,
            pause_seconds=self.pause,
            seconds=time.monotonic() - self.start,
        )


class Following(Protocol):
    """The way from a publisher to this subscriber."""

    @property
    def version(self) -> int | None:
        """The version of the tensors."""

    def update(self, version: int | None) -> Update | None:
        """Brings the tensors to a version."""

    def reload(self) -> Update | None:
        """Loads the newest version as a whole."""

    def changes(self) -> Iterator[Change]:
        """What changes up to the newest version."""


class FolderFollowing:
    """Follows the manifest of a storage."""

    def __init__(
        self,
        storage: Storage,
        follower: Follower,
        downloads: Downloads,
        journal: Journal | None,
        *,
        retries: int,
        backoff: float,
        threads: int | None,
    ) -> None:
        self._run: str | None = None
        self._storage = storage
        self._follower = follower
        self._downloads = downloads
        self._retries, self._backoff = retries, backoff
        self._threads = threads
        self._journal = journal
        found = journal.recover(follower) if journal is not None else None
        if found is not None:
            self._run, self.version = found

    @property
    def version(self) -> int | None:
        """The version of the tensors."""
        return self._follower.version

    @version.setter
    def version(self, version: int | None) -> None:
        self._follower.version = version

    def update(self, version: int | None) -> Update | None:
        """Applies what is between the version of the tensors and the wanted one."""
        totals = Totals(self.version)
        failures = 0
        while True:
            try:
                manifest = self._manifest()
                for step, is_keyframe in self._steps(manifest, version):
                    with self._opened(step, is_keyframe, totals) as reader:
                        if is_keyframe:
                            self._load(reader, step, totals)
                        else:
                            self._commit(self._follower.prepare(reader), step, totals)
                    failures = 0
                return totals.update(self.version)
            except (FileError, DamagedError) as error:
                # The publisher may have removed a file since the manifest was read.
                failures = self._failed(failures, error)

    def reload(self) -> Update | None:
        """Begins at the last keyframe."""
        self.version = None
        return self.update(None)

    def changes(self) -> Iterator[Change]:
        """What changes, version by version; own tensors follow when all changes of a version were taken."""
        totals = Totals(self.version)
        failures = 0
        while True:
            listed: list[Change] = []
            try:
                # The manifest is read again for each version, because files of an older one may be gone.
                step, is_keyframe = next(self._steps(self._manifest(), None), (None, False))
                if step is None:
                    return
                prepared = None
                with self._opened(step, is_keyframe, totals) as reader:
                    if is_keyframe:
                        self._load(reader, step, totals)
                    else:
                        prepared = self._follower.prepare(reader, listed)
            except (FileError, DamagedError) as error:
                failures = self._failed(failures, error)
                continue
            failures = 0
            if prepared is None:
                # Whoever ends in between begins again.
                self.version = None
                yield from [Change(name, None, t) for name, t in self._follower.tensors.items()]
                self.version = step.number
            else:
                yield from listed
                self._commit(prepared, step, totals)

    def _failed(self, failures: int, error: Exception) -> int:
        """Waits after one more error in a row, which is raised if there were enough of them; returns how many there
        are."""
        if failures >= self._retries:
            raise error
        time.sleep(min(self._backoff * 2 ** min(failures, 20), _LONGEST_WAIT))
        return failures + 1

    def _manifest(self) -> Manifest:
        """The manifest; one without versions if there is none yet."""
        try:
            manifest = Manifest.from_bytes(self._storage.read(MANIFEST, 0, MANIFEST_BYTES))
        except MissingFileError:
            return Manifest("")
        if manifest.run != self._run:
            # In another run the same numbers are other versions.
            self.version, self._run = None, manifest.run
        return manifest

    def _steps(
        self, manifest: Manifest, version: int | None
    ) -> Iterator[tuple[Version, bool]]:
        """The versions on the way, and whether each is loaded as a whole."""
        if version is None:
            if manifest.latest is None:
                return
            version = manifest.latest.number
        if version == self.version:
            return
        keyframe, deltas = manifest.plan(self.version, version)
        if keyframe is not None:
            yield keyframe, True
        yield from ((step, False) for step in deltas)

    @contextlib.contextmanager
    def _opened(
        self, step: Version, is_keyframe: bool, totals: Totals
    ) -> Iterator[VersionReader]:
        file = step.keyframe if is_keyframe else step.delta
        if file is None:
            raise DamagedError(f"version {step.number} lacks a file")
        with self._downloads.fetch(file) as path:
            totals.bytes += file.bytes
            yield VersionReader(path, step.state, self._threads)

    def _load(self, reader: VersionReader, step: Version, totals: Totals) -> None:
        self._follower.check_keyframe(reader)
        if self._journal is not None:
            self._journal.forget()
        pause, hashes = self._follower.load_keyframe(reader)
        totals.pause += pause
        if self._journal is not None:
            self._journal.done(self._run or "", step.number, reader.items, hashes)
        self.version = step.number
        totals.keyframe = True

    def _commit(self, prepared: Prepared, step: Version, totals: Totals) -> None:
        if self._journal is not None:
            self._journal.begin(prepared, self._run or "", step.number)
        totals.pause += self._follower.commit(prepared)
        if self._journal is not None:
            self._journal.done(self._run or "", step.number, prepared.items, prepared.hashes)
        self.version = step.number
        totals.deltas += 1
        totals.changes += prepared.changes
