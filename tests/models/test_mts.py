from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sertransfer.models.mts import FACTORS, TimeScaledConv2d, resample_kernel, scale_time, scaled_width
from sertransfer.models.registry import build_model


def make(width: int, *, stride: int = 1, padding: int | None = None) -> nn.Conv2d:
    torch.manual_seed(width)
    return nn.Conv2d(2, 3, (3, width), stride, (1, width // 2 if padding is None else padding))


def test_the_scaled_widths() -> None:
    widths = {base: [scaled_width(base, factor) for factor in FACTORS[5]] for base in (3, 5, 7, 11)}
    assert widths == {
        3: [3, 1, 2, 4, 6],
        5: [5, 2, 3, 7, 10],
        7: [7, 3, 5, 10, 14],
        11: [11, 5, 8, 16, 22],
    }
    assert scaled_width(1, 0.1) == 1


@settings(max_examples=20, deadline=None)
@given(width=st.sampled_from([3, 5, 7, 11]), stride=st.integers(1, 4), frames=st.integers(11, 40))
def test_the_parameters_and_the_size_of_the_map_are_those_of_the_base(
    width: int, stride: int, frames: int
) -> None:
    conv = make(width, stride=stride)
    scaled = TimeScaledConv2d(conv, FACTORS[5])
    assert dict(scaled.named_parameters()).keys() == dict(conv.named_parameters()).keys()
    assert scaled.weight is conv.weight
    assert scaled.bias is conv.bias
    x = torch.randn(2, 2, 7, frames)
    assert scaled(x).shape == conv(x).shape
    assert (scaled(x) >= conv(x)).all()  # the maximum over branches of which the base is one


def test_scaling_by_one_is_the_plain_convolution() -> None:
    conv, x = make(5), torch.randn(2, 2, 7, 20)
    assert torch.equal(TimeScaledConv2d(conv, [1.0])(x), conv(x))
    torch.testing.assert_close(resample_kernel(conv.weight, 5), conv.weight)
    single = TimeScaledConv2d(conv, [1.0, 2.0])
    torch.testing.assert_close(single._branch(x, 5), conv(x))


def test_kernels_are_resampled_linearly_in_time_only() -> None:
    ramp = torch.arange(4.0).expand(1, 1, 2, 4) + torch.tensor([0.0, 10.0])[:, None]
    halved = resample_kernel(ramp, 2)
    torch.testing.assert_close(halved, torch.tensor([[[[0.5, 2.5], [10.5, 12.5]]]]))


@pytest.mark.parametrize("branches", [3, 5])
def test_no_branch_moves_the_map(branches: int) -> None:
    """A symmetric kernel at any width answers a symmetric input with a symmetric map, so with no shift."""
    conv = make(3)
    with torch.no_grad():
        conv.weight.copy_((conv.weight + conv.weight.flip(-1)) / 2)
    x = torch.randn(1, 2, 5, 21)
    x = x + x.flip(-1)
    out = TimeScaledConv2d(conv, FACTORS[branches])(x)
    torch.testing.assert_close(out, out.flip(-1), rtol=1e-4, atol=1e-5)


def test_a_branch_longer_than_the_base_is_resized_to_it() -> None:
    conv, x = make(3), torch.randn(1, 2, 5, 12)
    branch = TimeScaledConv2d(conv, [1.428])._branch(x, 4)
    kernel = resample_kernel(conv.weight, 4)
    torch.testing.assert_close(branch, F.conv2d(F.pad(x, (2, 2)), kernel, conv.bias, padding=(1, 0)))
    assert branch.shape[-1] == 13
    resized = F.interpolate(branch, size=(5, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(TimeScaledConv2d(conv, [1.428])(x), torch.maximum(conv(x), resized))


def test_narrow_kernels_without_padding_see_what_the_base_sees() -> None:
    conv, x = make(11, padding=2), torch.randn(1, 2, 5, 30)
    branch = TimeScaledConv2d(conv, [0.5])._branch(x, 5)
    kernel = resample_kernel(conv.weight, 5)
    torch.testing.assert_close(branch, F.conv2d(x[..., 1:-1], kernel, conv.bias, padding=(1, 0)))
    assert branch.shape == conv(x).shape


@pytest.mark.parametrize(("branches", "widths"), [(3, (2, 4)), (5, (1, 2, 4, 6))])
def test_all_convolutions_wider_than_one_are_replaced(branches: int, widths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        plain = build_model("resnet152", 4)
        scaled = build_model(f"mts{branches}_resnet152", 4)
        alexnet = build_model(f"mts{branches}_alexnet", 4)
    shapes = {name: p.shape for name, p in plain.named_parameters()}
    assert {name: p.shape for name, p in scaled.named_parameters()} == shapes
    replaced = {name: m for name, m in scaled.named_modules() if isinstance(m, TimeScaledConv2d)}
    assert len(replaced) == 51
    assert replaced["features.layer3.7.conv2"].widths == widths
    kept = [m for m in scaled.modules() if type(m) is nn.Conv2d]
    assert {m.kernel_size for m in kept} == {(1, 1)}
    assert sum(isinstance(m, TimeScaledConv2d) for m in alexnet.modules()) == 5
    assert not any(type(m) is nn.Conv2d for m in alexnet.modules())


def test_a_network_of_plain_layers_stays_as_it_is() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    assert scale_time(layers, 3) is layers
    assert type(layers[0]) is nn.Conv2d
