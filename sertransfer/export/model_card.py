"""``MODEL_CARD.md``: an exported model's purpose, training data, scores, and the corpora's terms."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sertransfer.export.trained_model import Exported
from sertransfer.io.spelling import printable


@dataclass(frozen=True)
class Terms:
    """What a corpus may be used for, in a sentence or two.

    Attributes:
        name: As its owners write it.
        text: The terms.
        clinical: Whether it holds data of patients or of people asked about their health.
    """

    name: str
    text: str
    clinical: bool = False


_ICT = (
    "by signed end user licence agreement with the University of Southern California (ICT); for academic,"
    " non-profit research alone; neither the data nor what lets a participant be identified may be passed on"
)

TERMS = {
    "lssed": Terms("LSSED", "by signed agreement with its authors; for research alone, not to be passed on"),
    "daic-woz": Terms(
        "DAIC-WOZ",
        _ICT,
        clinical=True,
    ),
    "e-daic": Terms(
        "Extended DAIC (E-DAIC)",
        _ICT,
        clinical=True,
    ),
    "iemocap": Terms(
        "IEMOCAP", "by signed release form of the University of Southern California (SAIL); research"
    ),
    "emodb": Terms("EmoDB (Berlin Database of Emotional Speech)", "free to use; its authors ask to be cited"),
    "meld": Terms("MELD", "GPL-3.0 for the annotations; audio and video are of a television series"),
    "enterface": Terms("eNTERFACE'05", "free for research; its authors ask to be cited"),
    "rml": Terms("RML", "by agreement with its authors; for research alone"),
    "afew": Terms("AFEW", "by signed agreement; for research alone; audio and video are of films"),
    "aibo": Terms("FAU Aibo", "by signed agreement with its authors; for research alone; voices of children"),
    "ravdess": Terms(
        "RAVDESS", "CC BY-NC-SA 4.0: not for commercial use, and derived work under the same licence"
    ),
    "crema-d": Terms(
        "CREMA-D", "Open Database Licence 1.0, contents under the Database Contents Licence 1.0"
    ),
}
"""By the name that a manifest gives its corpus."""

INHERITED = (
    "Weights keep traces of what they were trained on. Treat these as derived from the corpora above: what"
    " their licences forbid for the data (passing on, commercial use, identifying speakers) holds for the"
    " weights too, unless the owner of a corpus says otherwise."
)
CLINICAL = (
    "**Trained on licensed clinical data: the weights inherit that licence. Do not publish them or pass them"
    " on without the data owner's written consent.**"
)
UNKNOWN = "terms not known to sertransfer: ask whoever gave you the corpus"


def terms_lines(corpora: Iterable[str], *, generated: bool) -> list[str]:
    """Return a line on each corpus, and what follows for the weights.

    Args:
        corpora: By the names that manifests give them; real ones alone.
        generated: Whether generated audio had a part too.
    """
    names = list(dict.fromkeys(corpora))
    known = [TERMS[name] for name in names if name in TERMS]
    lines = [
        f"{TERMS[name].name}: {TERMS[name].text}." if name in TERMS else f"{name}: {UNKNOWN}."
        for name in names
    ]
    if generated:
        lines.append("Generated audio: of nobody, and under no licence but this software's.")
    if names:
        lines.append(INHERITED)
    if any(terms.clinical for terms in known):
        lines.append(CLINICAL)
    return lines


NOT_A_DEVICE = "**This is not a diagnostic device.**"
_KINDS = {
    "classifier": "speech emotion recognition model (stage 1)",
    "probe": "encoder with a probe for depression detection (stage 2)",
    "finetuned": "fine-tuned network for depression detection (stage 2)",
}
_FIGURES = ("wa", "ua", "macro_f1", "sensitivity", "specificity", "auroc")


def model_card(exported: Exported, metrics: dict[str, Any], check: dict[str, Any] | None) -> str:
    """Return the card, in Markdown.

    Args:
        exported: The model.
        metrics: Of the run that it is from.
        check: What :func:`sertransfer.export.export.write_onnx` found; ``None`` without ONNX.
    """
    generated = bool(metrics.get("generated"))
    stage_2 = exported.kind != "classifier"
    scored = () if generated else str(metrics.get("corpus") or "").split(", ")
    corpora = (*scored, *exported.corpora)
    parts = [
        f"# {_plain(exported.classes[-1]) if stage_2 else 'Emotion'} from speech: {_KINDS[exported.kind]}",
        _warning(generated),
        "## Intended use\n\n" + _intended(stage_2),
        "## Data\n\n" + _listed(_data(metrics, exported)),
        "## Numbers\n\n" + _numbers(metrics),
        "## Limits\n\n" + _listed(_limits(metrics, stage_2)),
        "## Licence terms\n\n"
        + _listed(terms_lines((name for name in corpora if name), generated=generated)),
        "## Input and output\n\n" + _listed(_interface(exported)),
        "## ONNX\n\n" + _check_line(check),
        "## Origin\n\n```json\n" + _fenced(exported.origin) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _plain(text: object) -> str:
    """Return *text*, which may come from a file, such that Markdown and HTML show it as it is."""
    escaped = html.escape(printable(str(text)), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#|!~])", r"\\\1", escaped)


def _fenced(value: object) -> str:
    """Return *value* as JSON in which nothing ends the block of code that it stands in."""
    return json.dumps(value, indent=2, default=str).replace("`", "\\u0060")


def _warning(generated: bool) -> str:
    note = (
        " **Its data are generated: the numbers below show that the software works and say nothing about"
        " people.**"
        if generated
        else ""
    )
    return NOT_A_DEVICE + note


def _intended(stage_2: bool) -> str:
    if stage_2:
        return (
            "Research on speech and depression, on recordings like those it was trained on. It must not"
            " decide about a person: no diagnosis, no screening, no triage, no insurance, no employment."
        )
    return (
        "Research on speech emotion recognition, and as an encoder for stage 2, on recordings like those it"
        " was trained on. It must not decide about a person; its classes are those of its corpora."
    )


def _data(metrics: dict[str, Any], exported: Exported) -> list[str]:
    corpus = _plain(metrics.get("corpus") or "a corpus that the run does not name")
    lines = [f"Trained and scored on: {corpus}"]
    if exported.corpora:
        lines.append(f"The encoder was trained on: {', '.join(map(_plain, exported.corpora))}")
    elif exported.kind != "classifier":
        lines.append(
            "The encoder's own training data are not known to sertransfer; its publisher's terms hold for it"
        )
    if metrics.get("generated"):
        lines.append("Generated audio, not real speech")
    for part, counts in (metrics.get("counts") or {}).items():
        lines.append(f"{_plain(part)}: {_counts(counts.get('subjects', {}))}")
    train = metrics.get("train")
    if isinstance(train, dict):
        lines.append(f"train: {train.get('n')} utterances of {train.get('speakers')} speakers")
    return [*lines, *map(_plain, metrics.get("assumptions") or [])]


def _counts(subjects: dict[str, Any]) -> str:
    return ", ".join(f"{count} subjects {_plain(label)}" for label, count in subjects.items())


def _numbers(metrics: dict[str, Any]) -> str:
    level = "subject" if "subject" in metrics else "utterance"
    block, majority = metrics[level], metrics["majority"]
    lines = ["| | value | 95 % interval | majority class |", "|---|---|---|---|"]
    for name in _FIGURES:
        if name in block:
            bounds = block.get(f"{name}_ci95")
            reason = (block.get("no_interval") or {}).get(name) or "none"
            interval = f"[{_number(bounds[0])}, {_number(bounds[1])}]" if bounds else reason
            row = (name.replace("_", " "), _number(block[name]), interval, _number(majority.get(name)))
            lines.append(f"| {' | '.join(row)} |")
    return f"{block['n']} {level}s, split {_plain(metrics.get('split', 'unknown'))}.\n\n" + "\n".join(lines)


def _number(value: Any) -> str:
    return "" if value is None else f"{float(value):.3f}"


def _limits(metrics: dict[str, Any], stage_2: bool) -> list[str]:
    lines = [
        "Other languages, microphones, rooms, ages and ways of speaking than those of the data are untried.",
        "Scores are not calibrated for another population: a share of positives is part of what was learnt.",
    ]
    if stage_2:
        lines.append(
            "A label from a questionnaire is no diagnosis, and a model can score by shortcuts (loudness,"
            " length, topic): see the shortcut rows of the run's report."
        )
    if metrics.get("speakers_shared"):
        lines.append(
            f"{metrics['speakers_shared']} speakers are in training and test, which flatters the numbers."
        )
    for key, whose in (("audio_shared", "training"), ("encoder_audio_shared", "the encoder's training")):
        found = metrics.get(key) or {}
        if found.get("status") == "shared":
            lines.append(
                f"{found['utterances']} scored recordings are in {whose} too, which flatters the numbers."
            )
    return lines


def _interface(exported: Exported) -> list[str]:
    taken = exported.input
    axes = "(batch, samples)" if taken["kind"] == "waveform" else f"(batch, 1, {taken['shape'][-1]}, frames)"
    rate = f" at {taken['sample_rate']} Hz, full scale 1" if taken["kind"] == "waveform" else ""
    return [
        f"Input: {taken['kind']} {axes}{rate}; at least {taken['shortest']} on the last axis."
        " config.json holds all that makes it of audio.",
        f"Output: {exported.output[0]}, {exported.output[1]}",
        f"Classes: {', '.join(map(_plain, exported.classes))}",
    ]


def _check_line(check: dict[str, Any] | None) -> str:
    if check is None:
        return "None was asked for."
    lengths = ", ".join(map(str, check["lengths"]))
    batches = " and ".join(map(str, check["batches"]))
    return (
        f"`model.onnx` differs from PyTorch by {check['difference']:.2g} at most ({check['tolerance']:g} is"
        f" let through), at {lengths} on the last axis, in batches of {batches},"
        f" by onnxruntime {check['versions']['onnxruntime']} on the CPU."
    )


def _listed(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
