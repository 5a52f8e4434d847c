import os
import subprocess
import sys
from datetime import datetime

import optuna
import pytest
from optuna.trial import TrialState

from sertransfer.errors import BadInput
from sertransfer.transfer import study as module
from sertransfer.transfer.study import best_trial, open_storage, open_study, run_trials

IDENTITY = {"space c": "0.1, 1", "embeddings": "abc"}


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(params=["journal", "sqlite"])
def where(request, tmp_path):
    return tmp_path / "study.journal" if request.param == "journal" else f"sqlite:///{tmp_path / 'study.db'}"


def begin(where, name="s/final", identity=IDENTITY, seed=1):
    return open_study(open_storage(where), name, identity, seed=seed, random_trials=3)


def objective(trial):
    x = trial.suggest_float("x", -1, 1)
    trial.report(-abs(x), 0)
    if trial.should_prune():
        raise optuna.TrialPruned
    return -abs(x - 0.3) - (trial.suggest_categorical("kind", ["a", "b"]) == "b")


def seen(trials):
    return [(trial.state, trial.value, trial.params) for trial in trials]


def test_an_interrupted_study_goes_on_as_the_uninterrupted_one(tmp_path, where):
    whole = run_trials(begin(tmp_path / "whole.journal"), objective, 8, lambda count: None)
    calls = 0

    def interrupted(trial):
        nonlocal calls
        calls += 1
        if calls == 4:
            trial.suggest_float("x", -1, 1)
            raise KeyboardInterrupt
        return objective(trial)

    with pytest.raises(KeyboardInterrupt):
        run_trials(begin(where), interrupted, 8, lambda count: None)
    counts = []
    resumed = run_trials(begin(where), objective, 8, counts.append)
    assert seen(resumed) == seen(whole)
    assert counts == [3, 4, 5, 6, 7, 8]
    assert {trial.state for trial in whole} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert best_trial(whole).value == max(
        trial.value for trial in whole if trial.state == TrialState.COMPLETE
    )
    again = run_trials(begin(where), objective, 8, counts.append)
    assert seen(again) == seen(whole)
    assert seen(run_trials(begin(where), objective, 5, counts.append)) == seen(whole)[:5]


def test_another_seed_and_another_study_draw_other_trials(tmp_path):
    drawn = [
        run_trials(begin(tmp_path / "j", name, seed=seed), objective, 1, lambda count: None)[0].params["x"]
        for name, seed in (("s/1", 1), ("s/2", 1), ("s/3", 2))
    ]
    assert len(set(drawn)) == 3


def test_a_killed_worker_is_replaced_and_one_at_work_elsewhere_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "study.journal"
    code = f"""
import os, signal
from sertransfer.transfer.study import open_storage, open_study, run_trials
study = open_study(open_storage({str(path)!r}), "s/final", {IDENTITY!r}, seed=1, random_trials=3)
run_trials(study, lambda trial: os.kill(os.getpid(), signal.SIGKILL), 3, lambda count: None)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    study = begin(path)
    assert study.trials[0].state == TrialState.RUNNING
    other = study.ask()  # of another machine, begun just now
    other.set_user_attr("sertransfer_owner", {"host": "elsewhere", "process": 1, "begun": "1"})
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        study.tell(other.number, -5.0)

    monkeypatch.setattr(module.time, "sleep", sleep)
    trials = run_trials(study, objective, 3, lambda count: None)
    assert len(waits) == 1
    assert study.trials[0].state == TrialState.FAIL
    assert trials[0].value == -5.0
    assert len(trials) == 3


def test_a_trial_whose_process_was_killed_before_it_signed_is_made_again(tmp_path, where, monkeypatch):
    monkeypatch.setattr(module, "UNSIGNED_SECONDS", 0.5)
    whole = run_trials(begin(tmp_path / "whole.journal"), objective, 6, lambda count: None)
    run_trials(begin(where), objective, 3, lambda count: None)
    begin(where).ask()  # and no more of this process
    resumed = run_trials(begin(where), objective, 6, lambda count: None)
    assert seen(resumed) == seen(whole)
    assert [one.state for one in begin(where).trials].count(TrialState.FAIL) == 1


def test_who_counts_as_alive():
    def trial(owner, begun=None):
        made = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"sertransfer_owner": owner})
        made.datetime_start = begun or datetime.now()
        return made

    mine = module._process(os.getpid())
    assert not module._alive(trial(mine))  # this process runs no trial while it asks
    parent = module._process(os.getppid())
    assert module._alive(trial(parent))
    assert not module._alive(trial({**parent, "begun": "at another time"}))
    assert not module._alive(trial({**parent, "process": 2**22 + 1}))
    assert module._alive(trial(None))
    assert not module._alive(trial(None, datetime(2000, 1, 1)))


def test_a_failing_trial_is_an_error_not_a_score(tmp_path):
    def broken(trial):
        raise ZeroDivisionError

    study = begin(tmp_path / "j")
    with pytest.raises(ZeroDivisionError):
        run_trials(study, broken, 2, lambda count: None)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]


def test_the_storage_of_another_study_is_refused_by_name(where):
    begin(where)
    assert begin(where).user_attrs["sertransfer_identity"] == IDENTITY
    with pytest.raises(BadInput) as caught:
        begin(where, identity={**IDENTITY, "embeddings": "other", "seed": "0"})
    assert len(caught.value.faults) == 2
    assert "study 's/final'" in str(caught.value)
    assert "embeddings = 'abc' in its storage" in str(caught.value)
    foreign = optuna.create_study(storage=open_storage(where), study_name="s/foreign")
    foreign.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(BadInput, match="s/foreign"):
        begin(where, "s/foreign")


def test_a_storage_that_can_not_be_opened_is_named_without_its_password(tmp_path):
    broken = tmp_path / "broken.journal"
    broken.write_text("no journal\nat all\n")
    for where in (broken, tmp_path / "broken.journal" / "below"):
        with pytest.raises(BadInput, match=r"broken\.journal"):
            begin(where)
    for url in ("postgresql://me:secret@127.0.0.1:1/none", "nonsense://me:secret@x/y"):
        with pytest.raises(BadInput) as caught:
            open_storage(url)
        assert "secret" not in str(caught.value)
        assert "me:***@" in str(caught.value)


def test_only_pruned_trials_make_no_best():
    pruned = optuna.trial.create_trial(state=TrialState.PRUNED)
    with pytest.raises(BadInput, match="no complete trial"):
        best_trial([pruned])
