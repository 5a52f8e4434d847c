"""The measurement of resting states, on a generated tree in EmoDB's layout, and its figures by hand."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import soundfile

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "neutral_normalisation.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("neutral_normalisation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_tree(root: Path, seconds: float, copies: int) -> None:
    """Tones of ten actors, their pitch the emotion (generated)."""
    (root / "wav").mkdir(parents=True)
    generator = np.random.default_rng(0)
    pitches = {"W": 1500, "N": 300, "F": 700, "T": 150}
    for speaker in (*("03", "08", "10", "12", "14"), *("09", "11", "13", "15", "16")):
        for place, (emotion, pitch) in enumerate(copies * list(pitches.items())):
            wave = 0.1 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * 16000)) / 16000)
            wave += 0.003 * generator.normal(size=len(wave))
            soundfile.write(root / "wav" / f"{speaker}a{place:02d}{emotion}a.wav", wave, 16000)


def test_every_row_but_the_neutral_ones_is_scored_once_an_arm_and_seed(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / "emodb", 0.3, 1)
    monkeypatch.setattr(script, "SEEDS", (0,))
    monkeypatch.setattr("sertransfer.pretraining.workflow.write_report", lambda folder: None)
    found = script.score_all(tmp_path / "emodb", tmp_path / "work", epochs=1)
    for tables in found.values():
        assert tables[0]["speaker"].nunique() == 10
        assert tables[0]["label"].value_counts().to_dict() == {"angry": 10, "happy": 10, "sad": 10}
    monkeypatch.setattr(script, "RESAMPLES", 50)
    results = script.summarise(found)
    assert results["rows"] == 30
    assert results["majority"] == {"wa": pytest.approx(1 / 3), "ua": pytest.approx(1 / 3)}


def test_the_arms_differ_in_the_normalisation_alone(script: ModuleType, tmp_path: Path) -> None:
    without, with_rest = (script.settings(arm, 1, tmp_path).protocol() for arm in ("without", "with"))
    assert with_rest["front_end"].pop("normalise") == "resting"
    assert without["front_end"].pop("normalise") == "utterance"
    assert without == with_rest


def test_the_figures_by_hand(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "RESAMPLES", 200)
    labels = ["angry", "angry", "happy", "sad"] * 2
    speakers = ["03"] * 4 + ["09"] * 4

    def table(*wrong: int) -> pd.DataFrame:
        predicted = ["sad" if n in wrong and label != "sad" else label for n, label in enumerate(labels)]
        return pd.DataFrame({"id": range(8), "speaker": speakers, "label": labels, "prediction": predicted})

    found = {"without": [table(0, 2), table(0)], "with": [table(0), table()]}
    results = script.summarise(found)
    assert results["without"]["wa_by_seed"] == [6 / 8, 7 / 8]
    assert results["without"]["ua_by_seed"] == pytest.approx([(3 / 4 + 1 / 2 + 1) / 3, (3 / 4 + 2) / 3])
    assert results["with"]["wa"] == pytest.approx(15 / 16)
    assert results["difference"]["wa"] == pytest.approx(2 / 16)
    low, high = results["difference"]["wa_ci95"]
    assert low == 0, "the second actor's rows are alike"
    assert high == pytest.approx(2 / 8)
    assert results["with"]["wa_by_speaker"] == {"03": 7 / 8, "09": 1.0}
    assert results["without"]["recall"] == {"angry": 0.75, "happy": 0.75, "sad": 1.0}
