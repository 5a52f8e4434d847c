import errno
import json
import os

import numpy as np
import pytest

from sertransfer.errors import BadInput, Fault, SertransferError
from sertransfer.io.files import StorageError
from sertransfer.transfer.embedding_store import EmbeddedChunk, open_set, raise_faults, write_set

FAULT = Fault("a.wav", "silence", "sound", "record again")


@pytest.fixture
def folder(tmp_path):
    chunks = [
        EmbeddedChunk(["1", "02"], np.array([0.5, 1 / 3]), np.arange(6, dtype=np.float32).reshape(2, 3), []),
        EmbeddedChunk([], np.zeros(0), np.zeros((0, 0), np.float32), [("bad", FAULT)]),
        EmbeddedChunk(["NA"], np.array([2.0]), np.ones((1, 3), np.float32), []),
    ]
    paths = [tmp_path / f"{index}.npz" for index in range(3)]
    for chunk, path in zip(chunks, paths, strict=True):
        chunk.write(path)
    target = tmp_path / "set"
    target.mkdir()
    write_set(target, "key", paths, {"encoder": {"name": "fake"}})
    return target


def test_chunks_are_joined_in_order(folder):
    stored = open_set(folder, "key")
    assert stored.ids == ["1", "02", "NA"]
    assert stored.durations.tolist() == [0.5, 1 / 3, 2.0]
    assert np.array_equal(stored.vectors, [[0, 1, 2], [3, 4, 5], [1, 1, 1]])
    assert stored.faults == [("bad", FAULT)]
    assert stored.left_out == [{"item": "bad", "reason": str(FAULT)}]
    assert len(stored) == 3
    assert json.loads((folder / "embedding.json").read_text())["encoder"] == {"name": "fake"}


def test_a_sentence_that_is_not_there_is_named(folder):
    with pytest.raises(KeyError, match="missing"):
        open_set(folder, "key").select(["missing"])


def test_no_set_where_there_is_none(tmp_path):
    assert open_set(tmp_path, "key") is None


def cut(folder):
    path = folder / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-4])


def poison(folder):
    vectors = np.load(folder / "vectors.npy", mmap_mode="r+")
    vectors[2, 1] = np.nan
    vectors.flush()


def reorder(folder):
    path = folder / "index.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")


def reshape(folder):
    size = (folder / "vectors.npy").stat().st_size
    np.save(folder / "vectors.npy", np.zeros((1, 9), np.float32))
    assert (folder / "vectors.npy").stat().st_size == size


def mark(folder):
    (folder / "embedding.json").write_text("{}")


def break_mark(folder):
    (folder / "embedding.json").write_text("{")


def lose(folder):
    (folder / "vectors.npy").unlink()


@pytest.mark.parametrize("harm", [cut, poison, reorder, reshape, mark, break_mark, lose])
def test_a_damaged_set_is_not_used_and_makes_room(folder, harm, caplog):
    (folder / "notes.txt").write_text("the user's")
    harm(folder)
    assert open_set(folder, "key") is None
    assert not (folder / "embedding.json").exists()
    assert (folder / "notes.txt").exists()
    assert "are damaged" in caplog.text


def test_a_set_made_from_something_else_is_not_used(folder):
    assert open_set(folder, "other key") is None


def test_a_chunk_that_goes_away_stops_the_writing(folder, tmp_path):
    with pytest.raises(SertransferError, match="went away"):
        write_set(folder, "key", [tmp_path / "gone.npz"], {})


def test_a_chunk_comes_back_as_it_was_written(tmp_path):
    chunk = EmbeddedChunk(["a"], np.array([0.25]), np.ones((1, 2), np.float32), [("b", FAULT)])
    chunk.write(tmp_path / "c.npz")
    again = EmbeddedChunk.read(tmp_path / "c.npz")
    assert (again.ids, again.durations.tolist(), again.faults) == (["a"], [0.25], [("b", FAULT)])
    assert EmbeddedChunk.read(tmp_path / "none.npz") is None


def test_equal_faults_are_raised_together():
    raise_faults([])
    other = Fault("b.wav", "silence", "sound", "record again")
    with pytest.raises(BadInput) as caught:
        raise_faults([("x", FAULT), ("y", other), ("z", FAULT)], "or go home")
    first, second = caught.value.faults
    assert first.where == "a.wav (2 sentences from x)"
    assert second.where == "b.wav (sentence y)"
    assert first.remedy.startswith("record again, ")
    assert first.remedy.endswith("or go home")


@pytest.mark.parametrize("name", ["vectors.npy", "index.csv", "embedding.json"])
def test_a_flipped_bit_is_found_and_the_set_made_again(folder, name, caplog):
    damaged = bytearray((folder / name).read_bytes())
    damaged[-6] ^= 1
    (folder / name).write_bytes(damaged)
    assert open_set(folder, "key") is None
    assert "damaged" in caplog.text
    assert not (folder / "embedding.json").exists()


def test_a_set_that_can_not_be_read_for_want_of_files_is_not_removed(folder, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(StorageError, match="too many files are open"):
        open_set(folder, "key")
    monkeypatch.undo()
    assert open_set(folder, "key") is not None


def test_a_full_disk_is_told_before_a_mapped_file_is_written(folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    (tmp_path / "other").mkdir()
    with pytest.raises(StorageError, match="no space"):
        write_set(tmp_path / "other", "key", [tmp_path / "0.npz"], {})
    assert list((tmp_path / "other").iterdir()) == []
