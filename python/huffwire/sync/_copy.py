"""The publisher's copy of what was published last, and what changed since."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from huffwire._errors import MismatchError
from huffwire._huffwire import _inspect_delta
from huffwire._tensors import _address, _source
from huffwire._torch_deltas import content_hash, encode_delta, prepare_delta
from huffwire.sync._memory import was_copied
from huffwire.sync._versions import Item, Options

# Deltas that are larger than this share of their tensor are not kept until the copy is updated.
_KEPT_SHARE = 4


class Encoded(NamedTuple):
    """What the next version has for an item."""

    item: Item
    hash: str
    """The `huffwire.content_hash` of its new elements."""
    changes: int
    """How many of its words change."""
    message: bytes | None
    """What changed; None if there is nothing to compare it with."""
    whole: torch.Tensor | None
    """The new elements, if there is no ``message``."""


class Copy:
    """One tensor for each item, in memory of the CPU, updated in place."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._pending: dict[str, Callable[[], None]] = {}

    def begin(self) -> None:
        """Begins the next version, and forgets one that was begun before."""
        self._pending = {}

    def encode(self, item: Item, tensor: torch.Tensor, options: Options) -> Encoded:
        """Encodes what changed in an item. The delta is decoded again beside the copy: what is published is right."""
        source, _ = _source(tensor)
        held = self.tensors.get(item.key)
        if held is None or held.dtype != source.dtype or held.shape != source.shape:
            whole = source.detach()
            if not was_copied(_address(whole), tensor):
                whole = whole.clone()
            self._pending[item.key] = lambda: self.tensors.update({item.key: whole})
            return Encoded(item, content_hash(whole), whole.numel(), None, whole)
        message = encode_delta(
            source,
            held,
            level=options.level,
            symbols=options.symbols,
            codebooks=options.codebooks,
            threads=options.threads,
        )
        prepared = prepare_delta(message, held, codebooks=options.codebooks, threads=options.threads)
        info = _inspect_delta(message, None)
        if len(message) * _KEPT_SHARE <= source.nbytes:
            self._pending[item.key] = lambda: prepared.commit(threads=options.threads)
        else:
            due = info.result
            self._pending[item.key] = lambda: _copy_again(item, tensor, held, due)
        return Encoded(item, info.result, info.changes, message, None)

    def commit(self) -> None:
        """Updates the copy to the version that was encoded; items that are not in it go.

        Raises:
            MismatchError: A tensor changed while it was published.
        """
        pending, self._pending = self._pending, {}
        for update in pending.values():
            update()
        self.tensors = {key: self.tensors[key] for key in pending}


def _copy_again(item: Item, tensor: torch.Tensor, held: torch.Tensor, due: str) -> None:
    held.copy_(_source(tensor)[0].detach())
    if content_hash(held) != due:
        raise MismatchError(
            f"{item.key!r} changed while it was published: nobody may write to tensors during the call"
        )
