"""The encoder of an ESPnet2 speech recogniser: front end, normalisation and encoder; no decoder is built.

ESPnet is imported when an encoder is opened, and of it only the light modules of the classes in use:
``espnet2.tasks.asr``, which knows them all, takes ten seconds and tries to download data.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import logging
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sertransfer.encoders.base import hash_weights
from sertransfer.encoders.espnet_folder import Experiment
from sertransfer.encoders.layers import LayeredEncoder
from sertransfer.encoders.weights_file import load_weights
from sertransfer.errors import BadInput, Faults, bad_input, nearest
from sertransfer.timebase import Framing

_log = logging.getLogger(__name__)

ENCODER_CLASSES = {
    "conformer": ("espnet2.asr.encoder.conformer_encoder", "ConformerEncoder"),
    "branchformer": ("espnet2.asr.encoder.branchformer_encoder", "BranchformerEncoder"),
    "e_branchformer": ("espnet2.asr.encoder.e_branchformer_encoder", "EBranchformerEncoder"),
    "transformer": ("espnet2.asr.encoder.transformer_encoder", "TransformerEncoder"),
    "rnn": ("espnet2.asr.encoder.rnn_encoder", "RNNEncoder"),
}
NORMALISATIONS = {
    "utterance_mvn": ("espnet2.layers.utterance_mvn", "UtteranceMVN"),
    "global_mvn": ("espnet2.layers.global_mvn", "GlobalMVN"),
}
_FRONT_END = ("espnet2.asr.frontend.default", "DefaultFrontend")
_CTC = ("espnet2.asr.ctc", "CTC")
_SUBSAMPLING = ("espnet.nets.pytorch_backend.transformer.subsampling", "check_short_utt")
_MOST_FRAMES_NEEDED = 64
PARTS = ("frontend", "normalize", "encoder", "ctc")


class _Network(nn.Module):
    """The parts of ESPnet's model that its ``encode`` uses, under the names they have in its state dict."""

    def __init__(self, frontend: nn.Module, normalize: nn.Module | None, encoder: nn.Module) -> None:
        super().__init__()
        self.frontend = frontend
        self.normalize = normalize
        self.encoder = encoder
        self.ctc: nn.Module | None = None

    def forward(self, waveforms: Tensor) -> Tensor:
        """Encode ``(batch, samples)`` of equal length into ``(batch, frames, dim)``."""
        lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        features, frames = self.frontend(waveforms, lengths)
        if self.normalize is not None:
            features, frames = self.normalize(features, frames)
        more = {} if self.ctc is None else {"ctc": self.ctc}
        encoded, frames, _ = self.encoder(features, frames, **more)
        if isinstance(encoded, tuple):  # with the outputs that an intermediate CTC looked at
            encoded = encoded[0]
        return encoded[:, : int(frames.max())]  # type: ignore[no-any-return]


class AsrEncoder(LayeredEncoder):
    """Features of ESPnet's ``encode`` for one utterance at a time.

    Augmentation is that of training, so none. Where ESPnet pads, its output for an utterance depends on its
    neighbours (espnet issue 6600); here only equal lengths share a batch.

    Args:
        experiment: What :func:`sertransfer.encoders.espnet_folder.read_experiment` read.
        layer: See :class:`sertransfer.encoders.layers.LayeredEncoder`.
        device: Where the network runs.

    Raises:
        BadInput: If the config asks for what is not supported or what this version of ESPnet does not
            know, or the weights are not those of the config's encoder.
    """

    name = "asr"

    def __init__(self, experiment: Experiment, *, layer: int | None = None, device: str = "cpu") -> None:
        config, where = experiment.config, experiment.where
        _check(config, where)
        self._network = _build(experiment)
        own = {
            name: tensor
            for name, tensor in experiment.weights.items()
            if hasattr(self._network, part := name.split(".")[0])
            and part in PARTS
            and getattr(self._network, part) is not None
        }
        if config.get("normalize") is None:  # a norm in the weights must not vanish unseen
            own.update({k: v for k, v in experiment.weights.items() if k.startswith("normalize.")})
        load_weights(
            self._network,
            own,
            f"{where}: {experiment.model_file}",
            remedy=f"use the config that the model was trained with ({_versions(config)})",
        )
        self._network.eval().requires_grad_(False).to(device)
        self._device = torch.device(device)
        self._stack = list(getattr(self._network.encoder, "encoders", []))
        self.layers = len(self._stack)
        self.check_layer(layer)
        self.layer = layer
        self.framing = _framing(self._network.frontend, where)
        self.sample_rate = self.framing.sample_rate
        encoder: Any = self._network.encoder
        self.dim = int(encoder.output_size())
        self.shortest = _shortest(self._network)
        unused = sorted({name.split(".")[0] for name in experiment.weights if name not in own})
        tokens = config.get("token_list")
        self._record = {
            "encoder": self.name,
            "model": str(config["encoder"]),
            "options": _conf(config, "encoder"),
            "front_end": _conf(config, "frontend"),
            "normalisation": config.get("normalize"),
            "framing": self.framing.name,
            "layer": layer,
            "layers": self.layers,
            "model_file": experiment.model_file,
            "weights_not_used": unused,
            "tokens": len(tokens) if isinstance(tokens, list) else None,
            "espnet": {"trained_with": config.get("version"), "used": version("espnet")},
        }
        decisive = {k: self._record[k] for k in ("encoder", "model", "options", "front_end", "layer")}
        decisive["normalisation"] = [config.get("normalize"), _conf(config, "normalize", "stats_file")]
        self._fingerprint = hash_weights(decisive, own)

    def _output(self, waveforms: Tensor) -> Tensor:
        return self._network(waveforms)  # type: ignore[no-any-return]

    def _blocks(self, waveforms: Tensor, count: int) -> list[Tensor]:
        outputs: list[Tensor] = []

        def keep(block: nn.Module, given: Any, result: tuple[Any, ...]) -> None:
            features = result[0][0] if isinstance(result[0], tuple) else result[0]  # with positions, or not
            outputs.append(features.clone())

        handles = [block.register_forward_hook(keep) for block in self._stack[:count]]
        try:
            frames = self._network(waveforms).shape[1]
        finally:
            for handle in handles:
                handle.remove()
        return [output[:, :frames] for output in outputs]

    def describe(self) -> dict[str, Any]:
        """Return architecture, front end, what of the model was used, and the versions of ESPnet."""
        return {**self._record, "dim": self.dim, "fingerprint": self._fingerprint}

    def fingerprint(self) -> str:
        """Return a hash of the weights in use, the settings that decide the features, and the layer."""
        return self._fingerprint


def _conf(config: dict[str, Any], part: str, *left_out: str) -> dict[str, Any]:
    conf = config.get(f"{part}_conf") or {}
    return {key: value for key, value in conf.items() if key not in left_out}


def _versions(config: dict[str, Any]) -> str:
    return f"it says ESPnet {config.get('version', 'of no version')}, and this is {version('espnet')}"


def _check(config: dict[str, Any], where: str) -> None:
    """Refuse what the config asks for beyond the supported parts, all at once."""
    faults = Faults()

    def add(found: str, expected: str, remedy: str) -> None:
        faults.add(f"{where}: config.yaml", found=found, expected=expected, remedy=remedy)

    encoder, front_end, norm = (
        config.get("encoder"),
        config.get("frontend", "default"),
        config.get("normalize"),
    )
    if encoder not in ENCODER_CLASSES:
        add(f"encoder '{encoder}'", "a supported encoder", nearest(str(encoder), ENCODER_CLASSES))
    if config.get("input_size") is not None or front_end is None:
        add("a model of features made beforehand", "one of raw audio", "use a model with frontend: default")
    elif front_end != "default":
        add(f"frontend '{front_end}'", "a supported front end", nearest(str(front_end), ["default"]))
    if norm is not None and norm not in NORMALISATIONS:
        add(f"normalize '{norm}'", "a supported normalisation", nearest(str(norm), NORMALISATIONS))
    for part in ("preencoder", "postencoder"):
        if config.get(part) is not None:
            add(f"{part} '{config[part]}'", f"a model without {part}", "use another model")
    for part in ("encoder", "frontend", "normalize"):
        if not isinstance(config.get(f"{part}_conf") or {}, dict):
            add(f"{part}_conf of another kind", "key: value", _versions(config))
    faults.raise_if_any()


def _build(experiment: Experiment) -> _Network:
    """Build the network of the config, with random weights."""
    config, where = experiment.config, f"{experiment.where}: config.yaml"
    front_end = _make(_FRONT_END, _conf(config, "frontend"), "frontend_conf", config, where)
    norm = None
    name = config.get("normalize")
    if name is not None:
        conf = _conf(config, "normalize")
        if name != "global_mvn":
            norm = _make(NORMALISATIONS[name], conf, "normalize_conf", config, where)
        else:
            with tempfile.TemporaryDirectory() as private:
                path = Path(private) / Path(str(conf["stats_file"])).name
                path.write_bytes(experiment.statistics or b"")
                conf["stats_file"] = str(path)
                norm = _make(NORMALISATIONS[name], conf, "normalize_conf", config, where)
    conf = _conf(config, "encoder")
    encoder_class = ENCODER_CLASSES[config["encoder"]]
    if "use_flash_attn" in inspect.signature(_load(encoder_class)).parameters:
        conf["use_flash_attn"] = False  # half precision only, and another result
    conf["input_size"] = front_end.output_size()
    encoder = _make(encoder_class, conf, "encoder_conf", config, where)
    network = _Network(front_end, norm, encoder)
    conditioned = getattr(encoder, "interctc_use_conditioning", False)
    if conditioned or getattr(encoder, "ctc_trim", False):  # this encoder listens to its own CTC
        vocabulary = len(experiment.weights.get("ctc.ctc_lo.weight", ()))
        network.ctc = _load(_CTC)(max(1, vocabulary), encoder.output_size())
        if conditioned:
            encoder.conditioning_layer = nn.Linear(max(1, vocabulary), encoder.output_size())
    return network


def _load(place: tuple[str, str]) -> Callable[..., Any]:
    """Import an object of ESPnet; what its modules print while they are imported goes to the log."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        loaded: Callable[..., Any] = getattr(importlib.import_module(place[0]), place[1])
    if printed.getvalue():
        _log.debug("%s", printed.getvalue().strip())
    return loaded


def _make(place: tuple[str, str], conf: dict[str, Any], what: str, config: dict[str, Any], where: str) -> Any:
    """Build an ESPnet object from a part of the config; say what does not fit."""
    factory = _load(place)
    known = list(inspect.signature(factory).parameters)
    faults = Faults()
    for key in conf:
        if key not in known:
            faults.add(
                where,
                found=f"{what}.{key}",
                expected=f"a setting of {place[1]} ({_versions(config)})",
                remedy=nearest(str(key), known),
            )
    faults.raise_if_any()
    try:
        return factory(**conf)
    except Exception as error:  # ESPnet asserts, checks types, or fails where a value is used
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise bad_input(
            where,
            found=f"{what} that {place[1]} refuses ({text})",
            expected=f"values for this version of it ({_versions(config)})",
            remedy="correct the config, or use the one that belongs to the model",
        ) from error


def _framing(front_end: nn.Module, where: str) -> Framing:
    stft: Any = front_end.stft
    logmel: Any = front_end.logmel
    if stft is None:
        raise bad_input(
            f"{where}: config.yaml",
            found="frontend_conf.apply_stft false",
            expected="a front end that starts from audio",
            remedy="use another model",
        )
    rate = int(logmel.mel_options["sr"])
    try:
        return Framing(int(stft.win_length), int(stft.hop_length), int(stft.n_fft), rate)
    except BadInput as error:
        fault = error.faults[0]
        raise bad_input(
            f"{where}: config.yaml", found=fault.found, expected=fault.expected, remedy=fault.remedy
        ) from None


def _shortest(network: _Network) -> int:
    """Return the fewest samples that give the encoder a frame."""
    check = _load(_SUBSAMPLING)
    embed = getattr(network.encoder, "embed", None)
    frames = next(count for count in range(1, _MOST_FRAMES_NEEDED) if not check(embed, count)[0])
    stft: Any = network.frontend.stft
    if stft.center:  # the signal is mirrored at its ends by half a transform
        return max(int(stft.n_fft) // 2 + 1, (frames - 1) * int(stft.hop_length))
    return int(stft.n_fft) + (frames - 1) * int(stft.hop_length)
