"""The exceptions of `huffwire.distributed`."""

from __future__ import annotations

import os

from huffwire._errors import DamagedError, Error, OptionError

__all__ = ["DisagreementError", "GroupError", "OutOfStepError", "PeerError", "PieceError"]


class PeerError(Error, ConnectionError):
    """Another rank died, failed, or did not answer within the group's time-out."""


class PieceError(DamagedError):
    """A piece was changed on its way, or is nothing that huffwire sent."""


class OutOfStepError(Error):
    """A piece belongs to another call: the ranks called different collectives, or in another order."""


class DisagreementError(OptionError):
    """The ranks of a group differ in what all have to agree on: versions, settings, codebooks, shapes, dtypes."""


class GroupError(Error):
    """A process group that was destroyed, that this rank is no member of, or that failed earlier."""


def check_process(process: int) -> None:
    """Checks that this is the process with that number, and no fork of it. What a fork waits for may never come, locks too.

    Raises:
        GroupError: It is another process.
    """
    if os.getpid() != process:
        raise GroupError(
            "this process is a fork of the one that made the group: make the group in the process that uses it"
        )


for _name in __all__:
    globals()[_name].__module__ = "huffwire.distributed"
