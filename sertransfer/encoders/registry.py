"""The encoders by name, and features of a recording by one of them.

To add an encoder: write its opener, and a line in :data:`ENCODERS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sertransfer.audio.reading import read_segment
from sertransfer.encoders.base import Encoder, pool
from sertransfer.errors import BadInput, bad_input, choose
from sertransfer.io.files import hash_file, regular_file, write_json
from sertransfer.io.plain_values import parse_json
from sertransfer.manifest import AudioSource
from sertransfer.timebase import Framing


def open_ser(checkpoint: Path, *, framing: Framing | None, layer: int | None, device: str) -> Encoder:
    """Emotion recognition model of stage 1, the features before its classifier.

    Raises:
        BadInput: If a layer or another framing is asked for, or it is no checkpoint.
    """
    from sertransfer.encoders.ser import SerEncoder
    from sertransfer.models.checkpoint import read_checkpoint

    read = read_checkpoint(checkpoint)
    trained = None if read.front_end is None else read.front_end.framing
    if trained is not None:
        _demand(
            framing, trained, checkpoint, "train one for it: sertransfer pretrain ... --front_end.framing"
        )
    encoder = SerEncoder(read, device=device, where=checkpoint)
    encoder.check_layer(layer)
    return encoder


def open_asr(checkpoint: Path, *, framing: Framing | None, layer: int | None, device: str) -> Encoder:
    """ESPnet2 speech recogniser, the features before its decoder (experiment folder or model ZIP)."""
    from sertransfer.encoders.espnet.encoder import AsrEncoder
    from sertransfer.encoders.espnet.folder import read_experiment

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


def _rebuild(module: str, *given: Any, **options: Any) -> Encoder:
    """Call the *module*'s ``rebuild``; imported here, so that one does not wait for another's libraries."""
    encoder: Encoder = import_module(module).rebuild(*given, **options)
    return encoder


PLACES = "encoder.json"
"""File of a run folder that says where the encoder's weights are."""

ENCODERS: dict[str, Callable[..., Encoder]] = {"ser": open_ser, "asr": open_asr, "ssl": open_ssl}


REBUILDERS: dict[str, Callable[..., Encoder]] = {
    name: partial(_rebuild, f"sertransfer.encoders.{module}")
    for name, module in (("ser", "ser"), ("asr", "espnet.encoder"), ("ssl", "ssl"))
}
"""What builds an encoder from its blueprint and weights, of those that can be fine-tuned."""


def choose_encoder(name: str) -> str:
    """Return *name* if it is an encoder's.

    Raises:
        BadInput: Otherwise, naming the encoder that takes such a model, or else the nearest name.
    """
    if name in ENCODERS:
        return name
    plain = name.lower().replace("-", "_")
    taken_by = next((taker for taker, known in _families() if plain.startswith(known)), None)
    if taken_by is not None:
        raise bad_input(
            "encoder",
            found=f"'{name}', the name of a model",
            expected=f"the encoder that takes it: {taken_by}",
            remedy=f"--encoder {taken_by} --checkpoint WEIGHTS",
        )
    return choose("encoder", name, ENCODERS)


def _families() -> Iterator[tuple[str, str]]:
    """Yield encoders and the models that they take, as names begin; of two that fit, the longer first."""
    from sertransfer.encoders.espnet.network import ENCODER_CLASSES
    from sertransfer.encoders.ssl import BUILDERS
    from sertransfer.models.registry import MODELS

    named = [("ssl", known) for known in BUILDERS] + [("asr", known) for known in ENCODER_CLASSES]
    named += [("asr", "espnet"), ("ssl", "wav2vec")] + [("ser", known) for known in MODELS]
    yield from sorted(named, key=lambda one: -len(one[1]))


def note_encoder(run_dir: Path, name: str, checkpoint: Path, fingerprint: str) -> None:
    """Write :data:`PLACES` into the run folder *run_dir*: where its encoder's weights are.

    Args:
        run_dir: Folder of the run.
        name: Key of :data:`ENCODERS`.
        checkpoint: The weights, as they were given.
        fingerprint: Of the encoder.
    """
    absolute = checkpoint.resolve()
    values = {
        "encoder": name,
        "given": str(checkpoint),
        "relative": os.path.relpath(absolute, run_dir.resolve()),
        "absolute": str(absolute),
        "sha256": _hash(checkpoint),
        "fingerprint": fingerprint,
    }
    write_json(run_dir / PLACES, values)


def reopen_encoder(
    run_dir: Path, source: Mapping[str, Any], checkpoint: Path | None = None, *, device: str = "cpu"
) -> tuple[Encoder, Path]:
    """Open the encoder of a run again, wherever command and run folder are now.

    Args:
        run_dir: Folder of the run.
        source: What the run keeps of its encoder: ``name, checkpoint, layer, fingerprint``.
        checkpoint: Where the weights are; ``None`` looks beside the run folder as it was (they may have been
            moved together), at their absolute path, and at the path as it was given.
        device: Where the network runs.

    Returns:
        The encoder, and where its weights are.

    Raises:
        BadInput: If they are nowhere, or are not those of the run.
    """
    places = [checkpoint] if checkpoint is not None else list(_places(run_dir, Path(source["checkpoint"])))
    there = [place for place in places if place.exists()]
    if not there:
        raise bad_input(
            places[-1] if checkpoint is None else checkpoint,
            found="nothing" + (f", nor at {', '.join(map(str, places[:-1]))}" if len(places) > 1 else ""),
            expected=f"the weights of the run's encoder '{source['name']}'",
            remedy="say where they are now with --checkpoint PATH",
        )
    wrong = None
    for place in there:
        try:
            encoder = open_encoder(str(source["name"]), place, layer=source["layer"], device=device)
        except BadInput as error:
            wrong = wrong or error
            continue
        # with resting states the fingerprint is that of the speakers too; the caller refuses those
        if encoder.by_speaker or encoder.fingerprint() == source["fingerprint"]:
            return encoder, place
        wrong = wrong or bad_input(
            place,
            found=f"weights of fingerprint {encoder.fingerprint()[:12]}",
            expected=f"those that the run was made with, {str(source['fingerprint'])[:12]}",
            remedy="give the run's own encoder with --checkpoint PATH",
        )
    raise wrong or AssertionError("a place that was tried")


def _places(run_dir: Path, given: Path) -> Iterator[Path]:
    """Yield where a run's encoder may be, each place once: first those that hold the file that it was."""
    try:
        noted = parse_json(regular_file(run_dir / PLACES).read_text(encoding="utf-8"))
        known = [run_dir / str(noted["relative"]), Path(str(noted["absolute"]))]
        sha256 = noted["sha256"]
    except (OSError, ValueError, KeyError, TypeError):  # an older run, or one whose note was lost
        known, sha256 = [], None
    if not given.is_absolute():
        known += [parent / given for parent in run_dir.resolve().parents]
    tried = list(dict.fromkeys([*(place for place in known if place.exists()), given]))
    if sha256 is not None:
        tried.sort(key=lambda place: _hash(place) != sha256)  # stable
    yield from tried


def _hash(checkpoint: Path) -> str | None:
    """Return the SHA-256 of a checkpoint that is one file; ``None`` for a folder of several."""
    from sertransfer.models.checkpoint import checkpoint_file

    file = checkpoint_file(checkpoint)
    return hash_file(file) if file.is_file() else None


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
        checkpoint: The weights: a file or folder, for ``ser`` also the run folder of ``pretrain``.
        framing: Demand this framing; ``None`` takes what the weights were trained with.
        layer: Block whose output is taken, counted from 1; ``None`` is the encoder's own output.
        device: Where the network runs, such as ``cpu`` or ``cuda``.

    Returns:
        The encoder: waveforms at its ``sample_rate``, full scale 1, to ``(batch, frames, dim)``.

    Raises:
        BadInput: If the name is unknown, the file is no such checkpoint, it was trained with another
            framing or an unknown front end, or there is no such layer or device.
    """
    opener = ENCODERS[choose_encoder(name)]
    try:
        torch.zeros(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        raise bad_input(
            "device", found=f"'{device}'", expected="a device of this machine", remedy="use cpu"
        ) from error
    return opener(Path(checkpoint), framing=framing, layer=layer, device=device)


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
        BadInput: If the file cannot be read, the part is empty or not in it, or it is too short to encode.

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
