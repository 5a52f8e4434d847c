from __future__ import annotations

import pytest
import torch
from torch import nn

from sertransfer.errors import BadInput
from sertransfer.models.pyresnet import Bottleneck, PyResNet
from sertransfer.models.registry import build_model


@pytest.mark.parametrize(
    ("name", "millions"), [("pyresnet50", 22.825), ("pyresnet101", 40.285), ("pyresnet152", 54.618)]
)
def test_the_published_parameter_counts(name: str, millions: float) -> None:
    with torch.device("meta"):
        model = build_model(name, 4)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 3) == millions
    assert model.num_features == 8192


def test_names_and_shapes_of_the_published_weights() -> None:
    with torch.device("meta"):
        state = build_model("pyresnet50", 4).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes["conv1.weight"] == (64, 1, 7, 7)
    assert "conv1.bias" not in shapes
    assert [shapes[f"layer1.0.conv2.conv2_{n}.weight"] for n in (1, 2, 3, 4)] == [
        (16, 64, 3, 3), (16, 16, 5, 5), (16, 8, 7, 7), (16, 4, 9, 9)
    ]  # fmt: skip
    assert [shapes[f"layer2.3.conv2.conv2_{n}.weight"] for n in (1, 2, 3)] == [
        (32, 128, 3, 3), (32, 32, 5, 5), (64, 16, 7, 7)
    ]  # fmt: skip
    assert [shapes[f"layer3.5.conv2.conv2_{n}.weight"] for n in (1, 2)] == [(128, 256, 3, 3), (128, 64, 5, 5)]
    assert shapes["layer4.2.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["layer1.0.downsample.1.weight"] == (256, 64, 1, 1)
    assert shapes["layer1.0.downsample.2.running_mean"] == (256,)
    assert "layer1.1.downsample.1.weight" not in shapes
    assert shapes["fc.weight"] == (4, 8192)


def test_four_rows_of_128_mels_remain() -> None:
    model = build_model("pyresnet_tiny", 4).eval()
    assert model.forward_features(torch.randn(1, 1, 128, 157)).shape == (1, 512, 4, 5)


@pytest.mark.parametrize("width", [0.01, 0.1, 0.125, 0.25, 0.33, 0.5, 1.5])
def test_any_width_makes_a_network(width: int) -> None:
    model = PyResNet(3, (1, 1, 1, 1), width=width).eval()
    assert model(torch.randn(1, 1, 128, 33)).shape == (1, 3)
    assert model.conv1.out_channels % 4 == 0


def test_the_start_is_kaiming_fan_out() -> None:
    torch.manual_seed(0)
    model = PyResNet(4, (1, 1, 1, 1))
    weight = model.get_submodule("layer4.0.conv2").weight
    assert isinstance(weight, nn.Parameter)
    assert float(weight.detach().std()) == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    norm = model.bn1
    assert torch.equal(norm.weight, torch.ones(64))
    assert torch.equal(norm.bias, torch.zeros(64))


def test_dropout_stands_before_the_classifier_only_in_training() -> None:
    model = build_model("pyresnet_tiny", 4, dropout=0.5).eval()
    features = torch.rand(1, 512, 4, 3)
    assert torch.equal(model.forward_head(features), model.forward_head(features))
    model.train()
    assert not torch.equal(model.forward_head(features), model.forward_head(features))


def test_the_shortcut_is_max_pooled_before_its_convolution() -> None:
    block = Bottleneck(8, 4, 3, first=True).eval()
    nn.init.zeros_(block.conv3.weight)  # leaves the shortcut alone
    x = torch.randn(1, 8, 6, 6)
    assert isinstance(block.downsample, nn.Sequential)
    expected = block.downsample[2](block.downsample[1](nn.functional.max_pool2d(x, 3, 2, 1))).relu()
    torch.testing.assert_close(block(x), expected)


def test_all_bad_options_are_named_at_once() -> None:
    with pytest.raises(BadInput) as error:
        PyResNet(0, (3, 4, 6), width=0, dropout=1.0)
    assert len(error.value.faults) == 4
