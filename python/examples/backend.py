"""A program that is not changed, but for its backend.

HUFFWIRE_COMPRESSION=always torchrun --nproc-per-node 2 python/examples/backend.py
"""

import huffwire.backend
import huffwire.distributed
import torch
import torch.distributed as dist


def main() -> None:
    dist.init_process_group("huffwire")
    rank, size = dist.get_rank(), dist.get_world_size()

    torch.manual_seed(rank)
    gradients = torch.randn(1_000_000).bfloat16()
    dist.all_reduce(gradients)

    shards = torch.empty(size * gradients.numel(), dtype=gradients.dtype)
    dist.all_gather_into_tensor(shards, gradients)
    assert torch.equal(shards[: gradients.numel()], gradients)

    dist.barrier()
    if rank == 0:
        for name, totals in huffwire.distributed.stats().items():
            print(f"{name}: sent {totals['bytes_after']} bytes for {totals['bytes_before']}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
