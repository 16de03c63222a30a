"""Names of `torch.distributed` that type checkers do not find there, because PyTorch imports them under a condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch._C._distributed_c10d import GradBucket, PrefixStore, Store, TCPStore
else:
    from torch.distributed import GradBucket, PrefixStore, Store, TCPStore

__all__ = ["GradBucket", "PrefixStore", "Store", "TCPStore"]
