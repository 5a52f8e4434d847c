import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import optuna
import pytest
from optuna.trial import TrialState

from sertransfer.errors import BadInput
from sertransfer.io.files import StorageError
from sertransfer.transfer.tuning import storage
from sertransfer.transfer.tuning import study as module
from sertransfer.transfer.tuning.storage import open_storage
from sertransfer.transfer.tuning.study import best_trial, open_study, run_trials

IDENTITY = {"space c": "0.1, 1", "embeddings": "abc"}
WORKER = """
import os, signal, sys, time
from sertransfer.transfer.tuning import storage, study as module
storage.HEARTBEAT, storage.GRACE = 1, 2
study = module.open_study(storage.open_storage(sys.argv[1]), "s/final", {identity!r}, seed=1, random_trials=3)
def suggest(trial):
    {suggest}
def score(trial, settings):
    {score}
print([one.params for one in module.run_trials(study, suggest, score, {count}, lambda count: None)])
"""
DRAWS = "trial.suggest_float('x', -1, 1), trial.suggest_categorical('kind', ['a', 'b'])"
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "GRACE", 2)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.1)


def begin(where, name="s/final", identity=IDENTITY, seed=1):
    return open_study(open_storage(where), name, identity, seed=seed, random_trials=3)


def suggest(trial):
    return trial.suggest_float("x", -1, 1), trial.suggest_categorical("kind", ["a", "b"])


def score(trial, settings):
    x, kind = settings
    trial.report(-abs(x), 0)
    if trial.should_prune():
        raise optuna.TrialPruned
    return -abs(x - 0.3) - (kind == "b")


def run(study, count, score=score, suggest=suggest, advance=lambda count: None):
    return run_trials(study, suggest, score, count, advance)


def seen(trials):
    return [(trial.state, trial.value, trial.params) for trial in trials]


def states(where):
    return [trial.state for trial in begin(where).optuna.trials]


def work(where, *, suggest=f"return {DRAWS}", score="return settings[0]", count=3, **options):
    code = WORKER.format(identity=IDENTITY, suggest=suggest, score=score, count=count)
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(where)], **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the trials of a study that nothing interrupts."""
    return run(begin(tmp_path_factory.mktemp("whole") / "study.db"), 8)


def test_an_interrupted_study_goes_on_as_the_uninterrupted_one(tmp_path, whole):
    where = tmp_path / "study.db"
    calls = []

    def interrupted(trial, settings):
        calls.append(settings)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return score(trial, settings)

    with pytest.raises(KeyboardInterrupt):
        run(begin(where), 8, interrupted)
    assert states(where)[3:] == [TrialState.FAIL, TrialState.WAITING]
    counts = []
    resumed = run(begin(where), 8, advance=counts.append)
    assert seen(resumed) == seen(whole)
    assert counts == [3, 4, 5, 6, 7, 8]
    assert {trial.state for trial in whole} <= {TrialState.COMPLETE, TrialState.PRUNED}
    best = best_trial(whole)
    assert best.value == max(trial.value for trial in whole if trial.state == TrialState.COMPLETE)
    assert best_trial(resumed).params == best.params
    assert seen(run(begin(where), 8)) == seen(whole)
    assert seen(run(begin(where), 5)) == seen(whole)[:5]


@pytest.mark.parametrize("after", [0, 1])
def test_a_trial_that_is_interrupted_between_its_draws_draws_the_same(tmp_path, whole, after):
    where = tmp_path / "study.db"
    run(begin(where), 5)  # beyond the random ones

    def interrupted(trial):
        if not isinstance(trial, optuna.Trial):  # finished trials are asked for too
            return suggest(trial)
        for name in ["x"][:after]:
            trial.suggest_float(name, -1, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(begin(where), 8, suggest=interrupted)
    died = begin(where).optuna.trials[5]
    assert (died.state, list(died.params)) == (TrialState.FAIL, ["x"][:after])
    resumed = run(begin(where), 8)
    assert seen(resumed) == seen(whole)
    if after:  # what it had drawn is what it would have drawn
        assert resumed[5].params["x"] == died.params["x"]


def test_a_trial_that_died_between_its_draws_draws_all_anew(tmp_path):
    """A generator that has not drawn the first gives another second."""

    def two(trial):
        return [trial.suggest_float(name, 0, 1) for name in "xy"]

    def interrupted(trial):
        if not isinstance(trial, optuna.Trial):
            return two(trial)
        trial.suggest_float("x", 0, 1)
        raise KeyboardInterrupt

    whole, where = tmp_path / "whole.db", tmp_path / "study.db"
    (expected,) = run(begin(whole), 1, lambda trial, drawn: 0.0, two)
    with pytest.raises(KeyboardInterrupt):
        run(begin(where), 1, suggest=interrupted)
    died, waiting = begin(where).optuna.trials
    assert (died.params, waiting.params) == ({"x": expected.params["x"]}, {})
    assert [one.params for one in run(begin(where), 1, lambda trial, drawn: 0.0, two)] == [expected.params]


def test_another_seed_and_another_study_draw_other_trials(tmp_path):
    drawn = [
        run(begin(tmp_path / "j", name, seed=seed), 1)[0].params["x"]
        for name, seed in (("s/1", 1), ("s/2", 1), ("s/3", 2))
    ]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize(
    "moment", [{"score": KILL}, {"suggest": f"return {DRAWS} if not hasattr(trial, '_trial_id') else {KILL}"}]
)
def test_the_trial_of_a_killed_worker_is_run_again(tmp_path, whole, moment):
    where = tmp_path / "study.db"
    run(begin(where), 3)
    killed = work(where, count=4, **moment)
    assert killed.wait() == -9
    assert states(where)[3:] == [TrialState.RUNNING]
    waits = time.monotonic()
    assert seen(run(begin(where), 8)) == seen(whole)
    assert time.monotonic() - waits >= 1
    assert states(where)[3:5] == [TrialState.FAIL, whole[3].state]


def test_a_trial_that_was_killed_before_its_first_heartbeat_is_run_again(tmp_path, whole):
    where = tmp_path / "study.db"
    run(begin(where), 3)
    study = begin(where).optuna
    study._storage.create_new_trial(study._study_id)  # and no more of this process
    assert seen(run(begin(where), 8)) == seen(whole)
    assert states(where)[3:5] == [TrialState.FAIL, whole[3].state]


def test_a_trial_at_work_elsewhere_is_waited_for(tmp_path):
    where = tmp_path / "study.db"
    other = work(where, count=1, score="time.sleep(6); return settings[0]")
    while not (where.exists() and where.stat().st_size and states(where)):
        time.sleep(0.1)
    trials = run(begin(where), 2)
    assert other.wait() == 0
    assert states(where) == [TrialState.COMPLETE] * 2  # no heartbeat was missed in six seconds
    assert trials[0].value == trials[0].params["x"]


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_heartbeat_that_the_disk_does_not_take_prints_no_traceback(tmp_path, monkeypatch):
    def fail(*_):
        raise optuna.exceptions.StorageInternalError("disk I/O error")

    monkeypatch.setattr(optuna.storages.RDBStorage, "record_heartbeat", fail)
    study = begin(tmp_path / "study.db")
    assert len(run(study, 1)) == 1
    with pytest.raises(optuna.exceptions.StorageInternalError):  # where somebody waits for the answer
        study.storage.record_heartbeat(1)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_jumps_loses_no_trial(tmp_path, whole, monkeypatch, hours):
    """Set forward, a clock makes heartbeats an hour old; set back, it puts them in the future."""
    where = tmp_path / "study.db"
    real, calls = time.time, []

    def jumping(trial, settings):
        calls.append(trial.number)
        if len(calls) == 4:
            monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
            shift_heartbeats(where, -hours)
        return score(trial, settings)

    assert seen(run(begin(where), 8, jumping)) == seen(whole)
    assert calls == list(range(8))


def test_a_clock_set_back_while_a_worker_is_killed_delays_its_trial_alone(tmp_path, whole):
    where = tmp_path / "study.db"
    run(begin(where), 3)
    assert work(where, count=4, score=KILL).wait() == -9
    shift_heartbeats(where, 1)
    assert seen(run(begin(where), 8)) == seen(whole)
    assert states(where)[3:5] == [TrialState.FAIL, whole[3].state]


def test_a_worker_whose_clock_jumped_forward_leaves_its_trial_to_the_other(tmp_path):
    """The other takes it for dead: the trial is run twice and counts once."""
    where = tmp_path / "study.db"
    slow = work(where, count=2, score="time.sleep(4); return settings[0]", stderr=subprocess.DEVNULL)
    while not (where.exists() and where.stat().st_size and states(where)):
        time.sleep(0.1)
    shift_heartbeats(where, -1)
    trials = run(begin(where), 2, lambda trial, settings: settings[0])
    assert slow.wait() == 0
    assert [trial.value for trial in trials] == [trial.params["x"] for trial in trials]
    finished = [trial for trial in begin(where).optuna.trials if trial.state != TrialState.FAIL]
    assert [trial.state for trial in finished] == [TrialState.COMPLETE] * 2


def shift_heartbeats(where, hours):
    with closing(sqlite3.connect(where, timeout=30)) as database, database:
        database.execute(f"UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '{hours} hours')")


def test_workers_that_begin_at_once_share_the_trials_and_agree(tmp_path):
    where = tmp_path / "study.db"
    workers = [work(where, count=6, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert len(set(told)) == 1
    assert told[0].count("'x'") == 6
    drawn = [trial.params["x"] for trial in begin(where).optuna.trials]
    assert len(set(drawn)) == len(drawn)  # no two draw as one


def test_a_worker_that_was_taken_for_dead_leaves_the_trial_to_the_other(tmp_path, caplog):
    where = tmp_path / "study.db"
    lost = []

    def slow(trial, settings):
        if not lost:
            lost.append(trial.number)
            other = begin(where)
            module._try_again(suggest, other.optuna, other.optuna.tell(trial.number, state=TrialState.FAIL))
            if len(settings) == 2:
                return 5.0
        return score(trial, settings)

    trials = run(begin(where), 2, slow)
    assert "taken for dead" in caplog.text
    assert [trial.value for trial in trials] != [5.0, 5.0]
    assert states(where)[0] == TrialState.FAIL
    assert len(states(where)) == 3


def test_a_failing_trial_is_an_error_not_a_score(tmp_path):
    def broken(trial, settings):
        raise ZeroDivisionError

    study = begin(tmp_path / "j")
    with pytest.raises(ZeroDivisionError):
        run(study, 2, broken)
    assert [trial.state for trial in study.optuna.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_the_storage_of_another_study_is_refused_by_name(tmp_path):
    where = tmp_path / "study.db"
    begin(where)
    assert begin(where).optuna.user_attrs["sertransfer_identity"] == IDENTITY
    with pytest.raises(BadInput) as caught:
        begin(f"sqlite:///{where}", identity={**IDENTITY, "embeddings": "other", "seed": "0"})
    assert len(caught.value.faults) == 2
    assert "study 's/final'" in str(caught.value)
    assert "embeddings = 'abc' in its storage" in str(caught.value)
    foreign = optuna.create_study(storage=open_storage(where), study_name="s/foreign")
    foreign.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(BadInput, match="s/foreign"):
        begin(where, "s/foreign")


@pytest.mark.parametrize("name", ["a?b#c%20d.db", "{SCHEMA_VERSION} é.db"])
def test_a_path_may_hold_any_character(tmp_path, name):
    run(begin(tmp_path / name), 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_storage_that_cannot_be_opened_is_named_without_its_password(tmp_path):
    broken = tmp_path / "broken.db"
    broken.write_text("no database\nat all\n")
    for where in (broken, broken / "below", f"sqlite:///{broken}"):
        with pytest.raises(BadInput, match=r"broken\.db"):
            begin(where)
    with pytest.raises(BadInput, match="IsADirectory"):
        begin(tmp_path)
    for url in ("postgresql://me:secret@127.0.0.1:1/none", "nonsense://me:secret@x/y"):
        with pytest.raises(BadInput) as caught:
            open_storage(url)
        assert "secret" not in str(caught.value)
        assert "me:***@" in str(caught.value)


def test_the_journal_of_an_earlier_version_is_called_that(tmp_path):
    old = tmp_path / "study.journal"
    old.write_text('{"op_code":0,"worker_id":"x","study_name":"s","directions":[1]}\n')
    with pytest.raises(BadInput, match="the study journal of an earlier version"):
        open_storage(old)


def test_a_database_that_was_damaged_is_named(tmp_path):
    where = tmp_path / "study.db"
    run(begin(where), 1)
    with sqlite3.connect(where) as database:
        database.execute("UPDATE trials SET state = 'LOST'")
    with pytest.raises(BadInput, match=r"study\.db.*cannot be read"):
        run(begin(where), 2)
    data = where.read_bytes()
    where.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(BadInput, match=r"study\.db.*malformed"):
        begin(where)


def test_a_full_disk_is_called_that(tmp_path):
    where = tmp_path / "study.db"
    study = begin(where)
    with sqlite3.connect(where) as database:
        pages = database.execute("PRAGMA page_count").fetchone()[0]

    def fill(trial, settings):
        with study.storage.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        trial.set_user_attr("much", "x" * 2**20)

    with pytest.raises(StorageError, match=r"study\.db: no space is left"):
        run(study, 1, fill)


def test_only_pruned_trials_make_no_best():
    pruned = optuna.trial.create_trial(state=TrialState.PRUNED)
    with pytest.raises(BadInput, match="no complete trial"):
        best_trial([pruned])
