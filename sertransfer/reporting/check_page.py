"""The parts of a stage 2 page that say what the scores are worth; a run without them has none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sertransfer.reporting import plots
from sertransfer.reporting.page import Numbers, Plot, ScoreRow, Section, Table, draw
from sertransfer.reporting.runs import read_table
from sertransfer.reporting.tables import NO_VALUE, as_text, number, scored

_INNER_OUTER = ("ua", "auroc")
_SHORTCUT = ("wa", "ua", "auroc")


def shortcut_section(metrics: dict[str, Any]) -> list[Section]:
    """Return the table of what decides as well without any speech emotion, the run's own row first."""
    scored_ones, left_out = metrics.get("shortcuts", []), metrics.get("shortcuts_left_out", [])
    if not scored_ones and not left_out:
        return []
    rows = [ScoreRow("this run", [scored(metrics["subject"], name) for name in _SHORTCUT])]
    for row in scored_ones:
        note = row.get("note", "no speech emotion: what the corpus gives away")
        rows.append(ScoreRow(f"{row['name']} alone", [scored(row, name) for name in _SHORTCUT], note))
    for row in left_out:
        rows.append(
            ScoreRow(f"{row['name']} alone", [NO_VALUE] * len(_SHORTCUT), f"not scored: {row['reason']}")
        )
    note = (
        "Each row decides about the same subjects by that alone. Where one comes near to the run, the run "
        "may have learnt no more than that."
    )
    table = Table(["WA", "UA", "AUROC"], rows, corner="decided by")
    return [Section("shortcuts", "Shortcuts: what the corpus gives away", table, note)]


def calibration_section(folder: Path, metrics: dict[str, Any]) -> list[Section]:
    """Return Brier scores, calibration errors and reliability, where *metrics* has them."""
    if "calibration" not in metrics:
        return []
    blocks = metrics["calibration"]
    levels = ("subject", "sentence")
    rows = [
        ScoreRow(f"{level}s", [number(blocks[level][name]) for name in ("brier", "brier_of_share", "ece")])
        for level in levels
    ]
    columns = ["Brier", "Brier of the share", "calibration error"]
    if all("prevalence" in blocks[level] for level in levels):
        columns.append("the same, uncorrected")
        for row, level in zip(rows, levels, strict=True):
            row.cells.append(number(blocks[level]["uncorrected"]["ece"]))
        subject, sentence = (blocks[level] for level in levels)
        whose = (
            f"Scores were trained as if {number(subject['assumed'])} of all were positive, and are corrected "
            "here, not elsewhere, to the share of positives in the training part: "
            f"{number(subject['prevalence'])} of subjects, {number(sentence['prevalence'])} of sentences."
        )
    else:  # a run of before
        whose = "Scores are not corrected to a prevalence: with balanced classes they assume 0.5."
    note = (
        "0 is best. The Brier score of the share is that of giving every item the positives' share as its "
        f"score: a score above it is worse than none. {whose} "
        f"{blocks['note'][:1].upper()}{blocks['note'][1:]}."
    )
    title = "Calibration: can a score be read as a probability?"
    drawn = [
        reliability_plot(folder / "plots" / f"reliability_{level}s.svg", blocks[level]["bins"], f"{level}s")
        for level in ("subject", "sentence")
    ]
    return [Section("calibration", title, Table(columns, rows, False, "scores of"), note, plots=drawn)]


def reliability_plot(path: Path, bins: Sequence[dict[str, Any]], what: str) -> Plot:
    """Draw share of positives against score, with the bins behind it."""
    rows = [
        [
            f"{row['low']:.1f} to {row['high']:.1f}",
            str(row["n"]),
            number(row["score"]),
            number(row["positive"]),
        ]
        for row in bins
    ]
    numbers = Numbers(["score", "items", "mean score", "share of positives"], rows, f"Reliability, {what}")
    plot = partial(plots.plot_reliability, bins, title=f"Reliability, {what}")
    caption = f"Share of positives against score, by {what}; larger dots hold more."
    return draw(path, caption, plot, numbers=numbers)


def group_section(metrics: dict[str, Any]) -> list[Section]:
    """Return the scores by group of subjects, where *metrics* has them."""
    if not metrics.get("audit"):
        return []
    rows = [
        ScoreRow(
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
    table = Table(["n", "positive", "WA", "UA"], rows, False, "group")
    return [Section("groups", "Scores by group of subjects", table, note)]


def tuning_section(folder: Path, metrics: dict[str, Any]) -> list[Section]:
    """Return what head tuning promised and kept, with its trials, where the run was tuned."""
    tuning = metrics.get("tuning", {})
    if "folds" not in tuning:
        return []
    rows = [
        ScoreRow(
            "outer: subjects that no trial saw",
            [scored(tuning["outer"], name) for name in _INNER_OUTER],
            f"{tuning['outer']['n']} training subjects; {tuning['outer']['note']}",
        ),
        ScoreRow(
            "inner: what chose",
            [number(tuning["inner"][name]) for name in _INNER_OUTER],
            tuning["inner"]["note"],
        ),
    ]
    for fold in tuning["folds"]:
        cells = [f"{number(fold['inner'][name])} / {number(fold['outer'][name])}" for name in _INNER_OUTER]
        rows.append(ScoreRow(f"fold {fold['fold']}, inner / outer", cells, as_text(fold["settings"])))
    note = (
        f"Chosen: {as_text(tuning['best'])}. Trials by the {tuning['objective']}. Note: {tuning['shared']}."
    )
    if "auroc_pairs" in tuning["outer"]:
        note += f" AUROC: pairs {tuning['outer']['auroc_pairs']}."
    else:  # a run of before
        note += " AUROC: pairs of subjects of all folds, whose scores are of different fits."
    if tuning.get("warnings"):
        told = "; ".join(f"{text} ({count} fits)" for text, count in tuning["warnings"].items())
        note += f" Warnings of the trials' solvers: {told}."
    table = Table(["UA", "AUROC"], rows, corner="scored on")
    title = "Head tuning: inner against outer scores"
    return [Section("tuning", title, table, note, plots=_tuning_plots(folder, tuning))]


def _tuning_plots(folder: Path, tuning: dict[str, Any]) -> list[Plot]:
    trials = read_table(folder / "trials.csv", ["study", "trial", "state", "value"])
    columns = ["study", "trial", "state", "value"]
    cells = [
        [str(row["study"]), str(row["trial"]), str(row["state"]), _value(row["value"])]
        for row in trials[columns].to_dict("records")
    ]
    drawn = [
        draw(
            folder / "plots" / "trials.svg",
            "Value of each complete trial, and the best so far, by study.",
            partial(plots.plot_trials, trials),
            numbers=Numbers(columns, cells, "Trials"),
        )
    ]
    if mattered := tuning.get("importance"):
        rows = [[name, number(share)] for name, share in sorted(mattered.items(), key=lambda pair: -pair[1])]
        drawn.append(
            draw(
                folder / "plots" / "importance.svg",
                "How much each setting mattered to the trials of the final study (functional ANOVA).",
                partial(plots.plot_importance, mattered),
                numbers=Numbers(["setting", "share of the variance"], rows, "Importance"),
            )
        )
    rows = [
        [
            str(fold["fold"]),
            *(number(fold[side][name]) for name in _INNER_OUTER for side in ("inner", "outer")),
        ]
        for fold in tuning["folds"]
    ]
    heads = ["fold", "UA inner", "UA outer", "AUROC inner", "AUROC outer"]
    drawn.append(
        draw(
            folder / "plots" / "inner_outer.svg",
            "Inner against outer scores of each fold: what tuning promised, and what it kept.",
            partial(plots.plot_inner_outer, tuning["folds"]),
            numbers=Numbers(heads, rows, "Inner and outer scores by fold"),
        )
    )
    return drawn


def _value(value: float) -> str:
    return NO_VALUE if value != value else number(value)  # a pruned trial has none
