from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sertransfer.encoders.base import POOLINGS, AttentivePooling, LayerMix, pool


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 99))
def test_only_an_utterances_own_frames_count(frames: list[int], dim: int, seed: int) -> None:
    features = torch.randn(len(frames), 9, dim, generator=torch.Generator().manual_seed(seed)).double()
    together = {name: pool(features, torch.tensor(frames), name) for name in POOLINGS}
    for row, count in enumerate(frames):
        own = features[row, :count]
        both = torch.cat([own.mean(0), own.std(0, correction=0)])
        torch.testing.assert_close(together["mean"][row], own.mean(0))
        torch.testing.assert_close(together["mean_std"][row], both)


def test_a_constant_and_a_hand_computed_case() -> None:
    features = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [5.0], [5.0]]])
    pooled = pool(features, torch.tensor([2, 3]), "mean_std")
    assert pooled.tolist() == [[2.0, 1.0], [5.0, 0.0]]
    with pytest.raises(ValueError, match="there are mean, mean_std"):
        pool(features, torch.tensor([2, 3]), "median")


def test_attentive_pooling_starts_as_the_mean_and_learns_a_frame() -> None:
    torch.manual_seed(0)
    features, frames = torch.randn(3, 6, 4), torch.tensor([6, 2, 1])
    pooling = AttentivePooling(4, hidden=8)
    torch.testing.assert_close(pooling(features, frames), pool(features, frames, "mean"))
    features[1, 2:] = torch.nan  # what is beyond an utterance's own frames has no say
    assert torch.isfinite(pooling(features, frames)).all()
    target = features[0, 3]
    optimiser = torch.optim.Adam(pooling.parameters(), lr=0.05)
    for _ in range(150):
        loss = (pooling(features[:1], frames[:1])[0] - target).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.testing.assert_close(pooling(features[:1], frames[:1])[0], target, rtol=0, atol=0.05)


def test_a_layer_mix_starts_as_the_mean_and_its_weights_add_up() -> None:
    features = torch.randn(2, 5, 3, 4)
    mix = LayerMix(3)
    torch.testing.assert_close(mix(features), features.mean(dim=2))
    with torch.no_grad():
        mix.scores[1] = 30.0
    torch.testing.assert_close(mix(features), features[:, :, 1])
    assert float(mix.weights.detach().sum()) == pytest.approx(1)
