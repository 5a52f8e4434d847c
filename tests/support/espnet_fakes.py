"""Small ESPnet experiments with random weights, written the way ESPnet's trainer writes them."""

from __future__ import annotations

import contextlib
import io
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

TOKENS = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]
FRONT_END = {"fs": "16k", "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 20}
SMALL = {"output_size": 8, "attention_heads": 2, "linear_units": 16, "num_blocks": 3}
ENCODERS: dict[str, dict[str, Any]] = {
    "conformer": {**SMALL, "cnn_module_kernel": 7, "macaron_style": True, "rel_pos_type": "latest"},
    "transformer": {**SMALL, "input_layer": "conv2d2"},
    "branchformer": {
        "output_size": 8,
        "attention_heads": 2,
        "num_blocks": 3,
        "cgmlp_linear_units": 16,
        "cgmlp_conv_kernel": 7,
    },
    "e_branchformer": {
        **SMALL,
        "cgmlp_linear_units": 16,
        "cgmlp_conv_kernel": 7,
        "macaron_ffn": True,
        "use_ffn": True,
    },
    "rnn": {"num_layers": 2, "hidden_size": 6, "output_size": 8, "subsample": [2, 1]},
}


def statistics(path: Path, mels: int = 20) -> None:
    random = np.random.default_rng(1)
    count, mean, deviation = 500, random.normal(-8, 2, mels), random.uniform(1, 3, mels)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, count=count, sum=mean * count, sum_square=(deviation**2 + mean**2) * count)


def make_config(encoder: str, *, norm: str | None = "global_mvn", **changes: Any) -> dict[str, Any]:
    stats = {"stats_file": "exp/asr_stats/train/feats_stats.npz"} if norm == "global_mvn" else {}
    return {
        "version": version("espnet"),
        "token_list": TOKENS,
        "input_size": None,
        "frontend": "default",
        "frontend_conf": FRONT_END,
        "specaug": "specaug",
        "specaug_conf": {"apply_time_mask": True, "time_mask_width_range": [0, 5]},
        "normalize": norm,
        "normalize_conf": stats,
        "model_conf": {"ctc_weight": 0.5},
        "encoder": encoder,
        "encoder_conf": ENCODERS[encoder],
        "decoder": "transformer",
        "decoder_conf": {"attention_heads": 2, "linear_units": 16, "num_blocks": 1},
        "best_model_criterion": [["valid", "acc", "max"]],
        **changes,
    }


def espnet_model(config: dict[str, Any], root: Path) -> torch.nn.Module:
    """Build ESPnet's own model, with the classes that its task would choose."""
    with contextlib.redirect_stdout(io.StringIO()):
        from espnet2.asr.ctc import CTC
        from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
        from espnet2.asr.encoder.branchformer_encoder import BranchformerEncoder
        from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
        from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
        from espnet2.asr.encoder.rnn_encoder import RNNEncoder
        from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
        from espnet2.asr.espnet_model import ESPnetASRModel
        from espnet2.asr.frontend.default import DefaultFrontend
        from espnet2.asr.specaug.specaug import SpecAug
        from espnet2.layers.global_mvn import GlobalMVN
        from espnet2.layers.utterance_mvn import UtteranceMVN

    classes = {
        "conformer": ConformerEncoder,
        "transformer": TransformerEncoder,
        "branchformer": BranchformerEncoder,
        "e_branchformer": EBranchformerEncoder,
        "rnn": RNNEncoder,
    }
    front_end = DefaultFrontend(**config["frontend_conf"])
    norm = None
    if config["normalize"] == "global_mvn":
        norm = GlobalMVN(root / config["normalize_conf"]["stats_file"])
    elif config["normalize"] == "utterance_mvn":
        norm = UtteranceMVN(**config["normalize_conf"])
    encoder = classes[config["encoder"]](input_size=front_end.output_size(), **config["encoder_conf"])
    width = encoder.output_size()
    return ESPnetASRModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        frontend=front_end,
        specaug=SpecAug(**config["specaug_conf"]),
        normalize=norm,
        preencoder=None,
        encoder=encoder,
        postencoder=None,
        decoder=TransformerDecoder(len(TOKENS), width, **config["decoder_conf"]),
        ctc=CTC(odim=len(TOKENS), encoder_output_size=width),
        joint_network=None,
        **config["model_conf"],
    )


def make_experiment(root: Path, config: dict[str, Any], seed: int = 0) -> tuple[Path, torch.nn.Module]:
    """Write an experiment below *root*, where its statistics are too; return its folder and the model."""
    statistics(root / "exp/asr_stats/train/feats_stats.npz")
    torch.manual_seed(seed)
    model = espnet_model(config, root)
    with torch.no_grad():
        for parameter in model.parameters():  # ESPnet's biases and norms would start as nothing
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = root / "exp/asr_train"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    torch.save(model.state_dict(), folder / "valid.acc.ave_10best.pth")
    return folder, model.eval()


def pack(root: Path, archive: Path, **changes: Any) -> Path:
    """Pack the experiment below *root* as ``espnet_model_zoo`` does."""
    model, config = "exp/asr_train/valid.acc.ave_10best.pth", "exp/asr_train/config.yaml"
    meta = {"files": {"asr_model_file": model}, "yaml_files": {"asr_train_config": config}, **changes}
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("meta.yaml", yaml.safe_dump(meta))
        for name in (model, config, "exp/asr_stats/train/feats_stats.npz"):
            packed.write(root / name, name)
    return archive
