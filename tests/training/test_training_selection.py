import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sertransfer.errors import BadInput
from sertransfer.pretraining.data import inner_split
from sertransfer.training.callbacks import InnerSelection


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


class Module:
    """Takes the place of the Lightning module."""

    def __init__(self, network):
        self.network = network
        self.logged = []

    def get_submodule(self, name):
        return getattr(self, name)

    def log_dict(self, values, **_):
        self.logged.append(values)


class AtEpoch:
    def __init__(self, epoch):
        self.current_epoch = epoch


def test_the_first_of_the_best_epochs_is_kept_over_a_resume(tmp_path):
    network = torch.nn.Linear(2, 2)
    scores = iter([(0.5, 0.3), (0.5, 0.6), (0.9, 0.6), (0.9, 0.5)])
    module = Module(network)
    selection = InnerSelection(lambda _: next(scores), tmp_path / "best.safetensors")
    states = []
    for epoch in range(4):
        torch.nn.init.constant_(network.weight, epoch)
        if epoch == 2:
            state = selection.state_dict()
            selection = InnerSelection(selection.score, selection.path)
            selection.load_state_dict(state)
        selection.on_train_epoch_end(AtEpoch(epoch), module)
        states.append(selection.best["epoch"])
    assert states == [1, 2, 2, 2]
    assert selection.best == {"epoch": 2, "wa": 0.5, "ua": 0.6}
    assert (selection.best_state()["weight"] == 1).all()
    assert module.logged[3] == {"inner_wa": 0.9, "inner_ua": 0.5}
