"""Pyramidal convolution: several kernel sizes side by side (Duta et al. 2020, as used by PyResNet)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sertransfer.models.narrow_groups import NarrowGroupsConv2d


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
