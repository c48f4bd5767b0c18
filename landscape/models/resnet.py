"""Residual network for small images, with switches for the skip connections and the norm layers."""

from __future__ import annotations

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
        classes: number of classes C.
        in_channels: channels of an image.
        activation: ``relu``, ``gelu``, ``tanh``, ``silu``, ``softplus`` or ``none``.
        seed: of the initialisation: He's normal with fan-out; without norm layers the second convolution of each of the
            3n blocks is divided by √(3n) where there are shortcuts, or their sums would grow exponentially with depth.

    Returns:
        A module from images (N, channels, height, width) to logits (N, C).

    Raises:
        LandscapeError: a depth that is not 6n + 2, an unknown norm or activation.

    Source: K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2016, section 4.2.

    >>> sum(p.numel() for p in resnet(20).parameters())
    269722
    """
    if depth < 8 or (depth - 2) % 6:
        raise LandscapeError(f"depth={depth}; expected 6n + 2, such as 8, 14, 20 or 56")
    choose("activation", activation, ACTIVATIONS)
    choose("norm", norm, {name: name for name in ("batch", "group", "none")})
    with seeded(seed):
        return _ResNet((depth - 2) // 6, width, skip, norm, classes, in_channels, activation)


def _norm(kind: str, maps: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(maps)
    if kind == "group":
        return nn.GroupNorm(maps // 8 if maps % 8 == 0 else 1, maps)
    return nn.Identity()


class _Block(nn.Module):
    """Two 3×3 convolutions and, if asked for, a shortcut around them."""

    def __init__(self, inputs: int, maps: int, stride: int, skip: bool, norm: str, activation: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, maps, 3, stride=stride, padding=1, bias=False)
        self.norm1 = _norm(norm, maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
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
        self, n: int, width: int, skip: bool, norm: str, classes: int, in_channels: int, activation: str
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.norm = _norm(norm, width)
        self.activation = ACTIVATIONS[activation]()
        inputs, stages = width, []
        for stage in range(3):
            maps = width << stage
            blocks = []
            for index in range(n):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(_Block(inputs, maps, stride, skip, norm, activation))
                inputs = maps
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(inputs, classes)
        self._initialise(3 * n, scale_down=skip and norm == "none")

    def _initialise(self, blocks: int, *, scale_down: bool) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if scale_down and name.endswith("conv2"):
                    module.weight.detach().div_(blocks**0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(self.conv(x)))
        return self.linear(self.stages(x).mean((2, 3)))
