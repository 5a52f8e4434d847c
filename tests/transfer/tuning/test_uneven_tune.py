"""Nested tuning on the uneven corpus: where outer scores come from, and what a study is recognised by."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from optuna.trial import FixedTrial
from support.uneven import NEGATIVE, PERSON, POSITIVE, PROBE, THRESHOLD, open_uneven

from sertransfer.errors import BadInput
from sertransfer.transfer import workflow
from sertransfer.transfer.data import SubjectSplit, take_parts
from sertransfer.transfer.decide import embedded_part, training_set
from sertransfer.transfer.embed import embed
from sertransfer.transfer.predict import predict
from sertransfer.transfer.tuning.nested import InnerData, inner_score
from sertransfer.transfer.tuning.space import ProbeSpace, TuneConfig
from sertransfer.transfer.tuning.workflow import tune

CONFIG = TuneConfig(
    transfer=PROBE,
    space=ProbeSpace(
        heads=("logistic",),
        linear_c=(0.001, 10.0),
        pca=(2, 4),
        aggregation=("mean",),
        threshold=("out_of_fold",),
    ),
    trials=3,
    outer_folds=3,
    random_trials=2,
)
pytestmark = pytest.mark.usefixtures("no_report")


def read(path):
    return pd.read_csv(path, dtype={"subject": str}, float_precision="round_trip")


@pytest.fixture(scope="module")
def tuned(uneven, tmp_path_factory):
    """A finished run, its metrics, and the storage of its studies."""
    home = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "write_report", lambda path: (path / "report.html").write_text(""))
        storage = home / "study.db"
        metrics = tune(CONFIG, uneven.manifest, **uneven.options(home / "run"), storage=storage)
    return home / "run", metrics, storage


def test_outer_scores_are_those_of_a_run_that_never_met_the_fold(uneven, tuned, tmp_path):
    folder, metrics, _ = tuned
    outer = read(folder / "outer_subjects.csv")
    train = uneven.manifest.table[uneven.manifest.table["split"] == "train"]
    assert sorted(outer["subject"]) == sorted(train["speaker"].unique())
    thresholds = set()
    for fold in metrics["tuning"]["folds"]:
        mine = outer[outer["fold"] == fold["fold"]].set_index("subject")
        split = np.where(train["speaker"].isin(mine.index), "dev", "train")
        chosen = CONFIG.suggest(FixedTrial(fold["settings"]))
        there = uneven.manifest.with_table(train.assign(split=split).reset_index(drop=True))
        run = tmp_path / str(fold["fold"])
        again = workflow.transfer(chosen, there, **{**uneven.options(run), "embeddings": None})
        told = read(run / "subjects.csv").set_index("subject")
        assert mine["score"].to_dict() == pytest.approx(told.loc[mine.index, "score"].to_dict(), abs=1e-9)
        assert mine["prediction"].tolist() == told.loc[mine.index, "prediction"].tolist()
        assert fold["outer"]["wa"] == pytest.approx(again["subject"]["wa"])
        assert fold["outer"]["n"] == len(mine)
        thresholds.add(again["threshold"]["value"])
    assert thresholds != {THRESHOLD}


def test_an_outer_fold_s_settings_are_chosen_without_it(uneven, tuned):
    """Every trial's value is that of the other folds' subjects alone."""
    folder, metrics, _ = tuned
    outer, trials = read(folder / "outer_subjects.csv"), pd.read_csv(folder / "trials.csv")
    stored = embed(uneven.manifest, open_uneven(uneven.weights), uneven.stores, progress=False)
    whole, _ = take_parts(uneven.manifest, PROBE)
    for fold in [row["fold"] for row in metrics["tuning"]["folds"]] + [None]:
        held = outer.loc[outer["fold"] == fold, "subject"]
        kept = whole.sentences[~whole.sentences["subject"].isin(held)].reset_index(drop=True)
        part = embedded_part(SubjectSplit(kept, whole.subjects), stored)
        data = InnerData(part.sentences, training_set(part, stored, PROBE), PROBE)
        rows = trials[(trials["study"] == ("final" if fold is None else f"outer-{fold}"))]
        for _, row in rows[rows["state"] == "complete"].iterrows():
            chosen = CONFIG.suggest(FixedTrial(json.loads(row["settings"])))
            value = inner_score(data, chosen, CONFIG.space.axes, lambda *words: None).value
            assert value == pytest.approx(row["value"], abs=1e-6)


def test_the_outer_figures_are_of_all_training_subjects(tuned):
    folder, metrics, _ = tuned
    outer = read(folder / "outer_subjects.csv")
    right = outer["label"] == outer["prediction"]
    block = metrics["tuning"]["outer"]
    assert block["n"] == len(outer) == 22
    assert block["wa"] == pytest.approx(right.mean())
    assert block["ua"] == pytest.approx(right.groupby(outer["label"]).mean().mean())


def test_both_sessions_of_a_person_are_in_one_outer_fold(uneven, tuned):
    outer = read(tuned[0] / "outer_subjects.csv")
    people = uneven.manifest.table.drop_duplicates("speaker").set_index("speaker")[PERSON]
    folds = outer.groupby(outer["subject"].map(people))["fold"].nunique()
    assert set(folds) == {1}
    assert len(folds) == 11


def test_the_choice_is_the_best_trial_and_is_run(tuned):
    folder, metrics, _ = tuned
    trials = pd.read_csv(folder / "trials.csv")
    for name, rows in trials.groupby("study"):
        assert rows.loc[rows["best"], "value"].item() == rows["value"].max()
        assert len(rows) == 3
        if name == "final":
            assert json.loads(rows.loc[rows["best"], "settings"].item()) == metrics["tuning"]["best"]
    assert metrics["probe"]["c"] == pytest.approx(metrics["tuning"]["best"]["linear_c"])
    assert metrics["threshold"]["rule"] == "out_of_fold"


def test_predictions_decide_by_the_chosen_threshold(uneven, tuned):
    folder, metrics, _ = tuned
    table = uneven.manifest.table
    audio = [uneven.manifest.root / name for name in table.loc[table["split"] == "dev", "audio"].unique()]
    transcripts = []
    for path in audio:
        rows = table[table["audio"] == path.name].sort_values("start")
        lines = [f"{s!r}\t{e!r}\tParticipant\twords" for s, e in rows[["start", "end"]].to_numpy().tolist()]
        transcripts.append(folder / f"{path.stem}.csv")
        transcripts[-1].write_text("\n".join(["start_time\tstop_time\tspeaker\tvalue", *lines]))
    found = predict(folder, audio, transcripts=transcripts, progress=False)
    threshold = metrics["threshold"]["value"]
    assert found["threshold"] == threshold
    for one in found["recordings"]:
        assert one["decision"] == (POSITIVE if one["score"] >= threshold else NEGATIVE)


def test_a_study_is_not_continued_with_other_labels_or_embeddings(uneven, tuned, tmp_path):
    _, _, storage = tuned
    table = uneven.manifest.table.copy()
    train = table["split"] == "train"
    table.loc[train, "label"] = table.loc[train, "label"].map({NEGATIVE: POSITIVE, POSITIVE: NEGATIVE})
    with pytest.raises(BadInput, match="training sentences"):
        tune(
            CONFIG,
            uneven.manifest.with_table(table),
            **uneven.options(tmp_path / "labels"),
            storage=storage,
        )
    other = tmp_path / "weights"
    other.write_text("two")
    with pytest.raises(BadInput, match="embeddings"):
        tune(
            CONFIG,
            uneven.manifest,
            **{**uneven.options(tmp_path / "weights.run"), "checkpoint": other},
            storage=storage,
        )
    people = uneven.manifest.table.assign(person=uneven.manifest.table["speaker"])
    with pytest.raises(BadInput, match="training sentences"):
        tune(CONFIG, uneven.manifest.with_table(people), **uneven.options(tmp_path / "p"), storage=storage)


def test_another_seed_draws_other_trials_and_folds(uneven, tuned, tmp_path):
    config = replace(CONFIG, transfer=replace(PROBE, seed=0), trials=1)
    tune(config, uneven.manifest, **uneven.options(tmp_path / "run"))
    trials = [pd.read_csv(folder / "trials.csv") for folder in (tuned[0], tmp_path / "run")]
    for study in ("final", "outer-1"):
        first = [json.loads(one.loc[one["study"] == study, "settings"].iloc[0]) for one in trials]
        assert first[0]["linear_c"] != first[1]["linear_c"]
    folds = [
        read(folder / "outer_subjects.csv").set_index("subject")["fold"].sort_index().tolist()
        for folder in (tuned[0], tmp_path / "run")
    ]
    assert folds[0] != folds[1]
