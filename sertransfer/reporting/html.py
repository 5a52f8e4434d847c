"""``report.html``: what a run found, against what, and what it was run on, in one file for any browser.

The report is made of the files of the run folder alone, and can be made again at any time. Everything that
stands in them is escaped; figures are drawn here and put inline, so that the file can be mailed.
"""

from __future__ import annotations

from pathlib import Path

from sertransfer.errors import bad_input
from sertransfer.files import refuse_links, write_text
from sertransfer.reporting.origin_page import origin_of
from sertransfer.reporting.rendering import render
from sertransfer.reporting.run_files import read_json, read_yaml
from sertransfer.reporting.subject_page import subject_page
from sertransfer.reporting.utterance_page import utterance_page
from sertransfer.reporting.values import entries, flat, left_out_lines
from sertransfer.run_folder import check_evidence, generated_remark

TEMPLATE = "report.html.jinja"


def write_report(run_dir: str | Path) -> Path:
    """Write ``report.html`` and ``plots/`` into a run folder of stage 1 or 2; return the report's path.

    Raises:
        BadInput: If the folder holds no finished run or holds links, or a file of it cannot be read.
    """
    folder = Path(run_dir)
    source = folder / "metrics.json"
    metrics = read_json(source, "the metrics of a finished run")
    refuse_links(*folder.iterdir())
    check_evidence(folder, metrics)
    pages = {"subject": subject_page, "utterance": utterance_page}
    kind = next((key for key in pages if key in metrics), None)
    if kind is None:
        raise bad_input(
            source,
            found=f"keys {', '.join(metrics) or '(none)'}",
            expected="'utterance' (stage 1) or 'subject' (stage 2)",
            remedy="run the command that made this folder again",
        )
    try:
        page = pages[kind](folder, metrics)
    except (KeyError, TypeError, IndexError) as error:
        raise bad_input(
            source,
            found=f"metrics without what a report needs ({type(error).__name__}: {error})",
            expected="the metrics that this version writes",
            remedy="run the command that made this folder again",
        ) from error
    text = render(
        TEMPLATE,
        title=page.title,
        generated=generated_remark(metrics),
        version=str(metrics.get("sertransfer", "")),
        page=page,
        origin=origin_of(folder),
        errata=entries(metrics.get("errata")),
        assumptions=entries(metrics.get("assumptions")),
        left_out=left_out_lines(metrics.get("left_out") or {}),
        settings=flat(read_yaml(folder / "config.yaml")),
    )
    target = folder / "report.html"
    write_text(target, text)
    return target
