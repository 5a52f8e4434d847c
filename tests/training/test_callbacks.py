"""Callbacks keep the best epoch and the mean of the weights, over a resume too."""

import torch

from sertransfer.training.callbacks import BestEpoch, ResumePoint, WeightMean


class Logging:
    """Takes the place of the Lightning module."""

    def __init__(self, network):
        self.network = network
        self.logged = []

    def get_submodule(self, name):
        return getattr(self, name)

    def log_dict(self, values, **_):
        self.logged.append(values)


class AtEpoch:
    should_stop = False

    def __init__(self, epoch):
        self.current_epoch = epoch


def test_the_first_of_the_best_epochs_is_kept_over_a_resume(tmp_path):
    network = torch.nn.Linear(2, 2)
    scores = iter({"wa": wa, "ua": ua} for wa, ua in ((0.5, 0.3), (0.5, 0.6), (0.9, 0.6), (0.9, 0.5)))
    module = Logging(network)
    selection = BestEpoch(lambda _: next(scores), tmp_path / "best.safetensors", by="ua")
    states = []
    for epoch in range(4):
        torch.nn.init.constant_(network.weight, epoch)
        if epoch == 2:
            state = selection.state_dict()
            selection = BestEpoch(selection.score, selection.path, by="ua")
            selection.load_state_dict(state)
        selection.on_train_epoch_end(AtEpoch(epoch), module)
        states.append(selection.best["epoch"])
    assert states == [1, 2, 2, 2]
    assert selection.best == {"epoch": 2, "wa": 0.5, "ua": 0.6}
    assert (selection.best_state()["weight"] == 1).all()
    assert module.logged[3] == {"inner_wa": 0.9, "inner_ua": 0.5}


def test_training_stops_without_a_better_epoch_and_stays_stopped(tmp_path):
    losses = iter({"loss": loss} for loss in (0.7, 0.5, 0.5, 0.6))

    def stopping():
        return BestEpoch(lambda _: next(losses), tmp_path / "best", by="loss", least=True, patience=2)

    before, module = stopping(), Logging(torch.nn.Linear(2, 2))
    epochs = [AtEpoch(epoch) for epoch in range(4)]
    for epoch in epochs:
        before.on_train_epoch_end(epoch, module)
    assert [epoch.should_stop for epoch in epochs] == [False, False, False, True]
    assert before.best == {"epoch": 2, "loss": 0.5}
    assert before.scores() == {"inner_loss": 0.6}
    earlier = {"epoch": 4, "loss": 0.6, "best": {"epoch": 2, "loss": 0.5}}
    for state in (before.state_dict(), earlier):  # the second as earlier versions wrote it
        resumed, start = stopping(), AtEpoch(3)
        resumed.load_state_dict(state)
        resumed.on_train_start(start, module)
        assert start.should_stop
        assert (resumed.best, resumed.latest) == (before.best, before.latest)
        assert resumed.state_key == "EarlyStopping"


class Trainer:
    global_step = 0


class Module(torch.nn.Module):
    device = torch.device("cpu")

    def __init__(self, network):
        super().__init__()
        self.network = network


def test_the_mean_is_that_of_the_definition_one_step_at_a_time(probe):
    module, trainer = Module(probe), Trainer()
    mean = WeightMean(probe, 0.25)
    mean.on_train_start(trainer, module)
    name = "layers.6.weight"
    expected, steps = None, 0
    for batch in range(8):
        trainer.global_step = (batch + 1) // 2  # two batches a step
        with torch.no_grad():
            probe.get_parameter(name).add_(1.0 + batch)
            probe.get_buffer("layers.1.running_mean").fill_(batch)
        mean.on_train_batch_end(trainer, module, None, None, batch)
        if trainer.global_step > steps:
            value, decay = probe.get_parameter(name).detach().clone(), min(0.25, (1 + steps) / (10 + steps))
            expected = value if expected is None else decay * expected + (1 - decay) * value
            steps = trainer.global_step
    assert steps == 4
    torch.testing.assert_close(mean.network.get_parameter(name).detach(), expected)
    assert 1 < mean.network.get_buffer("layers.1.running_mean")[0] < 7
    resumed = WeightMean(probe, 0.25)
    resumed.load_state_dict(mean.state_dict())
    for key, value in mean.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[key], value)
    assert resumed.state_dict()["step"] == 4


def test_training_is_the_same_with_and_without_a_mean(probe):
    before = {name: value.clone() for name, value in probe.state_dict().items()}
    trainer, module = Trainer(), Module(probe)
    mean = WeightMean(probe, 0.5)
    trainer.global_step = 1
    mean.on_train_batch_end(trainer, module, None, None, 0)
    assert all(torch.equal(before[name], value) for name, value in probe.state_dict().items())
    with torch.no_grad():
        mean.network.get_parameter("layers.6.bias").fill_(5.0)
    assert probe.get_parameter("layers.6.bias").max().item() < 5.0


def test_a_run_that_goes_on_in_other_processes_says_so(tmp_path, monkeypatch, caplog):
    class Batches:
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    point = ResumePoint(tmp_path / "last.ckpt", Batches(), every=1)
    monkeypatch.setattr("sertransfer.training.distributed.count", lambda: 3)
    state = point.state_dict()
    point.load_state_dict(state)
    assert caplog.text == ""
    monkeypatch.setattr("sertransfer.training.distributed.count", lambda: 1)
    point.load_state_dict(state)
    assert "goes on in 1 processes instead of 3" in caplog.text
