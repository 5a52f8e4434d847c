"""Split files of interview corpora: who is in which part, with which PHQ-8 score, label, gender and age.

Headers are spelt in several ways (``PHQ8_Binary`` or ``PHQ_Binary``, ``Participant_ID`` in any case of
letters); all are read. A copy of a test split may come without labels: its subjects are then unlabelled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sertransfer.corpora.interviews.errata import LABEL, ErrataLog
from sertransfer.corpora.labels import GENDER_OF
from sertransfer.errors import BadInput, Faults
from sertransfer.io.csv_tables import check_columns, read_lines, split_rows
from sertransfer.io.spelling import clean

PARTS = ("train", "dev", "test")
DEPRESSED, NOT_DEPRESSED = "depressed", "not depressed"
THRESHOLD = 10
"""A PHQ-8 score from here on counts as depressed (PHQ8_Binary = 1)."""
MAXIMUM = 24
LABEL_NOTES = "label_notes"
"""Note with lines on labels that name sessions; unlike ``assumptions``, runs do not quote it."""
LabelSource = Literal["score", "released"]
"""Where a label comes from: the score (1 exactly where it is 10 or more), or the binary as released."""

_NAMES = {
    "session": "Participant_ID",
    "gender": "Gender",
    "binary": "PHQ8_Binary or PHQ_Binary",
    "score": "PHQ8_Score or PHQ_Score",
}
_ROLES = {
    "participant_id": "session",
    "gender": "gender",
    "phq8_binary": "binary",
    "phq_binary": "binary",
    "phq8_score": "score",
    "phq_score": "score",
    # of E-DAIC's detailed_lables.csv
    "participant": "session",
    "depression_label": "binary",
    "depression_severity": "score",
    "age": "age",
    "split": "split",
    # of E-DAIC's Detailed_PHQ8_Labels.csv
    "phq_8total": "score",
}
_WHOLE = re.compile(r"(\d{1,9})(?:\.0*)?", re.ASCII)
"""Also ``300.0``, as spreadsheets and pandas write it."""
_FROM_DISTRIBUTION = "copy it from the corpus's distribution"


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
    """Decides a subject's label from the released binary and the PHQ-8 score.

    The released binaries contradict the score in 20 subjects of E-DAIC and one of DAIC-WOZ.

    Attributes:
        labels: Where a label comes from.
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


def find_file(root: Path, folders: Sequence[str], *names: str) -> Path | None:
    """Return the first of the files called so, in any case of letters, or ``None``.

    Args:
        root: The corpus root.
        folders: Where to look, relative to the root.
        names: Of the file.
    """
    wanted = {name.casefold() for name in names}
    for folder in (root / folder for folder in folders):
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        for entry in entries:
            if entry.name.casefold() in wanted and entry.is_file():
                return entry
    return None


@dataclass
class Splits:
    """Reads split files, and holds what they say.

    Attributes:
        rule: Decides the labels.
        faults: Receives every fault; a subject with faulty values is left out.
        female_code: The Gender code (0 or 1) that means female, where a copy has codes and not words.
        subjects: The sound subjects by session, in the order of the files.
        named: Where each session that a file names stands.
        files: Names of the files that subjects were read from.
        notes: Where further files differ from the split files, a line each.
    """

    rule: LabelRule
    faults: Faults
    female_code: int = 0
    subjects: dict[int, Subject] = field(default_factory=dict)
    named: dict[int, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def read(self, root: Path, names: Mapping[str, str], folders: Sequence[str], optional: str = "") -> None:
        """Read the file of each part.

        Args:
            root: The corpus root.
            names: Name of each part's file.
            folders: Where to look for them, relative to the root; the first is named for a missing file.
            optional: A part whose file may be missing.
        """
        found = {part: find_file(root, folders, name) for part, name in names.items()}
        if not any(found.values()):
            expected = ", ".join(names.values())
            remedy = "copy them from the corpus's distribution"
            self.faults.add(root / folders[0], found="no split file", expected=expected, remedy=remedy)
            return
        for part, name in names.items():
            path = found[part]
            if path is not None:
                self.add(path, part)
            elif part != optional:
                self.faults.add(
                    root / folders[0] / name,
                    found="no such file",
                    expected=f"the {part} split",
                    remedy=_FROM_DISTRIBUTION,
                )

    def add(self, path: Path, part: str, *, labelled: bool = False) -> None:
        """Take over the subjects of a file; the arguments are those of :meth:`subjects_of`."""
        self.files.append(path.name)
        subjects, named = self.subjects_of(path, part, labelled=labelled)
        for session, where in named.items():
            first = self.named.setdefault(session, where)
            if first is not where:
                self._again(where, session, first, skippable=False)
        for session, subject in subjects.items():
            self.subjects.setdefault(session, subject)

    def subjects_of(
        self, path: Path, part: str, *, labelled: bool = False
    ) -> tuple[dict[int, Subject], dict[int, str]]:
        """Return the sound subjects of a file, and where each session that it names stands.

        Args:
            path: The file.
            part: Of the subjects; empty = the rows name it.
            labelled: Every row must have a label, also one of the test part.
        """
        subjects: dict[int, Subject] = {}
        named: dict[int, str] = {}
        parts: dict[int, str] = {}
        needed = ["session", "gender"] if part == "test" and not labelled else list(_NAMES)
        empty = dict.fromkeys([*_NAMES, "age"], "")
        for number, known in self._rows(path, needed if part else [*needed, "split"]):
            where, cells = f"{path}, row {number}", empty | known
            session, own = whole_number(cells["session"]), part or cells["split"].casefold()
            if not session:
                self._bad(where, f"Participant_ID '{cells['session']}'", "a session number such as 300")
            elif own not in PARTS:
                self._bad(where, f"split '{cells['split']}'", ", ".join(PARTS))
            elif session in named:
                self._again(where, session, named[session], skippable=parts[session] == own)
            else:
                named[session], parts[session] = where, own
                subject = self._subject(where, session, own, cells, labelled)
                if subject is not None:
                    subjects[session] = subject
        return subjects, named

    def further(self, path: Path) -> dict[int, dict[str, str]]:
        """Return the rows of a further file by session; a file that cannot be read is noted, not a fault."""
        problems = Faults()
        rows = self._rows(path, ["session"], problems)
        if not rows and len(problems):
            self.notes.append(f"{path.name} was not used: found {next(iter(problems)).found}")
        known = [(whole_number(cells["session"]), cells) for _, cells in rows]
        return {session: cells for session, cells in known if session}

    def gender(self, cell: str) -> str | None:
        """Return the gender that *cell* names, empty if it is not known; ``None`` if it is no gender."""
        codes = {str(self.female_code): "female", str(1 - self.female_code): "male", "": "", "unknown": ""}
        number = whole_number(cell)
        return (codes | GENDER_OF).get(cell.casefold() if number is None else str(number))

    def _rows(
        self, path: Path, needed: list[str], faults: Faults | None = None
    ) -> list[tuple[int, dict[str, str]]]:
        """Return (number in the file, cells by role) of each row; none if the file is faulty.

        A role of two columns that is not needed is that of the first.
        """
        faults = self.faults if faults is None else faults
        try:
            lines = read_lines(path, what="a CSV split file", remedy=_FROM_DISTRIBUTION)
            rows, _ = split_rows(lines, path, faults)
            filled = [(number, [clean(cell) for cell in cells]) for number, cells in rows]
            header = [_ROLES.get(cell.casefold(), "") for cell in filled[0][1]] if filled else []
            check_columns([role for role in header if role in needed], f"{path}, row 1")
        except BadInput as error:
            faults.extend(error.faults)
            return []
        missing = [_NAMES.get(role, role) for role in needed if role not in header]
        if missing:
            faults.add(
                f"{path}, row {filled[0][0] if filled else 1}",
                found=_describe_header(filled[0][1]) if filled else "an empty file",
                expected=f"a comma-separated header with {', '.join(missing)}",
                remedy="copy the file again from the corpus's distribution",
            )
            return []
        places = {role: header.index(role) for role in header if role}
        return [
            (number, {role: cells[place] for role, place in places.items()}) for number, cells in filled[1:]
        ]

    def _subject(
        self, where: str, session: int, part: str, cells: dict[str, str], labelled: bool
    ) -> Subject | None:
        """Return the subject, or ``None`` with a fault."""
        sound, label = True, ""
        binary, score = whole_number(cells["binary"]), whole_number(cells["score"])
        if part != "test" or labelled or cells["binary"] or cells["score"]:
            if binary not in (0, 1) or score is None or score > MAXIMUM:
                found = f"PHQ-8 binary '{cells['binary']}' and score '{cells['score']}' of session {session}"
                self._bad(where, found, f"0 or 1, and a whole number from 0 to {MAXIMUM}")
                sound = False
            else:
                label = self.rule.label(session, binary, score)
        gender = self.gender(cells["gender"])
        if gender is None:
            self._bad(where, f"Gender '{cells['gender']}'", "male, female, 0, 1 or nothing")
        if gender is None or not sound:
            return None
        age = whole_number(cells["age"])
        known_score, known_age = str(score) if label else "", str(age) if age else ""
        return Subject(session, part, label, known_score, gender, where, known_age)

    def _again(self, where: str, session: int, first: str, *, skippable: bool) -> None:
        self.faults.add(
            where,
            found=f"session {session} again (first in {first})",
            expected="each subject once, in one split",
            remedy="remove one of the two rows",
            skippable=skippable,
        )

    def _bad(self, where: str, found: str, expected: str) -> None:
        self.faults.add(where, found=found, expected=expected, remedy="correct the row", skippable=True)


def _describe_header(cells: list[str]) -> str:
    if len(cells) == 1:
        for delimiter, name in (("\t", "TABs"), (";", "semicolons")):
            if delimiter in cells[0]:
                return f"a header separated by {name}"
    return f"columns {', '.join(cells)}"[:200]


def whole_number(cell: str) -> int | None:
    """Return the whole number that *cell* holds, ``None`` if it holds none."""
    match = _WHOLE.fullmatch(cell)
    return int(match[1]) if match else None
