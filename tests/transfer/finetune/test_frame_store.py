"""Stored values of utterances: read back as they were, whole or not at all."""

import pickle

import numpy as np
import pytest

from sertransfer.errors import BadInput, Fault
from sertransfer.io.array_store import machine
from sertransfer.transfer.finetune.data import FrameStore, take_store

FAULT = Fault("b.wav", "noise", "speech", "leave it out")
RAGGED = {"a": np.arange(6.0).reshape(3, 2), "c": np.arange(10.0, 14.0).reshape(2, 2)}


def items(*names):
    return [(name, 0.5, RAGGED.get(name, FAULT)) for name in names]


def test_what_was_stored_is_read_frame_by_frame(tmp_path):
    made = take_store(tmp_path, "k", 2, items("a", "c"), skip_bad=False)
    store = pickle.loads(pickle.dumps(made))
    assert store.ids == ["a", "c"]
    assert store.frames.tolist() == [3, 2]
    assert store.read(store.position("c")).tolist() == [[10, 12], [11, 13]]
    assert store.read(0, 1, 9).tolist() == [[2, 4], [3, 5]]
    assert store.seconds["a"] == 0.5
    again = take_store(tmp_path, "k", 2, iter(()), skip_bad=False)  # nothing is computed again
    assert again.ids == store.ids


def test_faults_are_raised_or_kept(tmp_path):
    with pytest.raises(BadInput, match="noise"):
        take_store(tmp_path, "k", 2, items("a", "b"), skip_bad=False)
    assert not (tmp_path / "k").exists()
    with pytest.raises(BadInput, match="noise"):
        take_store(tmp_path, "k", 2, items("b"), skip_bad=True)
    store = take_store(tmp_path, "k", 2, items("a", "b"), skip_bad=True)
    assert [entry["item"] for entry in store.left_out] == ["b"]
    with pytest.raises(BadInput, match="or remove"):
        take_store(tmp_path, "k", 2, iter(()), skip_bad=False)


def test_a_killed_writer_leaves_nothing_and_damage_is_named(tmp_path):
    def breaking():
        yield from items("a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_store(tmp_path, "k", 2, breaking(), skip_bad=False)
    left = tmp_path / f".k.{machine()}.1.ab.tmp"
    left.mkdir()  # of a process that was killed outright
    store = take_store(tmp_path, "k", 2, items("a"), skip_bad=False)
    assert not left.exists()
    (store.path / "values.bin").write_bytes(b"")
    with pytest.raises(BadInput, match="delete this folder"):
        FrameStore(store.path)


def test_changed_values_and_records_are_found_by_their_hashes(tmp_path):
    store = take_store(tmp_path, "k", 2, items("a", "c"), skip_bad=False)
    for name, message in (
        ("values.bin", "values that were changed"),
        ("index.csv", "index that was changed"),
        ("meta.json", "a whole store of values"),
    ):
        whole = (store.path / name).read_bytes()
        damaged = bytearray(whole)
        damaged[-9] ^= 1
        (store.path / name).write_bytes(damaged)
        with pytest.raises(BadInput, match=message):
            take_store(tmp_path, "k", 2, iter(()), skip_bad=False)
        (store.path / name).write_bytes(whole)
    assert take_store(tmp_path, "k", 2, iter(()), skip_bad=False).ids == ["a", "c"]
