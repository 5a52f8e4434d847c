"""The parts of a stage 2 page that say what the scores are worth; a run without them has none."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from sertransfer.reporting import check_plots
from sertransfer.reporting.page import NO_VALUE, Plot, Row, Section, Table, as_text, draw, number, scored
from sertransfer.reporting.run_files import read_table

_INNER_OUTER = ("ua", "auroc")


def shortcut_lines(metrics: dict[str, Any], figures: list[str]) -> list[Row]:
    """Return one line of the score table a shortcut, in the order of *figures*; one left out says why."""
    lines = [
        Row(
            f"{row['name']} alone",
            [scored(row, name) if name in ("wa", "ua", "auroc") else NO_VALUE for name in figures],
            row.get("note", "no speech emotion: what the corpus gives away"),
        )
        for row in metrics.get("shortcuts", [])
    ]
    lines += [
        Row(f"{one['name']} alone", [NO_VALUE for _ in figures], f"not scored: {one['reason']}")
        for one in metrics.get("shortcuts_left_out", [])
    ]
    return lines


def check_sections(metrics: dict[str, Any]) -> list[Section]:
    """Return the tables of head tuning, calibration and groups that *metrics* has."""
    sections = []
    if "folds" in metrics.get("tuning", {}):
        sections.append(_tuning(metrics["tuning"]))
    if "calibration" in metrics:
        sections.append(_calibration(metrics["calibration"]))
    if metrics.get("audit"):
        rows = [
            Row(
                f"{row['by']}: {row['group']}",
                [str(row["n"]), str(row["positive"]), scored(row, "wa"), scored(row, "ua")],
                row["warning"],
            )
            for row in metrics["audit"]
        ]
        note = (
            "Sentences are counted in thirds of the subjects. "
            "Every group is also a chance to find a difference by accident."
        )
        sections.append(
            Section("Scores by group of subjects", Table(["n", "positive", "WA", "UA"], rows, False), note)
        )
    return sections


def _tuning(tuning: dict[str, Any]) -> Section:
    rows = [
        Row(
            "outer: subjects that no trial saw",
            [scored(tuning["outer"], name) for name in _INNER_OUTER],
            f"{tuning['outer']['n']} training subjects; {tuning['outer']['note']}",
        ),
        Row(
            "inner: what chose",
            [number(tuning["inner"][name]) for name in _INNER_OUTER],
            tuning["inner"]["note"],
        ),
    ]
    for fold in tuning["folds"]:
        cells = [f"{number(fold['inner'][name])} / {number(fold['outer'][name])}" for name in _INNER_OUTER]
        rows.append(Row(f"fold {fold['fold']}, inner / outer", cells, as_text(fold["settings"])))
    note = (
        f"Chosen: {as_text(tuning['best'])}. Trials by the {tuning['objective']}. Note: {tuning['shared']}."
    )
    return Section("Head tuning: inner against outer scores", Table(["UA", "AUROC"], rows), note)


def _calibration(blocks: dict[str, Any]) -> Section:
    rows = [
        Row(
            f"{level}s",
            [number(blocks[level][name]) for name in ("brier", "brier_of_share", "ece")],
        )
        for level in ("subject", "sentence")
    ]
    columns = ["Brier", "Brier of the share", "calibration error"]
    note = (
        "0 is best. The Brier score of the share is that of giving every item the positives' share as its "
        f"score: a score above it is worse than none. {blocks['note'][:1].upper()}{blocks['note'][1:]}."
    )
    return Section("Calibration: can a score be read as a probability?", Table(columns, rows, False), note)


def check_plots_of(folder: Path, metrics: dict[str, Any]) -> list[Plot]:
    """Draw the reliability of scores, and the trials and folds of head tuning, where there are such."""
    drawn: list[Plot] = []
    for level in ("subject", "sentence"):
        if "calibration" in metrics:
            plot = partial(
                check_plots.plot_reliability,
                metrics["calibration"][level]["bins"],
                title=f"Reliability, {level}s",
            )
            caption = f"Share of positives against score, by {level}s; larger dots hold more."
            drawn.append(draw(folder / "plots" / f"reliability_{level}s.svg", caption, plot))
    if "folds" in metrics.get("tuning", {}):
        trials = read_table(folder / "trials.csv", ["study", "trial", "state", "value"])
        caption = "Value of each complete trial, and the best so far, by study."
        drawn.append(draw(folder / "plots" / "trials.svg", caption, partial(check_plots.plot_trials, trials)))
        if mattered := metrics["tuning"].get("importance"):
            caption = "How much each setting mattered to the trials of the final study (functional ANOVA)."
            plot = partial(check_plots.plot_importance, mattered)
            drawn.append(draw(folder / "plots" / "importance.svg", caption, plot))
        caption = "Inner against outer scores of each fold: what tuning promised, and what it kept."
        plot = partial(check_plots.plot_inner_outer, metrics["tuning"]["folds"])
        drawn.append(draw(folder / "plots" / "inner_outer.svg", caption, plot))
    return drawn
