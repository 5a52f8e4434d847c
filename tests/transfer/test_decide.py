import logging

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from sertransfer.errors import BadInput
from sertransfer.transfer.decide import TrainingSet, choose_c, choose_threshold, fit_probe, inner_folds
from sertransfer.transfer.probe.probe import fit_path
from sertransfer.transfer.settings import GRIDS, ProbeConfig, ThresholdConfig, TransferConfig


def make_training(negatives=8, positives=5, sentences=4, clusters=None, dim=4, signal=1.0):
    generator = np.random.default_rng(0)
    labels = np.repeat([False] * negatives + [True] * positives, sentences)
    subjects = np.repeat([f"s{index:02d}" for index in range(negatives + positives)], sentences)
    vectors = generator.normal(size=(len(labels), dim)).astype(np.float32)
    vectors[:, 0] += signal * labels
    names = subjects if clusters is None else np.array([clusters[name] for name in subjects])
    return TrainingSet(vectors, labels, subjects, names)


def test_folds_hold_whole_subjects_each_once_and_both_classes():
    training = make_training()
    held = inner_folds(training, TransferConfig(folds=5))
    assert len(held) == 5
    assert sorted(np.concatenate(held).tolist()) == list(range(len(training.positive)))
    seen = [set(training.subjects[rows]) for rows in held]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 13
    for rows in held:
        assert set(training.positive[rows]) == {True, False}  # one of five positive subjects in each


def test_a_talkative_subject_does_not_spoil_the_stratification():
    training = make_training()
    loud = np.concatenate([np.arange(len(training.positive)), np.repeat(0, 500)])
    training = TrainingSet(*(column[loud] for column in vars(training).values()))
    held = inner_folds(training, TransferConfig(folds=5))
    assert [len(set(training.subjects[rows][training.positive[rows]])) for rows in held] == [1] * 5


def test_folds_keep_clusters_together():
    clusters = {f"s{index:02d}": f"person{index % 4}" for index in range(12)}
    training = make_training(6, 6, clusters=clusters)
    held = inner_folds(training, TransferConfig(folds=4, cluster="person"))
    people = [set(training.clusters[rows]) for rows in held]
    assert sum(map(len, people)) == 4


def test_fewer_folds_where_a_class_has_fewer_subjects(caplog):
    with caplog.at_level(logging.WARNING):
        assert len(inner_folds(make_training(positives=2), TransferConfig())) == 2
    assert "2 folds instead of 5" in caplog.text


def test_one_subject_of_a_class_allows_no_choice():
    with pytest.raises(BadInput, match=r"1 cluster\(s\) \(speaker\) in the smaller class"):
        choose_c(make_training(positives=1), TransferConfig())


def test_folds_that_lose_a_class_are_refused():
    # two people, one of whom has nearly all positive subjects and the only negative ones
    clusters = {"s00": "a", "s01": "a", "s02": "a", "s03": "b"}
    training = make_training(2, 2, clusters=clusters)
    with pytest.raises(BadInput, match="leave both classes"):
        inner_folds(training, TransferConfig(cluster="person"))


def test_c_has_the_best_out_of_fold_auroc():
    training = make_training()
    config = TransferConfig(probe=ProbeConfig(c_grid=(1.0, 0.0001, 0.01)), folds=3)
    found = choose_c(training, config)
    assert [row["c"] for row in found.table] == [0.0001, 0.01, 1.0]
    best = max(found.table, key=lambda row: row["auroc"])
    assert found.c == best["c"]
    assert found.folds == 3
    weights, won, pairs = training.weights(config), 0.0, 0.0
    for number, held in enumerate(inner_folds(training, config)):
        assert (found.fold_of[held] == number).all()
        truth, mine = training.positive[held], weights[held]
        every = mine[truth].sum() * mine[~truth].sum()
        won += every * roc_auc_score(truth, found.out_of_fold[held], sample_weight=mine)
        pairs += every
    assert best["auroc"] == pytest.approx(won / pairs)


def test_out_of_fold_scores_come_from_probes_that_have_not_seen_the_subject():
    training = make_training()
    config = TransferConfig(probe=ProbeConfig(c_grid=(0.1,)), folds=3)
    found = choose_c(training, config)
    for held in inner_folds(training, config):
        rest = np.setdiff1d(np.arange(len(training.positive)), held)
        probe, _ = next(
            fit_path(
                training.vectors[rest],
                training.positive[rest],
                training.weights(config, rest),
                [0.1],
                config.probe,
            )
        )
        assert np.array_equal(probe.score(training.vectors[held]), found.out_of_fold[held])


def test_among_equals_the_strongest_regularisation_wins(caplog):
    training = make_training(dim=1, signal=100.0)
    with caplog.at_level(logging.WARNING):
        found = choose_c(training, TransferConfig(probe=ProbeConfig(c_grid=(10.0, 0.1, 1.0))))
    assert [row["auroc"] for row in found.table] == [1.0, 1.0, 1.0]
    assert found.c == 0.1
    assert "edge of its grid (0.1 to 10): give smaller values too with --probe.c_grid" in caplog.text


def test_warnings_of_all_fits_are_counted():
    config = TransferConfig(probe=ProbeConfig(c_grid=(1.0, 100.0), max_iterations=1), folds=3)
    found = choose_c(make_training(), config)
    assert list(found.warnings.values()) == [6]


def test_the_final_probe_is_fitted_on_everything():
    training = make_training()
    probe, messages = fit_probe(training, 0.01, TransferConfig())
    assert probe.about["c"] == 0.01
    assert messages == []
    assert probe.score(training.vectors)[training.positive].mean() > 0.5


SUBJECTS = pd.DataFrame(
    {"label": ["n", "n", "n", "p", "p"], "score": [0.1, 0.2, 0.6, 0.3, 0.9]}, index=list("abcde")
)


def test_a_fixed_threshold_is_taken_as_it_is():
    assert choose_threshold(SUBJECTS, ThresholdConfig(value=0.7), "p") == 0.7


def test_the_threshold_of_greatest_ua_is_found():
    # at 0.25: recall of n 2/3, of p 1 -> 5/6; at 0.75: 1 and 1/2 -> 3/4
    rule = ThresholdConfig(rule="out_of_fold")
    assert choose_threshold(SUBJECTS, rule, "p") == pytest.approx(0.25)


def test_among_equal_thresholds_the_nearest_to_the_fixed_value_wins():
    separable = SUBJECTS.assign(score=[0.1, 0.2, 0.3, 0.8, 0.9])
    rule = ThresholdConfig(rule="out_of_fold")
    assert choose_threshold(separable, rule, "p") == 0.5
    low = SUBJECTS.assign(score=[0.1, 0.2, 0.25, 0.35, 0.9])
    assert choose_threshold(low, rule, "p") == pytest.approx(0.3)


def test_one_score_for_all_leaves_the_fixed_value():
    same = SUBJECTS.assign(score=0.4)
    assert choose_threshold(same, ThresholdConfig(rule="out_of_fold"), "p") == 0.5


@pytest.mark.parametrize("head", ["logistic", "mlp"])
def test_without_a_grid_the_heads_own_is_searched(head):
    training = make_training()
    table = choose_c(training, TransferConfig(probe=ProbeConfig(head), folds=2)).table
    assert [row["c"] for row in table] == list(GRIDS[head])
