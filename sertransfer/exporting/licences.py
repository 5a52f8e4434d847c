"""Terms of the corpora, as a model card repeats them. Their owners' own texts are what counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Terms:
    """What a corpus may be used for, in a sentence or two.

    Attributes:
        name: As its owners write it.
        text: The terms.
        clinical: Whether it holds data of patients or of people asked about their health.
    """

    name: str
    text: str
    clinical: bool = False


_ICT = (
    "by signed end user licence agreement with the University of Southern California (ICT); for academic,"
    " non-profit research alone; neither the data nor what lets a participant be identified may be passed on"
)

TERMS = {
    "lssed": Terms("LSSED", "by signed agreement with its authors; for research alone, not to be passed on"),
    "daic-woz": Terms(
        "DAIC-WOZ",
        _ICT,
        clinical=True,
    ),
    "e-daic": Terms(
        "Extended DAIC (E-DAIC)",
        _ICT,
        clinical=True,
    ),
    "iemocap": Terms(
        "IEMOCAP", "by signed release form of the University of Southern California (SAIL); research"
    ),
    "emodb": Terms("EmoDB (Berlin Database of Emotional Speech)", "free to use; its authors ask to be cited"),
    "meld": Terms("MELD", "GPL-3.0 for the annotations; audio and video are of a television series"),
    "enterface": Terms("eNTERFACE'05", "free for research; its authors ask to be cited"),
    "rml": Terms("RML", "by agreement with its authors; for research alone"),
    "afew": Terms("AFEW", "by signed agreement; for research alone; audio and video are of films"),
    "aibo": Terms("FAU Aibo", "by signed agreement with its authors; for research alone; voices of children"),
    "ravdess": Terms(
        "RAVDESS", "CC BY-NC-SA 4.0: not for commercial use, and derived work under the same licence"
    ),
    "crema-d": Terms(
        "CREMA-D", "Open Database Licence 1.0, contents under the Database Contents Licence 1.0"
    ),
}
"""By the name that a manifest gives its corpus."""

INHERITED = (
    "Weights keep traces of what they were trained on. Treat these as derived from the corpora above: what"
    " their licences forbid for the data (passing on, commercial use, identifying speakers) holds for the"
    " weights too, unless the owner of a corpus says otherwise."
)
CLINICAL = (
    "**Trained on licensed clinical data: the weights inherit that licence. Do not publish them or pass them"
    " on without the data owner's written consent.**"
)
UNKNOWN = "terms not known to sertransfer: ask whoever gave you the corpus"


def terms_lines(corpora: Iterable[str], *, generated: bool) -> list[str]:
    """Return a line on each corpus, and what follows for the weights.

    Args:
        corpora: By the names that manifests give them; real ones alone.
        generated: Whether generated audio had a part too.
    """
    names = list(dict.fromkeys(corpora))
    known = [TERMS[name] for name in names if name in TERMS]
    lines = [
        f"{TERMS[name].name}: {TERMS[name].text}." if name in TERMS else f"{name}: {UNKNOWN}."
        for name in names
    ]
    if generated:
        lines.append("Generated audio: of nobody, and under no licence but this software's.")
    if names:
        lines.append(INHERITED)
    if any(terms.clinical for terms in known):
        lines.append(CLINICAL)
    return lines
