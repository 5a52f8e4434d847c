"""A convolution whose groups make one or two channels each, on a CPU by way of depthwise convolutions.

oneDNN's kernels fill a vector with the output channels of a group. Where a group makes one channel, as in
the first stage's 9x9 convolution, fifteen of sixteen lanes stay empty. A depthwise convolution fills the
vector with all input channels; a 1x1 convolution by ones then adds up what belongs to a group. The products
are the same, their sum is in another order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
