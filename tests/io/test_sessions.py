"""What a run folder keeps about the command, the machine and the time."""

import json

import pytest

from sertransfer.errors import bad_input
from sertransfer.io.run_folder import FILE, RunFolder, RunSession, read_sessions
from sertransfer.reporting.report import write_report


def claim(folder):
    return RunFolder(folder).claim({"a": 1}, {"b": "2"})


def test_a_killed_and_a_finished_session_are_both_kept(tmp_path):
    RunSession(tmp_path)  # no end: killed
    with claim(tmp_path) as run:
        run.write_metrics({"x": 1})
    killed, finished = read_sessions(tmp_path)
    assert "seconds" not in killed
    assert finished["state"] == "finished"
    assert finished["seconds"] >= 0
    assert finished["peak_memory_mb"] > 1
    assert finished["machine"]["processors"] >= 1
    assert {"python", "numpy", "torch"} <= set(finished["versions"])


def test_a_run_that_has_nothing_to_do_adds_none(tmp_path):
    for _ in range(2):
        with claim(tmp_path) as run:
            if not run.finished:
                run.write_metrics({})
    assert len(read_sessions(tmp_path)) == 1


def test_a_run_that_stops_says_so(tmp_path):
    with pytest.raises(Exception, match="found x"), claim(tmp_path):
        raise bad_input("here", found="x", expected="y", remedy="z")
    assert [entry["state"] for entry in read_sessions(tmp_path)] == ["stopped"]


@pytest.mark.parametrize(
    ("program", "command"),
    [("/usr/bin/sertransfer", "sertransfer pretrain --run-dir 'a b'"), ("/usr/bin/pytest", "")],
)
def test_the_command_can_be_pasted_and_another_programs_is_not_kept(tmp_path, monkeypatch, program, command):
    monkeypatch.setattr("sys.argv", [program, "pretrain", "--run-dir", "a b"])
    RunSession(tmp_path)
    assert read_sessions(tmp_path)[0]["command"] == command


@pytest.mark.parametrize("content", ["", "{", "{}", "[1]"])
def test_a_broken_record_is_none(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    assert read_sessions(tmp_path) == []


def test_the_report_shows_command_time_and_versions(tmp_path):
    scores = {"n": 0, **dict.fromkeys(["wa", "ua", "confusion"]), "classes": ["a", "b"]}
    metrics = {"utterance": scores, "majority": {"wa": None, "ua": None}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert "has no sessions.json" in write_report(tmp_path).read_text()
    killed = {"command": "sertransfer pretrain --x <y>", "started": "2026-01-01"}
    done = {**killed, "seconds": 3725.0, "state": "finished", "versions": {"torch": "2.11"}}
    (tmp_path / FILE).write_text(json.dumps([killed, done]))
    text = write_report(tmp_path).read_text()
    assert "<pre>sertransfer pretrain --x &lt;y&gt;</pre>" in text
    assert "1 h 02 min in 1 session(s), and 1 session(s) that were killed" in text
    assert "torch: 2.11" in text
