"""``sertransfer import-checkpoint``: convert published weights, and rank likely front ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.reading import inspect, read_segment
from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.front_end import Denoise, FrontEnd
from sertransfer.manifest import AudioSource
from sertransfer.models.checkpoint import Checkpoint, build_from
from sertransfer.models.published import CLASSES, import_published
from sertransfer.timebase import PRESETS

MOST_RECORDINGS = 32
"""Recordings that are read; more change the statistics little."""

LONGEST = 5.0
"""Seconds read of each recording."""


@dataclass(frozen=True)
class Ranked:
    """A candidate and its distance from the statistics in the weights (0 = the same)."""

    front_end: FrontEnd
    distance: float


def candidates() -> list[FrontEnd]:
    """Return the front ends to compare.

    They differ in logarithm, gain, normalisation, mel scale, framing and denoising. Combinations that
    normalisation makes equal are left out: it takes away a gain, and a logarithm's base.
    """
    levels = [
        {"log": log, "gain": gain, "normalise": "none"}
        for log, gain in product(("natural", "db", "none"), (2.0, 1.0))
    ]
    levels += [
        {"log": log, "gain": 2.0, "normalise": normalise}
        for log, normalise in product(("natural", "none"), ("utterance", "band"))
    ]
    mels = [{"mel_scale": "slaney", "mel_norm": "slaney"}, {"mel_scale": "htk", "mel_norm": "none"}]
    denoising = [Denoise(), Denoise(method="none")]
    return [
        FrontEnd(framing=framing, denoise=denoise, **mel, **level)  # type: ignore[arg-type]
        for level, mel, framing, denoise in product(levels, mels, PRESETS.values(), denoising)
    ]


def rank_front_ends(
    checkpoint: Checkpoint, folder: Path, *, front_ends: Sequence[FrontEnd] | None = None
) -> list[Ranked]:
    """Rank front ends by how near speech in *folder* comes to the weights' first batch norm.

    Args:
        checkpoint: Weights of a model whose first two layers are ``conv1`` and ``bn1``.
        folder: Searched for WAV files, at any depth; of many, an even choice is read.
        front_ends: The candidates; :func:`candidates` by default.

    Returns:
        All candidates, nearest first. The distance is the mean over channels of the Kullback-Leibler
        divergence between the stored and the observed normal distribution, in both directions.

    Raises:
        BadInput: If the folder holds no WAV file, or files that cannot be read (all are named).
    """
    model = build_from(checkpoint)
    conv, norm = model.get_submodule("conv1"), model.get_submodule("bn1")
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        raise TypeError(f"{checkpoint.model} does not begin with a batch norm 'bn1'")
    waveforms = read_speech(folder)
    ranked = []
    for front_end in candidates() if front_ends is None else front_ends:
        mean, variance = _statistics(conv, front_end, waveforms)
        distance = _divergence(norm.running_mean, norm.running_var, mean, variance, norm.eps)
        ranked.append(Ranked(front_end, distance))
    return sorted(ranked, key=lambda candidate: candidate.distance)


def read_speech(folder: Path) -> list[Tensor]:
    """Read an even choice of the WAV files in *folder*; shape ``(samples,)`` each.

    Raises:
        BadInput: If there is no WAV file, or one cannot be read (all are named).
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".wav")
    if not paths:
        raise bad_input(
            folder,
            found="no WAV file" if folder.is_dir() else "a file" if folder.exists() else "no such folder",
            expected="a folder with recordings of speech",
            remedy="give a folder with at least a few WAV files to --calibrate-on",
        )
    faults = Faults()
    waveforms = []
    for index in range(min(len(paths), MOST_RECORDINGS)):
        path = paths[index * len(paths) // min(len(paths), MOST_RECORDINGS)]
        try:
            source = AudioSource(path)
            end = LONGEST if inspect(source).duration > LONGEST else None
            waveforms.append(torch.from_numpy(read_segment(source, end=end)))
        except BadInput as error:
            faults.extend(error.faults)
    faults.raise_if_any()
    return waveforms


def _statistics(conv: nn.Module, front_end: FrontEnd, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each channel of *conv*'s output, shape ``(channels,)`` each."""
    compute = MelFrontEnd(front_end)
    total = square = torch.zeros(())
    count = 0
    with torch.no_grad():
        for waveform in waveforms:
            out = conv(compute(waveform)[None, None]).double().squeeze(0)  # (channels, rows, frames)
            total = total + out.sum((1, 2))
            square = square + out.square().sum((1, 2))
            count += out[0].numel()
    mean = total / count
    return mean, (square / count - mean.square()).clamp_min(0)


def _divergence(mean_a: Tensor, var_a: Tensor, mean_b: Tensor, var_b: Tensor, eps: float) -> float:
    """Return the symmetric Kullback-Leibler divergence of normal distributions, averaged over channels."""
    var_a, var_b = var_a.double() + eps, var_b + eps
    gap = (mean_a - mean_b).square()
    both = (var_a + gap) / var_b + (var_b + gap) / var_a - 2
    return float(both.mean() / 2)


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
