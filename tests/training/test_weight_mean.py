import torch

from sertransfer.training.callbacks import WeightMean


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
