"""What is frozen in an encoder stays, what learns has its rate, and neighbours change nothing."""

import pytest
import torch
from support.finetune_fakes import make_asr, make_ssl
from torch import nn

from sertransfer.encoders.base import Stage, UtteranceHead
from sertransfer.encoders.registry import open_encoder
from sertransfer.encoders.sentence_model import EncoderWithHead, StoredNetwork
from sertransfer.transfer.finetune.learners import Depth
from sertransfer.transfer.settings import FinetuneConfig

SAMPLES = 2400


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    return {
        "conformer": ("asr", make_asr(folder / "c", norm="utterance_mvn")),
        "rnn": ("asr", make_asr(folder / "r", "rnn")),
        "hubert": ("ssl", make_ssl(folder / "h")),
        "wavlm": ("ssl", make_ssl(folder / "w", "wavlm")),
    }


def make(place, pooling="mean", layer=None, **options):
    """Return encoder, network and depth."""
    config = FinetuneConfig(pooling=pooling, **options)
    mix = config.layers == "mix"
    encoder = open_encoder(*place, layer=layer)
    torch.manual_seed(0)
    head = UtteranceHead(encoder.dim, 2, pooling=pooling, layers=encoder.layers if mix else None)
    network = EncoderWithHead(encoder, head)
    return encoder, network, Depth([*encoder.stages(mix=mix), Stage("head", [head])], config, network)


def sounds(count=4):
    return 0.1 * torch.randn(count, 1, 1, SAMPLES, generator=torch.Generator().manual_seed(1))


def step(network, depth):
    torch.manual_seed(2)
    network.train()
    depth.set_modes()
    optimiser = torch.optim.AdamW(depth.groups())
    nn.functional.cross_entropy(network(sounds()), torch.tensor([0, 1, 0, 1])).backward()
    optimiser.step()


def values(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def moved(before, network):
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("name", ["conformer", "hubert", "wavlm"])
def test_frozen_blocks_are_the_same_after_a_step_and_in_training(places, name):
    encoder, network, depth = make(places[name], depth="last", batch_norm="train")
    block = depth.frozen[-1].modules[0]
    seen = []

    def keep(module, given, result):
        seen.append(result[0][0] if isinstance(result[0], tuple) else result[0])

    block.register_forward_hook(keep)
    network.eval()
    with torch.no_grad():
        network(sounds())
    before = values(network)
    step(network, depth)
    assert torch.equal(*seen)  # no dropout, no layer drop, no masks
    assert not seen[1].requires_grad  # nothing is kept for a gradient
    trained = {f"encoder.{name}" for name, _ in encoder.network.named_parameters()}
    last = depth.trained[1].parameters()
    names = {id(weight): name for name, weight in network.named_parameters()}
    wanted = {names[id(weight)] for weight in last} | {n for n in before if n.startswith("head.")}
    changed = moved(before, network)
    assert {n for n in changed if n in trained or n.startswith("head.")} <= wanted
    assert len(changed & wanted) > len(wanted) / 2
    running = {n for n in changed if "running" in n}
    assert running == ({n for n in before if "running" in n and ".2." in n} if name == "conformer" else set())
    if name == "conformer":
        assert len(running) == 2


def test_batch_norms_of_trained_blocks_are_frozen_by_default(places):
    _, network, depth = make(places["conformer"], depth="all")
    before = values(network)
    step(network, depth)
    changed = moved(before, network)
    assert "encoder.encoder.encoders.0.conv_module.depthwise_conv.weight" in changed
    assert not [name for name in changed if "conv_module.norm" in name]
    assert not [name for name in changed if name.startswith("encoder.frontend")]


@pytest.mark.parametrize(
    ("name", "layers", "layer", "first", "unused"),
    [
        ("conformer", "output", None, "embed", ()),
        ("conformer", "mix", None, "embed", ("after_norm",)),
        ("conformer", "output", 2, "embed", ("after_norm", "encoders.2")),
        ("hubert", "output", None, "feature_extractor", ()),
        ("hubert", "mix", None, "feature_extractor", ()),
        ("hubert", "output", 2, "feature_extractor", ("layers.2",)),
        ("wavlm", "output", None, "feature_extractor", ()),
        ("wavlm", "mix", None, "feature_extractor", ("transformer.layer_norm",)),
        ("rnn", "output", None, "enc", ()),
    ],
)
def test_all_trains_every_weight_that_is_used(places, name, layers, layer, first, unused):
    _, network, depth = make(places[name], layer=layer, depth="all", batch_norm="train", layers=layers)
    network.train()
    depth.set_modes()
    network(sounds()).square().sum().backward()
    assert depth.trained[-1].name == first
    grown = {n for n, w in network.named_parameters() if w.grad is not None}
    asked = {n for n, w in network.named_parameters() if w.requires_grad}
    assert grown == asked
    left = {n for n, _ in network.named_parameters()} - asked
    assert all(any(part in n for n in left) for part in unused)
    assert all(any(part in n for part in unused) for n in left)


def test_rates_fall_block_by_block(places):
    _, network, depth = make(places["hubert"], depth="all", lr=0.8, layer_decay=0.5, layers="mix")
    rates = {id(weight): group["lr"] for group in depth.groups() for weight in group["params"]}
    found = {name: rates[id(w)] for name, w in network.named_parameters() if id(w) in rates}
    stem = "encoder.encoder.transformer.layers"
    assert found["head.mix.scores"] == found["head.classifier.weight"] == 0.8
    assert found[f"{stem}.2.attention.k_proj.weight"] == 0.4
    assert found[f"{stem}.0.attention.k_proj.weight"] == pytest.approx(0.1)
    assert found["encoder.feature_extractor.conv_layers.0.conv.weight"] == pytest.approx(0.025)
    decays = {id(w): group["weight_decay"] for group in depth.groups() for w in group["params"]}
    assert decays[id(network.head.mix.scores)] == 0


@pytest.mark.parametrize("name", ["conformer", "hubert"])
def test_a_sentence_scores_alone_as_in_a_batch_and_its_samples_stay(places, name):
    _, network, _ = make(places[name], pooling="mean_std")
    network.eval()
    batch = sounds()
    given = batch.clone()
    with torch.inference_mode():
        together = network(batch)
        alone = torch.cat([network(row[None]) for row in batch])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert torch.equal(batch, given)


def test_half_precision_and_inference_mode_leave_nothing_behind(places):
    _, network, depth = make(places["conformer"], depth="all")
    network.eval()
    with torch.inference_mode():
        before = network(sounds()).clone()
    with torch.autocast("cpu", torch.bfloat16):
        depth.set_modes()
        network(sounds()).sum().backward()  # positions made in inference mode would have no gradient
    network.eval()
    with torch.inference_mode():
        assert torch.equal(network(sounds()), before)


@pytest.mark.parametrize(("pooling", "layers"), [("mean", "mix"), ("mean", "output"), ("attention", "mix")])
def test_a_head_on_stored_features_is_the_whole_network(places, pooling, layers):
    encoder, network, _ = make(places["hubert"], pooling=pooling, depth="head", layers=layers)
    with torch.no_grad():
        if network.head.mix is not None:
            network.head.mix.scores.copy_(torch.tensor([0.5, -1.0, 2.0]))
        if network.head.attention is not None:
            nn.init.normal_(network.head.attention.score.weight)
        features = encoder.features(sounds()[:, 0, 0], mix=layers == "mix").flatten(2)
        stored = features.mean(dim=1, keepdim=True) if pooling == "mean" else features
        head = StoredNetwork(network.head, encoder.dim)
        torch.testing.assert_close(head(stored.transpose(1, 2)[:, None]), network(sounds()))
    assert set(head.state_dict()) < set(network.state_dict())


def test_a_deviation_of_nothing_has_a_gradient():
    head = UtteranceHead(4, 2, pooling="mean_std", layers=3)
    features = torch.randn(2, 1, 3, 4)  # a single frame
    head(features).sum().backward()
    assert torch.isfinite(head.mix.scores.grad).all()
