"""The encoder of an ESPnet2 speech recogniser: front end, normalisation and encoder; no decoder is built."""

from __future__ import annotations

import base64
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from sertransfer.encoders.base import Encoder, Stage, hash_weights, load_weights
from sertransfer.encoders.espnet.folder import Experiment
from sertransfer.encoders.espnet.network import (
    EspnetNetwork,
    build_network,
    check_config,
    load_espnet,
    part_settings,
    versions,
)
from sertransfer.errors import BadInput, bad_input
from sertransfer.timebase import Framing

_SUBSAMPLING = ("espnet.nets.pytorch_backend.transformer.subsampling", "check_short_utt")
_MOST_FRAMES_NEEDED = 64
PARTS = ("frontend", "normalize", "encoder")
"""What of ESPnet's model is used, by the first part of a weight's name."""
DECISIVE = (
    "version",
    "input_size",
    *(name for part in ("frontend", "normalize", "encoder") for name in (part, f"{part}_conf")),
)
"""Settings of an experiment that its encoder is built from."""


class AsrEncoder(Encoder):
    """Features of ESPnet's ``encode`` without padding, on which its output would depend (espnet issue 6600).

    The front end and its normalisation take one utterance at a time; those of equally many frames share a
    batch of the encoder. Augmentation is that of training, so none.

    Args:
        experiment: What :func:`sertransfer.encoders.espnet.folder.read_experiment` read.
        layer: See :class:`sertransfer.encoders.base.Encoder`.
        device: Where the network runs.

    Raises:
        BadInput: If the config asks for what is not supported or what this version of ESPnet does not
            know, or the weights are not those of the config's encoder.
    """

    name = "asr"

    def __init__(self, experiment: Experiment, *, layer: int | None = None, device: str = "cpu") -> None:
        config, where = experiment.config, experiment.where
        check_config(config, where)
        network = self.network = build_network(experiment)
        self._front = network.prepare
        self._experiment = replace(experiment, weights={})
        parts = PARTS if network.ctc is None else (*PARTS, "ctc")
        own = {k: v for k, v in experiment.weights.items() if k.split(".")[0] in parts}
        load_weights(
            self.network,
            own,
            f"{where}: {experiment.model_file}",
            remedy=f"use the config that the model was trained with ({versions(config)})",
        )
        self.network.eval().requires_grad_(False)
        # global statistics come in double precision and would change type when first used; a sentence takes a
        # seventh less with the channels of the subsampling's convolutions last
        self.network.to(device, torch.float32)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its stub
        for module in self.network.modules():
            if hasattr(module, "pe"):
                module.register_forward_pre_hook(_renew_positions)
        self.device = torch.device(device)
        self._stack = list(getattr(network.encoder, "encoders", []))
        self.layers = len(self._stack)
        self.check_layer(layer)
        self.layer = layer
        self.framing = _framing(network.frontend, where)
        self.sample_rate = self.framing.sample_rate
        encoder: Any = network.encoder
        self.dim = int(encoder.output_size())
        self.shortest = _shortest(network)
        unused = sorted({name.split(".")[0] for name in experiment.weights if name not in own})
        tokens = config.get("token_list")
        self.record = {
            "encoder": self.name,
            "model": str(config["encoder"]),
            "options": part_settings(config, "encoder"),
            "front_end": part_settings(config, "frontend"),
            "normalisation": config.get("normalize"),
            "framing": self.framing.name,
            "layer": layer,
            "layers": self.layers,
            "model_file": experiment.model_file,
            "weights_not_used": unused,
            "tokens": len(tokens) if isinstance(tokens, list) else None,
            "espnet": {"trained_with": config.get("version"), "used": version("espnet")},
        }
        decisive = {k: self.record[k] for k in ("encoder", "model", "options", "front_end", "layer")}
        decisive["normalisation"] = [
            config.get("normalize"),
            part_settings(config, "normalize", "stats_file"),
        ]
        if network.dropout_confined:  # embeddings of earlier versions were drawn at random
            decisive["dropout"] = "in training only"
        self._fingerprint = hash_weights(decisive, own)

    def prepare(self, waveforms: Tensor) -> Tensor:
        """Return the normalised spectrograms, ``(batch, mels, frames)``."""
        spectrograms: Tensor = self._front(waveforms)
        return spectrograms

    def seen(self, length: int) -> int:
        """Return how many frames of a spectrogram the convolutions that subsample it look at."""
        embed: Any = getattr(self.network.encoder, "embed", None)
        if not type(embed).__name__.startswith("Conv2dSubsampling"):
            return length
        steps = [(c.kernel_size[0], c.stride[0]) for c in embed.modules() if isinstance(c, nn.Conv2d)]
        for kernel, stride in steps:
            length = (length - kernel) // stride + 1
        for kernel, stride in reversed(steps):
            length = (length - 1) * stride + kernel
        return length

    def output(self, inputs: Tensor) -> Tensor:
        """Return the encoder's own output, ``(batch, frames, dim)``."""
        return self.network(inputs)  # type: ignore[no-any-return]

    def blocks(self, inputs: Tensor, count: int) -> list[Tensor]:
        """Return the outputs of the first *count* blocks, each ``(batch, frames, dim)``."""
        outputs: list[Tensor] = []

        def keep(block: nn.Module, given: Any, result: tuple[Any, ...]) -> None:
            features = result[0][0] if isinstance(result[0], tuple) else result[0]  # with positions, or not
            outputs.append(features.clone())

        handles = [block.register_forward_hook(keep) for block in self._stack[:count]]
        try:
            frames = self.network(inputs).shape[1]
        finally:
            for handle in handles:
                handle.remove()
        return [output[:, :frames] for output in outputs]

    def stages(self, *, mix: bool) -> list[Stage]:
        """Return the subsampling, then each block; an encoder without blocks is one part.

        The norm behind the last block belongs to it. The log-mel front end, its normalisation and a CTC
        layer that the encoder listens to are never trained.
        """
        children = dict(self.network.get_submodule("encoder").named_children())
        norm = children.pop("after_norm", None)
        children.pop("encoders", None)
        found = [Stage("+".join(children), list(children.values()))] if children else []
        found += [
            Stage(f"encoders.{place}", [block]) for place, block in enumerate(self._stack[: self.layer])
        ]
        if norm is not None and self.layer is None and not mix:
            found[-1].modules.append(norm)
        return found

    def blueprint(self) -> dict[str, Any]:
        """Return what of the experiment decides the features, the statistics file as text."""
        config, statistics = self._experiment.config, self._experiment.statistics
        return {
            "config": {key: config[key] for key in DECISIVE if key in config},
            "model_file": self._experiment.model_file,
            "statistics": None if statistics is None else base64.b64encode(statistics).decode("ascii"),
            "layer": self.layer,
        }


def rebuild(
    blueprint: dict[str, Any], weights: dict[str, Tensor], where: object, *, device: str
) -> AsrEncoder:
    """Build the encoder of :meth:`AsrEncoder.blueprint` with *weights*, by their names in its network."""
    text = blueprint["statistics"]
    experiment = Experiment(
        str(where),
        dict(blueprint["config"]),
        weights,
        str(blueprint["model_file"]),
        None if text is None else base64.b64decode(text),
    )
    return AsrEncoder(experiment, layer=blueprint["layer"], device=device)


def _renew_positions(module: Any, given: tuple[Any, ...]) -> None:
    """Let ESPnet compute its positions anew where those it keeps would spoil what comes.

    It keeps them in the precision of their last use, half for instance, and may have made them in inference
    mode, from which no gradient can be had.
    """
    kept = module.pe
    if kept is None:
        return
    lost = kept.is_inference() and not torch.is_inference_mode_enabled()
    if lost or kept.dtype != given[0].dtype:
        module.pe = None


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


def _shortest(network: EspnetNetwork) -> int:
    """Return the fewest samples that give the encoder a frame."""
    check = load_espnet(_SUBSAMPLING)
    embed = getattr(network.encoder, "embed", None)
    frames = next(count for count in range(1, _MOST_FRAMES_NEEDED) if not check(embed, count)[0])
    stft: Any = network.frontend.stft
    if stft.center:  # the signal is mirrored at its ends by half a transform
        return max(int(stft.n_fft) // 2 + 1, (frames - 1) * int(stft.hop_length))
    return int(stft.n_fft) + (frames - 1) * int(stft.hop_length)
