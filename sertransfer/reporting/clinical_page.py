"""The parts of a stage 2 page for clinical readers: cohort, predictive values, severity, methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sertransfer.metrics import predictive_values
from sertransfer.reporting.page import Numbers, Section, draw
from sertransfer.reporting.plots import COLOURS, INK, draw_legend, new_figure, save_figure
from sertransfer.reporting.values import NO_VALUE, number, with_interval
from sertransfer.timebase import SAMPLE_RATE

PREVALENCES = (0.05, 0.1, 0.2, 0.3)
"""Shares of positives for which predictive values are stated, beside that of the reported subjects."""

QUESTIONNAIRES = {
    "phq8_score": "PHQ-8 score",
    "phq8": "PHQ-8 score",
    "phq_score": "PHQ score",
    "phq": "PHQ score",
    "phq9_score": "PHQ-9 score",
    "phq9": "PHQ-9 score",
    "hamd_score": "HAM-D score",
    "hamd": "HAM-D score",
    "bdi_score": "BDI score",
    "bdi2_score": "BDI-II score",
    "bdi": "BDI score",
}
"""Columns of questionnaires by their names for readers."""


def cohort_section(metrics: Mapping[str, Any]) -> list[Section]:
    """Return who was trained on and who was scored, where *metrics* says so."""
    cohort = metrics.get("cohort")
    if not cohort:
        return []
    labels = list(dict.fromkeys(name for part in cohort.values() for name in part["by_label"]))
    genders = sorted({name for part in cohort.values() for name in part["by_gender"]})
    severity = next((part["severity"]["column"] for part in cohort.values() if "severity" in part), None)
    rows = [["subjects", *(str(part["n"]) for part in cohort.values())]]
    rows += [
        [name, *(_share(part["by_label"].get(name, 0), part["n"]) for part in cohort.values())]
        for name in labels
    ]
    rows += [
        [f"gender {name}", *(_share(part["by_gender"].get(name, 0), part["n"]) for part in cohort.values())]
        for name in genders
    ]
    rows.append(["age in years: mean (SD), range", *(_spread(part.get("age")) for part in cohort.values())])
    if severity is not None:
        what = f"{QUESTIONNAIRES[severity]}: mean (SD), range"
        rows.append([what, *(_spread(part.get("severity")) for part in cohort.values())])
    columns = ["", *(f"{split} ({'trained on' if split == 'train' else 'scored'})" for split in cohort)]
    table = Numbers(columns, rows, "Subjects of the run")
    return [Section("cohort", "Cohort", None, "", [table])]


def predictive_section(metrics: Mapping[str, Any]) -> list[Section]:
    """Return the positive and the negative predictive value by prevalence."""
    subject = metrics["subject"]
    sensitivity, specificity = subject.get("sensitivity"), subject.get("specificity")
    if sensitivity is None or specificity is None:
        return []
    counts = np.sum(subject["confusion"], axis=1)
    own = float(counts[-1] / counts.sum())
    bounds = [subject.get(f"{name}_ci95") for name in ("sensitivity", "specificity")]
    rows = []
    for prevalence in sorted({*PREVALENCES, own}):
        name = f"{prevalence:.1%}" + (" (these subjects)" if prevalence == own else "")
        values = predictive_values(sensitivity, specificity, prevalence)
        ends: Sequence[tuple[float | None, float | None] | None] = (None, None)
        if all(bounds):
            lower = predictive_values(bounds[0][0], bounds[1][0], prevalence)
            upper = predictive_values(bounds[0][1], bounds[1][1], prevalence)
            ends = [
                None if low is None or high is None else (low, high)
                for low, high in zip(lower, upper, strict=True)
            ]
        cells = [
            "none decided so" if value is None else with_interval(value, end)
            for value, end in zip(values, ends, strict=True)
        ]
        rows.append([name, *cells])
    note = (
        f"Computed by Bayes' rule from this run's sensitivity {number(sensitivity)} and specificity "
        f"{number(specificity)}. They hold for another population only where these do. "
        "In brackets: both at the lower, and both at the upper ends of their 95 % intervals."
    )
    table = Numbers(["prevalence", "PPV", "NPV"], rows, "Predictive values by prevalence")
    return [Section("predictive", "Predictive values (PPV and NPV)", None, note, [table])]


def severity_section(folder: Path, metrics: Mapping[str, Any], classes: Sequence[str]) -> list[Section]:
    """Return the scatter of the questionnaire's score against the model's, where *metrics* has both."""
    severity = metrics.get("severity")
    if not severity:
        return []
    name = QUESTIONNAIRES[severity["column"]]
    points = severity["points"]
    rank = severity["spearman"]
    note = (
        f"Rank correlation (Spearman) {number(rank)}" if rank is not None else "No rank correlation"
    ) + f", {len(points)} subjects; no interval is given. The run was trained on labels, not on this score."
    rows = [[f"{value:g}", number(score), label] for value, score, label in points]
    plot = draw(
        folder / "plots" / "severity.svg",
        f"{name} of each subject against its score by the model.",
        partial(plot_severity, points, name, float(metrics["threshold"]["value"]), classes=classes),
        numbers=Numbers([name, "model score", "label"], rows, f"{name} and model score"),
        wide=True,
    )
    return [Section("severity", f"{name} and model score", None, note, plots=[plot])]


def plot_severity(
    points: Sequence[Sequence[Any]],
    name: str,
    threshold: float,
    path: str | Path,
    *,
    classes: Sequence[str],
) -> None:
    """Draw the model's score against the questionnaire's, a mark a subject.

    Args:
        points: Of each subject the questionnaire's score, the model's and the label.
        name: Of the questionnaire.
        threshold: From this model score on the decision is positive.
        path: PNG or SVG to write.
        classes: Order of the labels in colour and legend.

    Raises:
        BadInput: If *path* has another suffix.
    """
    figure, axes = new_figure(6.4, 3.8)
    for index, label in enumerate(classes):
        own = [point for point in points if point[2] == label]
        axes.scatter(
            [point[0] for point in own],
            [point[1] for point in own],
            color=COLOURS[index % len(COLOURS)],
            marker="os^D"[index % 4],
            s=30,
            alpha=0.8,
            label=label,
        )
    axes.axhline(threshold, color=INK, linewidth=1, linestyle="--", label=f"threshold {threshold:.3g}")
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel(name)
    axes.set_ylabel("model score")
    draw_legend(axes)
    save_figure(figure, axes, path, f"{name} and model score")


def methods_section(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Section]:
    """Return a paragraph of methods to copy, of what the run's files say and nothing else."""
    return [
        Section(
            "methods",
            "Methods, to copy",
            None,
            methods_text(metrics, settings),
            copied=True,
        )
    ]


def methods_text(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return what was done in a run of stage 2, as a paragraph for a paper.

    Args:
        metrics: Content of ``metrics.json``.
        settings: Content of ``config.yaml``, may be empty.
    """
    subject, counts = metrics["subject"], metrics.get("counts", {})
    negative, positive = subject["classes"][0], subject["classes"][-1]
    split = metrics["split"]
    sentences = [_data(metrics, counts, split), _encoder(metrics), _head(metrics, settings)]
    aggregation = str(metrics.get("aggregation", "")).replace("_", " ")
    if aggregation:
        sentences.append(f"Scores of sentences were combined into one of the subject by '{aggregation}'.")
    threshold = metrics["threshold"]
    how = {
        "fixed": "fixed in advance",
        "out_of_fold": "chosen on out-of-fold scores of the training subjects",
    }.get(str(threshold.get("rule")), f"set by the rule '{threshold.get('rule')}'")
    sentences.append(
        f"A subject was decided to be '{positive}' rather than '{negative}' from a score of"
        f" {threshold['value']:.3g} on; this threshold was {how}."
    )
    use = metrics.get("reported_split_use", "")
    sentences.append(f"Split '{split}' was {use}." if use else "")
    intervals = subject.get("intervals")
    if intervals:
        made = "; ".join(f"{name}: {value}" for name, value in intervals.items())
        sentences.append(f"Intervals are at 95 % ({made}).")
    version = metrics.get("sertransfer")
    sentences.append(f"Software: sertransfer{f' {version}' if version else ''}.")
    return " ".join(filter(None, sentences))


def _data(metrics: Mapping[str, Any], counts: Mapping[str, Any], split: str) -> str:
    corpus = metrics.get("corpus") or "the corpus"
    generated = (
        "The data were generated by a program and are no recordings of people. "
        if metrics.get("generated")
        else ""
    )
    parts = {name: counts[name]["subjects"] for name in ("train", split) if name in counts}
    told = " and ".join(
        f"{sum(by_label.values())} subjects ({_counted(by_label)}) of split '{name}'"
        for name, by_label in parts.items()
    )
    told = told or f"{metrics['subject']['n']} subjects of split '{split}'"
    left_out = metrics.get("errata")
    corrected = f" {len(left_out)} corrections were applied to the corpus." if left_out else ""
    apart = ", no subject in both" if len(parts) > 1 else ""
    return f"{generated}Of {corpus}, {told} were used{apart}.{corrected}"


def _counted(by_label: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {label}" for label, count in by_label.items())


def _encoder(metrics: Mapping[str, Any]) -> str:
    about = metrics.get("encoder_details", {})
    kind = {
        "ser": "a speech emotion recogniser",
        "asr": "a speech recogniser",
        "ssl": "a self-supervised model",
    }
    named = f" ({about['model']})" if about.get("model") else ""
    text = f"Sentences were embedded by {kind.get(metrics['encoder'], metrics['encoder'])}{named}"
    framing = (about.get("front_end") or {}).get("framing") or {}
    if {"window", "hop"} <= set(framing):
        rate = framing.get("sample_rate", SAMPLE_RATE)
        window, hop = (1000 * framing[name] / rate for name in ("window", "hop"))
        text += f", on frames of {window:g} ms every {hop:g} ms"
    trained = (about.get("provenance") or {}).get("corpus")
    if trained:
        names = trained if isinstance(trained, str) else ", ".join(map(str, trained))
        text += f", trained on {names}"
    layer = about.get("layer")
    return text + (f", from layer {layer}." if layer not in (None, "") else ".")


def _head(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if metrics["mode"] == "finetune":
        tuned = metrics.get("finetune", {})
        depth = (settings.get("finetune") or {}).get("depth")
        text = "The encoder was fine-tuned" + (f" (depth '{depth}')" if depth else "")
        epochs = tuned.get("epoch") or tuned.get("best_epoch")
        return f"{text}{f'; the weights of epoch {epochs} were kept' if epochs else ''}."
    probe = metrics.get("probe", {})
    kind = {"logistic": "logistic regression", "svm": "a linear support vector machine"}
    head = kind.get(str(probe.get("kind")), str(probe.get("kind", "a probe")))
    text = f"The encoder was frozen, and {head} was fitted to its embeddings"
    if probe.get("c") is not None:
        text += f" with C = {probe['c']:g}"
        if probe.get("chosen_by"):
            text += f", chosen by {probe['chosen_by']}"
        if probe.get("folds"):
            text += f" ({_folds(probe['folds'])})"
    return f"{text}."


def _folds(folds: Any) -> str:
    count = folds if isinstance(folds, int) else len(folds)
    return f"{count} folds"


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.0%})" if total else str(count)


def _spread(values: Mapping[str, Any] | None) -> str:
    if not values:
        return NO_VALUE
    deviation = NO_VALUE if values["sd"] is None else f"{values['sd']:.1f}"
    return f"{values['mean']:.1f} ({deviation}), {values['low']:g} to {values['high']:g}; n = {values['n']}"
