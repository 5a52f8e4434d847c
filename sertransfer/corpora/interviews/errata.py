"""Errors of DAIC-WOZ and E-DAIC, which corrections are switched on, and what each one changed.

Some errors are known from the corpus's manual and the public code that reads it: these stand in a table.
Others are found while reading: labels that contradict their score, and transcript rows that span the
interview. Every correction is applied unless it is switched off, and the manifest's notes record how many
rows it changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sertransfer.errors import Faults, nearest

ALL = "all"
LABEL, SPANNING = "label", "spanning-row"
FOUND = (LABEL, SPANNING)
"""Kinds that are found while reading, in any session."""

_FOUND_NAME = re.compile(rf"(?:{'|'.join(FOUND)})-[1-9]\d{{0,8}}", re.ASCII)


@dataclass(frozen=True)
class Erratum:
    """One known error of one session.

    Attributes:
        kind: ``shift``, ``interruption``, ``no-interviewer``, ``label`` or ``spanning-row``.
        session: The session's number.
        what: What is wrong and what is done about it.
        seconds: For ``shift``, the seconds to add to every time; for ``interruption``, its begin and end.
    """

    kind: str
    session: int
    what: str
    seconds: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The name by which the erratum is switched off, such as ``shift-318``."""
        return f"{self.kind}-{self.session}"


def _shift(session: int, seconds: float) -> Erratum:
    return Erratum("shift", session, f"transcript runs early: {seconds} s added to every time", (seconds,))


def _interruption(session: int, start: float, end: float) -> Erratum:
    what = f"interview interrupted: {start} to {end} s cut out"
    return Erratum("interruption", session, what, (start, end))


def _no_interviewer(session: int) -> Erratum:
    return Erratum("no-interviewer", session, "no interviewer rows in the transcript: every row is kept")


ERRATA = (
    _shift(318, 34.319917),
    _shift(321, 3.8379167),
    _shift(341, 6.1892),
    _shift(362, 16.8582),
    # The manual says 5:52 to 7:00, public code 395 to 428 or 430.3 s: the union of them.
    _interruption(373, 352.0, 430.3),
    _interruption(444, 286.0, 387.0),
    _no_interviewer(451),
    _no_interviewer(458),
    _no_interviewer(480),
)
"""Every error that is known before reading."""

KINDS = (*dict.fromkeys(erratum.kind for erratum in ERRATA), *FOUND)


class ErrataLog:
    """The errata that are switched on, and the number of rows that each of them changed.

    Args:
        without: Names (``shift-318``, ``label-409``), kinds (``shift``) or ``all``: what is switched off.
        faults: Receives a fault for each name that is not known.
        automatic: Transcripts are automatic: those errata that are about DAIC-WOZ's transcripts do not apply,
            and no session has rows of the interviewer.
    """

    def __init__(self, without: Iterable[str], faults: Faults, *, automatic: bool = False) -> None:
        off = set(without)
        self._automatic = automatic
        names = [ALL, *KINDS, *(item.name for item in ERRATA)]
        for name in sorted(name for name in off - set(names) if not _FOUND_NAME.fullmatch(name)):
            faults.add(
                "option without_errata",
                found=f"'{name}'",
                expected="an erratum, a kind of erratum, or all",
                remedy=nearest(name, names),
            )
        self._on = {
            (erratum.kind, erratum.session): erratum
            for erratum in ERRATA
            if not off & {ALL, erratum.kind, erratum.name}
        }
        self._off = off
        self._faults = faults
        self._rows: dict[Erratum, int] = {}

    def check_sessions(self, sessions: Iterable[int]) -> None:
        """Add a fault for each switched-off ``label-<id>`` or ``spanning-row-<id>`` of no session here."""
        names = [f"{kind}-{session}" for session in sessions for kind in FOUND]
        for name in sorted(filter(_FOUND_NAME.fullmatch, self._off.difference(names))):
            self._faults.add(
                "option without_errata",
                found=f"'{name}'",
                expected="an erratum of a session that the split files name",
                remedy=nearest(name, names),
            )

    def find(self, kind: str, session: int) -> Erratum | None:
        """Return the session's erratum of this kind, if there is one and it is switched on."""
        if self._automatic and kind == "no-interviewer":
            return Erratum(kind, session, "no automatic transcript has interviewer rows")
        return None if self._automatic and kind == "shift" else self._on.get((kind, session))

    def found(self, kind: str, session: int, what: str) -> Erratum | None:
        """Return the erratum for an error that was found while reading, unless it is switched off."""
        erratum = Erratum(kind, session, what)
        return None if self._off & {ALL, kind, erratum.name} else erratum

    def record(self, erratum: Erratum, rows: int) -> None:
        """Note that *erratum* changed *rows* rows."""
        if self._automatic and erratum.kind == "no-interviewer":
            return  # the corpus is so: nothing was corrected
        self._rows[erratum] = self._rows.get(erratum, 0) + rows

    def applied(self) -> list[dict[str, Any]]:
        """Return the errata that changed something: name, session, what, and how many rows."""
        return [
            {"name": item.name, "session": str(item.session), "what": item.what, "rows": rows}
            for item, rows in sorted(
                self._rows.items(), key=lambda pair: (KINDS.index(pair[0].kind), pair[0].session)
            )
            if rows
        ]

    def switched_off(self) -> list[str]:
        """Return the errata that are switched off: known ones by name, those found while reading as asked."""
        known = [erratum.name for erratum in ERRATA if (erratum.kind, erratum.session) not in self._on]
        kinds = [kind for kind in FOUND if self._off & {ALL, kind}]
        return [*known, *kinds, *sorted(filter(_FOUND_NAME.fullmatch, self._off))]
