"""What a comparison with the majority class means."""

import pytest

from sertransfer.metrics import exact_mcnemar
from sertransfer.reporting.verdict import verdict

MAJORITY = {"wa": 0.6, "ua": 0.5}


def block(ua, bounds, confusion=((30, 0), (5, 15))):
    return {"n": 50, "ua": ua, "ua_ci95": bounds, "confusion": [list(row) for row in confusion]}


@pytest.mark.parametrize(
    ("scores", "state", "headline"),
    [
        (block(0.875, [0.7, 0.95]), "beyond", "Better than the majority class on these subjects"),
        (block(0.6, [0.4, 0.8]), "open", "Not shown to be better"),
        (block(0.3, [0.1, 0.49]), "below", "Worse than the majority class"),
        (block(0.6, [0.5, 0.8]), "open", "Not shown to be better"),
        (block(1.0, [1.0, 1.0]), "open", "No statement on chance: the interval of UA has no width"),
        (block(0.6, None), "open", "No interval"),
        (block(None, None), "open", "No comparison"),
        (block(0.7, [0.55, 0.9], ((6, 1), (3, 5))), "open", "UA is above that of the majority class, but"),
    ],
)
def test_the_sentence_follows_from_the_interval_and_the_paired_test(scores, state, headline):
    found = verdict(scores, MAJORITY, "subject", paired=True)
    assert found.state == state
    assert found.headline.startswith(headline)


def test_the_paired_test_is_that_of_the_decisions():
    truth = ["a"] * 7 + ["b"] * 8
    ours = ["a"] * 6 + ["b"] + ["a"] * 3 + ["b"] * 5
    right = [one == other for one, other in zip(truth, ours, strict=True)]
    common = [one == "b" for one in truth]
    p = exact_mcnemar(right, common)["p"]
    text = verdict(block(0.7, [0.55, 0.9], ((6, 1), (3, 5))), MAJORITY, "subject", paired=True).text
    assert f"11 subjects right against 8 for the majority class (exact McNemar p = {p:.2g})" in text


def test_utterances_of_a_speaker_are_not_independent_and_are_not_paired():
    found = verdict(block(0.875, [0.7, 0.95]), MAJORITY, "utterance", paired=False)
    assert found.state == "beyond"
    assert "McNemar" not in found.text
