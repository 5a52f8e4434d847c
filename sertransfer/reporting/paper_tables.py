"""The paper's Tables 4 to 6 and Figures 1 and 2 beside our runs, and all tables in one folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from sertransfer.corpora.statistics import Description
from sertransfer.errors import bad_input
from sertransfer.evaluation.metrics import clopper_pearson
from sertransfer.io.files import hash_file, make_folder, refuse_links, regular_file, write_json, write_text
from sertransfer.io.plain_values import parse_json
from sertransfer.io.run_folder import GENERATED_DATA, generated_remark
from sertransfer.reporting.plots import plot_confusion, plot_label_shares
from sertransfer.reporting.runs import Run, is_collapsed, read_runs, score_cells
from sertransfer.reporting.tables import Column, Format, ResultTable, format_tables


def paper_table(number: int) -> dict[str, Any]:
    """Return the paper's table 1 to 6: ``place``, ``title``, ``rows``, ``notes``; not to be changed."""
    table: dict[str, Any] = _paper()[f"table_{number}"]
    return table


def paper_figure() -> dict[str, Any]:
    """Return the paper's Figure 2: ``place``, ``title``, ``classes``, ``matrices`` by model, ``notes``."""
    figure: dict[str, Any] = _paper()["figure_2"]
    return figure


@cache
def _paper() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(
        Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8")
    )
    return values


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


SUFFIXES: dict[Format, str] = {"text": "txt", "csv": "csv", "latex": "tex", "html": "html"}

RECORD = ".figures.json"
"""File that lists the figures of the last bundle, each with the SHA-256 of its content."""


def write_bundle(
    folder: Path, tables: Sequence[ResultTable], *, descriptions: Sequence[Description], runs: Sequence[Run]
) -> list[Path]:
    """Write ``tables.txt, .csv, .tex, .html`` and ``figures/`` into *folder*; return the files.

    Figures of an earlier bundle that are not in this one are removed, since nothing would tell that they are
    old. A file that no record names, or that was changed since, is not ours to remove.

    Raises:
        BadInput: If links stand where files are written.
    """
    figures = folder / "figures"
    refuse_links(figures)
    written = []
    for form, suffix in SUFFIXES.items():
        written.append(folder / f"tables.{suffix}")
        write_text(written[-1], format_tables(tables, form))
    before = _recorded(folder / RECORD)
    drawn = draw_figures(figures, descriptions=descriptions, runs=runs)
    now = {path.name: hash_file(path) for path in drawn}
    for name in before.keys() - now.keys():
        old = figures / name
        if old.is_file() and hash_file(old) == before[name]:
            old.unlink()
    write_json(folder / RECORD, now)
    return [*written, *drawn]


def _recorded(path: Path) -> dict[str, str]:
    """Return the names and hashes that the record at *path* lists; none where there is no valid one."""
    try:
        found = parse_json(regular_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: value for name, value in found.items() if isinstance(value, str) and name == Path(name).name
    }
