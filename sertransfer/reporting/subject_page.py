"""The report page of stage 2: subjects, sentences, and the paper's Table 6 for context."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sertransfer.evaluation.metrics import CHANCE_AUROC, clopper_pearson, f1_scores, recalls
from sertransfer.reporting.check_page import (
    calibration_section,
    group_section,
    shortcut_section,
    tuning_section,
)
from sertransfer.reporting.clinical_page import (
    cohort_section,
    methods_section,
    predictive_section,
    severity_section,
)
from sertransfer.reporting.curves import Curve, curve
from sertransfer.reporting.page import (
    Numbers,
    Page,
    ScoreRow,
    Section,
    Table,
    draw,
    majority_row,
    tile,
    verdict,
)
from sertransfer.reporting.paper_tables import paper_table
from sertransfer.reporting.plots import plot_subject_scores
from sertransfer.reporting.runs import read_table, read_yaml
from sertransfer.reporting.sections import (
    Bounds,
    ScoreBar,
    class_numbers,
    confusion_plot,
    curve_plots,
    finetune_sections,
    intervals_note,
    learning_section,
    scores_plot,
)
from sertransfer.reporting.tables import NO_VALUE, flat, number, scored, with_interval

PAPER_SUBJECTS: dict[str, dict[str, Any]] = {row["encoder"]: row for row in paper_table(6)["rows"]}
"""Table 6 of the paper: WA and UA of the 35 development subjects of DAIC-WOZ."""

CHOSEN = "perhaps chosen on the same subjects"
"""Mark of a figure from the literature that may be no held-out score."""

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
    subject, majority = metrics["subject"], metrics["majority"]
    subjects = read_table(folder / "subjects.csv", ["subject", "label", "score", "prediction"])
    sentences = read_table(folder / "sentences.csv", ["label", "score"])
    classes = [str(name) for name in subject["classes"]]
    encoder, split = str(metrics["encoder"]), str(metrics["split"])
    paper = PAPER_SUBJECTS.get(encoder, {})
    tiles = [
        tile(
            f"{_FIGURES[name]}, by subject",
            subject,
            name,
            {"majority class": majority.get(name), "paper": paper.get(name)},
        )
        for name in ("wa", "ua", "auroc")
    ]
    curves = [
        (what, [curve("", table["label"] == classes[-1], table["score"])])
        for what, table in (("subjects", subjects), ("sentences", sentences))
    ]
    return Page(
        title=f"{classes[-1]} or {classes[0]}: {encoder} encoder, split {split}",
        summary=_summary(metrics, split),
        tiles=tiles,
        verdict=verdict(subject, majority, "subject"),
        sections=[
            _scores(folder, metrics, classes, paper),
            _subjects(folder, metrics, classes, subjects),
            Section(
                "confusion",
                "Confusion",
                plots=[
                    confusion_plot(
                        folder / "plots" / "confusion.svg", subject["confusion"], classes, "subjects"
                    )
                ],
            ),
            *predictive_section(metrics),
            *severity_section(folder, metrics, classes),
            *_thresholds(folder, curves),
            _sentences(metrics["sentence"]),
            *cohort_section(metrics),
            *shortcut_section(metrics),
            *group_section(metrics),
            *calibration_section(folder, metrics),
            *finetune_sections(metrics),
            *tuning_section(folder, metrics),
            *learning_section(folder),
            *methods_section(metrics, read_yaml(folder / "config.yaml")),
        ],
        facts=_facts(metrics, encoder, split),
    )


def _constant(subject: dict[str, Any]) -> list[float | None]:
    """Return macro-F1, sensitivity, specificity and AUROC of one answer for all: the most frequent class."""
    totals = np.sum(subject["confusion"], axis=1)
    if not totals.all():
        return [None] * 4
    always = np.zeros((2, 2), dtype=np.int64)
    always[:, totals.argmax()] = totals
    specificity, sensitivity = recalls(always).tolist()
    return [float(f1_scores(always).mean()), sensitivity, specificity, CHANCE_AUROC]


def _summary(metrics: dict[str, Any], split: str) -> str:
    corpus, use = metrics.get("corpus") or "the corpus", metrics.get("reported_split_use", "")
    text = f"{metrics['subject']['n']} subjects of {corpus}, split {split}, mode {metrics['mode']}"
    return f"{text}; {use}." if use else f"{text}."


def _scores(folder: Path, metrics: dict[str, Any], classes: list[str], paper: dict[str, Any]) -> Section:
    subject, majority = metrics["subject"], metrics["majority"]
    rows = [
        ScoreRow("this run", [scored(subject, name) for name in _FIGURES], f"{subject['n']} subjects"),
        majority_row(metrics, _constant(subject), "always the most frequent class of these subjects"),
    ]
    marks = [
        ScoreBar("this run", subject["wa"], subject["ua"], subject.get("wa_ci95"), subject.get("ua_ci95")),
        ScoreBar("majority class", majority["wa"], majority["ua"]),
    ]
    if paper:
        name, exact = f"paper, Table 6 ({str(metrics['encoder']).upper()})", _exact(paper)
        cells = [with_interval(paper["wa"], exact), number(paper["ua"])]
        remark = "35 development subjects of DAIC-WOZ, no other set named for choices; interval inferred"
        rows.append(ScoreRow(name, [*cells, *[NO_VALUE] * (len(_FIGURES) - 2)], remark, CHOSEN))
        marks.append(ScoreBar(name, paper["wa"], paper["ua"], exact))
    bounds = subject.get("f1_ci95", {})
    f1 = [with_interval(value, bounds.get(name)) for name, value in subject["f1"].items()]
    return Section(
        "scores",
        "Scores by subject",
        Table(list(_FIGURES.values()), rows, corner="scores of"),
        intervals_note(flat(subject.get("intervals", {}))),
        [class_numbers(subject["confusion"], classes, f1=f1)],
        [scores_plot(folder, marks)],
    )


def _exact(paper: dict[str, Any]) -> Bounds:
    return clopper_pearson(paper["right"], paper["of"])


def _subjects(folder: Path, metrics: dict[str, Any], classes: list[str], subjects: pd.DataFrame) -> Section:
    threshold = float(metrics["threshold"]["value"])
    rows = []
    for entry in subjects.sort_values("score", ascending=False, kind="stable").to_dict("records"):
        undecided = str(entry.get("undecided", "")).lower() == "true"
        remark = ("right" if entry["label"] == entry["prediction"] else "wrong") + ", undecided" * undecided
        named = [str(entry.get(name, "")) for name in ("label", "prediction", "sentences")]
        rows.append([str(entry["subject"]), number(entry["score"]), remark, *named])
    rule = str(metrics.get("undecided_rule", ""))
    note = f"Positive from a score of {threshold:.4g} on."
    if rule:
        note += f" An undecided subject has no sentence that could be used; {rule}."
    columns = ["subject", "score", "decision", "label", "prediction", "sentences"]
    plot = draw(
        folder / "plots" / "subjects.svg",
        "Score of each subject, sorted, with the threshold of the decision.",
        partial(plot_subject_scores, subjects, threshold, classes=classes),
        numbers=Numbers(columns, rows, "Every subject, from the highest score", note, shown=True),
        narrow=partial(plot_subject_scores, subjects, threshold, classes=classes, narrow=True),
    )
    return Section("subjects", "Every subject", plots=[plot])


def _thresholds(folder: Path, curves: list[tuple[str, list[Curve]]]) -> list[Section]:
    drawn = [plot for what, lines in curves for plot in curve_plots(folder, lines, what)]
    note = "A threshold that is read off here was chosen on the scores that it then judges."
    return [Section("curves", "ROC and precision-recall", None, note, plots=drawn)] if drawn else []


def _sentences(sentence: dict[str, Any]) -> Section:
    cells = [scored(sentence, name) for name in ("wa", "ua", "auroc")]
    rows = [ScoreRow("this run", cells, f"{sentence['n']} sentences")]
    if "majority" in sentence:
        rows.append(majority_row(sentence, [None if sentence["auroc"] is None else CHANCE_AUROC]))
    return Section("sentences", "Scores by sentence", Table(["WA", "UA", "AUROC"], rows, corner="scores of"))


def _facts(metrics: dict[str, Any], encoder: str, split: str) -> dict[str, str]:
    probe, threshold = metrics.get("probe", {}), metrics["threshold"]
    facts = {
        "corpus": metrics.get("corpus"),
        "reported split": f"{split}, {metrics.get('reported_split_use', '')}",
        "mode": metrics["mode"],
        "encoder": encoder,
        "aggregation": metrics.get("aggregation"),
        "threshold": f"{threshold['value']:.4g} ({threshold.get('rule', '')})",
        "probe": {name: probe.get(name) for name in ("kind", "c", "chosen_by", "folds", "warnings")},
        "fine-tuning": metrics.get("finetune", {}),
        "counts": metrics.get("counts", {}),
        "out of fold": metrics.get("out_of_fold", {}),
        "details of the encoder": metrics.get("encoder_details", {}),
    }
    return flat(facts)
