import json

import pytest
from optuna.trial import TrialState, create_trial

from sertransfer.reporting import plots
from sertransfer.transfer.search_space import SearchSpace, TuneConfig, suggest
from sertransfer.transfer.studied import Studied, importance
from sertransfer.transfer.study import open_storage, open_study, run_trials

CONFIG = TuneConfig(
    space=SearchSpace(aggregation=("mean", "attention"), pooling=("mean", "mean_std"), threshold=("fixed",))
)


def study_of(tmp_path, value, count=16):
    study = open_study(open_storage(tmp_path / "study.db"), "s/final", {}, seed=0, random_trials=count)

    def settings(trial):
        return suggest(trial, CONFIG.space, CONFIG.transfer)

    trials = run_trials(study, settings, lambda trial, config: value(config), count, lambda done: None)
    return Studied("final", trials, trials[3], CONFIG.transfer)


def test_importance_finds_the_setting_that_matters_and_draws_it(tmp_path):
    found = study_of(
        tmp_path, lambda config: float(config.pooling == "mean") + 0.01 * (config.probe.kind == "mlp")
    )
    shares = importance(found, CONFIG)
    assert next(iter(shares)) == "pooling"
    assert shares["pooling"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {"probe", "C", "pca", "pooling", "aggregation"}
    assert importance(found, CONFIG) == shares
    plots.plot_importance(shares, tmp_path / "importance.svg")
    assert "pooling" in (tmp_path / "importance.svg").read_text()


def test_nothing_is_said_of_few_trials_or_of_equal_ones(tmp_path):
    assert importance(study_of(tmp_path / "equal", lambda config: 0.5), CONFIG) == {}
    assert importance(study_of(tmp_path / "few", lambda config: config.probe.c_grid[0], 5), CONFIG) == {}


def test_one_row_a_trial():
    inner = {"ua": 0.5, "auroc": 0.7}
    trials = [
        create_trial(state=TrialState.PRUNED),
        create_trial(value=0.6, user_attrs={"inner": inner}),
    ]
    trials[0].number, trials[1].number = 0, 1
    found = Studied("outer-1", trials, trials[1], CONFIG.transfer)
    assert found.inner() == {"value": 0.6, **inner}
    first, second = found.rows()
    assert (first["state"], first["value"], first["ua"], first["best"]) == ("pruned", None, None, False)
    assert (second["state"], second["value"], second["auroc"], second["best"]) == ("complete", 0.6, 0.7, True)
    assert json.loads(second["settings"]) == {}
