import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from support.transfer_fakes import NEGATIVE, POSITIVE, FakeEncoder, make_interviews

from sertransfer.errors import BadInput
from sertransfer.timebase import PRESETS
from sertransfer.transfer import workflow
from sertransfer.transfer.embed import embed
from sertransfer.transfer.probe.probe import read_probe
from sertransfer.transfer.settings import EmbeddingConfig, ProbeConfig, ThresholdConfig, TransferConfig

CONFIG = TransferConfig(resamples=20, folds=3, probe=ProbeConfig(c_grid=(0.01, 1.0)))
NOTES = {
    "generated": True,
    "errata": ["409: Binary = (Score >= 10)"],
    "assumptions": ["gender: 1 = male"],
    "left_out": [{"item": "x", "reason": "y"}],
}

STAGE_2_KEYS = {
    "sentence": {"n", "wa", "ua", "auroc"},
    "subject": {
        "n", "wa", "ua", "wa_ci95", "ua_ci95", "f1", "macro_f1",
        "sensitivity", "specificity", "auroc", "confusion",
    },
    "majority": {"wa", "ua"},
}  # fmt: skip


@pytest.fixture
def opened(monkeypatch, no_report):
    """Every encoder that a run opens, with what it was asked for; reports are empty unless marked."""
    made = []

    def open_fake(name, checkpoint, *, framing=None, layer=None, device="cpu"):
        encoder = FakeEncoder()
        made.append((encoder, name, Path(checkpoint), framing, device))
        return encoder

    monkeypatch.setattr(workflow, "open_encoder", open_fake)
    return made


@pytest.fixture
def manifest(tmp_path):
    return make_interviews(tmp_path / "corpus", notes=NOTES)


def run(manifest, tmp_path, config=CONFIG, **options):
    return workflow.transfer(
        config,
        manifest,
        encoder="ser",
        checkpoint=tmp_path / "model.safetensors",
        run_dir=tmp_path / "run",
        **{"progress": False, **options},
    )


def without_label(manifest, split):
    table = manifest.table.copy()
    table.loc[table["split"] == split, "label"] = ""
    return manifest.with_table(table)


def break_subject(manifest, subject):
    (manifest.root / f"{subject}_P" / f"{subject}_AUDIO.wav").write_bytes(b"no audio")


def test_a_run_from_sentences_to_the_report(manifest, tmp_path, opened, real_report):
    metrics = run(manifest, tmp_path, framing=PRESETS["65ms"])
    folder = tmp_path / "run"
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    for block, keys in STAGE_2_KEYS.items():
        assert keys <= set(metrics[block])
    assert (metrics["split"], metrics["encoder"], metrics["mode"]) == ("dev", "ser", "probe")
    assert metrics["errata"] == NOTES["errata"]
    assert metrics["assumptions"] == NOTES["assumptions"]
    assert metrics["generated"] is True
    assert metrics["left_out"] == {
        "manifest": 1,
        "embedding": [],
        "train_subjects": [],
        "undecided_subjects": [],
    }
    assert metrics["counts"]["train"]["subjects"] == {NEGATIVE: 5, POSITIVE: 4}
    assert metrics["counts"]["dev"]["sentences"] == {NEGATIVE: 12, POSITIVE: 12}
    assert metrics["majority"] == {"wa": 0.5, "ua": 0.5}
    assert metrics["probe"]["folds"] == 3
    assert metrics["encoder_details"]["fingerprint"] == "fake"
    assert metrics["subject"]["wa"] > 0.5  # the loudness is told apart

    sentences = pd.read_csv(folder / "sentences.csv", dtype={"id": str, "subject": str})
    assert list(sentences.columns)[:5] == ["id", "subject", "split", "label", "score"]
    assert sentences["id"].tolist() == manifest.table.query("split == 'dev'")["id"].tolist()
    assert sentences["score"].between(0, 1).all()
    subjects = pd.read_csv(folder / "subjects.csv", dtype={"subject": str})
    assert list(subjects.columns)[:5] == ["subject", "split", "label", "score", "prediction"]
    votes = sentences.assign(vote=sentences["score"] >= 0.5).groupby("subject")["vote"].mean()
    assert subjects.set_index("subject")["score"].to_dict() == pytest.approx(votes.to_dict())
    assert subjects["prediction"].tolist() == [
        POSITIVE if score >= 0.5 else NEGATIVE for score in subjects["score"]
    ]
    assert (subjects["prediction"] == subjects["label"]).mean() == pytest.approx(metrics["subject"]["wa"])
    assert set(pd.read_csv(folder / "out_of_fold.csv")["split"]) == {"train"}
    assert "<svg" in (folder / "report.html").read_text()
    assert (folder / "plots" / "confusion.svg").is_file()
    assert "probe" in (folder / "config.yaml").read_text()
    encoder, name, checkpoint, framing, _ = opened[0]
    assert (name, checkpoint, framing) == ("ser", tmp_path / "model.safetensors", PRESETS["65ms"])
    assert encoder.encoded == len(manifest)


def test_silence_is_never_scored_without_a_word(manifest, tmp_path, opened):
    rows = manifest.table.query("split == 'dev'")
    for _, row in rows.groupby("audio").head(1).iloc[:2].iterrows():
        path = manifest.root / row["audio"]
        samples, rate = soundfile.read(path)
        samples[round(row["start"] * rate) : round(row["end"] * rate)] = 0
        soundfile.write(path, samples, rate)
    metrics = run(manifest, tmp_path)
    assert metrics["assumptions"] == [
        *NOTES["assumptions"],
        f"2 of {len(rows)} scored sentences are silent (below -80 dB of full scale)",
    ]


def test_the_interviewer_s_audio_is_a_row_by_the_run_s_encoder(manifest, tmp_path, opened):
    turns = {audio: ["0.0 0.05", "0.1 0.2"] for audio in manifest.table["audio"].unique()}
    manifest.notes["interviewer_turns"] = turns
    metrics = run(manifest, tmp_path)
    row = metrics["shortcuts"][-1]
    assert (row["name"], row["n"]) == ("interviewer's audio", 6)
    assert opened[0][0].encoded == len(manifest) + 2 * len(turns)
    assert metrics["sentence"]["n"] == 24  # the turns are no sentences of the run


def test_the_saved_probe_scores_the_same(manifest, tmp_path, opened):
    run(manifest, tmp_path)
    probe = read_probe(tmp_path / "run" / "checkpoints" / "probe.safetensors")
    stored = embed(manifest, FakeEncoder(), tmp_path / "run" / "embeddings", progress=False)
    sentences = pd.read_csv(
        tmp_path / "run" / "sentences.csv", dtype={"id": str}, float_precision="round_trip"
    )
    assert np.array_equal(probe.score(stored.select(sentences["id"].tolist())), sentences["score"])
    assert probe.about["classes"] == [NEGATIVE, POSITIVE]
    assert probe.about["encoder"]["name"] == "ser"
    assert (probe.about["threshold"], probe.about["aggregation"]) == (0.5, "majority")


def test_a_finished_run_is_not_run_again_but_its_report_is_made_again(manifest, tmp_path, opened):
    first = run(manifest, tmp_path)
    (tmp_path / "run" / "report.html").unlink()
    assert run(manifest, tmp_path) == first
    assert opened[1][0].encoded == 0
    assert (tmp_path / "run" / "report.html").is_file()


def test_another_config_is_refused_but_not_another_number_of_workers(manifest, tmp_path, opened):
    run(manifest, tmp_path)
    with pytest.raises(BadInput, match="seed = 0"):
        run(manifest, tmp_path, replace(CONFIG, seed=1))
    run(manifest, tmp_path, replace(CONFIG, embedding=EmbeddingConfig(batch_seconds=1)))


def test_the_same_run_gives_the_same_bytes(manifest, tmp_path, opened):
    run(manifest, tmp_path)
    workflow.transfer(
        CONFIG,
        manifest,
        encoder="ser",
        checkpoint=tmp_path / "model.safetensors",
        run_dir=tmp_path / "again",
        embeddings=tmp_path / "run" / "embeddings",
        progress=False,
    )
    assert opened[1][0].encoded == 0
    for name in (
        "metrics.json",
        "sentences.csv",
        "subjects.csv",
        "out_of_fold.csv",
        "checkpoints/probe.safetensors",
    ):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_the_reported_labels_influence_no_choice(manifest, tmp_path, opened):
    run(manifest, tmp_path)
    table = manifest.table.copy()
    flipped = {NEGATIVE: POSITIVE, POSITIVE: NEGATIVE}
    table.loc[table["split"] == "dev", "label"] = table.loc[table["split"] == "dev", "label"].map(flipped)
    workflow.transfer(
        replace(CONFIG, threshold=ThresholdConfig(rule="fixed")),
        manifest.with_table(table),
        encoder="ser",
        checkpoint=tmp_path / "m",
        run_dir=tmp_path / "flipped",
        progress=False,
    )
    one, other = (pd.read_csv(tmp_path / name / "sentences.csv") for name in ("run", "flipped"))
    assert one["score"].equals(other["score"])


def test_the_threshold_is_chosen_on_the_training_subjects(manifest, tmp_path, opened):
    config = replace(CONFIG, aggregation="mean", threshold=ThresholdConfig(rule="out_of_fold"))
    metrics = run(manifest, tmp_path, config)
    threshold = metrics["threshold"]["value"]
    subjects = pd.read_csv(tmp_path / "run" / "subjects.csv")
    assert ((subjects["score"] >= threshold) == (subjects["prediction"] == POSITIVE)).all()
    fixed = replace(config, threshold=ThresholdConfig())
    other = workflow.transfer(
        fixed, manifest, encoder="ser", checkpoint=tmp_path / "m", run_dir=tmp_path / "f", progress=False
    )
    assert metrics["out_of_fold"]["subject"]["ua"] >= other["out_of_fold"]["subject"]["ua"]
    assert "C and the threshold were chosen on these scores" in metrics["out_of_fold"]["note"]
    assert "threshold" not in other["out_of_fold"]["note"]
    assert metrics["out_of_fold"]["subject"]["auroc_pairs"].startswith("within folds")


def test_a_linear_svm_and_weighted_means(manifest, tmp_path, opened):
    config = replace(CONFIG, aggregation="duration", probe=replace(CONFIG.probe, head="linear_svm"))
    metrics = run(manifest, tmp_path, config)
    assert metrics["probe"]["kind"] == "linear_svm"
    sentences = pd.read_csv(tmp_path / "run" / "sentences.csv")
    subjects = pd.read_csv(tmp_path / "run" / "subjects.csv").set_index("subject")
    for subject, group in sentences.groupby("subject"):
        mean = np.average(group["score"], weights=group["duration"])
        assert subjects["score"][subject] == pytest.approx(mean)


def test_the_test_split_is_reported_where_it_has_labels(tmp_path, opened):
    manifest = make_interviews(tmp_path / "corpus", {"train": (3, 3), "dev": (1, 1), "test": (2, 1)})
    metrics = run(manifest, tmp_path, replace(CONFIG, split="test"))
    assert metrics["split"] == "test"
    assert metrics["subject"]["n"] == 3
    assert metrics["majority"] == {"wa": pytest.approx(2 / 3), "ua": 0.5}
    assert metrics["generated"] is False


def test_the_test_split_without_labels_is_refused_before_anything_is_written(tmp_path, opened):
    manifest = make_interviews(tmp_path / "corpus", {"train": (3, 3), "test": (2, 1)})
    with pytest.raises(BadInput, match="--split dev"):
        run(without_label(manifest, "test"), tmp_path, replace(CONFIG, split="test"))
    assert not (tmp_path / "run").exists()
    assert opened == []


def test_one_class_in_the_reported_split_leaves_null(tmp_path, opened, real_report):
    metrics = run(make_interviews(tmp_path / "corpus", {"train": (3, 3), "dev": (2, 0)}), tmp_path)
    assert metrics["subject"]["ua"] is None
    assert metrics["subject"]["auroc"] is None
    assert metrics["majority"]["wa"] == 1.0
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_subject_without_a_usable_sentence_stays_in_the_table(
    manifest, tmp_path, opened, caplog, real_report
):
    break_subject(manifest, "310")  # dev, not depressed
    break_subject(manifest, "300")  # train, not depressed
    with pytest.raises(BadInput, match="no audio"):
        run(manifest, tmp_path)
    with caplog.at_level(logging.WARNING):
        metrics = run(manifest, tmp_path, skip_bad=True)
    assert "subject 310" in caplog.text
    assert metrics["subject"]["n"] == 6
    assert metrics["sentence"]["n"] == 20
    assert metrics["left_out"]["undecided_subjects"] == ["310"]
    assert metrics["left_out"]["train_subjects"] == ["300"]
    assert len(metrics["left_out"]["embedding"]) == 8
    subjects = pd.read_csv(tmp_path / "run" / "subjects.csv", dtype={"subject": str}).set_index("subject")
    row = subjects.loc["310"]
    assert (row["score"], row["prediction"], row["sentences"]) == (pytest.approx(4 / 9), NEGATIVE, 0)
    assert subjects["undecided"].tolist() == [name == "310" for name in subjects.index]
    assert (
        "wrong, undecided" in (tmp_path / "run" / "report.html").read_text()
        or "right, undecided" in (tmp_path / "run" / "report.html").read_text()
    )
    assert run(manifest, tmp_path, skip_bad=True) == metrics
    with pytest.raises(BadInput, match="no audio"):  # finished, but not without the faulty sentences
        run(manifest, tmp_path)


def test_an_undecided_subject_gets_the_majority_class_of_training(tmp_path, opened):
    manifest = make_interviews(tmp_path / "corpus", {"train": (2, 4), "dev": (2, 1)})
    break_subject(manifest, "306")
    run(manifest, tmp_path, replace(CONFIG, threshold=ThresholdConfig(value=0.9)), skip_bad=True)
    subjects = pd.read_csv(tmp_path / "run" / "subjects.csv", dtype={"subject": str}).set_index("subject")
    assert subjects.loc["306", "prediction"] == POSITIVE
    assert subjects.loc["306", "score"] == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("counts", "broken", "message"),
    [
        ({"train": (2, 1), "dev": (1, 1)}, ["302"], "split 'train'"),
        ({"train": (2, 2), "dev": (1, 0)}, ["304"], "split 'dev'"),
    ],
)
def test_too_little_left_is_an_error(tmp_path, opened, counts, broken, message):
    manifest = make_interviews(tmp_path / "corpus", counts)
    for subject in broken:
        break_subject(manifest, subject)
    with pytest.raises(BadInput, match=message):
        run(manifest, tmp_path, skip_bad=True)


def test_a_subject_on_both_sides_is_refused(manifest, tmp_path, opened):
    table = manifest.table.copy()
    table.loc[table["speaker"] == "310", "speaker"] = "300"
    with pytest.raises(BadInput, match="subject '300' in train and dev"):
        run(manifest.with_table(table), tmp_path)


def test_solver_warnings_are_told_once(manifest, tmp_path, opened, caplog):
    config = replace(CONFIG, probe=ProbeConfig(c_grid=(0.01, 1.0), max_iterations=1))
    with caplog.at_level(logging.WARNING):
        metrics = run(manifest, tmp_path, config)
    told = [record for record in caplog.records if "converge" in record.getMessage()]
    assert len(told) == 1
    assert told[0].getMessage().startswith("7 of the probe's fits")
    assert list(metrics["probe"]["warnings"].values()) == [7]


def test_a_senseless_config_is_refused_first(manifest, tmp_path, opened):
    with pytest.raises(BadInput, match="folds = 1"):
        run(manifest, tmp_path, replace(CONFIG, folds=1))
    assert opened == []


def test_no_word_of_a_transcript_is_written(manifest, tmp_path, opened):
    table = manifest.table.assign(text="a secret sentence")
    run(manifest.with_table(table), tmp_path)
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes()
