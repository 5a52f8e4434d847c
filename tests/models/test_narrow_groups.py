from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sertransfer.models.pyresnet import NarrowGroupsConv2d, PyramidConv, PyResNet

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def pair(out_channels: int, groups: int, stride: int) -> tuple[NarrowGroupsConv2d, nn.Conv2d]:
    """Return a convolution and torch's own with the same weights, in double precision."""
    torch.manual_seed(0)
    narrow = NarrowGroupsConv2d(16, out_channels, 5, stride, groups)
    plain = nn.Conv2d(16, out_channels, 5, stride, 2, groups=groups, bias=False)
    plain.load_state_dict(narrow.state_dict())
    return narrow.double().to(memory_format=torch.channels_last), plain.double()  # type: ignore[call-overload]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("out_channels", "groups", "stride"), [(4, 4, 1), (8, 8, 2), (8, 4, 2), (16, 8, 1)])
def test_results_and_gradients_are_those_of_the_grouped_convolution(
    out_channels: int, groups: int, stride: int, layout: torch.memory_format
) -> None:
    narrow, plain = pair(out_channels, groups, stride)
    x = torch.randn(3, 16, 11, 9, dtype=torch.double).contiguous(memory_format=layout)
    found: list[list[Tensor]] = []
    for conv in (narrow, plain):
        given = x.clone().requires_grad_()
        scores = conv(given)
        (scores * torch.arange(scores.numel()).view_as(scores)).sum().backward()
        assert given.grad is not None
        assert conv.weight.grad is not None
        found.append([scores.detach(), given.grad, conv.weight.grad])
    torch.testing.assert_close(*found)
    with torch.no_grad():  # two channels a group take another way without gradients
        narrow.bias = plain.bias = nn.Parameter(torch.randn(out_channels, dtype=torch.double))
        torch.testing.assert_close(narrow(x), plain(x))


def test_the_first_stage_has_them_where_a_group_makes_one_or_two_channels() -> None:
    network = PyResNet(4)
    narrow = [name for name, module in network.named_modules() if isinstance(module, NarrowGroupsConv2d)]
    assert narrow == [f"layer1.{block}.conv2.conv2_{level}" for block in range(3) for level in (3, 4)]
    first = network.get_submodule("layer1.0.conv2")
    assert isinstance(first, PyramidConv)
    assert list(first.state_dict()) == [f"conv2_{level}.weight" for level in (1, 2, 3, 4)]
