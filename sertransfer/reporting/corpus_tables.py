"""The paper's Tables 1 to 3 for one corpus or several side by side, its own figures beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sertransfer.corpora.statistics import BANDS, MIDDLE_AGED_FROM, OLD_FROM, SPLIT_NAMES, Description
from sertransfer.reporting.paper_tables import paper_table
from sertransfer.reporting.tables import Column, ResultTable

_COMPARED = ("speakers", "hours", "utterances", "classes")
_HEADINGS = {"hours": "h:mm", "utterances": "sentences"}


def corpus_tables(descriptions: Sequence[Description]) -> list[ResultTable]:
    """Return Tables 1, 2 and 3 over all of *descriptions*; the paper's figures stand where it has them."""
    return [overview_table(descriptions), speaker_table(descriptions), label_table(descriptions)]


def overview_table(descriptions: Sequence[Description]) -> ResultTable:
    """Return Table 1: a row for each corpus of ours, then the corpora that only the paper counts."""
    paper = paper_table(1)
    printed = {row["corpus"]: row for row in paper["rows"]}
    known = {**{row["corpus"]: row for row in paper["others"]}, **printed}
    rows: list[dict[str, Any]] = []
    for description in descriptions:
        for ours in description.overview.rename(columns={"h:mm": "hours"}).to_dict("records"):
            about = known.get(str(ours["corpus"]), {})
            row = {key: about.get(key) for key in ("published", "language", "naturalness")}
            row |= {f"paper_{key}": about.get(key) for key in _COMPARED}
            row |= {str(key): value for key, value in ours.items()}
            rows.append(row | _remark(description))
    mine = {row["corpus"] for row in rows}
    for corpus, about in printed.items():
        if corpus not in mine:
            row = {key: about[key] for key in ("corpus", "published", "language", "naturalness")}
            rows.append(row | {f"paper_{key}": about[key] for key in _COMPARED})
    columns = (
        *(Column(key, key) for key in ("corpus", "published", "language", "naturalness")),
        *(Column(key, _HEADINGS.get(key, key)) for key in _COMPARED),
        *(Column(f"paper_{key}", f"paper {_HEADINGS.get(key, key)}") for key in _COMPARED),
        Column("remark", "remark"),
    )
    return ResultTable("1", paper["title"], columns, rows, list(paper["notes"]))


def speaker_table(descriptions: Sequence[Description]) -> ResultTable:
    """Return Table 2: gender by age band, of each corpus."""
    paper = paper_table(2)
    columns = [name for name in (*BANDS, "unknown", "total") if _occurs(name, descriptions, "speakers")]
    rows = []
    for description in descriptions:
        table = description.speakers
        printed = _printed(paper, "gender", description)
        for gender in table.index:
            row = {"corpus": description.name, "gender": gender, "unit": description.unit}
            row |= {name: int(table.loc[gender, name]) for name in table.columns} | _remark(description)
            rows.append(row | _beside(printed.get(str(gender), {}), (*BANDS, "total")))
    shown = (
        *(Column(key, key) for key in ("corpus", "gender")),
        Column("unit", "counted"),
        *(Column(name, name) for name in columns),
        *_paper_columns(rows, (*BANDS, "total")),
        Column("remark", "remark"),
    )
    notes = [f"Young is under {MIDDLE_AGED_FROM} years, old from {OLD_FROM}; the paper gives no limits."]
    return ResultTable("2", paper["title"], shown, rows, notes)


def label_table(descriptions: Sequence[Description]) -> ResultTable:
    """Return Table 3: label by split, of each corpus, with the shares of Figure 1."""
    paper = paper_table(3)
    columns = [name for name in (*SPLIT_NAMES.values(), "total") if _occurs(name, descriptions, "labels")]
    compared = ("training", "test", "total")
    rows = []
    for description in descriptions:
        table = description.labels
        printed = _printed(paper, "label", description)
        if set(printed) != set(table.index):
            printed.pop("total", None)  # the total of other labels
        for label in table.index:
            row = {"corpus": description.name, "label": label}
            row |= {name: int(table.loc[label, name]) for name in table.columns}
            row |= {"share": description.label_shares.get(str(label))} | _remark(description)
            rows.append(row | _beside(printed.get(str(label), {}), compared))
    shown = (
        *(Column(key, key) for key in ("corpus", "label", *columns)),
        Column("share", "share (Figure 1)"),
        *_paper_columns(rows, compared),
        Column("remark", "remark"),
    )
    return ResultTable("3", paper["title"], shown, rows, list(paper["notes"]))


def _occurs(name: str, descriptions: Iterable[Description], table: str) -> bool:
    return any(name in getattr(description, table).columns for description in descriptions)


def _printed(paper: dict[str, Any], key: str, description: Description) -> dict[str, dict[str, Any]]:
    """Return the paper's rows by *key*; none for a corpus that its table is not about."""
    return {row[key]: row for row in paper["rows"]} if description.name == paper["corpus"] else {}


def _beside(printed: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {f"paper_{name}": printed[name] for name in names if name in printed}


def _paper_columns(rows: Iterable[dict[str, Any]], names: Iterable[str]) -> list[Column]:
    """Return the paper's columns, where some row has them."""
    keys = {key for row in rows for key in row}
    return [Column(f"paper_{name}", f"paper {name}") for name in names if f"paper_{name}" in keys]


def _remark(description: Description) -> dict[str, str]:
    return {"remark": "generated data" if description.generated else ""}
