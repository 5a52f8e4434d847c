"""The label tables in the documentation are those of the readers."""

from pathlib import Path

import pytest

from sertransfer.corpora.emotion import afew, aibo, crema_d, emodb, enterface, iemocap, meld, ravdess, rml
from sertransfer.corpora.labels import SPELLINGS, TASKS

PAGE = Path(__file__).parents[2] / "docs" / "corpora.md"
READERS = {
    "iemocap": iemocap.EMOTIONS,
    "meld": meld.EMOTIONS,
    "enterface": enterface.EMOTIONS,
    "rml": rml.EMOTIONS,
    "afew": afew.EMOTIONS,
    "aibo": aibo.FIVE,
    "ravdess": ravdess.EMOTIONS,
    "crema-d": crema_d.EMOTIONS,
}


def documented() -> dict[str, list[list[str]]]:
    part = PAGE.read_text(encoding="utf-8").partition("## Labels of every corpus")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"
    ]
    tables: dict[str, list[list[str]]] = {}
    for corpus, *cells in rows[2:]:
        tables.setdefault(corpus, []).append(cells)
    return tables


def in_task(name: str, task: str, merged: dict[str, str]) -> str:
    name = merged.get(name, name)
    return name if name in TASKS[task] else "–"


def expected(corpus: str) -> list[list[str]]:
    if corpus == "lssed":
        pairs = [(", ".join(spellings), name) for name, spellings in SPELLINGS.items()]
        merged: dict = {}
    elif corpus == "emodb":
        pairs, merged = list(emodb.EMOTIONS.items()), {}
    else:
        pairs, merged = list(READERS[corpus].names.items()), READERS[corpus].merged
    return [
        [code, name, *(in_task(name, task, merged.get(task, {})) for task in ("four", "eleven"))]
        for code, name in pairs
    ]


def test_every_emotion_corpus_is_there():
    assert set(documented()) == {"lssed", "emodb", *READERS}


@pytest.mark.parametrize("corpus", ["lssed", "emodb", *READERS])
def test_a_table_is_the_readers(corpus):
    assert documented()[corpus] == expected(corpus)
