"""What a model was trained on is known by its sound, and told to nobody who has not the sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sertransfer.errors import BadInput
from sertransfer.training_audio import (
    FILE,
    RunTrainingAudio,
    TrainingAudio,
    compare_audio,
    make_training_audio,
    read_training_audio,
    write_training_audio,
)

PRINTS = {name: [bytes([number]) * 16, bytes([number, 7]) * 8] for number, name in enumerate("abcd", 1)}
TRAINED = make_training_audio([PRINTS["a"], PRINTS["b"]], "run 1")


def test_shared_none_or_unknown() -> None:
    found = compare_audio(TRAINED, PRINTS)
    assert (found.status, found.ids) == ("shared", ("a", "b"))
    assert found.figures({"a": "s1", "b": "s1", "c": "s2", "d": "s3"}) == {
        "status": "shared",
        "utterances": 2,
        "speakers": 1,
    }
    others = {name: PRINTS[name] for name in "cd"}
    assert compare_audio(TRAINED, others).figures({}) == {"status": "none", "utterances": 0, "speakers": 0}
    unknown = {"status": "unknown", "utterances": None, "speakers": None}
    assert compare_audio(None, PRINTS).figures({}) == unknown
    assert compare_audio(TRAINED, {"e": []}).figures({}) == unknown
    assert compare_audio(TRAINED, {}).status == "unknown"
    assert compare_audio(TRAINED, {"e": [], **others}).status == "none"


def test_one_print_in_common_is_enough() -> None:
    assert compare_audio(TRAINED, {"e": [b"\0" * 16, PRINTS["b"][1]]}).status == "shared"


def test_a_model_knows_what_the_one_before_it_has_heard() -> None:
    later = make_training_audio([PRINTS["c"]], "run 2")
    both = later.after(TRAINED)
    assert [compare_audio(both, {name: PRINTS[name]}).status for name in "abcd"] == ["shared"] * 3 + ["none"]
    of_unknown = later.after(None)
    assert [compare_audio(of_unknown, {name: PRINTS[name]}).status for name in "acd"] == [
        "unknown",
        "shared",
        "unknown",
    ]
    assert not make_training_audio([PRINTS["d"]], "run 3").after(of_unknown).whole


def test_it_is_written_and_read(tmp_path: Path) -> None:
    both = make_training_audio([PRINTS["c"]], "run 2").after(TRAINED)
    again = TrainingAudio.from_dict(json.loads(json.dumps(both.as_dict())))
    assert again.as_dict() == both.as_dict()
    assert compare_audio(again, PRINTS).ids == ("a", "b", "c")
    write_training_audio(tmp_path, RunTrainingAudio(both, None))
    heard = read_training_audio(tmp_path)
    assert heard.encoder is None
    assert heard.run is not None
    assert heard.run.as_dict() == both.as_dict()


def test_a_run_of_before_and_a_damaged_file(tmp_path: Path) -> None:
    assert read_training_audio(tmp_path) == RunTrainingAudio(None, None)
    for text in ("{", "[]", '{"run": null}', '{"run": {"format": 9}, "encoder": null}'):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(BadInput, match="remove this file to go without it"):
            read_training_audio(tmp_path)
    values = TRAINED.as_dict()
    values["sets"][0]["hashes"] = "????"
    with pytest.raises(ValueError, match="no fingerprint"):
        TrainingAudio.from_dict(values)


def test_two_models_of_the_same_audio_have_no_hash_in_common() -> None:
    other = make_training_audio([PRINTS["a"], PRINTS["b"]], "run 2")
    assert len(TRAINED.sets[0].hashes) == 4
    assert not np.isin(TRAINED.sets[0].hashes, other.sets[0].hashes).any()
    again = make_training_audio([PRINTS["b"], PRINTS["a"]], "run 1")
    assert again.as_dict() == TRAINED.as_dict()  # a run that is made again writes the same file


def test_a_print_does_not_stand_in_the_file() -> None:
    text = TRAINED.sets[0].hashes.tobytes()
    assert not any(one[:8] in text or one[-8:] in text for own in PRINTS.values() for one in own)
