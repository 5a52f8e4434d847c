"""Every corpus by name. A new one is a module with ``Options`` and ``read``, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sertransfer.corpora import csv_corpus, daic_woz, emodb, lssed
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
