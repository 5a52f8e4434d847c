"""The paper's Tables 5 and 6 beside runs of ours, row by row, and what the paper's tables lack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sertransfer.metrics import clopper_pearson
from sertransfer.reporting.degradation import degradation_table
from sertransfer.reporting.figures import confusion_table
from sertransfer.reporting.paper import paper_table
from sertransfer.reporting.result_table import Column, ResultTable
from sertransfer.reporting.runs import Run, is_collapsed, read_runs, score_cells

_SCORES = (
    Column("paper_wa", "paper WA"),
    Column("paper_ua", "paper UA"),
    Column("run", "run"),
    Column("corpus", "corpus, split"),
    Column("n", "n"),
    Column("wa", "WA"),
    Column("ua", "UA"),
    Column("remark", "remark"),
)

_OUR_NOTES = (
    "Brackets hold 95 % intervals; they take the trained model as given.",
    "Collapsed: UA at chance, as from one answer for all; such a row is the majority class by another name.",
)

_PAPERS_ROWS = (
    "The paper's other rows are of LSSED, of which no run is: 'sertransfer tables --whole' prints them."
)


def result_tables(folders: Sequence[Path], *, whole: bool = False) -> list[ResultTable]:
    """Return the tables that the runs in *folders* have something to say in: 4, 5, 6, and Figure 2.

    Raises:
        BadInput: With every folder that holds no finished run.
    """
    return tables_of(read_runs(folders), whole=whole)


def tables_of(runs: Sequence[Run], *, whole: bool = False) -> list[ResultTable]:
    """Return what :func:`result_tables` does, of runs that were read.

    Args:
        runs: The runs.
        whole: Keep the paper's rows that no run stands beside although no run is of the paper's corpus.
    """
    tables = [degradation_table(runs)]
    if stage_1 := [run for run in runs if run.kind != "transfer"]:
        tables += [utterance_table(stage_1, whole=whole), confusion_table(stage_1)]
    if stage_2 := [run for run in runs if run.kind == "transfer"]:
        tables.append(subject_table(stage_2))
    return [table for table in tables if table is not None]


def utterance_table(runs: Sequence[Run], *, whole: bool = False) -> ResultTable:
    """Return Table 5: every row of the paper's, ours beside it, models of ours below, majority rows last.

    The paper's rows are of LSSED. Where no run is, those that no run stands beside are left out, unless
    the *whole* table is asked for.
    """
    paper = paper_table(5)
    whole = whole or any("lssed" in run.corpus.split(", ") for run in runs)
    rows: list[dict[str, Any]] = []
    known = set()
    for printed in paper["rows"]:
        known.add(printed["model"])
        cells = {key: printed[key] for key in ("algorithm", "backbone")} | _paper_cells(printed, 1 / 4)
        block = "adversarial" if printed["input"] == "fake" else ""
        ours = [run for run in runs if run.model == printed["model"]]
        beside = _beside(cells, [(run, _scores(run, block)) for run in ours])
        rows += beside if whole or any("run" in row for row in beside) else []
    for run in runs:
        if run.model not in known:
            rows += _beside({"algorithm": run.model}, [(run, run.scores)])
    majorities = _majorities(paper, runs)
    rows += majorities if whole else majorities[1:]
    columns = (Column("algorithm", "algorithm"), Column("backbone", "backbone"), *_SCORES)
    notes = [*paper["notes"], *_OUR_NOTES, *([] if whole else [_PAPERS_ROWS])]
    return ResultTable("5", paper["title"], columns, rows, notes)


def subject_table(runs: Sequence[Run]) -> ResultTable:
    """Return Table 6: the paper's two encoders with intervals, ours beside them, others below."""
    paper = paper_table(6)
    rows: list[dict[str, Any]] = []
    known = set()
    for printed in paper["rows"]:
        known.add(printed["encoder"])
        ours = [run for run in runs if run.metrics.get("encoder") == printed["encoder"]]
        cells = {"algorithm": printed["encoder"].upper()} | _paper_cells(printed, 1 / 2)
        rows += _beside(cells, [(run, run.scores) for run in ours])
    for run in runs:
        if run.metrics.get("encoder") not in known:
            rows += _beside({"algorithm": str(run.metrics.get("encoder", "")).upper()}, [(run, run.scores)])
    rows += _majorities(paper, runs)
    columns = (Column("algorithm", "encoder"), *_SCORES)
    return ResultTable("6", paper["title"], columns, rows, [*paper["notes"], *_OUR_NOTES])


def _paper_cells(printed: dict[str, Any], chance: float) -> dict[str, Any]:
    cells: dict[str, Any] = {"paper_wa": printed["wa"], "paper_ua": printed["ua"]}
    if "of" in printed:
        bounds = clopper_pearson(printed["right"], printed["of"])
        if bounds is not None:
            cells["paper_wa_low"], cells["paper_wa_high"] = bounds
    return cells | ({"remark": "paper collapsed"} if is_collapsed(printed, chance) else {})


def _scores(run: Run, block: str) -> dict[str, Any] | None:
    if not block:
        return run.scores
    attacked = run.metrics.get(block)
    return attacked["utterance"] if isinstance(attacked, dict) else None


def _beside(cells: dict[str, Any], ours: Sequence[tuple[Run, dict[str, Any] | None]]) -> list[dict[str, Any]]:
    """Return *cells* once for each of our runs, or once alone."""
    rows = []
    for run, scores in ours:
        if scores is not None:
            remarks = [cells["remark"]] if "remark" in cells else []
            remarks += run.remarks(scores)
            row = {
                **cells,
                "run": run.name,
                "corpus": _place(run),
                "n": scores.get("n"),
                **score_cells(scores),
            }
            rows.append(row | {"remark": "; ".join(remarks)})
    return rows or [cells]


def _place(run: Run) -> str:
    return f"{run.corpus}, {run.metrics.get('split', 'test')}"


def _majorities(paper: dict[str, Any], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the row of the most frequent class for the paper's items, and for each set of items of ours."""
    chance = paper["majority"]["ua"]
    cells = {"algorithm": "majority class"}
    rows: list[dict[str, Any]] = [cells | _paper_cells(paper["majority"], chance) | {"remark": "inferred"}]
    seen = set()
    for run in runs:
        majority = run.metrics.get("majority") or {}
        key = (_place(run), run.scores.get("n"), majority.get("wa"))
        if majority.get("wa") is not None and key not in seen:
            seen.add(key)
            row: dict[str, Any] = {**cells, "corpus": key[0], "n": key[1], **majority}
            rows.append(row | ({"remark": "generated data"} if run.generated_data else {}))
    return rows
