"""``sertransfer export``: the model of a finished run as a folder that can leave the machine.

The folder is made beside its place and moved there whole. It names no speaker, subject or folder of this
machine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sertransfer import __version__
from sertransfer.errors import bad_input
from sertransfer.export.model_card import model_card
from sertransfer.export.onnx import check_packages, write_onnx
from sertransfer.export.trained_model import ENCODER, MODEL, PROBE, Exported, figures, read_run
from sertransfer.io.files import atomic_path, write_json, write_text
from sertransfer.io.run_folder import look_at
from sertransfer.io.scratch import replaced_folder
from sertransfer.reporting.runs import read_json

CONFIG, METRICS, CARD, ONNX = "config.json", "metrics.json", "MODEL_CARD.md", "model.onnx"
NAMES = {CONFIG, METRICS, CARD, ONNX, MODEL, PROBE, ENCODER}
"""Files of an export: a folder that holds another one is not replaced."""
FORMAT = "sertransfer export 1"


def export(
    run_dir: Path, target: Path, *, onnx: bool = False, checkpoint: Path | None = None
) -> dict[str, Any]:
    """Write the model of the run in *run_dir* to the folder *target*.

    Args:
        run_dir: Folder of a finished run of either stage.
        target: New folder, or an earlier export, which is replaced.
        onnx: Write ``model.onnx`` too, and compare it with PyTorch.
        checkpoint: Where the encoder of a probe is now, if it was moved.

    Returns:
        ``kind``, ``files`` (names) and ``onnx`` (what the comparison found, or ``None``).

    Raises:
        BadInput: If the run is not finished, its weights are gone or are others, *target* holds something
            else, or the network cannot be had as ONNX; *target* is then as it was.
    """
    if onnx:
        check_packages()  # before anything is computed
    _check_target(target)
    metrics = read_json(run_dir / METRICS, "the metrics of a finished run")
    if not {"subject", "utterance"} & metrics.keys() or not (run_dir / "checkpoints").is_dir():
        raise bad_input(
            run_dir,
            found=f"{look_at(run_dir).text}, which holds no trained model",
            expected="a finished run of pretrain, transfer or tune",
            remedy="name the folder that was given as --run-dir",
        )
    exported = read_run(run_dir, metrics, checkpoint)
    with replaced_folder(target, "export") as folder:
        check = _fill(folder, exported, metrics, onnx=onnx)
        names = sorted(path.name for path in folder.iterdir())
    return {"kind": exported.kind, "files": names, "onnx": check}


def _fill(folder: Path, exported: Exported, metrics: dict[str, Any], *, onnx: bool) -> dict[str, Any] | None:
    for name, write in exported.files.items():
        write(folder / name)
    check = None
    if onnx:
        with atomic_path(folder / ONNX) as temporary:
            check = write_onnx(
                exported.network,
                temporary,
                shape=tuple(exported.input["shape"]),
                shortest=exported.input["shortest"],
                lengths=_lengths(exported.input),
                output=exported.output[0],
            )
    kept = figures(metrics)
    config = {
        "format": FORMAT,
        "kind": exported.kind,
        "classes": list(exported.classes),
        "input": exported.input,
        "output": dict(zip(("name", "meaning"), exported.output, strict=True)),
        "pooling": (exported.origin.get("probe") or {}).get("pooling"),
        "threshold": metrics.get("threshold"),
        "aggregation": metrics.get("aggregation"),
        "generated": bool(metrics.get("generated")),
        "origin": exported.origin,
        "onnx": check,
        "sertransfer": __version__,
    }
    write_json(folder / METRICS, kept)
    write_json(folder / CONFIG, json.loads(json.dumps(config, default=str)))
    write_text(folder / CARD, model_card(exported, kept, check))
    return check


def _lengths(taken: dict[str, Any]) -> list[int]:
    """Return sizes of the last axis to compare ONNX at: the least, short, odd and long ones."""
    least = max(1, int(taken["shortest"]))
    if taken["kind"] == "waveform":
        rate = int(taken["sample_rate"])
        return sorted({least, max(least, rate // 2), max(least, rate + 77), max(least, 2 * rate + 1)})
    return sorted({least, least + 1, least + 31, least + 64, least + 101, least + 299})


def _check_target(target: Path) -> None:
    if not os.path.lexists(target):
        return
    config = target / CONFIG
    found = "a file" if target.is_file() else "a folder with other files"
    if target.is_symlink():
        found = f"a symbolic link to '{target.readlink()}'"
    elif target.is_dir() and not any(target.iterdir()):
        return
    elif config.is_file() and read_json(config, "an export").get("format") == FORMAT:
        others = sorted({path.name for path in target.iterdir()} - NAMES)
        if not others:
            return
        found = f"an export with other files: {', '.join(others)}"
    raise bad_input(
        target, found=found, expected="a new folder or an earlier export", remedy="name another -o DIR"
    )
