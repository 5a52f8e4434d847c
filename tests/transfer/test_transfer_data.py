from dataclasses import replace

import pytest
from support.transfer_fakes import NEGATIVE, POSITIVE

from sertransfer.errors import BadInput
from sertransfer.manifest import Manifest, make_table
from sertransfer.transfer.data import take_parts
from sertransfer.transfer.settings import TransferConfig

CONFIG = TransferConfig()


def make_manifest(tmp_path, rows):
    """Rows are (subject, label, split), optionally person."""
    table = [
        {
            "id": str(index),
            "audio": "a.wav",
            "speaker": row[0],
            "label": row[1],
            "split": row[2],
            "corpus": "c",
            **({"person": row[3]} if len(row) > 3 else {}),
        }
        for index, row in enumerate(rows)
    ]
    return Manifest(make_table(table), tmp_path)


GOOD = [
    ("1", NEGATIVE, "train"),
    ("2", POSITIVE, "train"),
    ("1", NEGATIVE, "train"),
    ("3", POSITIVE, "dev"),
    ("4", "", "test"),
]


def test_subjects_of_whom_there_is_no_sentence_are_reported_and_not_trained_on_alone(tmp_path):
    silent = [
        {"speaker": "9", "label": NEGATIVE, "split": "dev", "gender": ""},
        {"speaker": "8", "label": "", "split": "dev", "gender": ""},  # no label: no figure could count it
        {"speaker": "7", "label": POSITIVE, "split": "train", "gender": ""},
    ]
    made = make_manifest(tmp_path, GOOD)
    made.notes["subjects_without_sentences"] = silent
    train, dev = take_parts(made, CONFIG)
    assert dev.subjects["subject"].tolist() == ["3", "9"]
    assert dev.subjects["cluster"].tolist() == ["3", "9"]
    assert dev.sentences["subject"].tolist() == ["3"]
    assert train.subjects["subject"].tolist() == ["1", "2", "7"]
    made = make_manifest(tmp_path, [row for row in GOOD if row[0] != "2"])
    made.notes["subjects_without_sentences"] = silent
    with pytest.raises(BadInput, match="no subject labelled"):
        take_parts(made, CONFIG)


def faults_of(tmp_path, rows, config=CONFIG):
    with pytest.raises(BadInput) as caught:
        take_parts(make_manifest(tmp_path, rows), config)
    return [str(fault) for fault in caught.value.faults]


def test_parts_hold_sentences_and_subjects(tmp_path):
    train, dev = take_parts(make_manifest(tmp_path, GOOD), CONFIG)
    assert train.sentences["id"].tolist() == ["0", "1", "2"]
    assert train.subjects["subject"].tolist() == ["1", "2"]
    assert train.counts() == {
        "subjects": {NEGATIVE: 1, POSITIVE: 1},
        "sentences": {NEGATIVE: 2, POSITIVE: 1},
    }
    assert dev.subjects.to_dict("records") == [
        {"subject": "3", "split": "dev", "label": POSITIVE, "cluster": "3"}
    ]


def test_a_subject_on_both_sides_is_refused_by_name(tmp_path):
    (text,) = faults_of(tmp_path, [*GOOD, ("2", POSITIVE, "dev")])
    assert "rows 3 and 7: found subject '2' in train and dev" in text


def test_a_person_on_both_sides_is_refused_by_name(tmp_path):
    rows = [("1", NEGATIVE, "train", "ann"), ("2", POSITIVE, "train", "bob"), ("3", POSITIVE, "dev", "ann")]
    (text,) = faults_of(tmp_path, rows, replace(CONFIG, cluster="person"))
    assert "rows 2 and 4: found person 'ann' in train and dev" in text


def test_a_cluster_column_that_is_not_there_names_the_nearest(tmp_path):
    (text,) = faults_of(tmp_path, GOOD, replace(CONFIG, cluster="speker"))
    assert "did you mean 'speaker'" in text


def test_the_test_split_without_labels_says_what_can_be_done(tmp_path):
    (text,) = faults_of(tmp_path, GOOD, replace(CONFIG, split="test"))
    assert "1 subject(s) without a label: 4" in text
    assert "full_test_split.csv" in text
    assert "--split dev" in text


def test_everything_wrong_is_said_at_once(tmp_path):
    rows = [
        ("1", NEGATIVE, "train"),
        ("1", POSITIVE, "train"),
        ("2", "angry", "train"),
        ("5", "", "train"),
    ]
    texts = faults_of(tmp_path, rows)
    assert len(texts) == 4
    assert "without a label: 5" in texts[0]
    assert "prepare the corpus with its label files" in texts[0]
    assert "label 'angry' of subject(s) 2" in texts[1]
    assert f"subject '1': found label '{POSITIVE}', '{NEGATIVE}'" in texts[2]
    assert "split 'dev': found no sentence" in texts[3]
    assert "the manifest holds train" in texts[3]


def test_a_subject_of_two_people_is_refused(tmp_path):
    rows = [("1", NEGATIVE, "train", "ann"), ("1", NEGATIVE, "train", "bob"), ("3", POSITIVE, "dev", "cid")]
    texts = faults_of(tmp_path, rows, replace(CONFIG, cluster="person"))
    assert "person 'ann', 'bob'" in texts[0]


def test_training_on_one_class_is_refused(tmp_path):
    (text,) = faults_of(tmp_path, [("1", NEGATIVE, "train"), ("3", POSITIVE, "dev")])
    assert f"no subject labelled '{POSITIVE}'" in text


def test_long_lists_of_subjects_are_cut(tmp_path):
    rows = [(f"{index:02d}", "", "dev") for index in range(11)]
    (text,) = faults_of(tmp_path, GOOD[:3] + rows)
    assert "00, 01, 02, 03, 04, 05, 06, 07 and 3 more" in text


def test_other_class_names_can_be_given(tmp_path):
    rows = [("1", "angry", "train"), ("2", "happy", "train"), ("3", "happy", "dev")]
    train, _ = take_parts(make_manifest(tmp_path, rows), replace(CONFIG, negative="angry", positive="happy"))
    assert len(train.subjects) == 2
