"""Multi-time-scale convolution (MTS): one learned kernel at several speeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FACTORS = {3: (1.0, 0.7, 1.428), 5: (1.0, 0.5, 0.7, 1.428, 2.0)}
"""Scaling of the time axis in each branch, by the number of branches (paper)."""

M = TypeVar("M", bound=nn.Module)


class TimeScaledConv2d(nn.Conv2d):
    """A convolution whose kernel also runs stretched and squeezed in time (Guizzo et al. 2020).

    Each branch resamples the one kernel (bilinear, on the time axis, no scaling of its values) and
    convolves with it; its map is resized to the base map's size (bilinear), and the maximum over the
    branches, position by position, is the output (arXiv 2003.03375). The parameters are those of the
    convolution it is made from, under the same names; with a factor of 1 alone it is that convolution.

    The authors' public code does three things otherwise, so this layer follows the paper's text and not their
    code: there scaled widths are rounded down, every branch keeps the base's padding, and only the base
    branch receives a gradient (the other kernels are resampled from its values outside of the graph). Here
    all branches learn through the one kernel.

    Our choices where the paper is silent:

    - A scaled width is the nearest whole number, halves down, and at least 1: a width of 3 becomes
      1, 2, 3, 4 and 6 for the five factors, all different.
    - Alignment: the base's padding is widened by half of what the kernel gains, rounded up, on *both*
      sides (and cut by half of what it loses). An odd difference so keeps the middle where it is: the
      map is one frame longer (at a stride of 1), and resizing brings it back into place. Padding one
      side more would have moved the map by half a frame in every layer.
    - The bias is added in every branch, as part of the layer, and so before the maximum.

    Args:
        conv: The convolution; its parameters are taken over, not copied.
        factors: Scaling of each branch; the base (1) is always there.
    """

    folds_norm = False  # a batch norm of negative scale turns the maximum into a minimum

    def __init__(self, conv: nn.Conv2d, factors: Sequence[float]) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]  # a pair, though typed as a tuple of any length
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        base = conv.kernel_size[1]
        self.widths = tuple(width for width in (scaled_width(base, f) for f in factors) if width != base)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, rows, frames)`` as the base convolution does."""
        out = super().forward(x)
        for width in self.widths:
            branch = self._branch(x, width)
            if branch.shape[-1] != out.shape[-1]:
                branch = F.interpolate(branch, size=out.shape[-2:], mode="bilinear", align_corners=False)
            out = torch.maximum(out, branch)
        return out

    def _branch(self, x: Tensor, width: int) -> Tensor:
        """Convolve with the kernel resampled to *width*."""
        rows, frames = int(self.padding[0]), int(self.padding[1])
        frames -= (self.kernel_size[1] - width) // 2
        if frames < 0:  # the first and the last positions of a narrow kernel would lie outside the base's
            x, frames = F.pad(x, (frames, frames)), 0
        kernel = resample_kernel(self.weight, width)
        return F.conv2d(x, kernel, self.bias, self.stride, (rows, frames), groups=self.groups)


def scaled_width(width: int, factor: float) -> int:
    """Return the width of a kernel scaled by *factor*: the nearest whole number, halves down, at least 1.

    Examples:
        >>> [scaled_width(3, factor) for factor in FACTORS[5]]
        [3, 1, 2, 4, 6]
    """
    return max(1, math.ceil(width * factor - 0.5))


def resample_kernel(weight: Tensor, width: int) -> Tensor:
    """Resample ``(out, in, rows, frames)`` to ``(out, in, rows, width)``, linear in time."""
    return F.interpolate(weight, size=(weight.shape[2], width), mode="bilinear", align_corners=False)


def scale_time(network: M, branches: int) -> M:
    """Replace every convolution that is wider than 1 in time, **in place**, by one of *branches* branches.

    In AlexNet these are all five convolutions; in ResNet152 the 7x7 one of the stem and the 3x3 one of
    each of the 50 blocks. A kernel of width 1 has nothing to scale: all 1x1 convolutions stay.

    Returns:
        *network* itself, with the parameters that it had.
    """
    for parent in list(network.modules()):
        for name, conv in list(parent.named_children()):
            if isinstance(conv, nn.Conv2d) and conv.kernel_size[1] > 1:
                setattr(parent, name, TimeScaledConv2d(conv, FACTORS[branches]))
    return network
