"""The report page of stage 1: utterances, and the paper's Table 5 for context."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from sertransfer.reporting import plots
from sertransfer.reporting.page import Page, Plot, Row, Table, draw, flat, majority_row, number, scored
from sertransfer.reporting.paper import paper_table
from sertransfer.reporting.run_files import read_table

PAPER_UTTERANCES = {
    kind: {row["model"]: row for row in paper_table(5)["rows"] if row["input"] == kind}
    for kind in ("clean", "fake")
}
"""Rows of the paper's Table 5 (four classes of LSSED) by kind of input and model."""

_ELSEWHERE = (
    "utterance",
    "adversarial",
    "majority",
    "left_out",
    "generated",
    "errata",
    "assumptions",
    "stamp",
    "sertransfer",
)
"""Keys of ``metrics.json`` that the page shows in places of their own."""


def utterance_page(folder: Path, metrics: dict[str, Any]) -> Page:
    """Build the page of the stage 1 run in *folder*."""
    scores = metrics["utterance"]
    classes = [str(name) for name in scores["classes"]]
    model, split = str(metrics.get("model", "model")), str(metrics.get("split", "test"))
    rows = [
        Row("this run", _cells(scores), f"{scores['n']} utterances, split {split}"),
        majority_row(metrics, 2, "always the most frequent class of these utterances"),
    ]
    attacked = metrics.get("adversarial")
    if attacked:
        remark = f"the same utterances, each moved by {attacked['epsilon']:g} to raise its loss (FGSM)"
        rows.insert(1, Row("this run, attacked inputs", _cells(attacked["utterance"]), remark))
    rows += _paper_rows(model, bool(attacked))
    recalls = dict(zip(classes, map(number, scores.get("recall") or []), strict=False))
    return Page(
        title=f"Speech emotion recognition, {model}, split {split}",
        unit="utterance",
        scores=Table(["WA", "UA"], rows),
        intervals={"bootstrap over": str(scores.get("intervals_over", "speakers"))},
        classes=classes,
        confusion=scores["confusion"] or [],
        facts=flat({key: value for key, value in metrics.items() if key not in _ELSEWHERE}),
        by_class=("recall", recalls),
        plots=_plots(folder, scores["confusion"], (attacked or {"utterance": {}})["utterance"], classes),
    )


def _cells(scores: dict[str, Any]) -> list[str]:
    return [scored(scores, name) for name in ("wa", "ua")]


def _paper_rows(model: str, attacked: bool) -> list[Row]:
    """Return the paper's row for *model*, and for an adversarial one that of attacked inputs too."""
    rows = []
    for kind in ("clean", "fake") if attacked else ("clean",):
        row = PAPER_UTTERANCES[kind].get(model)
        if row is not None:
            name = f"paper, Table 5 ({row['algorithm']})" if attacked else "paper, Table 5"
            remark = (
                "LSSED, 21,206 test utterances whose speakers are in training too; which epoch is not said"
            )
            rows.append(Row(name, [number(row["wa"]), number(row["ua"])], remark))
    return rows


def _plots(
    folder: Path, confusion: list[list[int]] | None, attacked: dict[str, Any], classes: list[str]
) -> list[Plot]:
    drawn = []
    for name, counts, what in (
        ("confusion", confusion, "utterances"),
        ("confusion_adversarial", attacked.get("confusion"), "attacked inputs"),
    ):
        if counts:
            drawn.append(
                draw(
                    folder / "plots" / f"{name}.svg",
                    f"Confusion of {what}: rows are the truth, normalised, with counts.",
                    partial(plots.plot_confusion, counts, classes, title=what.capitalize()),
                )
            )
    if (folder / "epochs.csv").is_file():
        epochs = read_table(folder / "epochs.csv", ["epoch"])
        drawn.append(
            draw(
                folder / "plots" / "learning_curves.svg",
                "Training over the epochs.",
                lambda path: plots.plot_learning_curves(epochs, path),
            )
        )
    return drawn
