"""Label files of E-DAIC: who is in which part, with which label, score, gender and age.

``{train,dev,test}_split.csv`` lie in ``labels/``, or one folder deeper in ``labels/labels/`` as unpacking
often leaves them, or in the root. Labels follow the rule of DAIC-WOZ
(:class:`.split_files.LabelRule`). Copies of the test split without labels are read too; its subjects are then
unlabelled.

Two more files circulate. ``detailed_lables.csv`` (so spelt) repeats all 275 subjects with their ages, and
with another gender for some; ages are taken from it, and it is read by itself where no split file is there.
``Detailed_PHQ8_Labels.csv`` has the items of the questionnaire for the 219 subjects of train and dev; its
rows of 485 and 486 are exchanged. The split files are right wherever they differ from these: the manifest's
notes name it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from sertransfer.corpora.interviews.split_files import MAXIMUM, LabelRule, Subject
from sertransfer.corpora.labels import GENDER_OF
from sertransfer.errors import BadInput, Faults
from sertransfer.io.csv_tables import read_text_table

SPLITS = ("train", "dev", "test")
FOLDER = "labels"
DETAILED, ITEMS = "detailed_lables.csv", "Detailed_PHQ8_Labels.csv"
DETAILED_SPELLINGS = (DETAILED, "detailed_labels.csv")
EXCHANGED = {485, 486}
"""Sessions whose rows are exchanged in :data:`ITEMS`."""

_NAMES = {"session": "Participant_ID", "gender": "Gender", "binary": "PHQ_Binary", "score": "PHQ_Score"}
_ROLES = {
    **{name.casefold(): role for role, name in _NAMES.items()},
    "phq8_binary": "binary",
    "phq8_score": "score",
    # of detailed_lables.csv
    "participant": "session",
    "depression_label": "binary",
    "depression_severity": "score",
    "age": "age",
    "split": "split",
    # of Detailed_PHQ8_Labels.csv
    "phq_8total": "score",
}
_WHOLE = re.compile(r"(\d{1,9})(?:\.0*)?", re.ASCII)
"""Also ``300.0``, as spreadsheets and pandas write it."""


def split_name(split: str) -> str:
    """Return the name of a part's split file."""
    return f"{split}_split.csv"


def find_label_file(root: Path, *names: str) -> Path | None:
    """Return the first of the label files called so, in any case of letters, or ``None``."""
    wanted = {name.casefold() for name in names}
    for folder in (root / FOLDER, root / FOLDER / FOLDER, root):
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        for entry in entries:
            if entry.name.casefold() in wanted and entry.is_file():
                return entry
    return None


@dataclass
class SplitReader:
    """Reads the label files.

    Attributes:
        female_code: The Gender code (0 or 1) that means female, where a copy has codes and not words.
        rule: Decides the labels.
        faults: Receives every fault; a subject with faulty values is left out.
        files: Names of the files that subjects were read from.
        differences: Where the other files differ from the split files, a line each.
    """

    female_code: int
    rule: LabelRule
    faults: Faults
    files: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def read(self, root: Path) -> tuple[list[Subject], set[int]]:
        """Return the sound subjects, and every session that a file names."""
        subjects: list[Subject] = []
        first: dict[int, str] = {}
        details = find_label_file(root, *DETAILED_SPELLINGS)
        paths = {split: find_label_file(root, split_name(split)) for split in SPLITS}
        if details is not None and not any(paths.values()):
            self._read_file(details, "", subjects, first)
            return subjects, set(first)
        for split, path in paths.items():
            self._read_file(path or root / FOLDER / split_name(split), split, subjects, first)
        if details is not None:
            subjects = self._with_ages(subjects, details)
        items = find_label_file(root, ITEMS)
        if items is not None:
            self._compare(subjects, items, self._table(items))
        return subjects, set(first)

    def _read_file(self, path: Path, split: str, subjects: list[Subject], first: dict[int, str]) -> None:
        """Read one file; without a *split* its rows name theirs."""
        self.files.append(path.name)
        for row, cells in self._rows(path, split):
            where = f"{path}, row {row}"
            session = _whole(cells["session"])
            part = split or cells["split"].casefold()
            if not session:
                found = f"Participant_ID '{cells['session']}'"
                self._bad(where, found, "a session number such as 300")
            elif part not in SPLITS:
                self._bad(where, f"split '{cells['split']}'", "train, dev or test")
            elif session in first:
                self.faults.add(
                    where,
                    found=f"session {session} again (first in {first[session]})",
                    expected="each subject once, in one split",
                    remedy="remove one of the two rows",
                )
            else:
                first[session] = where
                subject = self._subject(where, session, part, cells)
                subjects += [subject] if subject is not None else []

    def _rows(self, path: Path, split: str) -> list[tuple[int, dict[str, str]]]:
        """Return (number in the file, cells by role) of each row; none if the file is faulty."""
        try:
            table = read_text_table(path)
        except BadInput as error:
            fault = error.faults[0]
            remedy = "copy it from the corpus's distribution"
            self.faults.add(path, found=fault.found, expected="a CSV split file of E-DAIC", remedy=remedy)
            return []
        picked = _by_role(table)
        needed = ["session", "gender"] if split == "test" else list(_NAMES)
        missing = [_NAMES[role] for role in needed if role not in picked] + (
            [] if split or "split" in picked else ["split"]
        )
        if missing:
            self.faults.add(
                f"{path}, row 1",
                found=f"columns {', '.join(map(str, table.columns))}"[:200],
                expected=f"a comma-separated header with {', '.join(missing)}",
                remedy="copy the file again from the corpus's distribution",
            )
            return []
        empty = dict.fromkeys([*_NAMES, "age", "split"], "")
        return [
            (int(str(row)), {**empty, **dict(zip(picked.columns, cells, strict=True))})
            for row, *cells in picked.itertuples(name=None)
        ]

    def _subject(self, where: str, session: int, split: str, cells: dict[str, str]) -> Subject | None:
        """Return the subject, or ``None`` with a fault."""
        sound = True
        label = ""
        binary, score = _whole(cells["binary"]), _whole(cells["score"])
        if split != "test" or cells["binary"] or cells["score"]:
            if binary not in (0, 1) or score is None or score > MAXIMUM:
                found = f"PHQ_Binary '{cells['binary']}' and PHQ_Score '{cells['score']}'"
                self._bad(where, found, f"0 or 1, and a whole number from 0 to {MAXIMUM}")
                sound = False
            else:
                label = self.rule.label(session, binary, score)
        gender = self._gender(cells["gender"])
        if gender is None:
            self._bad(where, f"Gender '{cells['gender']}'", "male, female, 0, 1 or nothing")
        if gender is None or not sound:
            return None
        age = _whole(cells["age"])
        return Subject(
            session, split, label, str(score) if label else "", gender, where, str(age) if age else ""
        )

    def _gender(self, cell: str) -> str | None:
        codes = {
            "": "",
            "unknown": "",
            str(self.female_code): "female",
            str(1 - self.female_code): "male",
            **GENDER_OF,
        }
        whole = _whole(cell)
        return codes.get(cell.casefold() if whole is None else str(whole))

    def _table(self, path: Path) -> dict[int, dict[str, str]]:
        """Return the rows of a further file by session; a file that cannot be read is noted, no fault."""
        try:
            picked = _by_role(read_text_table(path))
        except BadInput as error:
            self.differences.append(f"{path.name} was not used: found {error.faults[0].found}")
            return {}
        rows = picked.to_dict("records")
        known = [(_whole(str(row.get("session", ""))), row) for row in rows]
        return {session: {str(k): str(v) for k, v in row.items()} for session, row in known if session}

    def _with_ages(self, subjects: list[Subject], path: Path) -> list[Subject]:
        rows = self._table(path)
        self._compare(subjects, path, rows)
        ages = {session: _whole(row.get("age", "")) for session, row in rows.items()}
        return [replace(subject, age=str(ages.get(subject.session) or "")) for subject in subjects]

    def _compare(self, subjects: list[Subject], path: Path, rows: dict[int, dict[str, str]]) -> None:
        """Note where a further file differs from the split files."""
        scores, genders = [], []
        for subject in subjects:
            row = rows.get(subject.session, {})
            score, gender = row.get("score"), row.get("gender")
            if score is not None and subject.score and str(_whole(score)) != subject.score:
                scores.append(subject.session)
            if gender is not None and self._gender(gender) != subject.gender:
                genders.append(subject.session)
        for what, differing in (("scores", scores), ("genders", genders)):
            if differing:
                known = " (exchanged there)" if what == "scores" and set(differing) == EXCHANGED else ""
                named = ", ".join(map(str, sorted(differing)))
                self.differences.append(
                    f"{path.name} has other {what} of {named}{known}: those of the split files are used"
                )

    def _bad(self, where: str, found: str, expected: str) -> None:
        self.faults.add(where, found=found, expected=expected, remedy="correct the row", skippable=True)


def _by_role(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that are known, named by role; of two with one role the first."""
    roles: dict[str, str] = {}
    for column in map(str, table.columns):
        role = _ROLES.get(column.casefold())
        if role is not None and role not in roles.values():
            roles[column] = role
    return pd.DataFrame(table[list(roles)]).rename(columns=roles)


def _whole(cell: str) -> int | None:
    match = _WHOLE.fullmatch(cell)
    return int(match[1]) if match else None
