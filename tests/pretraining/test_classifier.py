import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from sertransfer.pretraining.classifier import Classifier, balanced_weights, make_masks
from sertransfer.pretraining.settings import Augment, Optimiser, PretrainConfig, Regularisation, Schedule
from sertransfer.training import distributed
from sertransfer.training.batches import Batch
from sertransfer.training.module import NonFiniteLoss


class Trainer:
    current_epoch, global_step = 2, 17


@pytest.fixture
def module(probe):
    def make(config=PretrainConfig(), **options):  # noqa: B008 (frozen)
        made = Classifier(probe, config, **options)
        made._trainer = Trainer()
        made.log = lambda *_, **__: None
        return made

    return make


def batch(items=3):
    features = torch.randn(items, 1, 8, 9, generator=torch.Generator().manual_seed(1))
    return Batch(features, torch.arange(items) % 4, torch.arange(items))


def test_a_batch_repeats_itself_and_differs_from_the_next(module):
    trained = module()
    losses = []
    for number in (5, 5, 6):
        trained.on_train_batch_start(batch(), number)
        losses.append(trained.training_step(batch(), number).item())
    assert losses[0] == losses[1] != losses[2]


def test_each_process_draws_for_itself_and_the_first_as_if_alone(module, monkeypatch):
    draws = []
    for rank in (0, 1, 2, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        module().on_train_batch_start(batch(), 5)
        draws.append(torch.rand(()).item())
    monkeypatch.undo()
    module().on_train_batch_start(batch(), 5)
    assert draws[0] == torch.rand(()).item()
    assert draws[1] == draws[3]
    assert len(set(draws)) == 3


def test_a_loss_that_is_no_number_names_step_utterances_and_last_good_state(module, caplog):
    ids = [f"utterance-{number}" for number in range(12)]
    trained = module(ids=ids, resume_point=lambda: "run/checkpoints/resume.ckpt")
    broken = batch(12)
    broken.features[4, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteLoss) as caught:
        trained.training_step(broken, 3)
    message = str(caught.value)
    for part in (
        "nan at step 17",
        "epoch 3",
        "utterance-9",
        "and 2 more",
        "run/checkpoints/resume.ckpt",
        "lr",
    ):
        assert part in message
    assert "utterance-11" in caplog.text
    assert caught.value.exit_status == 1


def test_sums_give_the_epochs_mean_and_survive_a_checkpoint(module):
    trained, fresh = module(), module()
    saved = {}
    first = trained.training_step(batch(3), 0).item()
    trained.on_save_checkpoint(saved)
    fresh.on_load_checkpoint(saved)
    second = fresh.training_step(batch(1), 1).item()
    loss, accuracy = fresh.take_sums()
    assert loss == pytest.approx((3 * first + second) / 4)
    assert 0 <= accuracy <= 1
    assert fresh.take_sums() == (0.0, 0.0)


@pytest.mark.parametrize(
    "schedule", [Schedule(), Schedule("step", 1), Schedule("cosine", 2), Schedule("cosine")]
)
def test_the_rate_is_that_of_the_schedule(module, schedule):
    trained = module(
        PretrainConfig(optimiser=Optimiser(lr=0.2, step=2, factor=0.5), schedule=schedule, epochs=6)
    )
    made = trained.configure_optimizers()
    optimiser, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for epoch in range(6):
        assert optimiser.param_groups[0]["lr"] == pytest.approx(trained.rate(epoch))
        optimiser.step()
        schedule.step()
    group = optimiser.param_groups[0]
    assert (group["momentum"], group["weight_decay"]) == (0.9, 0.001)


def test_warm_up_rises_and_cosine_falls_towards_nothing(module):
    trained = module(PretrainConfig(optimiser=Optimiser(lr=0.3), schedule=Schedule("cosine", 2), epochs=12))
    rates = [trained.rate(epoch) for epoch in range(12)]
    np.testing.assert_allclose(rates[:3], [0.1, 0.2, 0.3])
    assert rates[7] == pytest.approx(0.15)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_smoothing_and_mixup_are_those_of_their_definitions(module):
    items = batch()
    trained = module(PretrainConfig(regularisation=Regularisation(label_smoothing=0.1, mixup=0.5)))
    trained.network.eval()
    torch.manual_seed(3)
    share = float(torch.distributions.Beta(torch.tensor([0.5]), torch.tensor([0.5])).sample())
    torch.manual_seed(3)
    loss = trained.training_step(items, 0).item()
    mixed = share * items.features + (1 - share) * items.features.roll(1, 0)
    own = torch.nn.functional.one_hot(items.targets, 4).float()
    targets = 0.9 * (share * own + (1 - share) * own.roll(1, 0)) + 0.1 / 4
    with torch.no_grad():
        expected = -(targets * trained.network(mixed).log_softmax(1)).sum(1).mean().item()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_are_scikit_learns():
    targets = np.array([0, 0, 0, 1, 2, 2, 3])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=targets)
    np.testing.assert_allclose(balanced_weights(targets, 4), expected, rtol=1e-6)


def test_class_weights_and_memory_layout_reach_the_step(module):
    plain = module(PretrainConfig(channels_last=False))
    weighted = module(class_weights=torch.tensor([9.0, 1.0, 1.0, 1.0]))
    for trained in (plain, weighted):
        trained.network.eval()
    assert plain.training_step(batch(), 0).item() != weighted.training_step(batch(), 0).item()


def test_masks_are_drawn_for_each_utterance_and_off_by_default():
    features = torch.ones(16, 1, 20, 30)
    assert make_masks(Augment())(features) is features
    torch.manual_seed(0)
    bands = make_masks(Augment(freq_mask=8))(features)
    assert len({tuple(row.tolist()) for row in bands[:, 0, :, 0]}) > 4
    assert (bands == bands[..., :1]).all()
    masked = make_masks(Augment(time_mask=8))(features)
    assert (masked == masked[:, :, :1]).all()
    assert 0 < (masked == 0).float().mean() < 8 / 30
