"""A network as an ONNX file, compared with PyTorch before anybody gets it.

What is written takes batches and lengths of any size. PyTorch's exporter would fix the length where a network
pools to a number of bins, so that pooling is written out as a product with a matrix while it looks.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sertransfer.errors import BadInput, bad_input

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
