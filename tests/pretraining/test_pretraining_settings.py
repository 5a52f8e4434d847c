from pathlib import Path

import pytest
import torch

from sertransfer.config import load_config
from sertransfer.errors import BadInput
from sertransfer.front_end import Cropping
from sertransfer.models.pyresnet import DEPTHS
from sertransfer.models.registry import MODELS, build_model
from sertransfer.pretraining.settings import (
    Augment,
    EpochSelection,
    ModelSettings,
    Optimiser,
    PretrainConfig,
    Regularisation,
    Schedule,
    check_settings,
)

CONFIGS = Path(__file__).parents[2] / "configs" / "pretrain"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_valid_and_the_large_ones_hold_the_papers_protocol(path):
    config = load_config(PretrainConfig, path)
    check_settings(config)
    with torch.device("meta"):
        build_model(config.model.name, len(config.classes), **config.model.options())
    if path.stem in DEPTHS:
        assert config == PretrainConfig(model=ModelSettings(path.stem))
        assert (config.epochs, config.batch_size, config.selection.rule) == (60, 256, "last")
        optimiser = config.optimiser
        assert (optimiser.lr, optimiser.weight_decay, optimiser.step, optimiser.factor) == (
            0.01,
            0.001,
            20,
            0.1,
        )
        assert config.classes == ("angry", "neutral", "happy", "sad")
        assert config.front_end.framing.name == "65ms"


def test_there_is_a_config_for_each_network_of_the_paper():
    assert set(DEPTHS) <= {path.stem for path in CONFIGS.glob("*.yaml")}


@pytest.mark.parametrize("name", MODELS)
def test_one_config_holds_the_papers_protocol_for_every_network(name):
    config = load_config(PretrainConfig, CONFIGS / "paper.yaml", {"model.name": name})
    assert config == PretrainConfig(model=ModelSettings(name))


def test_a_setting_of_the_model_can_be_overridden():
    config = load_config(PretrainConfig, None, {"model.width": "0.5", "model.blocks": "[1, 2, 1, 1]"})
    assert config.model.options() == {"width": 0.5, "blocks": [1, 2, 1, 1]}


def test_an_unknown_setting_is_named_with_the_nearest():
    with pytest.raises(BadInput, match=r"optimiser\.momentun.*optimiser\.momentum"):
        load_config(PretrainConfig, None, {"optimiser.momentun": "0"})


def test_what_does_not_change_the_result_is_no_part_of_the_protocol():
    free = PretrainConfig(workers=2, store="elsewhere", checkpoint_every=7)
    assert free.protocol() == PretrainConfig().protocol()
    assert PretrainConfig(seed=1).protocol() != PretrainConfig().protocol()


def test_the_second_protocol_is_a_config_and_is_recorded_where_it_is_used():
    config = load_config(PretrainConfig, CONFIGS / "field.yaml")
    assert config.schedule.rule == "cosine"
    assert min(config.schedule.warmup, config.augment.freq_mask, config.augment.time_mask) > 0
    settings = config.regularisation
    assert min(settings.label_smoothing, settings.mixup, settings.ema) > 0
    assert {"schedule", "regularisation"} <= set(config.protocol())
    assert not {"schedule", "regularisation"} & set(PretrainConfig().protocol())
    assert set(PretrainConfig(schedule=Schedule(warmup=1)).protocol()) - set(PretrainConfig().protocol()) == {
        "schedule"
    }


def test_stretching_is_part_of_the_protocol_only_where_it_is_used():
    assert PretrainConfig().protocol()["augment"] == {"freq_mask": 0, "time_mask": 0}
    used = PretrainConfig(augment=Augment(tempo=0.1)).protocol()["augment"]
    assert used == {"freq_mask": 0, "time_mask": 0, "tempo": 0.1}
    with pytest.raises(BadInput) as caught:
        check_settings(PretrainConfig(augment=Augment(tempo=1.0, pitch=-0.1)))
    assert {fault.found for fault in caught.value.faults} == {"augment.tempo = 1.0", "augment.pitch = -0.1"}


def test_all_bad_values_are_listed_at_once():
    config = PretrainConfig(
        classes=("angry", "angry"),
        epochs=0,
        batch_size=1,
        accumulate=0,
        seed=-1,
        workers=-1,
        checkpoint_every=-1,
        cropping=Cropping(0.0),
        optimiser=Optimiser(lr=0, momentum=1, weight_decay=-1, step=0, factor=0),
        selection=EpochSelection("inner", 0.9),
        augment=Augment(-1, -1),
        schedule=Schedule("cosine", 5),
        regularisation=Regularisation(1.0, -0.1, 1.0),
    )
    with pytest.raises(BadInput) as caught:
        check_settings(config)
    named = {fault.found.partition(" = ")[0] for fault in caught.value.faults}
    assert named == {
        *("classes", "epochs", "batch_size", "accumulate", "seed", "workers", "checkpoint_every"),
        *("cropping.seconds", "optimiser.lr", "optimiser.momentum", "optimiser.weight_decay"),
        *("optimiser.step", "optimiser.factor", "selection.share", "augment.freq_mask", "augment.time_mask"),
        *("schedule.warmup", "regularisation.label_smoothing"),
        *("regularisation.mixup", "regularisation.ema"),
    }


def test_old_runs_keep_their_protocol():
    assert "sync_batch_norm" not in PretrainConfig().protocol()
    assert PretrainConfig(sync_batch_norm=True).protocol()["sync_batch_norm"] is True
