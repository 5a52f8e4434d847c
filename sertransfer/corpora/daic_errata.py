"""The known errors of DAIC-WOZ as a table, which of them are switched on, and what each one changed.

Sources: the corpus's manual and the public code that reads it. Every erratum is applied unless it is switched
off, and the manifest's notes record for each how many rows it changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sertransfer.errors import Faults, nearest

ALL = "all"


@dataclass(frozen=True)
class Erratum:
    """One known error of one session.

    Attributes:
        kind: ``shift``, ``interruption``, ``no-interviewer`` or ``label``.
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
    Erratum("label", 409, "PHQ8_Score 10 with PHQ8_Binary 0: the label is depressed, as Score >= 10 says"),
)
"""Every known erratum."""


class ErrataLog:
    """The errata that are switched on, and the number of rows that each of them changed.

    Args:
        without: Names (``shift-318``), kinds (``shift``) or ``all``: what is switched off.
        faults: Receives a fault for each name that is not known.
    """

    def __init__(self, without: Iterable[str], faults: Faults) -> None:
        off = set(without)
        names = [ALL, *dict.fromkeys(erratum.kind for erratum in ERRATA), *(item.name for item in ERRATA)]
        for name in sorted(off - set(names)):
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
        self._rows: dict[str, int] = {}

    def find(self, kind: str, session: int) -> Erratum | None:
        """Return the session's erratum of this kind, if there is one and it is switched on."""
        return self._on.get((kind, session))

    def record(self, erratum: Erratum, rows: int) -> None:
        """Note that *erratum* changed *rows* rows."""
        self._rows[erratum.name] = self._rows.get(erratum.name, 0) + rows

    def applied(self) -> list[dict[str, Any]]:
        """Return the errata that changed something: name, session, what, and how many rows."""
        return [
            {"name": item.name, "session": str(item.session), "what": item.what, "rows": rows}
            for item in ERRATA
            if (rows := self._rows.get(item.name, 0))
        ]

    def switched_off(self) -> list[str]:
        """Return the names of the errata that are switched off."""
        return [erratum.name for erratum in ERRATA if (erratum.kind, erratum.session) not in self._on]
