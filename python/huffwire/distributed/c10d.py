"""Names of `torch.distributed` that type checkers do not find there, because PyTorch imports them under a condition, and
those that differ between its versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch._C._distributed_c10d import GradBucket, PrefixStore, Store, TCPStore
else:
    from torch.distributed import GradBucket, PrefixStore, Store, TCPStore

__all__ = ["GradBucket", "PrefixStore", "Store", "TCPStore", "one_of"]


def one_of(group: object, new: str, old: str) -> Any:
    """A method of a process group or backend that versions of PyTorch before 2.15 call otherwise."""
    return getattr(group, new, None) or getattr(group, old)
