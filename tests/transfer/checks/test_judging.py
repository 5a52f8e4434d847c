import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.transfer_fakes import NEGATIVE, POSITIVE, make_interviews

from sertransfer.manifest import Manifest, make_table
from sertransfer.transfer.checks import shortcuts
from sertransfer.transfer.checks.groups import assumed_share, audit_groups, calibration, judge
from sertransfer.transfer.checks.shortcuts import shortcut_rows
from sertransfer.transfer.data import SubjectSplit, take_parts
from sertransfer.transfer.settings import ThresholdConfig, TransferConfig

CONFIG = TransferConfig(resamples=20, folds=2)


def make_manifest(genders, ages=None):
    rows = [
        {
            "id": name,
            "audio": f"{name}.wav",
            "speaker": name,
            "split": "dev",
            "gender": gender,
            "age": (ages or {}).get(name, ""),
            "corpus": "x",
        }
        for name, gender in genders.items()
    ]
    return Manifest(make_table(rows), root=None)


def make_subjects(rows):
    table = pd.DataFrame(rows, columns=["subject", "label", "prediction"])
    return table.assign(cluster=table["subject"])


def spoken(counts, seconds=1.0):
    """Return *counts* sentences of each subject, of *seconds* (or a mapping of them)."""
    rows = [
        (name, seconds[name] if isinstance(seconds, dict) else seconds)
        for name, count in counts.items()
        for _ in range(count)
    ]
    return pd.DataFrame(rows, columns=["subject", "duration"])


def test_the_audit_by_hand():
    names = [f"{index:02d}" for index in range(13)]
    genders = {name: ("male" if index < 11 else "female") for index, name in enumerate(names)}
    genders["12"] = ""
    rows = [
        (name, POSITIVE if index % 2 else NEGATIVE, POSITIVE if index in (1, 2) else NEGATIVE)
        for index, name in enumerate(names)
    ]
    sentences = spoken(
        {name: index for index, name in enumerate(names)}, {n: 1.0 + i for i, n in enumerate(names)}
    )
    found = audit_groups(make_manifest(genders), make_subjects(rows), sentences, CONFIG)
    by_gender = {row["group"]: row for row in found if row["by"] == "gender"}
    assert list(by_gender) == ["female", "male", "unknown"]
    male = by_gender["male"]
    assert (male["n"], male["positive"], male["warning"]) == (11, 5, "")
    assert male["wa"] == pytest.approx(6 / 11)
    assert male["ua"] == pytest.approx((5 / 6 + 1 / 5) / 2)
    assert male["wa_ci95"][0] < 6 / 11 < male["wa_ci95"][1]
    female = by_gender["female"]
    assert (female["n"], female["ua"], female["ua_ci95"]) == (1, None, None)
    assert "under 10 subjects" in female["warning"]
    assert "one class only" in female["warning"]
    counts = [(row["group"], row["n"]) for row in found if row["by"] == "number of sentences"]
    assert counts == [("0 to 4", 5), ("5 to 8", 4), ("9 to 12", 4)]
    lengths = [(row["group"], row["n"]) for row in found if row["by"] == "mean length of sentences"]
    assert [count for _, count in lengths] == [4, 4, 4, 1]
    assert lengths[0][0] == "2.00 to 5.00 s"
    assert lengths[-1] == ("none", 1)  # the subject without a sentence
    assert not [row for row in found if row["by"] == "age"]


def test_equal_subjects_are_one_group_and_ages_are_banded():
    rows = [("a", POSITIVE, POSITIVE), ("b", NEGATIVE, NEGATIVE), ("c", NEGATIVE, POSITIVE)]
    manifest = make_manifest(dict.fromkeys("abc", "male"), {"a": "20", "b": "70", "c": ""})
    found = audit_groups(manifest, make_subjects(rows), spoken(dict.fromkeys("abc", 2)), CONFIG)
    assert [(row["by"], row["group"], row["n"]) for row in found] == [
        ("gender", "male", 3),
        ("age", "old", 1),
        ("age", "young", 1),
        ("age", "unknown", 1),
        ("number of sentences", "2 to 2", 3),
        ("mean length of sentences", "1.00 to 1.00 s", 3),
    ]


def test_clustered_subjects_have_bootstrap_intervals():
    rows = [("a", POSITIVE, POSITIVE), ("b", NEGATIVE, POSITIVE), ("c", NEGATIVE, NEGATIVE)]
    subjects = make_subjects(rows).assign(cluster="one")
    found = audit_groups(make_manifest(dict.fromkeys("abc", "male")), subjects, spoken({"a": 1}), CONFIG)
    assert found[0]["wa_ci95"] is None  # one cluster
    alone = audit_groups(make_manifest({}), make_subjects(rows), spoken({}), CONFIG)
    assert [row["group"] for row in alone] == ["unknown", "0 to 0", "none"]


def test_calibration_of_a_split():
    items = pd.DataFrame({"label": [POSITIVE, NEGATIVE, NEGATIVE, NEGATIVE], "score": [0.9, 0.3, 0.3, 0.1]})
    found = calibration(items, POSITIVE, 5, 0.5, 0.5)
    assert found["brier"] == found["uncorrected"]["brier"] == pytest.approx((0.01 + 0.09 + 0.09 + 0.01) / 4)
    assert found["brier_of_share"] == pytest.approx(0.25 * 0.75)
    assert found["ece"] == found["uncorrected"]["ece"] == pytest.approx((0.1 + 2 * 0.3 + 0.1) / 4)
    assert [row["n"] for row in found["bins"]] == [1, 2, 1]


def test_calibration_is_of_scores_corrected_to_the_training_prevalence():
    items = pd.DataFrame({"label": [POSITIVE] * 2 + [NEGATIVE] * 6, "score": [0.5] * 8})
    found = calibration(items, POSITIVE, 5, 0.5, 0.25)
    assert (found["assumed"], found["prevalence"]) == (0.5, 0.25)
    assert found["ece"] == pytest.approx(0, abs=1e-12)
    assert found["brier"] == pytest.approx(found["brier_of_share"])
    assert found["uncorrected"]["ece"] == pytest.approx(0.25)
    undecided = items.assign(undecided=[True] + [False] * 7)
    undecided.loc[0, "score"] = 0.25  # the share of positive training subjects, which needs no correction
    assert calibration(undecided, POSITIVE, 5, 0.5, 0.25)["ece"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("classes", "subjects", "mode", "expected"),
    [
        (True, True, "probe", 0.5),
        (False, True, "probe", 1 / 3),
        (False, False, "probe", 4 / 6),
        (False, False, "finetune", 0.5),
    ],
)
def test_what_share_the_scores_were_trained_with(classes, subjects, mode, expected):
    rows = [("a", POSITIVE)] * 4 + [("b", NEGATIVE), ("c", NEGATIVE)]
    sentences = pd.DataFrame(rows, columns=["subject", "label"])
    part = SubjectSplit(sentences, sentences.drop_duplicates())
    probe = replace(CONFIG.probe, balance_classes=classes, balance_subjects=subjects)
    assert assumed_share(replace(CONFIG, mode=mode, probe=probe), part) == pytest.approx(expected)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    made = make_interviews(tmp_path_factory.mktemp("corpus"), {"train": (5, 5), "dev": (4, 4)}, sentences=3)
    table = made.table
    table["gender"] = np.where(table["label"] == POSITIVE, "female", "male")
    return made


def parts_of(manifest, config=CONFIG):
    durations = manifest.table.set_index("id").eval("end - start")
    return tuple(
        SubjectSplit(part.sentences.assign(duration=part.sentences["id"].map(durations)), part.subjects)
        for part in take_parts(manifest, config)
    )


def test_shortcuts_find_what_the_corpus_gives_away(manifest, tmp_path, caplog):
    train, reported = parts_of(manifest)
    with caplog.at_level(logging.INFO):
        found = shortcut_rows(CONFIG, manifest, train, reported, cache=tmp_path, progress=False)
    rows = {row["name"]: row for row in found["shortcuts"]}
    assert list(rows) == ["number and duration of sentences", "loudness", "gender"]
    assert rows["gender"]["ua"] == rows["gender"]["auroc"] == 1.0
    assert rows["loudness"]["auroc"] > 0.9
    assert rows["number and duration of sentences"]["auroc"] < 1.0
    assert all(row["n"] == 8 for row in rows.values())
    assert found["shortcuts_left_out"] == []
    assert "inner fold" not in caplog.text
    levels = pd.read_csv(tmp_path / "loudness.csv")
    assert len(levels) == len(manifest)
    assert levels["db"].between(-60, 0).all()


def test_loudness_is_measured_once_and_again_where_it_is_not_whole(manifest, tmp_path, monkeypatch):
    train, reported = parts_of(manifest)
    first = shortcut_rows(CONFIG, manifest, train, reported, cache=tmp_path, progress=False)
    read = []
    monkeypatch.setattr(
        shortcuts, "read_segment", lambda *args, **kw: read.append(args) or np.ones(9, np.float32)
    )
    assert shortcut_rows(CONFIG, manifest, train, reported, cache=tmp_path, progress=False) == first
    assert read == []
    (tmp_path / "loudness.csv").write_text("id\nbroken\n")
    shortcut_rows(CONFIG, manifest, train, reported, cache=tmp_path, progress=False)
    assert len(read) == len(manifest)
    levels = pd.read_csv(tmp_path / "loudness.csv")["db"]
    assert levels.tolist() == pytest.approx([0.0] * len(manifest), abs=1e-9)


def test_one_gender_is_left_out_with_the_reason(manifest, tmp_path):
    same = manifest.with_table(manifest.table.assign(gender=""))
    found = shortcut_rows(CONFIG, same, *parts_of(same), cache=tmp_path, progress=False)
    assert [row["name"] for row in found["shortcuts"]] == ["number and duration of sentences", "loudness"]
    assert [entry["name"] for entry in found["shortcuts_left_out"]] == ["gender"]


def test_judging_puts_the_blocks_together(manifest, tmp_path):
    train, reported = parts_of(manifest)
    subjects = reported.subjects.assign(score=0.6, prediction=POSITIVE)
    sentences = reported.sentences.assign(score=0.6)
    options = {"sentences": sentences, "subjects": subjects, "cache": tmp_path, "progress": False}
    config = replace(CONFIG, threshold=ThresholdConfig(rule="out_of_fold"))
    blocks = judge(config, manifest, train, reported, **options)
    assert set(blocks) == {"calibration", "audit", "shortcuts", "shortcuts_left_out"}
    assert blocks["calibration"]["subject"]["ece"] == pytest.approx(0.1)
    assert blocks["calibration"]["subject"]["prevalence"] == 0.5  # 5 of the 10 training subjects
    assert "training part" in blocks["calibration"]["corrected_to"]
    without = judge(replace(CONFIG, shortcuts=False), manifest, train, reported, **options)
    assert set(without) == {"calibration", "audit"}
