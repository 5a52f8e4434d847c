import re

import pytest

from sertransfer.cli.main import main
from sertransfer.errors import BadInput
from sertransfer.models.registry import MODELS, build_model, summarise


@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_parameters_that_a_builder_names_is_right(name):
    summary = summarise(name)
    said = re.search(r"([\d.]+) M parameters", summary.text)
    assert said is not None
    assert round(summary.parameters / 1e6, 1) == float(said[1])


def test_a_summary_is_that_of_the_network_that_is_built():
    built = build_model("pyresnet_tiny", 4)
    summary = summarise("pyresnet_tiny")
    assert summary.parameters == sum(parameter.numel() for parameter in built.parameters())
    assert (summary.least, summary.num_features, summary.image_weights) == (1, 2048, False)
    assert summary.options == {"blocks": (1, 1, 1, 1), "width": 0.25, "dropout": 0.0}


def test_what_a_network_takes_at_least():
    least = {name: summarise(name).least for name in MODELS}
    assert {name for name, value in least.items() if value == 32} == {
        "vgg11", "vgg13", "vgg16", "vgg19", "adv_vgg16",
    }  # fmt: skip
    assert {name for name, value in least.items() if value == 63} == {
        "fcn_attention_alexnet", "mts3_alexnet", "mts5_alexnet",
    }  # fmt: skip
    assert all("resnet" in name for name, value in least.items() if value == 1)


def test_the_command_tells_of_the_models_that_are_named(capsys):
    assert main(["models", "vgg16", "mts5_resnet152"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("vgg16 ")
    assert "134,275,780 parameters with 4 classes" in lines[1]
    assert "fills up what is shorter than 32 frames (0.99 s at 65ms) or 32 mels" in lines[1]
    assert "options: dropout 0.5" in lines[1]
    assert lines[2].startswith("mts5_resnet152 ")
    assert "takes any length" in lines[3]
    assert main(["models", "vgg12"]) == 2
    assert "model: found 'vgg12'" in capsys.readouterr().err
    assert main(["models"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(MODELS)


def test_an_unknown_model_has_no_summary():
    with pytest.raises(BadInput, match="resnet50"):
        summarise("resnet5")
