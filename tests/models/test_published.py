from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from support.published_files import PyConvResNet, make_network, save
from torch import Tensor, nn

from sertransfer.errors import BadInput
from sertransfer.front_end import FrontEnd
from sertransfer.models.checkpoint import load_model, read_checkpoint
from sertransfer.models.published import CLASSES, _depth, import_published
from sertransfer.models.pyresnet import DEPTHS
from sertransfer.models.registry import build_model


@pytest.fixture(scope="module")
def network() -> PyConvResNet:
    return make_network()


@pytest.fixture(scope="module")
def expected(network: PyConvResNet) -> tuple[Tensor, Tensor]:
    x = torch.randn(2, 1, 128, 100, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, network(x)


@pytest.mark.parametrize(
    ("legacy", "module", "content"),
    [
        (False, "pyconvresnet", "whole"),
        (True, "pyconvresnet", "whole"),
        (False, "my_network", "whole"),
        (False, "pyconvresnet", "parallel"),
        (True, "pyconvresnet", "state"),
        (False, "pyconvresnet", "parallel state"),
        (False, "pyconvresnet", "training run"),
    ],
)
def test_imported_weights_score_as_the_original(
    tmp_path: Path,
    network: PyConvResNet,
    expected: tuple[Tensor, Tensor],
    legacy: bool,
    module: str,
    content: str,
) -> None:
    state = network.state_dict()
    values: dict[str, Any] = {
        "whole": network,
        "parallel": nn.DataParallel(network, device_ids=[]) if content == "parallel" else None,
        "state": state,
        "parallel state": OrderedDict((f"module.{key}", value) for key, value in state.items()),
        "training run": {"epoch": 60, "best": 0.4, "state_dict": state},
    }
    path = save(values[content], tmp_path / "net.pth", legacy=legacy, module=module)
    checkpoint = import_published(path, tmp_path / "model.safetensors", front_end=FrontEnd())
    assert (checkpoint.model, checkpoint.classes) == ("pyresnet50", CLASSES)
    assert checkpoint.provenance["file"] == "net.pth"
    assert checkpoint.provenance["left_out"] == (["best", "epoch"] if content == "training run" else [])
    if content == "whole":
        assert checkpoint.provenance["kind"] == f"whole model of class {module}.PyConvResNet"
    model = load_model(tmp_path / "model.safetensors")
    assert not model.training
    x, scores = expected
    with torch.no_grad():
        torch.testing.assert_close(model(x), scores, rtol=1e-5, atol=1e-6)
    assert read_checkpoint(tmp_path / "model.safetensors").front_end == FrontEnd()


@pytest.mark.parametrize("name", DEPTHS)
def test_the_depth_is_found_in_the_content(name: str) -> None:
    with torch.device("meta"):
        state = build_model(name, 4).state_dict()
    assert _depth(state, Path("x")) == name
    del state["layer3.2.conv1.weight"]
    assert _depth(state, Path("x")) == name


def test_missing_unexpected_and_misshaped_keys_are_all_named(tmp_path: Path, network: PyConvResNet) -> None:
    state = dict(network.state_dict())
    del state["layer1.0.conv1.weight"], state["bn1.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["conv1.weight"] = torch.zeros(64, 3, 7, 7)
    state["layer4.0.bn1.weight"] = torch.full((512,), float("nan"))
    path = save(state, tmp_path / "net.pth")
    with pytest.raises(BadInput) as error:
        import_published(path, tmp_path / "out.safetensors", front_end=None)
    found = [fault.found for fault in error.value.faults]
    assert found == [
        "'bn1.bias' missing",
        "'conv1.weight' of shape (64, 3, 7, 7)",
        "'layer1.0.conv1.weight' missing",
        "'layer4.0.bn1.weight' not finite",
        "unexpected 'extra.weight'",
    ]
    assert not (tmp_path / "out.safetensors").exists()


def test_another_number_of_classes_needs_names(tmp_path: Path) -> None:
    path = save(make_network(classes=3), tmp_path / "net.pth")
    output = tmp_path / "out.safetensors"
    with pytest.raises(BadInput, match="a classifier of 3 classes"):
        import_published(path, output, front_end=None)
    checkpoint = import_published(path, output, front_end=None, classes=("calm", "low", "high"))
    assert checkpoint.classes == ("calm", "low", "high")
    with torch.no_grad():
        assert load_model(output)(torch.randn(1, 1, 128, 40)).shape == (1, 3)


@pytest.mark.parametrize(
    "content",
    [
        {"weight": torch.ones(3)},
        {"layer1.0.conv1.weight": torch.ones(3)},
        {},
        [torch.ones(3)],
        torch.ones(3),
        7,
    ],
)
def test_other_content_is_no_pyresnet(tmp_path: Path, content: object) -> None:
    with pytest.raises(BadInput, match="not a PyResNet"):
        import_published(save(content, tmp_path / "x.pth"), tmp_path / "out.safetensors", front_end=None)


def test_entries_that_are_no_tensors_are_all_named(tmp_path: Path) -> None:
    path = save({"state_dict": {"a": [1], "b": "text", "c": torch.ones(1)}}, tmp_path / "x.pth")
    with pytest.raises(BadInput, match="a: list") as error:
        import_published(path, tmp_path / "out.safetensors", front_end=None)
    assert len(error.value.faults) == 2


def test_a_module_that_holds_itself_does_not_hang(tmp_path: Path) -> None:
    loop = nn.Sequential(nn.ReLU())
    for name in "abc":
        loop._modules[name] = loop
    with pytest.raises(BadInput, match="more than 10000 modules"):
        import_published(save(loop, tmp_path / "x.pth"), tmp_path / "out.safetensors", front_end=None)


def test_a_module_that_is_none_is_named(tmp_path: Path) -> None:
    odd = nn.Sequential(nn.ReLU())
    odd._modules["a"] = 7  # type: ignore[assignment]
    with pytest.raises(BadInput, match="found a; expected a module"):
        import_published(save(odd, tmp_path / "x.pth"), tmp_path / "out.safetensors", front_end=None)
