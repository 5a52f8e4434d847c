import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sertransfer.corpora.emotion import lssed
from sertransfer.demo import corpora
from sertransfer.demo import emotion as demo_lssed
from sertransfer.errors import BadInput, Faults
from sertransfer.manifest import GENERATED_MARKER

CANONICAL = {spelling: name for name, spellings in demo_lssed.SPELLINGS.items() for spelling in spellings}


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def metadata(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata_english_all.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return corpora.make_lssed(
        tmp_path_factory.mktemp("demo") / "lssed", speakers=14, utterances_per_speaker=12
    )


def test_the_layout_is_lsseds(corpus):
    rows = metadata(corpus)
    assert list(rows[0]) == ["name", "faces", "gender", "age", "speaker"]
    assert sorted(f"{row['name']}.wav" for row in rows) == sorted(
        p.name for p in (corpus / "wav_all").iterdir()
    )
    assert len({row["speaker"] for row in rows}) == 14
    for row in rows[::20]:
        info = soundfile.info(corpus / "wav_all" / f"{row['name']}.wav")
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 1.4 < info.duration < 3.2
    assert "not real speech" in (corpus / GENERATED_MARKER).read_text()


def test_a_full_round_of_utterances_holds_every_kind_of_label(tmp_path):
    folder = corpora.make_lssed(tmp_path / "lssed", speakers=2, utterances_per_speaker=24)
    labels = [row["faces"] for row in metadata(folder)]
    assert {CANONICAL.get(label) for label in labels} == {*demo_lssed.CLASSES, None}
    assert len(set(labels)) > 8  # more than one spelling


def features(sound: np.ndarray) -> np.ndarray:
    """Means, deviations and mean steps of a coarse log spectrum whose level is taken out."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::512] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = np.unique(np.geomspace(4, 513, 41).astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-10)
    bands = (bands - bands.mean()) / bands.std()
    return np.concatenate([bands.mean(0), bands.std(0), np.abs(np.diff(bands, axis=0)).mean(0)])


def test_prosody_gives_the_emotion_away_and_loudness_and_duration_do_not(corpus):
    rows = [row for row in metadata(corpus) if row["faces"] in CANONICAL]
    sounds = [soundfile.read(corpus / "wav_all" / f"{row['name']}.wav")[0] for row in rows]
    truth = np.array([CANONICAL[row["faces"]] for row in rows])
    unseen = np.array([row["speaker"] > "spk010" for row in rows])

    def ua(values: list[np.ndarray]) -> float:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced"))
        table = np.array(values)
        model.fit(table[~unseen], truth[~unseen])
        return float(recall_score(truth[unseen], model.predict(table[unseen]), average="macro"))

    assert 0.5 < ua([features(sound) for sound in sounds]) < 0.95
    assert ua([np.array([np.log(np.mean(sound**2))]) for sound in sounds]) < 0.4
    assert ua([np.array([len(sound)]) for sound in sounds]) < 0.4


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    first, again, other = (
        corpora.make_lssed(tmp_path / name, speakers=2, utterances_per_speaker=4, seed=seed)
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert fingerprint(first) == fingerprint(again)
    differing = {
        name for name, digest in fingerprint(other).items() if fingerprint(first).get(name) != digest
    }
    assert {name for name in differing if name.endswith(".wav")}


def test_a_complete_demo_is_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sertransfer.io.progress.LEAST", 0.0)
    folder = corpora.make_lssed(tmp_path / "lssed", speakers=1, utterances_per_speaker=4, progress=True)
    assert "demo LSSED" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    corpora.make_lssed(folder, speakers=1, utterances_per_speaker=4)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_incomplete_or_foreign_folder_is_refused_and_left_alone(tmp_path):
    folder = corpora.make_lssed(tmp_path / "lssed", speakers=1, utterances_per_speaker=4)
    with pytest.raises(BadInput, match="another folder"):
        corpora.make_lssed(folder, speakers=2, utterances_per_speaker=4)
    next((folder / "wav_all").iterdir()).unlink()
    with pytest.raises(BadInput, match="incomplete"):
        corpora.make_lssed(folder, speakers=1, utterances_per_speaker=4)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="something else"):
        corpora.make_lssed(precious)
    assert (precious / "notes.txt").read_text() == "mine"
    with pytest.raises(BadInput, match="something else"):
        corpora.make_lssed(precious / "notes.txt")


def test_an_empty_folder_is_filled(tmp_path):
    assert corpora.make_lssed(tmp_path, speakers=1, utterances_per_speaker=1) == tmp_path
    assert len(metadata(tmp_path)) == 1


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(
        demo_lssed.soundfile, "write", lambda *_, **__: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(OSError, match="full"):
        corpora.make_lssed(tmp_path / "lssed", speakers=1, utterances_per_speaker=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"speakers": 0}, {"utterances_per_speaker": 0}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path, settings):
    with pytest.raises(BadInput, match=next(iter(settings))):
        corpora.make_lssed(tmp_path / "lssed", **settings)


def test_make_demo_makes_all_and_says_where(tmp_path, monkeypatch):
    for name in ("make_lssed", "make_iemocap", "make_daic_woz"):
        monkeypatch.setattr(
            corpora, name, lambda folder, **given: _note(folder, given, {"seed": 3, "progress": False})
        )
    roots = corpora.make_demo(tmp_path, seed=3, progress=False)
    assert roots == {name: tmp_path / name for name in ("lssed", "iemocap", "daic-woz")}


def _note(folder: Path, given: dict, expected: dict) -> Path:
    assert given == expected
    return folder


def test_the_reader_finds_no_fault_in_any_class(corpus):
    faults = Faults()
    manifest = lssed.read(corpus, lssed.Options(task="eleven", split="speaker"), faults)
    assert list(faults) == []
    assert len(manifest) == 14 * 12
