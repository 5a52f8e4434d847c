"""The report page of stage 2: subjects, sentences, and the paper's Table 6 for context."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.reporting import plots
from sertransfer.reporting.check_page import check_plots_of, check_sections, shortcut_lines
from sertransfer.reporting.finetune_page import finetune_sections
from sertransfer.reporting.page import (
    NO_VALUE,
    Page,
    Plot,
    Row,
    Table,
    draw,
    flat,
    majority_row,
    number,
    scored,
    with_interval,
)
from sertransfer.reporting.paper import paper_table
from sertransfer.reporting.run_files import read_table

PAPER_SUBJECTS = {row["encoder"]: (row["wa"], row["ua"]) for row in paper_table(6)["rows"]}
"""Table 6 of the paper: WA and UA of the 35 development subjects of DAIC-WOZ."""


_FIGURES = {
    "wa": "WA",
    "ua": "UA",
    "macro_f1": "macro-F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auroc": "AUROC",
}


def subject_page(folder: Path, metrics: dict[str, Any]) -> Page:
    """Build the page of the stage 2 run in *folder*."""
    subject = metrics["subject"]
    subjects = read_table(folder / "subjects.csv", ["subject", "label", "score", "prediction"])
    sentences = read_table(folder / "sentences.csv", ["label", "score"])
    classes = [str(name) for name in subject["classes"]]
    encoder, split = str(metrics["encoder"]), str(metrics["split"])
    intervals = subject.get("f1_ci95", {})
    f1 = {str(name): with_interval(value, intervals.get(name)) for name, value in subject["f1"].items()}
    return Page(
        title=f"{classes[-1]} or {classes[0]}: {encoder} encoder, split {split}",
        unit="subject",
        scores=Table(list(_FIGURES.values()), _rows(metrics, encoder, split)),
        intervals=flat(subject.get("intervals", {})),
        classes=classes,
        confusion=subject["confusion"],
        facts=_facts(metrics, encoder, split),
        by_class=("F1", f1),
        sentences=_sentence_table(metrics["sentence"]),
        sections=finetune_sections(metrics) + check_sections(metrics),
        plots=_plots(folder, metrics, classes, subjects, sentences),
        subjects=_subject_rows(subjects),
        note=str(metrics.get("undecided_rule", "")),
    )


def _rows(metrics: dict[str, Any], encoder: str, split: str) -> list[Row]:
    subject = metrics["subject"]
    cells = [scored(subject, name) for name in _FIGURES]
    rows = [
        Row("this run", cells, f"{subject['n']} subjects, split {split}"),
        majority_row(metrics, len(_FIGURES), "always the most frequent class of these subjects"),
    ]
    if encoder in PAPER_SUBJECTS:
        cells = [number(value) for value in PAPER_SUBJECTS[encoder]] + [NO_VALUE] * (len(_FIGURES) - 2)
        remark = "35 development subjects of DAIC-WOZ; chosen on the development set, so no held-out score"
        rows.append(Row(f"paper, Table 6 ({encoder.upper()})", cells, remark))
    return rows + shortcut_lines(metrics, list(_FIGURES))


def _sentence_table(sentence: dict[str, Any]) -> Table:
    cells = [scored(sentence, name) for name in ("wa", "ua", "auroc")]
    rows = [Row("this run", cells, f"{sentence['n']} sentences")]
    if "majority" in sentence:
        rows.append(majority_row(sentence, 3))
    return Table(["WA", "UA", "AUROC"], rows)


def _plots(
    folder: Path, metrics: dict[str, Any], classes: list[str], subjects: pd.DataFrame, sentences: pd.DataFrame
) -> list[Plot]:
    confusion = metrics["subject"]["confusion"]
    threshold = float(metrics["threshold"]["value"])
    drawn = [
        draw(
            folder / "plots" / "confusion.svg",
            "Confusion of subjects: rows are the truth, normalised, with counts.",
            lambda path: plots.plot_confusion(confusion, classes, path, title="Subjects"),
        ),
        draw(
            folder / "plots" / "subjects.svg",
            "Score of each subject, sorted, with the threshold of the decision.",
            lambda path: plots.plot_subject_scores(subjects, threshold, path, classes=classes),
        ),
    ]
    for table, what in ((subjects, "subjects"), (sentences, "sentences")):
        truth = table["label"] == classes[-1]
        if truth.nunique() == 2:
            caption = f"Sensitivity against false alarms, by {what}, over all thresholds."
            plot = partial(plots.plot_roc, truth, table["score"], title=f"ROC, {what}")
            drawn.append(draw(folder / "plots" / f"roc_{what}.svg", caption, plot))
    return drawn + check_plots_of(folder, metrics)


def _facts(metrics: dict[str, Any], encoder: str, split: str) -> dict[str, str]:
    probe, threshold = metrics.get("probe", {}), metrics["threshold"]
    facts = {
        "corpus": metrics.get("corpus"),
        "reported split": f"{split}, {metrics.get('reported_split_use', '')}",
        "mode": metrics["mode"],
        "probe": {name: probe.get(name) for name in ("kind", "c", "chosen_by", "folds", "warnings")},
        "fine-tuning": metrics.get("finetune", {}),
        "aggregation": metrics.get("aggregation"),
        "threshold": f"{threshold['value']:.4g} ({threshold.get('rule', '')})",
        "counts": metrics.get("counts", {}),
        "out of fold": metrics.get("out_of_fold", {}),
        "shortcuts left out": {
            str(entry["name"]): entry["reason"] for entry in metrics.get("shortcuts_left_out", [])
        },
        "encoder": {"name": encoder, **metrics.get("encoder_details", {})},
    }
    return flat(facts)


def _subject_rows(subjects: pd.DataFrame) -> list[dict[str, str]]:
    rows = []
    for entry in subjects.sort_values("score", ascending=False, kind="stable").to_dict("records"):
        undecided = str(entry.get("undecided", "")).lower() == "true"
        right = "right" if entry["label"] == entry["prediction"] else "wrong"
        rows.append(
            {
                **{
                    name: str(entry.get(name, "")) for name in ("subject", "label", "prediction", "sentences")
                },
                "score": number(entry["score"]),
                "remark": right + (", undecided" if undecided else ""),
            }
        )
    return rows
