"""Decisions of several runs of stage 2 about the same subjects, read and checked to be about the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.errors import Faults, bad_input
from sertransfer.evaluation.significance import joined_clusters
from sertransfer.io.run_folder import GENERATED_BOTH, check_evidence, generated_remark
from sertransfer.reporting.runs import read_json, read_table

COLUMNS = ["subject", "label", "prediction"]
_NAMED = 8


@dataclass(frozen=True)
class Decisions:
    """What each of *folders* decided.

    Attributes:
        folders: Of the runs.
        metrics: The content of each run's ``metrics.json``.
        tables: Each run's ``subjects.csv``, in the order of the first run's subjects.
        classes: Names, the same in all runs.
    """

    folders: list[Path]
    metrics: list[dict[str, Any]]
    tables: list[pd.DataFrame]
    classes: list[str]

    @property
    def truth(self) -> list[str]:
        """Label of each subject."""
        return list(self.tables[0]["label"])

    @property
    def clusters(self) -> list[str]:
        """What is not independent of each other: subjects that any run's table puts into one cluster."""
        namings = [
            list(table["cluster" if "cluster" in table else "subject"].astype(str)) for table in self.tables
        ]
        return joined_clusters(namings)

    @property
    def cluster_name(self) -> str | None:
        """The columns of the manifest that name the clusters, where the runs say it."""
        found = [values["subject"].get("intervals", {}).get("cluster") for values in self.metrics]
        return ", ".join(dict.fromkeys(str(name) for name in found if name)) or None

    @property
    def generated(self) -> bool:
        """Whether the data are generated, or what a run's encoder was trained on."""
        return any(map(generated_remark, self.metrics))

    @property
    def generated_remark(self) -> str:
        """What is generated: the data, a model of the runs, or both; empty if nothing is."""
        remarks = {generated_remark(values) for values in self.metrics} - {""}
        return remarks.pop() if len(remarks) == 1 else GENERATED_BOTH if remarks else ""


def read_decisions(folders: Sequence[Path]) -> Decisions:
    """Read the finished runs in *folders*.

    Raises:
        BadInput: If there are fewer than two, one holds no finished run, or its subjects, labels or classes
            are not those of the first; each difference is named.
    """
    if len(folders) < 2:
        raise bad_input(
            "compare", found=f"{len(folders)} run", expected="two or more", remedy="name another run folder"
        )
    folders = [Path(folder) for folder in folders]
    found = [read_json(folder / "metrics.json", "the metrics of a finished run") for folder in folders]
    for folder, values in zip(folders, found, strict=True):
        if "subject" not in values:
            raise bad_input(
                folder / "metrics.json",
                found="no scores of subjects",
                expected="a finished run of 'sertransfer transfer' or 'tune'",
                remedy="give runs of stage 2",
            )
    for folder, values in zip(folders, found, strict=True):
        check_evidence(folder, values, ["subjects.csv"])
    tables = [read_table(folder / "subjects.csv", COLUMNS) for folder in folders]
    classes = [[str(name) for name in values["subject"]["classes"]] for values in found]
    faults = Faults()
    for index in range(1, len(folders)):
        _check_same((tables[0], tables[index]), [folders[0], folders[index]], faults)
        if classes[index] != classes[0]:
            faults.add(
                folders[index] / "metrics.json",
                found=f"classes {', '.join(classes[index])}",
                expected=", ".join(classes[0]),
                remedy="compare runs of the same classes",
            )
    faults.raise_if_any()
    order = tables[0]["subject"]
    aligned = [table.set_index("subject").loc[order].reset_index() for table in tables]
    return Decisions(folders, found, aligned, classes[0])


def _check_same(tables: tuple[pd.DataFrame, pd.DataFrame], folders: list[Path], faults: Faults) -> None:
    first, second = tables
    names = [set(table["subject"]) for table in tables]
    for mine, other in ((0, 1), (1, 0)):
        if extra := sorted(names[mine] - names[other]):
            faults.add(
                folders[mine] / "subjects.csv",
                found=f"{len(extra)} subject(s) that the other run has not scored: {_some(extra)}",
                expected="the same subjects in both runs",
                remedy="score both runs on the same split of the same manifest",
            )
    labels = first.merge(second, on="subject", suffixes=("_a", "_b"))
    if other_label := labels.loc[labels["label_a"] != labels["label_b"], "subject"].tolist():
        faults.add(
            folders[1] / "subjects.csv",
            found=f"another label than in {folders[0]} for subject(s) {_some(other_label)}",
            expected="the same labels in both runs",
            remedy="prepare both runs' manifests with the same label files and errata",
        )


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
