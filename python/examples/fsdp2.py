"""FSDP2 with parameters and gradients that travel coded, in mixed precision.

torchrun --nproc-per-node 2 python/examples/fsdp2.py
"""

import huffwire.distributed
import huffwire.fsdp
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    # On a fast link, such as that within one machine, nothing would be coded by itself.
    huffwire.distributed.setup(compression="always")

    torch.manual_seed(0)
    layers = [
        nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256)) for _ in range(2)
    ]
    model = nn.Sequential(*layers)
    mesh = dist.init_device_mesh("cpu", (dist.get_world_size(),))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.bfloat16)
    for layer in model:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    huffwire.fsdp.compress(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    torch.manual_seed(1 + rank)
    for step in range(10):
        x = torch.randn(32, 256)
        loss = (model(x).float() - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0:
            print(f"step {step}: loss {loss.item():.3f}")

    if rank == 0:
        for name, totals in huffwire.distributed.stats().items():
            print(f"{name}: sent {totals['bytes_after']} bytes for {totals['bytes_before']}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
