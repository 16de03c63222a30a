"""DistributedDataParallel with gradients that travel coded, and the same training, bit for bit.

torchrun --nproc-per-node 2 python/examples/ddp_lossless.py
"""

import huffwire.ddp
import huffwire.distributed
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    # On a fast link, such as that within one machine, nothing would be coded by itself.
    huffwire.distributed.setup(compression="always")

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256)).bfloat16()
    model = DistributedDataParallel(network)
    model.register_comm_hook(huffwire.ddp.LosslessState(), huffwire.ddp.lossless_hook)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    torch.manual_seed(1 + rank)
    for step in range(10):
        x = torch.randn(32, 256).bfloat16()
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0:
            print(f"step {step}: loss {loss.item():.3f}")

    if rank == 0:
        totals = huffwire.distributed.stats()["all_reduce"]
        print(f"sent {totals['bytes_after']} bytes for {totals['bytes_before']}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
