"""From a raw corpus to a manifest on disk, with the record of what was left out and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sertransfer.config import check_fields
from sertransfer.corpora.recordings import check_sound, describe_rates, describe_sound
from sertransfer.corpora.registry import Corpus, find_corpus
from sertransfer.corpora.statistics import label_counts
from sertransfer.corpora.video import extract_audio
from sertransfer.errors import BadInput, Fault, Faults, bad_input
from sertransfer.io.files import write_json
from sertransfer.io.spelling import printable
from sertransfer.manifest import Manifest, is_notes, notes_path, write_manifest


def faults_path(output: str | Path) -> Path:
    """Return where :func:`prepare` writes the faults of an input that it refuses: ``*.faults.json``."""
    return Path(output).with_suffix(".faults.json")


def prepare(corpus: str, root: Path, options: Any, output: Path, *, skip_bad: bool = False) -> Manifest:
    """Read a corpus and write its manifest and notes.

    Args:
        corpus: Name in :data:`sertransfer.corpora.registry.CORPORA`.
        root: The corpus root; it is only ever read.
        options: The corpus's ``Options``; ``None`` for the defaults.
        output: The CSV to write; the notes go beside it.
        skip_bad: Leave out single items that are bad, with a record, instead of stopping.

    Returns:
        The manifest; its notes hold ``left_out`` (every row left out by rule or by *skip_bad*) and
        ``skipped`` (the faults of the latter).

    Raises:
        BadInput: With every fault of the corpus, which are also written to :func:`faults_path`.
    """
    entry = find_corpus(corpus)
    root, output = Path(root), Path(output)
    options = entry.options() if options is None else options
    _check_output(output)
    faults = Faults(skip_bad=skip_bad)
    with _reporting(faults, output):
        manifest = read_corpus(entry, root, options, faults)
        faults.raise_if_any()
        if len(manifest) == 0:
            raise bad_input(
                root, found="no utterance to keep", expected="at least one", remedy="check the options"
            )
        heard: dict[str, Any] = {}
        if getattr(options, "check_audio", True):
            manifest, heard = check_sound(manifest, faults)
            faults.raise_if_any()
    left_out = [*manifest.notes.get("left_out", []), *map(_left_out, faults.skipped)]
    notes = {
        **manifest.notes,
        **heard,
        "corpus": corpus,
        "generated": manifest.generated,
        "options": asdict(options),
        "left_out": left_out,
        "skipped": [fault.as_dict() for fault in faults.skipped],
    }
    manifest = Manifest(manifest.table, manifest.root, notes)
    write_manifest(manifest, output)
    return manifest


def read_corpus(corpus: Corpus, root: Path, options: Any, faults: Faults) -> Manifest:
    """Extract the audio that *corpus* declares, if it declares any, and read the corpus.

    Args:
        corpus: The corpus.
        root: Its root; it is only ever read.
        options: Its ``Options``, which name the folder for the audio.
        faults: Receives every fault.

    Raises:
        BadInput: If the root is not one of the corpus, or the audio cannot be extracted at all.
    """
    check_fields(options, "options").raise_if_any()
    if corpus.extractions is not None and options.audio_folder:
        extract_audio(
            corpus.extractions(root, options),
            options.audio_folder,
            corpus=corpus.name,
            corpus_root=root,
            faults=faults,
        )
    return corpus.read(root, options, faults)


@contextmanager
def _reporting(faults: Faults, output: Path) -> Iterator[None]:
    """Turn a refusal into one with all that *faults* collected, written to :func:`faults_path`.

    Raises:
        BadInput: With every fault, where the block raises it.
    """
    report = faults_path(output)
    try:
        yield
    except BadInput as error:
        skipped = set(faults.skipped)
        collected = [fault for fault in faults if fault not in skipped]
        every = list(dict.fromkeys([*collected, *error.faults]))
        write_json(report, [fault.as_dict() for fault in every])
        refusal = BadInput(every)
        refusal.report = report
        refusal.skippable = error.skippable and len(every) == len(error.faults)
        raise refusal from None
    report.unlink(missing_ok=True)


def _left_out(fault: Fault) -> dict[str, str]:
    return {"item": fault.where, "reason": f"bad: found {fault.found}; expected {fault.expected}"}


def _check_output(output: Path) -> None:
    """Refuse an output that is no CSV, or that would overwrite what this package did not write.

    Raises:
        BadInput: If it is one of these.
    """
    if output.suffix != ".csv":
        raise bad_input(
            output,
            found=f"the ending '{output.suffix}'",
            expected=".csv",
            remedy="name a manifest such as manifest.csv",
        )
    beside = notes_path(output)
    for path, ours, what in ((beside, is_notes(beside), "a JSON file"), (output, beside.exists(), "a CSV")):
        if path.exists() and not ours:
            raise bad_input(
                path,
                found=f"{what} that is not a manifest's{' notes' if path == beside else ''}",
                expected="a new name, or a manifest to replace",
                remedy="name another output; a corpus is never written to",
            )


def summary(manifest: Manifest) -> str:
    """Return what was found, what was left out and why, and what was assumed, as text for a person."""
    table, notes = manifest.table, manifest.notes
    lines = [
        f"{notes.get('corpus', 'corpus')}: {len(table)} utterances, {table['speaker'].nunique()} speakers, "
        f"{table['audio'].nunique()} recordings, {table['label'].nunique()} labels",
        *filter(None, [describe_rates(notes)]),
        *describe_sound(notes, dict(zip(table["id"], table["audio"], strict=True))),
        *_split_lines(notes.get("split")),
        *(f"  {line}" for line in label_counts(table).to_string().splitlines()),
        *_left_out_lines(notes.get("left_out", [])),
        *_list_lines("errata", notes.get("errata")),
        *_list_lines("labels", notes.get("label_notes")),
        *_list_lines("assumptions", notes.get("assumptions")),
    ]
    return "\n".join(lines)


EXAMPLES = 3
"""Items that the summary names for each reason; the notes name all."""


def _split_lines(split: Any) -> list[str]:
    if not isinstance(split, dict):
        return []
    told = ("rule", "speakers_in_two_splits", "seed_without_effect")
    settings = ", ".join(f"{key} {value}" for key, value in split.items() if key not in told)
    lines = [f"split by rule '{split.get('rule')}'" + (f" ({settings})" if settings else "")]
    lines += [f"  {split['seed_without_effect']}"] if "seed_without_effect" in split else []
    shared = split.get("speakers_in_two_splits", 0)
    if shared:
        lines.append(
            f"  {shared} speaker(s) stand in more than one split: scores on it say nothing about new speakers"
        )
    return lines


def _left_out_lines(left_out: list[dict[str, str]]) -> list[str]:
    if not left_out:
        return ["nothing was left out"]
    items: dict[str, list[str]] = {}
    for entry in left_out:
        items.setdefault(entry["reason"], []).append(entry["item"])
    lines = [f"left out: {len(left_out)}"]
    for reason, named in sorted(items.items(), key=lambda pair: -len(pair[1])):
        more = ", ..." if len(named) > EXAMPLES else ""
        lines.append(printable(f"  {len(named)}: {reason} ({', '.join(named[:EXAMPLES])}{more})"))
    return lines


def _list_lines(title: str, values: Any) -> list[str]:
    if isinstance(values, dict):
        values = [f"{key}: {value}" for key, value in values.items()]
    return [f"{title}:", *(f"  {printable(_one_line(value))}" for value in values)] if values else []


def _one_line(value: Any) -> str:
    """Return an entry of the notes as text: an erratum has a ``name``, ``what`` it says, and its ``rows``."""
    if not isinstance(value, dict):
        return str(value)
    rows = f" ({value['rows']} rows)" if "rows" in value else ""
    return f"{value.get('name', '')}: {value.get('what', '')}{rows}"
