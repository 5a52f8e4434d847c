"""Features made beforehand, at once or in shards, are those that stage 1 looks for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sertransfer.cli.main import main
from sertransfer.errors import BadInput
from sertransfer.manifest import write_manifest
from sertransfer.sharding import Shard
from sertransfer.training import pretrain as stage_1
from sertransfer.training.features import make_features


def test_stage_1_finds_the_store_that_shards_made(tmp_path: Path, config, tones, monkeypatch) -> None:
    manifest = tones(tmp_path / "tones", labels=("angry", "neutral", "happy", "sad", "bored"))
    cache = tmp_path / "cache"
    first = make_features(config, manifest, cache, shard=Shard(1, 2), progress=False)
    assert first.store is None
    assert first.missing == (Shard(2, 2),)
    second = make_features(config, manifest, cache, shard=Shard(2, 2), progress=False)
    assert second.store is not None
    alone = make_features(config, manifest, tmp_path / "alone", progress=False)
    for name in ("features.bin", "index.csv", "meta.json"):
        assert (second.folder / name).read_bytes() == (alone.folder / name).read_bytes()
    monkeypatch.setattr("sertransfer.audio.store.extract", lambda *a, **k: pytest.fail("made again"))

    class Reached(Exception):
        pass

    def reached(*given: object, **more: object) -> None:
        raise Reached

    monkeypatch.setattr(stage_1, "train_network", reached)
    with pytest.raises(Reached):
        stage_1.pretrain(replace(config, store=str(cache)), manifest, tmp_path / "run", progress=False)


def test_what_contradicts_itself_is_refused(tmp_path: Path, config, tones) -> None:
    manifest = tones(tmp_path / "tones")
    with pytest.raises(BadInput, match="--into DIR"):
        make_features(config, manifest, None)
    with pytest.raises(BadInput, match="one of them"):
        make_features(config, manifest, tmp_path, shard=Shard(1, 2), merge=True)
    with pytest.raises(BadInput, match="no row labelled"):
        make_features(replace(config, classes=("angry", "bored")), manifest, tmp_path)


def test_commands(tmp_path: Path, tones, capsys) -> None:
    write_manifest(tones(tmp_path / "tones"), tmp_path / "manifest.csv")
    words = ["features", "--manifest", str(tmp_path / "manifest.csv"), "--into", str(tmp_path / "cache")]
    assert main([*words, "-q", "--merge"]) == 2
    assert "found no parts" in capsys.readouterr().err
    assert main([*words, "-q", "--shard", "3/3"]) == 0
    assert "missing: 1/3, 2/3" in capsys.readouterr().out
    assert main([*words, "-q", "--shard", "1/3"]) == 0
    assert main([*words, "-q", "--merge"]) == 2
    assert "no part 2/3" in capsys.readouterr().err
    assert main([*words, "--json", "--shard", "2/3"]) == 0
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert said["result"]["utterances"] == 36
    assert Path(said["files"]["store"]).parent == tmp_path / "cache"
    assert main([*words, "-q"]) == 0  # opened, not built
    assert main([*words, "-q", "--shard", "4/3"]) == 2
