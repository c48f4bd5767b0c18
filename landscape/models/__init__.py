"""Reference networks: ordinary modules, initialised from a seed of their own."""

from collections.abc import Callable
from types import MappingProxyType

from torch import nn

from landscape.models.feedforward import mlp, small_cnn
from landscape.models.resnet import resnet
from landscape.models.transformer import char_transformer, transformer

MODELS: MappingProxyType[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "mlp": mlp,
        "small-cnn": small_cnn,
        "resnet": resnet,
        "transformer": transformer,
        "char-transformer": char_transformer,
    }
)
"""The networks that a checkpoint's manifest or the command line may name."""

__all__ = ["MODELS", "char_transformer", "mlp", "resnet", "small_cnn", "transformer"]
