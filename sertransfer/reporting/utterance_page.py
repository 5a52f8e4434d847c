"""The report page of stage 1: utterances, and the paper's Table 5 for context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sertransfer.evaluation.calibration import correct_shares, expected_calibration_error, reliability
from sertransfer.reporting.check_page import reliability_plot
from sertransfer.reporting.curves import curve
from sertransfer.reporting.page import Page, ScoreRow, Section, Table, majority_row, tile, verdict
from sertransfer.reporting.paper_tables import paper_table
from sertransfer.reporting.runs import read_table
from sertransfer.reporting.sections import (
    ScoreBar,
    class_numbers,
    confusion_plot,
    curve_plots,
    intervals_note,
    learning_section,
    scores_plot,
)
from sertransfer.reporting.tables import flat, number, scored

PAPER_UTTERANCES = {
    kind: {row["model"]: row for row in paper_table(5)["rows"] if row["input"] == kind}
    for kind in ("clean", "fake")
}
"""Rows of the paper's Table 5 (four classes of LSSED) by kind of input and model."""

SHARED = "speakers shared with training"
"""Mark of the paper's figures of stage 1."""

_ELSEWHERE = (
    "utterance",
    "adversarial",
    "majority",
    "left_out",
    "generated",
    "generated_data",
    "generated_model",
    "prior",
    "errata",
    "assumptions",
    "stamp",
    "sertransfer",
)
"""Keys of ``metrics.json`` that the page shows in places of their own."""


def utterance_page(folder: Path, metrics: dict[str, Any]) -> Page:
    """Build the page of the stage 1 run in *folder*."""
    scores, majority = metrics["utterance"], metrics["majority"]
    classes = [str(name) for name in scores["classes"]]
    model, split = str(metrics.get("model", "model")), str(metrics.get("split", "test"))
    attacked = (metrics.get("adversarial") or {}).get("utterance", {})
    paper = PAPER_UTTERANCES["clean"].get(model, {})
    speakers = f" of {scores['speakers']} speakers" if scores.get("speakers") else ""
    tiles = [
        tile(
            f"{name.upper()}, by utterance",
            scores,
            name,
            {"majority class": majority.get(name), "paper": paper.get(name)},
        )
        for name in ("wa", "ua")
    ]
    confusions = [
        confusion_plot(folder / "plots" / f"{name}.svg", counts, classes, what)
        for name, counts, what in (
            ("confusion", scores["confusion"], "utterances"),
            ("confusion_adversarial", attacked.get("confusion"), "attacked inputs"),
        )
        if counts
    ]
    return Page(
        title=f"Speech emotion recognition, {model}, split {split}",
        summary=f"{scores['n']} utterances{speakers}, {metrics.get('corpus', '')}, {len(classes)} classes.",
        tiles=tiles,
        verdict=verdict(scores, majority, "utterance"),
        sections=[
            _scores(folder, metrics, classes),
            *([Section("confusion", "Confusion", plots=confusions)] if confusions else []),
            *_by_score(folder, metrics, classes),
            *learning_section(folder),
        ],
        facts=flat({key: value for key, value in metrics.items() if key not in _ELSEWHERE}),
    )


def _scores(folder: Path, metrics: dict[str, Any], classes: list[str]) -> Section:
    scores, majority, attacked = metrics["utterance"], metrics["majority"], metrics.get("adversarial")
    rows = [
        ScoreRow("this run", _cells(scores), f"{scores['n']} utterances"),
        majority_row(metrics, remark="always the most frequent class of these utterances"),
    ]
    marks = [_mark("this run", scores), ScoreBar("majority class", majority["wa"], majority["ua"])]
    if attacked:
        remark = f"the same utterances, each moved by {attacked['epsilon']:g} to raise its loss (FGSM)"
        rows.insert(1, ScoreRow("this run, attacked inputs", _cells(attacked["utterance"]), remark))
        marks.insert(1, _mark("this run, attacked", attacked["utterance"]))
    for row, printed in _paper_rows(str(metrics.get("model", "model")), bool(attacked)):
        rows.append(row)
        marks.append(ScoreBar(row.name, printed["wa"], printed["ua"]))
    return Section(
        "scores",
        "Scores by utterance",
        Table(["WA", "UA"], rows, corner="scores of"),
        intervals_note({"clusters": str(scores.get("intervals_over", "speakers"))}),
        [class_numbers(scores["confusion"], classes)] if scores["confusion"] else [],
        [scores_plot(folder, marks)] if scores["wa"] is not None else [],
    )


def _mark(name: str, scores: dict[str, Any]) -> ScoreBar:
    return ScoreBar(name, scores["wa"], scores["ua"], scores.get("wa_ci95"), scores.get("ua_ci95"))


def _cells(scores: dict[str, Any]) -> list[str]:
    return [scored(scores, name) for name in ("wa", "ua")]


def _paper_rows(model: str, attacked: bool) -> list[tuple[ScoreRow, dict[str, Any]]]:
    """Return the paper's row for *model*, and for an adversarial one that of attacked inputs too."""
    rows = []
    for kind in ("clean", "fake") if attacked else ("clean",):
        row = PAPER_UTTERANCES[kind].get(model)
        if row is not None:
            name = f"paper, Table 5 ({row['algorithm']})" if attacked else "paper, Table 5"
            remark = "LSSED, 21,206 test utterances; which epoch is scored, and who chose it, is not said"
            rows.append((ScoreRow(name, [number(row["wa"]), number(row["ua"])], remark, SHARED), row))
    return rows


def _by_score(folder: Path, metrics: dict[str, Any], classes: list[str]) -> list[Section]:
    """Return curves of each class and the calibration, of a run that has scores of classes."""
    if not (folder / "utterances.csv").is_file():
        return []
    names = [f"score_{name}" for name in classes]
    table = read_table(folder / "utterances.csv", ["label", "prediction", *names])
    if table.empty:
        return []
    curves = [
        curve(name, table["label"] == name, table[key]) for name, key in zip(classes, names, strict=True)
    ]
    drawn = curve_plots(folder, curves, "classes")
    note = "Each class against all others, by its own score; the legend has the area under each curve."
    sections = [Section("curves", "ROC and precision-recall by class", None, note, plots=drawn)]
    return [*(sections if drawn else []), _calibration(folder, metrics, table, classes)]


def _calibration(folder: Path, metrics: dict[str, Any], table: pd.DataFrame, classes: list[str]) -> Section:
    """Return how often the answer is right, against the score that it was given."""
    right = (table["label"] == table["prediction"]).to_numpy(bool)
    given = table[[f"score_{name}" for name in classes]].clip(0, 1).to_numpy(float)
    columns = ["mean score", "share right", "calibration error"]
    note = (
        "The score of the class that was answered, against the share of right answers; 0 is the best error. "
        "A mean score above the share right is overconfidence. "
    )
    answered = np.arange(len(table)), given.argmax(axis=1)
    confidence = uncorrected = given[answered]
    prior = metrics.get("prior")
    if prior is None:
        note += "Scores are not corrected: the run does not tell whether classes were weighted in training."
    elif prior["assumed"] == prior["prevalence"]:
        note += "Classes were not weighted in training, so scores need no correction to their shares."
    else:
        shares = [[prior[what][name] for name in classes] for what in ("assumed", "prevalence")]
        confidence = correct_shares(given, *shares)[answered]
        columns.append("the same, uncorrected")
        told = ", ".join(f"{name} {number(share)}" for name, share in zip(classes, shares[1], strict=True))
        note += (
            "In training all classes weighed the same. Scores are corrected here, and only here, to the "
            f"shares of the classes in the training part ({told}); answers stay as they are."
        )
    cells = [confidence.mean(), right.mean(), expected_calibration_error(right, confidence)]
    if len(columns) > len(cells):
        cells.append(expected_calibration_error(right, uncorrected))
    rows = [ScoreRow("answers", [number(value) for value in cells])]
    plot = reliability_plot(
        folder / "plots" / "reliability.svg", reliability(right, confidence), "answers (positive: right)"
    )
    title = "Calibration: can a score be read as a probability?"
    return Section("calibration", title, Table(columns, rows, False, "scores of"), note, plots=[plot])
