import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState, create_trial
from support.transfer_fakes import NEGATIVE, POSITIVE, FakeEncoder, make_interviews

from sertransfer.config import load_config
from sertransfer.errors import BadInput
from sertransfer.evaluation.folds import auroc_within
from sertransfer.reporting import plots
from sertransfer.transfer import workflow
from sertransfer.transfer.decide import TrainingSet
from sertransfer.transfer.scoring import bare_figures, within_folds
from sertransfer.transfer.settings import ProbeConfig, ThresholdConfig, TransferConfig
from sertransfer.transfer.tuning import nested
from sertransfer.transfer.tuning.nested import (
    InnerData,
    _figures,
    _inner,
    inner_score,
    setting_importance,
    subject_score,
)
from sertransfer.transfer.tuning.space import ProbeSpace, TuneConfig
from sertransfer.transfer.tuning.storage import open_storage
from sertransfer.transfer.tuning.study import FinishedStudy, open_study, run_trials
from sertransfer.transfer.tuning.workflow import tune
from sertransfer.transfer.workflow import transfer

CONFIG = TuneConfig(
    transfer=TransferConfig(resamples=20, folds=2, shortcuts=False),
    space=ProbeSpace(pca=(2, 3), mlp_hidden=(3,), linear_c=(0.001, 1.0)),
    trials=5,
    outer_folds=2,
    random_trials=2,
)


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.setattr(workflow, "open_encoder", lambda *args, **options: FakeEncoder())


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    counts = {"train": (5, 5), "dev": (3, 3)}
    return make_interviews(tmp_path_factory.mktemp("corpus"), counts, sentences=3, notes={"generated": True})


def run(manifest, folder, config=CONFIG, **options):
    return tune(
        config,
        manifest,
        encoder="ser",
        checkpoint=Path("model.safetensors"),
        run_dir=folder,
        **{"progress": False, **options},
    )


def plain_run(manifest, folder, config):
    return transfer(
        config,
        manifest,
        encoder="ser",
        checkpoint=Path("model.safetensors"),
        run_dir=folder,
        progress=False,
    )


def test_tuning_from_embeddings_to_the_report(manifest, tmp_path, opened):
    metrics = run(manifest, tmp_path / "run", progress=True)
    tuning = metrics["tuning"]
    assert tuning["trials"].keys() == {"outer-1", "outer-2", "final"}
    assert all(sum(states.values()) == 5 for states in tuning["trials"].values())
    assert tuning["outer"]["n"] == 10
    assert tuning["outer"]["ua_ci95"][0] <= tuning["outer"]["ua"] <= tuning["outer"]["ua_ci95"][1]
    assert tuning["inner"]["value"] == pytest.approx((tuning["inner"]["ua"] + tuning["inner"]["auroc"]) / 2)
    assert sum(fold["outer"]["n"] for fold in tuning["folds"]) == 10
    assert "no label" in tuning["shared"]
    assert metrics["subject"]["n"] == 6
    assert {"trials.csv", "best.yaml"} <= metrics["files"].keys()  # study.db itself carries no seal
    trials = pd.read_csv(tmp_path / "run" / "trials.csv")
    assert len(trials) == 15
    assert trials.groupby("study")["best"].sum().tolist() == [1, 1, 1]
    best = trials[(trials["study"] == "final") & trials["best"]].iloc[0]
    assert json.loads(best["settings"]) == tuning["best"]
    outer = pd.read_csv(tmp_path / "run" / "outer_subjects.csv", dtype={"subject": str})
    assert sorted(outer["subject"]) == sorted(manifest.table.query("split == 'train'")["speaker"].unique())
    assert set(outer["fold"]) == {1, 2}
    assert (tmp_path / "run" / "report.html").is_file()

    # the AUROC of the outer folds is that of pairs within folds, since their settings differ
    truth = (outer["label"] == POSITIVE).to_numpy(bool)
    assert tuning["outer"]["auroc"] == auroc_within(truth, outer["score"], outer["fold"])
    low, high = tuning["outer"]["auroc_ci95"]
    assert low <= tuning["outer"]["auroc"] <= high
    assert low < high
    assert tuning["outer"]["auroc_pairs"].startswith("within folds")
    assert "(speaker) left out one at a time within folds" in tuning["outer"]["auroc_interval"]
    assert "AUROC: pairs within folds" in (tmp_path / "run" / "report.html").read_text()

    # the written settings give the same run
    config = load_config(TransferConfig, tmp_path / "run" / "best.yaml")
    again = plain_run(manifest, tmp_path / "again", config)
    assert again["subject"] == metrics["subject"]
    assert again["sentence"] == metrics["sentence"]


def test_warnings_of_the_trials_solvers_are_recorded_and_shown(manifest, tmp_path, opened, caplog):
    probe = ProbeConfig(max_iterations=1)
    space = ProbeSpace(heads=("logistic",), pca=(0,), linear_c=(0.5, 1.0))
    config = replace(CONFIG, transfer=replace(CONFIG.transfer, probe=probe), space=space, trials=2)
    tuning = run(manifest, tmp_path / "run", config)["tuning"]
    ((text, count),) = tuning["warnings"].items()
    assert text.startswith("did not converge")
    assert count == 3 * 2 * 2  # studies, trials, inner folds
    assert all(fold["warnings"] for fold in tuning["folds"])
    assert f"{count} of the trials' fits: {text}" in caplog.text
    trials = pd.read_csv(tmp_path / "run" / "trials.csv")
    assert [json.loads(cell) for cell in trials["warnings"]] == [{text: 2}] * 6
    assert f"({count} fits)" in (tmp_path / "run" / "report.html").read_text()


def test_scores_of_folds_with_other_scales_are_not_pooled():
    config = TransferConfig(aggregation="mean")
    table = pd.DataFrame(
        {
            "subject": list("abcdefgh"),
            "split": "train",
            "label": [NEGATIVE, NEGATIVE, POSITIVE, POSITIVE] * 2,
            "score": [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9],
            "duration": 1.0,
            "fold": [0] * 4 + [1] * 4,
        }
    )
    assert subject_score(table, config).auroc == 1.0  # 0.75 pooled
    subjects = table.assign(prediction=POSITIVE, cluster=table["subject"])
    assert bare_figures(subjects, config)["auroc"] == 1.0
    assert within_folds(subjects, config)["auroc"] == 1.0
    assert bare_figures(subjects.drop(columns="fold"), config)["auroc"] == 0.75


def test_pooling_layer_and_attention_are_searched_on_embeddings_made_once(manifest, tmp_path, monkeypatch):
    encoders, shared = [], []

    def open_fake(*args, layer=None, **options):
        encoders.append(FakeEncoder(dim=6 if layer is None else 4, fingerprint=f"layer {layer}"))
        encoders[-1].layers = 2
        return encoders[-1]

    build = InnerData.__post_init__
    monkeypatch.setattr(InnerData, "__post_init__", lambda data: shared.append(data) or build(data))
    monkeypatch.setattr(workflow, "open_encoder", open_fake)
    space = ProbeSpace(
        heads=("attention",),
        pca=(2,),
        mlp_hidden=(2,),
        pooling=("mean", "mean_std"),
        layer=(0, 2),
        linear_c=(0.001, 1.0),
    )
    config = replace(CONFIG, space=space, trials=4, random_trials=4)
    metrics = run(manifest, tmp_path / "run", config)
    assert sum(encoder.encoded for encoder in encoders) == 2 * len(manifest)
    assert len(shared) <= 3 * 4  # a preparation for each study and candidate
    tuning = metrics["tuning"]
    assert tuning["embeddings"] == ["mean", "mean_std", "layer 2, mean", "layer 2, mean_std"]
    best = load_config(TransferConfig, tmp_path / "run" / "best.yaml")
    assert best.probe.head == "attention"
    assert best.layer == (tuning["best"]["layer"] or None)
    assert best.pooling == tuning["best"]["pooling"]
    assert metrics["encoder_details"]["layer"] == best.layer
    assert metrics["encoder_details"]["fingerprint"] == f"layer {best.layer}"
    assert "attention" in pd.read_csv(tmp_path / "run" / "sentences.csv")
    again = plain_run(manifest, tmp_path / "again", best)
    assert again["subject"] == metrics["subject"]


def test_no_trial_sees_an_outer_or_a_reported_subject(manifest, tmp_path, opened, monkeypatch):
    seen = []
    build = InnerData.__post_init__

    def spy(data):
        seen.append(set(data.training.subjects.tolist()))
        build(data)

    monkeypatch.setattr(InnerData, "__post_init__", spy)
    run(manifest, tmp_path / "run", replace(CONFIG, trials=2))
    outer = pd.read_csv(tmp_path / "run" / "outer_subjects.csv", dtype={"subject": str})
    for number in (1, 2):
        assert seen[number - 1] == set(outer.loc[outer["fold"] != number, "subject"])
    assert seen[2] == set(outer["subject"])
    table = manifest.table
    assert not seen[2] & set(table.loc[table["split"] == "dev", "speaker"])


def test_an_interrupted_run_is_resumed_with_the_same_result(manifest, tmp_path, opened, monkeypatch):
    whole = run(manifest, tmp_path / "whole")
    calls = 0
    score = nested.inner_score

    def interrupted(*args):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return score(*args)

    monkeypatch.setattr(nested, "inner_score", interrupted)
    embeddings = tmp_path / "whole" / "embeddings"
    with pytest.raises(KeyboardInterrupt):
        run(manifest, tmp_path / "run", embeddings=embeddings)
    resumed = run(manifest, tmp_path / "run", embeddings=embeddings)
    assert calls == 8 + 15 - 7
    assert resumed == whole
    for name in ("trials.csv", "best.yaml", "outer_subjects.csv", "subjects.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    run(manifest, tmp_path / "run", embeddings=embeddings)
    assert calls == 16  # finished: not tuned again


def test_runs_share_a_storage_and_one_of_another_study_is_refused(manifest, tmp_path, opened, monkeypatch):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    config = replace(CONFIG, trials=2)
    first = run(manifest, tmp_path / "a", config, storage=storage)
    monkeypatch.setattr(nested, "inner_score", None)  # nothing is left to do
    second = run(manifest, tmp_path / "b", config, storage=storage, embeddings=tmp_path / "a" / "embeddings")
    assert second == first
    other = replace(config, space=replace(config.space, pca=(2,)))
    with pytest.raises(BadInput, match="study 'sertransfer/outer-1'") as caught:
        run(manifest, tmp_path / "c", other, storage=storage, embeddings=tmp_path / "a" / "embeddings")
    assert "pca" in str(caught.value)
    assert (tmp_path / "c" / "faults.json").is_file()


def make_data(folds=2):
    generator = np.random.default_rng(0)
    subjects = np.repeat([f"s{index}" for index in range(8)], 3)
    positive = np.repeat(np.arange(8) % 2 == 0, 3)
    vectors = (generator.normal(size=(24, 5)) + positive[:, None] * 2).astype(np.float32)
    sentences = pd.DataFrame(
        {
            "subject": subjects,
            "split": "train",
            "label": np.where(positive, POSITIVE, NEGATIVE),
            "duration": 1.0,
        }
    )
    base = TransferConfig(folds=folds, aggregation="mean")
    return InnerData(sentences, TrainingSet(vectors, positive, subjects, subjects), base)


def test_preparation_is_fitted_once_and_axes_are_a_prefix(monkeypatch):
    data = make_data()
    calls = []
    fit = nested.fit_preparation
    monkeypatch.setattr(nested, "fit_preparation", lambda *args, **kw: calls.append(kw) or fit(*args, **kw))
    four, two, every = data.columns(True, 4, 4), data.columns(True, 2, 4), data.columns(True, 0, 4)
    assert np.array_equal(four[:, :2], two)
    assert every.shape == (24, 5)
    data.columns(True, 0, 4)
    assert [(call["standardise"], call["pca"]) for call in calls] == [(True, 4), (True, 0)]


@pytest.mark.parametrize("kind", ["logistic", "rbf_svm"])
def test_inner_scores_separate_what_can_be_separated(kind):
    steps = []
    config = replace(make_data().base, probe=ProbeConfig(head=kind, c_grid=(1.0,), pca=2))
    found = inner_score(make_data(), config, 2, lambda step, value: steps.append((step, value)))
    assert found.value > 0.9
    assert [step for step, _ in steps] == [0, 1]
    assert steps[-1][1] == found.value


def test_a_chosen_threshold_is_chosen_on_the_other_folds():
    config = TransferConfig(aggregation="mean", threshold=ThresholdConfig(rule="out_of_fold"))
    table = pd.DataFrame(
        {
            "subject": list("abcdefgh"),
            "split": "train",
            "label": [NEGATIVE, NEGATIVE, POSITIVE, POSITIVE] * 2,
            "score": [0.1, 0.1, 0.2, 0.2, 0.6, 0.6, 0.9, 0.9],
            "duration": 1.0,
            "fold": [0] * 4 + [1] * 4,
        }
    )
    found = subject_score(table, config)
    # fold 0 by fold 1's threshold, 0.75: none positive; fold 1 by fold 0's, 0.15: all positive
    assert found.ua == 0.5
    assert subject_score(table, replace(config, threshold=ThresholdConfig(value=0.5))).ua == 0.5
    alone = subject_score(table[table["fold"] == 1], config)  # no other fold: the fixed value
    assert (alone.ua, alone.auroc) == (0.5, 1.0)
    one_class = subject_score(table[table["label"] == POSITIVE], config)
    assert (one_class.value, one_class.ua, one_class.auroc) == (0.0, None, None)


SEARCHED = TuneConfig(
    space=ProbeSpace(
        heads=("logistic", "linear_svm", "rbf_svm", "mlp", "attention"),
        aggregation=("mean",),
        pooling=("mean", "mean_std"),
        threshold=("fixed",),
    )
)


def study_of(tmp_path, value, count=16):
    study = open_study(open_storage(tmp_path / "study.db"), "s/final", {}, seed=0, random_trials=count)

    def settings(trial):
        return SEARCHED.suggest(trial)

    trials = run_trials(study, settings, lambda trial, config: value(config), count, lambda done: None)
    return FinishedStudy("final", trials, trials[3])


def test_importance_finds_the_setting_that_matters_and_draws_it(tmp_path):
    found = study_of(
        tmp_path, lambda config: float(config.pooling == "mean") + 0.01 * (config.probe.kind == "mlp")
    )
    shares = setting_importance(SEARCHED, found)
    assert next(iter(shares)) == "pooling"
    assert shares["pooling"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {"probe", "C", "pca", "pooling", "aggregation"}
    assert setting_importance(SEARCHED, found) == shares
    plots.plot_importance(shares, tmp_path / "importance.svg")
    assert "pooling" in (tmp_path / "importance.svg").read_text()


def test_nothing_is_said_of_few_trials_or_of_equal_ones(tmp_path):
    assert setting_importance(SEARCHED, study_of(tmp_path / "equal", lambda config: 0.5)) == {}
    few = study_of(tmp_path / "few", lambda config: config.probe.c_grid[0], 5)
    assert setting_importance(SEARCHED, few) == {}


def test_one_row_a_trial():
    inner = {"ua": 0.5, "auroc": 0.7}
    trials = [
        create_trial(state=TrialState.PRUNED),
        create_trial(value=0.6, user_attrs={"inner": inner}),
    ]
    trials[0].number, trials[1].number = 0, 1
    found = FinishedStudy("outer-1", trials, trials[1])
    assert _inner(found) == {"value": 0.6, **inner}
    first, second = found.rows(_figures)
    assert (first["state"], first["value"], first["ua"], first["best"]) == ("pruned", None, None, False)
    assert (second["state"], second["value"], second["auroc"], second["best"]) == ("complete", 0.6, 0.7, True)
    assert json.loads(second["settings"]) == {}
