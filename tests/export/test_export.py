"""Exported models load again, score as the run did, and name nobody."""

import json
import stat

import numpy as np
import pytest
import soundfile
import torch

import sertransfer
from sertransfer.cli.main import main
from sertransfer.encoders.registry import open_encoder
from sertransfer.errors import BadInput
from sertransfer.export.export import PACKAGES, check_packages, export, write_onnx
from sertransfer.export.model_card import CLINICAL, NOT_A_DEVICE, terms_lines
from sertransfer.export.trained_model import ProbeHead, read_run
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.models.base import SpectrogramModel
from sertransfer.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.transfer.probe.classifiers import KernelMachine, LinearMachine, NetworkMachine, Preparation
from sertransfer.transfer.probe.probe import Probe, read_probe, write_probe

CLASSES = ("angry", "neutral", "happy", "sad")
STAGE_1 = {
    "utterance": {"n": 9, "wa": 0.75, "wa_ci95": [0.5, 0.875], "ua": 0.5, "classes": list(CLASSES)},
    "majority": {"wa": 0.375, "ua": 0.25},
    "corpus": "lssed",
    "split": "test",
    "left_out": {"audio": [{"item": "spk999_1", "reason": "/home/jane/spk999.wav: silent"}]},
}


def machine(kind, dim, generator):
    if kind == "linear":
        return LinearMachine(generator.normal(size=dim), 0.25)
    if kind == "kernel":
        return KernelMachine(generator.normal(size=(5, dim)), generator.normal(size=5), 0.01, -0.5)
    return NetworkMachine(
        generator.normal(size=(dim, 3)), generator.normal(size=3), generator.normal(size=3), 0.125
    )


def make_probe(dim, kind="linear", columns=None, about=None):
    generator = np.random.default_rng(2)
    basis = None if columns is None else generator.normal(size=(dim, columns))
    preparation = Preparation(generator.normal(size=dim), generator.uniform(1, 2, size=dim), basis)
    return Probe(preparation, machine(kind, columns or dim, generator), 1.0, about or {})


@pytest.fixture(scope="module")
def stage_1(tmp_path_factory):
    """A finished run of stage 1 with fresh weights."""
    run = tmp_path_factory.mktemp("stage1") / "run"
    torch.manual_seed(1)
    options = {"width": 0.0625}
    state = build_model("pyresnet_tiny", 4, **options).state_dict()
    provenance = {
        "corpus": ["lssed"],
        "generated": False,
        "train": {"n": 9, "speakers": ["spk001", "spk002"]},
        "image_weights": {"file": "/home/jane/weights.pth"},
    }
    checkpoint = Checkpoint(
        "pyresnet_tiny", options, CLASSES, FrontEnd(mels=32), Cropping(0.5), state, provenance
    )
    write_checkpoint(checkpoint, run / "checkpoints/model.safetensors")
    (run / "metrics.json").write_text(json.dumps(STAGE_1))
    return run


@pytest.fixture(scope="module")
def stage_2(stage_1, tmp_path_factory):
    """A finished run of stage 2: a probe on that model."""
    run = tmp_path_factory.mktemp("stage2") / "run"
    weights = stage_1 / "checkpoints/model.safetensors"
    opened = open_encoder("ser", weights)
    details = {**opened.describe(), "checkpoint": str(weights), "layer": None}
    about = {"kind": "logistic", "pooling": "mean", "encoder": {"checkpoint": str(weights)}}
    write_probe(make_probe(opened.dim, about=about), run / "checkpoints/probe.safetensors")
    metrics = {
        "subject": {"n": 4, "wa": 0.5, "ua": 0.5, "classes": ["well", "sick"]},
        "sentence": {"n": 8},
        "majority": {"wa": 0.5, "ua": 0.5},
        "classes": ["well", "sick"],
        "corpus": "daic-woz",
        "encoder": "ser",
        "mode": "probe",
        "encoder_details": details,
        "threshold": {"rule": "fixed", "value": 0.5},
        "left_out": {"undecided_subjects": ["daic302"]},
    }
    (run / "metrics.json").write_text(json.dumps(metrics))
    return run


def test_a_recogniser_loads_again_and_scores_alike(stage_1, tmp_path):
    assert main(["export", str(stage_1), "-o", str(tmp_path / "out")]) == 0
    x = torch.randn(2, 1, 32, 50, generator=torch.Generator().manual_seed(0))
    before = sertransfer.load_model(stage_1 / "checkpoints/model.safetensors")
    after = sertransfer.load_model(tmp_path / "out")
    with torch.no_grad():
        assert torch.equal(before(x), after(x))
    encoder = open_encoder("ser", tmp_path / "out")  # as 'transfer --checkpoint' opens it
    assert (
        encoder.fingerprint() == open_encoder("ser", stage_1 / "checkpoints/model.safetensors").fingerprint()
    )
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["input"]["front_end"]["mels"] == 32
    assert config["input"]["cropping"] == {"seconds": 0.5, "pad": False}
    assert config["classes"] == list(CLASSES)


def test_an_exported_folder_can_be_evaluated(stage_1, tmp_path):
    export(stage_1, tmp_path / "out")
    rows = ["audio,speaker,label,split"]
    for number, label in enumerate(CLASSES):
        noise = np.random.default_rng(number).normal(0, 0.1, 8000)
        soundfile.write(tmp_path / f"{number}.wav", noise, 16000)
        rows.append(f"{number}.wav,s{number},{label},test")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    manifest = str(tmp_path / "m.csv")
    assert main(["prepare", "csv", str(tmp_path), "-o", manifest, "--table", "table.csv"]) == 0
    assert main(["evaluate", str(tmp_path / "out"), manifest, "--run-dir", str(tmp_path / "run"), "-q"]) == 0
    assert json.loads((tmp_path / "run/metrics.json").read_text())["speakers_shared"] is None  # not named


def test_an_export_names_nobody_and_is_its_owners_alone(stage_1, stage_2, tmp_path):
    for run in (stage_1, stage_2):
        target = tmp_path / run.parent.name
        export(run, target)
        assert stat.S_IMODE(target.stat().st_mode) == 0o700
        for path in target.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            content = path.read_bytes()
            for secret in (b"spk00", b"spk999", b"daic302", b"jane", str(run.parent).encode()):
                assert secret not in content, (path.name, secret)
        origin = read_checkpoint(target).provenance
        assert origin["train"] == {"n": 9, "number_of_speakers": 2}


def test_the_card_says_what_it_must(stage_1, stage_2, tmp_path):
    export(stage_1, tmp_path / "a")
    export(stage_2, tmp_path / "b")
    first, second = ((tmp_path / name / "MODEL_CARD.md").read_text() for name in "ab")
    for card in (first, second):
        assert NOT_A_DEVICE in card
        assert "LSSED" in card
        assert "derived from the corpora" in card
    assert "| wa | 0.750 | [0.500, 0.875] | 0.375 |" in first
    assert CLINICAL not in first
    assert CLINICAL in second
    assert "DAIC-WOZ" in second


def test_generated_data_are_labelled(stage_1, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    read = read_checkpoint(stage_1 / "checkpoints/model.safetensors")
    read.provenance["generated"] = True
    write_checkpoint(read, run / "checkpoints/model.safetensors")
    (run / "metrics.json").write_text(json.dumps({**STAGE_1, "generated": True}))
    export(run, tmp_path / "out")
    card = (tmp_path / "out/MODEL_CARD.md").read_text()
    assert "data are generated" in card
    assert "signed agreement" not in card


def test_terms_of_a_corpus_of_ones_own():
    assert "ask whoever gave you the corpus" in terms_lines(["mine"], generated=False)[0]
    assert CLINICAL in terms_lines(["emodb", "e-daic"], generated=False)


@pytest.mark.parametrize(("kind", "columns"), [("linear", None), ("kernel", 4), ("network", 4)])
def test_a_probe_as_a_network_scores_as_the_probe(kind, columns):
    probe = make_probe(6, kind, columns)
    x = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    found = ProbeHead(probe)(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), probe.score(x), atol=1e-6)


def test_the_network_of_a_probe_scores_as_the_run_does(stage_2):
    metrics = json.loads((stage_2 / "metrics.json").read_text())
    exported = read_run(stage_2, metrics, None)
    waveform = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(3))
    encoder = open_encoder("ser", metrics["encoder_details"]["checkpoint"])
    wanted = read_probe(stage_2 / "checkpoints/probe.safetensors").score(encoder.embed([waveform]).numpy())
    from sertransfer.audio.logmel import MelFrontEnd

    x = MelFrontEnd(FrontEnd(mels=32))(waveform)[None, None]
    with torch.no_grad():
        np.testing.assert_allclose(exported.network(x).numpy(), wanted, atol=1e-5)


def test_what_is_there_is_replaced_whole_or_left(stage_1, tmp_path, monkeypatch):
    target = tmp_path / "out"
    export(stage_1, target)
    (target / "model.onnx").touch()  # of an earlier export
    export(stage_1, target)
    assert not (target / "model.onnx").exists()
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    monkeypatch.setattr("sertransfer.export.export.model_card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(stage_1, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_of_somebody_else_is_not_removed(stage_1, tmp_path):
    target = tmp_path / "out"
    export(stage_1, target)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"other files: notes\.txt"):
        export(stage_1, target)
    assert (target / "notes.txt").read_text() == "mine"
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="a symbolic link"):
        export(stage_1, tmp_path / "link")


def test_other_folders_runs_and_weights_are_refused(stage_1, stage_2, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    with pytest.raises(BadInput, match="a folder with other files"):
        export(stage_1, tmp_path / "mine")
    with pytest.raises(BadInput, match="metrics of a finished run"):
        export(tmp_path / "mine", tmp_path / "new")
    read = read_checkpoint(stage_1 / "checkpoints/model.safetensors")
    read.state["fc.bias"].add_(1)
    write_checkpoint(read, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="weights of fingerprint"):
        export(stage_2, tmp_path / "new", checkpoint=tmp_path / "other.safetensors")
    assert not (tmp_path / "new").exists()


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"no package onnx, onnxscript, onnxruntime.*make export-tools"):
        check_packages()


@pytest.fixture(scope="module")
def onnx_packages():
    for name in PACKAGES:
        pytest.importorskip(name, reason=f"{name} not installed: make export-tools")


def test_onnx_of_both_stages(onnx_packages, stage_1, stage_2, tmp_path):
    import onnxruntime

    for run, output in ((stage_1, "logits"), (stage_2, "score")):
        target = tmp_path / run.parent.name
        found = export(run, target, onnx=True)["onnx"]
        assert 0 < found["difference"] <= 1e-4
        assert len(found["lengths"]) >= 5
        assert f"{found['difference']:.2g} at most" in (target / "MODEL_CARD.md").read_text()
        session = onnxruntime.InferenceSession(str(target / "model.onnx"))
        assert [one.name for one in session.get_outputs()] == [output]
    network = sertransfer.load_model(tmp_path / stage_1.parent.name)
    x = torch.randn(5, 1, 32, 77, generator=torch.Generator().manual_seed(4))
    path = tmp_path / stage_1.parent.name / "model.onnx"
    (scores,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(scores, network(x).numpy(), atol=1e-4)


class Wrong(torch.nn.Module):
    """Says another thing to PyTorch than to the exporter."""

    def forward(self, x):
        return x.mean((1, 2, 3)) + (0.0 if torch.compiler.is_exporting() else 0.01)


def test_a_file_that_scores_otherwise_is_refused(onnx_packages, tmp_path):
    with pytest.raises(BadInput, match=r"scores that differ from PyTorch's by 0\.01"):
        write_onnx(Wrong(), tmp_path / "x.onnx", shape=(1, 4), shortest=1, lengths=[1, 9], output="score")


class Unknown(torch.nn.Module):
    """Does what has no counterpart in ONNX."""

    def forward(self, x):
        return torch.linalg.eigvals(x[:, None] * x[:, :, None]).abs().sum(1)


def test_a_network_that_the_exporter_can_not_take_is_refused_with_the_reason(onnx_packages, tmp_path):
    with pytest.raises(BadInput, match=r"cannot be had as ONNX .*export it without --onnx"):
        write_onnx(Unknown(), tmp_path / "x.onnx", shape=(), shortest=4, lengths=[8], output="score")


def test_the_models_that_pool_to_bins_keep_their_length_open(onnx_packages, tmp_path):
    class Bins(SpectrogramModel):
        def forward_features(self, x):
            return x

        def pool_frames(self, features):
            return features

        def forward_head(self, features):
            return torch.nn.functional.adaptive_avg_pool2d(features, (3, 7)).flatten(1)

        def reset_classifier(self, num_classes):
            raise NotImplementedError

    found = write_onnx(
        Bins(), tmp_path / "x.onnx", shape=(1, 10), shortest=7, lengths=[7, 8, 20, 51], output="logits"
    )
    assert found["difference"] <= 1e-6
