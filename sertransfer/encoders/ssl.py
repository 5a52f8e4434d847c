"""Self-supervised encoders through torchaudio: wav2vec 2.0, HuBERT and WavLM, from local files only.

torchaudio builds wav2vec 2.0 and HuBERT with one function and WavLM with another; their arguments are the
architecture. They come from the published model's name (``HUBERT_BASE``) or from a small config.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torchaudio
import torchaudio.models
import yaml
from torch import Tensor

from sertransfer.encoders.base import Encoder, Stage, hash_weights, load_weights, read_weights
from sertransfer.errors import bad_input, choose, nearest
from sertransfer.io.files import regular_file
from sertransfer.io.plain_values import parse_json, parse_yaml
from sertransfer.io.run_folder import look_at
from sertransfer.models.safe_pickle import LIGHTNING, WEIGHTS_ALONE, is_lightning, without_wrappers
from sertransfer.timebase import SAMPLE_RATE, Framing

CONFIGS = ("config.yaml", "config.yml", "config.json")
WEIGHTS = (".pth", ".pt", ".safetensors")
BUILDERS: dict[str, Callable[..., Any]] = {
    "wav2vec2": torchaudio.models.wav2vec2_model,
    "hubert": torchaudio.models.wav2vec2_model,
    "wavlm": torchaudio.models.wavlm_model,
}
SETTINGS = ("bundle", "family", "model", "sample_rate", "normalise_waveform")


@dataclass(frozen=True)
class SslModel:
    """An architecture and its weights.

    Attributes:
        where: Path given, for messages.
        family: Key of :data:`BUILDERS`.
        options: Arguments of the builder.
        sample_rate: In Hz.
        normalise_waveform: Whether a waveform is brought to mean 0 and variance 1 first.
        weights: The state dict.
    """

    where: str
    family: str
    options: dict[str, Any]
    sample_rate: int
    normalise_waveform: bool
    weights: dict[str, Tensor]


def bundles() -> dict[str, Any]:
    """Return torchaudio's published models by name; nothing is downloaded."""
    named = {name: getattr(torchaudio.pipelines, name) for name in torchaudio.pipelines.__all__}
    return {
        name: bundle for name, bundle in named.items() if getattr(bundle, "_model_type", None) is not None
    }


def read_ssl(path: Path) -> SslModel:
    """Read a weights file that bears its published name, or a folder with a config and one weights file.

    The config (``config.yaml`` or ``config.json``) names a published model (``bundle: HUBERT_BASE``), or
    gives ``family`` (``wav2vec2``, ``hubert``, ``wavlm``), ``model`` (the arguments of torchaudio's
    builder), and optionally ``sample_rate`` and ``normalise_waveform``.

    Raises:
        BadInput: If there is no such file, the architecture is not known, or the weights are not weights.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in WEIGHTS)
        config = next((path / name for name in CONFIGS if (path / name).is_file()), None)
        place = look_at(path)
        if config is None and place.kind not in ("other", "empty"):
            raise bad_input(
                path,
                found=place.text,
                expected="a folder with config.yaml and weights, or a file of torchaudio's weights",
                remedy="check --encoder and --checkpoint",
            )
        if len(files) != 1 or config is None:
            names = ", ".join(file.name for file in files) or "no weights"
            raise bad_input(
                path,
                found=names if config else f"{names}, and no config",
                expected=f"one file of weights ({', '.join(WEIGHTS)}) and config.yaml or config.json",
                remedy="write 'bundle: NAME' of a torchaudio pipeline to config.yaml, or its architecture",
            )
        return _from_config(config, files[0], str(path))
    if not path.is_file():
        raise bad_input(path, found="nothing there", expected="a file or folder", remedy="check --checkpoint")
    if is_lightning(path):
        raise bad_input(path, found=LIGHTNING, expected="weights of torchaudio", remedy=WEIGHTS_ALONE)
    published = {Path(bundle._path).name: bundle for bundle in bundles().values()}
    if path.name not in published:
        raise bad_input(
            path,
            found="weights of no published name, which leaves their architecture open",
            expected="a file named as torchaudio publishes it, or a folder with a config",
            remedy=f"{nearest(path.name, published)}; or put it in a folder with a config.yaml",
        )
    return _from_bundle(published[path.name], path, str(path))


def _from_config(config: Path, weights: Path, where: str) -> SslModel:
    try:
        text = regular_file(config).read_text(encoding="utf-8")
        content = parse_json(text) if config.suffix == ".json" else parse_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        found = " ".join(str(error).split())[:200]
        raise bad_input(config, found=found, expected="plain values", remedy="correct the file") from None
    if not isinstance(content, dict) or "model_type" in content or not {"bundle", "model"} & content.keys():
        raise bad_input(
            config,
            found="a config of transformers" if isinstance(content, dict) else f"a {type(content).__name__}",
            expected=f"one of ours: {', '.join(SETTINGS)}",
            remedy="convert the weights (torchaudio.models.wav2vec2.utils.import_huggingface_model)",
        )
    for key in content:
        choose(f"setting of {config}", str(key), SETTINGS)
    if "bundle" in content:
        name = choose(f"bundle in {config}", str(content["bundle"]), bundles())
        return _from_bundle(bundles()[name], weights, where)
    family = choose(f"family in {config}", str(content.get("family")), BUILDERS)
    rate = content.get("sample_rate", SAMPLE_RATE)
    if type(rate) is not int or rate < 1:
        raise bad_input(
            config,
            found=f"sample_rate {str(rate)[:50]!r}",
            expected="a whole number of Hz",
            remedy="correct the file",
        )
    return SslModel(
        where,
        family,
        content["model"],
        rate,
        bool(content.get("normalise_waveform", False)),
        _weights(weights),
    )


def _from_bundle(bundle: Any, weights: Path, where: str) -> SslModel:
    options = {**bundle._params, "aux_num_out": None}
    family = "wavlm" if bundle._model_type == "WavLM" else "wav2vec2"
    rate, normalise = int(bundle.sample_rate), bool(bundle._normalize_waveform)
    return SslModel(where, family, options, rate, normalise, _weights(weights))


def _weights(path: Path) -> dict[str, Tensor]:
    """Read weights, without those of a recogniser's output layer."""
    if path.suffix == ".safetensors":
        try:
            state = without_wrappers(safetensors.torch.load_file(regular_file(path)))
        except (safetensors.SafetensorError, OSError) as error:
            raise bad_input(
                path,
                found=f"a file that cannot be read ({type(error).__name__})",
                expected="weights in safetensors format",
                remedy="copy the file again",
            ) from None
    else:
        with regular_file(path).open("rb") as stream:
            state = read_weights(stream, path)
    return {name: tensor for name, tensor in state.items() if not name.startswith("aux.")}


class SslEncoder(Encoder):
    """Features of torchaudio's model, without padding.

    Args:
        model: What :func:`read_ssl` read.
        layer: See :class:`sertransfer.encoders.base.Encoder`.
        device: Where the network runs.

    Raises:
        BadInput: If the architecture cannot be built, or the weights are another's.
    """

    name = "ssl"

    def __init__(self, model: SslModel, *, layer: int | None = None, device: str = "cpu") -> None:
        self._normalise = model.normalise_waveform
        self.network: Any = _build(model)
        self._model = replace(model, weights={})
        remedy = "name the model that the weights are of"
        load_weights(self.network, model.weights, model.where, remedy=remedy)
        self.network.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)
        self.layers = int(model.options["encoder_num_layers"])
        self.check_layer(layer)
        self.layer = layer
        self.dim = int(model.options["encoder_embed_dim"])
        window, hop = _receptive_field(self.network)
        self.framing = Framing(window, hop, 1 << (window - 1).bit_length(), model.sample_rate)
        self.sample_rate = model.sample_rate
        self.shortest = window
        self.record = {
            "encoder": self.name,
            "model": model.family,
            "options": model.options,
            "normalise_waveform": model.normalise_waveform,
            "framing": self.framing.name,
            "layer": layer,
            "layers": self.layers,
        }
        self._fingerprint = hash_weights(self.record, model.weights)

    def prepare(self, waveforms: Tensor) -> Tensor:
        """Return the waveforms, each by itself of mean 0 and variance 1 where the model asks for that."""
        if not self._normalise:
            return waveforms
        # torchaudio's own wrapper normalises the batch as one
        return torch.nn.functional.layer_norm(waveforms, waveforms.shape[1:])

    def seen(self, length: int) -> int:
        """Return how many samples the first layers look at."""
        layers = self.network.feature_extractor.conv_layers
        counts = [length]
        for layer in layers:
            counts.append((counts[-1] - layer.kernel_size) // layer.stride + 1)
        seen = counts[-1]
        for layer, count in zip(reversed(layers), reversed(counts), strict=False):
            if isinstance(layer.layer_norm, torch.nn.GroupNorm):  # over all frames of its layer
                seen = count
            seen = (seen - 1) * layer.stride + layer.kernel_size
        return seen

    def output(self, inputs: Tensor) -> Tensor:
        """Return the encoder's own output, ``(batch, frames, dim)``."""
        return self.network(inputs)[0]  # type: ignore[no-any-return]

    def blocks(self, inputs: Tensor, count: int) -> list[Tensor]:
        """Return the outputs of the first *count* blocks, each ``(batch, frames, dim)``."""
        found: list[Tensor] = self.network.extract_features(inputs, num_layers=count)[0]
        return found

    def stages(self, *, mix: bool) -> list[Stage]:
        """Return the convolutions, what leads into the blocks, and each block.

        The norm of all blocks belongs to the part that it stands behind.
        """
        encoder = self.network.encoder
        stack = encoder.transformer
        entry = [encoder.feature_projection, stack.pos_conv_embed, stack.dropout]
        found = [
            Stage("feature_extractor", [self.network.feature_extractor]),
            Stage("feature_projection", entry),
        ]
        found += [Stage(f"layers.{place}", [block]) for place, block in enumerate(stack.layers[: self.layer])]
        if stack.layer_norm_first:
            entry.append(stack.layer_norm)
        elif self.layer is None and not mix:
            found[-1].modules.append(stack.layer_norm)
        return found

    def blueprint(self) -> dict[str, Any]:
        """Return family, architecture and what is done to waveforms."""
        model = self._model
        return {
            "family": model.family,
            "options": model.options,
            "sample_rate": model.sample_rate,
            "normalise_waveform": model.normalise_waveform,
            "layer": self.layer,
        }


def rebuild(
    blueprint: dict[str, Any], weights: dict[str, Tensor], where: object, *, device: str
) -> SslEncoder:
    """Build the encoder of :meth:`SslEncoder.blueprint` with *weights*, by their names in its network."""
    values = {name: blueprint[name] for name in ("family", "options", "sample_rate", "normalise_waveform")}
    family = choose("family", str(values["family"]), BUILDERS)
    model = SslModel(where=str(where), weights=weights, **{**values, "family": family})
    return SslEncoder(model, layer=blueprint["layer"], device=device)


def _build(model: SslModel) -> Any:
    """Build the network with random weights; say what does not fit."""
    builder = BUILDERS[model.family]
    known = inspect.signature(builder).parameters
    options = {"aux_num_out": None, **model.options} if isinstance(model.options, dict) else {}
    wrong = sorted(set(known) ^ set(options))
    if wrong:
        raise bad_input(
            model.where,
            found=f"model: {', '.join(wrong)} missing or not known",
            expected=f"the arguments of torchaudio's {builder.__name__}: {', '.join(known)}",
            remedy="correct the config",
        )
    try:
        return builder(**options)
    except Exception as error:  # torch refuses a value where it is used
        raise bad_input(
            model.where,
            found=f"a model that cannot be built ({' '.join(str(error).split())[:200]})",
            expected=f"arguments that fit torchaudio's {builder.__name__}",
            remedy="correct the config",
        ) from error


def _receptive_field(network: Any) -> tuple[int, int]:
    """Return samples that a frame looks at, and samples from one frame to the next."""
    window, hop = 1, 1
    for layer in network.feature_extractor.conv_layers:
        window += (layer.kernel_size - 1) * hop
        hop *= layer.stride
    return window, hop
