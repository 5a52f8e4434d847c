"""The split files of DAIC-WOZ: who is in which part, with which PHQ-8 score, label and gender.

Two spellings of the header are in circulation (``Participant_ID, PHQ8_Binary, PHQ8_Score, Gender`` and
``participant_ID``, ``PHQ_Binary``, ``PHQ_Score``); both are read. The test split carries no labels, which
``full_test_split.csv`` adds where a copy of the corpus has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sertransfer.corpora.interviews.errata import LABEL, ErrataLog
from sertransfer.errors import BadInput, Faults, nearest
from sertransfer.io.csv_tables import check_columns, read_lines, split_rows
from sertransfer.io.spelling import clean

SPLIT_FILES = {
    "train": "train_split_Depression_AVEC2017.csv",
    "dev": "dev_split_Depression_AVEC2017.csv",
    "test": "test_split_Depression_AVEC2017.csv",
}
FULL_TEST = "full_test_split.csv"
ALL_SPLIT_FILES = (*SPLIT_FILES.values(), FULL_TEST)

DEPRESSED, NOT_DEPRESSED = "depressed", "not depressed"
THRESHOLD = 10
"""A PHQ-8 score from here on counts as depressed (PHQ8_Binary = 1)."""
MAXIMUM = 24
LABEL_NOTES = "label_notes"
"""Note with lines on labels that name sessions; unlike ``assumptions``, runs do not quote it."""
LABEL_RULES = ("score", "released")
"""Where a label comes from: the score (1 exactly where it is 10 or more), or the binary as released."""

_SESSION, _BINARY, _SCORE, _GENDER = "participant_id", "binary", "score", "gender"
_SPELLINGS = {"phq8_binary": _BINARY, "phq_binary": _BINARY, "phq8_score": _SCORE, "phq_score": _SCORE}
_NAMES = {
    _SESSION: "Participant_ID",
    _BINARY: "PHQ8_Binary or PHQ_Binary",
    _SCORE: "PHQ8_Score or PHQ_Score",
    _GENDER: "Gender",
}


@dataclass(frozen=True)
class Subject:
    """One row of a split file; ``label``, ``score``, ``gender`` and ``age`` are empty where unknown."""

    session: int
    split: str
    label: str
    score: str
    gender: str
    where: str
    age: str = ""

    @property
    def described(self) -> dict[str, str]:
        """The manifest's columns that say who this is."""
        known = {"label": self.label, "split": self.split, "gender": self.gender}
        return {"speaker": f"daic{self.session}", "session": str(self.session), **known}


@dataclass
class LabelRule:
    """Decides a subject's label from the released binary and the PHQ-8 score, for both corpora.

    The released binaries contradict the score in 20 subjects of E-DAIC and one of DAIC-WOZ.

    Attributes:
        labels: One of :data:`LABEL_RULES`.
        errata: Switched-on errata; a label that the rule changes is recorded there as ``label-<id>``.
        contradictions: Subjects whose label stays as released although the score says otherwise.
    """

    labels: str
    errata: ErrataLog
    contradictions: list[int] = field(default_factory=list)

    def label(self, session: int, binary: int, score: int) -> str:
        """Return the label; *binary* is 0 or 1, *score* from 0 to :data:`MAXIMUM`."""
        rule = int(score >= THRESHOLD)
        if binary != rule:
            what = f"PHQ-8 score {score} with binary {binary}: the label is '{_LABELS[rule]}', by the score"
            erratum = self.errata.found(LABEL, session, what) if self.labels == "score" else None
            if erratum is None:
                self.contradictions.append(session)
            else:
                self.errata.record(erratum, 1)
                binary = rule
        return _LABELS[binary]

    def assumptions(self) -> list[str]:
        """Return a line for runs on labels that contradict their score, without naming anybody; or none."""
        count = len(self.contradictions)
        return (
            [f"labels as released although the score says otherwise, of {count} subject(s)"] if count else []
        )

    def named(self) -> list[str]:
        """Return the same for the manifest's notes, which stay with the corpus, with the sessions."""
        named = ", ".join(map(str, sorted(self.contradictions)))
        return [f"as released although the score says otherwise: {named}"] if named else []


_LABELS = (NOT_DEPRESSED, DEPRESSED)


def check_label_rule(labels: str, faults: Faults) -> None:
    """Add a fault if *labels* is not one of :data:`LABEL_RULES`."""
    if labels not in LABEL_RULES:
        expected = "score (1 exactly where it is 10 or more) or released"
        remedy = nearest(labels, LABEL_RULES)
        faults.add("option labels", found=f"'{labels}'", expected=expected, remedy=remedy)


@dataclass
class Splits:
    """The subjects by session, every session that a split file names, and the files that were read."""

    subjects: dict[int, Subject] = field(default_factory=dict)
    named: set[int] = field(default_factory=set)
    files: list[str] = field(default_factory=list)


def read_splits(
    files: Mapping[str, Path],
    root: Path,
    *,
    female_code: int,
    errata: ErrataLog,
    faults: Faults,
    rule: LabelRule | None = None,
) -> Splits:
    """Read the split files.

    Args:
        files: Path of each split file that is there, by its name as in :data:`ALL_SPLIT_FILES`.
        root: Corpus root, for the messages.
        female_code: The Gender code (0 or 1) that means female.
        errata: Switched-on errata; records what is changed.
        faults: Receives every fault; a subject with faulty values is left out.
        rule: Decides the labels; by default by the score.
    """
    splits = Splits()
    reader = _Reader(female_code, rule or LabelRule("score", errata), faults)
    for split, name in SPLIT_FILES.items():
        if name in files:
            splits.files.append(files[name].name)
            _add(splits, reader.read(files[name], split, labelled=split != "test"), reader.named, faults)
        elif split != "test":
            faults.add(
                root / name,
                found="no such file",
                expected=f"the {split} split beside the session folders",
                remedy="copy it from the corpus's distribution",
            )
    if FULL_TEST in files:
        splits.files.append(files[FULL_TEST].name)
        labelled = reader.read(files[FULL_TEST], "test", labelled=True)
        if SPLIT_FILES["test"] in files:
            _label_test(splits, labelled, reader.named, files[FULL_TEST], faults)
        else:
            _add(splits, labelled, reader.named, faults)
    return splits


def _add(splits: Splits, subjects: list[Subject], named: dict[int, str], faults: Faults) -> None:
    """Take *subjects* over, refusing those that another split has already."""
    for subject in subjects:
        other = splits.subjects.setdefault(subject.session, subject)
        if other is not subject:
            faults.add(
                subject.where,
                found=f"session {subject.session} in the {subject.split} split, and in {other.where}",
                expected="each subject in one split",
                remedy="remove one of the two rows",
            )
    splits.named |= named.keys()


def _label_test(
    splits: Splits, labelled: list[Subject], named: dict[int, str], path: Path, faults: Faults
) -> None:
    test = {session for session, subject in splits.subjects.items() if subject.split == "test"}
    for subject in labelled:
        known = splits.subjects.get(subject.session)
        if subject.session in test and known is not None:
            gender = known.gender or subject.gender
            splits.subjects[subject.session] = replace(subject, gender=gender, where=known.where)
        elif subject.session not in splits.named or known is not None:
            faults.add(
                subject.where,
                found=f"session {subject.session}, which the test split does not name",
                expected=f"the sessions of {SPLIT_FILES['test']}",
                remedy="correct one of the two files",
            )
    for session in sorted(test - named.keys()):
        faults.add(
            path,
            found=f"no row for session {session}",
            expected=f"the sessions of {SPLIT_FILES['test']}",
            remedy="correct one of the two files",
        )
    # A test subject whose label is faulty is left out; without this it would stay in, unlabelled.
    for session in (test & named.keys()) - {subject.session for subject in labelled}:
        del splits.subjects[session]


class _Reader:
    """Reads one file at a time; :attr:`named` holds the sessions of the last one and where they stand."""

    def __init__(self, female_code: int, rule: LabelRule, faults: Faults) -> None:
        self._genders = {str(female_code): "female", str(1 - female_code): "male", "": ""}
        self._rule = rule
        self._faults = faults
        self.named: dict[int, str] = {}

    def read(self, path: Path, split: str, *, labelled: bool) -> list[Subject]:
        self.named = {}
        rows = self._rows(path, [_SESSION, _GENDER, *([_BINARY, _SCORE] if labelled else [])])
        subjects = []
        for number, cells in rows:
            where = f"{path}, row {number}"
            session = self._session(where, cells[_SESSION])
            if session is None:
                continue
            if session in self.named:
                self._faults.add(
                    where,
                    found=f"session {session} again (first in {self.named[session]})",
                    expected="each session once",
                    remedy="remove one of the rows",
                    skippable=True,
                )
                continue
            self.named[session] = where
            before = len(self._faults)
            label, score = self._label(where, session, cells, labelled)
            gender = self._gender(where, cells[_GENDER])
            if len(self._faults) == before:
                subjects.append(Subject(session, split, label, score, gender, where))
        return subjects

    def _rows(self, path: Path, wanted: list[str]) -> list[tuple[int, dict[str, str]]]:
        """Return the rows as (number in the file, cells by canonical name); none if the file is faulty."""
        try:
            lines = read_lines(path, what="a CSV split file", remedy="copy it again")
            rows, _ = split_rows(lines, path, self._faults)
            filled = [(number, [clean(cell) for cell in cells]) for number, cells in rows]
            header = [_canonical(cell) for cell in filled[0][1]] if filled else []
            check_columns([name for name in header if name in _NAMES], f"{path}, row 1")
        except BadInput as error:
            self._faults.extend(error.faults)
            return []
        missing = [_NAMES[name] for name in wanted if name not in header]
        if missing:
            self._faults.add(
                f"{path}, row {filled[0][0] if filled else 1}",
                found=_describe_header(filled[0][1]) if filled else "an empty file",
                expected=f"a comma-separated header with {', '.join(missing)}",
                remedy="copy the file again from the corpus's distribution",
            )
            return []
        names = {*wanted, *({_BINARY, _SCORE} & set(header))}
        return [
            (number, {name: dict(zip(header, cells, strict=False)).get(name, "") for name in names})
            for number, cells in filled[1:]
        ]

    def _session(self, where: str, cell: str) -> int | None:
        session = _whole(cell)
        if session is None or session <= 0:
            self._faults.add(
                where,
                found=f"Participant_ID '{cell}'",
                expected="a session number such as 300",
                remedy="correct the row",
                skippable=True,
            )
            return None
        return session

    def _label(self, where: str, session: int, cells: dict[str, str], labelled: bool) -> tuple[str, str]:
        """Return (label, score)."""
        texts = cells.get(_BINARY, ""), cells.get(_SCORE, "")
        if not labelled and not any(texts):
            return "", ""
        binary, score = map(_whole, texts)
        if binary not in (0, 1) or score is None or not 0 <= score <= MAXIMUM:
            self._faults.add(
                where,
                found=f"PHQ-8 binary '{texts[0]}' and score '{texts[1]}' of session {session}",
                expected=f"0 or 1, and a whole number from 0 to {MAXIMUM}",
                remedy="correct the row",
                skippable=True,
            )
            return "", ""
        return self._rule.label(session, binary, score), str(score)

    def _gender(self, where: str, cell: str) -> str:
        code = _whole(cell)
        gender = self._genders.get("" if cell == "" else str(code))
        if gender is None:
            self._faults.add(
                where,
                found=f"Gender '{cell}'",
                expected="0, 1 or nothing",
                remedy="correct the row",
                skippable=True,
            )
        return gender or ""


def _canonical(cell: str) -> str:
    name = cell.strip().lower()
    return _SPELLINGS.get(name, name)


def _describe_header(cells: list[str]) -> str:
    if len(cells) == 1:
        for delimiter, name in (("\t", "TABs"), (";", "semicolons")):
            if delimiter in cells[0]:
                return f"a header separated by {name}"
    return f"columns {', '.join(cells)}"[:200]


def _whole(cell: str) -> int | None:
    """Return a whole number, also one written as ``300.0`` (as spreadsheets and pandas do)."""
    head, _, tail = cell.partition(".")
    if head.isascii() and head.isdigit() and len(head) <= 9 and not tail.strip("0"):
        return int(head)
    return None
