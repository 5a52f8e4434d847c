"""What is frozen stays as it is; what learns does so at its own rate."""

import pytest
import torch
from torch import nn

from sertransfer.encoders.ser import replace_classifier
from sertransfer.errors import BadInput
from sertransfer.models.registry import build_model
from sertransfer.transfer.finetune.learners import Depth
from sertransfer.transfer.settings import FinetuneConfig


def make(settings, name="pyresnet_tiny", **options):
    torch.manual_seed(0)
    network = build_model(name, 4, **(options or {"width": 0.0625}))
    return network, Depth(replace_classifier(network, 2), settings)


def step(network, depth, frames=24):
    """One step on noise that is far from what the batch norms have seen."""
    torch.manual_seed(1)
    network.train()
    depth.set_modes()
    optimiser = torch.optim.AdamW(depth.groups())
    scores = network(3 + 2 * torch.randn(6, 1, 32, frames))
    nn.functional.cross_entropy(scores, torch.tensor([0, 1, 0, 1, 0, 1])).backward()
    optimiser.step()


def values(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before, network):
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def outputs(network, x):
    network.eval()
    with torch.no_grad():
        return network.forward_features(x)


def test_the_stages_of_the_papers_network_go_from_stem_to_classifier():
    network, _ = make(FinetuneConfig())
    names = [stage.name for stage in replace_classifier(network, 2)]
    assert names == ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]


def test_head_alone_leaves_weights_buffers_and_features_as_they_are():
    network, depth = make(FinetuneConfig(depth="head"))
    before, x = values(network), torch.randn(2, 1, 32, 24)
    features = outputs(network, x)
    step(network, depth)
    assert changed(before, network) == {"fc.weight", "fc.bias"}
    assert torch.equal(outputs(network, x), features)


def test_the_last_stages_learn_and_their_batch_norms_are_frozen():
    network, depth = make(FinetuneConfig(depth="last", stages=2))
    before = values(network)
    step(network, depth)
    moved = changed(before, network)
    assert {name.split(".")[0] for name in moved} == {"layer3", "layer4", "fc"}
    assert not [name for name in moved if "bn" in name or "running" in name or "num_batches" in name]
    assert "layer3.0.conv1.weight" in moved


def test_trained_batch_norms_follow_the_batches_in_trained_stages_alone():
    network, depth = make(FinetuneConfig(depth="last", stages=1, batch_norm="train"))
    before = values(network)
    step(network, depth)
    moved = changed(before, network)
    assert {"layer4.0.bn1.weight", "layer4.0.bn1.running_mean"} <= moved
    assert {name.split(".")[0] for name in moved} == {"layer4", "fc"}


def test_all_trains_every_weight():
    network, depth = make(FinetuneConfig(depth="all", batch_norm="train"))
    before = values(network)
    step(network, depth)
    assert changed(before, network) >= {name for name, _ in network.named_parameters()}
    assert depth.frozen == []


def test_rates_fall_with_the_distance_from_the_classifier():
    network, depth = make(FinetuneConfig(depth="all", lr=0.8, layer_decay=0.5, weight_decay=0.1))
    rates = {id(weight): group["lr"] for group in depth.groups() for weight in group["params"]}
    parameters = dict(network.named_parameters())
    wanted = {
        "fc.weight": 0.8,
        "layer4.0.conv1.weight": 0.4,
        "layer1.0.conv1.weight": 0.05,
        "conv1.weight": 0.025,
    }
    assert {name: rates[id(parameters[name])] for name in wanted} == pytest.approx(wanted)
    decays = {id(weight): group["weight_decay"] for group in depth.groups() for weight in group["params"]}
    assert (decays[id(parameters["fc.weight"])], decays[id(parameters["fc.bias"])]) == (0.1, 0.0)
    assert depth.describe() == {
        "trained": ["fc", "layer4", "layer3", "layer2", "layer1", "conv1"],
        "frozen": [],
        "trained_numbers": sum(w.numel() for w in parameters.values() if w.requires_grad),
    }


def test_more_stages_than_there_are_is_refused():
    with pytest.raises(BadInput, match=r"at most 5.*layer4"):
        make(FinetuneConfig(stages=6))


@pytest.mark.parametrize("name", ["vgg11", "fcn_attention_alexnet", "resnet18"])
def test_image_networks_end_in_their_new_classifier(name):
    network = build_model(name, 4)
    stages = replace_classifier(network, 2)
    weights = [weight for stage in stages for weight in stage.parameters()]
    assert {id(weight) for weight in weights} == {id(weight) for weight in network.parameters()}
    assert stages[-1].parameters()[-1].shape == (2,)
    assert stages[0].name.startswith("features.")
