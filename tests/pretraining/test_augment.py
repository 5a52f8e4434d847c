import numpy as np
import pytest
import torch

from sertransfer.front_end import FrontEnd
from sertransfer.pretraining.classifier import Classifier, Warp, band_centres, stretch
from sertransfer.pretraining.settings import Augment, PretrainConfig
from sertransfer.timebase import parse_framing
from sertransfer.training.batches import Batch


@pytest.fixture
def front_end() -> FrontEnd:
    return FrontEnd(mels=32)


def ridge(band: int, *, batch: int = 1, frames: int = 20) -> torch.Tensor:
    """Silence but for one band."""
    features = torch.zeros(batch, 1, 32, frames)
    features[:, :, band] = 1
    return features


def test_bands_lie_where_an_independent_formula_has_them(front_end):
    librosa = pytest.importorskip("librosa")
    for scale in ("slaney", "htk"):
        settings = FrontEnd(mels=32, mel_scale=scale, framing=parse_framing("25ms"))
        expected = librosa.mel_frequencies(34, fmin=0, fmax=8000, htk=scale == "htk")[1:-1]
        np.testing.assert_allclose(band_centres(settings), expected, atol=0.51)  # looked at 1 Hz apart


def test_frequency_times_a_factor_moves_a_tone_to_the_band_of_that_frequency(front_end):
    centres = band_centres(front_end)
    for factor in (0.8, 1.0, 1.25):
        moved = stretch(ridge(12), centres, rate=1.0, factors=np.array([factor]))
        heard = np.interp(moved[0, 0, :, 0].argmax(), np.arange(32), centres)
        assert heard == pytest.approx(centres[12] * factor, rel=0.06)


def test_time_is_stretched_for_the_batch_and_its_ends_stay(front_end):
    centres = band_centres(front_end)
    ramp = torch.linspace(0, 1, 20).expand(2, 1, 32, 20)
    faster = stretch(ramp, centres, rate=1.25, factors=np.ones(2))
    assert faster.shape == (2, 1, 32, 16)
    torch.testing.assert_close(faster[0, 0, 3], torch.linspace(0, 1, 16))
    torch.testing.assert_close(stretch(ramp, centres, rate=1.0, factors=np.ones(2)), ramp.contiguous())
    assert stretch(ramp[..., :1], centres, rate=1.9, factors=np.ones(2)).shape[-1] == 1


def test_draws_differ_between_utterances_and_batches_and_repeat_with_the_seed(front_end):
    warp = Warp(front_end, tempo=0.3, pitch=0.2)
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(warp(ridge(20, batch=4)))
    assert torch.equal(made[0], made[1])
    assert len({tuple(row.flatten().tolist()) for row in made[0][..., 0]}) == 4
    lengths = {warp(ridge(20)).shape[-1] for _ in range(30)}
    assert min(lengths) >= 15  # 20 / 1.3
    assert max(lengths) <= 29  # 20 / 0.7
    assert len(lengths) > 3


def test_the_training_step_sees_stretched_features_and_by_default_none():
    seen = []

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(1, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.shape[-1])
            return self.fc(x.mean(dim=(1, 2, 3))[:, None])

    batch = Batch(torch.randn(3, 1, 128, 40), torch.arange(3), torch.arange(3))
    torch.manual_seed(0)
    for augment in (Augment(), Augment(tempo=0.4, pitch=0.1), Augment(pitch=0.1)):
        Classifier(Network(), PretrainConfig(augment=augment)).score(batch)
    assert seen[0] == 40
    assert seen[1] != 40
    assert seen[2] == 40
