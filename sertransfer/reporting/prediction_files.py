"""A prediction as files and as text: tables for other programs, some lines for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.files import write_text
from sertransfer.reporting.cells import without_formulas

RECORDING = [
    "recording",
    "audio",
    "cut_by",
    "seconds",
    "sample_rate",
    "sentences_scored",
    "score",
    "decision",
]
"""What a row of the recordings' table begins with."""


def recordings_path(path: Path) -> Path:
    """Return where the table of recordings goes beside that of sentences at *path*."""
    return path.with_name(f"{path.stem}_recordings{path.suffix}")


def write_prediction_tables(prediction: Mapping[str, Any], path: Path) -> None:
    """Write a row a sentence to *path*, and a row a recording to :func:`recordings_path`."""
    sentences = [
        {"recording": one["recording"], **row} for one in prediction["recordings"] for row in one["sentences"]
    ]
    recordings = [
        {
            **{key: one[key] for key in RECORDING},
            "threshold": prediction["threshold"],
            "audio_shared": one["audio_shared"],
            "encoder_audio_shared": one["encoder_audio_shared"],
            "flags": "; ".join(flag["text"] for flag in one["flags"]),
            "warnings": "; ".join(one["warnings"]),
            "precedents": "; ".join(entry["text"] for entry in one["precedents"]),
            "note": prediction["note"],
        }
        for one in prediction["recordings"]
    ]
    columns = ["recording", "sentence", "start", "end", "score"]
    frame = pd.DataFrame(sentences) if sentences else pd.DataFrame(columns=columns)
    write_text(path, without_formulas(frame).to_csv(index=False, lineterminator="\n"))
    table = without_formulas(pd.DataFrame(recordings))
    write_text(recordings_path(path), table.to_csv(index=False, lineterminator="\n"))


def prediction_text(prediction: Mapping[str, Any]) -> str:
    """Return the scores, what they are worth and what is to be known first, for a person."""
    lines = []
    for one in prediction["recordings"]:
        if one["score"] is None:
            lines.append(f"{one['recording']}: undecided, no sentence could be scored")
        else:
            lines.append(
                f"{one['recording']}: score {one['score']:.3f} over {one['sentences_scored']} sentences,"
                f" threshold {prediction['threshold']:.3f}: {one['decision']}"
            )
        lines += [f"  warning: {text}" for text in one["warnings"]]
        lines += [f"  unlike the training data: {flag['text']}" for flag in one["flags"]]
        lines += [f"  {entry['text']}" for entry in one["precedents"]]
        if one["left_out"]:
            lines.append(f"  left out: {len(one['left_out'])} rows and sentences (--json names them)")
    lines += [f"not scored: {text}" for text in prediction["not_scored"]]
    lines.append(_shared_text([one["audio_shared"] for one in prediction["recordings"]]))
    lines.append(str(prediction["population"]))
    lines += [str(prediction["unlike_note"])] if prediction["unlike_note"] else []
    return "\n".join([*lines, str(prediction["note"])])


def _shared_text(statuses: Sequence[str]) -> str:
    """Return in how many recordings the training audio was found, or that it is not known."""
    if "unknown" in statuses and "shared" not in statuses:
        return "audio in the training data: unknown (an older run, or nothing that could be compared)"
    return f"audio in the training data: {statuses.count('shared') or 'none'} of {len(statuses)}"


def emotions_text(found: Mapping[str, Any]) -> str:
    """Return the class scores of utterances, for a person."""
    lines = []
    for row in found["utterances"]:
        scores = ", ".join(f"{name} {score:.3f}" for name, score in row["scores"].items())
        lines.append(f"{row['utterance']}: {row['prediction']} ({scores})")
        if row["audio_shared"] == "shared":
            lines.append("  warning: the model was trained on this recording")
        lines += [f"  warning: {text}" for text in row.get("warnings", [])]
    lines += [f"left out: {entry['item']}: {entry['reason']}" for entry in found["left_out"]]
    lines += [f"not scored: {text}" for text in found.get("not_scored", [])]
    lines.append(_shared_text([row["audio_shared"] for row in found["utterances"]]))
    return "\n".join([*lines, str(found["note"])])


def write_emotion_table(found: Mapping[str, Any], path: Path) -> None:
    """Write a row an utterance: its prediction and ``score_<class>`` of each class."""
    rows = [
        {
            **{key: row[key] for key in ("utterance", "audio", "prediction", "audio_shared")},
            **{f"score_{name}": score for name, score in row["scores"].items()},
            "warnings": "; ".join(row.get("warnings", [])),
        }
        for row in found["utterances"]
    ]
    table = without_formulas(pd.DataFrame(rows))
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
