"""PyResNet, the paper's network: a bottleneck ResNet with pyramidal convolutions (paper, section 2.4).

Pyramidal convolution sets several kernel sizes side by side (Duta et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sertransfer.errors import Faults
from sertransfer.models.base import SpectrogramModel


class NarrowGroupsConv2d(nn.Conv2d):
    """``nn.Conv2d`` without bias: the same weights, names and, to rounding, results; faster on a CPU.

    With two channels a group the gradients cost more than the forward pass gains, so that this way is taken
    without gradients only; with three and more it is never faster.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)

    @staticmethod
    def pays(out_channels: int, groups: int) -> bool:
        """Return whether a convolution of so many groups is ever faster this way."""
        return groups > 1 and out_channels <= 2 * groups

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, rows, frames)`` to ``(batch, out_channels, rows', frames')``."""
        made = self.out_channels // self.groups
        if x.device.type != "cpu" or (made > 1 and torch.is_grad_enabled()):
            return super().forward(x)
        outputs = []
        group = torch.arange(self.in_channels) // (self.in_channels // self.groups)
        for channel in range(made):
            kernels = self.weight[channel::made].flatten(0, 1)[:, None]  # (in_channels, 1, kernel, kernel)
            products = F.conv2d(x, kernels, None, self.stride, self.padding, groups=self.in_channels)
            # which input channels belong to which output channel, (out_channels, in_channels, 1, 1)
            members = F.one_hot(group * made + channel, self.out_channels).T[..., None, None]
            # a bias is there once a batch norm has been folded in
            outputs.append(F.conv2d(products, members.to(products), self.bias if channel == 0 else None))
        return outputs[0] if made == 1 else outputs[0].add_(outputs[1])


@dataclass(frozen=True)
class Level:
    """One kernel size of a pyramid: its group count and the share of the output channels it makes."""

    kernel: int
    groups: int
    share: float


STAGES: tuple[tuple[Level, ...], ...] = (
    (Level(3, 1, 1 / 4), Level(5, 4, 1 / 4), Level(7, 8, 1 / 4), Level(9, 16, 1 / 4)),
    (Level(3, 1, 1 / 4), Level(5, 4, 1 / 4), Level(7, 8, 1 / 2)),
    (Level(3, 1, 1 / 2), Level(5, 4, 1 / 2)),
    (Level(3, 1, 1.0),),
)
"""The pyramids of the four stages of PyResNet: as the map shrinks, the large kernels go."""


def level_conv(in_channels: int, out_channels: int, level: Level, stride: int) -> nn.Conv2d:
    """Build one level's convolution, without bias, padded to keep the size (before the stride).

    A narrow network can have fewer channels than a level has groups. The rule: the group count is the
    greatest common divisor of the level's own count, the input and the output channels, which at full
    width is the level's own.
    """
    groups = math.gcd(level.groups, in_channels, out_channels)
    if NarrowGroupsConv2d.pays(out_channels, groups):
        return NarrowGroupsConv2d(in_channels, out_channels, level.kernel, stride, groups)
    padding = level.kernel // 2
    return nn.Conv2d(in_channels, out_channels, level.kernel, stride, padding, groups=groups, bias=False)


class PyramidConv(nn.Module):
    """The levels of a pyramid over one input, their outputs concatenated on the channels.

    The levels are called ``conv2_1``, ``conv2_2`` and so on, the names in published weights.
    """

    def __init__(self, in_channels: int, out_channels: int, levels: tuple[Level, ...], stride: int) -> None:
        super().__init__()
        for number, level in enumerate(levels, start=1):
            width = round(out_channels * level.share)
            self.add_module(f"conv2_{number}", level_conv(in_channels, width, level, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, rows, frames)`` to ``(batch, out_channels, rows', frames')``."""
        return torch.cat([level(x) for level in self.children()], dim=1)


def second_conv(in_channels: int, out_channels: int, stage: int, stride: int) -> nn.Module:
    """Build the middle convolution of a block of *stage* (0 to 3); one level alone is a plain convolution."""
    levels = STAGES[stage]
    if len(levels) == 1:
        return level_conv(in_channels, out_channels, levels[0], stride)
    return PyramidConv(in_channels, out_channels, levels, stride)


EXPANSION = 4
ROWS = 4
"""Rows of frequency that pooling keeps; 128 mels make exactly as many."""

DEPTHS = {"pyresnet50": (3, 4, 6, 3), "pyresnet101": (3, 4, 23, 3), "pyresnet152": (3, 8, 36, 3)}
"""Blocks in each of the four stages."""


class Bottleneck(nn.Module):
    """A 1x1 convolution, a pyramidal one, a 1x1 one to four times the planes, and the shortcut.

    Args:
        stage: Which of the four stages the block stands in, from 0; decides the pyramid.
        first: The first block of a stage halves the map, and its shortcut with it (max-pool, 1x1).
    """

    conv_norm_pairs = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(self, in_channels: int, planes: int, stage: int, *, first: bool) -> None:
        super().__init__()
        out_channels = planes * EXPANSION
        stride = 2 if first else 1
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = second_conv(planes, planes, stage, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if first:
            self.downsample = nn.Sequential(
                nn.MaxPool2d(3, stride=stride, padding=1),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, rows, frames)`` to ``(batch, 4 planes, rows', frames')``."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


class PyResNet(SpectrogramModel):
    """PyResNet of any depth and width.

    Args:
        num_classes: Outputs of the classifier.
        blocks: Blocks in each of the four stages.
        width: Factor on all channels. The first stage has ``64 * width`` planes, rounded to a multiple
            of 4 (at least 4) so that its pyramid's four levels can share them; each further stage has
            twice as many. Group counts adapt as :func:`~sertransfer.models.pyresnet.level_conv` says.
        dropout: Probability of dropping a feature before the classifier (paper: none).

    Raises:
        BadInput: If an option is out of range.
    """

    conv_norm_pairs = (("conv1", "bn1"),)

    def __init__(
        self,
        num_classes: int,
        blocks: Sequence[int] = DEPTHS["pyresnet50"],
        *,
        width: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_options(num_classes, blocks, width, dropout)
        base = max(4, 4 * round(64 * width / 4))
        self.conv1 = nn.Conv2d(1, base, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        channels = base
        for stage, count in enumerate(blocks):
            planes = base * 2**stage
            layer = nn.Sequential()
            for index in range(count):
                layer.append(Bottleneck(channels, planes, stage, first=index == 0))
                channels = planes * EXPANSION
            self.add_module(f"layer{stage + 1}", layer)
        self.num_features = channels * ROWS
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.num_features, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``(batch, 1, mels, frames)`` to ``(batch, channels, mels / 32, frames / 32)``, rounded up."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x

    def pool_frames(self, features: Tensor) -> Tensor:
        """Map a feature map to ``(batch, frames', num_features)``, channel-major as the classifier has it."""
        rows = F.adaptive_avg_pool2d(features, (ROWS, features.shape[-1]))  # (batch, channels, 4, frames')
        return rows.flatten(1, 2).transpose(1, 2)

    def forward_head(self, features: Tensor) -> Tensor:
        """Map a feature map to scores before the softmax, ``(batch, classes)``."""
        pooled = F.adaptive_avg_pool2d(features, (ROWS, 1)).flatten(1)  # (batch, num_features)
        scores: Tensor = self.fc(self.dropout(pooled))
        return scores

    def reset_classifier(self, num_classes: int) -> None:
        """Replace ``fc`` by a new layer for *num_classes* classes, where the old one was."""
        weight = self.fc.weight
        self.fc = nn.Linear(self.num_features, num_classes, device=weight.device, dtype=weight.dtype)


def _check_options(num_classes: int, blocks: Sequence[int], width: float, dropout: float) -> None:
    """Refuse options that make no network; a checkpoint file can bring any."""
    checks: list[tuple[str, object, bool, str]] = [
        ("num_classes", num_classes, num_classes >= 1, "a number of at least 1"),
        (
            "blocks",
            blocks,
            len(blocks) == 4 and all(1 <= n <= 100 for n in blocks),
            "4 numbers of 1 to 100",
        ),
        ("width", width, 0 < width <= 8, "a factor above 0, at most 8"),
        ("dropout", dropout, 0 <= dropout < 1, "a probability of at least 0, below 1"),
    ]
    faults = Faults()
    for name, value, good, expected in checks:
        if not good:
            faults.add("PyResNet", found=f"{name} {value}", expected=expected, remedy=f"correct '{name}'")
    faults.raise_if_any()
