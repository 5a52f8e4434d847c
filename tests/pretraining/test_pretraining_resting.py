"""Stage 1 with resting states: what measures a speaker is not scored, and the run says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sertransfer.errors import BadInput
from sertransfer.front_end import Denoise, FrontEnd
from sertransfer.manifest import Manifest
from sertransfer.models.checkpoint import read_checkpoint
from sertransfer.pretraining.evaluate import evaluate
from sertransfer.pretraining.settings import EpochSelection, PretrainConfig
from sertransfer.pretraining.workflow import pretrain

pytestmark = pytest.mark.usefixtures("no_report")

THREE = ("angry", "happy", "sad")
RESTING = FrontEnd(normalise="resting", mels=32, denoise=Denoise(method="none"))

Tones = Callable[..., Manifest]


@pytest.fixture
def settings(config: PretrainConfig) -> PretrainConfig:
    return replace(config, front_end=RESTING, epochs=1, classes=THREE)


def marked(manifest: Manifest, *numbers: int) -> Manifest:
    """Mark the rows *numbers* and no others as resting state."""
    rest = ["true" if number in numbers else "" for number in range(len(manifest))]
    return manifest.with_table(manifest.table.assign(rest=rest))


def test_a_run_measures_on_neutral_rows_and_scores_the_others(
    tmp_path: Path, settings: PretrainConfig, tones: Tones
) -> None:
    manifest = tones(tmp_path / "corpus")
    metrics = pretrain(settings, manifest, tmp_path / "run", progress=False)
    assert metrics["utterance"]["n"] == 9
    assert metrics["resting_state"] == {
        "marked_by": "label 'neutral'",
        "speakers": 9,
        "recordings": 9,
        "left_out": {"train": 0, "test": 3},
    }
    checkpoint = tmp_path / "run" / "checkpoints" / "model.safetensors"
    assert read_checkpoint(checkpoint).front_end == RESTING
    again = evaluate(checkpoint, manifest, run_dir=tmp_path / "again", progress=False)
    assert again["utterance"] == metrics["utterance"]
    assert again["resting_state"]["left_out"] == {"test": 3}
    assert again["resting_state"]["speakers"] == 3
    nobody = manifest.with_table(manifest.table[manifest.table["label"] != "neutral"].reset_index(drop=True))
    with pytest.raises(BadInput, match="3 faults") as error:
        evaluate(checkpoint, nobody, run_dir=tmp_path / "none", progress=False)
    assert [fault.where for fault in error.value.faults] == [f"speaker 't{n}' of tones" for n in range(3)]


def test_neutral_as_a_class_of_measured_speakers_is_refused_with_what_to_do(
    tmp_path: Path, settings: PretrainConfig, tones: Tones
) -> None:
    manifest = tones(tmp_path / "corpus")
    four = replace(settings, classes=("angry", "neutral", "happy", "sad"))
    with pytest.raises(BadInput, match=r"no row labelled neutral.*column 'rest'"):
        pretrain(four, manifest, tmp_path / "run", progress=False)
    skipping = pretrain(replace(four, absent="skip"), manifest, tmp_path / "skip", progress=False)
    assert skipping["utterance"]["absent"] == ["neutral"]
    assert skipping["train"]["labels"]["neutral"] == 6, "trained on like any other class"
    inner = replace(four, absent="skip", selection=EpochSelection("inner", 0.3))
    with pytest.raises(BadInput, match=r"split 'train'.*no row labelled neutral"):
        pretrain(inner, manifest, tmp_path / "inner", progress=False)


def test_speakers_measured_in_training_are_scored_on_all_their_test_rows(
    tmp_path: Path, settings: PretrainConfig, tones: Tones
) -> None:
    manifest = tones(tmp_path / "corpus")
    shared = manifest.with_table(
        manifest.table.assign(speaker=manifest.table["speaker"].str.replace("t", "s"))
    )
    four = replace(settings, classes=("angry", "neutral", "happy", "sad"))
    metrics = pretrain(four, shared, tmp_path / "run", progress=False)
    assert metrics["utterance"]["n"] == 12
    assert metrics["resting_state"]["recordings"] == 6
    assert metrics["resting_state"]["left_out"] == {"train": 0, "test": 0}


def test_marked_rows_are_neither_trained_on_nor_scored(
    tmp_path: Path, settings: PretrainConfig, tones: Tones
) -> None:
    manifest = tones(tmp_path / "corpus", train=16, test=16, speakers=2)  # eight rows of train for each
    table = manifest.table
    first = table.groupby("speaker").head(1).index.tolist()  # angry, for once
    four = replace(settings, classes=("angry", "neutral", "happy", "sad"))
    metrics = pretrain(four, marked(manifest, *first), tmp_path / "run", progress=False)
    assert metrics["resting_state"]["marked_by"] == "column 'rest'"
    assert metrics["resting_state"]["left_out"] == {"train": 2, "test": 2}
    assert (metrics["train"]["n"], metrics["utterance"]["n"]) == (14, 14)
    scored = set(pd.read_csv(tmp_path / "run" / "utterances.csv")["id"])
    assert scored == set(table.loc[table["split"] == "test", "id"]) - set(table.loc[first, "id"])
    everything = marked(manifest, *range(len(manifest)))
    with pytest.raises(BadInput, match="16 of the speakers' resting state, which are not scored"):
        pretrain(four, everything, tmp_path / "all", progress=False)


def test_without_the_option_a_run_does_not_speak_of_it(
    tmp_path: Path, config: PretrainConfig, tones: Tones
) -> None:
    manifest = marked(tones(tmp_path / "corpus"), 0, 1)
    metrics: dict[str, Any] = pretrain(replace(config, epochs=1), manifest, tmp_path / "run", progress=False)
    assert "resting_state" not in metrics
    assert metrics["utterance"]["n"] == 12
