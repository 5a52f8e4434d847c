from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.encoders import importing
from sertransfer.encoders.importing import candidates, import_checkpoint, rank_front_ends
from sertransfer.encoders.ser import SerEncoder
from sertransfer.errors import BadInput
from sertransfer.front_end import Denoise, FrontEnd
from sertransfer.models.checkpoint import Checkpoint, read_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.timebase import PRESETS

TRUE = [
    FrontEnd(log="db", gain=1.0, normalise="none", denoise=Denoise(method="none")),
    FrontEnd(),
    FrontEnd(framing=PRESETS["25ms"], log="natural", normalise="none", mel_scale="htk", mel_norm="none"),
    FrontEnd(log="none", normalise="none"),
]


def voice(seed: int) -> np.ndarray:
    """Make a second and a half of voiced syllables over a little noise."""
    random = np.random.default_rng(seed)
    time = np.arange(24000) / 16000
    pitch = random.uniform(90, 240) * (1 + 0.2 * np.sin(2 * np.pi * random.uniform(0.5, 2) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    tone = sum(np.sin(k * phase) / k ** random.uniform(0.8, 1.4) for k in range(1, 25))
    envelope = np.clip(np.sin(2 * np.pi * random.uniform(2, 4) * time + random.uniform(0, 6)), 0, None)
    return (0.08 * random.uniform(0.3, 2) * envelope * tone + 0.002 * random.normal(size=time.size)).astype(
        "f4"
    )


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    (folder / "sub").mkdir()
    for index in range(6):
        soundfile.write(folder / ("sub" if index % 2 else "") / f"{index}.wav", voice(index), 16000)
    return folder


def trained_with(front_end: FrontEnd) -> Checkpoint:
    """Return a checkpoint whose first batch norm has seen other voices through *front_end*."""
    torch.manual_seed(0)
    model = build_model("pyresnet_tiny", 4)
    compute = MelFrontEnd(front_end)
    norm = model.get_submodule("bn1")
    with torch.no_grad():
        mels = torch.stack([compute(torch.from_numpy(voice(100 + index))) for index in range(16)])
        norm.momentum = 1.0  # type: ignore[assignment]
        norm(model.get_submodule("conv1")(mels[:, None]))
    return Checkpoint("pyresnet_tiny", {}, tuple("abcd"), None, None, dict(model.state_dict()))


@pytest.mark.parametrize("true", TRUE, ids=["db", "default", "htk-25ms", "power"])
def test_the_front_end_of_the_statistics_ranks_first(speech: Path, true: FrontEnd) -> None:
    ranking = rank_front_ends(trained_with(true), speech)
    assert len(ranking) == len(candidates()) == len(set(map(str, candidates())))
    best = ranking[0].front_end
    if true.log == "none":  # noise is small beside linear power, so denoising does not show
        best = replace(best, denoise=true.denoise)
    assert best == true
    distances = [ranked.distance for ranked in ranking]
    assert distances == sorted(distances)
    assert 0 <= distances[0] < 0.5


def test_many_and_long_recordings_are_read_in_part(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MOST_RECORDINGS", 2)
    monkeypatch.setattr(importing, "LONGEST", 0.5)
    assert [len(waveform) for waveform in importing.read_speech(speech)] == [8000, 8000]


def test_all_bad_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        rank_front_ends(trained_with(FrontEnd()), tmp_path / "absent")
    with pytest.raises(BadInput, match="no WAV file"):
        rank_front_ends(trained_with(FrontEnd()), tmp_path)
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with pytest.raises(BadInput) as error:
        rank_front_ends(trained_with(FrontEnd()), tmp_path)
    assert len(error.value.faults) == 2


def test_a_model_without_first_norm_can_not_be_ranked(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(checkpoint: Checkpoint) -> torch.nn.Module:
        return torch.nn.ModuleDict({"conv1": torch.nn.ReLU(), "bn1": torch.nn.ReLU()})

    monkeypatch.setattr(importing, "build_from", build)
    with pytest.raises(TypeError, match="bn1"):
        rank_front_ends(trained_with(FrontEnd()), speech)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "pyresnet50.pth"
    torch.save({"state_dict": build_model("pyresnet50", 4).state_dict(), "epoch": 60}, path)
    return path


def test_an_import_without_front_end_says_what_to_do(tmp_path: Path, published: Path) -> None:
    report = import_checkpoint(published, tmp_path / "m.safetensors")
    assert report["ranking"] == []
    assert report["front_end"] is None
    for part in ("pyresnet50, 22.825 M parameters", "angry, neutral, happy, sad", "--calibrate-on", "epoch"):
        assert part in report["text"]
    with pytest.raises(BadInput, match="not known"):
        SerEncoder(read_checkpoint(tmp_path / "m.safetensors"))


def test_a_ranking_chooses_nothing(
    tmp_path: Path, published: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "candidates", lambda: [FrontEnd(), replace(FrontEnd(), log="db")])
    report = import_checkpoint(published, tmp_path / "m.safetensors", calibrate_on=speech)
    json.dumps(report)
    assert len(report["ranking"]) == 2
    assert report["ranking"][0]["distance"] <= report["ranking"][1]["distance"]
    assert report["ranking"][0]["options"] in report["text"]
    assert "choose a line above" in report["text"]
    assert read_checkpoint(tmp_path / "m.safetensors").front_end is None


def test_a_chosen_front_end_is_carried(tmp_path: Path, published: Path) -> None:
    report = import_checkpoint(published, tmp_path / "m.safetensors", front_end=FrontEnd(), calibrate_on=None)
    assert report["front_end"] == FrontEnd().as_dict()
    assert "stage 2 will refuse" not in report["text"]
    assert SerEncoder(read_checkpoint(tmp_path / "m.safetensors")).dim == 8192
