"""A transcript of E-DAIC: comma-separated ``Start_Time, End_Time, Text, Confidence``, without speakers.

Its rows come from automatic recognition and stand for the participant, though some may carry words of the
interviewer. It is given on in the form of DAIC-WOZ's, line for line: one parser knows the marks and checks
the times.
"""

from __future__ import annotations

import csv
import io

from sertransfer.corpora.daic_transcript import COLUMNS, CONFIDENCE
from sertransfer.errors import Faults

HEADER = ("start_time", "end_time", "text")
"""Columns that are needed, in any case; the fourth is Confidence."""

LEAVE_OUT = "download it again, or leave it out"


def is_e_daic(data: bytes) -> bool:
    """Tell whether a file's first line with content is the header of a transcript of E-DAIC."""
    lines = data.decode("utf-8-sig", errors="replace").splitlines()
    first = next((line for line in lines if line.strip()), "")
    return _columns(first.split(",")) is not None


def as_daic_woz(data: bytes, where: str, faults: Faults) -> bytes | None:
    """Return a transcript in DAIC-WOZ's form; ``None`` if it is none.

    Args:
        data: The file's bytes.
        where: The file's name, for the messages.
        faults: Receives a skippable fault for each faulty row, or one that says why it is no transcript.
    """

    def bad(place: str, found: str, expected: str) -> None:
        faults.add(place, found=found, expected=expected, remedy=LEAVE_OUT, skippable=True)

    rows = csv.reader(io.StringIO(data.decode("utf-8-sig", errors="replace"), newline=""))
    lines: list[str] = []
    at: dict[str, int] | None = None
    begin = 1
    try:
        for cells in rows:
            lines += [""] * (rows.line_num - len(lines))  # a cell may hold line breaks
            if any(cell.strip() for cell in cells):
                if at is None:
                    at = _columns(cells)
                    if at is None:
                        break
                    # The text comes last: whatever it holds, it is then one cell.
                    lines[begin - 1] = "\t".join((*COLUMNS[:-1], CONFIDENCE, COLUMNS[-1]))
                elif len(cells) <= max(at[name] for name in HEADER):
                    found = f"{len(cells)} comma-separated cells"
                    bad(f"{where}, row {begin}", found, "Start_Time, End_Time, Text, Confidence")
                else:
                    start, stop, text = (" ".join(cells[at[name]].split()) for name in HEADER)
                    place = at.get(CONFIDENCE, len(cells))
                    sure = " ".join(cells[place].split()) if place < len(cells) else ""
                    lines[begin - 1] = f"{start}\t{stop}\tParticipant\t{sure}\t{text}"
            begin = rows.line_num + 1
    except csv.Error as error:
        bad(f"{where}, row {begin}", f"text that is no CSV ({error})", "a comma-separated transcript")
        return None
    if at is None:
        found = "no header" if data.strip() else "an empty file"
        bad(where, found, "a comma-separated transcript with Start_Time, End_Time, Text, Confidence")
        return None
    return ("\n".join(lines) + "\n").encode()


def _columns(cells: list[str]) -> dict[str, int] | None:
    names = [cell.strip().casefold() for cell in cells]
    if not set(HEADER) <= set(names):
        return None
    return {name: names.index(name) for name in (*HEADER, CONFIDENCE) if name in names}
