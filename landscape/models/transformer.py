"""Small pre-norm transformers: a classifier of image patches and a causal character model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.errors import LandscapeError
from landscape.models.common import seeded


def transformer(
    image_shape: Sequence[int] = (1, 8, 8),
    *,
    patch: int = 2,
    classes: int = 10,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
    dropout: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """Build a classifier that reads an image as a sequence of square patches and averages over positions.

    Each block is x + attention(norm(x)), then x + mlp(norm(x)) with a GELU and a hidden layer of 4·`width` (pre-norm).

    Args:
        image_shape: channels, height and width of an image.
        patch: side of a patch; divides height and width.
        classes: number of classes C.
        width: features of a token; a multiple of `heads`.
        heads: attention heads.
        layers: blocks.
        dropout: probability, on attention weights and on the output of each branch.
        seed: of the initialisation.

    Returns:
        A module from images (N, channels, height, width) to logits (N, C).

    Raises:
        LandscapeError: patches that do not tile the image, or heads that do not divide the width.

    Source: R. Xiong et al., *On layer normalization in the transformer architecture*, 2020, Figure 1b; A. Dosovitskiy
    et al., *An image is worth 16×16 words*, 2021, section 3.1.

    >>> transformer()(torch.zeros(3, 1, 8, 8)).shape
    torch.Size([3, 10])
    """
    channels, height, breadth = image_shape
    if height % patch or breadth % patch:
        raise LandscapeError(f"patch={patch} does not tile a {height} × {breadth} image; use a divisor of both sides")
    _check_heads(width, heads)
    with seeded(seed):
        tokens = (height // patch) * (breadth // patch)
        return _PatchTransformer(channels * patch**2, tokens, patch, classes, width, heads, layers, dropout)


def char_transformer(
    vocabulary: int,
    *,
    context: int = 64,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
    dropout: float = 0.0,
    tied: bool = False,
    seed: int = 0,
) -> nn.Module:
    """Build a causal model that predicts each next character from those before it.

    Args:
        vocabulary: number of distinct characters V.
        context: longest sequence T.
        width: features of a token; a multiple of `heads`.
        heads: attention heads.
        layers: blocks, as in `transformer`.
        dropout: probability, on attention weights and on the output of each branch.
        tied: use the embedding as the output layer's weight (Press & Wolf 2017), one parameter with two roles.
        seed: of the initialisation.

    Returns:
        A module from indices (N, T) to logits (N, V, T), the layout that `cross_entropy` expects for targets (N, T).

    Raises:
        LandscapeError: heads that do not divide the width; at the call, a sequence longer than `context`.

    >>> char_transformer(27)(torch.zeros(3, 5, dtype=torch.long)).shape
    torch.Size([3, 27, 5])
    """
    _check_heads(width, heads)
    with seeded(seed):
        return _CharTransformer(vocabulary, context, width, heads, layers, dropout, tied)


def _check_heads(width: int, heads: int) -> None:
    if width % heads:
        raise LandscapeError(f"width={width} is not a multiple of heads={heads}; choose one that is")


class _Attention(nn.Module):
    """Multi-head self-attention, written out so that products with second derivatives can choose its kernel."""

    def __init__(self, width: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.heads, self.dropout, self.causal = heads, dropout, causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query_key_value(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=self.causal)
        return self.output(mixed.transpose(1, 2).flatten(2))


class _Block(nn.Module):
    """One pre-norm block."""

    def __init__(self, width: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = _Attention(width, heads, dropout, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class _PatchTransformer(nn.Module):
    """See `transformer`."""

    def __init__(
        self,
        features: int,
        tokens: int,
        patch: int,
        classes: int,
        width: int,
        heads: int,
        layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.embedding = nn.Linear(features, width)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = nn.Sequential(*(_Block(width, heads, dropout, causal=False) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)
        encoded = self.blocks(self.embedding(patches) + self.position)
        return self.linear(self.norm(encoded).mean(1))


class _CharTransformer(nn.Module):
    """See `char_transformer`."""

    def __init__(
        self, vocabulary: int, context: int, width: int, heads: int, layers: int, dropout: float, tied: bool
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.position = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.Sequential(*(_Block(width, heads, dropout, causal=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.linear.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        if length > len(self.position):
            raise LandscapeError(f"a sequence of {length} characters; expected at most context={len(self.position)}")
        encoded = self.blocks(self.embedding(x) + self.position[:length])
        return self.linear(self.norm(encoded)).transpose(1, 2)
