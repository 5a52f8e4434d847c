"""What a recogniser loses on a corpus that it was not trained on (the paper's Table 4).

The paper prints the loss alone. A score can fall to chance and hardly further, so a model that is weak at
home loses little: the loss divided by ``source - chance`` says what share of what it had is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sertransfer.reporting.paper import paper_table
from sertransfer.reporting.result_table import Column, ResultTable
from sertransfer.reporting.runs import Run, score_cells


@dataclass(frozen=True)
class Degradation:
    """One score within the corpus of training (*source*) and across (*target*).

    Attributes:
        source: Score within.
        target: Score across.
        chance: Score of one who guesses, ``1 / classes``.
    """

    source: float
    target: float
    chance: float

    @property
    def loss(self) -> float:
        """``source - target``."""
        return self.source - self.target

    @property
    def relative(self) -> float | None:
        """The loss over ``source - chance``; ``None`` for a source that is not above chance."""
        above = self.source - self.chance
        return self.loss / above if above > 1e-9 else None


def degradation_table(runs: Sequence[Run]) -> ResultTable | None:
    """Return Table 4 for each run of ``evaluate`` whose checkpoint another of *runs* trained elsewhere.

    WA's chance is taken as ``1 / classes`` too; the majority row beside it is the higher bar.

    Returns:
        The table, or ``None`` if there is no such pair.
    """
    trained = {run.weights: run for run in runs if run.kind == "pretrain" and run.weights}
    pairs = [
        (trained[run.weights], run)
        for run in runs
        if run.kind == "evaluate" and run.weights in trained and run.manifest != trained[run.weights].manifest
    ]
    if not pairs:
        return None
    paper = paper_table(4)
    rows: list[dict[str, Any]] = [_row(source, target) for source, target in pairs]
    printed = [
        {
            "who": f"paper, {paper['place'].split(',')[0]}",
            "source": row["source"],
            "target": row["target"],
            "wa_loss": row["wa_loss"],
            "ua_loss": row["ua_loss"],
        }
        for row in paper["rows"]
    ]
    columns = (
        Column("who", "model"),
        Column("source", "trained on"),
        Column("target", "tested on"),
        *(
            Column(f"{name}_{key}", f"{name.upper()} {text}")
            for name in ("wa", "ua")
            for key, text in (
                ("within", "within"),
                ("across", "across"),
                ("loss", "loss"),
                ("relative", "loss / (within - chance)"),
            )
        ),
        Column("majority_wa", "majority WA across"),
        Column("remark", "remark"),
    )
    return ResultTable("4", paper["title"], columns, rows + printed, list(paper["notes"]))


def _row(source: Run, target: Run) -> dict[str, Any]:
    names = (source.corpus, target.corpus)
    if names[0] == names[1]:  # two parts or versions of one corpus
        names = (f"{source.corpus} ({source.name})", f"{target.corpus} ({target.name})")
    row: dict[str, Any] = {"who": source.model, "source": names[0], "target": names[1]}
    chance = target.chance
    within, across = score_cells(source.scores), score_cells(target.scores)
    for name in ("wa", "ua"):
        for side, cells in (("within", within), ("across", across)):
            row |= {f"{name}_{side}{end}": cells[f"{name}{end}"] for end in ("", "_low", "_high")}
        home, away = within[name], across[name]
        if home is not None and away is not None:
            fall = Degradation(home, away, chance)
            row |= {f"{name}_loss": fall.loss, f"{name}_relative": fall.relative}
    remarks = [*source.remarks(source.scores), *target.remarks(target.scores)]
    majority = (target.metrics.get("majority") or {}).get("wa")
    return row | {"majority_wa": majority, "remark": "; ".join(dict.fromkeys(remarks))}
