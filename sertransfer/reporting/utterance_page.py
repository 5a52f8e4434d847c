"""The report page of stage 1: utterances, and the paper's Table 5 for context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sertransfer.reporting import plots
from sertransfer.reporting.page import Page, Plot, Row, Table, draw, flat, majority_row, number, scored
from sertransfer.reporting.paper import paper_table
from sertransfer.reporting.run_files import read_table

PAPER_UTTERANCES = {
    row["model"]: (row["wa"], row["ua"]) for row in paper_table(5)["rows"] if row["input"] == "clean"
}
"""Table 5 of the paper: WA and UA of four classes of LSSED."""

_ELSEWHERE = (
    "utterance",
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
    cells = [scored(scores, name) for name in ("wa", "ua")]
    rows = [
        Row("this run", cells, f"{scores['n']} utterances, split {split}"),
        majority_row(metrics, 2, "always the most frequent class of these utterances"),
    ]
    if model in PAPER_UTTERANCES:
        cells = [number(value) for value in PAPER_UTTERANCES[model]]
        remark = "LSSED, 21,206 test utterances whose speakers are in training too; which epoch is not said"
        rows.append(Row("paper, Table 5", cells, remark))
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
        plots=_plots(folder, scores["confusion"], classes),
    )


def _plots(folder: Path, confusion: list[list[int]] | None, classes: list[str]) -> list[Plot]:
    drawn = []
    if confusion:
        drawn.append(
            draw(
                folder / "plots" / "confusion.svg",
                "Confusion of utterances: rows are the truth, normalised, with counts.",
                lambda path: plots.plot_confusion(confusion, classes, path, title="Utterances"),
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
