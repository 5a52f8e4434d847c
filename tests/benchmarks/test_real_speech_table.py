"""The rows and the table of the second protocol, on generated scores, tones and small features."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from loading import load_script

from sertransfer.config import load_config
from sertransfer.errors import BadInput
from sertransfer.evaluation import metrics
from sertransfer.pretraining.settings import PretrainConfig
from sertransfer.transfer.settings import TransferConfig

FOLDER = Path(__file__).parents[2] / "benchmarks" / "real_speech"


run, choose = load_script("real_speech/run.py"), load_script("real_speech/choose.py")
rows, table, copies, arrange = run.rows, run.table, run.rows.copies, run.arrange
Scored = run.scores.Scored
table.RESAMPLES = 200


def scored(strength: float, seed: int = 0) -> object:
    """Scores of five actors, five sessions each, two sentences a session, that know the label so well."""
    generator = np.random.default_rng([seed, round(10 * strength)])
    positive = np.tile(np.repeat([True, False, True, False, True], 2), 5)
    noise = generator.normal(0, 0.05, 50)
    sentences = pd.DataFrame(
        {
            "id": [f"s{place:02d}" for place in range(50)],
            "actor": np.repeat(list("abcde"), 10),
            "session": np.repeat([f"t{place:02d}" for place in range(25)], 2),
            "split": "dev",
            "label": np.where(positive, "depressed", "not depressed"),
            "score": np.clip(0.5 + strength * (positive - 0.5) + noise, 0, 1),
            "duration": 1.0,
        }
    )
    return table.combine([Scored(sentences, sentences.drop_duplicates("session").reset_index(drop=True))])


def test_the_summary_has_every_row_and_tells_the_better_one():
    good = [scored(0.8, seed) for seed in range(3)]
    poor = [scored(0.05, seed) for seed in range(3)]
    found = table.summarise(
        {"duration": [scored(0)], "random": poor, "asr": [scored(0.05, 9)],
         "ser_probe": poor, "ser_classes": good, "ser_finetune": poor, "peer": [scored(0.1, 7)]}
    )  # fmt: skip
    names = ["majority", "duration", "random", "asr", "ser_probe", "ser_classes", "ser_finetune", "peer"]
    ensembles = ["ser_probe_ensemble", "ser_classes_ensemble", "ser_finetune_ensemble", "random_ensemble"]
    assert list(found["rows"]) == [*names, *ensembles]
    assert found["verdicts"]["ser_classes_ensemble"] == "above"
    assert found["verdicts"]["ser_finetune_ensemble"] != "above"
    majority = found["rows"]["majority"]
    assert majority["sentence_auroc"]["value"] == majority["sentence_ua"]["value"] == 0.5
    assert majority["session_wa"]["value"] == pytest.approx(0.6)
    assert found["rows"]["ser_classes"]["session_ua"] == {
        "value": 1.0, "ci95": (1.0, 1.0), "runs": [1.0, 1.0, 1.0]
    }  # fmt: skip
    assert "ser_probe_ensemble - random_ensemble" in found["differences"]
    assert "ser_probe - random" in found["differences"]
    text = table.markdown(json.loads(json.dumps(found)))
    assert "| ser classes ensemble - peer |" in text
    assert "ser_classes_ensemble against the peer: above" in text


def test_drawing_whole_actors_gives_what_counting_their_sentences_again_does():
    one = scored(0.1)
    names = list("abcde")
    for drawn in (names, ["a", "a", "c", "d", "d"]):
        tables = [
            pd.concat([part[part["actor"] == actor] for actor in drawn], ignore_index=True)
            for part in (one.sentences, one.sessions)
        ]
        counts = np.array([[drawn.count(actor) for actor in names]], dtype=float)
        positive = tables[0]["label"] == "depressed"
        wanted = {"sentence_auroc": metrics.auroc(positive, tables[0]["score"])}
        decided = np.where(tables[0]["score"] >= 0.5, "depressed", "not depressed")
        for level, part, predicted in (
            ("sentence", tables[0], decided),
            ("session", tables[1], tables[1]["prediction"]),
        ):
            confusion = metrics.confusion_matrix(part["label"].tolist(), list(predicted), run.scores.CLASSES)
            wanted[f"{level}_wa"] = metrics.weighted_accuracy(confusion)
            wanted[f"{level}_ua"] = metrics.unweighted_accuracy(confusion)
        found = run.scores.actor_aurocs(one.sentences)
        wanted["mean_actor_auroc"] = np.mean([found[actor] for actor in drawn])
        for name, measure in table.measures().items():
            assert measure(one, names)(counts)[0] == pytest.approx(wanted[name]), name


def test_equal_rows_differ_by_nothing_and_other_sentences_are_refused():
    one = scored(0.1)
    for measure in table.measures().values():
        assert table.paired([one, one], [one], measure) == {
            "value": 0.0, "ci95": (0.0, 0.0), "ci975": (0.0, 0.0)
        }  # fmt: skip
    other = Scored(one.sentences.iloc[2:].reset_index(drop=True), one.sessions)
    with pytest.raises(ValueError, match="different sentences"):
        table.paired([one], [other], table.measures()["sentence_auroc"])
    with pytest.raises(ValueError, match="different sentences"):
        table.combine([one, other])


def test_an_ensemble_averages_scores_and_votes_anew():
    first, second = scored(0.8), scored(0.8)
    first.sentences.loc[0, "score"], second.sentences.loc[0, "score"] = 0.0, 0.9
    first.sentences.loc[1, "score"], second.sentences.loc[1, "score"] = 0.2, 0.1
    both = table.combine([first, second])
    assert both.sentences["score"].iloc[:2].tolist() == pytest.approx([0.45, 0.15])
    # both sentences of the session fall below 0.5
    assert both.sessions["prediction"].iloc[0] == "not depressed"
    first.sentences.loc[0, "score"] = 0.2
    # one of two: a tie, which is positive
    assert table.combine([first, second]).sessions["prediction"].iloc[0] == "depressed"


@pytest.mark.parametrize(
    ("value", "low", "expected"),
    [(0.1, 0.01, "above"), (0.1, -0.01, "above, not beyond chance"), (0.0, -0.1, "not above")],
)
def test_a_verdict_looks_at_the_wider_interval(value, low, expected):
    assert table.verdict({"value": value, "ci95": (0.05, 0.3), "ci975": (low, 0.3)}) == expected


@pytest.fixture(scope="module")
def emodb(tmp_path_factory) -> Path:
    """Three angry, three happy and one neutral tone of each actor; angry ones are half as long again."""
    root = tmp_path_factory.mktemp("emodb")
    (root / "wav").mkdir()
    for number, speaker in enumerate(sorted({*arrange.HALVES[0], *arrange.HALVES[1]})):
        for place, emotion in enumerate("WWWFFFN"):
            samples = 4800 if emotion == "W" else 3200
            tone = 0.1 * np.sin(2 * np.pi * (200 + 7 * number + place) * np.arange(samples) / 16000)
            soundfile.write(root / "wav" / f"{speaker}a{place:02d}{emotion}a.wav", tone, 16000)
    return root


@pytest.fixture(scope="module")
def place(emodb, tmp_path_factory) -> object:
    work = tmp_path_factory.mktemp("work")
    arrange.arrange_all(arrange.find_recordings(emodb), work / "data", seed=0)
    return rows.Place(work, work / "attempt2", 1)


def test_copies_are_of_training_recordings_alone(place, emodb):
    table = place.training((0.8, 1.25), emodb).table
    copied = table[table["id"].str.contains("_speed")]
    assert set(copied["split"]) == {"train"}
    assert len(copied) == 2 * ((table["split"] == "train").sum() - len(copied))
    lengths = dict(zip(table["id"], table["duration"].astype(float), strict=True))
    labels = dict(zip(table["id"], zip(table["label"], table["speaker"], strict=True), strict=True))
    for name in copied["id"]:
        original, _, speed = name.partition("_speed")
        assert lengths[name] == pytest.approx(lengths[original] / (int(speed) / 100), abs=1e-3)
        assert labels[name] == labels[original]
    assert len(place.training((), emodb).table) == len(table) - len(copied)


def test_copies_refuse_a_wrong_folder_and_a_wrong_speed(tmp_path, capsys):
    assert copies.main([str(tmp_path), "--speeds", "0.9"]) == 2
    assert "arrange.py lssed" in capsys.readouterr().err
    with pytest.raises(BadInput, match="not 1"):
        copies.add_copies(tmp_path, [1.0])


def test_a_row_of_features_scores_every_sentence_once(place, monkeypatch):
    method = run.METHODS[2][1]
    rows.score_features(place, "duration", rows.durations, method.probe)
    found = run.scores.gather(
        [
            (place.folder("duration") / f"fold{k}", place.data / "interviews" / "sessions.csv")
            for k in rows.FOLDS
        ]
    )
    assert sorted(found.sentences["actor"].unique()) == sorted(arrange.HALVES[1])
    assert len(found.sentences) == 30
    # every angry tone is longer
    assert table.estimate([found], table.measures()["sentence_auroc"])["value"] == 1.0
    assert len(list(rows.chosen(place, "duration"))) == 5
    monkeypatch.setattr(rows, "probe_subjects", None)  # what is there is not made again
    rows.score_features(place, "duration", rows.durations, method.probe)


def test_the_peers_features_stand_in_the_order_of_the_sentences(place, monkeypatch):
    def functionals(segments, feature_set, cache):
        assert feature_set == "eGeMAPSv02"
        assert all(segment.path.is_file() for segment in segments)
        return pd.DataFrame({"length": [segment.end - segment.start for segment in segments]})

    monkeypatch.setattr(rows, "functionals", functionals)
    manifest = place.interviews(2)
    shuffled = manifest.with_table(manifest.table.sample(frac=1, random_state=0).reset_index(drop=True))
    assert rows.peer_features(place)(shuffled)[:, 0] == pytest.approx(rows.durations(shuffled)[:, 0])


def test_random_weights_are_left_as_they_are_in_every_setting():
    for method in (run.METHODS[1][1], run.METHODS[2][1]):
        given = {key: str(value) for key, value in method.random().items()}
        config = load_config(PretrainConfig, method.config, given)
        assert config.optimiser.lr == 1e-12
        assert config.optimiser.weight_decay == config.regularisation.ema == config.regularisation.mixup == 0
        load_config(
            TransferConfig, rows.CONFIGS / "ser_probe.yaml", {k: str(v) for k, v in method.probe.items()}
        )


@pytest.mark.parametrize("protocol", [1, 2])
def test_the_run_does_every_unit_of_its_protocol(protocol, emodb, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(rows, "train", lambda *args: done.append(args[2:4]) or Path("model"))
    monkeypatch.setattr(rows, "transfer_folds", lambda place, row, *_: done.append((place.rotation, row)))
    monkeypatch.setattr(rows, "score_features", lambda place, row, *_: done.append((place.rotation, row)))
    monkeypatch.setattr(rows, "embeddings", lambda *_: None)
    monkeypatch.setattr(run, "_stage1", lambda *_: [])
    summary = {"rows": {}, "differences": {}, "verdicts": {}}
    monkeypatch.setattr(run, "summarise", lambda *_: summary)
    monkeypatch.setattr(run, "gather", lambda *_: None)
    monkeypatch.setattr(run.scores, "summarise", lambda *_: {})
    monkeypatch.setattr(run, "report", lambda _: "")
    found = run.run(emodb, tmp_path, protocol=protocol, asr=Path("asr"), seeds=1)
    assert found.is_file()
    probes = ["ser_probe0", "random0"]
    others = ["ser_classes0", "ser_finetune0", "duration", "peer", "asr"] if protocol == 2 else []
    wanted = [(rotation, row) for rotation in (1, 2) for row in (*probes, *others)]
    assert sorted(item for item in done if isinstance(item[1], str)) == sorted(wanted)
    assert (
        sorted(item for item in done if isinstance(item[1], int))
        == [("random", 0)] * 2 + [("trained", 0)] * 2
    )


def test_the_second_protocol_needs_a_recogniser(emodb, tmp_path, capsys):
    assert run.main(["--emodb", str(emodb), "--protocol", "2", "--work", str(tmp_path)]) == 2
    assert "asr_digits.py digits" in capsys.readouterr().err


def test_choosing_touches_training_actors_alone_and_holds_two_out():
    for held, half in zip(choose.HELD, arrange.HALVES, strict=True):
        assert all(set(pair) < set(half) for pair in held)
    frame = pd.DataFrame(
        {
            "id": ["a", "a_speed090", "b", "b_speed090", "c"],
            "speaker": ["emodb03", "emodb03", "emodb10", "emodb10", "emodb09"],
            "split": ["train", "train", "train", "train", "test"],
        }
    )
    manifest = SimpleNamespace(table=frame, with_table=lambda table: table)
    found = choose.held_out(manifest, ("03", "08"))
    assert dict(zip(found["id"], found["split"], strict=True)) == {
        "a": "test", "b": "train", "b_speed090": "train"
    }  # fmt: skip


def test_held_out_actors_are_scored_by_each_other():
    generator = np.random.default_rng(0)
    positive, actors = np.tile([True, False], 20), np.repeat(["x", "y"], 20)
    vectors = generator.normal(size=(40, 3)).astype(np.float32)
    vectors[:, 0] += np.where(positive, 2, -2)
    values = choose.decide_others(vectors, positive, actors)
    assert choose.actor_mean(positive, values, actors) > 0.95
    # a rule that turns round from actor to actor is of no use to the other
    vectors[actors == "y", 0] *= -1
    assert choose.actor_mean(positive, choose.decide_others(vectors, positive, actors), actors) < 0.2
