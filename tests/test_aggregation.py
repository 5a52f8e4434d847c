import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sertransfer.aggregation import METHODS, aggregate
from sertransfer.errors import BadInput

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
        ("duration", [(0.9 + 1.2 + 0.45) / 5, (0.2 + 1.5) / 4]),
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


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'majority'"):
        aggregate(SENTENCES, "majorty")


def test_no_sentences_give_no_subjects():
    empty = aggregate(SENTENCES.iloc[:0], "mean")
    assert empty.empty
    assert list(empty.columns) == ["subject", "split", "label", "score", "sentences"]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 100)), min_size=1, max_size=20),
    st.sampled_from(sorted(METHODS)),
)
def test_scores_stay_between_the_lowest_and_highest(items, method):
    scores, durations = (np.array(column) for column in zip(*items, strict=True))
    value = METHODS[method](scores, durations)
    low, high = (0, 1) if method == "majority" else (scores.min(), scores.max())
    assert low - 1e-9 <= value <= high + 1e-9
    shuffled = np.random.default_rng(0).permutation(len(scores))
    assert METHODS[method](scores[shuffled], durations[shuffled]) == pytest.approx(value)
