"""A sum of gradients that travels coded.

torchrun --nproc-per-node 2 python/examples/all_reduce.py
"""

import huffwire.distributed
import torch
import torch.distributed as dist


def main() -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(dist.get_rank())

    gradients = torch.randn(1_000_000).bfloat16()
    huffwire.distributed.setup(compression="always")
    huffwire.distributed.all_reduce(gradients)
    totals = huffwire.distributed.stats()["all_reduce"]
    line = f"sent {totals['bytes_after']} bytes for {totals['bytes_before']}"

    if dist.get_rank() == 0:
        print(line)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
