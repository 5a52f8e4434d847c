"""Accumulated batches give the weights of one large batch, but for batch norm."""

import pytest
from support import joined_runs
from torch import nn

PRINTED = "largest difference of a weight after 6 steps: {:.1e} without batch norm, {:.1e} with it"


class Normed(nn.Module):
    """The network without batch norm, with one."""

    def __init__(self, num_classes):
        super().__init__()
        first, *rest = joined_runs.Plain(num_classes).layers
        self.layers = nn.Sequential(first, nn.BatchNorm2d(6), *rest)

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def distance(monkeypatch, tmp_path):
    monkeypatch.setattr(joined_runs.registry, "MODELS", dict(joined_runs.registry.MODELS))
    joined_runs.register()
    joined_runs.registry.MODELS["normed"] = lambda num_classes: Normed(num_classes)

    def measure(model, **options):
        """Return the largest difference of a learnt weight between accumulated and whole batches."""
        large, small = (
            joined_runs.train(
                tmp_path / f"{model} {accumulate}",
                joined_runs.settings(model, batch_size=16 // accumulate, accumulate=accumulate, **options),
            )["state"]
            for accumulate in (1, 2)
        )
        names = [name for name in large if "running" not in name and "num_batches" not in name]
        return max(float((large[name] - small[name]).abs().max()) for name in names)

    return measure


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_without_batch_norm_two_batches_of_8_are_one_of_16(distance, weights):
    # 27 utterances make steps of 14 and 13: the batches are of 7, 7, 7 and 6
    assert distance("plain", class_weights=weights) < 1e-6


def test_with_batch_norm_they_are_not(distance):
    without, normed = distance("plain"), distance("normed")
    print(PRINTED.format(without, normed))
    assert normed > 1e-3
    assert normed > 100 * without
