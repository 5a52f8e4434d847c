"""A study's database that somebody else made or changed runs nothing, follows nothing, and is named."""

import json
import sqlite3
from contextlib import closing

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from sertransfer.errors import BadInput
from sertransfer.transfer.tuning import nested, storage, workflow
from sertransfer.transfer.tuning.storage import open_storage
from sertransfer.transfer.tuning.study import open_study, run_trials

INNER = {"ua": 0.5, "auroc": 0.7, "warnings": {}}
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)


def begin(where):
    return open_study(open_storage(where), "s/final", {"a": 1}, seed=1, random_trials=3)


def suggest(trial):
    return trial.suggest_float("x", 0.1, 1, log=True), trial.suggest_categorical("kind", ["a", "b"])


def score(trial, settings):
    trial.set_user_attr("inner", INNER)
    return 0.6


def go_on(where, count=3, odd=nested._odd):
    return run_trials(begin(where), suggest, score, count, lambda done: None, odd)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    where = tmp_path_factory.mktemp("whole") / "study.db"
    go_on(where, 2)
    return where.read_bytes()


@pytest.fixture
def where(tmp_path, whole):
    (tmp_path / "study.db").write_bytes(whole)
    return tmp_path / "study.db"


def change(where, *statements):
    with closing(sqlite3.connect(where)) as database, database:
        for statement in statements:
            database.execute(statement)


def test_an_unchanged_study_goes_on(where):
    assert [trial.number for trial in go_on(where)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("kind", "statements"),
    [
        ("view 'trials'", ["ALTER TABLE trials RENAME TO t", f"CREATE VIEW trials AS {ENDLESS}"]),
        ("view 'v'", ["CREATE VIEW v AS SELECT randomblob(1000000000)"]),
        ("trigger 'g'", ["CREATE TRIGGER g AFTER INSERT ON trials BEGIN DELETE FROM trials; END"]),
        ("table 'words'", ["CREATE VIRTUAL TABLE words USING fts5(text)"]),
        ("table 'more'", ["CREATE TABLE more (x)"]),
        ("index 'i'", ["CREATE INDEX i ON trials (abs(number))"]),
        (
            "table 'trials', which Optuna does not make like this",
            ["DROP TABLE trials", "CREATE TABLE trials (trial_id, number AS (hex(zeroblob(trial_id))))"],
        ),
    ],
)
def test_what_is_not_optunas_is_refused_before_it_is_run(where, kind, statements, monkeypatch):
    change(where, *statements)
    monkeypatch.setattr(storage, "StudyStorage", None)  # Optuna must not be reached
    with pytest.raises(BadInput, match=rf"study\.db: found the {kind}") as caught:
        open_storage(where)
    assert "give another --storage" in str(caught.value)


def test_a_file_of_too_many_trials_is_refused(where, monkeypatch):
    monkeypatch.setattr(storage, "_MOST_TRIALS", 1)
    with pytest.raises(BadInput, match=r"study\.db: found more than 1 trials"):
        open_storage(where)


def test_a_look_that_does_not_end_is_ended(where, monkeypatch):
    rows = ", ".join(f"({number}, 1, 'FAIL')" for number in range(10, 2000))
    change(where, f"INSERT INTO trials (trial_id, study_id, state) VALUES {rows}")
    monkeypatch.setattr(storage, "_LOOKS", 1)
    with pytest.raises(BadInput, match=r"study\.db: found studies that cannot be read .*interrupted"):
        open_storage(where)


def test_a_journal_that_names_another_file_removes_nothing(where, tmp_path):
    """SQLite takes the last bytes of a journal for the name of one over several databases, and removes it."""
    victim = tmp_path / "bashrc"
    victim.write_text("mine")
    poison(where, victim)
    with pytest.raises(BadInput, match=r"study\.db-journal: found a journal that names another file"):
        open_storage(where)
    assert victim.read_text() == "mine"


def test_such_a_journal_would_remove_a_file(where, tmp_path):
    victim = tmp_path / "bashrc"
    victim.write_text("mine")
    poison(where, victim)
    with closing(sqlite3.connect(where)) as database:
        database.execute("SELECT * FROM trials").fetchall()
    assert not victim.exists()


def poison(where, victim):
    """Write the journal of a killed process that had written to several databases at once."""
    name = str(victim).encode()
    head = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"".join(
        value.to_bytes(4, "big") for value in (0, 1, where.stat().st_size // 4096, 512, 4096)
    )
    ending = (262145).to_bytes(4, "big") + name + len(name).to_bytes(4, "big")
    ending += (sum(name) % 2**32).to_bytes(4, "big") + head[:8]
    where.with_name("study.db-journal").write_bytes(head.ljust(512, b"\0") + ending)


@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
def test_a_journal_that_is_a_link_is_refused(where, tmp_path, end):
    where.with_name(f"study.db{end}").symlink_to(tmp_path / "bashrc")
    with pytest.raises(BadInput, match=rf"study\.db{end}: found a symbolic link"):
        open_storage(where)
    assert not (tmp_path / "bashrc").exists()


@pytest.mark.parametrize("url", ["sqlite:///{}?timeout=5", "sqlite+pysqlite:///{}", "sqlite://"])
def test_no_url_goes_past_the_look(where, url):
    with pytest.raises(BadInput, match="found an SQLite URL with options or a driver"):
        open_storage(url.format(where))


CHANGES = [
    ("UPDATE trial_values SET value = 'much'", "the value 'much'"),
    ("UPDATE trial_values SET value = x'00'", "the value b'\\x00'"),
    ("UPDATE trial_values SET value = NULL, value_type = 'INF_POS'", "the value inf"),
    ("UPDATE trial_values SET value = 1.5", "the value 1.5, outside 0 to 1"),
    ("UPDATE trial_values SET value = 0.9", "the value 0.9 beside the inner figures"),
    ("DELETE FROM trial_values", "0 values"),
    ("INSERT INTO trial_values VALUES (9, 1, 1, 0.5, 'FINITE')", "2 values"),
    (
        "UPDATE trial_params SET param_value = 'much' WHERE param_name = 'x'",
        "'much'",
    ),
    ("UPDATE trial_params SET param_value = 5 WHERE param_name = 'x'", "x = 5.0, outside the search's space"),
    ("UPDATE trial_params SET param_name = 'y' WHERE param_name = 'x'", "'x' is not found"),
    ("UPDATE trial_params SET param_value = 'c' WHERE param_name = 'kind'", "'c'"),
    (
        "INSERT INTO trial_params SELECT 9, 1, 'y', 0.5, distribution_json FROM trial_params LIMIT 1",
        "y = 0.5",
    ),
    (
        "UPDATE trial_params SET distribution_json = replace(distribution_json, '1.0', '9.0')",
        "which the search does not ask for",
    ),
    ("INSERT INTO trial_intermediate_values VALUES (9, 1, 0, 'x', 'FINITE')", "the value under way 'x'"),
    ("UPDATE trial_user_attributes SET value_json = '7'", "the inner figures 7"),
    ("UPDATE trial_user_attributes SET value_json = '{\"ua\": 7}'", "the inner figures {'ua': 7}"),
    ("UPDATE trial_user_attributes SET value_json = '{'", "studies that cannot be read"),
    (
        f"""UPDATE trial_user_attributes SET value_json = '{json.dumps(INNER | {"warnings": {"a": "b"}})}'""",
        "the warnings {'a': 'b'}",
    ),
    ("DELETE FROM trial_user_attributes", "the inner figures None"),
    (
        """INSERT INTO trial_system_attributes VALUES (9, 1, 'fixed_params', '{"x": 7}')""",
        "the attribute 'fixed_params'",
    ),
    (
        "INSERT INTO trial_system_attributes VALUES (9, 1, 'failed_trial', '\"x\"')",
        "a repetition of trial 'x'",
    ),
    ("INSERT INTO trial_system_attributes VALUES (9, 2, 'failed_trial', '1')", "a repetition of trial 1"),
    ("UPDATE trials SET state = 'LOST'", "studies that cannot be read"),
    ("UPDATE trials SET number = 7 WHERE number = 0", "the number 1 in place 0"),
    ("UPDATE trials SET datetime_start = 'yesterday'", "studies that cannot be read"),
    ("UPDATE study_directions SET direction = 'MINIMIZE'", "the direction minimize"),
    ("INSERT INTO study_directions VALUES (9, 'MAXIMIZE', 1, 1)", "the direction maximize, maximize"),
    ("UPDATE study_user_attributes SET value_json = '{}'", "a = None in its storage"),
]


@pytest.mark.parametrize(("statement", "found"), CHANGES)
def test_what_no_search_writes_is_named(where, statement, found):
    change(where, statement)
    with pytest.raises(BadInput) as caught:
        go_on(where)
    assert found in str(caught.value)
    assert "give another --storage" in str(caught.value)


def test_settings_that_are_queued_by_hand_are_refused(where):
    """A trial that waits may hold settings that were never drawn."""
    study = begin(where).optuna
    drawn = study.trials[0]
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params={**drawn.params, "x": 0.05},
            distributions=drawn.distributions
            | {"x": optuna.distributions.FloatDistribution(0.01, 1, log=True)},
        )
    )
    with pytest.raises(
        BadInput, match=r"trial 2: found the setting x = 0\.05, which the search does not ask"
    ):
        go_on(where)


def test_what_no_training_gives_is_named(tmp_path, whole):
    trial = create_trial(value=-0.5, user_attrs={"inner": {"epoch": 1, "epochs": 2}})
    assert workflow._odd(trial) is None
    assert workflow._odd(create_trial(state=TrialState.PRUNED)) is None
    assert "below 0" in workflow._odd(create_trial(value=0.5))
    for inner in ({"epoch": "1", "epochs": 2}, [], None):
        assert "the epochs" in workflow._odd(create_trial(value=-0.5, user_attrs={"inner": inner}))
