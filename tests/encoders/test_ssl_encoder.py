from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from support.encoder_fakes import SMALL

from sertransfer.encoders import ssl
from sertransfer.encoders.registry import open_encoder
from sertransfer.encoders.ssl import BUILDERS, SslEncoder, bundles, read_ssl
from sertransfer.errors import BadInput
from sertransfer.timebase import parse_framing

SMALL_WAVLM = {**SMALL, "encoder_num_buckets": 32, "encoder_max_distance": 80}
LENGTHS = (4000, 1500, 4000, 400)


def options(family: str) -> dict[str, Any]:
    return SMALL_WAVLM if family == "wavlm" else SMALL


def make(folder: Path, family: str, suffix: str = ".pth", **config: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    model = BUILDERS[family](**options(family)).eval()
    folder.mkdir(parents=True)
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(model.state_dict(), str(folder / f"model{suffix}"))
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"family": family, "model": options(family), **config})
    )
    return model


def sounds() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [0.3 + 0.1 * torch.randn(length, generator=generator) for length in LENGTHS]


@pytest.mark.parametrize("family", list(BUILDERS))
@pytest.mark.parametrize("normalise", [False, True])
def test_features_are_those_of_torchaudio(tmp_path: Path, family: str, normalise: bool) -> None:
    model = make(tmp_path / "m", family, normalise_waveform=normalise)
    encoder = open_encoder("ssl", tmp_path / "m")
    assert isinstance(encoder, SslEncoder)
    waveforms = sounds()
    lengths = torch.tensor(LENGTHS)
    padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True, padding_value=7.0)
    features, frames = encoder.encode(padded, lengths)
    layers, same = encoder.encode(padded, lengths, mix=True)
    assert torch.equal(frames, same)
    for row, waveform in enumerate(waveforms):
        own = (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-5).sqrt()
        given = own[None] if normalise else waveform[None]
        with torch.no_grad():
            expected, blocks = model(given)[0][0], model.extract_features(given)[0]
        assert len(expected) == frames[row]
        torch.testing.assert_close(features[row, : len(expected)], expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            layers[row, : len(expected)], torch.stack(blocks, dim=2)[0], rtol=0, atol=1e-5
        )
        assert not features[row, len(expected) :].any()
    second = open_encoder("ssl", tmp_path / "m", layer=2)
    torch.testing.assert_close(second.encode(padded, lengths)[0], layers[:, :, 1], rtol=0, atol=1e-6)
    assert second.fingerprint() != encoder.fingerprint()
    assert second.describe()["layer"] == 2


def test_framing_is_that_of_the_first_layers(tmp_path: Path) -> None:
    make(tmp_path / "m", "hubert", ".safetensors")
    encoder = open_encoder("ssl", tmp_path / "m", framing=parse_framing("25/20ms"))
    assert isinstance(encoder, SslEncoder)
    assert (encoder.shortest, encoder.sample_rate, encoder.dim, encoder.layers) == (400, 16000, 16, 3)
    assert encoder.encode(torch.ones(1, 400), torch.tensor([400]))[1].tolist() == [1]
    with pytest.raises(BadInput, match="400 or more"):
        encoder.encode(torch.ones(1, 399), torch.tensor([399]))
    with pytest.raises(BadInput, match="no such model has 65ms"):
        open_encoder("ssl", tmp_path / "m", framing=parse_framing("65ms"))
    with pytest.raises(BadInput, match="1 to 3"):
        open_encoder("ssl", tmp_path / "m", layer=4)


def test_published_models_are_known_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"HUBERT_BASE", "WAV2VEC2_BASE", "WAVLM_LARGE"} <= set(bundles())
    assert len(bundles()) > 20
    small = SimpleNamespace(
        _path="tiny_asr.pth",
        _params={**SMALL, "aux_num_out": 29},
        _model_type="Wav2Vec2",
        _normalize_waveform=True,
        sample_rate=16000.0,
    )
    monkeypatch.setattr(ssl, "bundles", lambda: {"TINY": small})
    make(tmp_path / "m", "wav2vec2")
    with_head = torch.load(tmp_path / "m/model.pth", weights_only=True) | {"aux.weight": torch.ones(29, 16)}
    torch.save(with_head, tmp_path / "tiny_asr.pth")
    by_file = open_encoder("ssl", tmp_path / "tiny_asr.pth")
    (tmp_path / "m/config.yaml").unlink()
    (tmp_path / "m/config.json").write_text(json.dumps({"bundle": "TINY"}))
    assert open_encoder("ssl", tmp_path / "m").fingerprint() == by_file.fingerprint()
    assert by_file.describe()["normalise_waveform"] is True
    with_head["encoder.feature_projection.projection.bias"] = torch.ones(3)
    torch.save(with_head, tmp_path / "tiny_asr.pth")
    with pytest.raises(BadInput, match=r"of another shape: encoder.* 3 for 16"):
        open_encoder("ssl", tmp_path / "tiny_asr.pth")


def test_weights_of_the_old_parametrisation_load(tmp_path: Path) -> None:
    make(tmp_path / "m", "wav2vec2")
    before = open_encoder("ssl", tmp_path / "m").encode(torch.ones(1, 4000), torch.tensor([4000]))[0]
    path = tmp_path / "m/model.pth"
    state = torch.load(path, weights_only=True)
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        stem = "encoder.transformer.pos_conv_embed.conv"
        state[f"{stem}.{old}"] = state.pop(f"{stem}.parametrizations.weight.{new}")
    torch.save(state, path)
    after = open_encoder("ssl", tmp_path / "m").encode(torch.ones(1, 4000), torch.tensor([4000]))[0]
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"bundle": "HUBERT_BAS"}, "did you mean 'HUBERT_BASE'"),
        ({"family": "wavlmm", "model": SMALL}, "did you mean 'wavlm'"),
        ({"family": "hubert", "modell": 1, "model": SMALL}, "did you mean 'model'"),
        ({"family": "wavlm", "model": SMALL}, "encoder_max_distance, encoder_num_buckets missing"),
        ({"family": "hubert", "model": [1]}, "missing or not known"),
        ({"family": "hubert", "model": {**SMALL, "encoder_num_heads": 5}}, "cannot be built"),
        ({"model_type": "hubert", "model": 1}, "a config of transformers"),
        ([1], "found a list"),
        ("a: [1", "expected plain values"),
        ({"family": "hubert", "model": {**SMALL, "encoder_num_layers": 4}}, "weights missing"),
    ],
)
def test_configs_that_can_not_be_used(tmp_path: Path, config: Any, message: str) -> None:
    make(tmp_path / "m", "hubert")
    text = config if isinstance(config, str) else yaml.safe_dump(config)
    (tmp_path / "m/config.yaml").write_text(text)
    with pytest.raises(BadInput, match=message):
        open_encoder("ssl", tmp_path / "m")


def test_files_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing there"):
        read_ssl(tmp_path / "absent.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "hubert_fairseq_base_ls96.pth")
    with pytest.raises(BadInput, match=r"did you mean 'hubert_fairseq_base_ls960\.pth'|near it"):
        read_ssl(tmp_path / "hubert_fairseq_base_ls96.pth")
    (tmp_path / "m").mkdir()
    with pytest.raises(BadInput, match="no weights, and no config"):
        read_ssl(tmp_path / "m")
    (tmp_path / "m/config.json").write_text('{"bundle": "HUBERT_BASE"}')
    with pytest.raises(BadInput, match="found no weights"):
        read_ssl(tmp_path / "m")
    (tmp_path / "m/model.safetensors").write_bytes(b"none")
    with pytest.raises(BadInput, match="safetensors format"):
        read_ssl(tmp_path / "m")
    (tmp_path / "m/model.safetensors").rename(tmp_path / "m/model.pt")
    with pytest.raises(BadInput, match="weights"):
        read_ssl(tmp_path / "m")
