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
    space = ProbeSpace(heads=(*ProbeSpace.heads, "attention"), pooling=("mean", "mean_std"))
    assert load_config(TuneConfig, CONFIGS / "ser_tune.yaml") == TuneConfig(space=space)


def test_overrides_reach_nested_settings():
    config = load_config(
        TransferConfig,
        CONFIGS / "ser_probe.yaml",
        {"probe.head": "linear_svm", "probe.c_grid": "[0.1, 1]", "split": "test"},
    )
    assert (config.probe.head, config.probe.c_grid, config.split) == ("linear_svm", (0.1, 1.0), "test")


def test_settings_of_before_are_read_and_said_to_be(tmp_path, caplog):
    path = tmp_path / "before.yaml"
    path.write_text("probe:\n  kind: logistic\naggregation: attention\n")
    config = load_config(TransferConfig, path)
    assert (config.probe.head, config.aggregation, config.method) == ("attention", "majority", "attention")
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"{path}: 'probe.kind' is read as 'probe.head', which is its name now"
    assert said[1] == "'aggregation: attention' is read as 'probe.head: attention'"
    # the command line goes over the file, by old names and new ones
    assert load_config(TransferConfig, path, {"aggregation": "mean"}).probe.head == "logistic"
    assert load_config(TransferConfig, None, {"kind": "mlp"}).probe.head == "mlp"
    assert load_config(TransferConfig, None, {"head": "attention"}).method == "attention"
    with pytest.raises(BadInput, match="aggregation = 'attention'; expected one of majority"):
        load_config(TransferConfig, path, {"probe.kind": "mlp"})


def test_searches_of_before_are_read_and_go_on():
    space = {"space.kinds": "[logistic, mlp]", "space.aggregation": "[majority, attention]"}
    config = load_config(TuneConfig, None, {**space, "transfer.probe.kind": "mlp"})
    assert (config.space.heads, config.space.aggregation) == (("logistic", "mlp", "attention"), ("majority",))
    assert config.transfer.probe.head == "mlp"
    assert config.protocol()["space"]["kinds"] == ("logistic", "mlp")
    assert config.protocol()["space"]["aggregation"] == ("majority", "attention")
    only = load_config(TuneConfig, None, {"space.aggregation": "[attention]"})
    assert (only.space.heads, only.space.methods) == (("attention",), ("attention",))


def test_run_folders_keep_the_names_that_they_have():
    kept = TransferConfig(probe=ProbeConfig("attention")).by_former_names()
    assert (kept["probe"]["kind"], kept["aggregation"]) == ("logistic", "attention")
    assert "head" not in kept["probe"]
    assert TransferConfig(probe=ProbeConfig("mlp")).by_former_names()["probe"]["kind"] == "mlp"


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


def test_each_head_has_a_grid_of_its_own_which_is_what_tuning_searches():
    space = ProbeSpace()
    for head, (low, high) in {
        "logistic": space.linear_c,
        "linear_svm": space.linear_c,
        "attention": space.linear_c,
        "rbf_svm": space.rbf_c,
        "mlp": space.mlp_c,
    }.items():
        config = load_config(TransferConfig, CONFIGS / "ser_probe.yaml", {"probe.head": head})
        grid = config.probe.grid
        assert (min(grid), max(grid)) == (low, high)
        assert config.by_former_names()["probe"]["c_grid"] == grid
    assert ProbeConfig(head="mlp", c_grid=(3.0,)).grid == (3.0,)
    former = (0.000001, 0.00001, 0.0001, 0.001, 0.01, 0.1)  # runs of before have it in their settings
    assert TransferConfig().by_former_names()["probe"]["c_grid"] == former
