"""The encoders by name. To add one: write its opener, and a line in :data:`ENCODERS`.

An opener takes the path of the weights and ``framing`` and ``device`` by keyword. The first line of its
docstring is what ``sertransfer encoders`` prints.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sertransfer.encoders.base import Encoder
from sertransfer.encoders.ser import SerEncoder
from sertransfer.errors import bad_input, choose
from sertransfer.models.checkpoint import read_checkpoint
from sertransfer.timebase import Framing


def open_ser(checkpoint: Path, *, framing: Framing | None, device: str) -> SerEncoder:
    """Emotion recognition model of stage 1, the features before its classifier."""
    read = read_checkpoint(checkpoint)
    trained = None if read.front_end is None else read.front_end.framing
    if framing is not None and trained is not None and trained != framing:
        raise bad_input(
            checkpoint,
            found=f"a model trained with framing {trained.name}",
            expected=f"framing {framing.name}",
            remedy=f"train one for it: sertransfer pretrain ... --front_end.framing {framing.name}",
        )
    return SerEncoder(read, device=device, where=checkpoint)


ENCODERS: dict[str, Callable[..., Encoder]] = {"ser": open_ser}


def open_encoder(
    name: str, checkpoint: Path, *, framing: Framing | None = None, device: str = "cpu"
) -> Encoder:
    """Open the encoder *name* with the weights at *checkpoint*.

    Args:
        name: Key of :data:`ENCODERS`.
        checkpoint: The weights.
        framing: Demand this framing; ``None`` takes what the weights were trained with.
        device: Where the network runs, such as ``cpu`` or ``cuda``.

    Raises:
        BadInput: If the name is unknown, the file is no such checkpoint, it was trained with another
            framing or an unknown front end, or there is no such device.
    """
    opener = ENCODERS[choose("encoder", name, ENCODERS)]
    try:
        torch.zeros(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        raise bad_input(
            "device", found=f"'{device}'", expected="a device of this machine", remedy="use cpu"
        ) from error
    return opener(Path(checkpoint), framing=framing, device=device)
