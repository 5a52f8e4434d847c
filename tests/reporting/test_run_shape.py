import pytest

from sertransfer.errors import BadInput
from sertransfer.io.files import write_json
from sertransfer.reporting.runs import misshapen, read_runs

SUBJECT = {
    "n": 6, "wa": 0.5, "ua": None, "wa_ci95": [0.1, 0.9], "ua_ci95": None, "f1": {"a": 0.5, "b": None},
    "macro_f1": 0.5, "confusion": [[1, 2], [1, 2]], "classes": ["a", "b"],
}  # fmt: skip
METRICS = {"subject": SUBJECT, "majority": {"wa": 0.5, "ua": 0.5}, "model": "x", "adversarial": None}


def test_what_a_run_writes_is_right():
    assert misshapen(METRICS) is None
    assert misshapen({**METRICS, "adversarial": {"utterance": {"wa": 0.5}}}) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"majority": True}, "majority = True"),
        ({"model": 3}, "model = 3"),
        ({"adversarial": []}, "adversarial = []"),
        ({"adversarial": {}}, "adversarial.utterance = None"),
        ({"subject": {**SUBJECT, "wa": "0.5"}}, "subject.wa = '0.5'"),
        ({"subject": {**SUBJECT, "n": True}}, "subject.n = True"),
        ({"subject": {**SUBJECT, "wa_ci95": [0.1]}}, "subject.wa_ci95 = [0.1]"),
        ({"subject": {**SUBJECT, "classes": [1, 2]}}, "subject.classes = [1, 2]"),
        ({"subject": {**SUBJECT, "confusion": [[1, 2]]}}, "subject.confusion = [[1, 2]]"),
        ({"subject": {**SUBJECT, "classes": ["a"]}}, "subject.confusion of another size than its classes"),
    ],
)
def test_what_is_wrong_is_named(change, said, tmp_path):
    assert misshapen({**METRICS, **change}) == said
    write_json(tmp_path / "metrics.json", {**METRICS, **change})
    with pytest.raises(BadInput, match="the file is damaged"):
        read_runs([tmp_path])
