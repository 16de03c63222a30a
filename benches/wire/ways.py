"""Process groups of the contenders: each has one of its own, so that all can stand side by side in one process."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch.distributed as dist

import huffwire
import huffwire.distributed

# What is asked of a set-up of huffwire, by the names in tables.
COMPRESSIONS = {"raw pieces": "raw", "coded": "always", "auto": "auto"}


@dataclass
class Way:
    """A way to carry collectives.

    Attributes:
        name: As in the tables.
        group: The process group.
        module: Whose functions carry them: `torch.distributed` or `huffwire.distributed`.
        agreement: What the ranks agreed on, with huffwire.
    """

    name: str
    group: dist.ProcessGroup
    module: ModuleType
    agreement: Any = None


def plain() -> Way:
    return Way("gloo", dist.new_group(backend="gloo"), dist)


# Bytes of the pieces that `auto` has, by transport.
_PIECES: dict[str, int] = {}


def coded(compression: str, transport: str = "gloo") -> Way:
    """A group that huffwire carries. All have the pieces that suit the link, as `auto` measures it the first time.

    Args:
        compression: One of `COMPRESSIONS`.
        transport: As `HUFFWIRE_TRANSPORT` names it.
    """
    name = compression if transport == "gloo" else f"{compression}, {transport}"
    group = dist.new_group(backend="gloo")
    if transport not in _PIECES:
        _PIECES[transport] = huffwire.distributed.setup(group, compression="auto", transport=transport).piece
    agreement = huffwire.distributed.setup(
        group, compression=COMPRESSIONS[compression], piece=_PIECES[transport], transport=transport
    )
    return Way(name, group, huffwire.distributed, agreement)
