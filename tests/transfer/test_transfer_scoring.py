from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference
from support.transfer_fakes import NEGATIVE, POSITIVE

from sertransfer.transfer.scoring import bare_figures, majority, sentence_figures, subject_figures
from sertransfer.transfer.settings import TransferConfig

CONFIG = TransferConfig(resamples=50)


def make_subjects(hits_negative=23, negatives=23, hits_positive=2, positives=12):
    """Return subjects with the given numbers right; the default is the paper's SER row of Table 6."""
    labels = [NEGATIVE] * negatives + [POSITIVE] * positives
    right = [index < hits_negative for index in range(negatives)]
    right += [index < hits_positive for index in range(positives)]
    positive = [(label == POSITIVE) == hit for label, hit in zip(labels, right, strict=True)]
    names = [f"s{index:02d}" for index in range(len(labels))]
    return pd.DataFrame(
        {
            "subject": names,
            "label": labels,
            "score": np.linspace(0.5, 1, len(labels)) * positive,
            "prediction": [POSITIVE if chosen else NEGATIVE for chosen in positive],
            "cluster": names,
        }
    )


def test_the_papers_own_row():
    figures = subject_figures(make_subjects(), CONFIG)
    assert figures["confusion"] == [[23, 0], [10, 2]]
    assert figures["wa"] == pytest.approx(25 / 35)
    assert figures["ua"] == pytest.approx(7 / 12)
    assert figures["wa_ci95"] == pytest.approx([0.537, 0.854], abs=6e-4)
    assert figures["sensitivity"] == pytest.approx(2 / 12)
    assert figures["sensitivity_ci95"] == pytest.approx([0.021, 0.484], abs=6e-4)
    assert figures["specificity"] == 1.0
    assert figures["specificity_ci95"][1] == 1.0
    assert figures["intervals"]["sizes"] == "number of subjects"


def test_figures_agree_with_scikit_learn():
    subjects = make_subjects(15, 20, 7, 11)
    figures = subject_figures(subjects, CONFIG)
    truth, predicted = subjects["label"], subjects["prediction"]
    assert figures["ua"] == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    f1 = reference.f1_score(truth, predicted, labels=[NEGATIVE, POSITIVE], average=None)
    assert list(figures["f1"].values()) == pytest.approx(f1)
    assert list(figures["f1"]) == [NEGATIVE, POSITIVE]
    assert figures["macro_f1"] == pytest.approx(f1.mean())
    assert figures["auroc"] == pytest.approx(reference.roc_auc_score(truth == POSITIVE, subjects["score"]))
    for name in ("wa", "ua", "macro_f1", "sensitivity", "specificity", "auroc"):
        low, high = figures[f"{name}_ci95"]
        assert low < figures[name] < high
    for name in (NEGATIVE, POSITIVE):
        low, high = figures["f1_ci95"][name]
        assert low < figures["f1"][name] < high


def test_several_subjects_of_one_person_are_no_independent_trials():
    subjects = make_subjects(15, 20, 7, 10)
    subjects["cluster"] = [f"p{index % 15}" for index in range(30)]
    figures = subject_figures(subjects, replace(CONFIG, cluster="person"))
    assert figures["intervals"]["sizes"] == "effective, by person"
    assert figures["intervals"]["cluster"] == "person"
    low, high = figures["wa_ci95"]
    assert low < figures["wa"] < high


def test_a_class_that_the_split_does_not_hold_leaves_null():
    figures = subject_figures(make_subjects(3, 5, 0, 0), CONFIG)
    assert figures["wa"] == 0.6
    undefined = ("ua", "ua_ci95", "macro_f1", "sensitivity", "sensitivity_ci95", "auroc", "auroc_ci95")
    assert {figures[name] for name in undefined} == {None}
    assert figures["f1"][POSITIVE] is None
    assert figures["f1"][NEGATIVE] == pytest.approx(0.75)
    assert bare_figures(make_subjects(3, 5, 0, 0), CONFIG)["ua"] is None


def test_sentences_are_decided_at_one_half_and_resampled_by_subject():
    generator = np.random.default_rng(0)
    labels = np.repeat([NEGATIVE, POSITIVE], 40)
    scores = np.clip(generator.normal(0.5, 0.2, 80) + 0.1 * (labels == POSITIVE), 0, 1)
    table = pd.DataFrame({"label": labels, "score": scores, "cluster": np.repeat(list("abcdefgh"), 10)})
    table.loc[0, "score"] = 0.5
    figures = sentence_figures(table, CONFIG)
    predicted = np.where(scores >= 0.5, POSITIVE, NEGATIVE)
    predicted[0] = POSITIVE
    assert figures["n"] == 80
    assert figures["wa"] == pytest.approx((predicted == labels).mean())
    assert figures["ua"] == figures["wa"]
    assert figures["majority"] == {"wa": 0.5, "ua": 0.5}
    alone = sentence_figures(table.assign(cluster=[str(i) for i in range(80)]), CONFIG)
    assert alone["auroc"] == figures["auroc"]
    assert alone["auroc_ci95"] != figures["auroc_ci95"]


def test_the_majority_row_is_of_the_same_items():
    assert majority(make_subjects()) == {"wa": 23 / 35, "ua": 0.5}
    assert majority(make_subjects(2, 2, 0, 0)) == {"wa": 1.0, "ua": 1.0}


def test_bare_figures_are_those_with_intervals():
    subjects = make_subjects(15, 20, 7, 11)
    full = subject_figures(subjects, CONFIG)
    assert bare_figures(subjects, CONFIG) == {
        name: full[name] for name in ("n", "wa", "ua", "auroc", "confusion")
    }
