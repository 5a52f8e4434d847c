"""Probes on the uneven corpus: every figure recomputed from the tables, every choice made where it may be."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from support.uneven import NEGATIVE, PERSON, POSITIVE, PROBE, SEED, THRESHOLD, write_transcripts

from sertransfer.audio.reading import read_segment
from sertransfer.export.export import export
from sertransfer.io.run_folder import RunFolder
from sertransfer.reporting.share import share
from sertransfer.transfer import workflow
from sertransfer.transfer.compare import compare
from sertransfer.transfer.data import take_parts
from sertransfer.transfer.decide import TrainingSet, choose_c, choose_threshold, inner_folds
from sertransfer.transfer.predict import predict
from sertransfer.transfer.scoring import sentence_figures, subject_figures
from sertransfer.transfer.settings import ProbeConfig, ThresholdConfig
from sertransfer.transfer.tuning.nested import InnerData, inner_score, subject_score

ATTENTION = replace(PROBE, probe=replace(PROBE.probe, head="attention"), aggregation="majority")


def read(path, **more):
    return pd.read_csv(
        path, dtype={"id": str, "subject": str, "cluster": str}, float_precision="round_trip", **more
    )


@pytest.fixture(scope="module")
def run_of(uneven, tmp_path_factory):
    """Return the folder of a run of some settings, made once."""
    home, made = tmp_path_factory.mktemp("runs"), {}

    def make(config):
        if config not in made:
            made[config] = home / f"run{len(made)}"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(workflow, "write_report", lambda path: (path / "report.html").write_text(""))
                workflow.transfer(config, uneven.manifest, **uneven.options(made[config]))
        return made[config]

    return make


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def weighted_auroc(table):
    """Return the share of rightly ordered pairs within folds, each subject weighing the same in its class."""
    weights = (1 / table.groupby("subject")["score"].transform("size")).to_numpy()
    positive, scores = (table["label"] == POSITIVE).to_numpy(), table["score"].to_numpy()
    rank = np.sign(scores[positive][:, None] - scores[~positive]) / 2 + 0.5
    folds = table["fold"].to_numpy()
    pairs = weights[positive][:, None] * weights[~positive] * (folds[positive][:, None] == folds[~positive])
    return (rank * pairs).sum() / pairs.sum()


def mean_scores(table):
    return table.groupby("subject")["score"].mean()


# -- what is chosen, and on whom


def test_c_is_chosen_by_scores_in_which_subjects_weigh_the_same(uneven, run_of):
    folder = run_of(PROBE)
    probe = metrics_of(folder)["probe"]
    table = read(folder / "out_of_fold.csv").assign(fold=-1)
    rows = take_parts(uneven.manifest, PROBE)[0].sentences
    assert rows["id"].tolist() == table["id"].tolist()
    columns = (rows["label"] == POSITIVE, rows["subject"], rows["cluster"])
    known = TrainingSet(np.zeros((len(rows), 0), dtype=np.float32), *(one.to_numpy() for one in columns))
    for number, held in enumerate(inner_folds(known, PROBE)):
        table.loc[held, "fold"] = number
    chosen = next(row for row in probe["c_grid"] if row["c"] == probe["c"])
    assert chosen["auroc"] == max(row["auroc"] for row in probe["c_grid"])
    assert chosen["auroc"] == pytest.approx(weighted_auroc(table), abs=1e-12)
    counts = table.groupby("subject").size()
    assert counts.min() == 1
    assert counts.max() >= 8


def voices(people=8, sessions=2, sentences=(1, 5), seed=0):
    """Return sentences that tell who speaks and nothing else; a person's sessions share the voice."""
    generator = np.random.default_rng(seed)
    rows = [
        (f"s{person}{session}", f"p{person}", person % 2 == 0)
        for person in range(people)
        for session in range(sessions)
        for _ in range(generator.integers(*sentences))
    ]
    subjects, clusters, positive = (np.array(values) for values in zip(*rows, strict=True))
    vectors = (clusters[:, None] == np.unique(clusters)).astype(np.float32)
    return TrainingSet(vectors, positive, subjects.astype(str), clusters.astype(str))


def noise(people=20, columns=400, seed=1):
    """Return sentences of noise, with more columns than rows."""
    known = voices(people)
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(len(known.positive), columns)).astype(np.float32)
    return replace(known, vectors=vectors)


def inner_auroc(training, config):
    """Return the AUROC that a trial of tuning sees."""
    sentences = pd.DataFrame(
        {
            "subject": training.subjects,
            "split": "train",
            "label": np.where(training.positive, POSITIVE, NEGATIVE),
            "duration": 1.0,
        }
    )
    config = replace(config, probe=replace(config.probe, c_grid=config.probe.c_grid[-1:]))
    return inner_score(InnerData(sentences, training, config), config, 0, lambda *words: None).auroc


LOOSE = replace(PROBE, folds=4, probe=ProbeConfig(c_grid=(100.0,), standardise=False))


def test_a_person_s_voice_alone_is_no_evidence(run_of):
    """A probe that had heard the person's other session would know the answer."""
    training = voices()
    assert choose_c(training, LOOSE).table[0]["auroc"] <= 0.6
    assert inner_auroc(training, LOOSE) <= 0.6
    apart = replace(training, clusters=training.subjects)  # the same, if sessions were taken for persons
    assert choose_c(apart, LOOSE).table[0]["auroc"] > 0.75
    assert inner_auroc(apart, LOOSE) > 0.75


def test_who_is_held_out_is_not_learnt_from():
    """The probe learns noise by heart; only what it has not seen tells that it knows nothing."""
    training = noise()
    chosen = choose_c(training, LOOSE)
    assert 0.3 < chosen.table[0]["auroc"] < 0.7
    assert 0.3 < inner_auroc(training, LOOSE) < 0.7


def test_folds_follow_persons_and_the_seed():
    training = voices(12)
    folds = {seed: inner_folds(training, replace(PROBE, seed=seed, folds=4)) for seed in (0, SEED)}
    for held in folds.values():
        assert sorted(np.concatenate(held).tolist()) == list(range(len(training.positive)))
        for rows in held:
            people = set(training.clusters[rows])
            assert len(rows) == np.isin(training.clusters, list(people)).sum()  # whole persons
            assert len(people) == 3
    assert [rows.tolist() for rows in folds[0]] != [rows.tolist() for rows in folds[SEED]]


def test_the_seed_of_the_settings_is_the_seed_of_the_folds(run_of):
    one, other = (read(run_of(replace(PROBE, seed=seed)) / "out_of_fold.csv") for seed in (SEED, 0))
    assert not np.allclose(one["score"], other["score"], atol=1e-3)


def test_a_score_at_the_threshold_is_positive_wherever_one_is_compared(run_of):
    subjects = pd.DataFrame({"label": [NEGATIVE, POSITIVE, NEGATIVE], "score": [0.25, 0.5, 0.5]})
    # 0.5 is the preferred value, and the tie at it counts as positive: 0.25 | 0.5, 0.5
    assert choose_threshold(subjects, ThresholdConfig("out_of_fold", 0.5), POSITIVE) == 0.5
    above = pd.DataFrame({"label": [NEGATIVE, NEGATIVE, POSITIVE], "score": [0.25, 0.5, 0.5]})
    assert choose_threshold(above, ThresholdConfig("out_of_fold", 0.375), POSITIVE) == 0.375
    told = pd.DataFrame({"label": [NEGATIVE, POSITIVE], "score": [0.25, 0.5], "cluster": ["a", "b"]})
    assert sentence_figures(told, PROBE)["wa"] == 1.0  # sentences are positive from a half on
    table = told.assign(subject=["a", "b"], split="train", duration=1.0, fold=[0, 0])
    half = replace(PROBE, threshold=ThresholdConfig(value=0.5))
    assert subject_score(table, half).ua == 1.0
    # votes of two sentences tie at a half, as does the threshold
    folder = run_of(replace(PROBE, aggregation="majority", threshold=ThresholdConfig(value=0.5)))
    table = read(folder / "subjects.csv")
    assert (table["score"] == 0.5).any()
    assert ((table["score"] >= 0.5) == (table["prediction"] == POSITIVE)).all()
    bare = metrics_of(folder)["out_of_fold"]["subject"]
    votes = read(folder / "out_of_fold.csv").assign(vote=lambda rows: rows["score"] >= 0.5)
    shares = votes.groupby("subject").agg(share=("vote", "mean"), label=("label", "first"))
    assert (shares["share"] == 0.5).any()
    hits = (shares["share"] >= 0.5) == (shares["label"] == POSITIVE)
    assert bare["wa"] == pytest.approx(hits.mean())


# -- what is scored and told


@pytest.mark.parametrize("config", [PROBE, ATTENTION], ids=["probe", "attention"])
def test_subjects_follow_from_their_sentences_and_the_threshold_of_the_settings(run_of, config):
    folder = run_of(config)
    metrics = metrics_of(folder)
    assert metrics["threshold"] == {"rule": "fixed", "value": THRESHOLD}
    sentences, subjects = read(folder / "sentences.csv"), read(folder / "subjects.csv").set_index("subject")
    if config is PROBE:
        scores = mean_scores(sentences)
    else:
        assert sentences.groupby("subject")["attention"].sum().to_numpy() == pytest.approx(1.0)
        evidence = logit(sentences["score"]) * sentences["attention"]
        scores = expit(evidence.groupby(sentences["subject"]).sum())
    assert subjects["score"].to_dict() == pytest.approx(scores.to_dict())
    assert ((subjects["score"] >= THRESHOLD) == (subjects["prediction"] == POSITIVE)).all()
    assert (
        (subjects["score"] >= THRESHOLD) & (subjects["score"] < 0.5)
    ).any()  # a half would decide otherwise
    right = subjects["label"] == subjects["prediction"]
    assert metrics["subject"]["wa"] == pytest.approx(right.mean())
    recalls = right.groupby(subjects["label"]).mean()
    assert metrics["subject"]["ua"] == pytest.approx(recalls.mean())
    assert metrics["subject"]["sensitivity"] == pytest.approx(recalls[POSITIVE])
    assert metrics["subject"]["specificity"] == pytest.approx(recalls[NEGATIVE])
    inner = read(folder / "out_of_fold.csv")
    if config is PROBE:
        label = inner.groupby("subject")["label"].first()
        hits = (mean_scores(inner) >= THRESHOLD) == (label == POSITIVE)
        assert metrics["out_of_fold"]["subject"]["wa"] == pytest.approx(hits.mean())


def test_intervals_are_of_persons_and_not_of_sessions(uneven, run_of, tmp_path):
    """Two sessions a person are no sixteen witnesses: as such the intervals would be narrower."""
    block = metrics_of(run_of(PROBE))["subject"]
    people = read(run_of(PROBE) / "subjects.csv")
    wanted = uneven.manifest.table.drop_duplicates("speaker").set_index("speaker")[PERSON]
    assert people["cluster"].tolist() == wanted.loc[people["subject"]].tolist()
    assert "Clopper-Pearson" not in json.dumps(block["intervals"])
    assert block["intervals"]["cluster"] == PERSON


def test_a_second_session_that_repeats_the_first_tells_nothing_new():
    """Intervals over persons stay as wide as those of one session; over sessions they would be narrower."""
    truth = [POSITIVE] * 24 + [NEGATIVE] * 24
    right = ([True] * 8 + [False] * 4) * 2 + ([True] * 9 + [False] * 3) * 2
    other = {POSITIVE: NEGATIVE, NEGATIVE: POSITIVE}
    table = pd.DataFrame(
        {
            "label": truth,
            "prediction": [one if good else other[one] for one, good in zip(truth, right, strict=True)],
            "score": [0.5 + 0.2 * (one == POSITIVE) * good for one, good in zip(truth, right, strict=True)],
            "cluster": [f"p{12 * (place // 24) + place % 12}" for place in range(48)],
        }
    )
    config = replace(PROBE, resamples=400)
    people = subject_figures(table, config)
    sessions = subject_figures(table.assign(cluster=[f"s{place}" for place in range(48)]), config)
    for name in ("wa", "ua", "sensitivity", "specificity"):
        wide, narrow = (block[f"{name}_ci95"] for block in (people, sessions))
        assert wide[1] - wide[0] > 1.15 * (narrow[1] - narrow[0]), name


def test_loudness_is_that_of_the_sound_that_was_scored(uneven, tmp_path):
    options = uneven.options(tmp_path / "run")
    config = replace(PROBE, shortcuts=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "write_report", lambda path: (path / "report.html").write_text(""))
        workflow.transfer(config, uneven.manifest, **options)
    (kept,) = uneven.stores.rglob("loudness.csv")
    found = read(kept).set_index("id")["db"]
    table = uneven.manifest.table
    assert set(table["gain"]) == {1.0, 2.0}
    for _, row in table.groupby("gain").head(2).iterrows():
        samples = read_segment(uneven.manifest.source(row["audio"]), row["start"], row["end"]) * row["gain"]
        assert found[row["id"]] == pytest.approx(10 * np.log10(np.mean(samples.astype(float) ** 2)), abs=1e-3)


# -- what is made of a finished run


@pytest.fixture(scope="module")
def reported(uneven):
    """Subjects of the reported split, with their transcripts, half of them with a gain."""
    table = uneven.manifest.table
    names = table.loc[table["split"] == "dev", "speaker"].drop_duplicates().tolist()
    write_transcripts(uneven.manifest, names)
    gains = table.drop_duplicates("speaker").set_index("speaker")["gain"]
    return [name for name in names if gains[name] == 1.0]


@pytest.mark.parametrize("config", [PROBE, ATTENTION], ids=["probe", "attention"])
def test_predictions_decide_by_the_threshold_of_the_run(uneven, run_of, reported, config):
    folder = run_of(config)
    known = read(folder / "subjects.csv").set_index("subject")
    audio = [uneven.manifest.root / f"{name}_AUDIO.wav" for name in reported]
    found = predict(folder, audio, progress=False)
    assert found["threshold"] == THRESHOLD
    between = 0
    for name, one in zip(reported, found["recordings"], strict=True):
        assert one["score"] == pytest.approx(known.loc[name, "score"], abs=1e-6)
        assert one["decision"] == (POSITIVE if one["score"] >= THRESHOLD else NEGATIVE)
        between += THRESHOLD <= one["score"] < 0.5
    assert between >= 1 or config is ATTENTION


def test_an_export_says_how_subjects_are_decided(uneven, tmp_path, no_report):
    workflow.transfer(PROBE, uneven.manifest, **uneven.options(tmp_path / "run", "ser"))
    export(tmp_path / "run", tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["threshold"] == {"rule": "fixed", "value": THRESHOLD}
    assert config["aggregation"] == "mean"
    assert config["classes"] == [NEGATIVE, POSITIVE]
    assert json.loads((tmp_path / "out/metrics.json").read_text())["threshold"]["value"] == THRESHOLD


def test_a_comparison_takes_each_subject_from_both_runs(run_of):
    found = compare(run_of(PROBE), run_of(ATTENTION), resamples=50)
    tables = [read(run_of(config) / "subjects.csv").set_index("subject") for config in (PROBE, ATTENTION)]
    right = [table["label"] == table["prediction"] for table in tables]
    assert found["n"] == len(tables[0]) == 16
    assert found["difference"]["wa"] == pytest.approx(right[1].mean() - right[0].mean())
    recalls = [one.groupby(tables[0]["label"]).mean().mean() for one in right]
    assert found["difference"]["ua"] == pytest.approx(recalls[1] - recalls[0])
    turned = compare(run_of(ATTENTION), run_of(PROBE), resamples=50)
    assert turned["difference"]["ua"] == pytest.approx(-found["difference"]["ua"])


def test_a_shared_copy_is_in_the_order_of_its_pseudonyms(run_of, tmp_path):
    """The order of a transcript would lead whoever holds the corpus back to its sentences."""
    folder = run_of(PROBE)
    share(folder, tmp_path / "copy")
    for name in ("subjects.csv", "sentences.csv", "out_of_fold.csv"):
        copy, own = read(tmp_path / "copy" / name), read(folder / name)
        assert copy["subject"].tolist() == sorted(copy["subject"])
        assert sorted(copy["score"]) == sorted(own["score"])
        if "id" not in copy:
            continue
        assert copy["id"].is_monotonic_increasing
        names = pd.read_csv(folder / "pseudonyms.csv").set_index("subject")["pseudonym"]
        in_time = own.assign(subject=own["subject"].map(names)).groupby("subject")["score"].agg(list)
        by_name = own.assign(subject=own["subject"].map(names)).sort_values("id").groupby("subject")["score"]
        told = copy.groupby("subject")["score"].agg(list)
        assert (told != in_time).sum() >= 3
        assert (told != by_name.agg(list)).sum() >= 3


def test_figures_of_other_settings_are_not_taken_for_a_finished_run(uneven, tmp_path, no_report):
    """A folder that has lost its record of settings keeps old figures, which are not those of this run."""
    folder = tmp_path / "run"
    workflow.transfer(PROBE, uneven.manifest, **uneven.options(folder))
    for name in ("config.yaml", "inputs.json"):
        (folder / name).unlink()
    other = replace(PROBE, threshold=ThresholdConfig(value=0.9))
    assert workflow.transfer(other, uneven.manifest, **uneven.options(folder))["threshold"]["value"] == 0.9
    with RunFolder(tmp_path / "plain").claim({"a": 1}, {}) as plain:
        plain.write_metrics({"x": 1})
        assert plain.finished
        plain.metrics_path.write_text(json.dumps({"x": 1, "stamp": "another"}))
        assert not plain.finished
