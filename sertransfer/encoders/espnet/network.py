"""Building the front half of an ESPnet2 recogniser from its config: front end, normalisation, encoder.

ESPnet is imported here only, when a network is built, and of it only the light modules of the classes in
use: ``espnet2.tasks.asr``, which knows them all, takes ten seconds and tries to download data.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sertransfer.encoders.espnet.folder import Experiment
from sertransfer.errors import Faults, bad_input, nearest

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
OTHER_ENCODERS = (
    "avhubert",
    "beats",
    "contextual_block_conformer",
    "contextual_block_transformer",
    "e_branchformer_ctc",
    "hubert",
    "hubert_pretrain",
    "linear",
    "longformer",
    "multiconv_conformer",
    "torchaudiohubert",
    "transformer_multispkr",
    "vgg_rnn",
    "wav2vec2",
    "whisper",
)
"""Encoders of ESPnet's tasks that are not built here: near a supported one in name, not in kind."""
_FRONT_END = ("espnet2.asr.frontend.default", "DefaultFrontend")
_CTC = ("espnet2.asr.ctc", "CTC")
_RECURRENT = ("espnet.nets.pytorch_backend.rnn.encoders", "RNNP")


class EspnetNetwork(nn.Module):
    """The parts of ESPnet's model that its ``encode`` uses, under the names they have in its state dict."""

    def __init__(self, frontend: nn.Module, normalize: nn.Module | None, encoder: nn.Module) -> None:
        super().__init__()
        self.frontend = frontend
        self.normalize = normalize
        self.encoder = encoder
        self.ctc: nn.Module | None = None
        self.dropout_confined = False

    def prepare(self, waveforms: Tensor) -> Tensor:
        """Return the normalised spectrograms ``(batch, mels, frames)`` of ``(batch, samples)``."""
        lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        # no part of it learns, and a log-mel in half precision is another one
        with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
            features, frames = self.frontend(waveforms, lengths)
            if self.normalize is not None:
                features, frames = self.normalize(features, frames)
        return features.transpose(1, 2)  # type: ignore[no-any-return]

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Encode what :meth:`prepare` returns into ``(batch, frames, dim)``."""
        features = spectrograms.transpose(1, 2)
        frames = torch.full((len(features),), features.shape[1], device=features.device)
        more = {} if self.ctc is None else {"ctc": self.ctc}
        encoded, frames, _ = self.encoder(features, frames, **more)
        if isinstance(encoded, tuple):  # with the outputs that an intermediate CTC looked at
            encoded = encoded[0]
        return encoded[:, : int(frames.max())]  # type: ignore[no-any-return]


def part_settings(config: dict[str, Any], part: str, *left_out: str) -> dict[str, Any]:
    """Return the settings of *part*, an empty dictionary where the config has none."""
    conf = config.get(f"{part}_conf") or {}
    return {key: value for key, value in conf.items() if key not in left_out}


def versions(config: dict[str, Any]) -> str:
    """Return which ESPnet wrote the config and which is here, for messages."""
    return f"it says ESPnet {config.get('version', 'of no version')}, and this is {version('espnet')}"


def check_config(config: dict[str, Any], where: str) -> None:
    """Refuse what the config asks for beyond the supported parts, all at once."""
    faults = Faults()

    def add(found: str, expected: str, remedy: str) -> None:
        faults.add(f"{where}: config.yaml", found=found, expected=expected, remedy=remedy)

    encoder, front_end, norm = (
        config.get("encoder"),
        config.get("frontend"),
        config.get("normalize"),
    )
    absent = [key for key in ("encoder", "frontend", "normalize") if key not in config]
    if absent:  # ESPnet writes every setting, so nothing is to be guessed
        add(f"no {', '.join(absent)}", "the whole config of an ESPnet2 recogniser", versions(config))
        faults.raise_if_any()
    if encoder in OTHER_ENCODERS:
        supported = f"one of {', '.join(ENCODER_CLASSES)}"
        add(f"ESPnet's encoder '{encoder}', which is not supported", supported, "use another model")
    elif encoder not in ENCODER_CLASSES:
        add(f"encoder '{encoder}'", "a supported encoder", nearest(str(encoder), ENCODER_CLASSES))
    if config.get("input_size") is not None or front_end is None:
        add("a model of features made beforehand", "one of raw audio", "use a model with frontend: default")
    elif front_end != "default":
        add(f"frontend '{front_end}'", "a supported front end", nearest(str(front_end), ["default"]))
    if norm is not None and norm not in NORMALISATIONS:
        add(f"normalize '{norm}'", "a supported normalisation", nearest(str(norm), NORMALISATIONS))
    for part in ("preencoder", "postencoder", "deliberationencoder"):
        if config.get(part) is not None:
            add(f"{part} '{config[part]}'", f"a model without {part}", "use another model")
    for part in ("encoder", "frontend", "normalize"):
        if not isinstance(config.get(f"{part}_conf") or {}, dict):
            add(f"{part}_conf of another kind", "key: value", versions(config))
    faults.raise_if_any()


def build_network(experiment: Experiment) -> EspnetNetwork:
    """Build the network of the config, with random weights."""
    config, where = experiment.config, f"{experiment.where}: config.yaml"
    with _no_mel_filters():
        front_end = _make(_FRONT_END, part_settings(config, "frontend"), "frontend_conf", config, where)
    norm = None
    name = config.get("normalize")
    if name is not None:
        conf = part_settings(config, "normalize")
        if name != "global_mvn":
            norm = _make(NORMALISATIONS[name], conf, "normalize_conf", config, where)
        else:
            with tempfile.TemporaryDirectory() as private:
                path = Path(private) / Path(str(conf["stats_file"])).name
                path.write_bytes(experiment.statistics or b"")
                conf["stats_file"] = str(path)
                norm = _make(NORMALISATIONS[name], conf, "normalize_conf", config, where)
    conf = part_settings(config, "encoder")
    encoder_class = ENCODER_CLASSES[config["encoder"]]
    if "use_flash_attn" in inspect.signature(load_espnet(encoder_class)).parameters:
        conf["use_flash_attn"] = False  # half precision only, and another result
    conf["input_size"] = front_end.output_size()
    encoder = _make(encoder_class, conf, "encoder_conf", config, where)
    network = EspnetNetwork(front_end, norm, encoder)
    network.dropout_confined = confine_dropout(encoder)
    conditioned = getattr(encoder, "interctc_use_conditioning", False)
    if conditioned or getattr(encoder, "ctc_trim", False):  # this encoder listens to its own CTC
        vocabulary = len(experiment.weights.get("ctc.ctc_lo.weight", ()))
        network.ctc = load_espnet(_CTC)(max(1, vocabulary), encoder.output_size())
        if conditioned:
            encoder.conditioning_layer = nn.Linear(max(1, vocabulary), encoder.output_size())
    return network


def confine_dropout(encoder: nn.Module) -> bool:
    """Let the recurrent encoder's own dropout act in training mode only; return whether there was any.

    Between its layers ESPnet calls ``F.dropout`` without saying whether the module is in training, so that
    it would drop out at inference too. The rate is set before each call, since fine-tuning trains with it.
    """
    recurrent = load_espnet(_RECURRENT)
    found = False
    for module in encoder.modules():
        if isinstance(module, recurrent) and module.dropout and module.elayers > 1:  # type: ignore[arg-type, operator]
            module.register_forward_pre_hook(partial(_set_dropout, float(module.dropout)))  # type: ignore[arg-type]
            found = True
    return found


def _set_dropout(rate: float, module: Any, given: tuple[Any, ...]) -> None:
    module.dropout = rate if module.training else 0.0


def load_espnet(place: tuple[str, str]) -> Callable[..., Any]:
    """Import an object of ESPnet; what its modules print while they are imported goes to the log."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        loaded: Callable[..., Any] = getattr(importlib.import_module(place[0]), place[1])
    if printed.getvalue():
        _log.debug("%s", printed.getvalue().strip())
    return loaded


@contextlib.contextmanager
def _no_mel_filters() -> Iterator[None]:
    """Let ESPnet's front end begin with empty mel filters: those it was trained with are in the weights.

    Computing them again would import most of librosa and scipy, which takes as long as torch.
    """
    module = importlib.import_module("espnet2.layers.log_mel")

    def mel(*, n_fft: int, n_mels: int, **_: object) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.zeros((n_mels, 1 + n_fft // 2), dtype=np.float32)

    librosa, module.librosa = module.librosa, SimpleNamespace(filters=SimpleNamespace(mel=mel))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.librosa = librosa  # type: ignore[attr-defined]


def _make(place: tuple[str, str], conf: dict[str, Any], what: str, config: dict[str, Any], where: str) -> Any:
    """Build an ESPnet object from a part of the config; say what does not fit."""
    factory = load_espnet(place)
    known = list(inspect.signature(factory).parameters)
    faults = Faults()
    for key in conf:
        if key not in known:
            faults.add(
                where,
                found=f"{what}.{key}",
                expected=f"a setting of {place[1]} ({versions(config)})",
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
            expected=f"values for this version of it ({versions(config)})",
            remedy="correct the config, or use the one that belongs to the model",
        ) from error
