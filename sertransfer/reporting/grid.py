"""Stage 2 as a grid of encoder, framing and mode: one row a run, majority rows last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sertransfer.errors import bad_input
from sertransfer.reporting.result_table import Column, ResultTable
from sertransfer.reporting.runs import Run, score_cells

_FIGURES = ("macro_f1", "sensitivity", "auroc")
_COLUMNS = (
    Column("encoder", "encoder"),
    Column("framing", "framing"),
    Column("mode", "mode"),
    Column("run", "run"),
    Column("corpus", "corpus, split"),
    Column("n", "n"),
    Column("wa", "WA"),
    Column("ua", "UA"),
    Column("macro_f1", "macro-F1"),
    Column("sensitivity", "sensitivity"),
    Column("auroc", "AUROC"),
    Column("remark", "remark"),
)
_NOTES = (
    "Brackets hold 95 % intervals of WA and UA; they take the trained model as given.",
    "A recogniser of speech and a self-supervised model have one framing each, that of their training.",
    "Rows on the same subjects are paired: 'sertransfer compare' tests the difference between two.",
)


def grid_table(runs: Sequence[Run]) -> ResultTable:
    """Return one row for each stage-2 run of *runs*, by encoder, framing (the shortest first) and mode.

    Raises:
        BadInput: If none of *runs* is of stage 2.
    """
    cells = [_grid_row(run) for run in runs if run.kind == "transfer"]
    if not cells:
        raise bad_input(
            "tables --grid",
            found=f"{len(runs)} run(s) of stage 1",
            expected="runs of 'sertransfer transfer' or 'tune'",
            remedy="give their folders, or leave --grid out",
        )
    encoders = list(dict.fromkeys(row["encoder"] for row in cells))
    rows = sorted(
        cells,
        key=lambda row: (encoders.index(row["encoder"]), _window(row["framing"]), _order(row["mode"])),
    )
    title = "Subjects by encoder, framing and mode (stage 2)"
    return ResultTable("grid", title, _COLUMNS, rows + _majority_rows(runs), list(_NOTES))


def _grid_row(run: Run) -> dict[str, Any]:
    details = run.metrics.get("encoder_details") or {}
    tuned = " + tuning" if "tuning" in run.metrics else ""
    return {
        "encoder": str(run.metrics.get("encoder", "")).upper(),
        "framing": details.get("framing"),
        "mode": f"{run.metrics.get('mode', 'probe')}{tuned}",
        "run": run.name,
        "corpus": _corpus_of(run),
        "n": run.scores.get("n"),
        **score_cells(run.scores),
        **{name: run.scores.get(name) for name in _FIGURES},
        "remark": "; ".join(run.remarks(run.scores)),
    }


def _order(mode: str) -> tuple[bool, str]:
    return not mode.startswith("probe"), mode


def _window(framing: str | None) -> float:
    """Return the window's milliseconds of ``25ms`` or ``40/10ms``; infinity where it is not known."""
    try:
        return float(str(framing).removesuffix("ms").partition("/")[0])
    except ValueError:
        return float("inf")


def _corpus_of(run: Run) -> str:
    return f"{run.corpus}, {run.metrics.get('split')}"


def _majority_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the row of always answering the most frequent class, for each set of subjects."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in runs:
        majority = run.metrics.get("majority") or {}
        if run.kind == "transfer" and majority.get("wa") is not None:
            place, count = _corpus_of(run), run.scores.get("n")
            row: dict[str, Any] = {"encoder": "majority class", "corpus": place, "n": count, **majority}
            row["remark"] = "generated data" if run.generated_data else ""
            rows.setdefault((place, count, majority["wa"]), row)
    return list(rows.values())
