"""The paper's Figures 1 and 2: label shares of corpora, confusion of recognisers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sertransfer.corpora.statistics import Description
from sertransfer.files import make_folder, refuse_links
from sertransfer.reporting.paper import paper_figure
from sertransfer.reporting.plots import plot_confusion, plot_label_shares
from sertransfer.reporting.result_table import Column, ResultTable
from sertransfer.reporting.runs import Run
from sertransfer.run_folder import GENERATED_DATA, generated_remark


def confusion_table(runs: Sequence[Run]) -> ResultTable | None:
    """Return Figure 2 in numbers, for the networks that the paper draws; ``None`` if none of *runs* is one.

    A row is a true class of one run: the share of each answer, the paper's and ours.
    """
    paper = paper_figure()
    rows: list[dict[str, Any]] = []
    for model, matrix in paper["matrices"].items():
        for run in runs:
            if run.kind == "pretrain" and run.model == model and run.scores.get("confusion"):
                rows += _shares(run, matrix, paper["classes"])
    if not rows:
        return None
    classes = list(dict.fromkeys(key for row in rows for key in row["classes"]))
    columns = (
        *(Column(key, key) for key in ("algorithm", "run", "truth", "n")),
        *(Column(f"as_{name}", name) for name in classes),
        *(Column(f"paper_as_{name}", f"paper {name}") for name in paper["classes"]),
        Column("remark", "remark"),
    )
    return ResultTable("figure_2", paper["title"], columns, rows, list(paper["notes"]))


def _shares(run: Run, matrix: list[list[float]], classes: list[str]) -> list[dict[str, Any]]:
    printed = dict(zip(classes, matrix, strict=True))
    rows = []
    for truth, counts in zip(run.scores["classes"], run.scores["confusion"], strict=True):
        total = sum(counts)
        row = {"algorithm": run.model, "run": run.name, "truth": truth, "n": total}
        row["classes"] = run.scores["classes"]
        if total:
            row |= {
                f"as_{name}": count / total for name, count in zip(run.scores["classes"], counts, strict=True)
            }
        for name, share in zip(classes, printed.get(truth, []), strict=False):
            row[f"paper_as_{name}"] = share
        rows.append(row | {"remark": generated_remark(run.metrics)})
    return rows


def draw_figures(
    folder: Path, *, descriptions: Sequence[Description] = (), runs: Sequence[Run] = ()
) -> list[Path]:
    """Draw Figure 1 of each corpus and Figure 2 of each recogniser into *folder*; return the files.

    They are called ``figure_1_CORPUS.svg`` and ``figure_2_RUN.svg``, further ones of a name with a number;
    a recogniser that was scored nowhere has none. A title says where the data are generated.
    """
    plots: list[tuple[str, Callable[..., None]]] = []
    for description in descriptions:
        title = _title(f"Labels of {description.name}", GENERATED_DATA if description.generated else "")
        plot = partial(plot_label_shares, description.label_shares, title=title)
        plots.append((f"figure_1_{description.name}", plot))
    for run in runs:
        if run.kind != "transfer" and run.scores.get("confusion"):
            title = _title(f"{run.model}, {run.corpus}", generated_remark(run.metrics))
            classes = [str(name) for name in run.scores["classes"]]
            confusion = partial(plot_confusion, run.scores["confusion"], classes, title=title)
            plots.append((f"figure_2_{run.name}", confusion))
    make_folder(folder)
    refuse_links(*folder.iterdir())
    seen: Counter[str] = Counter()
    written = []
    for name, draw in plots:
        stem = re.sub(r"[^\w.-]+", "_", name)
        seen[stem] += 1
        written.append(folder / (f"{stem}.svg" if seen[stem] == 1 else f"{stem}_{seen[stem]}.svg"))
        draw(path=written[-1])
    return written


def _title(text: str, generated: str) -> str:
    return f"{text} ({generated})" if generated else text
