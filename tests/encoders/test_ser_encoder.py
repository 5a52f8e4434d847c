from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.encoder_fakes import padded, sounds

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.encoders.registry import ENCODERS, open_encoder
from sertransfer.encoders.ser import SerEncoder
from sertransfer.errors import BadInput
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.models.checkpoint import Checkpoint, build_from, write_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.timebase import PRESETS

OPTIONS = {"width": 0.125}
LENGTHS = (16000, 700, 40000, 16000, 33000, 1, 700)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    model = build_model("pyresnet_tiny", 4, **OPTIONS)
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(8, 1, 128, 64))
    state = dict(model.state_dict())
    return Checkpoint("pyresnet_tiny", OPTIONS, tuple("abcd"), FrontEnd(), None, state, {"run": "r"})


@pytest.fixture(scope="module")
def encoder(checkpoint: Checkpoint) -> SerEncoder:
    return SerEncoder(checkpoint)


def test_shapes_and_lengths(encoder: SerEncoder) -> None:
    features, frames = encoder.encode(*padded(sounds(*LENGTHS)))
    expected = [-(-(1 + length // 512) // 32) for length in LENGTHS]  # the network has a frame for 32
    assert frames.tolist() == expected
    assert features.shape == (len(LENGTHS), max(expected), encoder.dim)
    assert encoder.dim == 1024
    for row, count in enumerate(expected):
        assert not features[row, count:].any()
    assert torch.isfinite(features).all()
    assert (encoder.sample_rate, encoder.framing) == (16000, PRESETS["65ms"])


@pytest.mark.parametrize("cropping", [None, Cropping(1.0, pad=True), Cropping(1.0, pad=False)])
def test_alone_is_as_in_a_batch(checkpoint: Checkpoint, cropping: Cropping | None) -> None:
    encoder = SerEncoder(replace(checkpoint, cropping=cropping))
    waveforms = sounds(*LENGTHS)
    together, frames = encoder.encode(*padded(waveforms, fill=9.0))
    for row, waveform in enumerate(waveforms):
        alone, count = encoder.encode(waveform[None], torch.tensor([len(waveform)]))
        assert count.tolist() == [int(frames[row])]
        torch.testing.assert_close(together[row, : int(count)], alone[0], rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 20000), min_size=1, max_size=5))
def test_embeddings_do_not_depend_on_the_batch(encoder: SerEncoder, lengths: list[int]) -> None:
    waveforms = sounds(*lengths)
    alone = torch.cat([encoder.embed([waveform]) for waveform in waveforms])
    torch.testing.assert_close(encoder.embed(waveforms), alone, rtol=1e-5, atol=1e-5)


def test_an_embedding_is_what_the_classifier_sees(checkpoint: Checkpoint, encoder: SerEncoder) -> None:
    model = build_from(checkpoint)
    waveform = sounds(50000)[0]
    with torch.no_grad():
        scores = model(MelFrontEnd(FrontEnd())(waveform)[None, None])
        from_embedding = model.get_submodule("fc")(encoder.embed([waveform]))
    torch.testing.assert_close(from_embedding, scores, rtol=1e-4, atol=1e-5)


def test_padding_crops_take_the_first_seconds_filled_up_with_zeros(checkpoint: Checkpoint) -> None:
    encoder = SerEncoder(replace(checkpoint, cropping=Cropping(2.0, pad=True)))
    model = build_from(checkpoint)
    short, long = sounds(16000, 80000)
    for waveform in (short, long):
        mel = torch.zeros(128, 63)  # 1 + 32000 // 512
        whole = MelFrontEnd(FrontEnd())(waveform)[:, :63]
        mel[:, : whole.shape[1]] = whole
        with torch.no_grad():
            expected = model.pool_frames(model.forward_features(mel[None, None])).mean(1)
        torch.testing.assert_close(encoder.embed([waveform]), expected, rtol=1e-4, atol=1e-5)


def test_no_waveform_gives_no_embedding(encoder: SerEncoder) -> None:
    assert encoder.embed([]).shape == (0, encoder.dim)


def test_all_bad_waveforms_are_named(encoder: SerEncoder) -> None:
    waveforms = torch.zeros(4, 100)
    waveforms[1, 5] = float("nan")
    with pytest.raises(BadInput) as error:
        encoder.encode(waveforms, torch.tensor([0, 100, 100, 101]))
    assert [fault.where for fault in error.value.faults] == ["waveform 0", "waveform 1", "waveform 3"]
    waveforms[1, 50:] = float("inf")  # beyond the length, where anything may stand
    encoder.encode(waveforms[1:2], torch.tensor([5]))


@pytest.mark.parametrize(("samples", "lengths"), [((5,), (5,)), ((2, 5), (5,)), ((0, 5), ())])
def test_wrong_shapes_are_a_programming_error(
    encoder: SerEncoder, samples: tuple[int, ...], lengths: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        encoder.encode(torch.zeros(samples), torch.tensor(lengths, dtype=torch.long))


def test_the_fingerprint_knows_weights_and_preprocessing(checkpoint: Checkpoint, encoder: SerEncoder) -> None:
    assert SerEncoder(checkpoint).fingerprint() == encoder.fingerprint()
    state = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
    state["conv1.weight"][0, 0, 0, 0] += 1e-3
    others = [
        replace(checkpoint, state=state),
        replace(checkpoint, front_end=FrontEnd(gain=1.0)),
        replace(checkpoint, cropping=Cropping()),
    ]
    prints = {SerEncoder(other).fingerprint() for other in others} | {encoder.fingerprint()}
    assert len(prints) == 4


def test_the_record_says_what_the_encoder_is(encoder: SerEncoder) -> None:
    record = encoder.describe()
    assert (record["encoder"], record["model"], record["framing"]) == ("ser", "pyresnet_tiny", "65ms")
    assert record["front_end"]["mels"] == 128
    assert record["fingerprint"] == encoder.fingerprint()


def test_the_registry_opens_a_checkpoint(tmp_path: Path, checkpoint: Checkpoint, encoder: SerEncoder) -> None:
    path = tmp_path / "m.safetensors"
    write_checkpoint(checkpoint, path)
    for framing in (None, PRESETS["65ms"]):
        assert open_encoder("ser", path, framing=framing).fingerprint() == encoder.fingerprint()
    assert all((opener.__doc__ or "").strip() for opener in ENCODERS.values())


def test_what_can_not_be_opened_says_what_to_do(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "m.safetensors"
    write_checkpoint(checkpoint, path)
    with pytest.raises(BadInput, match=r"pretrain .* --front_end\.framing 25ms"):
        open_encoder("ser", path, framing=PRESETS["25ms"])
    with pytest.raises(BadInput, match="layer 2; expected no layer"):
        open_encoder("ser", path, layer=2)
    with pytest.raises(BadInput, match="did you mean 'ser'"):
        open_encoder("sir", path)
    with pytest.raises(BadInput, match="a device of this machine"):
        open_encoder("ser", path, device="abacus")
    with pytest.raises(BadInput, match="no such file"):
        open_encoder("ser", tmp_path / "absent")
    write_checkpoint(replace(checkpoint, front_end=None), path)
    with pytest.raises(BadInput, match="--front-end and --framing") as error:
        open_encoder("ser", path, framing=PRESETS["25ms"])
    assert error.value.faults[0].where == str(path)
