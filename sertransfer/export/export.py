"""``sertransfer export``: the model of a finished run as a folder that can leave the machine.

The folder is made beside its place and moved there whole. It names no speaker, subject or folder of this
machine.

Its network may be there as an ONNX file, compared with PyTorch before anybody gets it, which takes batches
and lengths of any size. PyTorch's exporter would fix the length where a network pools to a number of bins,
so that pooling is written out as a product with a matrix while it looks.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sertransfer import __version__
from sertransfer.errors import BadInput, bad_input
from sertransfer.export.model_card import model_card
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


PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
"""Greatest difference from PyTorch that is let through."""
_LONGEST = 10_000_000


def check_packages() -> None:
    """Raise `BadInput` if a package that ONNX takes is not installed; all that are missing are named."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise bad_input(
            "--onnx",
            found=f"no package {', '.join(missing)}",
            expected="the packages of the extra 'export'",
            remedy="install them: make export-tools, or pip install -r requirements-export.lock",
        )


def write_onnx(
    network: nn.Module,
    path: Path,
    *,
    shape: tuple[int, ...],
    shortest: int,
    lengths: Sequence[int],
    output: str,
) -> dict[str, Any]:
    """Write *network* to *path* and compare it with PyTorch at several lengths and batch sizes.

    Args:
        network: In evaluation mode, on the CPU; its input's first axis is the batch, its last is time.
        path: The file.
        shape: Of an input, batch and time left out.
        shortest: Least size of the last axis.
        lengths: Sizes of the last axis to compare at.
        output: Name of the output.

    Returns:
        ``difference`` (the greatest, absolute), ``tolerance``, ``lengths``, ``batches`` and ``versions``.

    Raises:
        BadInput: If a package is missing, the exporter cannot take the network, or the file gives something
            else than the network.
    """
    check_packages()
    network.eval().requires_grad_(False)
    example = _input(2, shape, lengths[-1], seed=0)
    dims = {0: torch.export.Dim("batch", min=1, max=4096)}
    dims[example.ndim - 1] = torch.export.Dim("time", min=shortest, max=_LONGEST)
    try:
        with _quietly(), _written_out_pooling(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                dynamic_shapes=(dims,),
                input_names=["input"],
                output_names=[output],
                external_data=False,
                verbose=False,
            )
            if program is None:  # what it returns where it is told a file
                raise RuntimeError("the exporter gave no program")
            program.save(str(path))
    except Exception as error:  # the exporter raises whatever a network's operations lead to
        raise _refused(error) from error
    return _compare(network, path, shape, lengths)


def _compare(
    network: nn.Module, path: Path, shape: tuple[int, ...], lengths: Sequence[int]
) -> dict[str, Any]:
    import onnxruntime

    greatest, batches = 0.0, (1, 3)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for batch in batches:
            for length in lengths:
                x = _input(batch, shape, length, seed=length)
                with torch.no_grad():
                    expected = network(x.clone()).numpy()
                (found,) = session.run(None, {"input": x.numpy()})
                if found.shape != expected.shape:
                    raise ValueError(f"shape {found.shape} for {expected.shape} at length {length}")
                greatest = max(greatest, float(np.abs(found - expected).max()))
    except Exception as error:  # onnxruntime raises classes of its own
        raise _refused(error) from error
    if not greatest <= TOLERANCE:
        raise _refused(ValueError(f"scores that differ from PyTorch's by {greatest:.3g}"))
    return {
        "difference": greatest,
        "tolerance": TOLERANCE,
        "lengths": list(lengths),
        "batches": list(batches),
        "versions": {"torch": str(torch.__version__), "onnxruntime": str(onnxruntime.__version__)},
    }


def _input(batch: int, shape: tuple[int, ...], length: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(batch, *shape, length, generator=generator)


def _refused(error: Exception) -> BadInput:
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the exporter wraps what an operation said in pages of advice
    text = " ".join(str(error).split())
    return bad_input(
        "--onnx",
        found=f"a network that cannot be had as ONNX ({type(error).__name__}: {text[:300]})",
        expected="operations that PyTorch's exporter knows at every length",
        remedy="export it without --onnx, and load the safetensors",
    )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporter's progress and advice out of the way; its errors are exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    printed = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _written_out_pooling() -> Iterator[None]:
    """Let ``adaptive_avg_pool2d`` be operations that keep the length open, for as long as this lasts."""
    original = F.adaptive_avg_pool2d

    def pooling(x: Tensor, size: Any) -> Tensor:
        rows, columns = (size, size) if isinstance(size, int) else size
        if rows != x.shape[-2]:
            x = (x.transpose(-1, -2) @ _averages(x.shape[-2], rows, x)).transpose(-1, -2)
        if type(columns) is not int:  # the input's own number of frames
            return x
        return x.mean(-1, keepdim=True) if columns == 1 else x @ _averages(x.shape[-1], columns, x)

    F.adaptive_avg_pool2d = pooling  # type: ignore[assignment]
    try:
        yield
    finally:
        F.adaptive_avg_pool2d = original


def _averages(size: int, bins: int, like: Tensor) -> Tensor:
    """Return the matrix ``(size, bins)`` that averages as adaptive pooling does."""
    place = torch.arange(size, device=like.device)[:, None]
    number = torch.arange(bins, device=like.device)[None]
    inside = (place >= number * size // bins) & (place < ((number + 1) * size + bins - 1) // bins)
    weights = inside.to(like.dtype)
    return weights / weights.sum(0, keepdim=True)
