"""A store built in parts is, byte for byte, the store built at once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from test_audio_store import corpus, faulty

from sertransfer.audio import part_files, shards
from sertransfer.audio.shards import StoreParts, Work
from sertransfer.audio.store import FeatureStore, build_store
from sertransfer.errors import BadInput, SertransferError
from sertransfer.front_end import FrontEnd
from sertransfer.manifest import Manifest
from sertransfer.sharding import Shard

FILES = ("features.bin", "index.csv", "meta.json")


def parts(manifest: Manifest, cache: Path, *, skip_bad: bool = False, **front_end: object) -> StoreParts:
    return StoreParts(manifest, FrontEnd(**front_end), cache, work=Work(0, skip_bad, progress=False))


def same(one: FeatureStore, two: FeatureStore) -> bool:
    return all((one.path / name).read_bytes() == (two.path / name).read_bytes() for name in FILES)


@pytest.mark.parametrize("count", [1, 3, 14])
def test_joined_parts_are_the_store_of_a_single_run(count: int, tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "corpus")
    made = parts(manifest, tmp_path / "parts", clip=True)
    for index in range(count, 1, -1):
        assert made.build(Shard(index, count)) is None
        assert made.missing(count) == [Shard(left, count) for left in range(1, index)]
    store = made.build(Shard(1, count))
    single = build_store(manifest, FrontEnd(clip=True), tmp_path / "single", progress=False)
    assert store is not None
    assert store.path.name == single.path.name
    assert same(store, single)
    store.verify()
    assert not made.folder.exists()
    assert made.missing(count) == []


def test_faulty_utterances_are_left_out_as_in_a_single_run(tmp_path: Path) -> None:
    bad, good = faulty(tmp_path / "corpus"), corpus(tmp_path / "corpus")
    manifest = good.with_table(pd.concat([bad.table, good.table], ignore_index=True))
    made = parts(manifest, tmp_path / "parts", skip_bad=True)
    stores = [made.build(Shard(index, 4)) for index in (1, 2, 3, 4)]
    single = build_store(manifest, FrontEnd(), tmp_path / "single", skip_bad=True, progress=False)
    assert len(single.left_out) == 5
    assert stores[-1] is not None
    assert same(stores[-1], single)


def test_a_part_of_nothing_but_faults_takes_no_place(tmp_path: Path) -> None:
    manifest = faulty(tmp_path / "corpus")
    made = parts(manifest, tmp_path / "parts", skip_bad=True)
    stores = [made.build(Shard(index, 7)) for index in range(1, 8)]
    single = build_store(manifest, FrontEnd(), tmp_path / "single", skip_bad=True, progress=False)
    assert stores[-1] is not None
    assert same(stores[-1], single)


def test_faults_stop_their_part_alone(tmp_path: Path) -> None:
    manifest = faulty(tmp_path / "corpus")
    made = parts(manifest, tmp_path / "parts")
    with pytest.raises(BadInput) as refused:
        made.build(Shard(1, 2))
    assert len(refused.value.faults) == 2
    assert made.missing(2) == [Shard(1, 2), Shard(2, 2)]
    assert not list(made.folder.iterdir())
    skipping = parts(manifest, tmp_path / "parts", skip_bad=True)
    assert skipping.build(Shard(1, 2)) is None
    with pytest.raises(BadInput):
        made.build(Shard(2, 2))
    assert skipping.build(Shard(2, 2)) is not None
    with pytest.raises(BadInput) as refused:  # a store with faults is none where nothing may be left out
        made.join()
    assert len(refused.value.faults) == 4


def test_parts_that_left_something_out_are_not_joined_where_nothing_may_be(tmp_path: Path) -> None:
    manifest = faulty(tmp_path / "corpus")
    skipping = parts(manifest, tmp_path / "parts", skip_bad=True)
    assert skipping.build(Shard(2, 2)) is None
    place = skipping.folder / "1-of-2"
    (skipping.folder / "2-of-2").rename(tmp_path / "kept")
    assert skipping.build(Shard(1, 2)) is None
    (tmp_path / "kept").rename(skipping.folder / "2-of-2")
    with pytest.raises(BadInput) as refused:
        parts(manifest, tmp_path / "parts").join()
    assert len(refused.value.faults) == 4
    assert not skipping.target.exists()
    assert place.exists()  # nothing is lost


def test_missing_parts_are_named(tmp_path: Path) -> None:
    made = parts(corpus(tmp_path / "corpus"), tmp_path / "parts")
    with pytest.raises(BadInput, match="found no parts"):
        made.join()
    made.build(Shard(2, 4))
    made.build(Shard(4, 4))
    made.build(Shard(1, 9))
    with pytest.raises(BadInput, match=r"found no part 1/4, 3/4; expected all 4 parts; .*--shard 1/4'"):
        made.join()
    with pytest.raises(BadInput, match="no more shards than utterances"):
        made.build(Shard(1, 15))


def test_parts_of_another_division_do_not_count(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "corpus")
    made = parts(manifest, tmp_path / "parts")
    assert made.build(Shard(1, 2)) is None
    assert made.build(Shard(2, 3)) is None
    assert made.missing(2) == [Shard(2, 2)]
    store = made.build(Shard(2, 2))
    assert store is not None
    assert same(store, build_store(manifest, FrontEnd(), tmp_path / "single", progress=False))


def test_a_part_that_is_there_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = parts(corpus(tmp_path / "corpus"), tmp_path / "parts")
    made.build(Shard(1, 2))
    monkeypatch.setattr(shards, "extract", lambda *a, **k: pytest.fail("computed again"))
    assert made.build(Shard(1, 2)) is None


@pytest.mark.parametrize(
    ("name", "old", "new", "what"),
    [
        ("features.bin", b"", b"", "a file of features"),
        ("index.csv", b",0,", b",1,", "an index"),
        ("part.json", b'"frames": ', b'"frames": 1', "a record"),
        ("part.json", b"{", b"", "a record"),
        ("part.json", b'"index_sha256"', b'"x"', "a record"),
    ],
)
def test_a_damaged_part_is_named(name: str, old: bytes, new: bytes, what: str, tmp_path: Path) -> None:
    made = parts(corpus(tmp_path / "corpus"), tmp_path / "parts")
    made.build(Shard(1, 2))
    file = made.folder / "1-of-2" / name
    content = bytearray(file.read_bytes())
    if old:
        assert old in content
        content = content.replace(old, new, 1)
    else:
        content[5] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadInput, match=rf"1-of-2: found {what} that was changed"):
        made.build(Shard(2, 2))
    assert not made.target.exists()


@pytest.mark.parametrize("text", ["{}", "[]", "1"])
def test_a_record_that_says_nothing_is_named(text: str, tmp_path: Path) -> None:
    made = parts(corpus(tmp_path / "corpus"), tmp_path / "parts")
    made.build(Shard(1, 2))
    (made.folder / "1-of-2" / "part.json").write_text(text)
    with pytest.raises(BadInput, match="1-of-2: found a record that was changed"):
        made.build(Shard(2, 2))


@pytest.mark.parametrize("name", ["meta.json", "features.bin"])
def test_parts_stay_until_the_joined_store_was_read_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = parts(corpus(tmp_path / "corpus"), tmp_path / "parts")
    made.build(Shard(1, 2))
    original = made._join

    def join(places: list[Path]) -> None:
        original(places)
        file = made.target / name
        content = bytearray(file.read_bytes())
        content[5] ^= 1  # a disk that says it has written
        file.write_bytes(content)

    monkeypatch.setattr(made, "_join", join)
    with pytest.raises(BadInput):
        made.build(Shard(2, 2))
    shutil.rmtree(made.target)
    monkeypatch.undo()
    assert made.join() is not None


def test_who_comes_second_finds_part_and_store_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines make the same part, and two join, at one time."""
    manifest = corpus(tmp_path / "corpus")
    made, other = parts(manifest, tmp_path / "parts"), parts(manifest, tmp_path / "parts")
    plain = shards.write_part

    def slow(folder: Path, *rest: object) -> None:
        monkeypatch.setattr(shards, "write_part", plain)
        other.build(Shard(1, 2))
        plain(folder, *rest)

    monkeypatch.setattr(shards, "write_part", slow)
    assert made.build(Shard(1, 2)) is None
    assert [path.name for path in made.folder.iterdir()] == ["1-of-2"]
    joined = shards.join_parts

    def overtaken(*given: object) -> object:
        monkeypatch.setattr(shards, "join_parts", joined)
        assert other.join(2).ids
        return joined(*given)  # the parts have gone

    monkeypatch.setattr(shards, "join_parts", overtaken)
    store = made.build(Shard(2, 2))
    assert store is not None
    assert same(store, build_store(manifest, FrontEnd(), tmp_path / "single", progress=False))


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = parts(corpus(tmp_path / "corpus"), tmp_path / "parts")

    def full(*given: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(part_files.os, "write", full)
    with pytest.raises(SertransferError, match="no room to join the parts"):
        made.build(Shard(1, 1))
    monkeypatch.undo()
    assert made.join().ids


KILLED = """
import sys
from pathlib import Path
from sertransfer.audio import shards
from sertransfer.front_end import FrontEnd
from sertransfer.manifest import read_manifest
from sertransfer.sharding import Shard
def stop(*a, **k):
    print("now", flush=True)
    sys.stdin.read()
shards.write_part = stop
manifest = read_manifest(sys.argv[1])
work = shards.Work(progress=False)
shards.StoreParts(manifest, FrontEnd(), Path(sys.argv[2]), work=work).build(Shard(1, 2))
"""


def test_a_killed_part_leaves_nothing_that_counts(tmp_path: Path) -> None:
    from sertransfer.manifest import write_manifest

    manifest = corpus(tmp_path / "corpus")
    write_manifest(manifest, tmp_path / "manifest.csv")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "manifest.csv"), str(tmp_path / "parts")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    made = parts(manifest, tmp_path / "parts")
    assert [path.name.split(".")[1] for path in made.folder.iterdir()] == ["1-of-2"]
    assert made.missing(2) == [Shard(1, 2), Shard(2, 2)]
    made.build(Shard(1, 2))
    store = made.build(Shard(2, 2))
    assert store is not None
    assert same(store, build_store(manifest, FrontEnd(), tmp_path / "single", progress=False))
    assert not made.folder.exists()


def test_resting_states_are_those_of_the_whole_corpus(tmp_path: Path) -> None:
    plain = corpus(tmp_path / "corpus")
    labels = ["neutral" if number % 3 == 0 else "angry" for number in range(len(plain))]
    speakers = [f"s{number % 2}" for number in range(len(plain))]
    manifest = plain.with_table(plain.table.assign(label=labels, speaker=speakers, split="train"))
    made = parts(manifest, tmp_path / "parts", normalise="resting")
    made.build(Shard(1, 3))
    made.build(Shard(2, 3))
    store = made.build(Shard(3, 3))
    front_end = FrontEnd(normalise="resting")
    single = build_store(manifest, front_end, tmp_path / "single", progress=False)
    assert store is not None
    assert store.resting == {"speakers": 2, "recordings": 5}
    assert same(store, single)


def test_a_whole_build_beside_parts_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = corpus(tmp_path / "corpus")
    parts(manifest, tmp_path / "cache").build(Shard(1, 2))
    build_store(manifest, FrontEnd(), tmp_path / "cache", progress=False)
    assert "holds parts of this store" in caplog.text
    record = json.loads(next((tmp_path / "cache").glob("[!.]*/meta.json")).read_text())
    assert record["utterances"] == 14
