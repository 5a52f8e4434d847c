"""The page of ``sertransfer compare --html``: runs on the same subjects, side by side and in pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sertransfer import __version__
from sertransfer.evaluation.metrics import CHANCE_AUROC
from sertransfer.evaluation.significance import FEWEST_CLUSTERS
from sertransfer.io.files import write_text
from sertransfer.io.scratch import scratch_folder
from sertransfer.reporting.curves import curve
from sertransfer.reporting.page import LEVEL, Numbers, ScoreRow, Section, Table, Verdict, majority_row
from sertransfer.reporting.rendering import render
from sertransfer.reporting.runs import read_yaml
from sertransfer.reporting.sections import ScoreBar, curve_plots, scores_plot
from sertransfer.reporting.tables import NO_VALUE, flat, number, scored

TEMPLATE = "comparison.html.jinja"


def write_comparison(result: dict[str, Any], path: Path) -> None:
    """Write the page of what :func:`sertransfer.transfer.compare.compare_all` found to *path*.

    The settings that differ are read from the folders that *result* names.
    """
    names = run_names([str(run["run"]) for run in result["runs"]])
    with scratch_folder("page") as folder:  # the page holds its figures; nothing else of them is kept
        sections = [
            _scores(folder, result, names),
            _pairs(result, names),
            *_curves(folder, result, names),
            _subjects(result, names),
            *_settings(result, names),
        ]
    text = render(
        TEMPLATE,
        title=f"{len(names)} runs on the same {result['n']} subjects",
        generated=result["generated_remark"],
        version=__version__,
        sections=sections,
        verdict=_verdict(result, names),
    )
    write_text(path, text)


def run_names(folders: list[str]) -> list[str]:
    """Return the shortest ends of paths that tell *folders* apart."""
    parts = [Path(folder).resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts))):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return folders


def _scores(folder: Path, result: dict[str, Any], names: list[str]) -> Section:
    rows, marks = [], []
    for index, (name, run) in enumerate(zip(names, result["runs"], strict=True)):
        about = ", ".join(f"{run[key]}" for key in ("encoder", "mode", "split") if run[key])
        rows.append(ScoreRow(name, [scored(run, key) for key in ("wa", "ua", "auroc")], about))
        marks.append(ScoreBar(name, run["wa"], run["ua"], run["wa_ci95"], run["ua_ci95"], index))
    rows.append(majority_row(result, [CHANCE_AUROC], "always the most frequent class of these subjects"))
    marks.append(ScoreBar("majority class", result["majority"]["wa"], result["majority"]["ua"]))
    note = (
        "Intervals (95 %) are those of each run for itself. That two overlap does not say that the runs do "
        "not differ: they were scored on the same subjects, and the pairs below use that."
    )
    table = Table(["WA", "UA", "AUROC"], rows, leads=False, corner="run")
    return Section("scores", "Scores side by side", table, note, plots=[scores_plot(folder, marks)])


def _pairs(result: dict[str, Any], names: list[str]) -> Section:
    columns = ["WA", "UA", "only the first right", "only the second right", "p", "after Holm"]
    rows = []
    for pair in result["pairs"]:
        test = pair["mcnemar"]
        cells = [
            *(_signed(pair["difference"], key) for key in ("wa", "ua")),
            str(test["only_a"]),
            str(test["only_b"]),
            f"{test['p']:.3g}",
            f"{test['p_holm']:.3g}",
        ]
        rows.append(ScoreRow(f"{names[pair['b']]} minus {names[pair['a']]}", cells))
    count = len(rows)
    many = (
        f"{count} comparisons were made: one in twenty of such falls below p = 0.05 where nothing differs. "
        "Holm's correction holds the chance of any false one at 5 %; the intervals are not corrected."
        if count > 1
        else "One comparison was made, so that Holm's correction changes nothing."
    )
    clusters = result["clusters"]
    whom = (
        f"The {clusters['n']} subjects are taken to be independent of each other."
        if clusters["independent_subjects"]
        else f"The {result['n']} subjects form {clusters['n']} clusters"
        + (f" (by {clusters['name']})" if clusters["name"] else "")
        + ": the test swaps the two runs in whole clusters, and the intervals leave out whole clusters."
    )
    few = (
        f" No interval: {clusters['n']} clusters, and {FEWEST_CLUSTERS} are needed."
        if clusters["n"] < FEWEST_CLUSTERS
        else ""
    )
    note = (
        f"Differences with paired 95 % intervals; p of the {clusters['test']}, for the number of subjects "
        f"right (WA). {whom}{few} {many}"
    )
    table = Table(columns, rows, leads=False, corner="second minus first")
    return Section("pairs", "Paired differences", table, note)


def _verdict(result: dict[str, Any], names: list[str]) -> Verdict:
    found = [pair for pair in result["pairs"] if pair["mcnemar"]["p_holm"] < LEVEL]
    total = len(result["pairs"])
    if not found:
        test = result["clusters"]["test"]
        text = f"The {test}, with Holm's correction, finds none. That is no proof that they are alike."
        return Verdict("open", "No difference between the runs is shown on these subjects", text)
    told = []
    for pair in found:
        test = pair["mcnemar"]
        better, worse = (pair["b"], pair["a"]) if test["only_b"] > test["only_a"] else (pair["a"], pair["b"])
        told.append(f"{names[better]} decides more subjects rightly than {names[worse]}")
    return Verdict("beyond", f"{len(found)} of {total} pairs differ in WA", f"{'; '.join(told)}.")


def _curves(folder: Path, result: dict[str, Any], names: list[str]) -> list[Section]:
    positive = [entry["label"] == result["classes"][-1] for entry in result["subjects"]]
    curves = [
        curve(name, positive, [entry["scores"][index] for entry in result["subjects"]], index)
        for index, name in enumerate(names)
        if all(entry["scores"][index] is not None for entry in result["subjects"])
    ]
    drawn = curve_plots(folder, curves, "subjects")
    note = "The legend has the area under each curve."
    return [Section("curves", "ROC and precision-recall", None, note, plots=drawn)] if drawn else []


def _subjects(result: dict[str, Any], names: list[str]) -> Section:
    rows = []
    for entry in result["subjects"]:
        right = [guess == entry["label"] for guess in entry["predictions"]]
        cells = ["right" if one else "wrong" for one in right]
        cells = [
            cell if score is None else f"{cell}, {number(score)}"
            for cell, score in zip(cells, entry["scores"], strict=True)
        ]
        rows.append([str(entry["subject"]), str(entry["label"]), str(sum(right)), *cells])
    counts = [sum(int(row[2]) == so_many for row in rows) for so_many in range(len(names) + 1)]
    spread = [[f"{so_many} of {len(names)}", str(count)] for so_many, count in enumerate(counts)]
    return Section(
        "subjects",
        "Agreement by subject",
        None,
        "Subjects that all runs get wrong are hard for what they have in common, or wrongly labelled.",
        [
            Numbers(["runs that are right", "subjects"], spread, "Agreement"),
            Numbers(["subject", "label", "runs right", *names], rows, "Decision and score of each run"),
        ],
    )


def _settings(result: dict[str, Any], names: list[str]) -> list[Section]:
    """Return the settings that are not the same in all runs."""
    found = [flat(read_yaml(Path(run["run"]) / "config.yaml")) for run in result["runs"]]
    for run, values in zip(result["runs"], found, strict=True):
        values |= {"encoder": str(run["encoder"]), "split": str(run["split"])}
    keys = dict.fromkeys(key for values in found for key in values)
    rows = [
        [key, *(values.get(key, NO_VALUE) for values in found)]
        for key in keys
        if len({values.get(key) for values in found}) > 1
    ]
    table = Numbers(["setting", *names], rows, "Settings that differ", first=10)
    note = "" if rows else "All settings of the runs are the same."
    return [Section("settings", "What differs in the runs' settings", None, note, [table] if rows else [])]


def _signed(difference: dict[str, Any], key: str) -> str:
    value, bounds = difference[key], difference[f"{key}_ci95"]
    if value is None:
        return "undefined"
    return f"{value:+.3f}" + (f" [{bounds[0]:+.3f}, {bounds[1]:+.3f}]" if bounds else " [no interval]")
