import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from sertransfer.evaluation import metrics
from sertransfer.evaluation.metrics import (
    accuracy_intervals,
    auroc,
    clopper_pearson,
    cluster_bootstrap,
    confusion_matrix,
    f1_scores,
    majority_row,
    recalls,
    unweighted_accuracy,
    weighted_accuracy,
)

CLASSES = ["angry", "neutral", "happy"]
PAIRS = st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None)
@given(PAIRS)
def test_confusion_accuracy_and_f1_agree_with_scikit_learn(pairs):
    truth, predicted = zip(*pairs, strict=True)
    counts = confusion_matrix(truth, predicted, CLASSES)
    assert (counts == reference.confusion_matrix(truth, predicted, labels=CLASSES)).all()
    assert weighted_accuracy(counts) == pytest.approx(reference.accuracy_score(truth, predicted))
    assert f1_scores(counts) == pytest.approx(
        reference.f1_score(truth, predicted, labels=CLASSES, average=None, zero_division=0)
    )
    held = sorted(set(truth))
    recall = reference.recall_score(truth, predicted, labels=held, average="macro", zero_division=0)
    assert unweighted_accuracy(counts, absent="skip") == pytest.approx(recall)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])), min_size=2, max_size=40
    )
)
def test_auroc_agrees_with_scikit_learn_ties_included(items):
    truth, scores = zip(*items, strict=True)
    if len(set(truth)) < 2:
        assert auroc(truth, scores) is None
    else:
        assert auroc(truth, scores) == pytest.approx(reference.roc_auc_score(truth, scores))


def test_rows_are_the_truth():
    assert confusion_matrix(["a", "a", "b"], ["a", "b", "b"], ["a", "b"]).tolist() == [[1, 1], [0, 1]]


def test_a_label_outside_the_classes_is_an_error():
    with pytest.raises(ValueError, match=r"\['c'\] are not among"):
        confusion_matrix(["a"], ["c"], ["a", "b"])


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 true labels, 1 predictions"):
        confusion_matrix(["a", "b"], ["a"], ["a", "b"])


def test_an_absent_class_makes_ua_an_error_unless_left_out_by_choice():
    counts = confusion_matrix(["a", "a"], ["a", "b"], ["a", "b"])
    assert np.isnan(recalls(counts)[1])
    with pytest.raises(ValueError, match="class 1 has no item"):
        unweighted_accuracy(counts)
    assert unweighted_accuracy(counts, absent="skip") == 0.5


def test_f1_of_a_class_that_nobody_names_is_zero():
    assert f1_scores(np.array([[3, 0], [0, 0]])).tolist() == [1.0, 0.0]


def test_the_papers_table_6_follows_from_its_counts():
    ser = np.array([[23, 0], [10, 2]])
    asr = np.array([[23, 0], [12, 0]])
    assert (round(weighted_accuracy(ser), 3), round(unweighted_accuracy(ser), 3)) == (0.714, 0.583)
    assert (round(weighted_accuracy(asr), 3), round(unweighted_accuracy(asr), 3)) == (0.657, 0.5)
    row = majority_row(ser)
    assert (round(row["wa"], 3), row["ua"]) == (0.657, 0.5)


def test_the_papers_table_5_majority_class():
    # angry, neutral, happy, sad of LSSED: 6490, 60461, 27033, 12051
    row = majority_row(np.diag([6490, 60461, 27033, 12051]))
    assert (round(row["wa"], 3), row["ua"]) == (0.570, 0.25)


def test_the_majority_row_counts_the_classes_that_the_items_hold():
    assert majority_row(np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]])) == {"wa": 0.75, "ua": 0.5}


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(25, 35, 0.537, 0.854), (2, 12, 0.021, 0.484), (0, 5, 0.0, 0.522), (5, 5, 0.478, 1.0)],
)
def test_clopper_pearson_intervals(hits, trials, low, high):
    assert clopper_pearson(hits, trials) == pytest.approx((low, high), abs=6e-4)


def test_clopper_pearson_without_trials_is_undefined():
    assert clopper_pearson(0, 0) is None


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clopper_pearson_holds_the_share_and_mirrors(counts):
    hits, trials = counts
    low, high = clopper_pearson(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    assert clopper_pearson(trials - hits, trials) == pytest.approx((1 - high, 1 - low))


def test_the_bootstrap_of_a_mean_is_about_two_standard_errors_wide():
    values = np.random.default_rng(1).normal(size=200)
    low, high = cluster_bootstrap(lambda rows: float(values[rows].mean()), [str(i) for i in range(200)])
    error = values.std(ddof=1) / np.sqrt(200)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.12)


def test_whole_clusters_are_resampled():
    # ten items a speaker, all alike: as uncertain as the ten speakers are, not as a hundred items
    speakers = np.repeat(np.arange(10), 10)
    values = (speakers % 2).astype(float)
    by_speaker = cluster_bootstrap(lambda rows: float(values[rows].mean()), speakers.astype(str).tolist())
    by_item = cluster_bootstrap(lambda rows: float(values[rows].mean()), [str(i) for i in range(100)])
    assert by_speaker[1] - by_speaker[0] > 2.5 * (by_item[1] - by_item[0])
    sizes = []
    cluster_bootstrap(lambda rows: sizes.append(len(rows)) or 0.0, ["a", "a", "a", "b"], resamples=50)
    assert set(sizes) == {2, 4, 6}


def test_the_bootstrap_is_seeded():
    values = np.arange(8.0)
    names = [str(i) for i in range(8)]

    def interval(seed):
        return cluster_bootstrap(lambda rows: float(values[rows].mean()), names, resamples=100, seed=seed)

    assert interval(0) == interval(0) != interval(1)


def test_no_interval_of_one_cluster_or_of_a_statistic_that_is_mostly_undefined():
    assert cluster_bootstrap(lambda rows: 1.0, ["a", "a"]) is None
    assert cluster_bootstrap(lambda rows: None, ["a", "b"]) is None


def test_a_paired_difference_is_a_statistic_like_any_other():
    better, worse = np.array([1, 1, 1, 1, 0, 1.0]), np.array([1, 0, 1, 0, 0, 0.0])
    low, high = cluster_bootstrap(lambda rows: float((better - worse)[rows].mean()), list("abcdef"))
    assert 0 <= low < 0.5 < high <= 1


@settings(max_examples=4, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES), st.sampled_from("stuvw")),
        min_size=3,
        max_size=25,
    ),
    st.integers(0, 5),
)
def test_accuracy_intervals_equal_the_generic_bootstrap(items, seed):
    truth, predicted, speakers = (np.array(column) for column in zip(*items, strict=True))
    held = np.array([name for name in CLASSES if name in truth])

    def ua(rows):
        true, right = truth[rows], (truth == predicted)[rows]
        if not np.isin(held, true).all():
            return None
        return float(np.mean([right[true == name].mean() for name in held]))

    found = accuracy_intervals(truth, predicted, CLASSES, speakers, seed=seed)
    generic = {
        "wa_ci95": cluster_bootstrap(
            lambda rows: float((truth == predicted)[rows].mean()), speakers, seed=seed
        ),
        "ua_ci95": cluster_bootstrap(ua, speakers, seed=seed),
    }
    for name, interval in generic.items():
        assert found[name] == (None if interval is None else pytest.approx(interval))


def test_mcnemar_by_hand():
    right_a = [True] * 4 + [False] * 6
    right_b = [True, True, True, False, True, True, True, True, True, False]
    result = metrics.exact_mcnemar(right_a, right_b)  # 1 against 5: 2 * (1 + 6) / 64
    assert result == {"only_a": 1, "only_b": 5, "p": pytest.approx(14 / 64)}
    assert metrics.exact_mcnemar(right_a, right_a)["p"] == 1.0
