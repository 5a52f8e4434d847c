"""The numbers behind the paper's Tables 1 to 3 and Figure 1, for any manifest (paper, section 2.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sertransfer.corpora.labels import GENDER_OF, label_order
from sertransfer.corpora.recordings import describe_rates, inspect_all
from sertransfer.errors import BadInput, Faults
from sertransfer.manifest import UNKNOWN_SPEAKER, Manifest, read_manifest

MIDDLE_AGED_FROM, OLD_FROM = 35, 60
"""Ages in years from which a speaker counts as middle-aged and as old. The paper gives the three words
and no limits; these are ours."""

BANDS = ("young", "middle-aged", "old")

_BAND_WORDS = {
    "young": "young",
    "middle-aged": "middle-aged",
    "middle aged": "middle-aged",
    "middleaged": "middle-aged",
    "middle": "middle-aged",
    "old": "old",
    "elderly": "old",
}
_RANGE = re.compile(r"(\d+(?:\.\d+)?)\s*[-–]\s*(\d+(?:\.\d+)?)")

SPLIT_NAMES = {"train": "training", "dev": "development", "test": "test", "": "no split"}


@dataclass(frozen=True)
class Description:
    """A corpus in numbers.

    Attributes:
        overview: Table 1: ``corpus, speakers, hours (h:mm), utterances, classes``, one row a corpus.
        speakers: Table 2: gender (rows) by age band (columns), counted over ``unit``, with totals.
        labels: Table 3: label (rows) by split (columns), with totals.
        label_shares: Figure 1: share of each label, in the order of the tables.
        unit: What Table 2 counts: ``speakers``, or ``utterances`` where speakers are not known.
        remarks: What a reader of the tables must know.
        generated: Whether the corpus is generated, and no speech of people.
    """

    overview: pd.DataFrame
    speakers: pd.DataFrame
    labels: pd.DataFrame
    label_shares: dict[str, float]
    unit: str
    remarks: tuple[str, ...]
    generated: bool = False

    @property
    def name(self) -> str:
        """The corpus, or corpora, of the manifest."""
        return ", ".join(self.overview["corpus"])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "table1": self.overview.to_dict("records"),
            "table2": {"unit": self.unit, "counts": _counts(self.speakers)},
            "table3": _counts(self.labels),
            "figure1": self.label_shares,
            "remarks": list(self.remarks),
        }


def _counts(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    return {
        str(row): {str(column): int(table.loc[row, column]) for column in table.columns}
        for row in table.index
    }


def describe(manifest: Manifest) -> Description:
    """Count a manifest as the paper's Tables 1 to 3 and Figure 1 do.

    Raises:
        BadInput: If the length of a recording cannot be read; every such file is named.
    """
    table = manifest.table
    speakers, unit, remarks = speaker_counts(table)
    if rates := describe_rates(manifest.notes):
        remarks.append(rates)
    if manifest.generated:
        remarks.append("the corpus is generated: its figures say nothing about people")
    return Description(
        overview=overview(table, durations(manifest)),
        speakers=speakers,
        labels=label_counts(table),
        label_shares=label_shares(table),
        unit=unit,
        remarks=tuple(remarks),
        generated=manifest.generated,
    )


def describe_files(paths: Sequence[Path], *, root: Path | None = None) -> list[Description]:
    """Describe the manifests at *paths*; *root* is a corpus root to use instead of the one in the notes.

    Raises:
        BadInput: With what is wrong with each of them.
    """
    faults = Faults()
    descriptions = []
    for path in paths:
        try:
            descriptions.append(describe(read_manifest(path, root=root)))
        except BadInput as error:
            faults.extend(error.faults)
    faults.raise_if_any()
    return descriptions


def durations(manifest: Manifest) -> pd.Series[float]:
    """Return the duration of each row in seconds: from its times, else a column ``duration``, else headers.

    Raises:
        BadInput: With every recording whose header cannot be read.
    """
    table = manifest.table
    seconds = (table["end"] - table["start"]).astype(float)
    if "duration" in table:
        seconds = seconds.fillna(pd.to_numeric(table["duration"], errors="coerce"))
    whole = table.loc[seconds.isna(), "audio"]
    infos, broken = inspect_all({audio: manifest.source(audio) for audio in whole.unique()})
    if broken:
        raise BadInput([fault for faults in broken.values() for fault in faults])
    return seconds.fillna(whole.map({audio: info.duration for audio, info in infos.items()}).astype(float))


def clock(seconds: float) -> str:
    """Return *seconds* as ``h:mm``, rounded to the nearest minute.

    Examples:
        >>> clock(206 * 3600 + 25 * 60)
        '206:25'
    """
    minutes = int(seconds / 60 + 0.5)
    return f"{minutes // 60}:{minutes % 60:02d}"


def overview(table: pd.DataFrame, seconds: pd.Series[float]) -> pd.DataFrame:
    """Return Table 1, one row a corpus of the manifest."""
    rows = []
    for corpus, part in table.groupby("corpus", sort=False):
        names = set(part["speaker"])
        rows.append(
            {
                "corpus": str(corpus),
                "speakers": "unknown" if names == {UNKNOWN_SPEAKER} else str(len(names)),
                "h:mm": clock(float(seconds[part.index].sum())),
                "utterances": len(part),
                "classes": part.loc[part["label"] != "", "label"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def age_band(age: str) -> str:
    """Return the band of an age written as a number, a range or a word; ``unknown`` for anything else.

    Young is under :data:`MIDDLE_AGED_FROM`, old from :data:`OLD_FROM`; a range counts by its middle.

    Examples:
        >>> [age_band(age) for age in ("34", "35", "60-69", "Elderly", "")]
        ['young', 'middle-aged', 'old', 'old', 'unknown']
    """
    text = age.strip().casefold()
    if text in _BAND_WORDS:
        return _BAND_WORDS[text]
    span = _RANGE.fullmatch(text)
    try:
        years = (float(span[1]) + float(span[2])) / 2 if span else float(text)
    except ValueError:
        return "unknown"
    if not 0 <= years < 150:
        return "unknown"
    return BANDS[int(np.searchsorted([MIDDLE_AGED_FROM, OLD_FROM], years, side="right"))]


def speaker_counts(table: pd.DataFrame) -> tuple[pd.DataFrame, str, list[str]]:
    """Return Table 2 with what it counts and the remarks to it.

    A speaker whose rows disagree about gender or age counts by the first row, with a remark.
    """
    people = pd.DataFrame(
        {
            "speaker": table["corpus"] + "/" + table["speaker"],
            "gender": table["gender"].map(
                lambda value: GENDER_OF.get(value.strip().casefold(), value) or "unknown"
            ),
            "band": table["age"].map({age: age_band(age) for age in table["age"].unique()}),
        }
    )
    remarks = []
    known = table["speaker"] != UNKNOWN_SPEAKER
    unit = "speakers" if known.all() else "utterances"
    if unit == "speakers":
        variants = people.drop_duplicates().groupby("speaker").size()
        if (variants > 1).any():
            remarks.append(
                f"{int((variants > 1).sum())} speaker(s) have two genders or age bands; the first counts"
            )
        people = people.drop_duplicates("speaker")
    else:
        remarks.append("speakers are not known: Table 2 counts utterances")
    genders = [name for name in ("female", "male") if name in set(people["gender"])]
    genders += sorted(set(people["gender"]) - {"female", "male", "unknown"})
    bands = [*BANDS, *(["unknown"] if (people["band"] == "unknown").any() else [])]
    genders += ["unknown"] if (people["gender"] == "unknown").any() else []
    counts = pd.crosstab(people["gender"], people["band"])
    return with_totals(counts.reindex(index=genders, columns=bands, fill_value=0)), unit, remarks


def label_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return Table 3: utterances of each label (rows) in each split (columns), with totals."""
    counts = pd.crosstab(table["label"], table["split"])
    splits = [split for split in SPLIT_NAMES if split in counts.columns]
    counts = counts.reindex(index=label_order(table["label"]), columns=splits)
    return with_totals(counts.rename(columns=SPLIT_NAMES, index={"": "no label"}))


def label_shares(table: pd.DataFrame) -> dict[str, float]:
    """Return Figure 1: the share of each label among all utterances."""
    counts = table["label"].value_counts()
    return {label or "no label": float(counts[label] / len(table)) for label in label_order(table["label"])}


def with_totals(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the counts with a column and a row ``total``."""
    counts = counts.rename_axis(index=None, columns=None)
    counts = counts.assign(total=counts.sum(axis=1))
    counts.loc["total"] = counts.sum(axis=0)
    return counts.astype(int)
