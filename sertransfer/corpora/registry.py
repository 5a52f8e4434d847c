"""Every corpus by name. A new one is a module with ``Options`` and ``read``, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sertransfer.corpora import (
    afew,
    aibo,
    crema_d,
    csv_corpus,
    daic_woz,
    e_daic,
    emodb,
    enterface,
    iemocap,
    lssed,
    meld,
    ravdess,
    rml,
)
from sertransfer.errors import Faults, choose
from sertransfer.manifest import Manifest


@dataclass(frozen=True)
class Corpus:
    """A corpus that can be prepared.

    Attributes:
        name: As on the command line.
        summary: One line for lists.
        options: Frozen dataclass of the options that ``read`` takes.
        read: From the root, the options and a collector of faults to the manifest.
    """

    name: str
    summary: str
    options: type[Any]
    read: Callable[[Path, Any, Faults], Manifest]


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


register(
    Corpus("lssed", "LSSED, 820 speakers, eleven emotions (the paper's corpus)", lssed.Options, lssed.read)
)
register(
    Corpus("daic-woz", "DAIC-WOZ, 189 clinical interviews with PHQ-8 scores", daic_woz.Options, daic_woz.read)
)
register(Corpus("emodb", "EmoDB, ten German actors, seven acted emotions", emodb.Options, emodb.read))
register(Corpus("csv", "a corpus of your own, one row an utterance", csv_corpus.Options, csv_corpus.read))
register(
    Corpus("iemocap", "IEMOCAP, ten actors in acted dialogue, ten emotions", iemocap.Options, iemocap.read)
)
register(Corpus("meld", "MELD, the series Friends, seven emotions (video)", meld.Options, meld.read))
register(
    Corpus("enterface", "eNTERFACE'05, acted clips, six emotions (video)", enterface.Options, enterface.read)
)
register(Corpus("rml", "RML, eight speakers in six languages, six emotions (video)", rml.Options, rml.read))
register(Corpus("afew", "AFEW, clips from films, seven emotions (video)", afew.Options, afew.read))
register(Corpus("aibo", "FAU-AIBO, 51 German children, five or two classes", aibo.Options, aibo.read))
register(Corpus("ravdess", "RAVDESS, 24 actors, eight acted emotions", ravdess.Options, ravdess.read))
register(Corpus("crema-d", "CREMA-D, 91 actors, six acted emotions", crema_d.Options, crema_d.read))
register(Corpus("e-daic", "E-DAIC, 275 clinical interviews with PHQ-8 scores", e_daic.Options, e_daic.read))
