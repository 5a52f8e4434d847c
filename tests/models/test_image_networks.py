from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from sertransfer.errors import BadInput
from sertransfer.models.image_weights import identify, load_image_weights
from sertransfer.models.registry import build_model
from sertransfer.models.torchvision_nets import ImageNetwork, fill_up, sum_over_colours

FULL = {"vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}


def original(name: str) -> nn.Module:
    torch.manual_seed(1)
    network: nn.Module = torchvision.models.get_model(name, weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    return network


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    network, path = original("resnet18"), tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return network, path


@pytest.mark.parametrize("name", sorted(FULL))
def test_a_network_has_the_parameters_of_torchvisions_less_two_colours(name: str) -> None:
    with torch.device("meta"):
        ours = build_model(name, 4)
        theirs = torchvision.models.get_model(name, weights=None, num_classes=4)
    assert isinstance(ours, ImageNetwork)
    stem = next(p for p in theirs.parameters())
    count = sum(p.numel() for p in theirs.parameters()) - 2 * stem.numel() // 3
    assert sum(p.numel() for p in ours.parameters()) == count
    head = ours.image_head
    assert {ours.image_name(key) for key in ours.state_dict()} - {None} == {
        key for key in theirs.state_dict() if not key.startswith(head)
    }


def test_with_image_weights_a_spectrogram_scores_as_a_grey_image(resnet18: tuple[nn.Module, Path]) -> None:
    theirs, path = resnet18
    ours = build_model("resnet18", 4).eval()
    assert load_image_weights(ours, path) == ["classifier.fc.weight", "classifier.fc.bias"]
    x = torch.randn(2, 1, 64, 90)
    seen: list[torch.Tensor] = []
    theirs.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        theirs(x.expand(-1, 3, -1, -1))
        pooled = ours.pool_frames(ours.forward_features(x)).mean(1)
    torch.testing.assert_close(pooled, seen[0], rtol=1e-4, atol=1e-5)


def test_alexnets_weights_go_into_attention_and_time_scales(tmp_path: Path) -> None:
    theirs = original("alexnet")
    path = tmp_path / "alexnet.safetensors"
    save_file(theirs.state_dict(), path)
    attention = build_model("fcn_attention_alexnet", 4).eval()
    kept = load_image_weights(attention, path)
    assert {name.split(".")[0] for name in kept} == {"attention", "classifier"}
    scaled = build_model("mts3_alexnet", 4)
    assert load_image_weights(scaled, path) == ["classifier.6.weight", "classifier.6.bias"]
    x = torch.randn(1, 1, 64, 96)
    with torch.inference_mode():
        expected = theirs.features(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(attention.forward_features(x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scaled.classifier[1].weight, theirs.classifier[1].weight)


def test_weights_of_another_architecture_are_refused_by_name(resnet18: tuple[nn.Module, Path]) -> None:
    _, path = resnet18
    with torch.device("meta"):
        model = build_model("resnet34", 4)
    with pytest.raises(BadInput, match="weights of resnet18") as error:
        load_image_weights(model, path)
    found = [fault.found for fault in error.value.faults]
    assert "'layer1.2.conv1.weight' missing" in found
    assert len(found) == 1 + 8 * 10  # eight blocks of two convolutions and two batch norms of four tensors


def test_weights_of_no_known_architecture_are_refused_with_every_key(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(64, 1, 7, 7), "extra": torch.zeros(1)}, path)
    with torch.device("meta"):
        model = build_model("resnet18", 4)
    with pytest.raises(BadInput, match="no architecture that is known") as error:
        load_image_weights(model, path)
    found = "\n".join(fault.found for fault in error.value.faults)
    assert "'conv1.weight' of shape (64, 1, 7, 7)" in found  # not of three colours
    assert "unexpected 'extra'" in found
    assert "'layer4.1.bn2.bias' missing" in found


def test_files_without_batch_counters_are_taken(resnet18: tuple[nn.Module, Path], tmp_path: Path) -> None:
    state = {k: v for k, v in resnet18[0].state_dict().items() if not k.endswith("num_batches_tracked")}
    assert identify(state) == "resnet18"
    torch.save(state, tmp_path / "old.pth")
    model = build_model("resnet18", 4)
    load_image_weights(model, tmp_path / "old.pth")
    assert torch.equal(model.features.layer4[1].bn2.weight, state["layer4.1.bn2.weight"])


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("touched-by-a-pickle"),)


@pytest.mark.parametrize(
    "content", [Payload(), {"state_dict": {}}, {"a": 1}, [1]], ids=["payload", "empty", "number", "list"]
)
def test_what_is_no_state_dict_is_refused(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "file.pth")
    with torch.device("meta"):
        model = build_model("resnet18", 4)
    with pytest.raises(BadInput, match="state dict of torchvision"):
        load_image_weights(model, tmp_path / "file.pth")
    assert not (tmp_path / "touched-by-a-pickle").exists()


def test_unreadable_files_and_models_without_counterpart_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = build_model("resnet18", 4)
        pyramidal = build_model("pyresnet_tiny", 4)
    with pytest.raises(BadInput, match="no such file"):
        load_image_weights(model, tmp_path / "none.pth")
    with pytest.raises(BadInput, match="a folder"):
        load_image_weights(model, tmp_path)
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(BadInput, match="damaged"):
            load_image_weights(model, tmp_path / name)
    with pytest.raises(BadInput, match="PyResNet"):
        load_image_weights(pyramidal, tmp_path / "text.pth")


def test_the_first_convolution_is_summed_over_colours() -> None:
    conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    x = torch.randn(1, 1, 9, 9)
    expected = conv(x.expand(-1, 3, -1, -1))
    torch.testing.assert_close(sum_over_colours(conv)(x), expected)
    with pytest.raises(TypeError, match="no convolution"):
        sum_over_colours(nn.ReLU())


def test_short_inputs_are_filled_up_with_zeros_behind() -> None:
    x = torch.ones(2, 1, 5, 3)
    filled = fill_up(x, 4)
    assert filled.shape == (2, 1, 5, 4)
    assert filled[..., 3].eq(0).all()
    assert fill_up(x, 3) is x


def test_a_short_utterance_scores_as_if_it_were_filled_up() -> None:
    model = build_model("fcn_attention_alexnet", 4).eval()
    x = torch.randn(1, 1, 80, 20)
    with torch.inference_mode():
        assert torch.equal(model(x), model(nn.functional.pad(x, (0, 43))))


def test_attention_is_a_softened_weighted_sum_over_all_positions() -> None:
    model = build_model("fcn_attention_alexnet", 4).eval()
    features = torch.randn(1, 256, 2, 3)
    first, second = model.attention[0], model.attention[2]
    positions = features[0].flatten(1).T.detach().numpy()  # (positions, channels)
    hidden = np.tanh(positions @ first.weight.detach().numpy().T + first.bias.detach().numpy())
    energies = 0.3 * (hidden @ second.weight.detach().numpy()[0])
    weights = np.exp(energies) / np.exp(energies).sum()
    scores = model.classifier(torch.tensor(weights @ positions)[None])
    torch.testing.assert_close(model.forward_head(features), scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.weigh(features).flatten().detach().numpy(), weights, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "faults"),
    [
        ("vgg11", {"dropout": 1.0}, 1),
        ("resnet18", {"blocks": (1, 1)}, 1),
        ("resnet18", {"blocks": (0, 1, 1, 1)}, 1),
        ("fcn_attention_alexnet", {"dropout": -0.1}, 1),
        ("adv_resnet152", {"epsilon": 0.0, "blocks": (1, 1, 1, 1)}, 1),
    ],
)
def test_options_out_of_range_are_bad_input(name: str, options: dict[str, object], faults: int) -> None:
    with pytest.raises(BadInput) as error, torch.device("meta"):
        build_model(name, 4, **options)
    assert len(error.value.faults) == faults


def test_a_classifier_needs_a_class() -> None:
    with pytest.raises(BadInput, match="at least 1"):
        build_model("vgg11", 0)
