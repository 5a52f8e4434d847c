import pandas as pd

from sertransfer.reporting.cells import without_formulas
from sertransfer.reporting.prediction_files import write_emotion_table


def test_texts_that_a_spreadsheet_runs_are_quoted():
    formulas = ["=1+1", "+cmd|x", "@SUM(1)", "-1+cmd|x", "\t=1"]
    frame = pd.DataFrame({"a": formulas, "b": pd.Series(["x", "-", "+1.5", -2.0, 3], dtype=object)})
    plain = without_formulas(frame)
    assert plain["a"].tolist() == ["'" + text for text in frame["a"]]
    assert plain["b"].tolist() == frame["b"].tolist()


def test_names_of_new_recordings_are(tmp_path):
    row = {"utterance": "=cmd|x", "audio": "@x.wav", "prediction": "sad", "scores": {"sad": 1.0}}
    write_emotion_table({"utterances": [row]}, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "'=cmd|x,'@x.wav,sad,1.0"
