"""The demo's dialogues: IEMOCAP's layout, read by IEMOCAP's reader without a fault."""

import re
from pathlib import Path

import pytest
import soundfile

from sertransfer.corpora.emotion import iemocap
from sertransfer.demo import corpora
from sertransfer.demo import emotion as demo_iemocap
from sertransfer.errors import BadInput, Faults
from sertransfer.manifest import GENERATED_MARKER, Manifest

TURN = re.compile(r"\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(\S+)\t(\w+)\t\[2\.5000, 2\.5000, 2\.5000\]")


def load(root: Path, **options) -> Manifest:
    faults = Faults()
    manifest = iemocap.read(root, iemocap.Options(**options), faults)
    assert list(faults) == []
    return manifest


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return corpora.make_iemocap(tmp_path_factory.mktemp("demo") / "iemocap", dialogs=1, turns=9)


def test_the_reader_finds_ten_speakers_in_five_sessions_and_every_class_in_each(corpus):
    table = load(corpus).table
    assert sorted(set(table["speaker"])) == [f"Ses0{n}{letter}" for n in range(1, 6) for letter in "FM"]
    classes = table.groupby("session")["label"].agg(set)
    assert all(found == {"angry", "neutral", "happy", "sad"} for found in classes)
    assert set(table["split"]) == {"train", "test"}
    assert load(corpus).generated
    assert "not real speech" in (corpus / GENERATED_MARKER).read_text()


def test_other_emotions_and_disagreements_are_there_too(corpus):
    manifest = load(corpus, task="all", split="none")
    assert {"excited", "frustrated"} <= set(manifest.table["label"])
    assert any("did not agree" in entry["reason"] for entry in manifest.notes["left_out"])
    assert len(manifest) + len(manifest.notes["left_out"]) == 5 * 9


def test_an_evaluation_gives_the_times_of_its_recordings(corpus):
    path = corpus / "Session2/dialog/EmoEvaluation/Ses02M_impro01.txt"
    text = path.read_text()
    assert text.startswith(demo_iemocap.TURN_HEADER)
    rows = [TURN.fullmatch(line) for line in text.splitlines() if line.startswith("[")]
    assert len(rows) == 9
    before = 0.0
    for row in rows:
        info = soundfile.info(corpus / f"Session2/sentences/wav/Ses02M_impro01/{row[3]}.wav")
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert float(row[2]) - float(row[1]) == pytest.approx(info.duration, abs=2e-4)
        assert float(row[1]) > before
        before = float(row[2])


def test_a_session_is_the_same_whatever_else_is_made(corpus, tmp_path):
    again = corpora.make_iemocap(tmp_path / "again", dialogs=1, turns=9)
    other = corpora.make_iemocap(tmp_path / "other", dialogs=1, turns=9, seed=1)
    sound = "Session3/sentences/wav/Ses03M_impro01/Ses03M_impro01_F000.wav"
    assert (again / sound).read_bytes() == (corpus / sound).read_bytes()
    assert (other / sound).read_bytes() != (corpus / sound).read_bytes()


@pytest.mark.parametrize("settings", [{"dialogs": 0}, {"turns": 0}])
def test_numbers_out_of_range_are_refused(tmp_path, settings):
    with pytest.raises(BadInput, match=next(iter(settings))):
        corpora.make_iemocap(tmp_path / "iemocap", **settings)
