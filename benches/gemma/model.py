"""A decoder with the shape of Gemma 2B (Gemma Team 2024, arXiv 2403.08295), narrower: for two cores.

The same are: 18 layers, one head of keys and values for all heads of queries, a GeGLU whose inner width is 8 times the
model's, RMSNorm with a scale of 1 + w before each part, rotary positions, embeddings that are scaled by the root of the width
and serve as the last matrix, too. Parameters are bf16. Tokens are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY = 256
_EPSILON = 1e-6
_POSITIONS_BASE = 10_000.0


@dataclass(frozen=True)
class Shape:
    """Widths of the model, and what a step sees."""

    layers: int = 18
    width: int = 192
    heads: int = 6
    head_width: int = 32
    hidden: int = 1536
    sequences: int = 4
    length: int = 256

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.sequences * self.length


class Captured:
    """Activations of one forward pass by name, each as (tokens, width); their gradients after the backward pass."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def add(self, name: str, tensor: Tensor) -> None:
        tensor.retain_grad()
        self.tensors[name] = tensor


class Norm(nn.Module):
    """RMSNorm, computed in fp32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normal = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + _EPSILON)
        return (normal * (1.0 + self.weight.float())).to(x.dtype)


def rotate(x: Tensor) -> Tensor:
    """Rotary positions of (sequences, heads, length, width): pairs of the two halves are turned."""
    length, half = x.shape[-2], x.shape[-1] // 2
    rates = _POSITIONS_BASE ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


class Layer(nn.Module):
    """Attention and a gated feed-forward network, each with a norm before it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        inner = shape.heads * shape.head_width
        self.attention_norm, self.ffn_norm = Norm(shape.width), Norm(shape.width)
        self.q = nn.Linear(shape.width, inner, bias=False)
        self.k = nn.Linear(shape.width, shape.head_width, bias=False)
        self.v = nn.Linear(shape.width, shape.head_width, bias=False)
        self.o = nn.Linear(inner, shape.width, bias=False)
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, prefix: str, captured: Captured | None) -> Tensor:
        def keep(name: str, tensor: Tensor) -> Tensor:
            if captured is not None:
                captured.add(f"{prefix}.{name}", tensor)
            return tensor

        shape, (sequences, length) = self.shape, x.shape[:2]

        def heads(projected: Tensor, number: int) -> Tensor:
            return projected.view(sequences, length, number, shape.head_width).transpose(1, 2)

        normal = self.attention_norm(x)
        q = keep("q", rotate(heads(self.q(normal), shape.heads)))
        k = keep("k", rotate(heads(self.k(normal), 1)))
        v = keep("v", heads(self.v(normal), 1))
        k, v = (one.expand(-1, shape.heads, -1, -1) for one in (k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).reshape(sequences, length, -1))

        normal = self.ffn_norm(x)
        up = keep("ffn1.linear", self.up(normal))
        hidden = keep("ffn1", functional.gelu(self.gate(normal), approximate="tanh") * up)
        return x + keep("ffn2", self.down(hidden))


class Gemma(nn.Module):
    """Bytes in, scores of the next byte out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(VOCABULARY, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                # The matrices that add to the residual stream start smaller, so that its scale does not grow with depth.
                adds = name.endswith(("o.weight", "down.weight"))
                scale = (2 * shape.layers) ** -0.5 if adds else 1.0
                std = 0.02 if name.startswith("embedding") else scale * parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=std)
        self.to(torch.bfloat16)

    def forward(self, tokens: Tensor, captured: Captured | None = None) -> Tensor:
        x = self.embedding(tokens) * self.shape.width**0.5
        for number, layer in enumerate(self.layers):
            x = layer(x, f"layers.{number}", captured)
        return functional.linear(self.norm(x), self.embedding.weight)


def loss_of(model: Gemma, tokens: Tensor, captured: Captured | None = None) -> Tensor:
    """Mean cross entropy of the next byte, in nats; `tokens` is (sequences, length + 1)."""
    scores = model(tokens[:, :-1], captured).float()
    return functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())
