"""Exports of fine-tuned networks and of probes on encoders of waveforms score as the run's own files."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from support.espnet_fakes import make_config, make_experiment

from sertransfer.encoders.base import UtteranceHead
from sertransfer.encoders.registry import open_encoder
from sertransfer.encoders.sentence_model import load_sentence_model, write_sentence_model
from sertransfer.errors import BadInput
from sertransfer.export.export import PACKAGES, export
from sertransfer.export.trained_model import ENCODER_KEY, read_run
from sertransfer.front_end import FrontEnd
from sertransfer.models.registry import build_model
from sertransfer.transfer.probe.classifiers import LinearMachine, Preparation
from sertransfer.transfer.probe.probe import Probe, read_probe, write_probe

WAVEFORM = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(5))


def finish(run, **metrics):
    block = {"n": 4, "wa": 0.5, "ua": 0.5, "classes": ["well", "sick"]}
    whole = {
        "subject": block,
        "majority": {"wa": 0.5, "ua": 0.5},
        "classes": ["well", "sick"],
        "corpus": "daic-woz",
        **metrics,
    }
    (run / "metrics.json").write_text(json.dumps(whole))
    return run


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    """A fine-tuned recogniser of stage 1 with another pooling and a head of its own."""
    run = tmp_path_factory.mktemp("finetuned") / "run"
    torch.manual_seed(4)
    model = build_model("pyresnet_tiny", 4, width=0.0625)
    head = UtteranceHead(model.num_features, 2, pooling="mean_std", layers=None)
    parts = {"encoder": model, "head": head}
    blueprint = {
        "model": "pyresnet_tiny",
        "options": {"width": 0.0625},
        "classes": ["angry", "neutral", "happy", "sad"],
        "front_end": FrontEnd(mels=32).as_dict(),
        "cropping": {"seconds": 0.5, "pad": False},
    }
    write_sentence_model(
        run / "checkpoints/model.safetensors",
        encoder="ser",
        blueprint=blueprint,
        head=head,
        classes=("well", "sick"),
        state={
            f"{part}.{name}": value for part, one in parts.items() for name, value in one.state_dict().items()
        },
        provenance={
            "finetuned_from": {"corpus": ["lssed"], "generated": False, "train": {"speakers": ["spk001"]}},
            "finetune": {"inner_subjects": ["daic302"], "file": "/home/jane/model.safetensors"},
        },
    )
    return finish(run, encoder="ser", mode="finetune")


@pytest.fixture(scope="module")
def on_asr(tmp_path_factory):
    """A probe on a recogniser of ESPnet."""
    place = tmp_path_factory.mktemp("asr")
    weights, _ = make_experiment(place / "espnet", make_config("conformer"))
    encoder = open_encoder("asr", weights)
    generator = np.random.default_rng(6)
    preparation = Preparation(np.zeros(encoder.dim), np.ones(encoder.dim))
    probe = Probe(
        preparation, LinearMachine(generator.normal(size=encoder.dim), 0.5), 1.0, {"pooling": "mean"}
    )
    write_probe(probe, place / "run/checkpoints/probe.safetensors")
    details = {**encoder.describe(), "checkpoint": str(weights), "layer": None}
    return finish(place / "run", encoder="asr", mode="probe", encoder_details=details)


def test_a_fine_tuned_network_scores_alike_and_names_nobody(finetuned, tmp_path):
    export(finetuned, tmp_path / "out")
    before = load_sentence_model(finetuned / "checkpoints/model.safetensors")
    after = load_sentence_model(tmp_path / "out/model.safetensors")
    assert after.score(WAVEFORM) == before.score(WAVEFORM)
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        assert not [secret for secret in (b"spk001", b"daic302", b"jane") if secret in content], path
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert (config["kind"], config["input"]["shape"]) == ("finetuned", [1, 32])
    card = (tmp_path / "out/MODEL_CARD.md").read_text()
    assert "LSSED" in card
    assert "DAIC-WOZ" in card


def test_the_encoder_of_a_probe_on_waveforms_is_in_it(on_asr, tmp_path):
    export(on_asr, tmp_path / "out")
    with safe_open(tmp_path / "out/encoder.safetensors", framework="pt") as opened:
        about = json.loads(opened.metadata()[ENCODER_KEY])
        names = set(opened.keys())
    details = json.loads((on_asr / "metrics.json").read_text())["encoder_details"]
    encoder = open_encoder("asr", details["checkpoint"])
    assert about["encoder"] == "asr"
    assert names == set(encoder.network.state_dict())
    exported = read_run(on_asr, json.loads((on_asr / "metrics.json").read_text()), None)
    probe = read_probe(tmp_path / "out/probe.safetensors")
    with torch.no_grad():
        found = exported.network(WAVEFORM[None]).numpy()
    np.testing.assert_allclose(found, probe.score(encoder.embed([WAVEFORM]).numpy()), atol=1e-5)


@pytest.fixture(scope="module")
def onnx_packages():
    for name in PACKAGES:
        pytest.importorskip(name, reason=f"{name} not installed: make export-tools")


def test_onnx_of_a_fine_tuned_network(onnx_packages, finetuned, tmp_path):
    found = export(finetuned, tmp_path / "out", onnx=True)["onnx"]
    assert 0 < found["difference"] <= 1e-4


def test_espnet_can_not_be_had_as_onnx(onnx_packages, on_asr, tmp_path):
    with pytest.raises(BadInput, match=r"cannot be had as ONNX .*data-dependent"):
        export(on_asr, tmp_path / "out", onnx=True)
    assert list(tmp_path.iterdir()) == []
