"""What ``sertransfer import-checkpoint`` does: convert, and rank front ends if speech is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sertransfer.encoders.calibration import Ranked, rank_front_ends, read_speech
from sertransfer.errors import bad_input
from sertransfer.front_end import FrontEnd
from sertransfer.models.published import CLASSES, import_published

SHOWN = 10
"""Candidates in the printed ranking; the report holds all of them."""


def import_checkpoint(
    file: Path,
    output: Path,
    *,
    front_end: FrontEnd | None = None,
    calibrate_on: Path | None = None,
    classes: Sequence[str] = CLASSES,
) -> dict[str, Any]:
    """Convert published weights, and say what to do about their front end.

    The ranking chooses nothing: without *front_end* the checkpoint has none, and stage 2 refuses it.

    Args:
        file: The ``.pth`` file; nothing in it is run.
        output: Checkpoint to write.
        front_end: What the weights expect, if it is known.
        calibrate_on: Folder of speech to rank candidate front ends on.
        classes: Names of the model's outputs, in order.

    Returns:
        ``model``, ``classes``, ``parameters`` (their number), ``output``, ``left_out`` (entries of the file
        that are no weights), ``front_end`` (plain values or ``None``), ``ranking`` (a list of
        ``{"distance", "options", "front_end"}``, nearest first; empty without *calibrate_on*) and ``text``,
        all of it for people.

    Raises:
        BadInput: If the file is refused or would be written over, or the folder holds no readable speech.
    """
    if output.exists() and file.exists() and output.samefile(file):
        raise bad_input(
            output,
            found="the published file itself as the output",
            expected="another file to write",
            remedy="name one such as -o model.safetensors",
        )
    if calibrate_on is not None:
        read_speech(calibrate_on)  # what is wrong with it is said before anything is written
    checkpoint = import_published(file, output, front_end=front_end, classes=classes)
    ranking = [] if calibrate_on is None else rank_front_ends(checkpoint, calibrate_on)
    report: dict[str, Any] = {
        "model": checkpoint.model,
        "classes": list(checkpoint.classes),
        "parameters": sum(
            tensor.numel()
            for name, tensor in checkpoint.state.items()
            if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        ),
        "output": str(output),
        "left_out": checkpoint.provenance["left_out"],
        "front_end": None if front_end is None else front_end.as_dict(),
        "ranking": [
            {"distance": one.distance, "options": _options(one), "front_end": one.front_end.as_dict()}
            for one in ranking
        ],
    }
    return {**report, "text": _text(file, report)}


def _options(ranked: Ranked) -> str:
    """Return the options of ``import-checkpoint`` that choose this candidate."""
    chosen = ranked.front_end
    return (
        f"--front-end default --framing {chosen.framing.name} --log {chosen.log} --gain {chosen.gain:g}"
        f" --normalise {chosen.normalise} --mel_scale {chosen.mel_scale} --mel_norm {chosen.mel_norm}"
        f" --denoise.method {chosen.denoise.method}"
    )


def _text(file: Path, report: dict[str, Any]) -> str:
    """Return the report for people, with what to do next."""
    lines = [
        f"{file.name}: {report['model']}, {report['parameters'] / 1e6:.3f} M parameters, classes"
        f" {', '.join(report['classes'])}",
        f"wrote {report['output']}",
    ]
    if report["left_out"]:
        lines.append(f"left out (no weights): {', '.join(report['left_out'])}")
    if report["ranking"]:
        lines.append("front ends, nearest to the weights' first batch norm first (distance, 0 = the same):")
        lines += [f"  {one['distance']:10.4g}  {one['options']}" for one in report["ranking"][:SHOWN]]
        lines.append("a hint, not a proof: close distances decide nothing, other speech has other statistics")
    if report["front_end"] is None:
        remedy = "choose a line above" if report["ranking"] else "--calibrate-on DIR ranks candidates"
        lines.append(
            "the front end of these weights is not known, and stage 2 will refuse them:"
            f" import again with --front-end and --framing ({remedy})"
        )
    return "\n".join(lines)
