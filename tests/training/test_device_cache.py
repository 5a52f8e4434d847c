"""Features on a device are those of the file, whatever is asked for; here the device is the CPU."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from sertransfer.audio.store import build_store
from sertransfer.models.checkpoint import read_checkpoint
from sertransfer.pretraining.settings import ModelSettings
from sertransfer.pretraining.workflow import pretrain
from sertransfer.training import batches
from sertransfer.training.batches import BatchPlan, ResidentFeatures, Utterances, keep_on_device, load_batches

CPU = torch.device("cpu")


@pytest.fixture
def room(monkeypatch):
    def make(size):
        monkeypatch.setattr(batches, "_room", lambda device: size)

    return make


@pytest.fixture
def stored(tones, config, tmp_path):
    store = build_store(tones(tmp_path / "tones"), config.front_end, tmp_path / "store", progress=False)
    items = np.arange(len(store), dtype=np.int64)
    return Utterances(store, items, items % 4, store.ids)


@pytest.mark.parametrize("wanted", [1, 7, 400])
def test_windows_are_those_of_the_file(stored, wanted, monkeypatch):
    monkeypatch.setattr(batches, "_BLOCK", 5)
    held = Utterances(ResidentFeatures(stored.store, CPU), stored.positions, stored.targets, stored.ids)
    items = np.array([3, 0, 11, 3])
    starts = np.array([0, 2, 5, 1])
    plan = BatchPlan(items, starts, wanted, 0.5)
    ours, theirs = held[plan], stored[plan]
    assert ours.features.dtype == theirs.features.dtype == torch.float16
    torch.testing.assert_close(ours.features, theirs.features, rtol=0, atol=0)
    assert ours.targets.tolist() == theirs.targets.tolist()
    assert ours.items.tolist() == items.tolist()
    assert ours.scale == 0.5
    assert bool((ours.features != 0).any())


@pytest.mark.parametrize("wanted", [1, 7, 400])
def test_many_windows_at_once_are_those_read_one_by_one(stored, wanted):
    items, starts = np.array([3, 0, 11, 3]), np.array([0, 2, 5, 1])
    batch = stored[BatchPlan(items, starts, wanted)]
    many = batch.features[:, 0].transpose(1, 2).numpy()
    assert many.shape == (4, wanted, 32)
    assert many.flags.c_contiguous
    for row, (item, start) in enumerate(zip(items, starts, strict=True)):
        one = stored.store.read(item, start, start + wanted).T
        np.testing.assert_array_equal(many[row, : len(one)], one)
        assert not many[row, len(one) :].any()


def test_a_loader_of_features_on_a_device_starts_no_workers(stored):
    held = Utterances(ResidentFeatures(stored.store, CPU), stored.positions, stored.targets, stored.ids)
    plans = [BatchPlan(np.array([1, 2]), np.array([0, 0]), 6)]
    loader = load_batches(held, plans, workers=3, pin=True)
    assert loader.num_workers == 0
    assert not loader.pin_memory
    assert [batch.items.tolist() for batch in loader] == [[1, 2]]


def test_what_does_not_fit_stays_where_it_is(stored, room):
    size = stored.store.array.nbytes
    room(size - 1)
    assert keep_on_device(stored, CPU) is stored
    room(size)
    assert isinstance(keep_on_device(stored, CPU).store, ResidentFeatures)


def test_the_cpu_maps_the_file(stored):
    assert keep_on_device(stored, CPU) is stored


def test_features_in_memory_are_left_alone(utterances, room):
    room(1 << 40)
    data = utterances([5, 6])
    assert keep_on_device(data, CPU) is data


def weights(folder):
    return read_checkpoint(folder / "checkpoints/model.safetensors").state


def test_training_on_them_ends_with_the_very_weights(tones, config, tmp_path, room, no_report):
    manifest = tones(tmp_path / "tones")
    config = replace(config, selection=replace(config.selection, rule="inner", share=0.3))
    room(1 << 40)
    pretrain(replace(config, store_on_device=False), manifest, tmp_path / "file", progress=False)
    pretrain(config, manifest, tmp_path / "device", progress=False)
    ours, theirs = weights(tmp_path / "device"), weights(tmp_path / "file")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_compiled_step_trains_the_same_network(
    tones, config, tmp_path, monkeypatch, no_report, probe_model
):
    compiled, quickly = [], partial(torch.compile, backend="aot_eager")

    def compile_quickly(function):
        compiled.append(function)
        return quickly(function)

    manifest = tones(tmp_path / "tones")
    plain = replace(config, epochs=1, model=ModelSettings(probe_model, dropout=0.0))
    pretrain(plain, manifest, tmp_path / "plain", progress=False)
    monkeypatch.setattr("sertransfer.pretraining.classifier.torch.compile", compile_quickly)
    pretrain(replace(plain, compile=True), manifest, tmp_path / "compiled", progress=False)
    assert len(compiled) == 1
    ours, theirs = weights(tmp_path / "compiled"), weights(tmp_path / "plain")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4)
