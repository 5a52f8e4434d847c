"""A corpus prepared in shards is, byte for byte, the corpus prepared at once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.corpus_trees import lssed_rows, write_lssed
from support.daic_tree import Tree
from support.speech_trees import write_ffmpeg
from test_corpora_contract import NAMES, WRITERS, options_for, snapshot

from sertransfer.cli.main import main
from sertransfer.corpora import lssed
from sertransfer.corpora.looking import UNSEEN, Seen, Share, look_with, looking
from sertransfer.corpora.prepare import faults_path, prepare
from sertransfer.corpora.registry import CORPORA
from sertransfer.corpora.shards import merge_shards, prepare_shard, read_shard
from sertransfer.errors import BadInput
from sertransfer.manifest import AudioSource, read_manifest
from sertransfer.sharding import Shard


@pytest.fixture(autouse=True)
def ffmpeg(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_ffmpeg(tmp_path_factory.mktemp("program") / "bin")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def in_shards(
    corpus: str, root: Path, options: object, folder: Path, count: int, *, skip_bad: bool = False
) -> list[Path]:
    """Prepare *count* shards, the last first, and return their files."""
    files = [folder / f"shard{index}.csv" for index in range(count, 0, -1)]
    for index, file in zip(range(count, 0, -1), files, strict=True):
        prepare_shard(corpus, root, options, file, Shard(index, count), skip_bad=skip_bad)
    return files


def both(path: Path) -> tuple[bytes, bytes]:
    return path.read_bytes(), path.with_suffix(".json").read_bytes()


def refusal(paths: list[Path], output: Path) -> str:
    with pytest.raises(BadInput) as refused:
        merge_shards(paths, output)
    assert not output.exists()
    return str(refused.value)


@pytest.mark.parametrize(("name", "count"), [*((name, 3) for name in NAMES), ("csv", 1)])
def test_merged_shards_are_the_single_run(name: str, count: int, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "corpus")
    before = snapshot(root)
    options = CORPORA[name].options(**options_for(name, tmp_path))
    files = in_shards(name, root, options, tmp_path / "shards", count)
    merge_shards(files, tmp_path / "merged.csv")
    prepare(name, root, options, tmp_path / "single.csv")
    assert both(tmp_path / "merged.csv") == both(tmp_path / "single.csv")
    assert snapshot(root) == before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    labels = ["angry", "neutral", "happy", "sad", "other"] * 12
    return write_lssed(tmp_path / "lssed", lssed_rows(labels, speakers=10))


def test_every_recording_is_looked_at_once(root: Path, tmp_path: Path) -> None:
    files = in_shards("lssed", root, None, tmp_path, 4)
    shares = [{name for name, _ in read_shard(file).values} for file in files]
    assert all(shares)
    assert sum(map(len, shares)) == len(set.union(*shares)) == 48


def test_a_speaker_split_and_left_out_labels_are_decided_over_all_rows(root: Path, tmp_path: Path) -> None:
    options = lssed.Options(split="speaker", dev_share=0.2, seed=3)
    manifest = merge_shards(in_shards("lssed", root, options, tmp_path, 3), tmp_path / "merged.csv")
    prepare("lssed", root, options, tmp_path / "single.csv")
    assert both(tmp_path / "merged.csv") == both(tmp_path / "single.csv")
    assert set(manifest.table["split"]) == {"train", "dev", "test"}
    assert len(manifest.notes["left_out"]) == 12


def daic(root: Path, count: int = 8) -> Tree:
    root.mkdir()
    tree = Tree(root)
    for number in range(300, 300 + count):
        tree.session(number, rms=0.05 + 0.01 * (number - 300))
    tree.zip(301)
    tree.zip(302, inside="302_P/")
    numbers = list(range(300, 300 + count))
    tree.splits(train=numbers[:4], dev=numbers[4:6], test=numbers[6:])
    return tree


def test_sessions_with_levels_archives_and_faults(tmp_path: Path) -> None:
    root = daic(tmp_path / "daic").root
    (root / "303_P" / "303_TRANSCRIPT.csv").write_bytes(b"")
    (root / "305_P" / "305_AUDIO.wav").write_bytes(b"RIFF")
    options = CORPORA["daic-woz"].options(level_normalise=True)
    files = in_shards("daic-woz", root, options, tmp_path, 3, skip_bad=True)
    merged = merge_shards(files, tmp_path / "merged.csv")
    prepare("daic-woz", root, options, tmp_path / "single.csv", skip_bad=True)
    assert both(tmp_path / "merged.csv") == both(tmp_path / "single.csv")
    assert merged.table["gain"].nunique() == 6
    assert len(merged.notes["skipped"]) == 2


def test_a_shard_reads_no_session_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = daic(tmp_path / "daic").root
    opened: list[int] = []
    from sertransfer.corpora import daic_woz

    plain = daic_woz.open_session
    monkeypatch.setattr(
        daic_woz, "open_session", lambda number, *rest: opened.append(number) or plain(number, *rest)
    )
    first = in_shards("daic-woz", root, None, tmp_path, 2)
    assert sorted(opened) == list(range(300, 308))  # each session in one shard
    opened.clear()
    monkeypatch.setattr("sertransfer.corpora.looking.inspect", lambda source: pytest.fail("read again"))
    merge_shards(first, tmp_path / "merged.csv")


def test_faults_stop_their_shard_alone_and_the_merge_names_it(root: Path, tmp_path: Path) -> None:
    (root / "wav_all" / "utt000.wav").write_bytes(b"")
    bad = next(index for index in (1, 2) if Shard(index, 2).holds("wav_all/utt000.wav"))
    broken, sound = tmp_path / "broken.csv", tmp_path / "sound.csv"
    with pytest.raises(BadInput) as refused:
        prepare_shard("lssed", root, None, broken, Shard(bad, 2))
    assert [fault.where.split(" ")[0] for fault in refused.value.faults] == [
        str(root / "wav_all" / "utt000.wav")
    ]
    assert faults_path(broken).exists()
    assert not broken.exists()
    prepare_shard("lssed", root, None, sound, Shard(3 - bad, 2))
    message = refusal([sound], tmp_path / "m.csv")
    assert f"no shard {bad}/2" in message
    assert f"--shard {bad}/2" in message


def test_skipped_recordings_are_left_out_as_in_a_single_run(root: Path, tmp_path: Path) -> None:
    (root / "wav_all" / "utt000.wav").write_bytes(b"")
    (root / "wav_all" / "utt007.wav").unlink()
    files = in_shards("lssed", root, None, tmp_path, 3, skip_bad=True)
    merge_shards(files, tmp_path / "merged.csv")
    prepare("lssed", root, None, tmp_path / "single.csv", skip_bad=True)
    assert both(tmp_path / "merged.csv") == both(tmp_path / "single.csv")


def test_missing_double_and_foreign_shards_are_all_named(root: Path, tmp_path: Path) -> None:
    files = in_shards("lssed", root, None, tmp_path, 4)
    again = tmp_path / "again.csv"
    prepare_shard("lssed", root, None, again, Shard(4, 4))
    seeded = tmp_path / "seeded.csv"
    prepare_shard("lssed", root, lssed.Options(seed=5), seeded, Shard(3, 4))
    divided = tmp_path / "divided.csv"
    prepare_shard("lssed", root, None, divided, Shard(1, 3))
    other = write_lssed(tmp_path / "other", lssed_rows(["angry", "sad"] * 5))
    foreign = tmp_path / "foreign.csv"
    prepare_shard("lssed", other, None, foreign, Shard(2, 4), skip_bad=True)
    message = refusal([files[0], again, seeded, divided, foreign], tmp_path / "m.csv")
    assert f"{again}: found shard 4/4 again (first in {files[0]})" in message
    assert f"{seeded}: found options seed 5; expected seed 0, as in {files[0]}" in message
    assert f"{divided}: found shard 1/3; expected a shard of 4" in message
    assert f"{foreign}: found root '{other}'; expected '{root}'" in message
    assert f"{foreign}: found skip_bad 'True'" in message
    assert "found no shard 1/4" in message


def test_what_is_no_shard_is_named(root: Path, tmp_path: Path) -> None:
    (file,) = in_shards("lssed", root, None, tmp_path, 1)
    prepare("lssed", root, None, tmp_path / "whole.csv")
    edited = tmp_path / "edited.csv"
    prepare_shard("lssed", root, None, edited, Shard(1, 1))
    edited.write_text(edited.read_text() + "x,1,2,3,\n")
    message = refusal([tmp_path / "none.csv", tmp_path / "whole.csv", edited], tmp_path / "m.csv")
    assert f"none.csv: found no file {tmp_path / 'none.json'}" in message
    assert "whole.csv: found notes without 'shard'" in message
    assert "edited.csv: found a table that was changed" in message
    with pytest.raises(BadInput, match="sertransfer merge"):
        read_manifest(file)


def test_a_corpus_that_changed_since_is_refused(root: Path, tmp_path: Path) -> None:
    files = in_shards("lssed", root, None, tmp_path, 2)
    table = root / "metadata_english_all.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:-3], lines[-1], "late,angry,F,young,s1"]) + "\n")
    (root / "wav_all" / "late.wav").write_bytes((root / "wav_all" / "utt001.wav").read_bytes())
    message = refusal(files, tmp_path / "m.csv")
    assert "1 recordings that no shard looked at (wav_all/late.wav)" in message
    assert "shards that looked at 2 recordings which the corpus no longer has" in message
    assert "run all 2 shards again" in message


def test_more_shards_than_sessions_leave_some_empty(tmp_path: Path) -> None:
    root = daic(tmp_path / "daic").root
    merge_shards(in_shards("daic-woz", root, None, tmp_path, 20), tmp_path / "merged.csv")
    prepare("daic-woz", root, None, tmp_path / "single.csv")
    assert both(tmp_path / "merged.csv") == both(tmp_path / "single.csv")


def test_recordings_are_looked_at_again_after_a_shard(tmp_path: Path) -> None:
    assert looking().holds("anything")
    with look_with(Share(Shard(1, 2), tmp_path)):
        assert {looking().holds(str(number)) for number in range(20)} == {True, False}
    assert looking().holds("anything")


def test_what_no_shard_saw_is_told(tmp_path: Path) -> None:
    seen = Seen(tmp_path, {("a.wav", "header"): (8000, 5, 1)}, {})
    assert seen.inspect(AudioSource(tmp_path / "a.wav")).samples == 5
    assert seen.inspect(AudioSource(tmp_path / "b.zip", "c.wav")) == UNSEEN
    assert seen.unknown == ["b.zip!c.wav"]
    assert seen.unasked == []


def test_commands(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = [str(tmp_path / f"{index}.csv") for index in (1, 2)]
    for index, file in enumerate(shards, start=1):
        words = ["prepare", "lssed", str(root), "-o", file, "--shard", f"{index}/2", "--seed", "7"]
        assert main(words) == 0
    assert "recordings looked at" in capsys.readouterr().out
    assert main(["merge", *shards, "-o", str(tmp_path / "m.csv")]) == 0
    assert "48 utterances" in capsys.readouterr().out
    assert json.loads((tmp_path / "m.json").read_text())["options"]["seed"] == 7
    assert main(["merge", shards[0], "-o", str(tmp_path / "n.csv")]) == 2
    assert "no shard 2/2" in capsys.readouterr().err
    assert main(["prepare", "lssed", str(root), "-o", shards[0], "--shard", "3/2"]) == 2
    assert "1 <= I <= N" in capsys.readouterr().err
