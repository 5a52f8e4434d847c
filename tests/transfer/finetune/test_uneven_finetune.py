"""Fine-tuning on the uneven corpus: the best epoch is not the last, the threshold is chosen, gains count."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from support.finetune_fakes import make_ssl, settings
from support.transfer_fakes import Killed
from support.uneven import FINETUNE, NEGATIVE, PERSON, POSITIVE, SEED, make_uneven, write_transcripts

from sertransfer.errors import BadInput
from sertransfer.export.export import export
from sertransfer.manifest import Manifest
from sertransfer.reporting.share import share
from sertransfer.transfer import workflow
from sertransfer.transfer.apply import open_predictor
from sertransfer.transfer.compare import compare
from sertransfer.transfer.data import take_parts
from sertransfer.transfer.finetune import workflow as finetune_training
from sertransfer.transfer.finetune.data import BalancedDraw, split_inner
from sertransfer.transfer.finetune.learners import Finetuner
from sertransfer.transfer.predict import predict
from sertransfer.transfer.tuning import workflow as tuning_workflow
from sertransfer.transfer.tuning.space import FinetuneSpace, FinetuneTuneConfig

pytestmark = pytest.mark.usefixtures("no_report")


def read(path):
    return pd.read_csv(path, dtype={"id": str, "subject": str, "cluster": str}, float_precision="round_trip")


@pytest.fixture(scope="module")
def finetuned(uneven, tmp_path_factory):
    """A finished run, its metrics, and the draws and batches that it asked for."""
    folder, seeds = tmp_path_factory.mktemp("finetuned") / "run", {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "write_report", lambda path: (path / "report.html").write_text(""))
        for name in ("TrainingBatches", "BalancedDraw", "Finetuner"):
            patch.setattr(finetune_training, name, spied(getattr(finetune_training, name), name, seeds))
        metrics = workflow.transfer(FINETUNE, uneven.manifest, **uneven.options(folder, "ser"))
    return folder, metrics, seeds


def spied(made, name, seeds):
    def make(*given, **options):
        one = made(*given, **options)
        seeds[name] = getattr(one, "seed", getattr(one, "_seed", None))
        return one

    return make


def inner_loss(table):
    """Return the cross-entropy in which classes weigh the same, and the subjects of a class do."""
    right = table["score"].where(table["label"] == POSITIVE, 1 - table["score"])
    of_subject = (-np.log(right)).groupby([table["label"], table["subject"]]).mean()
    return of_subject.groupby(level="label").mean().mean()


def test_scores_are_those_of_the_best_epoch_which_is_not_the_last(finetuned):
    folder, metrics, _ = finetuned
    found, epochs = metrics["finetune"], read(folder / "epochs.csv")
    assert found["epoch"] < found["epochs"] == len(epochs) == 3
    assert "pooling" not in found  # the recogniser's own, which is no setting of the run
    best = epochs.loc[epochs["inner_loss"].idxmin()]
    assert (found["epoch"], found["inner_loss"]) == (best["epoch"], pytest.approx(best["inner_loss"]))
    assert inner_loss(read(folder / "out_of_fold.csv")) == pytest.approx(found["inner_loss"], abs=1e-5)


def best_threshold(table, prefer):
    """Return the threshold of greatest UA by trying every middle between scores."""
    subjects = table.groupby("subject").agg(score=("score", "mean"), label=("label", "first"))
    scores = np.unique(subjects["score"])
    tried = [prefer, *((scores[1:] + scores[:-1]) / 2)]

    def ua(threshold):
        right = (subjects["score"] >= threshold) == (subjects["label"] == POSITIVE)
        return right.groupby(subjects["label"]).mean().mean()

    most = max(ua(one) for one in tried)
    return min((one for one in tried if ua(one) > most - 1e-9), key=lambda one: abs(one - prefer))


def test_the_threshold_is_chosen_on_the_held_out_training_subjects(finetuned):
    folder, metrics, _ = finetuned
    threshold = metrics["threshold"]["value"]
    inner, told = read(folder / "out_of_fold.csv"), read(folder / "sentences.csv")
    prefer = FINETUNE.threshold.value
    assert threshold == pytest.approx(best_threshold(inner, prefer), abs=1e-9)
    assert abs(threshold - best_threshold(told, prefer)) > 1e-3
    subjects = read(folder / "subjects.csv").set_index("subject")
    means = told.groupby("subject")["score"].mean()
    assert subjects["score"].to_dict() == pytest.approx(means.to_dict())
    assert ((subjects["score"] >= threshold) == (subjects["prediction"] == POSITIVE)).all()
    own = inner.groupby("subject").agg(score=("score", "mean"), label=("label", "first"))
    hits = (own["score"] >= threshold) == (own["label"] == POSITIVE)
    assert metrics["out_of_fold"]["subject"]["wa"] == pytest.approx(hits.mean())


def test_both_sessions_of_a_person_are_held_out_or_neither(uneven, finetuned):
    people = uneven.manifest.table.drop_duplicates("speaker").set_index("speaker")[PERSON]
    held = finetuned[1]["finetune"]["inner_subjects"]
    assert people[people.isin(people[held])].index.sort_values().tolist() == sorted(held)
    train, _ = take_parts(uneven.manifest, FINETUNE)
    for seed in range(3):
        kept, out = split_inner(train, replace(FINETUNE, seed=seed))
        clusters = train.sentences["cluster"]
        assert not set(clusters[kept]) & set(clusters[out])
        assert sorted([*kept, *out]) == list(range(len(clusters)))


def test_every_seed_is_that_of_the_settings(uneven, finetuned, tmp_path):
    assert finetuned[2] == {"TrainingBatches": SEED, "BalancedDraw": SEED, "Finetuner": SEED}
    targets, subjects = np.array([0, 1] * 9), np.array(["a", "b"] * 6 + ["c", "d"] * 3)
    draws = [BalancedDraw(targets, subjects, seed)(0).tolist() for seed in (0, SEED)]
    assert draws[0] != draws[1]
    other = replace(FINETUNE, seed=0)
    split = [split_inner(take_parts(uneven.manifest, one)[0], one)[1].tolist() for one in (FINETUNE, other)]
    assert split[0] != split[1]


def test_a_gain_of_the_manifest_counts_in_predictions(uneven, finetuned, tmp_path):
    folder, _, _ = finetuned
    table = uneven.manifest.table
    told = read(folder / "sentences.csv").set_index("id")["score"]
    loud = table[(table["split"] == "dev") & (table["gain"] == 2.0)].head(9)
    scored = open_predictor(folder).score(uneven.manifest.with_table(loud), tmp_path, False, False)
    found = scored.table.set_index("id")["score"]
    assert found.to_dict() == pytest.approx(told[found.index].to_dict(), abs=1e-4)
    plain = loud.assign(gain=1.0)
    other = open_predictor(folder).score(uneven.manifest.with_table(plain), tmp_path, False, False)
    assert np.abs(other.table.set_index("id")["score"] - found).min() > 1e-4


def test_an_interview_brought_to_a_level_is_scored_at_that_level(uneven, finetuned, tmp_path):
    folder, metrics, _ = finetuned
    table = uneven.manifest.table
    name = table.loc[table["split"] == "dev", "speaker"].iloc[0]
    write_transcripts(uneven.manifest, [name])
    audio = uneven.manifest.root / f"{name}_AUDIO.wav"
    scores = []
    for level in ("-26", "-46"):
        given = {"level_normalise": "true", "level_dbfs": level}
        one = predict(folder, [audio], overrides=given, progress=False)["recordings"][0]
        threshold = metrics["threshold"]["value"]
        assert one["decision"] == (POSITIVE if one["score"] >= threshold else NEGATIVE)
        scores.append(one["score"])
    assert abs(scores[0] - scores[1]) > 1e-3


def test_predictions_decide_by_the_threshold_of_the_run(uneven, finetuned):
    folder, metrics, _ = finetuned
    threshold = metrics["threshold"]["value"]
    known = read(folder / "subjects.csv").set_index("subject")
    table = uneven.manifest.table.drop_duplicates("speaker")
    plain = table.loc[(table["split"] == "dev") & (table["gain"] == 1.0), "speaker"].tolist()
    write_transcripts(uneven.manifest, plain)
    audio = [uneven.manifest.root / f"{name}_AUDIO.wav" for name in plain]
    for name, one in zip(plain, predict(folder, audio, progress=False)["recordings"], strict=True):
        assert one["score"] == pytest.approx(known.loc[name, "score"], abs=1e-4)
        assert one["decision"] == known.loc[name, "prediction"]
        assert one["decision"] == (POSITIVE if one["score"] >= threshold else NEGATIVE)


def test_an_export_keeps_the_chosen_threshold(finetuned, tmp_path):
    folder, metrics, _ = finetuned
    export(folder, tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["threshold"] == metrics["threshold"]
    assert config["threshold"]["rule"] == "out_of_fold"
    assert config["aggregation"] == "mean"


def test_a_shared_copy_names_no_subject_that_was_held_out(finetuned, tmp_path):
    folder, metrics, _ = finetuned
    share(folder, tmp_path / "copy")
    told = json.loads((tmp_path / "copy/metrics.json").read_text())["finetune"]["inner_subjects"]
    names = pd.read_csv(folder / "pseudonyms.csv").set_index("subject")["pseudonym"]
    held = metrics["finetune"]["inner_subjects"]
    assert sorted(told) == sorted(names[held])
    assert not set(told) & set(held)


def test_a_comparison_with_another_run_is_of_the_same_subjects(uneven, finetuned, tmp_path):
    table = uneven.manifest.table
    probe = replace(FINETUNE, mode="probe")
    workflow.transfer(probe, uneven.manifest, **uneven.options(tmp_path / "probe"))
    found = compare(tmp_path / "probe", finetuned[0], resamples=50)
    assert found["n"] == table.loc[table["split"] == "dev", "speaker"].nunique()
    tables = [
        read(folder / "subjects.csv").set_index("subject") for folder in (tmp_path / "probe", finetuned[0])
    ]
    right = [(one["label"] == one["prediction"]).mean() for one in tables]
    assert found["difference"]["wa"] == pytest.approx(right[1] - right[0])


def test_a_killed_run_goes_on_to_the_same_scores(uneven, finetuned, tmp_path, monkeypatch):
    folder, metrics, _ = finetuned
    begun, step = [], Finetuner.training_step

    def step_or_die(self, batch, batch_idx):
        begun.append(batch_idx)
        if begun.count(0) == 2 and batch_idx == 1:  # in the second epoch, after its first step
            raise Killed
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Finetuner, "training_step", step_or_die)
        with pytest.raises(Killed):
            workflow.transfer(FINETUNE, uneven.manifest, **uneven.options(tmp_path / "run", "ser"))
    again = workflow.transfer(FINETUNE, uneven.manifest, **uneven.options(tmp_path / "run", "ser"))
    assert again["finetune"] == metrics["finetune"]
    for name in ("sentences.csv", "subjects.csv", "out_of_fold.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes()


# -- tuning of fine-tuning


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A corpus and an encoder on which a training takes a second."""
    home = tmp_path_factory.mktemp("small")
    manifest = make_uneven(home / "corpus", people={"train": (2, 2), "dev": (1, 1)})
    return manifest, make_ssl(home / "ssl"), home / "stores"


SPACE = FinetuneSpace(lr=(0.001, 0.1), depth=("head",), layers=("mix",), pooling=("mean",), stages=(1,))


def tune(small, folder, storage, seed=SEED, manifest: Manifest | None = None):
    base = replace(settings(depth="last", epochs=2, inner_share=0.5), cluster=PERSON, seed=seed)
    config = FinetuneTuneConfig(transfer=base, space=SPACE, trials=1, random_trials=1)
    return tuning_workflow.tune(
        config,
        small[0] if manifest is None else manifest,
        encoder="ssl",
        checkpoint=small[1],
        run_dir=folder,
        embeddings=small[2],
        storage=storage,
        progress=False,
    )


def test_a_study_is_not_continued_with_other_labels_or_weights(small, tmp_path):
    storage = tmp_path / "shared.db"
    metrics = tune(small, tmp_path / "one", storage)
    assert metrics["finetune"]["inner_loss"] == pytest.approx(metrics["tuning"]["inner_loss"]["best"])
    (trial,) = pd.read_csv(tmp_path / "one" / "trials.csv").to_dict("records")
    assert {name: trial[name] for name in ("epoch", "epochs")} == {
        name: metrics["finetune"][name] for name in ("epoch", "epochs")
    }
    manifest, weights, _ = small
    table = manifest.table.copy()
    train = table["split"] == "train"
    table.loc[train, "label"] = table.loc[train, "label"].map({NEGATIVE: POSITIVE, POSITIVE: NEGATIVE})
    with pytest.raises(BadInput, match="input manifest"):
        tune(small, tmp_path / "labels", storage, manifest=manifest.with_table(table))
    kept = torch.load(weights / "model.pth", weights_only=True)
    other = tmp_path / "other"
    shutil.copytree(weights, other)
    torch.save({name: 1.5 * value for name, value in kept.items()}, other / "model.pth")
    with pytest.raises(BadInput, match="input encoder"):
        tune((manifest, other, small[2]), tmp_path / "weights", storage)


def test_another_seed_draws_other_trials(small, tmp_path):
    found = [tune(small, tmp_path / f"{seed}", None, seed)["tuning"]["best"] for seed in (0, SEED)]
    assert found[0]["lr"] != found[1]["lr"]


def test_a_fresh_head_on_an_encoder_of_waveforms_is_drawn_by_the_seed(small, tmp_path):
    """Nothing is learnt at such a rate: what is left is what was drawn."""
    drawn = []
    for name, seed in (("zero", 0), ("three", SEED), ("again", SEED)):
        config = replace(settings(depth="head", epochs=1, lr=1e-12), cluster=PERSON, seed=seed)
        workflow.transfer(
            config,
            small[0],
            encoder="ssl",
            checkpoint=small[1],
            run_dir=tmp_path / name,
            embeddings=small[2],
            progress=False,
        )
        state = load_file(tmp_path / name / "checkpoints" / "model.safetensors")
        drawn.append(torch.cat([value.flatten() for key, value in state.items() if key.startswith("head.")]))
    assert torch.allclose(drawn[1], drawn[2])
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-3)
