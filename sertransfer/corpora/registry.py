"""Every corpus by name. A new one is a module with ``Options`` and ``read``, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sertransfer.corpora.emotion import (
    afew,
    aibo,
    crema_d,
    csv,
    emodb,
    enterface,
    iemocap,
    lssed,
    meld,
    ravdess,
    rml,
)
from sertransfer.corpora.interviews import daic_woz, e_daic
from sertransfer.corpora.video import Extraction
from sertransfer.errors import Faults, choose
from sertransfer.manifest import Manifest


@dataclass(frozen=True)
class Corpus:
    """A corpus that can be prepared.

    Attributes:
        name: As on the command line.
        summary: One line for lists.
        options: Frozen dataclass of the options that ``read`` takes.
        read: From the root, the options and a collector of faults to the manifest. It only reads.
        extractions: From the root and the options to the audio that has to be extracted before reading;
            ``None`` where the recordings are read as they are.
    """

    name: str
    summary: str
    options: type[Any]
    read: Callable[[Path, Any, Faults], Manifest]
    extractions: Callable[[Path, Any], list[Extraction]] | None = None


CORPORA: dict[str, Corpus] = {}


def register(corpus: Corpus) -> None:
    """Add *corpus* to :data:`CORPORA`.

    Raises:
        ValueError: If its name is taken.
    """
    if corpus.name in CORPORA:
        raise ValueError(f"a corpus '{corpus.name}' is registered already")
    CORPORA[corpus.name] = corpus


def find_corpus(name: str) -> Corpus:
    """Return the corpus called *name*.

    Raises:
        BadInput: If there is none, naming the nearest.
    """
    return CORPORA[choose("corpus", name, CORPORA)]


for _name, _summary, _module in (
    ("lssed", "LSSED, 820 speakers, eleven emotions (the paper's corpus)", lssed),
    ("daic-woz", "DAIC-WOZ, 189 clinical interviews with PHQ-8 scores", daic_woz),
    ("emodb", "EmoDB, ten German actors, seven acted emotions", emodb),
    ("csv", "a corpus of your own, one row an utterance", csv),
    ("iemocap", "IEMOCAP, ten actors in acted dialogue, ten emotions", iemocap),
    ("meld", "MELD, the series Friends, seven emotions (video)", meld),
    ("enterface", "eNTERFACE'05, acted clips, six emotions (video)", enterface),
    ("rml", "RML, eight speakers in six languages, six emotions (video)", rml),
    ("afew", "AFEW, clips from films, seven emotions (video)", afew),
    ("aibo", "FAU-AIBO, 51 German children, five or two classes", aibo),
    ("ravdess", "RAVDESS, 24 actors, eight acted emotions", ravdess),
    ("crema-d", "CREMA-D, 91 actors, six acted emotions", crema_d),
    ("e-daic", "E-DAIC, 275 clinical interviews with PHQ-8 scores", e_daic),
):
    # only corpora of videos and archives have extractions
    register(Corpus(_name, _summary, _module.Options, _module.read, getattr(_module, "extractions", None)))
