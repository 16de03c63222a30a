"""Subscribing: tensors that follow what a publisher publishes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping

import torch
import torch.distributed as dist

from huffwire._errors import OptionError
from huffwire._options import check_seconds, check_whole
from huffwire.sync._fetch import Downloads
from huffwire.sync._follower import Follower, Pause, Rows
from huffwire.sync._following import FolderFollowing, Following, Update
from huffwire.sync._journal import Journal
from huffwire.sync._live import Change
from huffwire.sync._publisher import storage_of
from huffwire.sync._storage import Storage


class Subscriber:
    """Follows a publisher: tensors that become what was published last.

    Each version is decoded, and compared with its hashes, before it is written: a failed check leaves all tensors as
    they were. Deltas that were missed are applied one after the other, each with a pause of its own: so every state
    in between is a published one, each is checked, and no more memory is needed than for one. Who joins, or missed more
    than the publisher keeps, loads the last keyframe and then the deltas after it.

    Args:
        source: A folder or `Storage` that a `Publisher` publishes to, or its process group.
        tensors: The tensors to update in place, by the names under which they are published, such as a state dict:
            on any device, with any strides. None: the subscriber makes its own, on the CPU, in `tensors`.
        rows: For tensors that hold only some of the published rows, from where to where: ``{"weight": (512,
            1024)}``. Only the parts with these rows are decoded; see ``split`` of `Publisher`.
        strict: Whether it is an error if other names are published than there are tensors.
        pause: Makes a context manager, such as a lock, that is entered around writing to tensors that are in use.
        cache: A folder of this subscriber, to which files are downloaded. An interrupted download goes on from where it
            was, in another process too. None: files of a folder are read where they lie.
        journal: A folder of this subscriber, for tensors in memory that outlives the process (shared memory, mapped
            files). Changes are stored there before they are written: if the process is killed in between, the next
            subscriber with the same journal and tensors writes the rest when it is made.
        retries: So many times in a row reading is tried again after an error, for example because the publisher removed
            a file meanwhile. A version that was applied ends the row.
        backoff: Seconds before the first of these; each further one waits twice as long, 60 seconds at most.
        threads: As for `huffwire.decode`.
        max_size: The most bytes of tensors that a version may have. A small file can say that it has very much.

    Raises:
        OutputError: A tensor cannot be written to, or shares a part of its memory with another one.
        OptionError: An option has a value that it cannot have.
        UnsupportedError: A name of a tensor is no text.
        WrongBaseError: The journal has changes that were begun, and the tensors are not those that they were made for.
        DamagedError: The journal is damaged.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Storage | dist.ProcessGroup,
        tensors: Mapping[str, torch.Tensor] | None = None,
        *,
        rows: Rows | None = None,
        strict: bool = True,
        pause: Pause | None = None,
        cache: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        retries: int = 3,
        backoff: float = 0.1,
        threads: int | None = None,
        max_size: int | None = None,
    ) -> None:
        if journal is not None and tensors is None:
            raise OptionError("journal=: give the tensors whose memory outlives the process, too")
        check_whole("retries", retries, 0)
        check_seconds("backoff", backoff)
        if max_size is not None:
            check_whole("max_size", max_size, 0)
        follower = Follower(tensors, rows, strict, pause, threads, max_size, journal is not None)
        self._follower = follower
        # Threads update one after the other.
        self._turn = threading.Lock()
        # How often tensors were to move on. Changes that were prepared before must not be written any more.
        self._calls = 0
        self._following: Following
        if isinstance(source, dist.ProcessGroup):
            from huffwire.sync._group import GroupFollowing

            if cache is not None or journal is not None:
                raise OptionError("cache= and journal= are for folders and storages, not for groups")
            self._following = GroupFollowing(source, follower, threads)
        else:
            storage = storage_of(source)
            self._following = FolderFollowing(
                storage,
                follower,
                Downloads(storage, cache),
                None if journal is None else Journal(journal),
                retries=retries,
                backoff=backoff,
                threads=threads,
            )

    @property
    def version(self) -> int | None:
        """The version that the tensors are; None before the first update, and after one that failed in the middle of
        writing."""
        return self._following.version

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors by their names. Own ones stay the same objects as long as type and shape do."""
        return self._follower.tensors

    def update(self, version: int | None = None) -> Update | None:
        """Brings the tensors to the newest version, or to this one; None if they are that already, or nothing is
        published yet.

        Raises:
            WrongBaseError: A tensor is not what the version before made it: somebody wrote to it. Nothing was changed;
                `reload` loads everything.
            ChainError: The version is not there any more, or not yet.
            MismatchError: Other tensors are published than there are here.
            DamagedError: A file is damaged.
            FileError: A file cannot be read.
            LockedError: Another subscriber has the folder that is the cache.
        """
        with self._turn:
            self._calls += 1
            return self._following.update(version)

    def reload(self) -> Update | None:
        """Loads the newest version from its last keyframe, whatever the tensors are.

        Raises:
            OptionError: The subscriber is of a group: there the publisher sends a keyframe.
            Error: As for `update`.
        """
        with self._turn:
            self._calls += 1
            return self._following.reload()

    def wait(self, timeout: float | None = None, *, poll: float = 0.2) -> Update | None:
        """Waits for a version that is newer, and updates to the newest one.

        Args:
            timeout: After so many seconds it returns None; None waits for ever.
            poll: It looks every so many seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            done = self.update()
            if done is not None:
                return done
            if end is not None and time.monotonic() >= end:
                return None
            time.sleep(poll)

    def changes(self) -> Iterator[Change]:
        """What changes up to the newest version, as ``(name, indices, values)``, for engines that write to their
        tensors themselves.

        The subscriber has the base in tensors of its own, which become the new version when all changes of that
        version were taken. Whoever ends before gets the same changes again; in a group all changes of that version come
        once more before those of the next one, or whole tensors when the changes would take more memory. If ``indices``
        is None, ``values`` is the whole tensor: of a tensor that is new, and of all tensors if a keyframe was loaded.

        What `update` or `reload` brings is not among the changes. Threads take turns. When one of them calls `update`,
        `reload` or `changes` before all changes of an earlier call were taken, the rest of those is refused.

        >>> import tempfile, torch, huffwire.sync
        >>> folder = tempfile.TemporaryDirectory()
        >>> publisher = huffwire.sync.Publisher(folder.name)
        >>> published = publisher.publish({"bias": torch.zeros(4)})
        >>> subscriber = huffwire.sync.Subscriber(folder.name)
        >>> list(subscriber.changes())
        [Change(name='bias', indices=None, values=tensor([0., 0., 0., 0.]))]
        >>> published = publisher.publish({"bias": torch.tensor([0.0, 0.5, 0.0, 2.0])})
        >>> list(subscriber.changes())
        [Change(name='bias', indices=tensor([1, 3]), values=tensor([0.5000, 2.0000]))]

        Raises:
            OptionError: The subscriber was given tensors, or went on meanwhile.
            Error: As for `update`, before the first change of a version.
        """
        if not self._follower.is_own:
            raise OptionError("changes() is for a subscriber with tensors of its own: give it none")
        return self._taken()

    def _taken(self) -> Iterator[Change]:
        """The changes, as long as nobody else makes the subscriber go on."""
        changes = self._following.changes()
        mine = None
        while True:
            # Between two changes others may have a turn.
            with self._turn:
                if mine is None:
                    mine = self._calls = self._calls + 1
                elif mine != self._calls:
                    raise OptionError(
                        "the subscriber went on, by update(), reload() or changes(), before all changes were taken: "
                        "take those of one call of changes() at a time"
                    )
                change = next(changes, None)
            if change is None:
                return
            yield change
