"""The encoders by name. To add one: write its opener, and a line in :data:`ENCODERS`.

An opener takes the path of the weights and ``framing``, ``layer`` and ``device`` by keyword. The first line
of its docstring is what ``sertransfer encoders`` prints. Each imports its encoder itself, so that opening
one does not wait for the libraries of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sertransfer.encoders.base import Encoder
from sertransfer.errors import bad_input, choose
from sertransfer.timebase import Framing


def open_ser(checkpoint: Path, *, framing: Framing | None, layer: int | None, device: str) -> Encoder:
    """Emotion recognition model of stage 1, the features before its classifier.

    Raises:
        BadInput: If a layer or another framing is asked for, or it is no checkpoint.
    """
    from sertransfer.encoders.ser import SerEncoder
    from sertransfer.models.checkpoint import read_checkpoint

    if layer is not None:
        raise bad_input(
            "encoder ser",
            found=f"layer {layer}",
            expected="no layer: its features are those before the classifier",
            remedy="leave the setting out",
        )
    read = read_checkpoint(checkpoint)
    trained = None if read.front_end is None else read.front_end.framing
    if trained is not None:
        _demand(
            framing, trained, checkpoint, "train one for it: sertransfer pretrain ... --front_end.framing"
        )
    return SerEncoder(read, device=device, where=checkpoint)


def open_asr(checkpoint: Path, *, framing: Framing | None, layer: int | None, device: str) -> Encoder:
    """ESPnet2 speech recogniser, the features before its decoder (experiment folder or model ZIP)."""
    from sertransfer.encoders.asr import AsrEncoder
    from sertransfer.encoders.espnet_folder import read_experiment

    encoder = AsrEncoder(read_experiment(checkpoint), layer=layer, device=device)
    _demand(framing, encoder.framing, checkpoint, "use a recogniser that was trained with framing")
    return encoder


def open_ssl(checkpoint: Path, *, framing: Framing | None, layer: int | None, device: str) -> Encoder:
    """Self-supervised wav2vec 2.0, HuBERT or WavLM from a local file or folder (torchaudio weights)."""
    from sertransfer.encoders.ssl import SslEncoder, read_ssl

    encoder = SslEncoder(read_ssl(checkpoint), layer=layer, device=device)
    _demand(framing, encoder.framing, checkpoint, "its first layers fix the framing; no such model has")
    return encoder


def _demand(asked: Framing | None, trained: Framing, checkpoint: Path, remedy: str) -> None:
    """Refuse another framing than the weights were trained with."""
    if asked is not None and asked != trained:
        raise bad_input(
            checkpoint,
            found=f"a model trained with framing {trained.name}",
            expected=f"framing {asked.name}",
            remedy=f"{remedy} {asked.name}",
        )


ENCODERS: dict[str, Callable[..., Encoder]] = {"ser": open_ser, "asr": open_asr, "ssl": open_ssl}


def open_encoder(
    name: str,
    checkpoint: Path,
    *,
    framing: Framing | None = None,
    layer: int | None = None,
    device: str = "cpu",
) -> Encoder:
    """Open the encoder *name* with the weights at *checkpoint*.

    Args:
        name: Key of :data:`ENCODERS`.
        checkpoint: The weights.
        framing: Demand this framing; ``None`` takes what the weights were trained with.
        layer: Block whose output is taken, counted from 1; ``None`` is the encoder's own output.
        device: Where the network runs, such as ``cpu`` or ``cuda``.

    Returns:
        The encoder: waveforms at its ``sample_rate``, full scale 1, to ``(batch, frames, dim)``.

    Raises:
        BadInput: If the name is unknown, the file is no such checkpoint, it was trained with another
            framing or an unknown front end, or there is no such layer or device.
    """
    opener = ENCODERS[choose("encoder", name, ENCODERS)]
    try:
        torch.zeros(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        raise bad_input(
            "device", found=f"'{device}'", expected="a device of this machine", remedy="use cpu"
        ) from error
    return opener(Path(checkpoint), framing=framing, layer=layer, device=device)
