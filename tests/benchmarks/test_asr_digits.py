"""Data of the small recogniser; its training takes minutes and is run by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    import asr_digits

    yield asr_digits
    sys.modules.pop("asr_digits", None)


def test_the_unseen_speaker_trains_nothing(digits: Any, tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    for name in ("3_ann_0", "7_ann_1", "3_bob_0", "7_cid_0"):
        soundfile.write(tmp_path / f"recordings/{name}.wav", np.full(4000, 0.1), 8000)
    training, test = digits.read_digits(tmp_path, "bob")
    assert {utterance.id for utterance in test} == {"bob-3_bob_0-1"}
    assert not [utterance for utterance in training if "bob" in utterance.id]
    assert len(training) == 3 * len(digits.SPEEDS)
    assert {utterance.text for utterance in training} == {"three", "seven"}
    lengths = sorted(len(utterance.sound) for utterance in training)
    assert (lengths[0], len(test[0].sound), lengths[-1]) == (6957, 8000, 9412)
    with pytest.raises(SystemExit, match="speakers"):
        digits.read_digits(tmp_path, "dora")
