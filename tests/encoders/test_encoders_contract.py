"""One contract over every encoder, and every network that an encoder can have: nothing drops out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.encoder_fakes import SMALL, padded, sounds
from support.espnet_fakes import ENCODERS as ESPNET
from support.espnet_fakes import make_config, make_experiment

from sertransfer.encoders.base import Encoder
from sertransfer.encoders.espnet import network as espnet_network
from sertransfer.encoders.espnet.network import ENCODER_CLASSES, load_espnet
from sertransfer.encoders.registry import ENCODERS, open_encoder
from sertransfer.encoders.ser import SerEncoder
from sertransfer.encoders.ssl import BUILDERS, SslEncoder, SslModel
from sertransfer.front_end import FrontEnd
from sertransfer.models.checkpoint import Checkpoint
from sertransfer.models.registry import build_model

HIGH = 0.9
DROPPING = ("dropout", "drop_rate", "layer_drop", "stochastic_depth")
"""Parts of the names of settings that leave something out at random."""
RECURRENT: list[dict[str, Any]] = [
    {"rnn_type": "lstm"},
    {"rnn_type": "gru", "bidirectional": False},
    {"rnn_type": "lstm", "use_projection": False},
]
SER = {
    "pyresnet_tiny": {"width": 0.125},
    "resnet18": {"blocks": (1, 1, 1, 1)},
    "fcn_attention_alexnet": {},
    "mts3_resnet152": {"blocks": (1, 1, 1, 1)},
}


def high(names: Any) -> dict[str, float]:
    return {name: HIGH for name in names if any(part in name for part in DROPPING)}


def make_ser(folder: Path, name: str) -> Encoder:
    options = {**SER[name], "dropout": HIGH}
    state = build_model(name, 4, **options).state_dict()
    return SerEncoder(Checkpoint(name, options, tuple("abcd"), FrontEnd(), None, dict(state)))


def make_asr(folder: Path, name: str, **more: Any) -> Encoder:
    settings = high(inspect.signature(load_espnet(ENCODER_CLASSES[name])).parameters)
    assert settings
    conf = {**ESPNET[name], **settings, **more}
    return open_encoder("asr", make_experiment(folder, make_config(name, encoder_conf=conf))[0])


def make_ssl(folder: Path, family: str, **more: Any) -> Encoder:
    options = {**SMALL, **high(SMALL), **more}
    if family == "wavlm":
        options |= {"encoder_num_buckets": 32, "encoder_max_distance": 80}
    assert options["encoder_layer_drop"] == HIGH
    weights = BUILDERS[family](**options).state_dict()
    return SslEncoder(SslModel(str(folder), family, options, 16000, bool(more), dict(weights)))


EVERY: list[tuple[str, Callable[..., Encoder], str, dict[str, Any]]] = [
    *(("ser", make_ser, name, {}) for name in SER),
    *(("asr", make_asr, name, {}) for name in ENCODER_CLASSES),
    *(("asr", make_asr, "rnn", more) for more in RECURRENT),
    *(("ssl", make_ssl, family, {}) for family in BUILDERS),
    ("ssl", make_ssl, "hubert", {"extractor_mode": "layer_norm", "extractor_conv_bias": True}),
]
every_encoder = pytest.mark.parametrize(
    ("make", "name", "more"),
    [one[1:] for one in EVERY],
    ids=["-".join([encoder, name, *map(str, more.values())]) for encoder, _, name, more in EVERY],
)


@every_encoder
def test_the_same_audio_has_the_same_embedding(
    tmp_path: Path, make: Callable[..., Encoder], name: str, more: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    encoder = make(tmp_path, name, **more)
    waveforms = sounds(16000, 9000)
    torch.manual_seed(1)
    first = encoder.embed(waveforms)
    torch.manual_seed(2)
    second = encoder.embed(waveforms)
    assert torch.equal(first, second)
    assert float(first.abs().max()) > 0
    batch, lengths = padded(waveforms)
    assert torch.equal(encoder.encode(batch, lengths)[0], encoder.encode(batch, lengths)[0])


@pytest.mark.parametrize("layer", ["conv2d", "conv2d2", "conv2d6", "conv2d8"])
def test_what_the_subsampling_does_not_see_is_cut(tmp_path: Path, layer: str) -> None:
    config = make_config("conformer", encoder_conf={**ESPNET["conformer"], "input_layer": layer})
    encoder = open_encoder("asr", make_experiment(tmp_path, config)[0])
    waveforms = sounds(*range(16000, 16000 + 8 * 160, 160))  # spectrograms of 101 to 108 frames
    features, frames = encoder.encode(*padded(waveforms))
    assert len({encoder.seen(length) for length in range(101, 109)}) == len(set(frames.tolist())) < 6
    for row, waveform in enumerate(waveforms):
        alone = encoder.features(waveform[None].clone(), mix=False)[0]
        torch.testing.assert_close(features[row, : frames[row]], alone, rtol=1e-4, atol=1e-5)


@every_encoder
def test_sentences_of_as_many_frames_share_a_batch_that_changes_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[..., Encoder],
    name: str,
    more: dict[str, Any],
) -> None:
    torch.manual_seed(0)
    encoder = make(tmp_path, name, **more)
    # the last five differ by less than a frame of any encoder whose norms look at a frame alone
    lengths = (9000, 16000, 16001, 16003, 16010, 16070)
    waveforms = sounds(*lengths)
    encoder.encode(*padded(waveforms[:1]))  # SER folds its norms
    alone = [encoder.features(waveform[None].clone(), mix=False)[0] for waveform in waveforms]
    sizes = []
    output = encoder.output
    monkeypatch.setattr(encoder, "output", lambda inputs: sizes.append(len(inputs)) or output(inputs))
    features, frames = encoder.encode(*padded(waveforms, fill=9.0))
    over_time = name in BUILDERS and not more  # its group norm looks at all samples but those of half a step
    assert sorted(sizes) == ([1, 1, 1, 3] if over_time else [1, 5])
    for row, expected in enumerate(alone):
        assert frames[row] == len(expected)
        torch.testing.assert_close(features[row, : frames[row]], expected, rtol=1e-4, atol=1e-5)
        assert not features[row, frames[row] :].any()


def test_every_encoder_is_under_the_contract() -> None:
    assert {one[0] for one in EVERY} == set(ENCODERS)


def test_a_recurrent_encoder_drops_out_where_it_is_trained(tmp_path: Path) -> None:
    folder, _ = make_experiment(tmp_path, make_config("rnn", encoder_conf={**ESPNET["rnn"], "dropout": HIGH}))
    encoder = open_encoder("asr", folder)
    network, waveform = encoder.network, sounds(16000)[0][None]

    def outputs() -> tuple[torch.Tensor, torch.Tensor]:
        return encoder.features(waveform.clone(), mix=False), encoder.features(waveform.clone(), mix=False)

    network.train()
    assert not torch.equal(*outputs())
    network.eval()
    assert torch.equal(*outputs())


def test_embeddings_that_were_drawn_at_random_are_not_taken_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = make_experiment(tmp_path, make_config("rnn", encoder_conf={**ESPNET["rnn"], "dropout": HIGH}))
    confined = open_encoder("asr", folder).fingerprint()
    monkeypatch.setattr(espnet_network, "confine_dropout", lambda encoder: False)  # as before
    assert open_encoder("asr", folder).fingerprint() != confined
