"""A killed run ends with the very weights of an undisturbed one."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sertransfer.errors import BadInput
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import write_manifest
from sertransfer.models.checkpoint import read_checkpoint
from sertransfer.pretraining.classifier import Classifier
from sertransfer.pretraining.settings import (
    Augment,
    EpochSelection,
    ModelSettings,
    Optimiser,
    PretrainConfig,
    Regularisation,
    Schedule,
)
from sertransfer.pretraining.workflow import build_network, pretrain, train_network
from sertransfer.training.callbacks import AtomicCheckpointIO
from sertransfer.training.module import NonFiniteLoss
from sertransfer.training.trainer import RESUME_POINT

FIELD = {"schedule": Schedule("cosine", 1), "regularisation": Regularisation(0.1, 0.4, 0.9)}

SPEAKERS = [f"s{item // 4}" for item in range(28)]


class Killed(Exception):
    """Stands for the end of the process."""


def train(folder, config, data, monkeypatch, *, batches=10**9):
    """Train in *folder*; the process "dies" before batch number *batches*."""
    begun = []
    start = Classifier.on_train_batch_start

    def counted(self, batch, batch_idx):
        if len(begun) == batches:
            raise Killed
        begun.append((self.trainer.current_epoch, batch_idx))
        start(self, batch, batch_idx)

    with monkeypatch.context() as patched, RunFolder(folder).claim({}, {}) as run:
        patched.setattr(Classifier, "on_train_batch_start", counted)
        network = build_network(config)
        try:
            return train_network(config, network, data, SPEAKERS, run, progress=False), begun
        except Killed:
            return None, begun


def curve(folder):
    return [line.rsplit(",", 1)[0] for line in (folder / "epochs.csv").read_text().splitlines()]


@pytest.mark.parametrize(
    ("options", "kills"),
    [
        ({"checkpoint_every": 1}, (7, 8)),
        ({"checkpoint_every": 2, "accumulate": 2, "workers": 1}, (7, 12)),
        ({"checkpoint_every": 0, "selection": EpochSelection("inner", 0.2)}, (6, 9)),
        ({"checkpoint_every": 2, "accumulate": 2, **FIELD}, (9, 12)),
        ({"checkpoint_every": 1, "selection": EpochSelection("inner", 0.2), **FIELD}, (9,)),
    ],
    ids=["each step", "accumulated", "inner", "field", "field, inner"],
)
def test_a_run_killed_at_any_batch_resumes_to_the_same_weights(
    options, kills, utterances, probe_model, monkeypatch, tmp_path
):
    config = PretrainConfig(
        model=ModelSettings(probe_model),
        epochs=3,
        batch_size=4,
        optimiser=Optimiser(lr=0.1, step=1),
        augment=Augment(3, 5),
        class_weights="balanced",
        **options,
    )
    data = utterances(np.random.default_rng(0).integers(5, 20, 28))
    expected, begun = train(tmp_path / "whole", config, data, monkeypatch)
    initial = build_network(config).state_dict()
    assert any(not torch.equal(initial[name], value) for name, value in expected.state.items())
    for kill in kills:
        folder = tmp_path / f"killed {kill}"
        assert train(folder, config, data, monkeypatch, batches=kill)[0] is None
        resumed, rest = train(folder, config, data, monkeypatch)
        assert len(rest) < len(begun)
        assert begun[-len(rest) :] == rest
        for name, value in expected.state.items():
            assert torch.equal(resumed.state[name], value), (kill, name)
        assert resumed.selection == expected.selection
        assert curve(folder) == curve(tmp_path / "whole")


CHILD = """
import os, pathlib, signal, sys
import torch
sys.path.insert(0, {tests!r})
from support import training_fakes
from sertransfer.manifest import read_manifest
from sertransfer.pretraining.workflow import pretrain

torch.set_num_threads(1)
saves, save = {saves}, torch.save

def save_or_die(value, stream):
    global saves
    saves -= 1
    save(value, stream)
    if saves < 0:
        stream.flush()
        stream.truncate(stream.tell() // 2)
        os.kill(os.getpid(), signal.SIGKILL)

torch.save = save_or_die
config = training_fakes.tone_config()
pretrain(config, read_manifest({manifest!r}), pathlib.Path({run_dir!r}), progress=False)
"""


def run_until_killed_while_saving(manifest, run_dir, *, saves):
    tests = str(Path(__file__).parents[1])
    code = CHILD.format(tests=tests, manifest=str(manifest), run_dir=str(run_dir), saves=saves)
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr


@pytest.mark.usefixtures("no_report")
def test_a_run_killed_by_the_system_while_saving_inside_an_epoch_ends_the_same(tmp_path, tones, config):
    manifest = tones(tmp_path / "corpus")
    write_manifest(manifest, tmp_path / "manifest.csv")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = pretrain(config, manifest, tmp_path / "whole", progress=False)
        broken = tmp_path / "killed"
        run_until_killed_while_saving(tmp_path / "manifest.csv", broken, saves=4)  # inside the second epoch
        assert list((broken / "checkpoints").glob(".*.tmp"))
        assert (broken / "checkpoints" / RESUME_POINT).is_file()
        assert not (broken / "metrics.json").exists()
        metrics = pretrain(config, manifest, broken, progress=False)
    finally:
        torch.set_num_threads(threads)
    states = [
        read_checkpoint(folder / "checkpoints" / "model.safetensors").state
        for folder in (tmp_path / "whole", broken)
    ]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert metrics == expected
    assert [path.name for path in (broken / "checkpoints").iterdir()] == ["model.safetensors"]


def test_a_resume_point_that_can_not_be_read_says_what_to_do(tmp_path):
    path = tmp_path / RESUME_POINT
    checkpoints = AtomicCheckpointIO()
    checkpoints.save_checkpoint({"weights": torch.ones(2), "step": 3}, path)
    assert checkpoints.load_checkpoint(path)["step"] == 3
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match="remove it to train from the start"):
        checkpoints.load_checkpoint(path)
    checkpoints.remove_checkpoint(path)
    assert not path.exists()


def test_a_resume_point_executes_nothing(tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    torch.save({"state": Harmful()}, tmp_path / RESUME_POINT)
    with pytest.raises(BadInput, match="cannot be read"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / RESUME_POINT, weights_only=False)
    assert not (tmp_path / "harm").exists()


def test_a_failed_save_leaves_the_last_good_point(tmp_path):
    path = tmp_path / RESUME_POINT
    checkpoints = AtomicCheckpointIO()
    checkpoints.save_checkpoint({"step": 1}, path)
    with pytest.raises(AttributeError):
        checkpoints.save_checkpoint({"step": lambda: 2}, path)
    assert checkpoints.load_checkpoint(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_are_not_finite_are_never_a_resume_point(utterances, probe_model, monkeypatch, tmp_path):
    config = PretrainConfig(model=ModelSettings(probe_model), epochs=2, batch_size=4, checkpoint_every=1)
    step = torch.optim.SGD.step

    def overflow(self, closure=None):
        loss = step(self, closure)
        weight = self.param_groups[0]["params"][0]
        weight.data += float("inf") if len(steps) == 3 else 0.0
        steps.append(loss)
        return loss

    steps = []
    monkeypatch.setattr(torch.optim.SGD, "step", overflow)
    data = utterances(range(5, 33))
    with pytest.raises(NonFiniteLoss, match=r"not finite after step 4.*u\d+.*resume\.ckpt"):
        train(tmp_path / "run", config, data, monkeypatch)
    kept = AtomicCheckpointIO().load_checkpoint(tmp_path / "run" / "checkpoints" / RESUME_POINT)
    assert kept["global_step"] == 3
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())


def test_a_flipped_bit_in_a_resume_point_is_found(tmp_path):
    path = tmp_path / RESUME_POINT
    checkpoints = AtomicCheckpointIO()
    checkpoints.save_checkpoint({"weights": torch.arange(100.0)}, path)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(torch.arange(100.0).numpy().tobytes()) + 41] ^= 1
    path.write_bytes(damaged)
    assert torch.load(path, weights_only=True)["weights"].shape == (100,)  # PyTorch itself does not see it
    with pytest.raises(BadInput, match="remove it to train from the start"):
        checkpoints.load_checkpoint(path)
