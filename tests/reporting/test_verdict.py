"""What a comparison with the majority class means."""

import pytest

from sertransfer.reporting.page import verdict

BETTER = "UA: better than the majority class on these subjects. WA: "
MAJORITY = {"wa": 0.6, "ua": 0.5}


def block(ua=0.8, **more):
    return {"n": 35, "wa": 0.8, "ua": ua, "ua_ci95": [0.6, 0.9], "confusion": [[18, 5], [2, 10]], **more}


def compared(ua, wa, reason=""):
    return {
        "against_majority": {
            "ua": {"state": ua, "test": "Boschloo's exact test", "p": 0.01, "reason": reason},
            "wa": {"state": wa, "gained": 10, "lost": 5, "test": "exact McNemar test", "p": 0.3},
        }
    }


@pytest.mark.parametrize(
    ("scores", "state", "headline"),
    [
        (block(**compared("above", "open")), "beyond", BETTER + "no"),
        (block(**compared("above", "above")), "beyond", BETTER + "b"),
        (block(**compared("below", "below")), "below", "UA: worse than the majority class on these"),
        (block(**compared("open", "below")), "open", "UA: not shown to differ from the majority class"),
        (block(**compared("open", "open", "no interval: 2 speakers")), "open", "No statement on chance"),
        (block(None), "open", "No comparison"),
        (block(), "open", "No statement on chance"),
    ],
)  # fmt: skip
def test_there_is_a_statement_about_ua_and_one_about_wa(scores, state, headline):
    found = verdict(scores, MAJORITY, "subject")
    assert found.state == state
    assert found.headline.startswith(headline)


def test_the_figures_stand_in_the_text():
    text = verdict(block(**compared("above", "open")), MAJORITY, "subject").text
    assert "(10 subjects that the run alone has right, 5 the other alone)" in text
    assert "By UA: Boschloo's exact test p = 0.01; by WA: exact McNemar test p = 0.3." in text


def test_the_reason_is_said():
    text = verdict(block(**compared("open", "open", "no interval: 2 speakers")), MAJORITY, "utterance").text
    assert text.endswith("No interval: 2 speakers.")


def test_a_run_folder_of_before_is_compared_by_its_confusion():
    """As ``metrics.json`` was written with independent subjects."""
    old = block(intervals={"wa, sensitivity, specificity": "Clopper-Pearson", "others": "cluster bootstrap"})
    found = verdict(old, MAJORITY, "subject")
    assert found.state == "beyond"
    assert "10 subjects that the run alone has right, 5 the other alone" in found.text
