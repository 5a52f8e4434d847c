from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sertransfer.errors import BadInput
from sertransfer.models import registry
from sertransfer.models.checkpoint import read_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.pretraining.classifier import Classifier, adversarial_epsilon, adversarial_step, attack, fgsm
from sertransfer.pretraining.evaluate import evaluate
from sertransfer.pretraining.settings import Optimiser
from sertransfer.pretraining.workflow import build_network, pretrain
from sertransfer.training.inference import predict_probabilities


@pytest.fixture(scope="module")
def learnt():
    """A tiny PyResNet that has learnt which quarter of the bands is the loud one."""
    torch.manual_seed(0)
    network = build_model("pyresnet_tiny", 4, width=0.0625)
    targets = torch.arange(64) % 4
    x = 0.3 * torch.randn(64, 1, 32, 24)
    for item, target in enumerate(targets.tolist()):
        x[item, :, 8 * target : 8 * target + 8] += 1
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(25):
        optimiser.zero_grad()
        F.cross_entropy(network(x), targets).backward()
        optimiser.step()
    network.zero_grad()
    return network.eval(), x, targets


def test_the_attack_raises_the_loss_of_a_trained_model(learnt):
    network, x, targets = learnt
    with torch.no_grad():
        clean = F.cross_entropy(network(x), targets)
        attacked = [F.cross_entropy(network(fgsm(network, x, targets, e)), targets) for e in (0.01, 0.1)]
        noise = 0.1 * torch.randn_like(x).sign()
        random = F.cross_entropy(network(x + noise), targets)
    assert clean < 0.3  # trained
    assert clean < attacked[0] < attacked[1]
    assert attacked[1] - clean > 5 * abs(random - clean)  # it is the direction that does it


def test_every_value_moves_by_epsilon_and_nothing_else_changes(learnt):
    network, x, targets = learnt
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    moved = fgsm(network, x[:4], targets[:4], 0.25)
    assert network.training
    network.eval()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not moved.requires_grad
    steps = (moved - x[:4]).abs()
    assert torch.allclose(steps[steps > 0], torch.tensor(0.25), atol=1e-5)
    assert (steps > 0).float().mean() > 0.99  # a gradient of exactly zero gives no direction


def test_an_attack_does_not_depend_on_the_batch(learnt):
    network, x, targets = learnt
    together = fgsm(network, x[:6], targets[:6], 0.1)
    alone = torch.cat([fgsm(network, x[i : i + 1], targets[i : i + 1], 0.1) for i in range(6)])
    assert (together == alone).float().mean() > 0.999  # a gradient next to zero may round to either side


def test_the_training_loss_is_half_clean_and_half_generated(learnt):
    network, x, targets = learnt
    x, targets = x[:8], targets[:8]
    scores, loss = adversarial_step(network, x, targets, 0.1, loss=F.cross_entropy)
    generated = fgsm(network, x, targets, 0.1)
    expected = (F.cross_entropy(network(x), targets) + F.cross_entropy(network(generated), targets)) / 2
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(scores, network(x))


def test_the_classifier_takes_the_adversarial_step_for_marked_networks_only(learnt, config):
    network, x, targets = learnt
    plain = Classifier(network, config)._score(x, targets)[1]
    network.adversarial_epsilon = 0.1
    try:
        marked = Classifier(network, config)._score(x, targets)[1]
    finally:
        del network.adversarial_epsilon
    assert marked > plain
    assert adversarial_epsilon(network) is None
    assert adversarial_epsilon(nn.Identity()) is None


def test_scores_under_attack_are_worse(learnt, utterances):
    network, x, targets = learnt
    data = utterances([24] * 64)
    for feature, spectrogram in zip(data.store.features, x, strict=True):
        feature.resize((32, 24), refcheck=False)
        feature[:] = spectrogram[0]
    rules = {"longest": 24, "pad": False, "batch_size": 16}
    clean = predict_probabilities(network, data, **rules)
    attacked = predict_probabilities(network, data, **rules, perturb=attack(0.3))
    truth = np.arange(64), targets.numpy()
    assert attacked[truth].mean() < clean[truth].mean() - 0.05
    expected = network(fgsm(network, x, targets, 0.3)).double().softmax(1).detach().numpy()
    # a gradient next to zero may take the other sign in the memory layout that inference uses
    assert np.quantile(np.abs(attacked - expected).max(axis=1), 0.95) < 1e-3


def test_a_run_scores_real_and_fake_and_its_checkpoint_repeats_both(
    config, tones, tmp_path, monkeypatch, no_report
):
    def adv_tiny(num_classes, *, width=0.0625, epsilon=registry.EPSILON):
        """Stand in for the large ones."""
        return registry._attacked(registry.pyresnet_tiny(num_classes, width=width), epsilon)

    monkeypatch.setitem(registry.MODELS, "adv_tiny", adv_tiny)
    manifest = tones(tmp_path / "corpus")
    model = replace(config.model, name="adv_tiny", epsilon=0.2)
    config = replace(config, model=model, epochs=2, optimiser=Optimiser(lr=0.005))
    metrics = pretrain(config, manifest, tmp_path / "run", progress=False)
    block = metrics["adversarial"]
    assert block["epsilon"] == 0.2
    assert block["utterance"]["n"] == metrics["utterance"]["n"] == 12
    checkpoint = tmp_path / "run/checkpoints/model.safetensors"
    assert read_checkpoint(checkpoint).options == {"width": 0.0625, "epsilon": 0.2}
    again = evaluate(checkpoint, manifest, run_dir=tmp_path / "again", progress=False)
    assert again["adversarial"] == block
    assert again["utterance"] == metrics["utterance"]
    real = pd.read_csv(tmp_path / "run/utterances.csv")
    fake = pd.read_csv(tmp_path / "run/utterances_adversarial.csv")
    assert real["id"].tolist() == fake["id"].tolist()
    assert _truth(fake).mean() < _truth(real).mean()


def _truth(scores: pd.DataFrame) -> pd.Series:
    return scores.apply(lambda row: row[f"score_{row['label']}"], axis=1)


def test_a_run_begins_with_image_weights_and_records_the_file(config, tmp_path):
    torch.manual_seed(3)
    weights = build_model("resnet18", 1000).state_dict()
    state = {name.removeprefix("features.").removeprefix("classifier."): t for name, t in weights.items()}
    state["conv1.weight"] = state["conv1.weight"].expand(-1, 3, -1, -1) / 3
    torch.save(state, tmp_path / "resnet18.pth")
    model = replace(config.model, name="resnet18", width=None, image_weights=str(tmp_path / "resnet18.pth"))
    network = build_network(replace(config, model=model))
    torch.testing.assert_close(network.features[0].weight, weights["features.conv1.weight"])
    assert torch.equal(network.features.layer1[0].conv1.weight, weights["features.layer1.0.conv1.weight"])
    assert "image_weights" not in model.options()  # a checkpoint holds the weights, not the way to the file
    with pytest.raises(BadInput, match="no such file"):
        build_network(replace(config, model=replace(model, image_weights=str(tmp_path / "none.pth"))))
