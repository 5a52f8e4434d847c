"""From a recording to features, for use from Python: read at the encoder's rate, encoded, pooled or not."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sertransfer.audio.reading import read_segment
from sertransfer.encoders.base import Encoder, pool
from sertransfer.manifest import AudioSource


def encode_file(
    encoder: Encoder, audio: str | Path | AudioSource, *, start: float | None = None, end: float | None = None
) -> Tensor:
    """Return the features of a recording, or of a part of it, frame by frame.

    Args:
        encoder: What :func:`sertransfer.open_encoder` opened.
        audio: File that libsndfile reads (WAV, FLAC, ...), of any rate; channels are averaged. Or what
            ``Manifest.source`` says of a row, which may be a member of an archive.
        start: Begin in seconds; ``None`` is the beginning.
        end: End in seconds; ``None`` is the end of the recording.

    Returns:
        Shape ``(frames, dim)``, on the CPU. How long a frame is follows from ``encoder.framing`` and from
        the network, which may halve time several times.

    Raises:
        BadInput: If the file can not be read, the part is empty or not in it, or it is too short to encode.

    Examples:
        >>> from sertransfer import encode_file, open_encoder
        >>> encoder = open_encoder("ser", "model.safetensors")  # doctest: +SKIP
        >>> encode_file(encoder, "a.wav").shape  # doctest: +SKIP
        torch.Size([5, 8192])
    """
    source = audio if isinstance(audio, AudioSource) else AudioSource(Path(audio))
    samples = read_segment(source, start, end, sample_rate=encoder.sample_rate)
    waveform = torch.from_numpy(samples)
    features, frames = encoder.encode(waveform[None], torch.tensor([len(waveform)]))
    return features[0, : int(frames[0])].cpu()


def embed_file(
    encoder: Encoder,
    audio: str | Path | AudioSource,
    *,
    start: float | None = None,
    end: float | None = None,
    pooling: str = "mean",
) -> Tensor:
    """Return one vector for a recording, or for a part of it, as stage 2 makes it of a sentence.

    Args:
        encoder: What :func:`sertransfer.open_encoder` opened.
        audio: As for :func:`encode_file`.
        start: Begin in seconds; ``None`` is the beginning.
        end: End in seconds; ``None`` is the end of the recording.
        pooling: ``mean`` over the frames, or ``mean_std``, which is twice as long.

    Returns:
        Shape ``(dim,)``, or ``(2 * dim,)`` for ``mean_std``, on the CPU.

    Raises:
        BadInput: As :func:`encode_file`; also if *pooling* is unknown.
    """
    features = encode_file(encoder, audio, start=start, end=end)
    return pool(features[None], torch.tensor([len(features)]), pooling)[0]
