"""Small trainings, for tests that compare them bit for bit."""

from __future__ import annotations

import hashlib

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

WIDTH = 48


class Block(nn.Module):
    """A feed-forward block with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


def model(dtype: torch.dtype) -> nn.Sequential:
    """A model with the same parameters on all ranks."""
    torch.manual_seed(7)
    return nn.Sequential(Block(), Block(), nn.Linear(WIDTH, 8)).to(dtype)


def digest(tensors) -> str:
    """A hash of all bits of tensors."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def train(network: nn.Module, rank: int, steps: int, dtype: torch.dtype, step_of=None) -> list[str]:
    """Trains, and returns a hash of gradients and parameters after every 10 steps, and the last losses."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.003, momentum=0.9)
    generator = torch.Generator().manual_seed(100 + rank)
    weights = torch.randn(WIDTH, 8, generator=torch.Generator().manual_seed(1)) / 7
    found = []
    for step in range(steps):
        x = torch.randn(8, WIDTH, generator=generator)
        y = (x @ weights).to(dtype)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(x.to(dtype)).to(dtype), y)
        loss.backward()
        if step % 10 == 9:
            local = [getattr(each, "_local_tensor", each) for each in network.parameters()]
            grads = [
                getattr(each.grad, "_local_tensor", each.grad) for each in network.parameters()
            ]
            found.append(digest(local + grads))
        optimizer.step()
    assert torch.isfinite(loss)
    found.append(f"{loss.item():.6f}")
    return found


def ddp(dtype: torch.dtype, hook=None, state=None, group: dist.ProcessGroup | None = None):
    """The model in DistributedDataParallel, with several buckets."""
    network = DistributedDataParallel(model(dtype), bucket_cap_mb=0.05, process_group=group)
    if hook is not None:
        network.register_comm_hook(state, hook)
    return network
