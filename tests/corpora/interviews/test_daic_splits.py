"""The split files: both spellings of their headers, labels, and what is wrong with them."""

import pytest
from support.daic_tree import DEV, FULL, LABELLED, PLAIN, TEST, TRAIN

from sertransfer.corpora.interviews.daic_woz import LAYOUT
from sertransfer.corpora.interviews.errata import ErrataLog
from sertransfer.corpora.interviews.split_files import LabelRule, Splits
from sertransfer.errors import Faults

GOOD = {
    TRAIN: f"{LABELLED}\n300,1,15,1,2\n301,0,9,0,1\n",
    DEV: f"{LABELLED}\n302,1,10,1,2\n",
    TEST: f"{PLAIN}\n303,0\n304,1\n",
}
FULL_TEXT = "Participant_ID,PHQ_Binary,PHQ_Score,Gender\n303,1,24,0\n304,0,0,1\n"


def read(folder, texts, without=(), labels="score"):
    for name, text in texts.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    faults = Faults()
    errata = ErrataLog(without, faults)
    splits = Splits(LabelRule(labels, errata), faults)
    LAYOUT.read_splits(folder, splits)
    splits.applied, splits.assumptions, splits.label_notes = (
        errata.applied(),
        splits.rule.assumptions(),
        splits.rule.named(),
    )
    return splits, list(faults)


def table(splits):
    return {
        session: (item.split, item.label, item.score, item.gender)
        for session, item in splits.subjects.items()
    }


EXPECTED = {
    300: ("train", "depressed", "15", "male"),
    301: ("train", "not depressed", "9", "female"),
    302: ("dev", "depressed", "10", "male"),
    303: ("test", "", "", "female"),
    304: ("test", "", "", "male"),
}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("PHQ8_B", "PHQ_B").replace("PHQ8_S", "PHQ_S"),
        lambda text: text.replace("Participant_ID", "participant_ID"),
        lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text: text.replace(",", " , ") + "\n,,,,\n\n",
        lambda text: text.replace("300,", "300.0,").replace(",1,15", ",1.0,15.0"),
    ],
    ids=["as released", "PHQ_", "participant_ID", "BOM and CRLF", "spaces and blanks", "decimals"],
)
def test_spellings(tmp_path, change):
    splits, faults = read(tmp_path, {name: change(text) for name, text in GOOD.items()})
    assert faults == []
    assert table(splits) == EXPECTED
    assert set(splits.named) == set(EXPECTED)
    assert splits.files == [TRAIN, DEV, TEST]


def test_labels_of_the_test_split_from_the_full_file(tmp_path):
    splits, faults = read(tmp_path, {**GOOD, FULL: FULL_TEXT})
    assert faults == []
    assert table(splits)[303] == ("test", "depressed", "24", "female")
    assert table(splits)[304] == ("test", "not depressed", "0", "male")


def test_a_test_split_that_carries_labels_is_read_with_them(tmp_path):
    splits, faults = read(tmp_path, {**GOOD, TEST: "participant_ID,PHQ_Binary,PHQ_Score,Gender\n303,1,11,\n"})
    assert faults == []
    assert table(splits)[303] == ("test", "depressed", "11", "")


BAD = {
    "no label": (TRAIN, "300,,,1,2", f"{TRAIN}, row 2", "binary '' and score ''"),
    "half a label": (TEST, "303,0", "", ""),
    "score too high": (TRAIN, "300,1,25,1,2", f"{TRAIN}, row 2", "score '25'"),
    "score broken": (TRAIN, "300,1,15.5,1,2", f"{TRAIN}, row 2", "score '15.5'"),
    "binary 2": (TRAIN, "300,2,15,1,2", f"{TRAIN}, row 2", "binary '2'"),
    "gender": (TRAIN, "300,1,15,7,2", f"{TRAIN}, row 2", "Gender '7'"),
    "session": (TRAIN, "P300,1,15,1,2", f"{TRAIN}, row 2", "Participant_ID 'P300'"),
    "session zero": (TRAIN, "0,1,15,1,2", f"{TRAIN}, row 2", "Participant_ID '0'"),
    "short row": (TRAIN, "300", f"{TRAIN}, row 2", "1 cell, fewer cells than the header has columns"),
    "long row": (
        TRAIN,
        "300,1,15,1,2,7",
        f"{TRAIN}, row 2",
        "6 cells, more cells than the header has columns",
    ),
    "open quote": (TRAIN, '300,1,"15,1,2', f"{TRAIN}, row 2", "score '\"15'"),
    "twice": (TRAIN, "301,0,9,0,1", f"{TRAIN}, row 3", "session 301 again (first in"),
    "in two splits": (DEV, "300,1,15,1,2", f"{DEV}, row 2", "session 300 again (first in"),
    "in train and test": (TEST, "300,0", f"{TEST}, row 2", "session 300 again (first in"),
}


@pytest.mark.parametrize(("name", "row", "where", "found"), BAD.values(), ids=BAD)
def test_bad_rows(tmp_path, name, row, where, found):
    lines = GOOD[name].split("\n")
    lines[1] = row
    _, faults = read(tmp_path, {**GOOD, name: "\n".join(lines)})
    if not where:
        assert faults == []
        return
    (fault,) = faults
    assert fault.where.endswith(where)
    assert found in fault.found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "an empty file"),
        ("\n\n", "an empty file"),
        (LABELLED.replace(",", "\t") + "\n", "a header separated by TABs"),
        (LABELLED.replace(",", ";") + "\n", "a header separated by semicolons"),
        ("300,1,15,1,2\n", "columns 300, 1, 15, 1, 2"),
        ("Participant_ID\n", "columns Participant_ID"),
        (b"\xff\xfe\x00P", "text in UTF-16"),
        (b"Participant_ID\xff", "text that is not utf-8-sig"),
        (LABELLED.replace("PHQ8_Score", "PHQ_Binary") + "\n", "column 'binary' twice (columns 2 and 3)"),
    ],
)
def test_files_without_a_header(tmp_path, text, found):
    _, (fault,) = read(tmp_path, {**GOOD, TRAIN: text})
    assert fault.found.startswith(found)
    assert TRAIN in fault.where


def test_missing_files(tmp_path):
    _, faults = read(tmp_path, {TEST: GOOD[TEST]})
    assert [fault.where for fault in faults] == [str(tmp_path / TRAIN), str(tmp_path / DEV)]
    _, faults = read(tmp_path, {TRAIN: GOOD[TRAIN], DEV: GOOD[DEV]})
    assert faults == []  # the test split is not needed


def test_full_file_against_the_test_split(tmp_path):
    text = FULL_TEXT.replace("304,0,0,1", "300,1,15,1\n305,0,0,1")
    splits, faults = read(tmp_path, {**GOOD, FULL: text})
    assert [fault.found for fault in faults] == [
        "session 300, which the test split does not name",
        "session 305, which the test split does not name",
        "no row for session 304",
    ]
    assert table(splits)[300] == EXPECTED[300]


def test_a_test_subject_with_a_faulty_label_is_left_out(tmp_path):
    splits, (fault,) = read(tmp_path, {**GOOD, FULL: FULL_TEXT.replace("24", "25")})
    assert "score '25'" in fault.found
    assert set(splits.subjects) == {300, 301, 302, 304}
    assert 303 in splits.named


def test_a_test_subject_with_a_faulty_row_is_not_called_unknown_by_the_full_file(tmp_path):
    splits, (fault,) = read(tmp_path, {**GOOD, TEST: GOOD[TEST].replace("303,0", "303,7"), FULL: FULL_TEXT})
    assert fault.found == "Gender '7'"
    assert 303 not in splits.subjects


def test_409_with_the_erratum_off_is_as_released(tmp_path):
    texts = {**GOOD, TRAIN: GOOD[TRAIN].replace("300,1,15", "409,0,10")}
    assert table(read(tmp_path, texts)[0])[409][1:3] == ("depressed", "10")
    splits, faults = read(tmp_path, texts, without=["label"])
    assert faults == []
    assert table(splits)[409][1:3] == ("not depressed", "10")


AGAINST = {**GOOD, TRAIN: f"{LABELLED}\n300,0,10,1,2\n301,1,9,0,1\n", DEV: f"{LABELLED}\n302,0,9,1,2\n"}


def test_labels_by_score_are_1_exactly_from_10_on_and_each_change_is_an_erratum(tmp_path):
    splits, faults = read(tmp_path, AGAINST)
    assert faults == []
    assert [table(splits)[number][1] for number in (300, 301, 302)] == [
        "depressed", "not depressed", "not depressed",
    ]  # fmt: skip
    assert [(entry["name"], entry["rows"]) for entry in splits.applied] == [
        ("label-300", 1),
        ("label-301", 1),
    ]
    assert splits.applied[0]["what"] == "PHQ-8 score 10 with binary 0: the label is 'depressed', by the score"
    assert splits.assumptions == []


@pytest.mark.parametrize(
    ("without", "labels"), [((), "released"), (("label",), "score"), (("all",), "score")], ids=str
)
def test_labels_as_released_name_those_that_contradict_their_score(tmp_path, without, labels):
    splits, faults = read(tmp_path, AGAINST, without, labels)
    assert faults == []
    assert [table(splits)[number][1] for number in (300, 301, 302)] == [
        "not depressed", "depressed", "not depressed",
    ]  # fmt: skip
    assert splits.applied == []
    assert splits.assumptions == ["labels as released although the score says otherwise, of 2 subject(s)"]
    assert splits.label_notes == ["as released although the score says otherwise: 300, 301"]


def test_one_label_can_stay_as_released(tmp_path):
    splits, _ = read(tmp_path, AGAINST, without=("label-301",))
    assert [table(splits)[number][1] for number in (300, 301)] == ["depressed", "depressed"]
    assert [entry["name"] for entry in splits.applied] == ["label-300"]
