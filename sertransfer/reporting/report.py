"""``report.html``: what a run found, against what, and what it was run on, in one file for any browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sertransfer.errors import bad_input
from sertransfer.io.files import refuse_links, write_text
from sertransfer.io.run_folder import check_evidence, generated_remark, read_sessions
from sertransfer.io.spelling import mask_secrets
from sertransfer.reporting.page import Numbers
from sertransfer.reporting.rendering import render
from sertransfer.reporting.runs import read_json, read_yaml
from sertransfer.reporting.subject_page import subject_page
from sertransfer.reporting.tables import NO_VALUE, as_text, entries, flat, left_out_lines
from sertransfer.reporting.utterance_page import utterance_page


def origin_of(folder: Path) -> dict[str, Any]:
    """Return ``command``, ``facts`` (name to text) and ``sessions`` (a table, or ``None``) of the run."""
    sessions = read_sessions(folder)
    if not sessions:
        return {"command": "", "facts": {}, "sessions": None}
    last = sessions[-1]
    seconds = [float(entry["seconds"]) for entry in sessions if "seconds" in entry]
    killed = sum("seconds" not in entry for entry in sessions)
    more = f", and {killed} session(s) that were killed, whose time is not known" if killed else ""
    facts = {
        "time": f"{_duration(sum(seconds))} in {len(seconds)} session(s){more}",
        "machine": as_text(last.get("machine", {})).replace("_", " "),
        "versions": as_text(last.get("versions", {})),
        "inputs": _inputs(folder),
    }
    rows = [
        [
            str(entry.get("started", NO_VALUE)),
            _duration(float(entry["seconds"])) if "seconds" in entry else NO_VALUE,
            str(entry.get("peak_memory_mb", NO_VALUE)),
            str(entry.get("state", "killed")),
            mask_secrets(str(entry.get("command", ""))) or "(from Python)",
        ]
        for entry in sessions
    ]
    columns = ["started (UTC)", "time", "peak memory, MiB", "end", "command"]
    return {
        # an older version recorded commands as they were typed
        "command": mask_secrets(str(last.get("command", ""))),
        "facts": flat(facts),
        "sessions": Numbers(columns, rows, "Sessions that worked on this run"),
    }


def _inputs(folder: Path) -> str:
    path = folder / "inputs.json"
    if not path.is_file():
        return ""
    hashes = read_json(path, "the inputs of a run")
    return ", ".join(f"{name} {str(value)[:12]}" for name, value in hashes.items())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


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
