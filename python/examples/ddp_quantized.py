"""DistributedDataParallel with quantized gradients: a twelfth of the bytes, with error feedback, saved and continued.

torchrun --nproc-per-node 2 python/examples/ddp_quantized.py
"""

import io

import huffwire.ddp
import huffwire.distributed
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def make(state: huffwire.ddp.QuantizedState) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256))
    model = DistributedDataParallel(network)
    model.register_comm_hook(state, huffwire.ddp.quantized_hook)
    return model, torch.optim.SGD(model.parameters(), lr=2.0)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range, rank: int) -> None:
    for step in steps:
        x = torch.randn(64, 256, generator=torch.Generator().manual_seed(2 * step + rank))
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0 and step % 10 == 9:
            print(f"step {step}: loss {loss.item():.3f}")


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()

    state = huffwire.ddp.QuantizedState(quantizer="qsgd", levels=4, warmup_steps=5)
    model, optimizer = make(state)
    train(model, optimizer, range(20), rank)

    # Each rank saves its own state of the hook beside the model.
    checkpoint = io.BytesIO()
    torch.save({"model": model.module.state_dict(), "hook": state.state_dict()}, checkpoint)
    checkpoint.seek(0)
    saved = torch.load(checkpoint)

    state = huffwire.ddp.QuantizedState()
    state.load_state_dict(saved["hook"])
    model, optimizer = make(state)
    model.module.load_state_dict(saved["model"])
    train(model, optimizer, range(20, 40), rank)

    if rank == 0:
        totals = huffwire.distributed.stats()["quantized_all_reduce"]
        print(f"sent {totals['bytes_after']} bytes for {totals['bytes_before']}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
