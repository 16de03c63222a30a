"""A training that publishes its weights after each step, and another process that follows them.

torchrun --nproc-per-node 2 python/examples/weight_sync.py
"""

import tempfile

import huffwire.sync
import huffwire.torch
import torch
import torch.distributed as dist
from torch import nn

STEPS = 6


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128)).bfloat16()


def train(folder: str) -> nn.Module:
    """Trains, publishes each step, and reports what a follower reads."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    sent = raw = 0
    with huffwire.sync.Publisher(folder) as publisher:
        publisher.publish(model.state_dict())
        for step in range(1, STEPS):
            x = torch.randn(64, 128).bfloat16()
            loss = (model(x) - x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            published = publisher.publish(model.state_dict())
            share = published.changes / sum(p.numel() for p in model.parameters())
            print(f"step {step}: loss {loss.item():.3f}, {share:.1%} of the weights changed")
            sent, raw = sent + published.bytes, raw + published.raw_bytes
    print(f"sent {sent} bytes for {raw}")
    return model


def follow(folder: str) -> nn.Module:
    """Follows until the last step, in the memory of a model that is in use."""
    model = network()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    subscriber = huffwire.sync.Subscriber(folder, model.state_dict())
    while subscriber.version != STEPS - 1:
        update = subscriber.wait(timeout=60, poll=0.01)
        assert update is not None, "the publisher is gone"
    return model


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    with tempfile.TemporaryDirectory() as own:
        # Both use the folder of rank 0.
        folders = [own]
        dist.broadcast_object_list(folders, src=0)
        model = train(folders[0]) if rank == 0 else follow(folders[0])

        hashes = [huffwire.torch.content_hash(tensor) for tensor in model.state_dict().values()]
        everywhere: list[list[str]] = [[], []]
        dist.all_gather_object(everywhere, hashes)
        assert everywhere[0] == everywhere[1], "the weights differ"
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
