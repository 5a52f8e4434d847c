"""Features made beforehand are those that stage 1 looks for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sertransfer.cli.main import main
from sertransfer.errors import BadInput
from sertransfer.manifest import write_manifest
from sertransfer.pretraining import workflow
from sertransfer.pretraining.data import inner_split, make_features


def test_stage_1_finds_the_store_that_was_made(tmp_path: Path, config, tones, monkeypatch) -> None:
    manifest = tones(tmp_path / "tones", labels=("angry", "neutral", "happy", "sad", "bored"))
    cache = tmp_path / "cache"
    assert len(make_features(config, manifest, cache, progress=False)) > 0
    monkeypatch.setattr("sertransfer.audio.store.extract", lambda *a, **k: pytest.fail("made again"))

    class Reached(Exception):
        pass

    def reached(*given: object, **more: object) -> None:
        raise Reached

    monkeypatch.setattr(workflow, "train_network", reached)
    with pytest.raises(Reached):
        workflow.pretrain(replace(config, store=str(cache)), manifest, tmp_path / "run", progress=False)


def test_a_missing_folder_and_missing_classes_are_refused(tmp_path: Path, config, tones) -> None:
    manifest = tones(tmp_path / "tones")
    with pytest.raises(BadInput, match="--into DIR"):
        make_features(config, manifest, None)
    with pytest.raises(BadInput, match="no row labelled"):
        make_features(replace(config, classes=("angry", "bored")), manifest, tmp_path)
    with pytest.raises(BadInput, match=r'pretrain with --classes "\[angry, happy, neutral, sad\]"') as caught:
        make_features(replace(config, classes=("calm", "tense")), manifest, tmp_path)
    assert "--label_map" in str(caught.value)


def test_the_command_makes_the_store_once(tmp_path: Path, tones, capsys) -> None:
    write_manifest(tones(tmp_path / "tones"), tmp_path / "manifest.csv")
    words = ["features", "--manifest", str(tmp_path / "manifest.csv"), "--into", str(tmp_path / "cache")]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["result"]["utterances"] == 36
    store = Path(said["files"]["store"])
    assert store.parent == tmp_path / "cache"
    before = (store / "meta.json").stat().st_mtime_ns
    assert main([*words, "-q"]) == 0
    assert (store / "meta.json").stat().st_mtime_ns == before


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 12), st.integers(0, 5), st.sampled_from([0.1, 0.15, 0.2]))
def test_an_inner_split_keeps_speakers_whole_and_every_class_on_both_sides(speakers, seed, share):
    names = np.repeat([f"s{number}" for number in range(speakers)], 8)
    targets = np.arange(len(names)) % 4
    kept, held = inner_split(targets, names.tolist(), share=share, seed=seed)
    assert not set(names[kept]) & set(names[held])
    assert sorted([*kept, *held]) == list(range(len(names)))
    assert set(targets[kept]) == set(targets[held]) == {0, 1, 2, 3}
    assert len(held) / len(names) <= max(2 * share, 1 / speakers + 1e-9)


@pytest.mark.parametrize(
    ("targets", "speakers"),
    [
        ([0, 1, 0, 1], ["one"] * 4),
        ([0, 0, 1, 1], ["one", "one", "two", "two"]),
        ([0, 0, 0, 1], ["a", "b", "c", "d"]),
    ],
)
def test_speakers_that_can_not_be_split_are_refused(targets, speakers):
    with pytest.raises(BadInput, match=r"selection\.rule"):
        inner_split(np.array(targets), speakers, share=0.2, seed=0)
