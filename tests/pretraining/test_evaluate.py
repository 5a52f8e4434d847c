"""Scores of a checkpoint are those of its run, and what is said of them holds."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from support.training_fakes import make_tones, tone_config

from sertransfer.audio.reading import read_segment
from sertransfer.cli.main import main
from sertransfer.encoders.registry import open_encoder
from sertransfer.encoders.ser import SerEncoder
from sertransfer.errors import BadInput
from sertransfer.front_end import Cropping
from sertransfer.manifest import Manifest
from sertransfer.models.checkpoint import build_from, load_model, read_checkpoint, write_checkpoint
from sertransfer.pretraining.evaluate import evaluate, score_metrics, score_table
from sertransfer.pretraining.workflow import pretrain
from sertransfer.training.inference import predict_probabilities


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    manifest = make_tones(folder / "corpus", train=24, test=12)
    metrics = pretrain(replace(tone_config(), epochs=2), manifest, folder / "run", progress=False)
    return folder / "run" / "checkpoints" / "model.safetensors", manifest, metrics


def test_evaluation_repeats_the_scores_of_the_run(trained, tmp_path):
    checkpoint, manifest, metrics = trained
    again = evaluate(checkpoint, manifest, run_dir=tmp_path / "run", progress=False)
    for key in ("utterance", "majority", "split", "model", "generated", "speakers_shared"):
        assert again[key] == metrics[key], key
    assert (tmp_path / "run" / "report.html").is_file()
    assert evaluate(checkpoint, manifest, run_dir=tmp_path / "run", progress=False) == again
    with pytest.raises(BadInput, match="split"):
        evaluate(checkpoint, manifest, split="train", run_dir=tmp_path / "run", progress=False)


@pytest.mark.usefixtures("no_report")
def test_metrics_hold_the_shares_of_the_classes_behind_the_scores(tmp_path):
    manifest = make_tones(tmp_path / "corpus", train=24, test=12)
    table = manifest.table
    few = table.index[(table["split"] == "train") & (table["label"] == "happy")][2:]
    manifest = manifest.with_table(table.drop(few).reset_index(drop=True))
    shares = {"angry": 0.3, "happy": 0.1, "neutral": 0.3, "sad": 0.3}
    for weights, assumed in (("none", shares), ("balanced", dict.fromkeys(shares, 0.25))):
        config = replace(tone_config(), epochs=1, class_weights=weights)
        trained = pretrain(config, manifest, tmp_path / weights, progress=False)
        assert trained["prior"] == {"assumed": assumed, "prevalence": shares}
        checkpoint = tmp_path / weights / "checkpoints" / "model.safetensors"
        scored = evaluate(checkpoint, manifest, run_dir=tmp_path / f"{weights}_again", progress=False)
        assert scored["prior"] == trained["prior"]
    carried = read_checkpoint(checkpoint)
    train = carried.provenance["train"]
    for number, told in enumerate(({}, {"labels": train["labels"]}, {**train, "labels": {"angry": 1}})):
        write_checkpoint(replace(carried, provenance={"train": told}), tmp_path / "old.safetensors")
        run = tmp_path / f"old{number}"
        assert "prior" not in evaluate(tmp_path / "old.safetensors", manifest, run_dir=run, progress=False)


@pytest.mark.usefixtures("no_report")
def test_the_training_speakers_are_known_to_the_checkpoint(trained, tmp_path):
    checkpoint, manifest, _ = trained
    metrics = evaluate(checkpoint, manifest, split="train", run_dir=tmp_path / "run", progress=False)
    assert metrics["speakers_shared"] == 6
    assert metrics["utterance"]["n"] == 24


@pytest.mark.usefixtures("no_report")
def test_another_corpus_is_scored_on_the_common_labels_and_its_speakers_are_other_people(trained, tmp_path):
    checkpoint, manifest, _ = trained
    table = manifest.table.assign(corpus="elsewhere")
    table.loc[table.index[-1], "label"] = "bored"
    other = manifest.with_table(table)
    metrics = evaluate(checkpoint, other, run_dir=tmp_path / "run", progress=False)
    assert (metrics["corpus"], metrics["utterance"]["n"]) == ("elsewhere", 11)
    assert metrics["left_out"]["labels"] == {"test": {"bored": 1}}
    train = evaluate(checkpoint, other, split="train", run_dir=tmp_path / "train", progress=False)
    assert train["speakers_shared"] == 0


@pytest.mark.usefixtures("no_report")
def test_silence_is_never_scored_without_a_word(trained, tmp_path):
    checkpoint, manifest, _ = trained
    shutil.copytree(manifest.root, tmp_path / "corpus")
    audio = manifest.select(split="test").table["audio"].iloc[0]
    soundfile.write(tmp_path / "corpus" / audio, np.zeros(16_000), 16_000)
    other = Manifest(manifest.table, tmp_path / "corpus", manifest.notes)
    metrics = evaluate(checkpoint, other, run_dir=tmp_path / "run", progress=False)
    known = manifest.notes.get("assumptions", [])
    assert metrics["assumptions"] == [
        *known,
        "1 of 12 scored utterances are silent (below -80 dB of full scale)",
    ]
    plain = evaluate(checkpoint, manifest, run_dir=tmp_path / "plain", progress=False)
    assert plain["assumptions"] == known


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("pad", [False, True])
def test_an_utterance_is_scored_as_the_encoder_of_stage_2_sees_it(trained, tmp_path, pad):
    path, manifest, _ = trained
    carried = replace(read_checkpoint(path), cropping=Cropping(0.45, pad))
    write_checkpoint(carried, tmp_path / "model.safetensors")
    evaluate(tmp_path / "model.safetensors", manifest, run_dir=tmp_path / "run", progress=False)
    scores = pd.read_csv(tmp_path / "run" / "utterances.csv").set_index("id")
    encoder, model = SerEncoder(carried), build_from(carried)
    for row in manifest.select(split="test").table.to_dict("records")[:4]:
        wave = torch.from_numpy(read_segment(manifest.source(row["audio"])))[None]
        pooled = encoder.encode(wave, torch.tensor([wave.shape[1]]))[0][0].mean(0)
        expected = model.fc(pooled).softmax(0).detach().numpy()
        found = scores.loc[row["id"], [f"score_{name}" for name in carried.classes]].to_numpy(float)
        np.testing.assert_allclose(found, expected, atol=2e-3)  # the store holds half precision


@pytest.mark.usefixtures("no_report")
def test_absent_classes_are_an_error_or_skipped_by_choice(trained, tmp_path):
    checkpoint, manifest, _ = trained
    table = manifest.table
    fewer = manifest.with_table(table[table["label"] != "happy"].reset_index(drop=True))
    with pytest.raises(BadInput, match="--absent skip"):
        evaluate(checkpoint, fewer, run_dir=tmp_path / "error", progress=False)
    metrics = evaluate(checkpoint, fewer, run_dir=tmp_path / "skip", absent="skip", progress=False)
    assert metrics["utterance"]["absent"] == ["happy"]
    with pytest.raises(BadInput, match="'dev'"):
        evaluate(checkpoint, fewer, split="dev", run_dir=tmp_path / "dev", progress=False)


@pytest.mark.usefixtures("no_report")
def test_a_checkpoint_without_a_front_end_says_how_to_import_it(trained, tmp_path):
    path, manifest, _ = trained
    unknown = replace(read_checkpoint(path), front_end=None, cropping=None, provenance={})
    write_checkpoint(unknown, tmp_path / "unknown.safetensors")
    with pytest.raises(BadInput, match="--front-end"):
        evaluate(tmp_path / "unknown.safetensors", manifest, run_dir=tmp_path / "run", progress=False)
    known = replace(unknown, front_end=read_checkpoint(path).front_end)
    write_checkpoint(known, tmp_path / "known.safetensors")
    metrics = evaluate(tmp_path / "known.safetensors", manifest, run_dir=tmp_path / "known", progress=False)
    assert metrics["speakers_shared"] is None


def renamed(manifest, root, split):
    """Copy the audio of *split* to other names, another corpus and another container, as a test part."""
    root.mkdir()
    table = manifest.select(split=split).table
    for row in table.itertuples():
        samples, rate = soundfile.read(manifest.source(row.audio).path, dtype="int16")
        soundfile.write(root / f"take_{row.Index}.flac", samples, rate)
    names = [f"take_{number}" for number in table.index]
    table = table.assign(
        id=names, audio=[f"{name}.flac" for name in names], speaker=names, corpus="other", split="test"
    )
    return Manifest(table, root, {})


@pytest.mark.usefixtures("no_report")
def test_training_audio_is_known_under_any_name(trained, tmp_path, caplog):
    checkpoint, manifest, _ = trained
    leak = evaluate(
        checkpoint, renamed(manifest, tmp_path / "a", "train"), run_dir=tmp_path / "leak", progress=False
    )
    assert leak["speakers_shared"] == 0  # by name
    assert leak["audio_shared"] == {"status": "shared", "utterances": 24, "speakers": 24}
    assert "24 of the 24 utterances that are scored, of 24 speakers" in caplog.text
    fair = evaluate(
        checkpoint, renamed(manifest, tmp_path / "b", "test"), run_dir=tmp_path / "fair", progress=False
    )
    assert fair["audio_shared"] == {"status": "none", "utterances": 0, "speakers": 0}
    old = replace(read_checkpoint(checkpoint), training_audio=None)
    write_checkpoint(old, tmp_path / "old.safetensors")
    unknown = evaluate(tmp_path / "old.safetensors", manifest, run_dir=tmp_path / "old", progress=False)
    assert unknown["audio_shared"] == {"status": "unknown", "utterances": None, "speakers": None}


@pytest.mark.usefixtures("no_report")
def test_pretraining_looks_for_its_test_audio_in_its_training_part(trained, tmp_path):
    _, manifest, metrics = trained
    assert metrics["audio_shared"] == {"status": "none", "utterances": 0, "speakers": 0}
    root = tmp_path / "corpus"
    shutil.copytree(manifest.root, root)
    train, test = (manifest.select(split=split).table for split in ("train", "test"))
    for ours, theirs in zip(train["audio"][:3], test["audio"][:3], strict=True):
        shutil.copy(root / ours, root / theirs)
    leaking = replace(manifest, root=root)
    found = pretrain(replace(tone_config(), epochs=1), leaking, tmp_path / "run", progress=False)
    assert (found["audio_shared"]["status"], found["audio_shared"]["utterances"]) == ("shared", 3)


@pytest.mark.usefixtures("no_report")
def test_a_run_folder_is_taken_for_its_checkpoint(trained, tmp_path):
    checkpoint, manifest, metrics = trained
    run = checkpoint.parent.parent
    again = evaluate(run, manifest, run_dir=tmp_path / "run", progress=False)
    assert again["utterance"] == metrics["utterance"]
    assert open_encoder("ser", run).fingerprint() == open_encoder("ser", checkpoint).fingerprint()
    assert torch.equal(load_model(run).fc.weight, load_model(checkpoint).fc.weight)
    with pytest.raises(BadInput, match=r"'sertransfer evaluate'.*trained nothing"):
        load_model(tmp_path / "run")


@pytest.mark.usefixtures("no_report")
def test_an_unknown_model_is_refused_before_there_is_a_folder(trained, tmp_path, capsys):
    _, manifest, _ = trained
    config = tone_config()
    wrong = replace(config, model=replace(config.model, name="pyresnet512"))
    with pytest.raises(BadInput, match="did you mean 'pyresnet152'"):
        pretrain(wrong, manifest, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    assert main(["pretrain", "--manifest", "none.csv", "--model", "pyresnet512", "--run-dir", "none"]) == 2
    assert "pyresnet152" in capsys.readouterr().err


CLASSES = ("angry", "neutral", "happy", "sad")


def table(labels, speakers):
    ids = [f"u{number}" for number in range(len(labels))]
    return pd.DataFrame({"id": ids, "speaker": speakers, "split": "test", "label": labels})


def hits(labels, right):
    """Return probabilities that are right or go to the next class."""
    rows = np.full((len(labels), 4), 0.1)
    for number, (label, good) in enumerate(zip(labels, right, strict=True)):
        rows[number, (CLASSES.index(label) + (not good)) % 4] = 0.7
    return rows


@pytest.mark.parametrize("pad", [False, True])
def test_an_utterance_scores_alone_as_in_company(utterances, probe, pad):
    data = utterances([4, 9, 9, 30, 4, 17, 9])
    together = predict_probabilities(probe, data, longest=12, pad=pad, batch_size=3)
    alone = [
        predict_probabilities(probe, data.subset(np.array([item])), longest=12, pad=pad, batch_size=3)[0]
        for item in range(7)
    ]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1)
    assert np.ptp(together, axis=0).min() > 1e-6


def test_scores_are_those_of_the_network_in_evaluation_mode(utterances, probe):
    data = utterances([9, 4])
    probe.train()
    scores = predict_probabilities(probe, data, longest=99, pad=False, batch_size=4, progress=True)
    assert probe.training
    probe.eval()
    for item in range(2):
        features = torch.from_numpy(data.store.features[item])[None, None]
        expected = probe(features).softmax(1)[0].detach().numpy()
        np.testing.assert_allclose(scores[item], expected, atol=1e-6)


def test_metrics_agree_with_scikit_learn_and_intervals_hold_them():
    labels = list(CLASSES) * 10
    right = np.random.default_rng(0).random(40) < 0.6
    scores = score_table(table(labels, [f"s{n // 5}" for n in range(40)]), hits(labels, right), CLASSES)
    metrics = score_metrics(scores, CLASSES)
    block = metrics["utterance"]
    assert block["n"] == 40
    assert block["wa"] == pytest.approx(accuracy_score(scores["label"], scores["prediction"]))
    assert block["ua"] == pytest.approx(balanced_accuracy_score(scores["label"], scores["prediction"]))
    assert block["wa_ci95"][0] <= block["wa"] <= block["wa_ci95"][1]
    assert block["ua_ci95"][0] <= block["ua"] <= block["ua_ci95"][1]
    assert (block["intervals_over"], block["speakers"], block["absent"]) == ("speakers", 8, [])
    assert np.sum(block["confusion"]) == 40
    assert metrics["majority"] == {"wa": 0.25, "ua": 0.25}
    assert list(scores.columns[-4:]) == [f"score_{name}" for name in CLASSES]


def test_unknown_speakers_have_no_interval_and_that_is_said(caplog):
    labels = list(CLASSES) * 5
    unknown = table(labels, ["unknown"] * 10 + [""] * 10)
    scores = score_table(unknown, hits(labels, [True] * 15 + [False] * 5), CLASSES)
    block = score_metrics(scores, CLASSES)["utterance"]
    assert (block["wa_ci95"], block["ua_ci95"], block["speakers"]) == (None, None, 0)
    assert block["no_interval"] == dict.fromkeys(("wa", "ua"), "no interval: 0 speakers")
    assert block["against_majority"]["ua"]["state"] == "open"
    assert "no interval: 0 speakers" in caplog.text


def test_two_speakers_have_no_interval_beside_unknown_ones():
    labels = list(CLASSES) * 5
    mixed = table(labels, ["a"] * 8 + ["b"] * 8 + ["unknown"] * 4)
    block = score_metrics(score_table(mixed, hits(labels, [True] * 20), CLASSES), CLASSES)["utterance"]
    assert (block["wa_ci95"], block["no_interval"]["wa"]) == (None, "no interval: 2 speakers")


def test_utterances_of_unknown_speakers_are_one_cluster():
    labels = list(CLASSES) * 10
    mixed = table(labels, [*"abcdef" * 2, *["unknown"] * 28])
    right = [True] * 20 + [False] * 20
    many = table(labels, [*"abcdef" * 2, *(f"s{number}" for number in range(28))])
    widths = []
    for each in (mixed, many):
        block = score_metrics(score_table(each, hits(labels, right), CLASSES), CLASSES)["utterance"]
        widths.append(block["wa_ci95"][1] - block["wa_ci95"][0])
    assert widths[0] > widths[1] * 1.2


def test_a_class_that_is_absent_is_an_error_unless_it_is_left_out_by_choice():
    labels = ["angry", "neutral", "happy"] * 6
    scores = score_table(table(labels, list("abcdef") * 3), hits(labels, [True] * 18), CLASSES)
    with pytest.raises(ValueError, match="class 3"):
        score_metrics(scores, CLASSES)
    block = score_metrics(scores, CLASSES, absent="skip")["utterance"]
    assert (block["ua"], block["absent"], block["recall"]) == (1.0, ["sad"], [1.0, 1.0, 1.0, None])


def test_nothing_scored_is_nothing_claimed():
    scores = score_table(table([], []), np.empty((0, 4)), CLASSES)
    metrics = score_metrics(scores, CLASSES)
    assert metrics["utterance"]["n"] == 0
    assert metrics["utterance"]["wa"] is metrics["majority"]["wa"] is None
