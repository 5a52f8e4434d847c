import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from sertransfer.pretraining.evaluate import score_metrics, score_table
from sertransfer.training.inference import predict_probabilities

CLASSES = ("angry", "neutral", "happy", "sad")


def table(labels, speakers):
    ids = [f"u{number}" for number in range(len(labels))]
    return pd.DataFrame({"id": ids, "speaker": speakers, "split": "test", "label": labels})


def hits(labels, right):
    """Return probabilities that are right or go to the next class."""
    rows = np.full((len(labels), 4), 0.1)
    for number, (label, good) in enumerate(zip(labels, right, strict=True)):
        rows[number, (CLASSES.index(label) + (not good)) % 4] = 0.7
    return rows


@pytest.mark.parametrize("pad", [False, True])
def test_an_utterance_scores_alone_as_in_company(utterances, probe, pad):
    data = utterances([4, 9, 9, 30, 4, 17, 9])
    together = predict_probabilities(probe, data, longest=12, pad=pad, batch_size=3)
    alone = [
        predict_probabilities(probe, data.subset(np.array([item])), longest=12, pad=pad, batch_size=3)[0]
        for item in range(7)
    ]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1)
    assert np.ptp(together, axis=0).min() > 1e-6


def test_scores_are_those_of_the_network_in_evaluation_mode(utterances, probe):
    data = utterances([9, 4])
    probe.train()
    scores = predict_probabilities(probe, data, longest=99, pad=False, batch_size=4, progress=True)
    assert probe.training
    probe.eval()
    for item in range(2):
        features = torch.from_numpy(data.store.features[item])[None, None]
        expected = probe(features).softmax(1)[0].detach().numpy()
        np.testing.assert_allclose(scores[item], expected, atol=1e-6)


def test_metrics_agree_with_scikit_learn_and_intervals_hold_them():
    labels = list(CLASSES) * 10
    right = np.random.default_rng(0).random(40) < 0.6
    scores = score_table(table(labels, [f"s{n // 5}" for n in range(40)]), hits(labels, right), CLASSES)
    metrics = score_metrics(scores, CLASSES)
    block = metrics["utterance"]
    assert block["n"] == 40
    assert block["wa"] == pytest.approx(accuracy_score(scores["label"], scores["prediction"]))
    assert block["ua"] == pytest.approx(balanced_accuracy_score(scores["label"], scores["prediction"]))
    assert block["wa_ci95"][0] <= block["wa"] <= block["wa_ci95"][1]
    assert block["ua_ci95"][0] <= block["ua"] <= block["ua_ci95"][1]
    assert (block["intervals_over"], block["speakers"], block["absent"]) == ("speakers", 8, [])
    assert np.sum(block["confusion"]) == 40
    assert metrics["majority"] == {"wa": 0.25, "ua": 0.25}
    assert list(scores.columns[-4:]) == [f"score_{name}" for name in CLASSES]


def test_unknown_speakers_have_no_interval_and_that_is_said(caplog):
    labels = list(CLASSES) * 5
    unknown = table(labels, ["unknown"] * 10 + [""] * 10)
    scores = score_table(unknown, hits(labels, [True] * 15 + [False] * 5), CLASSES)
    block = score_metrics(scores, CLASSES)["utterance"]
    assert (block["wa_ci95"], block["ua_ci95"], block["speakers"]) == (None, None, 0)
    assert block["no_interval"] == dict.fromkeys(("wa", "ua"), "no interval: 0 speakers")
    assert block["against_majority"]["ua"]["state"] == "open"
    assert "no interval: 0 speakers" in caplog.text


def test_two_speakers_have_no_interval_beside_unknown_ones():
    labels = list(CLASSES) * 5
    mixed = table(labels, ["a"] * 8 + ["b"] * 8 + ["unknown"] * 4)
    block = score_metrics(score_table(mixed, hits(labels, [True] * 20), CLASSES), CLASSES)["utterance"]
    assert (block["wa_ci95"], block["no_interval"]["wa"]) == (None, "no interval: 2 speakers")


def test_utterances_of_unknown_speakers_are_one_cluster():
    labels = list(CLASSES) * 10
    mixed = table(labels, [*"abcdef" * 2, *["unknown"] * 28])
    right = [True] * 20 + [False] * 20
    many = table(labels, [*"abcdef" * 2, *(f"s{number}" for number in range(28))])
    widths = []
    for each in (mixed, many):
        block = score_metrics(score_table(each, hits(labels, right), CLASSES), CLASSES)["utterance"]
        widths.append(block["wa_ci95"][1] - block["wa_ci95"][0])
    assert widths[0] > widths[1] * 1.2


def test_a_class_that_is_absent_is_an_error_unless_it_is_left_out_by_choice():
    labels = ["angry", "neutral", "happy"] * 6
    scores = score_table(table(labels, list("abcdef") * 3), hits(labels, [True] * 18), CLASSES)
    with pytest.raises(ValueError, match="class 3"):
        score_metrics(scores, CLASSES)
    block = score_metrics(scores, CLASSES, absent="skip")["utterance"]
    assert (block["ua"], block["absent"], block["recall"]) == (1.0, ["sad"], [1.0, 1.0, 1.0, None])


def test_nothing_scored_is_nothing_claimed():
    scores = score_table(table([], []), np.empty((0, 4)), CLASSES)
    metrics = score_metrics(scores, CLASSES)
    assert metrics["utterance"]["n"] == 0
    assert metrics["utterance"]["wa"] is metrics["majority"]["wa"] is None
