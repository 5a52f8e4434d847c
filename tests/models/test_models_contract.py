"""One contract over every model in the registry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sertransfer.errors import BadInput
from sertransfer.models.base import SpectrogramModel
from sertransfer.models.registry import MODELS, build_model
from sertransfer.models.torchvision_nets import ImageNetwork

SHALLOW = {"blocks": (1, 2, 1, 1)}
SMALLER: dict[str, dict[str, Any]] = {
    "pyresnet50": {"width": 0.125},
    "pyresnet101": {"width": 0.125},
    "pyresnet152": {"width": 0.125},
    "mts3_resnet152": SHALLOW,
    "mts5_resnet152": SHALLOW,
    "adv_resnet152": SHALLOW,
}
"""Options that make a deep model quick. The networks of torchvision are tested in full, among them the
backbones of those that are shallow here."""

CLASSES = 4


def build_quick(name: str) -> SpectrogramModel:
    """Build a model whose classifier has hidden layers of 64 instead of 4096, and initialise it."""
    with torch.device("meta"):
        built = build_model(name, CLASSES, **SMALLER.get(name, {}))
        if isinstance(built, ImageNetwork):
            layers = [n for n, m in enumerate(built.classifier) if isinstance(m, torch.nn.Linear)]
            for n in layers:
                width = built.classifier[n].in_features if n == layers[0] else 64
                built.classifier[n] = torch.nn.Linear(width, CLASSES if n == layers[-1] else 64)
    built.to_empty(device="cpu")
    for module in built.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return built


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest) -> SpectrogramModel:
    torch.manual_seed(0)
    built = build_quick(request.param).train()
    # Statistics of a trained model, so that the maps neither vanish nor explode on the way down.
    if any(isinstance(m, torch.nn.BatchNorm2d) for m in built.modules()):
        with torch.no_grad():
            for _ in range(3):
                built(torch.randn(3, 1, 64, 64))
    return built.eval()


@pytest.mark.parametrize("name", ["vgg11", "resnet50", "fcn_attention_alexnet", "pyresnet_tiny"])
def test_fresh_weights_give_scores_of_ordinary_size(name: str) -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        scores = build_model(name, CLASSES).train()(spectrograms(2, 1, 64, 64))
    assert torch.isfinite(scores).all()
    assert scores.abs().max() < 10


def spectrograms(*sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(7))


# 63 and 157 frames: 2 s and 5 s at 65 ms; 501: 5 s at 25 ms; 1: the shortest; 1000: 32 s at 65 ms.
@pytest.mark.parametrize(("mels", "frames"), [(128, 1), (80, 63), (64, 157), (32, 501), (32, 1000)])
def test_scores_are_finite_for_any_number_of_frames(model: SpectrogramModel, mels: int, frames: int) -> None:
    with torch.inference_mode():
        scores = model(spectrograms(1, 1, mels, frames))
    assert scores.shape == (1, CLASSES)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("mels", [80, 128])
def test_the_pooled_frames_average_to_what_the_classifier_sees(model: SpectrogramModel, mels: int) -> None:
    """The mean over all frames, or over each of the spans that a classifier looks at."""
    seen: list[Tensor] = []
    layers = [
        m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.in_features >= model.num_features
    ]
    classifier = next(m for m in layers if m.in_features == model.num_features * model.time_bins)
    handle = classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        features = model.forward_features(spectrograms(2, 1, mels, 70))
        frames = model.pool_frames(features)
        scores = model.forward_head(features)
    handle.remove()
    assert features.ndim == 4
    assert frames.shape == (2, features.shape[-1], model.num_features)
    assert scores.shape == (2, CLASSES)
    spans = torch.nn.functional.adaptive_avg_pool1d(frames.transpose(1, 2), model.time_bins)
    expected = float(seen[-1].abs().max())
    torch.testing.assert_close(spans.flatten(1), seen[-1], rtol=1e-5, atol=1e-6 * max(1.0, expected))


def test_every_parameter_gets_a_gradient(model: SpectrogramModel) -> None:
    model.train()
    x = spectrograms(2, 1, 64, 96)  # two positions for attention to choose from
    loss = torch.nn.functional.cross_entropy(model(x), torch.tensor([0, 3]))
    loss.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []
    model.zero_grad(set_to_none=True)
    model.eval()


def test_alone_is_as_in_a_batch_and_evaluation_is_deterministic(model: SpectrogramModel) -> None:
    batch = spectrograms(2, 1, 80, 70)
    with torch.inference_mode():
        together = model(batch)
        alone = torch.cat([model(one[None]) for one in batch])
        again = model(batch)
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5 * float(together.abs().max()))
    assert torch.equal(together, again)
    assert not torch.allclose(together[0], together[1], rtol=1e-3)  # the model listens to its input


def test_a_replaced_classifier_has_its_classes_and_keeps_the_rest(model: SpectrogramModel) -> None:
    x = spectrograms(2, 1, 64, 64)
    with torch.inference_mode():
        before = model.forward_features(x)
        model.reset_classifier(7)
        assert model(x).shape == (2, 7)
        assert torch.equal(model.forward_features(x), before)
    model.reset_classifier(CLASSES)
    assert model(x).shape == (2, CLASSES)


def test_all_that_a_model_holds_is_in_its_state(model: SpectrogramModel) -> None:
    """A checkpoint's loader relies on it: it builds without initialising."""
    held = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    assert held == set(model.state_dict())


def test_every_builder_says_what_it_builds() -> None:
    assert all((builder.__doc__ or "").strip() for builder in MODELS.values())


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match="did you mean 'pyresnet152'"):
        build_model("pyresnet125", 4)


def test_all_unknown_options_are_named() -> None:
    with pytest.raises(BadInput, match="did you mean 'width'") as error:
        build_model("pyresnet50", 4, wdth=1, colour="red")
    assert len(error.value.faults) == 2


def test_an_option_of_the_wrong_type_is_bad_input() -> None:
    with pytest.raises(BadInput, match="correct the options"):
        build_model("pyresnet50", 4, width="wide")
