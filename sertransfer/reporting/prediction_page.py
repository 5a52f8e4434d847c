"""A prediction as a page, as tables for other programs, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from sertransfer.io.files import write_text
from sertransfer.io.run_folder import GENERATED_MODEL
from sertransfer.io.scratch import scratch_folder
from sertransfer.reporting import plots
from sertransfer.reporting.rendering import inline_svg, render
from sertransfer.reporting.tables import without_formulas

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


TEMPLATE = "prediction.html.jinja"

SENTENCE_THRESHOLD = 0.5
"""From this score on a sentence is drawn as positive."""


def write_prediction_page(prediction: Mapping[str, Any], path: Path) -> None:
    """Write the page of a prediction, one file, atomically.

    Args:
        prediction: What :func:`sertransfer.transfer.predict.predict` returns.
        path: HTML to write.
    """
    with scratch_folder("page") as folder:
        recordings = [
            _recording(one, prediction, folder / f"timeline{number}.svg")
            for number, one in enumerate(prediction["recordings"], start=1)
        ]
    text = render(
        TEMPLATE,
        title="Scores of recordings",
        generated=GENERATED_MODEL if prediction["generated"] else "",
        version=str(prediction["sertransfer"]),
        prediction=prediction,
        overview=[
            [one["recording"], _number(one["score"]), one["decision"] or "undecided", str(len(one["flags"]))]
            for one in prediction["recordings"]
        ],
        facts={
            "run": prediction["run"],
            "encoder": f"{prediction['encoder']}, mode {prediction['mode']}",
            "from sentences to the subject": prediction["aggregation"],
            "threshold": f"{prediction['classes'][1]} from {prediction['threshold']:.3f} on",
            "trained on": prediction["population"].removeprefix("trained on "),
        },
        recordings=recordings,
    )
    write_text(path, text)


def _recording(one: Mapping[str, Any], prediction: Mapping[str, Any], path: Path) -> dict[str, Any]:
    sentences = one["sentences"]
    extra = [name for name in ("attention", "text") if sentences and name in sentences[0]]
    rows = [
        [
            row["sentence"],
            f"{row['start']:.2f}",
            f"{row['end']:.2f}",
            f"{row['score']:.3f}",
            *(f"{row[name]:.3f}" if name == "attention" else row[name] for name in extra),
        ]
        for row in sentences
    ]
    drawn: dict[str, Markup | None] = {"timeline": None, "timeline_narrow": None}
    for name in drawn if sentences else ():
        place = path.with_name(f"{path.stem}_{name}.svg")
        plot_timeline(one, prediction["classes"], place, narrow=name == "timeline_narrow")
        drawn[name] = inline_svg(place, ink=plots.INK, prefix=place.stem)
    score = one["score"]
    return {
        **one,
        **drawn,
        "headline": "undecided: no sentence could be scored"
        if score is None
        else f"{one['decision']}: score {score:.3f}, threshold {prediction['threshold']:.3f}",
        "columns": ["sentence", "from (s)", "to (s)", "score", *extra],
        "rows": rows,
        "texts": [4 + extra.index("text")] if "text" in extra else [],
        "caption": f"Every sentence of {one['recording']}: its score is that of '{prediction['classes'][1]}'",
        "facts": {
            "audio": one["audio"],
            "length": f"{one['seconds']:.1f} s at {one['sample_rate']} Hz",
            "cut by": one["cut_by"],
            "sentences scored": one["sentences_scored"],
            "in the training data": one["audio_shared"],
            "in the encoder's training data": one["encoder_audio_shared"],
        },
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


@plots.styled
def plot_timeline(
    recording: Mapping[str, Any], classes: list[str], path: Path, *, narrow: bool = False
) -> None:
    """Draw the scores of a recording's sentences over its time.

    A thick line with round ends stands at each score, and a bar joins it to 0.5.

    Args:
        recording: ``recording``, ``seconds`` and ``sentences`` with ``start``, ``end``, ``score``.
        classes: The negative and the positive label.
        path: PNG or SVG to write.
        narrow: Draw for a phone.
    """
    figure, axes = plots.new_figure(plots.NARROW if narrow else 11, 3.2)
    rows = recording["sentences"]
    start, end, score = (np.array([row[name] for row in rows]) for name in ("start", "end", "score"))
    positive = score >= SENTENCE_THRESHOLD
    for side, label, colour in (
        (~positive, classes[0], plots.COLOURS[0]),
        (positive, classes[1], plots.COLOURS[1]),
    ):
        axes.bar(
            start[side],
            score[side] - SENTENCE_THRESHOLD,
            width=(end - start)[side],
            bottom=SENTENCE_THRESHOLD,
            align="edge",
            color=colour,
            alpha=0.35,
        )
        # a bar has no height near the middle, and no width in a long recording
        axes.hlines(
            score[side],
            start[side],
            end[side],
            color=colour,
            linewidth=3.5,
            capstyle="round",
            label=f"{label}: {int(side.sum())} sentences",
        )
    axes.axhline(SENTENCE_THRESHOLD, color=plots.INK, linewidth=0.8)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(0, recording["seconds"])
    axes.set_xlabel("time (s)")
    axes.set_ylabel("score of a sentence")
    plots.draw_legend(axes)
    plots.save_figure(figure, axes, path, str(recording["recording"]))
