"""The split files of E-DAIC, ``labels/{train,dev,test}_split.csv``: who is in which part, with which label.

The rules for labels are those of DAIC-WOZ (:mod:`sertransfer.corpora.daic_splits`). Copies of the test split
without labels are read too; its subjects are then unlabelled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sertransfer.corpora.daic_errata import ErrataLog
from sertransfer.corpora.daic_splits import DEPRESSED, MAXIMUM, NOT_DEPRESSED, THRESHOLD, Subject
from sertransfer.corpora.labels import GENDER_OF
from sertransfer.errors import BadInput, Faults
from sertransfer.tables import read_text_table

SPLITS = ("train", "dev", "test")
FOLDER = "labels"

_NAMES = {"session": "Participant_ID", "gender": "Gender", "binary": "PHQ_Binary", "score": "PHQ_Score"}
_ROLES = {
    **{name.casefold(): role for role, name in _NAMES.items()},
    "phq8_binary": "binary",
    "phq8_score": "score",
}
_WHOLE = re.compile(r"(\d{1,9})(?:\.0*)?", re.ASCII)
"""Also ``300.0``, as spreadsheets and pandas write it."""


def split_file(root: Path, split: str) -> Path:
    """Return where the split file of a part is."""
    return root / FOLDER / f"{split}_split.csv"


@dataclass
class SplitReader:
    """Reads the three files.

    Attributes:
        female_code: The Gender code (0 or 1) that means female, where a copy has codes and not words.
        errata: Switched-on errata; records what is changed.
        faults: Receives every fault; a subject with faulty values is left out.
    """

    female_code: int
    errata: ErrataLog
    faults: Faults

    def read(self, root: Path) -> tuple[list[Subject], set[int]]:
        """Return the sound subjects, and every session that a file names."""
        subjects: list[Subject] = []
        first: dict[int, str] = {}
        for split in SPLITS:
            path = split_file(root, split)
            for row, cells in self._rows(path, labelled=split != "test"):
                where = f"{path}, row {row}"
                session = _whole(cells["session"])
                if not session:
                    found = f"Participant_ID '{cells['session']}'"
                    self._bad(where, found, "a session number such as 300")
                elif session in first:
                    self.faults.add(
                        where,
                        found=f"session {session} again (first in {first[session]})",
                        expected="each subject once, in one split",
                        remedy="remove one of the two rows",
                    )
                else:
                    first[session] = where
                    subject = self._subject(where, session, split, cells)
                    subjects += [subject] if subject is not None else []
        return subjects, set(first)

    def _rows(self, path: Path, *, labelled: bool) -> list[tuple[int, dict[str, str]]]:
        """Return (number in the file, cells by role) of each row; none if the file is faulty."""
        try:
            table = read_text_table(path)
        except BadInput as error:
            fault = error.faults[0]
            remedy = "copy it from the corpus's distribution"
            self.faults.add(path, found=fault.found, expected="a CSV split file of E-DAIC", remedy=remedy)
            return []
        roles = {column: _ROLES[key] for column in table if (key := str(column).casefold()) in _ROLES}
        needed = list(_NAMES) if labelled else ["session", "gender"]
        missing = [_NAMES[role] for role in needed if role not in roles.values()]
        if missing:
            self.faults.add(
                f"{path}, row 1",
                found=f"columns {', '.join(map(str, table.columns))}"[:200],
                expected=f"a comma-separated header with {', '.join(missing)}",
                remedy="copy the file again from the corpus's distribution",
            )
            return []
        picked = pd.DataFrame(table[list(roles)]).rename(columns=roles)
        empty = dict.fromkeys(_NAMES, "")
        return [
            (int(str(row)), {**empty, **dict(zip(picked.columns, cells, strict=True))})
            for row, *cells in picked.itertuples(name=None)
        ]

    def _subject(self, where: str, session: int, split: str, cells: dict[str, str]) -> Subject | None:
        """Return the subject; the rule Binary = (Score >= 10) is checked wherever both are given."""
        sound = True
        label = ""
        binary, score = _whole(cells["binary"]), _whole(cells["score"])
        if split != "test" or cells["binary"] or cells["score"]:
            if binary not in (0, 1) or score is None or score > MAXIMUM:
                found = f"PHQ_Binary '{cells['binary']}' and PHQ_Score '{cells['score']}'"
                self._bad(where, found, f"0 or 1, and a whole number from 0 to {MAXIMUM}")
                sound = False
            else:
                binary, agrees = self._checked(session, binary, score)
                if not agrees:
                    found = f"PHQ_Binary {binary} with PHQ_Score {score} of session {session}"
                    self._bad(where, found, f"1 exactly where the score is {THRESHOLD} or more")
                    sound = False
                label = DEPRESSED if binary else NOT_DEPRESSED
        codes = {"": "", str(self.female_code): "female", str(1 - self.female_code): "male", **GENDER_OF}
        whole = _whole(cells["gender"])
        gender = codes.get(cells["gender"].casefold() if whole is None else str(whole))
        if gender is None:
            self._bad(where, f"Gender '{cells['gender']}'", "male, female, 0, 1 or nothing")
        if gender is None or not sound:
            return None
        return Subject(session, split, label, str(score) if label else "", gender, where)

    def _checked(self, session: int, binary: int, score: int) -> tuple[int, bool]:
        """Return the label after the erratum for 409, and whether it agrees with the score."""
        rule = int(score >= THRESHOLD)
        if (session, binary, score) == (409, 0, 10):
            erratum = self.errata.find("label", session)
            if erratum is None:  # switched off: the label stays as released
                return binary, True
            self.errata.record(erratum, 1)
            return rule, True
        return binary, binary == rule

    def _bad(self, where: str, found: str, expected: str) -> None:
        self.faults.add(where, found=found, expected=expected, remedy="correct the row", skippable=True)


def _whole(cell: str) -> int | None:
    match = _WHOLE.fullmatch(cell)
    return int(match[1]) if match else None
