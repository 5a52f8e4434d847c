from dataclasses import replace

import optuna
import pytest
from optuna.trial import FixedTrial

from sertransfer.errors import BadInput
from sertransfer.transfer.embed import candidate_of
from sertransfer.transfer.settings import ThresholdConfig, TransferConfig
from sertransfer.transfer.tuning.space import FinetuneSpace, ProbeSpace, TuneConfig

BASE = TransferConfig(threshold=ThresholdConfig(value=0.4), folds=3)


def test_every_suggestion_is_a_run_that_can_be_made():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = ProbeSpace(
        heads=("logistic", "linear_svm", "rbf_svm", "mlp", "attention"),
        aggregation=("majority", "top_k"),
        top_k=(2, 3),
        mlp_hidden=(4, 8),
        pca=(0, 8),
        pooling=("mean", "mean_std"),
        layer=(0, 2),
    )
    candidates = TuneConfig(transfer=BASE, space=space).candidates
    assert candidates == ((None, "mean"), (None, "mean_std"), (2, "mean"), (2, "mean_std"))
    kinds, wanted = set(), set()
    for _ in range(40):
        trial = study.ask()
        config = space.suggest(trial, BASE)
        config.check()
        kinds.add(config.probe.head)
        wanted.add(candidate_of(config))
        assert config.method != "attention" or config.probe.kind == "logistic"
        assert (config.folds, config.threshold.value) == (3, 0.4)
        assert len(config.probe.c_grid) == 1
        assert space.suggest(FixedTrial(trial.params), BASE) == config
    assert kinds == set(space.heads)
    assert wanted == set(candidates)
    asked = {name: kept for trial in study.get_trials() for name, kept in trial.distributions.items()}
    assert asked["kind"].choices == space.kinds
    for name, ends in (
        ("linear_c", space.linear_c),
        ("rbf_c", space.rbf_c),
        ("rbf_gamma", space.rbf_gamma),
        ("mlp_c", space.mlp_c),
    ):
        assert (asked[name].low, asked[name].high) == ends
        assert asked[name].log  # ranges over powers of ten: evenly over the powers, not the numbers


def test_nothing_is_asked_of_a_choice_of_one():
    space = ProbeSpace(heads=("linear_svm",), pca=(4,), aggregation=("mean",), threshold=("fixed",))
    trial = optuna.create_study().ask()
    config = space.suggest(trial, BASE)
    assert set(trial.params) == {"linear_c"}
    assert (config.probe.kind, config.probe.pca, config.aggregation) == ("linear_svm", 4, "mean")


def test_layer_and_pooling_that_are_not_searched_are_the_runs():
    base = TransferConfig(layer=3, pooling="mean_std")
    config = TuneConfig(transfer=base)
    assert config.candidates == ((3, "mean_std"),)
    suggested = config.suggest(optuna.create_study().ask())
    assert candidate_of(suggested) == (3, "mean_std")
    # a run from before they could be searched is still the same run
    assert not {"pooling", "layer"} & set(config.protocol()["space"])
    searched = replace(config, space=ProbeSpace(layer=(0,)))
    assert searched.protocol()["space"]["layer"] == (0,)
    assert searched.candidates == ((None, "mean_std"),)
    assert ProbeSpace(heads=("attention",), pca=(0, 16)).axes == 64
    assert ProbeSpace(pca=(0, 16)).axes == 16


def test_the_default_space_is_small():
    TuneConfig().check()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    assert max(len(_asked(study)) for _ in range(30)) <= 6


def _asked(study):
    trial = study.ask()
    ProbeSpace().suggest(trial, BASE)
    return trial.params


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TuneConfig(trials=0), "trials = 0"),
        (TuneConfig(outer_folds=1), "outer_folds = 1"),
        (TuneConfig(study="a/b"), "without '/'"),
        (TuneConfig(space=ProbeSpace(heads=())), "space.heads"),
        (TuneConfig(space=ProbeSpace(pca=(8, 8))), "space.pca"),
        (TuneConfig(space=ProbeSpace(pca=(-1,))), "space.pca = -1"),
        (TuneConfig(space=ProbeSpace(heads=("logistik",))), "did you mean 'logistic'"),
        (TuneConfig(space=ProbeSpace(rbf_c=(1.0, 0.1))), "space.rbf_c"),
        (TuneConfig(space=ProbeSpace(pooling=("men",))), "did you mean 'mean'"),
        (TuneConfig(space=ProbeSpace(layer=(-1,))), "space.layer = -1"),
        (TuneConfig(space=ProbeSpace(layer=(1, 1))), "space.layer"),
        (TuneConfig(space=ProbeSpace(linear_c=(1.0,))), "space.linear_c"),
        (TuneConfig(transfer=TransferConfig(folds=1)), "folds = 1"),
    ],
)
def test_senseless_settings_are_refused(config, message):
    with pytest.raises(BadInput, match=message):
        config.check()


def test_what_a_trial_of_fine_tuning_asks_for_by_name_and_on_what_scale():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    base = TransferConfig(mode="finetune")
    asked = {}
    for _ in range(20):
        trial = study.ask()
        FinetuneSpace(layers=("output", "mix")).suggest(trial, base)
        asked |= trial.distributions
    assert set(asked) == {"depth", "pooling", "lr", "weight_decay", "layers", "layer_decay", "stages"}
    ranges = {"lr": (0.00003, 0.003), "weight_decay": (0.0001, 0.1)}
    for name, (low, high) in ranges.items():
        assert (asked[name].low, asked[name].high, asked[name].log) == (low, high, True)
