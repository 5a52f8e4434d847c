"""Fine-tuning of encoders of waveforms: from a manifest to numbers, and a file that scores the same."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from support.finetune_fakes import make_asr, make_ssl, run, settings
from support.transfer_fakes import Killed, make_interviews

from sertransfer.audio.reading import read_segment
from sertransfer.config import load_config
from sertransfer.encoders.registry import open_encoder
from sertransfer.encoders.sentence_model import load_sentence_model
from sertransfer.errors import BadInput
from sertransfer.transfer.finetune import workflow
from sertransfer.transfer.finetune.learners import Finetuner
from sertransfer.transfer.settings import TransferConfig

PROJECT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_interviews(tmp_path_factory.mktemp("corpus"), {"train": (2, 2), "dev": (1, 1)}, sentences=2)


@pytest.fixture(scope="module")
def asr(tmp_path_factory):
    return make_asr(tmp_path_factory.mktemp("asr"))


@pytest.fixture(scope="module")
def ssl(tmp_path_factory):
    return make_ssl(tmp_path_factory.mktemp("ssl") / "m", normalise_waveform=True)


def check_scores(folder, manifest):
    """Compare what the written network says of each sentence with what the run wrote."""
    model = load_sentence_model(folder / "checkpoints" / "model.safetensors")
    rows = manifest.table.set_index("id")
    sentences = pd.read_csv(folder / "sentences.csv", dtype={"id": str})
    for name, score in zip(sentences["id"], sentences["score"], strict=True):
        row = rows.loc[name]
        waveform = read_segment(
            manifest.source(row["audio"]), row["start"], row["end"], sample_rate=model.encoder.sample_rate
        )
        assert model.score(torch.from_numpy(waveform)) == pytest.approx(score, abs=1e-6)
    return model


def test_the_blocks_of_a_recogniser_learn_and_the_run_resumes(asr, manifest, tmp_path, monkeypatch):
    config = settings(
        stages=2, layer_decay=0.5, batch_norm="train", precision="bf16-mixed", window=0.15, batch_size=2
    )
    metrics = run(manifest, "asr", asr, tmp_path / "whole", config)
    assert (metrics["mode"], metrics["encoder"], metrics["subject"]["n"]) == ("finetune", "asr", 2)
    found = metrics["finetune"]
    assert found["trained"] == ["head", "encoders.2", "encoders.1"]
    assert found["frozen"] == ["embed", "encoders.0"]
    assert "layer_weights" not in found
    model = check_scores(tmp_path / "whole", manifest)
    assert (model.encoder.name, model.classes) == ("asr", ("not depressed", "depressed"))
    assert model.provenance["finetune"]["threshold"] == metrics["threshold"]["value"]

    monkeypatch.setattr(workflow, "EVERY", 1)
    begun, step = [], Finetuner.training_step

    def step_or_die(self, batch, batch_idx):
        begun.append(batch_idx)
        if len(begun) == 4:  # in the midst of the second epoch
            raise Killed
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Finetuner, "training_step", step_or_die)
        with pytest.raises(Killed):
            run(manifest, "asr", asr, tmp_path / "killed", config)
    run(manifest, "asr", asr, tmp_path / "killed", config)
    for name in ("sentences.csv", "checkpoints/model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_frozen_encoder_runs_once_and_its_layer_weights_are_shown(
    ssl, manifest, tmp_path, real_report, monkeypatch
):
    config = settings(depth="head", layers="mix", lr=0.1)
    metrics = run(manifest, "ssl", ssl, tmp_path / "run", config, embeddings=tmp_path / "kept")
    found = metrics["finetune"]
    assert found["features"].startswith("block means of the frozen encoder")
    assert len(found["layer_weights"]) == 3
    assert sum(found["layer_weights"]) == pytest.approx(1)
    assert len(set(found["layer_weights"])) == 3
    check_scores(tmp_path / "run", manifest)
    report = (tmp_path / "run" / "report.html").read_text()
    assert "Learned layer weights" in report
    assert f"{found['layer_weights'][2]:.3f}" in report
    # what was stored is taken again: the encoder does not run
    monkeypatch.setattr("sertransfer.transfer.finetune.data._encode", lambda *words: iter(()))
    again = run(manifest, "ssl", ssl, tmp_path / "again", config, embeddings=tmp_path / "kept")
    assert again["finetune"] == found


def test_frames_are_kept_for_attention_as_far_as_the_budget_goes(ssl, manifest, tmp_path):
    config = settings(depth="head", pooling="attention", epochs=1)
    kept = run(manifest, "ssl", ssl, tmp_path / "kept", config, embeddings=tmp_path / "e")
    assert kept["finetune"]["features"].startswith("frames")
    check_scores(tmp_path / "kept", manifest)
    config = replace(config, finetune=replace(config.finetune, store_gb=0.0))
    anew = run(manifest, "ssl", ssl, tmp_path / "anew", config, embeddings=tmp_path / "e")
    assert anew["finetune"]["features"] == "encoder run in every epoch"
    assert anew["finetune"]["trained"] == kept["finetune"]["trained"] == ["head"]


def test_a_sentence_too_short_for_the_encoder_is_named_or_left_out(ssl, tmp_path):
    manifest = make_interviews(tmp_path / "c", {"train": (2, 2), "dev": (1, 1)}, sentences=2)
    table = manifest.table.copy()
    table.loc[0, "end"] = table.loc[0, "start"] + 0.01
    short = manifest.with_table(table)
    config = settings(depth="head", epochs=1)
    with pytest.raises(BadInput, match="160 samples; expected 400 or more"):
        run(short, "ssl", ssl, tmp_path / "run", config)
    metrics = run(short, "ssl", ssl, tmp_path / "run", config, skip_bad=True)
    assert [entry["item"] for entry in metrics["left_out"]["embedding"]] == [table.loc[0, "id"]]


def test_a_mix_needs_several_blocks_and_all_of_them(ssl, manifest, tmp_path):
    with pytest.raises(BadInput, match="'mix' with layer 2"):
        run(manifest, "ssl", ssl, tmp_path / "r", replace(settings(layers="mix"), layer=2))
    recurrent = make_asr(tmp_path / "rnn", "rnn")
    with pytest.raises(BadInput, match="last output only"):
        run(manifest, "asr", recurrent, tmp_path / "r", settings(layers="mix"))


@pytest.mark.parametrize("encoder", ["asr", "ssl"])
def test_the_configs_are_whole(encoder, tmp_path):
    config = load_config(TransferConfig, PROJECT / f"configs/transfer/{encoder}_finetune.yaml", {})
    config.check()
    make = make_ssl if encoder == "ssl" else make_asr
    workflow.check_finetune(config, open_encoder(encoder, make(tmp_path / "m")))
    assert (config.mode, config.finetune.depth, config.finetune.stages) == ("finetune", "last", 2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncated", "bytes that were changed"),
        ("head", r"head\.classifier|'classifier.weight' of shape"),
        ("values", "no fine-tuned network that can be read"),
        ("plain", "was not fine-tuned|another program"),
    ],
)
def test_a_file_that_is_no_fine_tuned_network_is_refused(ssl, tmp_path, damage, message):
    from safetensors.torch import save_file

    from sertransfer.encoders.base import UtteranceHead
    from sertransfer.encoders.sentence_model import write_sentence_model

    path = tmp_path / "model.safetensors"
    encoder = open_encoder("ssl", ssl)
    head = UtteranceHead(16, 3 if damage == "head" else 2, pooling="mean", layers=None)
    state = {f"encoder.{name}": value for name, value in encoder.network.state_dict().items()}
    blueprint = {} if damage == "values" else encoder.blueprint()
    write_sentence_model(
        path,
        encoder="ssl",
        blueprint=blueprint,
        head=head,
        classes=("a", "b"),
        state={**state, **{f"head.{name}": value for name, value in head.state_dict().items()}},
        provenance={},
    )
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "plain":
        save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(BadInput, match=message):
        load_sentence_model(path)
