"""A transcript of E-DAIC: comma-separated ``Start_Time, End_Time, Text, Confidence``, without speakers.

Its rows come from automatic recognition and stand for the participant, though some may carry words of the
interviewer. It is given on in the form of DAIC-WOZ's, line for line: one parser knows the marks and checks
the times.
"""

from __future__ import annotations

from sertransfer.corpora.daic_transcript import COLUMNS, CONFIDENCE
from sertransfer.errors import BadInput, Faults
from sertransfer.io.csv_tables import decode_lines, split_rows

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

    try:
        given = decode_lines(data, where, errors="replace")
    except BadInput:
        bad(where, "binary data, or text that is not UTF-8", "a comma-separated transcript")
        return None
    rows, _ = split_rows(given, where, faults, even=False)
    lines = [""] * len(given)
    at = _columns(rows[0].cells) if rows else None
    for number, cells in rows:
        if at is None:
            break
        if number == rows[0].number:
            # The text comes last: whatever it holds, it is then one cell.
            lines[number - 1] = "\t".join((*COLUMNS[:-1], CONFIDENCE, COLUMNS[-1]))
        elif len(cells) <= max(at[name] for name in HEADER):
            found = f"{len(cells)} comma-separated cells"
            bad(f"{where}, row {number}", found, "Start_Time, End_Time, Text, Confidence")
        else:
            start, stop, text = (" ".join(cells[at[name]].split()) for name in HEADER)
            # A comma in an unquoted text moves what follows it.
            whole = CONFIDENCE in at and len(cells) == len(rows[0].cells)
            sure = " ".join(cells[at[CONFIDENCE]].split()) if whole else ""
            lines[number - 1] = f"{start}\t{stop}\tParticipant\t{sure}\t{text}"
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
