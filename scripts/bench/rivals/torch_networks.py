"""The workloads' networks in PyTorch, and the conversion of weights from and to Keras's order and layout."""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from exercise import Exercise  # beside this file
from torch import nn

GROUPS, EPSILON = 2, 1e-3  # of group normalization, as Keras has them


class Dense(nn.Module):
    """Logistic regression, or a network with ReLU layers of the widths `hidden`."""

    def __init__(self, *hidden: int):
        super().__init__()
        widths = (784, *hidden, 10)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class Cnn(nn.Module):
    """Two 3×3 convolutions with max pooling, a dense layer of 128: 225,034 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.hidden, self.logits = nn.Linear(1600, 128), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        return self.logits(F.relu(self.hidden(x.permute(0, 2, 3, 1).flatten(1))))  # in Keras's order of pixels and channels


class Block(nn.Module):
    """Two convolutions with group normalization, beside the block's input or a 1×1 convolution of it."""

    def __init__(self, channels: int, filters: int, stride: int):
        super().__init__()
        self.stride, self.projects = stride, stride > 1 or channels != filters
        self.first = nn.Conv2d(channels, filters, 3, stride, 0 if stride > 1 else 1, bias=False)
        self.first_norm = nn.GroupNorm(GROUPS, filters, EPSILON)
        self.second = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        if self.projects:  # Keras sorts layers by their depth
            self.shortcut = nn.Conv2d(channels, filters, 1, stride, bias=False)
        self.second_norm = nn.GroupNorm(GROUPS, filters, EPSILON)
        if self.projects:
            self.shortcut_norm = nn.GroupNorm(GROUPS, filters, EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x, (0, 1, 0, 1)) if self.stride > 1 else x  # Keras's padding="same"
        h = self.second_norm(self.second(F.relu(self.first_norm(self.first(padded)))))
        return F.relu(h + (self.shortcut_norm(self.shortcut(x)) if self.projects else x))


class ResNet18(nn.Module):
    """ResNet-18 for 32×32 images with group normalization: 11,173,962 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.GroupNorm(GROUPS, 64, EPSILON)
        stages = [
            (64, 64, 1),
            (64, 64, 1),
            (64, 128, 2),
            (128, 128, 1),
            (128, 256, 2),
            (256, 256, 1),
            (256, 512, 2),
            (512, 512, 1),
        ]
        self.blocks = nn.Sequential(*(Block(*stage) for stage in stages))
        self.logits = nn.Linear(512, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(self.blocks(F.relu(self.norm(self.first(x)))).mean((2, 3)))


class CharLstm(nn.Module):
    """An embedding of 8, two LSTM layers of 256, a logit per token at each place: 820,522 weights for 90 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(90, 8)
        self.first, self.second = nn.LSTM(8, 256, batch_first=True), nn.LSTM(256, 256, batch_first=True)
        self.logits = nn.Linear(256, 90)
        for layer in (self.first, self.second):  # Keras has one bias, not two
            layer.bias_hh_l0.requires_grad_(False)
            nn.init.zeros_(layer.bias_hh_l0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(self.second(self.first(self.embedding(x))[0])[0])


NETWORKS = {
    "perceptron": Dense,
    "mlp": lambda: Dense(128),
    "cnn": Cnn,
    "resnet18_gn": ResNet18,
    "char_lstm": CharLstm,
}


def network(exercise: Exercise) -> nn.Module:
    """The network with the exercise's initial weights."""
    built = NETWORKS[exercise.model]()
    with torch.no_grad():
        for parameter, array in zip(trained(built), exercise.weights):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(_turned(array, array.ndim, is_embedding(parameter, built)))))
    return built


def trained(built: nn.Module) -> list[nn.Parameter]:
    """The parameters that Keras has as well, in its order."""
    return [parameter for parameter in built.parameters() if parameter.requires_grad]


def keras_weights(built: nn.Module) -> list[np.ndarray]:
    """Copies of the weights, in Keras's layout."""
    return [_back(p.detach().numpy(), p.ndim, is_embedding(p, built)).copy() for p in trained(built)]


def is_embedding(parameter: nn.Parameter, built: nn.Module) -> bool:
    return isinstance(built, CharLstm) and parameter is built.embedding.weight


def _turned(array: np.ndarray, rank: int, plain: bool) -> np.ndarray:
    if plain or rank == 1:
        return array
    return array.transpose(3, 2, 0, 1) if rank == 4 else array.T


def _back(array: np.ndarray, rank: int, plain: bool) -> np.ndarray:
    if plain or rank == 1:
        return array
    return array.transpose(2, 3, 1, 0) if rank == 4 else array.T


def tensors(exercise: Exercise) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, channels first, and targets."""
    x = exercise.x.transpose(0, 1, 4, 2, 3) if exercise.x.ndim == 5 else exercise.x
    return torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(exercise.y.astype(np.int64))


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy; in text, over the targets that are no padding."""
    if targets.ndim == 1:
        return F.cross_entropy(outputs, targets)
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=0)
