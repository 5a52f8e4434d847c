from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sertransfer.models.base import prepare_for_inference
from sertransfer.models.mts import TimeScaledConv2d
from sertransfer.models.registry import build_model

SMALL: dict[str, dict[str, Any]] = {
    "resnet18": {"blocks": (1, 1, 1, 1)},
    "resnet50": {"blocks": (1, 1, 1, 1)},
    "pyresnet50": {"width": 0.125},
    "fcn_attention_alexnet": {},
    "mts5_resnet152": {"blocks": (1, 1, 1, 1)},
    "pyresnet_tiny": {},
}
"""A model of each kind of block; depth repeats them."""


@pytest.mark.parametrize("name", SMALL)
def test_prepared_models_score_the_same(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, 4, **SMALL[name])
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 1, 64, 64))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # a trained norm's scale and shift are not 1 and 0
                module.weight.uniform_(-1.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
        model.eval()
        x = torch.randn(3, 1, 128, 90)
        features, scores = model.forward_features(x), model(x)
        prepared = prepare_for_inference(model)
        assert prepared is model
        for got, expected in ((prepared.forward_features(x), features), (prepared(x), scores)):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    scaled = sum(isinstance(module, TimeScaledConv2d) for module in prepared.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in prepared.modules()) == scaled
    assert not any(parameter.requires_grad for parameter in prepared.parameters())


def test_a_norm_without_statistics_can_not_be_folded() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))
    with pytest.raises(TypeError, match="no running statistics"):
        prepare_for_inference(layers)


def test_what_has_no_pairs_is_left_as_it_is() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.BatchNorm2d(2))
    prepare_for_inference(layers)
    assert isinstance(layers[2], nn.BatchNorm2d)
