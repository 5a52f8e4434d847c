import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sertransfer.errors import BadInput
from sertransfer.evaluation.aggregation import METHODS, aggregate

SENTENCES = pd.DataFrame(
    {
        "subject": ["b", "a", "b", "a", "b"],
        "split": "dev",
        "label": ["depressed", "not depressed", "depressed", "not depressed", "depressed"],
        "score": [0.9, 0.2, 0.4, 0.5, 0.45],
        "duration": [1.0, 1.0, 3.0, 3.0, 1.0],
    }
)


@pytest.mark.parametrize(
    ("method", "scores"),
    [
        ("majority", [1 / 3, 1 / 2]),
        ("mean", [(0.9 + 0.4 + 0.45) / 3, 0.35]),
        ("median", [0.45, 0.35]),
        ("duration", [(0.9 + 1.2 + 0.45) / 5, (0.2 + 1.5) / 4]),
        ("top_k", [(0.9 + 0.4 + 0.45) / 3, 0.35]),  # fewer than five: all of them
        # odds: b 9 * 2/3 * 9/11 = 54/11, a 1/4 * 1
        (
            "log_odds",
            [0.5 + 0.5 * np.log(54 / 11) / (1 + np.log(54 / 11)), 0.5 - 0.5 * np.log(4) / (1 + np.log(4))],
        ),
    ],
)
def test_scores_by_hand(method, scores):
    subjects = aggregate(SENTENCES, method)
    assert subjects["subject"].tolist() == ["b", "a"]
    assert subjects["label"].tolist() == ["depressed", "not depressed"]
    assert subjects["sentences"].tolist() == [3, 2]
    assert subjects["score"].tolist() == pytest.approx(scores)


def test_a_sentence_at_one_half_votes_positive_and_a_tie_is_one_half():
    assert METHODS["majority"](np.array([0.5]), np.ones(1)) == 1.0
    assert METHODS["majority"](np.array([0.5, 0.49]), np.ones(2)) == 0.5


def test_top_k_takes_the_highest_whatever_their_order():
    subjects = aggregate(SENTENCES, "top_k", top_k=2)
    assert subjects["score"].tolist() == pytest.approx([(0.9 + 0.45) / 2, 0.35])
    assert aggregate(SENTENCES, "top_k", top_k=1)["score"].tolist() == [0.9, 0.5]
    with pytest.raises(BadInput, match="top_k = 0"):
        aggregate(SENTENCES, "top_k", top_k=0)


def test_the_median_of_two_is_their_middle_and_may_tie_with_the_threshold():
    assert METHODS["median"](np.array([0.4, 0.6]), np.ones(2)) == 0.5


def test_log_odds_of_certain_sentences_are_finite_and_keep_the_order_of_subjects():
    combine = METHODS["log_odds"]
    assert combine(np.array([0.0, 1.0]), np.ones(2)) == 0.5  # they cancel
    assert combine(np.full(3, 0.5), np.ones(3)) == 0.5
    more, most = combine(np.full(200, 0.9), np.ones(200)), combine(np.full(201, 0.9), np.ones(201))
    assert 0.99 < more < most < 1


@pytest.mark.parametrize("method", ["log_odds", "attention"])
def test_odds_that_cancel_give_one_half_exactly(method):
    """37 % of such pairs fell below 0.5, and so to the negative class."""
    combine, generator = METHODS[method], np.random.default_rng(0)
    for size in (1, 2, 3, 50):
        for _ in range(100):
            half = generator.random(size)
            scores = generator.permutation(np.concatenate([half, 1 - half]))
            assert combine(scores, np.full(2 * size, 1 / (2 * size))) == 0.5
    assert combine(np.array([2 / 3, 2 / 3, 0.2]), np.ones(3)) == 0.5  # odds 2 * 2 / 4
    assert combine(np.array([0.3, 0.7]), np.ones(2)) == 0.5
    assert combine(np.array([0.3, 0.7 + 1e-12]), np.ones(2)) > 0.5  # but no more than rounding is forgiven
    assert combine(np.array([0.3, 0.7 - 1e-12]), np.ones(2)) < 0.5


@pytest.mark.parametrize("method", ["mean", "duration", "top_k"])
@pytest.mark.parametrize("size", range(1, 30))
def test_scores_whose_mean_is_one_half_tie_with_the_threshold(method, size):
    for low in (0.1, 0.2, 0.3, 0.4):
        scores = np.array([low] * size + [1 - low] * size)
        top_k = {"top_k": len(scores)} if method == "top_k" else {}
        table = pd.DataFrame({"subject": "a", "split": "dev", "label": "x", "score": scores, "duration": 2.5})
        assert aggregate(table, method, **top_k)["score"].tolist() == [0.5]


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'majority'"):
        aggregate(SENTENCES, "majorty")


def test_no_sentences_give_no_subjects():
    empty = aggregate(SENTENCES.iloc[:0], "mean")
    assert empty.empty
    assert list(empty.columns) == ["subject", "split", "label", "score", "sentences"]


def test_attention_weighs_log_odds_by_hand_and_a_tie_is_one_half():
    # log-odds b: log 9, log 2/3, log 9/11 by 1/2, 1/4, 1/4; a: log 1/4, 0 by 1/4, 3/4
    learnt = SENTENCES.assign(attention=[0.5, 0.25, 0.25, 0.75, 0.25])
    odds = [9**0.5 * (2 / 3) ** 0.25 * (9 / 11) ** 0.25, 0.25**0.25]
    assert aggregate(learnt, "attention")["score"].tolist() == pytest.approx([x / (1 + x) for x in odds])
    assert METHODS["attention"](np.array([0.2, 0.8]), np.array([0.5, 0.5])) == 0.5
    assert METHODS["attention"](np.array([1.0, 0.5]), np.array([1.0, 0.0])) == pytest.approx(1 - 1e-6)
    with pytest.raises(BadInput, match="without attention weights"):
        aggregate(SENTENCES, "attention")


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 100)), min_size=1, max_size=20),
    st.sampled_from(sorted(METHODS)),
)
def test_scores_stay_between_the_lowest_and_highest(items, method):
    scores, durations = (np.array(column) for column in zip(*items, strict=True))
    value = METHODS[method](scores, durations)
    low, high = (0, 1) if method in ("majority", "log_odds") else (scores.min(), scores.max())
    slack = 2e-6 if method == "attention" else 1e-9  # it clips
    assert low - slack <= value <= high + slack
    shuffled = np.random.default_rng(0).permutation(len(scores))
    assert METHODS[method](scores[shuffled], durations[shuffled]) == pytest.approx(value)
