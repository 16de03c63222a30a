"""Collectives that send fewer bytes and change no bit of what arrives.

The functions have the names and the signatures of `torch.distributed`, and work on its process groups:

>>> import torch, torch.distributed as dist, huffwire.distributed
>>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
>>> gradients = torch.randn(1000).bfloat16()
>>> huffwire.distributed.all_reduce(gradients)
>>> dist.destroy_process_group()

Large tensors travel in coded pieces over a gloo group that huffwire makes beside the group; with the transport
``device`` those of GPUs stay on them, and the group itself moves them. Whether a call is coded
is decided from its size, its dtype, and the speeds of link and codec that all ranks measured and agreed on; the
environment variable ``HUFFWIRE_COMPRESSION`` (``auto``, ``always`` or ``never``) overrules it. All other calls are
passed to the group as they are.
"""

from huffwire.distributed.collectives import (
    all_gather,
    all_gather_into_tensor,
    all_reduce,
    all_to_all_single,
    broadcast,
    irecv,
    isend,
    recv,
    reduce_scatter_tensor,
    send,
)
from huffwire.distributed.errors import (
    DisagreementError,
    GroupError,
    OutOfStepError,
    PeerError,
    PieceError,
)
from huffwire.distributed.groups import generation, refresh, setup
from huffwire.distributed.life import Generation, Refresh, Report
from huffwire.distributed.policy import Link
from huffwire.distributed.settings import Agreement
from huffwire.distributed.totals import reset_stats, stats

__all__ = [
    "Agreement",
    "DisagreementError",
    "Generation",
    "GroupError",
    "Link",
    "OutOfStepError",
    "PeerError",
    "PieceError",
    "Refresh",
    "Report",
    "all_gather",
    "all_gather_into_tensor",
    "all_reduce",
    "all_to_all_single",
    "broadcast",
    "generation",
    "irecv",
    "isend",
    "recv",
    "refresh",
    "reduce_scatter_tensor",
    "reset_stats",
    "send",
    "setup",
    "stats",
]
