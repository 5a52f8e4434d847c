from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.encoder_fakes import padded, sounds
from support.espnet_fakes import ENCODERS, FRONT_END, make_config, make_experiment
from torch import Tensor

from sertransfer.encoders.espnet.encoder import AsrEncoder
from sertransfer.encoders.espnet.folder import read_experiment
from sertransfer.encoders.registry import open_encoder
from sertransfer.errors import BadInput
from sertransfer.timebase import PRESETS

LENGTHS = (16000, 4000, 8123, 16000, 4000)


def alone(waveform: Tensor) -> tuple[Tensor, Tensor]:
    return waveform[None], torch.tensor([len(waveform)])


@pytest.fixture(scope="module")
def conformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_experiment(tmp_path_factory.mktemp("conformer"), make_config("conformer"))[0]


def test_features_are_those_of_espnet(tmp_path: Path) -> None:
    cases = [(name, "global_mvn", {}) for name in ENCODERS]
    cases += [("conformer", "utterance_mvn", {}), ("transformer", None, {})]
    conditioned = {**ENCODERS["conformer"], "interctc_layer_idx": [1], "interctc_use_conditioning": True}
    cases.append(("conformer", "utterance_mvn", {"encoder_conf": conditioned}))
    for number, (name, norm, changes) in enumerate(cases):
        folder, model = make_experiment(tmp_path / str(number), make_config(name, norm=norm, **changes))
        encoder = open_encoder("asr", folder, framing=PRESETS["25ms"])
        for waveform in sounds(16000, 4000, 8123):
            with torch.no_grad():
                expected, frames = model.encode(*(part.clone() for part in alone(waveform)))
            expected = expected[0] if isinstance(expected, tuple) else expected
            found, counted = encoder.encode(*alone(waveform))
            assert counted.tolist() == frames.tolist(), (name, norm)
            assert found.shape[2] == encoder.dim == 8
            assert expected.abs().max() > 0.1
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["conformer", "rnn"])
def test_neighbours_do_not_count(tmp_path: Path, name: str) -> None:
    encoder = open_encoder("asr", make_experiment(tmp_path, make_config(name))[0])
    waveforms = sounds(*LENGTHS)
    features, frames = encoder.encode(*padded(waveforms, fill=9.0))
    for row, waveform in enumerate(waveforms):
        expected, count = encoder.encode(*alone(waveform))
        assert count.tolist() == [int(frames[row])]
        torch.testing.assert_close(features[row, : int(frames[row])], expected[0], rtol=1e-4, atol=1e-5)
        assert not features[row, int(frames[row]) :].any()


def test_the_callers_waveforms_stay_as_they_were(conformer: Path) -> None:
    batch, lengths = padded(sounds(*LENGTHS))
    before = batch.clone()
    open_encoder("asr", conformer).encode(batch, lengths)
    assert torch.equal(batch, before)


def test_blocks_are_those_that_espnet_returns(tmp_path: Path) -> None:
    for name in ("conformer", "branchformer", "e_branchformer", "transformer"):
        folder, model = make_experiment(tmp_path / name, make_config(name))
        encoder = AsrEncoder(read_experiment(folder))
        waveform = sounds(9000)[0]
        layers, frames = encoder.encode(*alone(waveform), mix=True)
        assert layers.shape == (1, int(frames[0]), 3, 8)
        with torch.no_grad():
            features = model.normalize(*model.frontend(*alone(waveform)))
            if name == "branchformer":  # this one has no switch for it
                outputs = [encoder_at(folder, layer).encode(*alone(waveform))[0] for layer in (1, 2, 3)]
            else:
                outputs = model.encoder(*features, return_all_hs=True)[0][1]
            last = model.encoder(*features)[0]
        torch.testing.assert_close(layers, torch.stack(outputs, dim=2), rtol=0, atol=1e-5)
        torch.testing.assert_close(model.encoder.after_norm(layers[:, :, 2]), last, rtol=0, atol=1e-5)
        assert torch.equal(encoder_at(folder, 2).encode(*alone(waveform))[0], layers[:, :, 1])


def encoder_at(folder: Path, layer: int) -> AsrEncoder:
    encoder = open_encoder("asr", folder, layer=layer)
    assert isinstance(encoder, AsrEncoder)
    return encoder


def test_a_layer_that_is_not_there(tmp_path: Path, conformer: Path) -> None:
    for layer in (0, 4):
        with pytest.raises(BadInput, match="expected 1 to 3"):
            encoder_at(conformer, layer)
    rnn = make_experiment(tmp_path, make_config("rnn"))[0]
    with pytest.raises(BadInput, match="its last output only"):
        encoder_at(rnn, 1)
    encoder = open_encoder("asr", rnn)
    assert isinstance(encoder, AsrEncoder)
    with pytest.raises(BadInput, match="its last output only"):
        encoder.encode(*alone(torch.ones(16000)), mix=True)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=4))
def test_the_shortest_utterance_is_known(conformer_encoder: AsrEncoder, lengths: list[int]) -> None:
    shortest = conformer_encoder.shortest
    assert shortest == 960  # seven frames, ten milliseconds apart
    batch = padded([torch.ones(length) for length in lengths])
    short = [row for row, length in enumerate(lengths) if length < shortest]
    if not short:
        assert conformer_encoder.encode(*batch)[1].min() >= 1
        return
    with pytest.raises(BadInput) as error:
        conformer_encoder.encode(*batch)
    assert [fault.where for fault in error.value.faults] == [f"waveform {row}" for row in short]
    assert "960 or more" in str(error.value)


@pytest.fixture(scope="module")
def conformer_encoder(conformer: Path) -> AsrEncoder:
    return AsrEncoder(read_experiment(conformer))


def test_one_frame_is_enough_at_the_limit(tmp_path: Path, conformer_encoder: AsrEncoder) -> None:
    assert conformer_encoder.encode(*alone(torch.ones(960)))[1].tolist() == [1]
    plain = {**FRONT_END, "center": False}
    rnn = make_experiment(tmp_path, make_config("rnn", frontend_conf=plain))[0]
    encoder = AsrEncoder(read_experiment(rnn))
    assert encoder.shortest == 512
    assert encoder.encode(*alone(torch.ones(512)))[1].tolist() == [1]


def test_framing_and_rate_are_the_configs(tmp_path: Path, conformer: Path) -> None:
    encoder = open_encoder("asr", conformer)
    assert (encoder.framing, encoder.sample_rate) == (PRESETS["25ms"], 16000)
    with pytest.raises(BadInput, match="found a model trained with framing 25ms; expected framing 65ms"):
        open_encoder("asr", conformer, framing=PRESETS["65ms"])
    other = {"fs": 8000, "n_fft": 256, "hop_length": 80, "n_mels": 20}
    folder = make_experiment(tmp_path, make_config("rnn", frontend_conf=other))[0]
    encoder = open_encoder("asr", folder)
    assert (encoder.framing.name, encoder.sample_rate) == ("32/10ms", 8000)


def test_the_record_says_what_was_used(conformer: Path) -> None:
    record = open_encoder("asr", conformer, layer=2).describe()
    assert record["model"] == "conformer"
    assert record["weights_not_used"] == ["ctc", "decoder"]
    assert (record["layer"], record["layers"], record["tokens"]) == (2, 3, 6)
    assert record["model_file"] == "valid.acc.ave_10best.pth"


def test_the_fingerprint_knows_weights_settings_and_layer(tmp_path: Path, conformer: Path) -> None:
    prints = {open_encoder("asr", conformer, layer=layer).fingerprint() for layer in (None, 1, 3)}
    other = make_experiment(tmp_path / "a", make_config("conformer"), seed=1)[0]
    prints.add(open_encoder("asr", other).fingerprint())
    folder, _ = make_experiment(tmp_path / "b", make_config("conformer"))
    assert open_encoder("asr", folder).fingerprint() in prints  # the same model at another place
    rewrite(folder, frontend_conf={**FRONT_END, "hop_length": 128})
    prints.add(open_encoder("asr", folder).fingerprint())
    assert len(prints) == 5


def rewrite(folder: Path, **changes: Any) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, **changes}))


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return make_experiment(tmp_path, make_config("transformer"))[0]


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"encoder": "conformr", "frontend": "s3prl", "normalize": "globl_mvn"},
         ["did you mean 'conformer'", "frontend 's3prl'", "did you mean 'global_mvn'"]),
        ({"encoder": None}, ["encoder 'None'"]),
        ({"deliberationencoder": "conformer"}, ["a model without deliberationencoder"]),
        ({"input_size": 83}, ["features made beforehand"]),
        ({"frontend": None}, ["features made beforehand"]),
        ({"preencoder": "linear", "postencoder": "hugging_face_transformers"}, ["preencoder", "postencoder"]),
        ({"encoder_conf": [1]}, ["encoder_conf of another kind"]),
        ({"version": "0.9", "encoder_conf": {"output_sise": 8, "num_blks": 3}},
         ["did you mean 'output_size'", "did you mean 'num_blocks'", "says ESPnet 0.9"]),
        ({"encoder_conf": {"output_size": "eight"}}, ["encoder_conf that TransformerEncoder refuses"]),
        ({"encoder_conf": {"output_size": 8, "input_layer": "conv9d"}}, ["unknown input_layer: conv9d"]),
        ({"frontend_conf": {**FRONT_END, "apply_stft": False}}, ["apply_stft false"]),
        ({"frontend_conf": {**FRONT_END, "hop_length": 500}}, ["hop <= window"]),
    ],
)  # fmt: skip
def test_a_config_that_can_not_be_used(
    experiment: Path, changes: dict[str, Any], messages: list[str]
) -> None:
    rewrite(experiment, **changes)
    with pytest.raises(BadInput) as error:
        open_encoder("asr", experiment)
    for message in messages:
        assert message in str(error.value)
    assert all(str(experiment) in fault.where for fault in error.value.faults)


@pytest.mark.parametrize("name", ["contextual_block_conformer", "e_branchformer_ctc", "whisper"])
def test_an_encoder_that_is_not_supported_is_called_that(experiment: Path, name: str) -> None:
    rewrite(experiment, encoder=name)
    with pytest.raises(BadInput, match=f"ESPnet's encoder '{name}', which is not supported") as error:
        open_encoder("asr", experiment)
    assert "did you mean" not in str(error.value)
    assert all(known in str(error.value) for known in ENCODERS)


@pytest.mark.parametrize(
    ("name", "taker"),
    [
        ("hubert", "ssl"),
        ("WavLM", "ssl"),
        ("wav2vec2-base", "ssl"),
        ("wav2vec", "ssl"),
        ("conformer", "asr"),
        ("e_branchformer", "asr"),
        ("espnet", "asr"),
        ("pyresnet152", "ser"),
        ("vgg16", "ser"),
    ],
)
def test_the_name_of_a_model_leads_to_its_encoder(name: str, taker: str) -> None:
    with pytest.raises(BadInput, match=f"'{name}', the name of a model.*--encoder {taker} --checkpoint"):
        open_encoder(name, Path("none"))


def test_a_name_that_is_nothing_gets_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'ser'"):
        open_encoder("sr", Path("none"))


def test_the_fingerprint_knows_the_normalisation(experiment: Path) -> None:
    """Of per-utterance normalisation the weights hold nothing, so that the settings alone tell."""
    prints = set()
    for norm, conf in (
        (None, {}),
        ("utterance_mvn", {}),
        ("utterance_mvn", {"norm_vars": True}),
        ("utterance_mvn", {"norm_means": False}),
    ):
        state = torch.load(experiment / "valid.acc.ave_10best.pth", weights_only=True)
        state = {key: value for key, value in state.items() if not key.startswith("normalize")}
        torch.save(state, experiment / "valid.acc.ave_10best.pth")
        rewrite(experiment, normalize=norm, normalize_conf=conf)
        prints.add(open_encoder("asr", experiment).fingerprint())
    assert len(prints) == 4


def test_a_config_that_is_not_whole(experiment: Path) -> None:
    (experiment / "config.yaml").write_text("encoder: transformer")
    with pytest.raises(BadInput, match="no frontend, normalize; expected the whole config"):
        open_encoder("asr", experiment)


def test_statistics_that_are_none(experiment: Path) -> None:
    path = experiment.parent / "asr_stats/train/feats_stats.npz"
    np.savez(path, count=3)
    with pytest.raises(BadInput, match="normalize_conf that GlobalMVN refuses"):
        open_encoder("asr", experiment)
    np.save(path.with_suffix(".npy"), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    path.with_suffix(".npy").rename(path)
    with pytest.raises(BadInput, match="allow_pickle"):
        open_encoder("asr", experiment)


def test_weights_of_another_encoder_are_listed(experiment: Path) -> None:
    path = experiment / "valid.acc.ave_10best.pth"
    state = torch.load(path, weights_only=True)
    del state["encoder.after_norm.weight"]
    state["encoder.more.weight"] = torch.ones(2)
    state["normalize.mean"] = torch.ones(7)
    torch.save(state, path)
    with pytest.raises(BadInput) as error:
        open_encoder("asr", experiment)
    found = [fault.found for fault in error.value.faults]
    assert found == [
        "1 weights missing: encoder.after_norm.weight",
        "1 weights unexpected: encoder.more.weight",
        "1 weights of another shape: normalize.mean 7 for 20",
    ]
    rewrite(experiment, encoder_conf={**ENCODERS["transformer"], "num_blocks": 12})
    with pytest.raises(BadInput, match=r"weights missing: .* and \d+ more"):
        open_encoder("asr", experiment)


def test_a_normalisation_that_the_config_forgot(experiment: Path) -> None:
    rewrite(experiment, normalize=None, normalize_conf={})
    with pytest.raises(BadInput, match=r"unexpected: normalize\.mean, normalize\.std"):
        open_encoder("asr", experiment)


def test_opening_is_silent_and_needs_no_task(conformer: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from sertransfer.encoders.registry import open_encoder;"
        "before = [name for name in sys.modules if name.startswith('espnet')];"
        "open_encoder('asr', Path(sys.argv[1]));"
        "heavy = {'espnet2.tasks.asr', 'nltk', 'g2p_en'} & set(sys.modules);"
        "sys.exit(f'{before} {heavy}' if before or heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(conformer)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
