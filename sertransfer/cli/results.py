"""Commands about finished runs: compare, summarise seeds, set beside the paper's tables, copy for others."""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path

from sertransfer.cli.options import CommandResult, Commands, Overrides, place, table_output

_log = logging.getLogger(__name__)


def add_to(commands: Commands) -> None:
    """Add the commands."""
    command = commands.add("report", run_report, "write report.html of a finished run again, from its files")
    command.add_argument("run_dir", type=Path, help="folder of a finished run of either stage")

    command = commands.add(
        "compare", run_compare, "compare stage-2 runs on the same subjects, by paired tests and intervals"
    )
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR", help="two folders or more")
    command.add_argument("--html", type=Path, metavar="FILE", help="also write a page of the comparison")
    for name in ("--resamples", "--seed"):
        command.add_argument(name, type=int, help="no effect: nothing is resampled; kept for scripts")

    command = commands.add("seeds", run_seeds, "mean, deviation and every value over runs of several seeds")
    command.add_argument("runs", type=Path, nargs="+")

    command = commands.add("tables", run_tables, "set finished runs beside the paper's Tables 4, 5 and 6")
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR", help="folders of finished runs")
    command.add_argument(
        "--describe",
        type=Path,
        action="append",
        default=[],
        metavar="MANIFEST",
        help="Tables 1 to 3 of this manifest too; may be given several times",
    )
    command.add_argument(
        "--into", type=Path, metavar="DIR", help="also write tables.txt, .csv, .tex, .html and figures/ there"
    )
    command.add_argument(
        "--grid",
        action="store_true",
        help="runs of stage 2 by encoder, framing and mode, instead of Table 6",
    )
    command.add_argument(
        "--whole",
        action="store_true",
        help="every row of the paper's Table 5, also where no run is of its corpus",
    )
    table_output(command)

    command = commands.add(
        "share", run_share, "copy a finished run for others, with pseudonyms for its subjects"
    )
    command.add_argument("run_dir", type=Path, help="folder of a finished run of either stage")
    command.add_argument("-o", "--output", type=Path, required=True, help="new folder to write")
    command.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="key of the pseudonyms, for several runs (default: the run's own)",
    )

    command = commands.add(
        "export",
        run_export,
        "write the model of a finished run for others: weights, settings, model card, ONNX",
    )
    command.add_argument("run_dir", type=Path, help="folder of a finished run of either stage")
    command.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    command.add_argument(
        "--onnx", action="store_true", help="model.onnx too, compared with PyTorch (needs the extra 'export')"
    )
    command.add_argument(
        "--checkpoint", type=Path, help="encoder of a probe, if it is no longer where it was"
    )


def run_report(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Write a run's report again."""
    from sertransfer.reporting.report import write_report

    return CommandResult({"run": str(args.run_dir)}, files={"report": write_report(args.run_dir)})


def run_compare(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Compare runs of stage 2."""
    from sertransfer.transfer.compare import (
        NO_RESAMPLING,
        compare,
        compare_all,
        comparison_text,
        comparisons_text,
    )

    if args.resamples is not None or args.seed is not None:
        _log.warning(NO_RESAMPLING)
    whole = compare_all(args.runs)
    found, text = whole, comparisons_text(whole)
    if len(args.runs) == 2:
        two = compare(*args.runs)
        found, text = whole | two, comparison_text(two)
    if args.html is None:
        return CommandResult(found, text)
    from sertransfer.reporting.comparison_page import write_comparison

    page = partial(write_comparison, whole, args.html)
    return CommandResult(found, text, {"comparison": args.html}, pages=page)


def run_seeds(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Summarise runs that differ in their seed."""
    from sertransfer.transfer.compare import seed_summary, seeds_text

    found = seed_summary(args.runs)
    return CommandResult(found, seeds_text(found))


def run_tables(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Set finished runs, and corpora, beside the paper's tables."""
    from sertransfer.corpora.statistics import describe_files
    from sertransfer.reporting.corpus_tables import corpus_tables
    from sertransfer.reporting.paper_tables import grid_table, tables_of, write_bundle
    from sertransfer.reporting.runs import read_runs
    from sertransfer.reporting.tables import format_tables

    runs = read_runs(args.runs)
    descriptions = describe_files(args.describe)
    results = [grid_table(runs)] if args.grid else tables_of(runs, whole=args.whole)
    tables = [*(corpus_tables(descriptions) if descriptions else []), *results]
    text, files = place(format_tables(tables, args.format), args.output)
    if args.into is not None:
        written = write_bundle(args.into, tables, descriptions=descriptions, runs=runs)
        files |= {f"{path.relative_to(args.into)}": path for path in written}
    values = [
        {"number": one.number, "title": one.title, "rows": one.plain_rows(), "notes": one.notes}
        for one in tables
    ]
    return CommandResult({"tables": values}, text, files)


def run_share(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Copy a run for others, with pseudonyms."""
    from sertransfer.reporting.share import share

    written = {
        str(path.relative_to(args.output)): path for path in share(args.run_dir, args.output, key=args.key)
    }
    text = "pseudonyms are no anonymity: see docs/privacy.md before this leaves the machine"
    return CommandResult({"run": str(args.run_dir), "copied": sorted(written)}, text, written)


def run_export(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Export a model."""
    from sertransfer.export.export import export

    found = export(args.run_dir, args.output, onnx=args.onnx, checkpoint=args.checkpoint)
    check = found["onnx"]
    text = f"exported a {found['kind']}; read MODEL_CARD.md before it leaves the machine"
    if check is not None:
        text += (
            f"\nonnx: {check['difference']:.2g} from PyTorch at most, over {len(check['lengths'])} lengths"
        )
    return CommandResult(found, text, {name: args.output / name for name in found["files"]})
