"""A few kills and full disks of ``make faults``, and that the program finds what it is to find."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "faults" / "run.py"
sys.path.insert(0, str(PROGRAM.parents[1]))

from faults import disk, kills, whole  # noqa: E402 (the path first)

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to build the shim with")


def run(tmp_path, *options):
    results = tmp_path / "faults.json"
    words = [sys.executable, PROGRAM, "--results", results, *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(results.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = ["--kills", "5", "--disk", "2", "--only", "pretrain", "embed"]
    return run(tmp_path_factory.mktemp("faults"), *options)


@needs_compiler
def test_killed_runs_resume_to_the_same_result(found):
    counts = found["kills"]
    assert [counts[name]["kills"] for name in ("pretrain", "embed")] == [3, 2]
    assert all(not kills.faulty(one) and one["files_read"] for one in counts.values())


@needs_compiler
def test_a_full_or_read_only_disk_is_said_so(found):
    for one in found["disk"].values():
        assert one["faults"] == 6
        assert one["stopped"] >= 3
        assert not disk.faulty(one)


def test_what_can_not_be_read_is_found(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "a.strange").write_text("")
    (tmp_path / "b.json").write_text("{}")
    count, wrong = whole.unreadable(tmp_path)
    assert count == 4
    assert [text.split(":")[0] for text in wrong] == ["a.csv", "a.json", "a.strange"]


def test_what_is_lost_is_found():
    before = {"stores": ["a"], "embeddings": [], "chunks": ["c"], "runs": ["r"], "trials": 3, "steps": 7}
    assert whole.lost(before, before) == []
    assert whole.lost(before, {**before, "chunks": [], "embeddings": ["e"]}) == []
    nothing = {"stores": [], "embeddings": [], "chunks": [], "runs": [], "trials": 2, "steps": 6}
    assert len(whole.lost(before, nothing)) == 5


@pytest.mark.parametrize(
    ("text", "status", "wrong"),
    [
        ("sertransfer: error: /p/a: no space", 1, None),
        ("sertransfer: error: /p/a: no space", 0, "exit status"),
        ("Traceback\nsertransfer: error: /p/a: no space", 1, "traceback"),
        ("", 1, "0 messages"),
        ("sertransfer: error: OSError: /p; a failure of sertransfer, -v shows where", 1, "a failure"),
        ("sertransfer: error: no space", 1, "no place"),
    ],
)
def test_an_unclear_word_is_found(text, status, wrong):
    found = disk.complaint(text, status, Path("/p"))
    assert found is None if wrong is None else wrong in str(found)
