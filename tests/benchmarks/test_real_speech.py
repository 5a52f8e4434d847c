"""The arrangement of real recordings and the statistics, on a generated tree in EmoDB's layout."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from loading import load_script

from sertransfer.corpora.emotion import lssed
from sertransfer.corpora.interviews import daic_woz
from sertransfer.errors import BadInput, Faults

FOLDER = Path(__file__).parents[2] / "benchmarks" / "real_speech"


arrange, scores = load_script("real_speech/arrange.py"), load_script("real_speech/scores.py")
scores.RESAMPLES = 200


@pytest.fixture(scope="module")
def emodb(tmp_path_factory) -> Path:
    """Five angry, four happy, one neutral and one sad tone of each of four actors, each of its own pitch."""
    root = tmp_path_factory.mktemp("emodb")
    (root / "wav").mkdir()
    pitch = 200
    for speaker in ("03", "08", "09", "11"):
        for place, emotion in enumerate("WWWWWFFFFNTL"):
            pitch += 7
            tone = 0.1 * (place + 1) / 12 * np.sin(2 * np.pi * pitch * np.arange(8000) / 16000)
            soundfile.write(root / "wav" / f"{speaker}a{place:02d}{emotion}a.wav", tone, 16000)
    return root


@pytest.fixture(scope="module")
def interviews(emodb, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("arranged") / "interviews"
    arrange.main(
        [
            "interviews",
            "--emodb",
            str(emodb),
            "--participants",
            "03,08,09",
            "--interviewers",
            "11",
            str(folder),
        ]
    )
    return folder


def frequency(sound: np.ndarray) -> int:
    return round(int(np.argmax(np.abs(np.fft.rfft(sound, 16000)))))


def test_lsseds_layout_holds_every_recording_and_a_disjoint_split(emodb, tmp_path):
    root = tmp_path / "lssed"
    assert arrange.main(
        ["lssed", "--emodb", str(emodb), "--train", "03,08", "--test", "09", str(root)]
    ) == 0  # fmt: skip
    faults = Faults()
    table = lssed.read(root, lssed.Options(split="column"), faults).table
    assert not len(faults)
    assert len(table) == 33  # boredom is none of the four
    assert set(table.loc[table["split"] == "train", "speaker"]) == {"emodb03", "emodb08"}
    assert set(table.loc[table["split"] == "test", "speaker"]) == {"emodb09"}
    assert dict(table.groupby("speaker")["gender"].first())["emodb08"] == "female"
    # the name does not follow the order of speakers or emotions
    assert list(table.sort_values("id")["label"]) != list(table.sort_values(["speaker", "label"])["label"])


def test_interviews_hold_each_sentence_once_at_its_place(emodb, interviews):
    mapping = pd.read_csv(interviews / "sessions.csv", dtype=str)
    faults = Faults()
    table = daic_woz.read(interviews / "fold1", daic_woz.Options(), faults).table
    assert not len(faults)
    originals = {}
    for path in (emodb / "wav").glob("*.wav"):
        sound, _ = soundfile.read(path)
        originals[frequency(sound)] = (path.name[:2], path.name[5])
    actors = dict(zip(mapping["session"], mapping["real_speaker"], strict=True))
    heard = []
    for row in table.itertuples():
        sound, rate = soundfile.read(interviews / "fold1" / row.audio)
        part = sound[round(row.start * rate) : round(row.end * rate)]
        assert np.sqrt(np.mean(part**2)) == pytest.approx(10 ** (-26 / 20), rel=0.01)
        pitch = frequency(part)
        heard.append(pitch)
        expected = "W" if row.label == "depressed" else "F"
        assert originals[pitch] == (actors[row.session], expected)
    wanted = [p for p, (speaker, emotion) in originals.items() if emotion in "WF" and speaker != "11"]
    assert sorted(heard) == sorted(wanted)


def test_folds_never_share_an_actor(interviews):
    mapping = pd.read_csv(interviews / "sessions.csv", dtype=str)
    actors = dict(zip(mapping["session"], mapping["real_speaker"], strict=True))
    held_out = []
    for fold in ("1", "2", "3"):
        sides = {
            split: pd.read_csv(
                interviews / f"fold{fold}" / f"{split}_split_Depression_AVEC2017.csv", dtype=str
            )["Participant_ID"].map(actors)
            for split in ("train", "dev")
        }
        assert sides["dev"].nunique() == 1
        assert set(sides["train"]) == {"03", "08", "09"} - set(sides["dev"])
        assert set(mapping.loc[mapping["fold"] == fold, "real_speaker"]) == set(sides["dev"])
        held_out += [sides["dev"].iloc[0]]
    assert sorted(held_out) == ["03", "08", "09"]


def test_a_session_is_one_group_of_one_actor(emodb):
    sessions = arrange.draw_sessions(arrange.find_recordings(emodb), ["03", "08"], seed=0)
    for session in sessions:
        assert {(r.speaker, r.emotion) for r in session.recordings} == {(session.speaker, session.emotion)}
    assert not {session.number for session in sessions} & arrange.NOT_USED
    assert sessions == arrange.draw_sessions(arrange.find_recordings(emodb), ["03", "08"], seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lssed", "--train", "03", "--test", "03"], "both sides"),
        (["lssed", "--train", "03", "--test", "16"], "no recording of 16"),
        (["interviews", "--participants", "03,08", "--interviewers", "08"], "both sides"),
    ],
)
def test_wrong_speakers_are_refused(emodb, tmp_path, capsys, arguments, message):
    command, *rest = arguments
    assert arrange.main([command, "--emodb", str(emodb), *rest, str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_folder_or_file_name_is_refused(tmp_path):
    with pytest.raises(BadInput, match="--emodb"):
        arrange.find_recordings(tmp_path)
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "03a01Xa.wav").touch()
    with pytest.raises(BadInput, match="03a01Wa"):
        arrange.find_recordings(tmp_path)


def scored(good: bool, seed: int = 0) -> object:
    """Scores of five actors, ten sentences each, that know the label or do not."""
    generator = np.random.default_rng([seed, good])
    positive = np.tile([True, False], 25)
    table = pd.DataFrame(
        {
            "id": [f"s{place:02d}" for place in range(50)],
            "actor": np.repeat(["a", "b", "c", "d", "e"], 10),
            "label": np.where(positive, "depressed", "not depressed"),
            "score": np.clip(0.5 + 0.2 * good * (positive - 0.5) + generator.normal(0, 0.05, 50), 0, 1),
            "duration": 1.0,
        }
    )
    sessions = table.assign(session=table["id"], prediction=table["label"])
    return scores.Scored(table, sessions)


def test_the_difference_finds_the_better_model_and_none_between_equals():
    good, bad = [scored(True, s) for s in range(2)], [scored(False, s) for s in range(2)]
    for statistic in (scores.pooled_auroc, scores.mean_actor_auroc):
        better = scores.difference(good, bad, statistic)
        assert better["value"] > 0.25
        assert better["ci95"][0] > 0
        assert scores.difference(good, good, statistic) == {"value": 0.0, "ci95": (0.0, 0.0)}
    other = scores.Scored(good[0].sentences.iloc[1:], good[0].sessions)
    with pytest.raises(ValueError, match="different sentences"):
        scores.difference([other], [bad[0]], scores.pooled_auroc)


def test_the_summary_has_every_figure_of_the_protocol():
    summary = scores.summarise([scored(True)], [scored(False)])
    assert summary["counts"]["actors"] == 5
    assert summary["trained"]["sentence_auroc"]["mean"] > 0.9
    assert summary["majority"] == {
        "sentence_auroc": 0.5, "mean_actor_auroc": 0.5,
        "sentence_wa": 0.5, "sentence_ua": 0.5, "session_wa": 0.5, "session_ua": 0.5,
    }  # fmt: skip
    assert summary["duration_alone"]["sentence_auroc"] == 0.5
    assert set(summary["trained"]["actor_auroc"]) == set("abcde")


def test_gather_maps_sessions_to_actors_and_refuses_one_in_two_folds(tmp_path):
    folds = []
    for fold, session in ((1, "300"), (2, "301")):
        run = tmp_path / f"fold{fold}"
        run.mkdir()
        row = {"subject": f"daic{session}", "label": "depressed", "score": 0.7}
        pd.DataFrame([row | {"id": f"daic{session}-0002", "duration": 1.0}]).to_csv(run / "sentences.csv")
        pd.DataFrame([row | {"prediction": "depressed"}]).to_csv(run / "subjects.csv")
        folds.append((run, tmp_path / "sessions.csv"))
    mapping = pd.DataFrame({"session": ["300", "301"], "real_speaker": ["03", "08"]})
    mapping.to_csv(tmp_path / "sessions.csv", index=False)
    assert scores.gather(folds).sentences["actor"].tolist() == ["03", "08"]
    mapping.assign(real_speaker="03").to_csv(tmp_path / "sessions.csv", index=False)
    with pytest.raises(ValueError, match="two folds"):
        scores.gather(folds)
