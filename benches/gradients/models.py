"""The five networks: a ResNet, one in the style of VGG, one in that of AlexNet, an LSTM, a transformer.

Small enough for two cores, about a million parameters each. What matters here is how their gradients are
made: batch norms, large fully connected layers, dropout, embeddings of which a batch touches few rows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradients import data

IMAGE_MODELS = ("resnet", "vgg", "alexnet")
SEQUENCE_MODELS = ("lstm", "transformer")
WIDTH = 128


class Block(nn.Module):
    """Two convolutions and what goes past them (He et al. 2016, the form for CIFAR-10)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.outputs, self.stride = outputs, stride

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        # Without parameters: every other pixel, and channels of zeros.
        past = x[:, :, :: self.stride, :: self.stride]
        past = functional.pad(past, (0, 0, 0, 0, 0, self.outputs - past.shape[1]))
        return functional.relu(y + past)


def resnet(channels: int) -> nn.Module:
    """ResNet-20."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inputs = 16
    for outputs in (16, 32, 64):
        for index in range(3):
            layers.append(Block(inputs, outputs, 2 if index == 0 and outputs > 16 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, data.CLASSES))


def vgg(channels: int) -> nn.Module:
    """Pairs of 3 x 3 convolutions, each pair half the size and twice the width of the last; two dense layers."""
    layers: list[nn.Module] = []
    inputs = channels
    for outputs in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    dense = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * 128, 512), nn.ReLU(), nn.Linear(512, data.CLASSES)]
    return nn.Sequential(*layers, *dense)


def alexnet(channels: int) -> nn.Module:
    """Few convolutions, large dense layers with dropout, which hold most of the parameters."""
    network = nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 96, 3, padding=1), nn.ReLU(),
        nn.Conv2d(96, 64, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(16 * 64, 768), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(768, 512), nn.ReLU(),
        nn.Linear(512, data.CLASSES),
    )
    # Without norms the default start is too small: nothing would be learned in the first hundred steps.
    for layer in network:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return network


class Lstm(nn.Module):
    """Predicts the next token."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.head = nn.Linear(WIDTH, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(x))[0])


class Transformer(nn.Module):
    """Predicts the next token; three layers, the norms first."""

    def __init__(self, vocabulary: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(length, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 3, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, vocabulary)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(x) + self.places, mask=self.mask, is_causal=True))


def build(name: str, source: data.Images | data.Tokens, length: int) -> nn.Module:
    """A network of this name for this data; `length` is that of a sequence."""
    if isinstance(source, data.Images):
        makers = {"resnet": resnet, "vgg": vgg, "alexnet": alexnet}
        return makers[name](source.pictures.shape[1])
    return Lstm(source.vocabulary) if name == "lstm" else Transformer(source.vocabulary, length)
