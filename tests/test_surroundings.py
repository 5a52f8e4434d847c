"""Commands do their work in surroundings that are not ours: terminals, users, settings of libraries."""

import json
import os
import subprocess
import sys

import pytest

METRICS = {
    "utterance": {
        "n": 4, "wa": 0.5, "ua": 0.5, "wa_ci95": [0.2, 0.8], "ua_ci95": [0.1, 0.9],
        "confusion": [[1, 1], [1, 1]], "classes": ["\u6124\u6012", "$sad$"], "recall": [0.5, 0.5],
        "intervals_over": "speakers",
    },
    "majority": {"wa": 0.5, "ua": 0.5}, "split": "test", "model": "pyresnet152", "generated": False,
    "left_out": {"labels": {"train": {}, "test": {}}, "audio": []},
}  # fmt: skip
SETTINGS = ("LANG", "LC_ALL", "PYTHONUTF8", "LOGNAME", "USER", "LNAME", "USERNAME", "TORCHINDUCTOR_CACHE_DIR")
NOBODY = """
import pwd, sys
def gone(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = gone
from sertransfer.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""A process whose user has no entry in the list of users, as under ``docker run --user 23456``."""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.json").write_text(json.dumps(METRICS))
    return tmp_path / "run"


def start(words, folder, program=("-m", "sertransfer.cli"), **environment):
    kept = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    command = [sys.executable, *program, *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env={**kept, **environment}, capture_output=True, timeout=300, check=False
    )


def test_a_user_without_a_name_and_a_home(run, tmp_path):
    done = start(["models", "pyresnet50"], tmp_path, ("-c", NOBODY), HOME="/no/such/home")
    assert done.returncode == 0, done.stderr.decode()[-500:]
    assert b"22.8" in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_another_encoding(run, tmp_path, encoding):
    done = start(["tables", run], tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr.decode()[-500:]
    dash = "\u2013".encode(encoding, errors="backslashreplace")
    assert b"0.500" in done.stdout
    assert dash in done.stdout or encoding == "utf-8"
    assert start(["report", run / "\u6124"], tmp_path, PYTHONIOENCODING=encoding).returncode == 2


def test_settings_of_matplotlib_in_the_current_folder_are_not_obeyed(run, tmp_path):
    """With ``text.usetex`` every figure would start ``latex``."""
    assert start(["report", run], tmp_path).returncode == 0
    plain = (run / "report.html").read_bytes()
    (tmp_path / "here").mkdir()
    (tmp_path / "here/matplotlibrc").write_text("text.usetex: True\nfont.size: 40\nsvg.fonttype: path\n")
    done = start(["report", run], tmp_path / "here")
    assert done.returncode == 0, done.stderr.decode()[-500:]
    assert (run / "report.html").read_bytes() == plain
    assert done.stderr == b""


def test_a_report_on_labels_of_any_kind(run, tmp_path):
    done = start(["report", run], tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("\u6124\u6012</text>") == 2
    assert page.count("$sad$</text>") == 2
