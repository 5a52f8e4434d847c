"""The feature store: right whoever builds it, keyed by what it depends on, loud about faults."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from sertransfer.audio import features as extraction
from sertransfer.audio import store
from sertransfer.audio.features import make_plan, store_key
from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.reading import read_segment
from sertransfer.audio.store import FeatureStore, build_store
from sertransfer.errors import BadInput, SertransferError
from sertransfer.front_end import Denoise, FrontEnd
from sertransfer.io import array_store, checksums, progress
from sertransfer.io.files import hash_file
from sertransfer.manifest import Manifest, make_table, read_manifest, write_manifest

LINEAR = FrontEnd(log="none", normalise="none", denoise=Denoise("none"))


def noise(samples: int, seed: int, channels: int = 1) -> np.ndarray:
    shape = (samples,) if channels == 1 else (samples, channels)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def corpus(root: Path, rows: list[dict[str, Any]] | None = None) -> Manifest:
    """Three recordings, one at another rate, one in an archive; whole files and segments (generated)."""
    root.mkdir(exist_ok=True)
    soundfile.write(root / "a.wav", noise(40000, 1), 16000)
    soundfile.write(root / "b.wav", noise(20000, 2, 2), 22050)
    soundfile.write(root / "c.wav", noise(32000, 3), 16000)
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        archive.write(root / "c.wav", "c/c.wav")
    (root / "c.wav").unlink()
    whole = [{"id": "a", "audio": "a.wav"}, {"id": "b", "audio": "b.wav", "gain": 0.5}]
    parts = [
        {"id": f"{name}{place}", "audio": f"{name}.wav", "start": place * 0.15, "end": place * 0.15 + 0.4}
        for name in "ac"
        for place in range(6)
    ]
    rows = [*whole, *parts] if rows is None else rows
    table = make_table([{"speaker": "s", "corpus": "made", "split": "", **row} for row in rows])
    return Manifest(table, root, {"archives": {"c.wav": {"archive": "c.zip", "member": "c/c.wav"}}})


def expected(manifest: Manifest, front_end: FrontEnd) -> dict[str, np.ndarray]:
    features = {}
    for row in manifest.table.itertuples():
        start, end = (None if np.isnan(time) else time for time in (row.start, row.end))
        gain = 1.0 if not hasattr(row, "gain") or np.isnan(row.gain) else row.gain
        wave = read_segment(manifest.source(row.audio), start, end, gain=gain)
        features[row.id] = MelFrontEnd(front_end)(torch.from_numpy(wave)).numpy()
    return features


def test_pointers_of_git_lfs_are_one_fault(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "corpus")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    for name in ("a.wav", "b.wav"):
        (tmp_path / "corpus" / name).write_text(pointer)
    with pytest.raises(BadInput) as error:
        build_store(manifest, FrontEnd(), tmp_path / "stores", progress=False)
    (fault,) = error.value.faults
    assert fault.where == str(tmp_path / "corpus")
    assert "git lfs pull" in fault.remedy


@pytest.mark.parametrize(
    ("front_end", "dtype"), [(FrontEnd(), np.float16), (LINEAR, np.float32)], ids=["log", "power"]
)
def test_the_store_holds_what_the_front_end_computes(
    tmp_path: Path, front_end: FrontEnd, dtype: type
) -> None:
    manifest = corpus(tmp_path / "corpus")
    built = build_store(manifest, front_end, tmp_path / "cache", progress=False)
    assert built.ids == manifest.table["id"].tolist()
    assert len(built) == 14
    assert built.front_end == front_end
    assert built.left_out == []
    for identity, features in expected(manifest, front_end).items():
        index = built.position(identity)
        assert built.frames[index] == features.shape[1]
        stored = built.read(index)
        assert stored.dtype == dtype
        np.testing.assert_array_equal(stored, features.astype(dtype))
    np.testing.assert_array_equal(built.read(0, 3, 7), built.read(0)[:, 3:7])
    np.testing.assert_array_equal(built.read(1, 10), built.read(1)[:, 10:])
    built.verify()
    with pytest.raises(KeyError):
        built.position("none")


def test_workers_write_the_same_bytes_and_report_the_same_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "_JOBS_AT_ONCE", 3)
    good, bad = corpus(tmp_path / "corpus"), faulty(tmp_path / "corpus")
    table = pd.concat([bad.table, good.table], ignore_index=True)
    manifest = good.with_table(table)
    alone = build_store(manifest, FrontEnd(), tmp_path / "one", skip_bad=True, progress=False)
    together = build_store(manifest, FrontEnd(), tmp_path / "two", workers=2, skip_bad=True, progress=False)
    assert len(alone) == 16
    for name in ("features.bin", "index.csv", "meta.json"):
        assert (alone.path / name).read_bytes() == (together.path / name).read_bytes()


def test_a_packed_recording_is_one_piece_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "_JOBS_AT_ONCE", 3)
    plan = make_plan(corpus(tmp_path / "corpus"), FrontEnd())
    sizes = [len(chunk) for chunk in extraction._chunks(plan.jobs)]
    assert sizes == [3, 3, 8]  # two loose recordings, then the rest with all of the archive's
    assert sum(sizes) == len(plan.jobs)


def test_a_store_that_is_there_is_opened_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = corpus(tmp_path / "corpus")
    first = build_store(manifest, FrontEnd(), tmp_path / "cache", progress=False)
    monkeypatch.setattr(store, "_build", lambda *a, **k: pytest.fail("built again"))
    again = build_store(manifest, FrontEnd(), tmp_path / "cache")
    np.testing.assert_array_equal(first.read(3), again.read(3))


def test_a_store_can_be_sent_to_another_process(tmp_path: Path) -> None:
    built = build_store(corpus(tmp_path / "corpus"), FrontEnd(), tmp_path / "cache", progress=False)
    sent = pickle.dumps(built)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).read(2), built.read(2))


def test_the_key_depends_on_all_that_the_features_depend_on(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "corpus")
    keys = [store_key(manifest, FrontEnd())]
    assert store_key(corpus_again(manifest), FrontEnd()) == keys[0]
    keys.append(store_key(manifest, FrontEnd(gain=1.0)))
    keys.append(store_key(manifest, FrontEnd(denoise=Denoise(floor=0.1))))
    for column, value in {"id": "x", "start": 0.01, "end": 0.3, "gain": 0.7, "audio": "c.wav"}.items():
        table = manifest.table.copy()
        table.loc[3, column] = value
        keys.append(store_key(manifest.with_table(table), FrontEnd()))
    keys.append(store_key(manifest.with_table(manifest.table[:5]), FrontEnd()))
    path = manifest.root / "a.wav"
    os.utime(path, ns=(1, 1))
    keys.append(store_key(manifest, FrontEnd()))
    soundfile.write(path, noise(40001, 1), 16000)
    os.utime(path, ns=(1, 1))
    keys.append(store_key(manifest, FrontEnd()))
    path.unlink()
    keys.append(store_key(manifest, FrontEnd()))
    assert len(set(keys)) == len(keys)


def corpus_again(manifest: Manifest) -> Manifest:
    """The same manifest after a round through its file."""
    path = manifest.root.parent / "manifest.csv"
    write_manifest(manifest, path)
    return read_manifest(path)


def faulty(root: Path) -> Manifest:
    manifest = corpus(
        root,
        [
            {"id": "good", "audio": "a.wav", "start": 0.0, "end": 1.0},
            {"id": "late", "audio": "a.wav", "start": 2.0, "end": 3.0},
            {"id": "gone1", "audio": "gone.wav", "start": 0.0, "end": 1.0},
            {"id": "gone2", "audio": "gone.wav", "start": 1.0, "end": 2.0},
            {"id": "nan", "audio": "nan.wav"},
            {"id": "huge", "audio": "huge.wav"},
            {"id": "good too", "audio": "nan.wav", "start": 0.5, "end": 1.0},
        ],
    )
    wave = noise(16000, 1)
    wave[100] = np.nan
    soundfile.write(root / "nan.wav", wave, 16000, subtype="FLOAT")
    soundfile.write(root / "huge.wav", noise(16000, 2) * 1e30, 16000, subtype="FLOAT")
    return manifest


def test_all_faults_are_raised_at_once_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        build_store(faulty(tmp_path / "c"), FrontEnd(), tmp_path / "cache", progress=False)
    where = [fault.where for fault in error.value.faults]
    assert where == [
        f"utterance 'late', {tmp_path}/c/a.wav",
        f"{tmp_path}/c/gone.wav",  # once, though two utterances lie in it
        f"utterance 'nan', {tmp_path}/c/nan.wav",
        f"utterance 'huge', {tmp_path}/c/huge.wav",
    ]
    assert "not finite" in error.value.faults[3].found
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".locks"]


def test_faulty_utterances_are_left_out_on_request_and_recorded(tmp_path: Path) -> None:
    manifest = faulty(tmp_path / "c")
    built = build_store(manifest, FrontEnd(), tmp_path / "cache", skip_bad=True, progress=False)
    assert built.ids == ["good", "good too"]
    assert [entry["item"] for entry in built.left_out] == ["late", "gone1", "gone2", "nan", "huge"]
    assert "no such file" in built.left_out[1]["reason"]
    np.testing.assert_array_equal(
        built.read(1), expected(manifest.with_table(manifest.table[6:]), FrontEnd())["good too"].astype("f2")
    )
    with pytest.raises(BadInput, match="4 faults"):  # who does not ask to skip is told again
        build_store(manifest, FrontEnd(), tmp_path / "cache", progress=False)


def test_nothing_left_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    manifest = faulty(tmp_path / "c")
    for rows in ([1, 2], [4]):
        with pytest.raises(BadInput):
            build_store(
                manifest.with_table(manifest.table.iloc[rows].reset_index(drop=True)),
                FrontEnd(),
                tmp_path / "cache",
                skip_bad=True,
                progress=False,
            )
    with pytest.raises(BadInput, match="no utterances"):
        build_store(manifest.with_table(manifest.table[:0]), FrontEnd(), tmp_path / "cache")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "meta.json").write_text("{"),
        lambda path: (path / "meta.json").unlink(),
        lambda path: (path / "index.csv").write_text("id,offset\n"),
        lambda path: (path / "features.bin").write_bytes(b"short"),
        lambda path: edit(path, format=99),
        lambda path: edit(path, mels="many"),
        lambda path: edit(path, dtype="nothing"),
        lambda path: edit(path, front_end={"mel": 1}),
        lambda path: (path / "index.csv").write_text("id,offset,frames\na,0,1000000\n"),
        lambda path: (path / "index.csv").write_text(""),
    ],
)
def test_a_damaged_store_says_to_delete_it(tmp_path: Path, damage: Any) -> None:
    manifest = corpus(tmp_path / "corpus")
    built = build_store(manifest, FrontEnd(), tmp_path / "cache", progress=False)
    damage(built.path)
    with pytest.raises(BadInput, match="delete this folder") as error:
        build_store(manifest, FrontEnd(), tmp_path / "cache", progress=False)
    assert error.value.faults[0].where == str(built.path)


def edit(path: Path, **changes: Any) -> None:
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, **changes}))


def test_changed_features_are_found_by_their_hash(tmp_path: Path) -> None:
    built = build_store(corpus(tmp_path / "corpus"), FrontEnd(), tmp_path / "cache", progress=False)
    content = bytearray((built.path / "features.bin").read_bytes())
    content[100] ^= 1
    (built.path / "features.bin").write_bytes(content)
    with pytest.raises(BadInput, match="features that were changed"):
        FeatureStore(built.path).verify()


def test_empty_filters_and_clipping_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = corpus(tmp_path / "corpus")
    front_end = FrontEnd.from_dict({"framing": "25ms", "mel_scale": "htk", "clip": True, "gain": 4.0})
    built = build_store(manifest, front_end, tmp_path / "cache", progress=False)
    assert "1 of 128 mel filters are empty" in caplog.text
    assert 0.4 < json.loads((built.path / "meta.json").read_text())["clipped_share"] < 0.6
    plain = build_store(manifest, FrontEnd(), tmp_path / "cache", progress=False)
    assert json.loads((plain.path / "meta.json").read_text())["clipped_share"] is None


def test_a_full_disk_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SertransferError, match=r"no room for .* GB of features"):
        build_store(corpus(tmp_path / "corpus"), FrontEnd(), tmp_path / "cache", progress=False)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".locks"]


def test_a_dead_worker_is_an_error_not_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "_start_worker", lambda writer: os._exit(3))
    monkeypatch.setattr(extraction, "get_context", lambda _: get_context("fork"))  # starts at once
    with pytest.raises(SertransferError, match="worker process died"):
        build_store(corpus(tmp_path / "corpus"), FrontEnd(), tmp_path / "cache", workers=1, progress=False)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".locks"]


def test_a_worker_ends_with_a_killed_parent() -> None:
    fork = get_context("fork")
    reader, held_open = fork.Pipe(duplex=False)

    def worker() -> None:
        threading.Thread(target=extraction._end_with_parent).start()
        time.sleep(60)

    def parent() -> None:
        fork.Process(target=worker).start()
        os.kill(os.getpid(), signal.SIGKILL)

    process = fork.Process(target=parent)
    process.start()
    held_open.close()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert reader.poll(20), "the worker lives on"  # the pipe ends with the last process that holds it
    with pytest.raises(EOFError):
        reader.recv()


def test_progress_is_shown_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LEAST", 0.0)
    build_store(corpus(tmp_path / "corpus"), FrontEnd(), tmp_path / "cache")
    shown = capsys.readouterr()
    assert "14 utterances" in shown.err
    assert shown.out == ""


BUILDER = """
import sys, time
from pathlib import Path
from sertransfer.audio import store
from sertransfer.front_end import FrontEnd
from sertransfer.manifest import read_manifest

if __name__ == "__main__":
    manifest, cache, ready, go, wait = map(Path, sys.argv[1:])
    if str(wait) != "no":  # stop with the temporary folder written, before it is renamed
        def pause(*_, **__):
            ready.touch()
            time.sleep(60)
        store.write_meta = pause
    ready.touch() if str(wait) == "no" else None
    for _ in range(6000):
        if go.exists():
            break
        time.sleep(0.01)
    built = store.build_store(read_manifest(manifest), FrontEnd(), cache, progress=False)
    built.verify()
    print(built.path, len(built), built.read(0).sum())
"""


def start(tmp_path: Path, name: str, *, wait: bool = False) -> tuple[subprocess.Popen[str], Path]:
    script = tmp_path / "builder.py"
    script.write_text(BUILDER)
    ready = tmp_path / f"{name}.ready"
    process = subprocess.Popen(
        [
            sys.executable,
            script,
            tmp_path / "manifest.csv",
            tmp_path / "cache",
            ready,
            tmp_path / "go",
            "yes" if wait else "no",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, ready


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def test_two_processes_at_once_and_a_killed_one_before_them(tmp_path: Path) -> None:
    write_manifest(corpus(tmp_path / "corpus"), tmp_path / "manifest.csv")
    (tmp_path / "cache").mkdir()
    (tmp_path / "go").touch()
    killed, at_the_end = start(tmp_path, "killed", wait=True)
    wait_for(at_the_end.exists)
    (tmp_path / "go").unlink()
    pair = [start(tmp_path, "one"), start(tmp_path, "two")]
    wait_for(lambda: all(ready.exists() for _, ready in pair))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    left = [path for path in (tmp_path / "cache").iterdir() if path.name.endswith(".tmp")]
    assert len(left) == 1  # what the killed one leaves, and nothing else
    (tmp_path / "go").touch()
    answers = [process.communicate(timeout=60)[0] for process, _ in pair]
    assert [process.returncode for process, _ in pair] == [0, 0]
    assert answers[0] == answers[1] != ""
    names = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert names[0] == ".locks"
    assert len(names) == 2  # the abandoned folder is gone
    reference = build_store(corpus_from(tmp_path), FrontEnd(), tmp_path / "other", progress=False)
    assert (tmp_path / "cache" / names[1] / "features.bin").read_bytes() == (
        reference.path / "features.bin"
    ).read_bytes()


def corpus_from(tmp_path: Path) -> Manifest:
    return read_manifest(tmp_path / "manifest.csv")


def test_who_comes_second_waits_and_other_stores_are_cleared_only_when_dead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    dead, alive = (cache / f".{name}.{array_store.machine()}.1.ab.tmp" for name in ("dead", "alive"))
    elsewhere = cache / ".dead.another-machine.1.ab.tmp"  # its lock may be its own machine's alone
    for folder in (dead, alive, elsewhere):
        folder.mkdir(parents=True)
        (folder / "features.bin").touch()
    with array_store._lock(cache / "alive", wait=True):
        build_store(corpus(tmp_path / "corpus"), FrontEnd(), cache, progress=False)
        assert not dead.exists()
        assert alive.exists()
        with array_store._lock(cache / "alive", wait=False) as free:
            assert not free
    build_store(corpus(tmp_path / "corpus"), FrontEnd(gain=1.0), cache, progress=False)
    assert not alive.exists()
    assert elsewhere.exists()


def test_a_store_that_another_machine_made_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = corpus(tmp_path / "corpus")
    plain = store.write_meta

    def overtaken(*given: object, **named: object) -> None:
        monkeypatch.setattr(store, "write_meta", plain)
        made = build_store(manifest, FrontEnd(), tmp_path / "there", progress=False)
        shutil.copytree(made.path, tmp_path / "cache" / made.path.name)
        plain(*given, **named)

    monkeypatch.setattr(store, "write_meta", overtaken)
    found = build_store(manifest, FrontEnd(), tmp_path / "cache", progress=False)
    assert not list((tmp_path / "cache").glob(".*.tmp"))
    assert found.ids == manifest.table["id"].tolist()


def test_features_reach_the_disk_before_the_store_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    original = os.fsync

    def sync(place: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{place}").readlink()))
        original(place)

    monkeypatch.setattr(os, "fsync", sync)
    build_store(corpus(tmp_path / "corpus"), FrontEnd(), tmp_path / "cache", progress=False)
    assert any(name.endswith(".tmp/features.bin") for name in synced)


def test_plan_places_utterances_one_after_the_other(tmp_path: Path) -> None:
    plan = make_plan(corpus(tmp_path / "corpus"), FrontEnd())
    ends = [job.offset + job.frames for job in plan.jobs]
    assert [job.offset for job in plan.jobs] == [0, *ends[:-1]]
    assert plan.frames == ends[-1]
    assert plan.dtype == "float16"
    assert make_plan(corpus(tmp_path / "corpus"), replace(FrontEnd(), log="none")).dtype == "float32"
    assert isinstance(plan.jobs[0].gain, float)
    assert pd.Series([job.gain for job in plan.jobs]).tolist()[:2] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("features.bin", "features that were changed"),
        ("index.csv", "index that was changed"),
        ("meta.json", "changed"),
    ],
)
def test_a_flipped_bit_is_found_when_the_store_is_taken(tmp_path: Path, name: str, message: str) -> None:
    manifest = corpus(tmp_path / "corpus")
    built = build_store(manifest, FrontEnd(), tmp_path / "cache", progress=False)
    damaged = bytearray((built.path / name).read_bytes())
    place = damaged.index(b"utterances") + 14 if name == "meta.json" else len(damaged) - 3
    damaged[place] ^= 1
    (built.path / name).write_bytes(damaged)
    with pytest.raises(BadInput, match=message):
        build_store(manifest, FrontEnd(), tmp_path / "cache", progress=False)


def test_a_store_that_was_just_built_is_not_hashed_again(tmp_path: Path, monkeypatch) -> None:
    hashed = []
    monkeypatch.setattr(checksums, "hash_file", lambda path: hashed.append(path) or hash_file(path))
    built = build_store(corpus(tmp_path / "corpus"), FrontEnd(), tmp_path / "cache", progress=False)
    assert hashed == []
    os.utime(built.path / "features.bin")
    built.verify()
    assert hashed == [built.path / "features.bin"]
