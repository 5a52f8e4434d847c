"""Batches: every utterance once an epoch, in the same order whatever reads it, and shares that add up."""

import os
import signal
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from sertransfer.errors import BadInput, SertransferError
from sertransfer.io.run_folder import RunFolder
from sertransfer.pretraining.settings import ModelSettings, PretrainConfig
from sertransfer.pretraining.workflow import build_network, train_network
from sertransfer.training.batches import (
    BatchPlan,
    TrainingBatches,
    Utterances,
    divide_step,
    plan_epoch,
    plan_evaluation,
    watched_workers,
)

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=70)


@given(LENGTHS, st.integers(2, 9), st.integers(1, 40), st.booleans(), st.integers(0, 3))
def test_an_epoch_holds_each_item_once_in_even_batches_and_windows_lie_inside(
    lengths, batch_size, longest, pad, epoch
):
    frames = np.array(lengths)
    plans = plan_epoch(frames, batch_size=batch_size, longest=longest, pad=pad, seed=1, epoch=epoch)
    assert sorted(np.concatenate([plan.items for plan in plans]).tolist()) == list(range(len(frames)))
    sizes = [len(plan.items) for plan in plans]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    for plan in plans:
        own = frames[plan.items]
        assert plan.frames == (longest if pad else min(longest, own.min()))
        assert (plan.starts >= 0).all()
        assert (plan.starts + np.minimum(plan.frames, own) <= own).all()


def test_an_epoch_is_keyed_by_seed_and_epoch():
    def plan(seed, epoch):
        plans = plan_epoch(np.full(40, 30), batch_size=8, longest=10, pad=True, seed=seed, epoch=epoch)
        return [(part.items.tolist(), part.starts.tolist()) for part in plans]

    assert plan(0, 0) == plan(0, 0)
    assert plan(0, 0) != plan(0, 1)
    assert plan(0, 0) != plan(1, 0)


def test_windows_reach_both_ends_of_an_utterance():
    starts = set()
    for epoch in range(60):
        for plan in plan_epoch(np.full(10, 14), batch_size=5, longest=10, pad=False, seed=0, epoch=epoch):
            starts |= set(plan.starts.tolist())
    assert starts == {0, 1, 2, 3, 4}


def test_batches_without_padding_hold_items_of_like_length():
    frames = np.random.default_rng(0).integers(10, 100, 400)
    cut = sum(
        int((frames[plan.items] - plan.frames).sum())
        for plan in plan_epoch(frames, batch_size=10, longest=1000, pad=False, seed=0, epoch=0)
    )
    assert cut < 0.15 * frames.sum()  # in batches drawn at random it is four fifths


@given(LENGTHS, st.integers(1, 9), st.integers(1, 40), st.booleans())
def test_evaluation_batches_have_equal_frames_and_a_bounded_size(lengths, batch_size, longest, pad):
    frames = np.array(lengths)
    plans = plan_evaluation(frames, batch_size=batch_size, longest=longest, pad=pad)
    assert sorted(np.concatenate([plan.items for plan in plans]).tolist()) == list(range(len(frames)))
    for plan in plans:
        assert (plan.starts == 0).all()
        assert plan.frames == longest if pad else (frames[plan.items] == plan.frames).all()
        assert len(plan.items) == 1 or len(plan.items) * plan.frames <= batch_size * longest


def test_a_batch_holds_the_windows_and_zeros_behind_what_is_short(utterances):
    data = utterances([5, 12])
    features, targets, items, _ = data[BatchPlan(np.array([1, 0]), np.array([2, 0]), 8)]
    assert features.shape == (2, 1, 8, 8)
    assert features.dtype == torch.float32
    np.testing.assert_array_equal(features[0, 0], data.store.features[1][:, 2:10])
    np.testing.assert_array_equal(features[1, 0, :, :5], data.store.features[0])
    assert not features[1, 0, :, 5:].any()
    assert targets.tolist() == items.tolist() == [1, 0]


def stream(data, **options):
    return TrainingBatches(data, batch_size=3, longest=12, pad=False, seed=4, **options)


def contents(batches):
    """Return what an epoch's batches hold; a hundred of them at most, so that no fault can hang a test."""
    return [(batch.items.tolist(), batch.features.double().sum().item()) for batch in islice(batches, 100)]


def test_worker_processes_change_nothing(utterances):
    data = utterances(range(5, 25))
    assert contents(stream(data, workers=2)) == contents(stream(data))


def test_a_stream_goes_on_where_another_stood(utterances):
    data = utterances(range(5, 25))
    whole = stream(data)
    expected = contents(whole) + contents(whole) + contents(whole)
    assert len(whole) == 7
    for stop in (0, 3, 7, 8, 14):
        first = stream(data)
        taken = []
        for _ in range(3):  # epochs; a stream that gives nothing ends the test, and does not hang it
            for batch in islice(first, max(0, stop - len(taken))):
                taken += contents([batch])
        assert len(taken) == stop
        second = stream(data)
        second.load_state_dict(first.state_dict())
        for _ in range(4):
            if len(taken) < 21:
                taken += contents(islice(second, 21))
        assert taken == expected, stop


def test_a_stream_of_other_utterances_is_refused(utterances):
    data = utterances([5, 6, 7])
    state = stream(data).state_dict()
    stream(utterances([5, 6, 7])).load_state_dict(state)
    others = [
        utterances([5, 6, 8]),
        replace(data, targets=1 - data.targets),
        replace(data, ids=[f"other {name}" for name in data.ids]),
    ]
    for other in others:  # lengths, labels, names
        with pytest.raises(BadInput, match="start over"):
            stream(other).load_state_dict(state)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(9, 20))
def test_the_shares_of_a_step_are_the_step_and_weigh_what_their_items_do(accumulate, shares, items):
    step = BatchPlan(np.random.default_rng(items).permutation(items), np.arange(items), 5)
    weights = np.random.default_rng(0).random(items) + 0.5
    parts = [
        part
        for rank in range(shares)
        for part in divide_step(step, weights, accumulate=accumulate, rank=rank, shares=shares)
    ]
    sizes = [len(part.items) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    found = [(item, start) for part in parts for item, start in zip(part.items, part.starts, strict=True)]
    assert sorted(found) == sorted(zip(step.items, step.starts, strict=True))
    values = np.random.default_rng(1).normal(size=items)
    scaled = [part.scale * np.average(values[part.items], weights=weights[part.items]) for part in parts]
    assert np.mean(scaled) == pytest.approx(np.average(values, weights=weights))


def test_processes_take_the_windows_that_one_takes(utterances):
    data = utterances(range(5, 30))
    streams = [stream(data), stream(data, rank=0, shares=2), stream(data, rank=1, shares=2)]
    for _ in range(2):
        for batches in zip(*streams, strict=True):
            whole, left, right = (
                dict(zip(batch.items.tolist(), batch.features, strict=True)) for batch in batches
            )
            assert not left.keys() & right.keys()
            assert whole.keys() == left.keys() | right.keys()
            for item, features in (left | right).items():
                assert torch.equal(whole[item], features)


def test_an_accumulated_step_takes_what_a_larger_batch_takes_and_no_group_is_incomplete(utterances):
    data = utterances(range(5, 30))
    small = stream(data, accumulate=3)
    large = TrainingBatches(data, batch_size=9, longest=12, pad=False, seed=4)
    assert len(small) == 3 * len(large) == 9
    parts = [batch.items.tolist() for batch in small]
    steps = [sorted([*parts[first], *parts[first + 1], *parts[first + 2]]) for first in (0, 3, 6)]
    assert steps == [sorted(batch.items.tolist()) for batch in large]


def test_a_process_without_an_utterance_is_refused(utterances):
    data = utterances(range(5, 30))
    stream(data, shares=2)  # batches of 3 and of 2
    with pytest.raises(BadInput, match="a step of 2 utterances in 1 batches for 3 processes"):
        stream(data, shares=3)


def test_batches_keep_the_precision_of_the_store_until_the_network(utterances):
    data = utterances([6, 6, 4])
    data.store.features = [feature.astype(np.float16) for feature in data.store.features]
    batch = data[BatchPlan(np.array([0, 2]), np.array([1, 0]), 5)]
    assert batch.features.dtype == torch.float16
    ready = batch.in_single_precision()
    assert ready.features.dtype == torch.float32
    assert ready.features.is_contiguous()
    np.testing.assert_array_equal(ready.features[0, 0], data.store.features[0][:, 1:6])
    np.testing.assert_array_equal(ready.features[1, 0, :, :4], data.store.features[2])
    assert not ready.features[1, 0, :, 4].any()
    assert ready.items is batch.items


class Deadly(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_worker_is_said_so():
    with pytest.raises(SertransferError, match="worker process that reads ahead died"), watched_workers():
        list(DataLoader(Deadly(), num_workers=1, multiprocessing_context="fork"))


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="another"), watched_workers():
        raise RuntimeError("another")


def test_a_training_whose_worker_dies_ends_with_a_word(utterances, probe_model, monkeypatch, tmp_path):
    monkeypatch.setattr(Utterances, "__getitem__", Deadly.__getitem__)
    config = PretrainConfig(model=ModelSettings(probe_model), epochs=1, batch_size=4, workers=1)
    data, speakers = utterances(range(5, 17)), [f"s{item}" for item in range(12)]
    with (
        RunFolder(tmp_path / "run").claim({}, {}) as run,
        pytest.raises(SertransferError, match="worker process that reads ahead died"),
    ):
        train_network(config, build_network(config), data, speakers, run, progress=False)
