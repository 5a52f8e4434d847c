from dataclasses import replace
from pathlib import Path

import pytest

from sertransfer.config import load_config
from sertransfer.errors import BadInput
from sertransfer.transfer.settings import EmbeddingConfig, ProbeConfig, ThresholdConfig, TransferConfig
from sertransfer.transfer.tuning.space import FinetuneTuneConfig, ProbeSpace, TuneConfig

CONFIGS = Path(__file__).parents[2] / "configs" / "transfer"


def test_the_shipped_config_states_the_defaults():
    assert load_config(TransferConfig, CONFIGS / "ser_probe.yaml") == TransferConfig()
    TransferConfig().check()


def test_every_shipped_config_loads():
    kinds = {"finetune_tune": FinetuneTuneConfig, "tune": TuneConfig}
    for path in CONFIGS.glob("*.yaml"):
        load_config(kinds.get(path.stem.partition("_")[2], TransferConfig), path).check()
    space = ProbeSpace(aggregation=("majority", "mean", "attention"), pooling=("mean", "mean_std"))
    assert load_config(TuneConfig, CONFIGS / "ser_tune.yaml") == TuneConfig(space=space)


def test_overrides_reach_nested_settings():
    config = load_config(
        TransferConfig,
        CONFIGS / "ser_probe.yaml",
        {"probe.kind": "linear_svm", "probe.c_grid": "[0.1, 1]", "split": "test"},
    )
    assert (config.probe.kind, config.probe.c_grid, config.split) == ("linear_svm", (0.1, 1.0), "test")


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(BadInput, match=r"probe\.c_grid"):
        load_config(TransferConfig, None, {"probe.cgrid": "[1]"})


def test_all_senseless_values_are_listed_at_once():
    config = TransferConfig(
        positive="not depressed",
        folds=1,
        resamples=0,
        aggregation="meen",
        probe=ProbeConfig(c_grid=(0.0,), max_iterations=0),
        threshold=ThresholdConfig(value=0.0),
        embedding=EmbeddingConfig(batch_seconds=0, workers=-1),
    )
    with pytest.raises(BadInput) as caught:
        config.check()
    named = [fault.found.split(" =")[0] for fault in caught.value.faults]
    assert named == [
        "probe.c_grid",
        "probe.max_iterations",
        "folds",
        "aggregation",
        "threshold.value",
        "resamples",
        "embedding.batch_seconds",
        "embedding.workers",
        "positive",
    ]
    assert "did you mean 'mean'" in caught.value.faults[3].remedy


def test_a_choice_that_does_not_exist_is_refused():
    with pytest.raises(BadInput, match="split = 'train'"):
        replace(TransferConfig(), split="train").check()
