"""Residual network for small images, with switches for the skip connections and the norm layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.errors import LandscapeError
from landscape.models.common import ACTIVATIONS, choose, seeded


def resnet(
    depth: int = 20,
    *,
    width: int = 16,
    skip: bool = True,
    norm: str = "batch",
    standardise: bool = False,
    classes: int = 10,
    in_channels: int = 3,
    activation: str = "relu",
    seed: int = 0,
) -> nn.Module:
    """Build the CIFAR-10 network of He et al.: 6n + 2 layers in three stages of `width`, 2·`width` and 4·`width` maps.

    Shortcuts carry no parameters (option A: every other pixel, new maps zero), so a network with and one without skip
    connections have the same parameters and can be compared filter by filter.

    Args:
        depth: number of weighted layers, 6n + 2: 8, 14, 20, 32, 44, 56, 110.
        width: feature maps of the first stage.
        skip: add the shortcuts; False gives the "noshort" networks of Li et al. 2018.
        norm: ``batch``, ``group`` (groups of 8 maps, or one group if `width` is not a multiple of 8) or ``none``.
        standardise: the filters of every convolution are standardised before they are used and multiplied by one gain per filter
            (`StandardisedConv2d`); with ``norm="none"`` that makes a norm-free network.
        classes: number of classes C.
        in_channels: channels of an image.
        activation: ``relu``, ``gelu``, ``tanh``, ``silu``, ``softplus`` or ``none``.
        seed: of the initialisation: He's normal with fan-out; without norm layers the second convolution of each of the
            3n blocks (its gain, if it is standardised) is divided by √(3n) where there are shortcuts, or their sums would
            grow exponentially with depth.

    Returns:
        A module from images (N, channels, height, width) to logits (N, C).

    Raises:
        LandscapeError: a depth that is not 6n + 2, an unknown norm or activation.

    Source: K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2016, section 4.2; H. Li et
    al. 2018 (arXiv 1712.09913) without shortcuts; A. Brock et al. 2021 (arXiv 2101.08692) with standardised filters.

    >>> sum(p.numel() for p in resnet(20).parameters())
    269722
    """
    if depth < 8 or (depth - 2) % 6:
        raise LandscapeError(f"depth={depth}; expected 6n + 2, such as 8, 14, 20 or 56")
    choose("activation", activation, ACTIVATIONS)
    choose("norm", norm, {name: name for name in ("batch", "group", "none")})
    with seeded(seed):
        return _ResNet((depth - 2) // 6, width, skip, norm, standardise, classes, in_channels, activation)


def _norm(kind: str, maps: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(maps)
    if kind == "group":
        return nn.GroupNorm(maps // 8 if maps % 8 == 0 else 1, maps)
    return nn.Identity()


class StandardisedConv2d(nn.Module):
    r"""A 3×3 convolution without bias whose filters are standardised and scaled by a gain each.

    .. math:: \hat W_i = g_i\,\frac{W_i - \mu_i}{\sigma_i \sqrt n}, \qquad g_i = \sqrt{2 / (1 - 1/\pi)} \text{ at first}

    with mean and standard deviation over the n weights of filter i, so that each filter has the norm of its gain and the
    weights may be scaled without changing the function. The first gain keeps the variance of what passes through a ReLU.
    It is no `torch.nn.Conv2d`, because its output is not linear in its weights.

    Args:
        inputs: maps at the input.
        maps: maps at the output.
        stride: of the convolution.

    Source: A. Brock, S. De, S. Smith, *Characterizing signal propagation to close the performance gap in unnormalized
    ResNets*, 2021 (arXiv 2101.08692), section 4; weight standardisation by S. Qiao et al. 2019 (arXiv 1903.10520).

    >>> layer = StandardisedConv2d(2, 4)
    >>> layer.filters().flatten(1).norm(dim=1).detach().numpy().round(3)
    array([1.713, 1.713, 1.713, 1.713], dtype=float32)
    """

    def __init__(self, inputs: int, maps: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(maps, inputs, 3, 3))
        self.gain = nn.Parameter(torch.full((maps,), math.sqrt(2 / (1 - 1 / math.pi))))
        self.stride = stride
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def filters(self) -> Tensor:
        """Return the filters as they are used."""
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return centred * (self.gain / (centred.square().sum((1, 2, 3)) + 1e-12).sqrt())[:, None, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve images (N, inputs, height, width)."""
        return F.conv2d(x, self.filters(), stride=self.stride, padding=1)


def _conv(inputs: int, maps: int, stride: int = 1, *, standardise: bool) -> nn.Module:
    if standardise:
        return StandardisedConv2d(inputs, maps, stride)
    return nn.Conv2d(inputs, maps, 3, stride=stride, padding=1, bias=False)


class _Block(nn.Module):
    """Two 3×3 convolutions and, if asked for, a shortcut around them."""

    def __init__(
        self, inputs: int, maps: int, stride: int, skip: bool, norm: str, standardise: bool, activation: str
    ) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, maps, stride, standardise=standardise)
        self.norm1 = _norm(norm, maps)
        self.conv2 = _conv(maps, maps, standardise=standardise)
        self.norm2 = _norm(norm, maps)
        self.activation = ACTIVATIONS[activation]()
        self.stride, self.skip, self.added = stride, skip, maps - inputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(x)))))
        if self.skip:
            shortcut = x[:, :, :: self.stride, :: self.stride]
            out = out + F.pad(shortcut, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return self.activation(out)


class _ResNet(nn.Module):
    """See `resnet`."""

    def __init__(
        self,
        n: int,
        width: int,
        skip: bool,
        norm: str,
        standardise: bool,
        classes: int,
        in_channels: int,
        activation: str,
    ) -> None:
        super().__init__()
        self.conv = _conv(in_channels, width, standardise=standardise)
        self.norm = _norm(norm, width)
        self.activation = ACTIVATIONS[activation]()
        inputs, stages = width, []
        for stage in range(3):
            maps = width << stage
            blocks = []
            for index in range(n):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(_Block(inputs, maps, stride, skip, norm, standardise, activation))
                inputs = maps
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(inputs, classes)
        self._initialise(3 * n, scale_down=skip and norm == "none")

    def _initialise(self, blocks: int, *, scale_down: bool) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            scaled = {StandardisedConv2d: "gain", nn.Conv2d: "weight"}.get(type(module))
            if scaled and scale_down and name.endswith("conv2"):
                getattr(module, scaled).detach().div_(blocks**0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(self.conv(x)))
        return self.linear(self.stages(x).mean((2, 3)))
