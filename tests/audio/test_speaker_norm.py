"""Resting states: of a speaker's own recordings, part of the store's key, refused where there are none."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from sertransfer.audio.features import make_plan, store_key
from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.reading import read_segment
from sertransfer.audio.speaker_norm import RestingState, calibration_ids, measure_states, rest_rows
from sertransfer.audio.store import FeatureStore, build_store
from sertransfer.errors import BadInput
from sertransfer.front_end import FrontEnd
from sertransfer.io.files import hash_value
from sertransfer.manifest import Manifest, make_table, write_manifest
from sertransfer.pretraining.settings import PretrainConfig

RESTING = FrontEnd(normalise="resting", mels=16)
ROWS = [
    ("a1", "a", "neutral", "train"),
    ("a2", "a", "angry", "train"),
    ("a3", "a", "neutral", "train"),
    ("b1", "b", "neutral", "test"),
    ("b2", "b", "angry", "test"),
]


def corpus(root: Path, rows: list[tuple[str, str, str, str]] = ROWS, **columns: list[Any]) -> Manifest:
    """Noise of different levels, a recording a row (generated)."""
    root.mkdir(exist_ok=True)
    for place, (identity, *_) in enumerate(rows):
        wave = np.random.default_rng(place).normal(size=9000 + 700 * place) * 0.02 * (place + 1)
        if not (root / f"{identity}.wav").exists():
            soundfile.write(root / f"{identity}.wav", wave, 16000)
    names = ("id", "speaker", "label", "split")
    table = [
        {"corpus": "made", "audio": f"{row[0]}.wav"} | dict(zip(names, row, strict=True)) for row in rows
    ]
    for column, values in columns.items():
        table = [row | {column: value} for row, value in zip(table, values, strict=True)]
    return Manifest(make_table(table), root)


def plain(manifest: Manifest, identity: str) -> np.ndarray:
    """The log-mel of one row as it is, in the precision of a store, shape (mels, frames)."""
    wave = torch.from_numpy(read_segment(manifest.source(f"{identity}.wav"), None, None))
    return MelFrontEnd(replace(RESTING, normalise="none"))(wave).half().double().numpy()


def expected(manifest: Manifest, identity: str, *rest: str) -> np.ndarray:
    frames = np.concatenate([plain(manifest, name) for name in rest], axis=1)
    centred = plain(manifest, identity) - frames.mean(axis=1)[:, None]
    return np.asarray(centred / frames.std(axis=1)[:, None])


def features(store: FeatureStore) -> dict[str, np.ndarray]:
    return {identity: store.read(store.position(identity)) for identity in store.ids}


def test_a_state_by_hand() -> None:
    class Memory:
        recordings = ([[0, 2], [5, 5]], [[9], [1]], [[4], [5]])

        def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
            return np.array(self.recordings[index], dtype=np.float32)

    states = measure_states(Memory(), [0, 1, 2], [("c", "x"), ("c", "y"), ("c", "x")])
    state = states["c", "x"]
    np.testing.assert_array_equal(state.mean, [2, 5])  # of 0, 2, 4 and of 5, 5, 5
    np.testing.assert_allclose(state.deviation, [(8 / 3) ** 0.5, np.inf])
    values = np.array([[2, 5], [6, 7]], dtype=np.float32)  # (frames, mels)
    state.normalise(values)
    np.testing.assert_allclose(values, [[0, 0], [4 / (8 / 3) ** 0.5, 0]], rtol=1e-6)
    assert set(states) == {("c", "x"), ("c", "y")}
    assert state.fingerprint() != states["c", "y"].fingerprint()


def test_the_store_is_normalised_by_the_speakers_own_rest(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "c")
    store = build_store(manifest, RESTING, tmp_path / "cache", progress=False)
    found = features(store)
    rest = {"a": ("a1", "a3"), "b": ("b1",)}
    for identity in manifest.table["id"]:
        wanted = expected(manifest, identity, *rest[identity[0]])
        np.testing.assert_allclose(found[identity], wanted, atol=0.01, rtol=0.003)  # half precision
    assert abs(found["b1"].mean()) < 1e-3
    assert found["b2"].mean() > 0.1, "louder than at rest, and it stays so"
    assert store.resting == {"speakers": 2, "recordings": 3}
    states = {("made", "a"): RestingState(np.zeros(16, np.float32), np.ones(16, np.float32))}
    job = pickle.loads(pickle.dumps(make_plan(manifest, RESTING, states).jobs[1]))  # as a worker gets it
    np.testing.assert_array_equal(job.state.deviation, np.ones(16))


def test_no_other_speaker_has_a_say_and_a_part_takes_its_rest_from_the_whole(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "c")
    angry = manifest.select(labels=["angry"])
    before = build_store(angry, RESTING, tmp_path / "cache", rest=manifest, progress=False)
    assert before.ids == ["a2", "b2"]
    values = features(before)
    soundfile.write(tmp_path / "c" / "b1.wav", np.random.default_rng(9).normal(size=8000) * 0.3, 16000)
    after = build_store(angry, RESTING, tmp_path / "cache", rest=manifest, progress=False)
    assert after.path != before.path
    np.testing.assert_array_equal(features(after)["a2"], values["a2"])
    assert np.abs(features(after)["b2"] - values["b2"]).max() > 0.1
    with pytest.raises(BadInput, match="2 faults"):  # the part alone has no resting recordings
        build_store(angry, RESTING, tmp_path / "cache", progress=False)


def test_one_name_in_two_corpora_is_two_people(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "c", corpus=["one", "one", "one", "two", "two"])
    table = manifest.table.assign(speaker="a")
    store = build_store(manifest.with_table(table), RESTING, tmp_path / "cache", progress=False)
    wanted = expected(manifest, "b2", "b1")
    np.testing.assert_allclose(features(store)["b2"], wanted, atol=0.01, rtol=0.003)


def rest_of(*rows: tuple[str, str, str], **columns: list[Any]) -> list[int]:
    table = [dict(zip(("speaker", "label", "split"), row, strict=True)) | {"corpus": "c"} for row in rows]
    frame = make_table(table).assign(**columns)
    return np.flatnonzero(rest_rows(Manifest(frame, Path()))).tolist()


def test_which_rows_are_at_rest() -> None:
    rows = [
        ("a", "neutral", "train"),
        ("a", "neutral", "test"),  # its speaker is measured in training: this one may be scored
        ("b", "neutral", "dev"),
        ("b", "neutral", "test"),
        ("b", "sad", "test"),
    ]
    assert rest_of(*rows) == [0, 2, 3]
    assert rest_of(*rows, rest=["", "true", "False", "TRUE", ""]) == [1, 3]
    assert rest_of(*rows, rest=[""] * 5) == []
    with pytest.raises(BadInput, match="2 faults") as error:
        rest_of(*rows, rest=["yes", "true", "", "1", ""])
    assert [fault.where for fault in error.value.faults] == ["manifest, row 2", "manifest, row 5"]


def test_calibration_rows_are_not_scored_and_marked_ones_not_trained_on(tmp_path: Path) -> None:
    by_label, marked = corpus(tmp_path), corpus(tmp_path, rest=["", "true", "", "", "true"])
    assert calibration_ids(by_label, RESTING, scored=True) == {"a1", "a3", "b1"}
    assert calibration_ids(by_label, RESTING, scored=False) == set()
    for scored in (True, False):
        assert calibration_ids(marked, RESTING, scored=scored) == {"a2", "b2"}
        assert calibration_ids(marked, FrontEnd(), scored=scored) == set()


def test_the_key_depends_on_who_speaks_and_on_every_resting_recording(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "c")
    angry = manifest.select(labels=["angry"])

    def key(**changes: dict[int, Any]) -> str:
        table = manifest.table.copy()
        for column, values in changes.items():
            if column not in table:
                table[column] = np.nan if column == "gain" else ""
            for row, value in values.items():
                table.loc[row, column] = value
        part = table[table["label"] == "angry"].reset_index(drop=True)
        return store_key(angry.with_table(part), RESTING, manifest.with_table(table))

    keys = [
        key(),
        key(label={2: "sad"}),
        key(start={0: 0.0}, end={0: 0.2}),
        key(gain={0: 0.5}),
        key(speaker={2: "b"}),
        key(rest={2: "true", 3: "true"}),
        store_key(manifest, RESTING),
    ]
    assert key(split={4: "dev"}) == keys[0]  # decides nothing about the features
    soundfile.write(tmp_path / "c" / "a3.wav", np.ones(8000) * 0.1, 16000)
    keys.append(key())
    assert len(set(keys)) == len(keys)
    table = pd.concat([manifest.table, manifest.table[:1].assign(id="c1", speaker="c")], ignore_index=True)
    assert store_key(angry, RESTING, manifest.with_table(table)) == keys[-1]


def test_speakers_without_rest_are_all_named(tmp_path: Path) -> None:
    rows = [
        *ROWS,
        ("c1", "c", "angry", "train"),
        ("c2", "c", "sad", "train"),
        ("d1", "d", "sad", ""),
        ("u1", "unknown", "neutral", "train"),
    ]
    manifest = corpus(tmp_path / "c", rows)
    with pytest.raises(BadInput) as error:
        build_store(manifest, RESTING, tmp_path / "cache", progress=False)
    where = [fault.where for fault in error.value.faults]
    assert where == ["speaker 'c' of made", "speaker 'd' of made", "speaker 'unknown' of made"]
    assert "'neutral'" in error.value.faults[0].expected
    assert "column 'rest'" in error.value.faults[0].expected
    assert "does not tell who speaks" in error.value.faults[2].found
    kept = build_store(manifest, RESTING, tmp_path / "cache", skip_bad=True, progress=False)
    assert kept.ids == ["a1", "a2", "a3", "b1", "b2"]
    assert [entry["item"] for entry in kept.left_out] == ["c1", "c2", "d1", "u1"]
    with pytest.raises(BadInput, match="3 faults"):
        build_store(manifest, RESTING, tmp_path / "cache", progress=False)


def test_no_rest_at_all_is_refused_even_when_skipping(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "c", rest=[""] * 5)
    for skip_bad in (False, True):
        with pytest.raises(BadInput, match="2 faults"):
            build_store(manifest, RESTING, tmp_path / "cache", skip_bad=skip_bad, progress=False)


def test_a_faulty_resting_recording_is_told_with_the_other_faults(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "c", [*ROWS, ("b3", "b", "neutral", "test")])
    angry = manifest.select(labels=["angry"])
    for name in ("a3", "b2"):
        (tmp_path / "c" / f"{name}.wav").unlink()
    with pytest.raises(BadInput) as error:
        build_store(angry, RESTING, tmp_path / "cache", rest=manifest, progress=False)
    assert [fault.where.rpartition("/")[2] for fault in error.value.faults] == ["a3.wav", "b2.wav"]
    kept = build_store(angry, RESTING, tmp_path / "cache", rest=manifest, skip_bad=True, progress=False)
    assert kept.ids == ["a2"]
    assert [entry["item"] for entry in kept.left_out] == ["b2", "a3"]
    np.testing.assert_allclose(features(kept)["a2"], expected(manifest, "a2", "a1"), atol=0.01, rtol=0.003)
    with pytest.raises(BadInput, match="2 faults"):
        build_store(angry, RESTING, tmp_path / "cache", rest=manifest, progress=False)


def test_without_the_option_everything_is_as_it_was(tmp_path: Path) -> None:
    # the hashes of front end and protocol before there was the option
    assert hash_value(FrontEnd().as_dict()).startswith("9e9d80455e3e31d8")
    assert hash_value(PretrainConfig().protocol()).startswith("180c544122965a0d")
    manifest = corpus(tmp_path / "c")
    marked = corpus(tmp_path / "c", rest=["true", "", "", "", ""])
    assert store_key(manifest, FrontEnd()) == store_key(marked, FrontEnd(), manifest)
    wave = torch.randn(5000)
    state = RestingState(np.ones(128, np.float32), np.ones(128, np.float32))
    for normalise in ("utterance", "band", "none"):
        mel = MelFrontEnd(FrontEnd(normalise=normalise))
        assert torch.equal(mel(wave), mel(wave, state))
    store = build_store(manifest, FrontEnd(), tmp_path / "cache", progress=False)
    assert store.resting is None
    assert len([path for path in (tmp_path / "cache").iterdir() if path.name != ".locks"]) == 1


def test_audio_alone_is_refused() -> None:
    with pytest.raises(BadInput, match="without its speaker's resting state"):
        MelFrontEnd(RESTING)(torch.zeros(1000))


BUILDER = """
import sys
from pathlib import Path
from sertransfer.audio.store import build_store
from sertransfer.front_end import FrontEnd
from sertransfer.manifest import read_manifest

manifest = read_manifest(Path(sys.argv[1]))
store = build_store(
    manifest.select(labels=["angry"]), FrontEnd(normalise="resting", mels=16), Path(sys.argv[2]),
    rest=manifest, progress=False,
)
store.verify()
print(store.path, float(store.read(0).sum()))
"""


def test_two_processes_build_one_store(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "c")
    write_manifest(manifest, tmp_path / "manifest.csv")
    command = [sys.executable, "-c", BUILDER, str(tmp_path / "manifest.csv"), str(tmp_path / "cache")]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=120)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert answers[0] == answers[1] != ""
    stores = [path for path in (tmp_path / "cache").iterdir() if path.name != ".locks"]
    assert len(stores) == 2  # of the resting recordings, and of the others; nothing is left behind
    angry = manifest.select(labels=["angry"])
    alone = build_store(angry, RESTING, tmp_path / "other", rest=manifest, progress=False)
    there = tmp_path / "cache" / alone.path.name / "features.bin"
    assert there.read_bytes() == (alone.path / "features.bin").read_bytes()
