"""Leave one speaker out on EmoDB: who is heard, what is tuned, and the figures; on generated data."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import soundfile
from loading import load_script

from sertransfer.config import load_config
from sertransfer.errors import BadInput
from sertransfer.pretraining.settings import PretrainConfig, check_settings

FOLDER = Path(__file__).parents[2] / "benchmarks"


run = load_script("emodb/run.py")
splits, scores, svm = run.splits, run.scores, sys.modules["tuned_svm"]
scores.RESAMPLES = 200
CLASSES = ("angry", "neutral", "happy", "sad")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Two tones of each of the four classes by each of EmoDB's ten speakers."""
    root = tmp_path_factory.mktemp("emodb")
    (root / "wav").mkdir()
    generator = np.random.default_rng(0)
    for speaker in [name for pair in splits.PAIRS for name in pair]:
        for place, emotion in enumerate("WNFTWNFT"):
            pitch = 200 + 300 * "WNFT".index(emotion) + int(generator.integers(40))
            tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(12000) / 16000)
            noisy = tone + 0.01 * generator.standard_normal(len(tone))
            soundfile.write(root / "wav" / f"{speaker}a{place:02d}{emotion}a.wav", noisy, 16000)
    return root


@pytest.fixture(scope="module")
def setting(corpus, tmp_path_factory):
    config = load_config(PretrainConfig, FOLDER / "emodb" / "network.yaml")
    small = replace(config, epochs=1, schedule=replace(config.schedule, warmup=0))
    small = replace(small, model=replace(small.model, width=0.0625))
    return run.Setting(splits.read_corpus(corpus), tmp_path_factory.mktemp("work"), small, 1)


@pytest.fixture(scope="module")
def network(setting) -> Path:
    return run.train(setting, ("03", "08"), 0)


def rows_of(setting, *speakers: str) -> pd.DataFrame:
    table = setting.manifest.table
    return table[table["speaker"].isin(speakers)]


def test_the_pairs_are_all_ten_speakers_and_the_inner_split_is_inside_one_folds_training_side():
    speakers = [speaker for pair in splits.PAIRS for speaker in pair]
    assert sorted(speakers) == sorted(set(speakers))
    assert len(speakers) == 10
    assert splits.INNER_TEST not in splits.INNER_HELD_OUT
    assert set(splits.INNER_HELD_OUT) < set(speakers)
    assert splits.pair_of("10") == ("09", "10")


def test_the_settings_are_valid():
    check_settings(load_config(PretrainConfig, FOLDER / "emodb" / "network.yaml"))


def test_left_out_speakers_are_the_test_split_and_dropped_ones_nowhere(setting):
    made = splits.leave_out(setting.manifest, ("03", "08"), drop=("09",)).table
    by_split = made.groupby("split")["speaker"].agg(set).to_dict()
    assert by_split["test"] == {"03", "08"}
    assert by_split["train"] == {"10", "11", "12", "13", "14", "15", "16"}
    for speakers in (("03", "99"), sorted(set(setting.manifest.table["speaker"]))):
        with pytest.raises(BadInput, match="leave out"):
            splits.leave_out(setting.manifest, speakers)


def test_a_network_hears_nobody_it_is_scored_on(setting, network):
    heard = run._heard(network)
    assert heard == {"09", "10", "11", "12", "13", "14", "15", "16"}
    answers = run.network_answers([network], rows_of(setting, "03"))
    assert len(answers) == 8
    assert set(answers["predicted"]) <= set(CLASSES)
    with pytest.raises(BadInput, match="speaker 09"):
        run.network_answers([network], rows_of(setting, "09"))
    with pytest.raises(BadInput, match="speaker 09"):
        run.probe_answers(setting, [network], rows_of(setting, "03"), rows_of(setting, "09"))


def test_the_inner_split_leaves_the_test_speaker_of_its_fold_out_of_everything(setting, monkeypatch):
    seen = {}

    def score_fold(inside, peers, held, folders):
        seen.update(rows=set(inside.manifest.table["speaker"]), held=held, folder=folders[0].parent.name)
        return {run.PEER: inside.manifest.table.assign(predicted="sad")}, {}

    def trained(config, manifest, folder, **_):
        seen["split"] = manifest.table.groupby("split")["speaker"].agg(set).to_dict()

    monkeypatch.setattr(run, "score_fold", score_fold)
    monkeypatch.setattr(run, "pretrain", trained)
    monkeypatch.setattr(run, "peer_features", lambda *_: None)
    run.run_inner(setting)
    assert "03" not in seen["rows"] | seen["split"]["train"] | seen["split"]["test"]
    assert seen["split"]["test"] == set(seen["held"]) == set(splits.INNER_HELD_OUT)
    assert seen["folder"] == "without_03_08_11_14"


def test_several_networks_answer_by_their_mean_probability(setting, tmp_path, monkeypatch):
    asked = rows_of(setting, "03").iloc[:2]
    for name, first in (("a", (0.6, 0.9)), ("b", (0.3, 0.3))):
        (tmp_path / name).mkdir()
        table = asked[["id", "speaker"]].assign(score_angry=first, score_sad=[1 - value for value in first])
        table.iloc[::-1].to_csv(tmp_path / name / "utterances.csv", index=False)
    monkeypatch.setattr(run, "_heard", lambda folder: {"16"})
    answers = run.network_answers([tmp_path / "a", tmp_path / "b"], asked)
    assert answers["predicted"].tolist() == ["sad", "angry"]


def test_probe_and_peer_refuse_to_learn_from_the_speaker_they_score(setting, network):
    asked, learnt = rows_of(setting, "03"), rows_of(setting, "08", "09", "10")
    answers, fold = run.probe_answers(setting, [network], learnt, asked)
    assert answers["id"].tolist() == asked["id"].tolist()
    assert fold.c in svm.GRID
    both = rows_of(setting, "03", "08")
    table = pd.DataFrame(np.zeros((len(setting.manifest), 2)), index=setting.manifest.table["id"])
    for ask in (
        lambda: run.probe_answers(setting, [network], both, asked),
        lambda: run.peer_answers(table, both, asked),
    ):
        with pytest.raises(BadInput, match="who is to be scored"):
            ask()


def test_embeddings_are_of_each_recording_and_speed_and_read_again(setting, network, monkeypatch):
    places, values = run.embeddings(setting, network)
    assert values.shape[:2] == (3, 80)
    assert not np.allclose(values[0], values[1])
    monkeypatch.setattr(run, "embed", None)  # what is kept is not computed again
    again = run.embeddings(setting, network)
    assert again[0] == places
    np.testing.assert_array_equal(again[1], values)


def points(speakers: int = 4, spread: float = 0.4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Six-dimensional points of four classes; each speaker is shifted a little."""
    generator = np.random.default_rng(3)
    labels = np.tile(np.array(CLASSES, dtype=object), 4 * speakers)
    owners = np.repeat(np.array([f"s{number}" for number in range(speakers)], dtype=object), 16)
    centres = {name: 2 * np.eye(6)[number] for number, name in enumerate(CLASSES)}
    features = np.stack([centres[name] for name in labels]) + spread * generator.standard_normal(
        (len(labels), 6)
    )
    return features, labels, owners


def test_c_is_tuned_on_speakers_left_out_and_never_sees_the_test_part():
    features, labels, speakers = points()
    test = features[:16]
    fold = svm.tuned_svm(features[16:], labels[16:], speakers[16:], test)
    assert (fold.predicted == labels[:16]).all()
    assert fold.c == svm.GRID[int(np.argmax(fold.inner_ua))]
    moved = svm.tuned_svm(features[16:], labels[16:], speakers[16:], test * 100 + 7)
    assert (moved.c, moved.inner_ua) == (fold.c, fold.inner_ua)


def test_inner_scores_are_of_machines_without_the_speaker():
    features, labels, speakers = points()
    mirrored = features.copy()
    mirrored[speakers == "s0"] = features[speakers == "s0"][:, [1, 0, 3, 2, 4, 5]]  # s0 swaps the classes
    fold = svm.tuned_svm(mirrored, labels, speakers, features[:1])
    assert max(fold.inner_ua) == pytest.approx(0.75, abs=0.05)  # a machine that knew s0 would do better


def test_copies_are_learnt_from():
    features, labels, speakers = (part[points()[1] != "angry"] for part in points(spread=0.1))
    changed = features[:, [1, 0, 2, 3, 4, 5]]  # where the angry points were that are left out
    plain = svm.tuned_svm(features, labels, speakers, changed)
    assert (plain.predicted[labels == "neutral"] != "neutral").any()
    both = svm.tuned_svm(features, labels, speakers, changed, copies=[changed])
    assert (both.predicted == labels).all()


def answers(share: float, seed: int = 0) -> pd.DataFrame:
    """Forty recordings of each of five speakers, that share of them right."""
    generator = np.random.default_rng(seed)
    labels = np.tile(CLASSES, 50)
    wrong = np.roll(np.array(CLASSES), 1)[np.searchsorted(CLASSES, labels, sorter=np.argsort(CLASSES)) % 4]
    wrong = np.where(wrong == labels, "sad", wrong)
    wrong = np.where(wrong == labels, "angry", wrong)
    return pd.DataFrame(
        {
            "id": [f"r{place:03d}" for place in range(200)],
            "speaker": np.repeat(list("abcde"), 40),
            "label": labels,
            "predicted": np.where(generator.random(200) < share, labels, wrong),
        }
    )


def test_the_difference_is_paired_and_finds_the_better_system():
    good, bad = answers(0.9), answers(0.5)
    found = scores.summarise({"peer": bad, "ours": good.sample(frac=1, random_state=0)}, CLASSES, peer="peer")
    ahead = found["against_peer"]["ours"]
    assert ahead["wa"] == pytest.approx(
        found["systems"]["ours"]["wa"] - found["systems"]["peer"]["wa"], abs=1e-12
    )
    assert ahead["ua"] == pytest.approx(
        found["systems"]["ours"]["ua"] - found["systems"]["peer"]["ua"], abs=1e-12
    )
    assert ahead["wa_ci95"][0] > 0.2
    assert found["majority"] == {"wa": 0.25, "ua": 0.25}
    assert set(found["by_speaker"]) == set("abcde")
    assert found["by_speaker"]["a"]["n"] == 40
    same = scores.summarise({"peer": bad, "ours": bad}, CLASSES, peer="peer")["against_peer"]["ours"]
    assert (same["wa"], same["wa_ci95"], same["ua_ci95"]) == (0.0, (0.0, 0.0), (0.0, 0.0))
    text = scores.report(found)
    assert "| majority class | 0.250 |" in text
    assert "| a | 40 |" in text


def test_systems_must_have_scored_the_same_recordings():
    for other in (answers(0.5).iloc[1:], pd.concat([answers(0.5), answers(0.5).iloc[:1]])):
        with pytest.raises(ValueError, match="different recordings"):
            scores.summarise({"peer": answers(0.9), "ours": other}, CLASSES, peer="peer")


def test_the_peers_features_are_kept_in_a_file_and_ask_for_opensmile_only_when_computed(
    corpus, tmp_path, monkeypatch
):
    features = load_script("opensmile_features.py")
    paths = sorted((corpus / "wav").glob("*.wav"))[:2]
    recordings = [*paths, features.Segment(paths[0], 0.1, 0.5)]
    monkeypatch.setattr(features.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="opensmile"):
        features.functionals(recordings, cache=tmp_path)
    made = pd.DataFrame(
        np.arange(6, dtype=np.float32).reshape(3, 2),
        index=[segment.name for segment in map(_segment(features), recordings)],
        columns=["f0", "f1"],
    )
    monkeypatch.setattr(features, "_compute", lambda segments, feature_set: made)
    first = features.functionals(recordings, cache=tmp_path)
    monkeypatch.setattr(features, "_compute", None)
    pd.testing.assert_frame_equal(features.functionals(recordings, cache=tmp_path), first)
    assert first.index.tolist()[2].endswith("[0.1:0.5]")
    with pytest.raises(TypeError):  # another end is another key, and would have to be computed
        features.functionals([*paths, features.Segment(paths[0], 0.1, 0.6)], cache=tmp_path)
    with pytest.raises(BadInput, match="feature set"):
        features.functionals(recordings, "eGeMAPS", cache=tmp_path)


def _segment(features: ModuleType):
    return lambda each: each if isinstance(each, features.Segment) else features.Segment(each)
