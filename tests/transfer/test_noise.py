"""Embeddings that know nothing of the labels, with more columns than rows, at a large C: an AUROC of 0.5.

Pooled over folds the AUROC falls below 0.5 there: a fit whose training part has more positives scores higher,
and its held-out part has fewer of them.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from sertransfer.evaluation.aggregation import aggregate
from sertransfer.transfer.data import SubjectSplit
from sertransfer.transfer.decide import TrainingSet, choose_c, probe_subjects
from sertransfer.transfer.embed import candidate_of
from sertransfer.transfer.scoring import bare_figures
from sertransfer.transfer.settings import ProbeConfig, TransferConfig
from sertransfer.transfer.tuning.nested import InnerData, inner_score, tune_probe
from sertransfer.transfer.tuning.space import ProbeSpace, TuneConfig
from sertransfer.transfer.tuning.storage import open_storage

SENTENCES, COLUMNS, POSITIVES, SUBJECTS = 2, 100, 7, 20
SEEDS = range(30)
LARGE = ProbeConfig(c_grid=(1e4,))
CONFIG = TransferConfig(aggregation="mean", probe=LARGE, folds=3, resamples=2, shortcuts=False)


class Noise:
    """Stands for an :class:`EmbeddingSet`: random vectors by id."""

    def __init__(self, ids, seed):
        self.ids, self.durations = list(ids), np.ones(len(ids))
        self.vectors = np.random.default_rng(seed).normal(size=(len(ids), COLUMNS)).astype(np.float32)
        self.left_out = []
        self.folder = type("Folder", (), {"name": "noise"})

    def select(self, ids):
        place = {name: row for row, name in enumerate(self.ids)}
        return self.vectors[[place[name] for name in ids]]


def make_part(split, seed):
    """Numbers of sentences differ, and so do the folds' shares of positives."""
    generator = np.random.default_rng(seed)
    names = [f"{split}{index:02d}" for index in range(SUBJECTS)]
    labels = [CONFIG.positive if index < POSITIVES else CONFIG.negative for index in range(SUBJECTS)]
    subjects = pd.DataFrame({"subject": names, "split": split, "label": labels, "cluster": names})
    counts = generator.integers(1, 2 * SENTENCES, size=SUBJECTS)
    sentences = subjects.loc[np.repeat(np.arange(SUBJECTS), counts)].reset_index(drop=True)
    return SubjectSplit(
        sentences.assign(id=[f"{split}{row}" for row in range(len(sentences))], duration=1.0), subjects
    )


def training_of(seed):
    part = make_part("train", seed)
    vectors = Noise(part.sentences["id"], seed).vectors
    names = part.sentences["subject"].to_numpy(np.str_)
    positive = (part.sentences["label"] == CONFIG.positive).to_numpy(bool)
    return part, TrainingSet(vectors, positive, names, names)


def probe(seed):
    _, training = training_of(seed)
    return choose_c(training, replace(CONFIG, seed=seed)).table[0]["auroc"]


def attention(seed):
    _, training = training_of(seed)
    return choose_c(
        training, replace(CONFIG, probe=replace(CONFIG.probe, head="attention"), seed=seed)
    ).table[0]["auroc"]


def figures(seed):
    train, dev = make_part("train", seed), make_part("dev", seed + 1000)
    stored, config = Noise([*train.sentences["id"], *dev.sentences["id"]], seed), replace(CONFIG, seed=seed)
    outcome = probe_subjects((train, dev), stored, config)
    return [
        bare_figures(subjects, config)["auroc"] for subjects in (outcome.train_subjects, outcome.subjects)
    ]


def out_of_fold(seed):
    return figures(seed)[0]


def reported(seed):
    return figures(seed)[1]


def tune(seed, **probe):
    part, training = training_of(seed)
    config = replace(CONFIG, seed=seed, probe=replace(LARGE, **probe))
    return inner_score(InnerData(part.sentences, training, config), config, 64, lambda *_: None).auroc


def tune_on_axes(seed):
    return tune(seed, pca=16)


def nested(seed):
    space = ProbeSpace(heads=("logistic",), linear_c=(1e3, 1e4), pca=(0,), aggregation=("mean",))
    config = TuneConfig(
        transfer=replace(CONFIG, seed=seed), space=space, trials=2, outer_folds=3, random_trials=2
    )
    part = make_part("train", seed)
    stored = {candidate_of(config.transfer): Noise(part.sentences["id"], seed)}
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(Path(folder) / "study.db")
        found = tune_probe(config, part, stored, storage, progress=False)
    return found.record["outer"]["auroc"]


@pytest.mark.parametrize("workflow", [probe, attention, out_of_fold, reported, tune, tune_on_axes, nested])
def test_noise_has_an_auroc_of_one_half(workflow):
    seeds = SEEDS if workflow is not nested else SEEDS[:12]
    values = np.array([workflow(seed) for seed in seeds])
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert 0.005 < error < 0.06
    assert abs(values.mean() - 0.5) < 3 * error


def test_pooled_over_folds_it_is_below_one_half():
    """Why pairs are counted within folds: without balanced classes a small C gives each fold one score."""
    config = replace(CONFIG, probe=ProbeConfig(c_grid=(1e-5,), balance_classes=False))
    pooled, within = [], []
    for seed in SEEDS:
        part, training = training_of(seed)
        found = choose_c(training, replace(config, seed=seed))
        subjects = aggregate(found.scored(part.sentences), "mean")
        pooled.append(roc_auc_score(subjects["label"] == CONFIG.positive, subjects["score"]))
        within.append(found.table[0]["auroc"])
    assert np.mean(pooled) < 0.47
    assert np.mean(within) == pytest.approx(0.5, abs=3 * np.std(within) / np.sqrt(len(SEEDS)))
