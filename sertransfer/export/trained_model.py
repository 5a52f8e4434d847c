"""The model of a finished run as it is exported: its files, its network, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sertransfer.encoders.base import Encoder, pool
from sertransfer.encoders.registry import reopen_encoder
from sertransfer.encoders.sentence_model import KEY, load_sentence_model
from sertransfer.errors import bad_input
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.io.checksums import SEAL, UNSEALED, seal
from sertransfer.io.files import atomic_path, regular_file
from sertransfer.io.run_folder import check_evidence
from sertransfer.models.checkpoint import Checkpoint, build_from, read_checkpoint, write_checkpoint
from sertransfer.reporting.share import without_folders
from sertransfer.transfer.apply import check_agreement, decision_of
from sertransfer.transfer.probe.classifiers import KernelMachine, LinearMachine, NetworkMachine
from sertransfer.transfer.probe.probe import Probe, read_probe, write_probe

PEOPLE = ("speakers", "train_subjects", "undecided_subjects", "inner_subjects", "subjects_left_out")
"""Keys whose lists name people; a model that leaves the machine says how many there are."""

FIGURES = (
    "utterance",
    "sentence",
    "subject",
    "majority",
    "adversarial",
    "split",
    "encoder",
    "mode",
    "model",
    "classes",
    "counts",
    "train",
    "threshold",
    "aggregation",
    "calibration",
    "corpus",
    "audio_shared",
    "encoder_audio_shared",
    "generated",
    "assumptions",
    "reported_split_use",
    "sertransfer",
)
"""Of ``metrics.json``, what names nobody."""


def without_people(value: Any, key: str = "") -> Any:
    """Return nested plain values, lists of people counted and paths cut to their last part.

    Args:
        value: Of mappings, lists and scalars.
        key: What the value is called; see :func:`~sertransfer.reporting.share.without_folders`.
    """
    if isinstance(value, dict):
        kept = {}
        for name, below in value.items():
            if name in PEOPLE and isinstance(below, list):
                kept[f"number_of_{name}"] = len(below)
            else:
                kept[name] = without_people(below, str(name))
        return kept
    if isinstance(value, list):
        return [without_people(one, key) for one in value]
    return without_folders(value, key) if isinstance(value, str) else value


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of ``metrics.json``."""
    kept: dict[str, Any] = without_people({key: metrics[key] for key in FIGURES if key in metrics})
    return kept


class ProbeHead(nn.Module):
    """A probe in double precision, as :mod:`sertransfer.transfer.probe.probe` computes it.

    Attention between sentences is not a sentence's own and stays out.
    """

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        prepared, machine = probe.preparation, probe.machine
        arrays = {"mean": prepared.mean, "scale": prepared.scale, **machine.arrays()}
        if prepared.basis is not None:
            arrays["basis"] = prepared.basis
        for name, values in arrays.items():
            self.register_buffer(name, torch.from_numpy(values).double())
        self._machine = type(machine)
        self._rotates = prepared.basis is not None
        self._slope = float(probe.slope)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map ``(batch, dim)`` to scores in [0, 1] of the positive class, ``(batch,)``."""
        columns = (embedding.double() - self.get_buffer("mean")) / self.get_buffer("scale")
        if self._rotates:
            columns = columns @ self.get_buffer("basis")
        decision = self._decision(columns) + self.get_buffer("intercept")
        return torch.sigmoid(self._slope * decision).float()

    def _decision(self, columns: Tensor) -> Tensor:
        if self._machine is LinearMachine:
            return columns @ self.get_buffer("weights")
        if self._machine is NetworkMachine:
            active = torch.relu(columns @ self.get_buffer("hidden") + self.get_buffer("shift"))
            return active @ self.get_buffer("out")
        if self._machine is not KernelMachine:
            raise TypeError(f"a probe of {self._machine.__name__}")
        support = self.get_buffer("support")
        squares = (columns**2).sum(1, keepdim=True) + (support**2).sum(1)
        distances = torch.relu(squares - 2 * columns @ support.T)
        return torch.exp(-self.get_buffer("gamma") * distances) @ self.get_buffer("dual")


class EncoderProbe(nn.Module):
    """An encoder, pooled over frames, and a probe."""

    def __init__(self, encoder: Encoder, head: nn.Module, pooling: str) -> None:
        super().__init__()
        self.encoder, self.head, self._pooling = encoder.network, head, pooling
        self._features = encoder.of_stored

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch as stores hold it, ``(batch, 1, width, length)``, to scores ``(batch,)``."""
        scores: Tensor = self.head(_pooled(self._features(x, mix=False), self._pooling))
        return scores


class FromWaveforms(nn.Module):
    """A network of stage 2 that is given waveforms as they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, samples)`` to the network's scores."""
        scores: Tensor = self.network(x[:, None, None])
        return scores


def _pooled(frames: Tensor, pooling: str) -> Tensor:
    """Pool ``(batch, frames, dim)``, all frames counting."""
    if pooling == "mean":
        return frames.mean(1)
    return pool(frames, torch.full((frames.shape[0],), frames.shape[1], device=frames.device), pooling)


MODEL, PROBE, ENCODER = "model.safetensors", "probe.safetensors", "encoder.safetensors"
DEFAULT_MELS = 128
ENCODER_KEY, ENCODER_FORMAT = "exported_encoder", "sertransfer encoder 1"

Write = Callable[[Path], None]


@dataclass(frozen=True)
class Exported:
    """What is exported of a run.

    Attributes:
        kind: ``classifier``, ``probe`` or ``finetuned``.
        classes: Of the scores; for stage 2 the negative and the positive one.
        network: From input to scores, in evaluation mode, on the CPU.
        input: What the network takes: ``kind`` (``log-mel`` or ``waveform``), ``shape``, ``shortest``, and
            all that makes it of audio.
        output: Name of the scores and what they are.
        origin: Where the weights come from, without people.
        corpora: Real corpora that they were trained on before this run, or in it, by name.
        files: File name to what writes it.
    """

    kind: str
    classes: tuple[str, ...]
    network: nn.Module
    input: dict[str, Any]
    output: tuple[str, str]
    origin: dict[str, Any]
    corpora: tuple[str, ...]
    files: dict[str, Write]


_LOGITS = ("logits", "scores before the softmax, in the order of the classes, shape (batch, classes)")
_SCORE = ("score", "score in [0, 1] of the positive class, shape (batch,)")


def read_run(run_dir: Path, metrics: dict[str, Any], checkpoint: Path | None) -> Exported:
    """Read the finished run whose ``metrics.json`` holds *metrics*.

    Args:
        run_dir: Its folder.
        metrics: Of either stage.
        checkpoint: Where the encoder of a probe is now; ``None`` takes the place that the run notes.

    Raises:
        BadInput: If weights are missing, or are not those of the run.
    """
    check_evidence(run_dir, metrics, [f"checkpoints/{name}" for name in (MODEL, PROBE)])
    if "subject" not in metrics:
        return _classifier(run_dir / "checkpoints" / MODEL)
    if metrics.get("mode") == "finetune":
        return _finetuned(run_dir / "checkpoints" / MODEL, metrics)
    return _probe(run_dir, metrics, checkpoint)


def _spectrograms(checkpoint: Checkpoint, least: int) -> dict[str, Any]:
    if checkpoint.front_end is None:  # imported weights whose front end nobody knows
        return {"kind": "log-mel", "shape": [1, DEFAULT_MELS], "shortest": least, "front_end": None}
    return _log_mels(checkpoint.front_end, checkpoint.cropping, least)


def _log_mels(front_end: FrontEnd, cropping: Cropping | None, least: int) -> dict[str, Any]:
    return {
        "kind": "log-mel",
        "shape": [1, front_end.mels],
        "shortest": least,
        "framing": front_end.framing.name,
        "front_end": front_end.as_dict(),
        "cropping": None if cropping is None else {"seconds": cropping.seconds, "pad": cropping.pad},
    }


def _waveforms(rate: int, shortest: int) -> dict[str, Any]:
    return {"kind": "waveform", "shape": [], "shortest": shortest, "sample_rate": rate}


def _plain_checkpoint(read: Checkpoint) -> Checkpoint:
    return replace(read, provenance=without_people(read.provenance))


def _corpora(provenance: Any) -> tuple[str, ...]:
    """Return every real corpus that *provenance* names, of what it was trained from too."""
    if not isinstance(provenance, dict):
        return ()
    named = [] if provenance.get("generated") else provenance.get("corpus") or []
    own = [named] if isinstance(named, str) else [str(name) for name in named]
    return tuple(dict.fromkeys([*own, *_corpora(provenance.get("finetuned_from"))]))


def _classifier(path: Path) -> Exported:
    read = _plain_checkpoint(read_checkpoint(path))
    network = build_from(read, where=path)
    return Exported(
        "classifier",
        read.classes,
        network,
        _spectrograms(read, network.least),
        _LOGITS,
        read.provenance,
        _corpora(read.provenance),
        {MODEL: lambda target: write_checkpoint(read, target)},
    )


def _finetuned(path: Path, metrics: dict[str, Any]) -> Exported:
    model = load_sentence_model(path)
    check_agreement(path, decision_of(model), metrics)
    with safe_open(regular_file(path), framework="pt") as opened:
        text = (opened.metadata() or {}).get(KEY)
    if text is None:  # the network of a recogniser of stage 1, with its own classifier
        return replace(_classifier(path), kind="finetuned")
    values = without_people(json.loads(text))

    def write(target: Path) -> None:
        with safe_open(regular_file(path), framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        with atomic_path(target) as temporary:
            save_file(tensors, temporary, {KEY: json.dumps({**values, SEAL: UNSEALED})})
            seal(temporary)

    network, encoder = model.network, model.encoder
    if encoder.front_end is not None:
        taken = _log_mels(encoder.front_end, encoder.cropping, int(getattr(encoder.network, "least", 1)))
    else:
        network, taken = FromWaveforms(network), _waveforms(encoder.sample_rate, encoder.sample_rate // 2)
    origin = dict(values["provenance"])
    return Exported(
        "finetuned", model.classes, network, taken, _LOGITS, origin, _corpora(origin), {MODEL: write}
    )


def _probe(run_dir: Path, metrics: dict[str, Any], checkpoint: Path | None) -> Exported:
    probe = read_probe(run_dir / "checkpoints" / PROBE)
    check_agreement(run_dir / "checkpoints" / PROBE, probe.about, metrics)
    details = metrics["encoder_details"]
    name = str(metrics["encoder"])
    source = {
        "name": name,
        "checkpoint": str(details["checkpoint"]),
        "layer": details.get("layer"),
        "fingerprint": details.get("fingerprint"),
    }
    opened, place = reopen_encoder(run_dir, source, checkpoint)
    if opened.by_speaker:
        raise bad_input(
            run_dir,
            found="an encoder that is normalised by each speaker's resting recordings",
            expected="one that can score audio alone",
            remedy="export its stage 1 run, whose network takes features that are normalised already",
        )
    plain = replace(probe, about=without_people(probe.about))
    classes = tuple(str(one) for one in metrics["classes"])
    network: nn.Module = EncoderProbe(opened, ProbeHead(probe), str(probe.about.get("pooling", "mean")))
    if opened.front_end is not None:
        read = _plain_checkpoint(read_checkpoint(place))
        taken = _spectrograms(read, int(getattr(opened.network, "least", 1)))
        corpora = _corpora(read.provenance)
        files: dict[str, Write] = {MODEL: lambda target: write_checkpoint(read, target)}
    else:
        network, taken, corpora = FromWaveforms(network), _waveforms(opened.sample_rate, opened.shortest), ()
        files = {ENCODER: lambda target: _write_encoder(opened, target)}
    return Exported(
        "probe",
        classes,
        network.eval(),
        taken,
        _SCORE,
        {"encoder": without_people(details), "probe": plain.about},
        corpora,
        {**files, PROBE: lambda target: write_probe(plain, target)},
    )


def _write_encoder(opened: Encoder, target: Path) -> None:
    about = {"format": ENCODER_FORMAT, "encoder": opened.name, "blueprint": opened.blueprint()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in opened.network.state_dict().items()}
    with atomic_path(target) as temporary:
        save_file(tensors, temporary, {ENCODER_KEY: json.dumps({**about, SEAL: UNSEALED})})
        seal(temporary)
