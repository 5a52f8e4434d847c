"""Commands do their work in surroundings that are not ours: terminals, users, settings of libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sertransfer.cli.main import main

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


@pytest.mark.parametrize("kind", ["pipe", "bytes"])
def test_what_lies_about_as_settings_of_matplotlib_is_not_even_read(run, tmp_path, kind):
    (tmp_path / "here").mkdir()
    if kind == "pipe":
        os.mkfifo(tmp_path / "here/matplotlibrc")
    else:
        (tmp_path / "here/matplotlibrc").write_bytes(b"\xff\xfe")
    done = start(["report", run], tmp_path / "here")
    assert (done.returncode, done.stderr) == (0, b"")


MODULES = ("random", "multiprocessing", "signal", "json", "torch", "sitecustomize", "usercustomize", "evil")
CORPUS = """
import sys
import numpy as np, soundfile
soundfile.write("a.wav", np.random.default_rng(0).normal(0, 0.1, 32000), 16000)
rows = [f"u{k},a.wav,s{k},{label},{split},{k / 10},{k / 10 + 0.5}" for k, (label, split) in enumerate(
    (label, split) for split in ("train", "train", "test") for label in ("happy", "sad"))]
open("table.csv", "w").write("id,audio,speaker,label,split,start,end\\n" + "\\n".join(rows) + "\\n")
"""
TRAIN = [
    *("--model.name", "pyresnet_tiny", "--model.width", "0.0625", "--front_end.mels", "16"),
    *("--front_end.denoise.method", "none", "--cropping.seconds", "0.3", "--classes", "[happy, sad]"),
    *("--epochs", "3", "--batch_size", "2", "--selection.rule", "last", "--workers", "1", "--quiet"),
]


def test_the_current_folder_and_variables_are_not_obeyed(tmp_path):
    """One may work in a corpus of somebody else; what Lightning reads of variables changes a training."""
    (tmp_path / "corpus").mkdir()
    subprocess.run([sys.executable, "-c", CORPUS], cwd=tmp_path / "corpus", check=True)
    for name in MODULES:
        (tmp_path / f"corpus/{name}.py").write_text(
            f"open({str(tmp_path / 'it-ran')!r}, 'a').write({name!r})\n"
        )
    program = str(Path(sys.executable).with_name("sertransfer"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PL_")}
    (tmp_path / "home").mkdir()
    for name in (".netrc", "pip.conf", ".pip/pip.conf"):
        (tmp_path / "home" / name).parent.mkdir(exist_ok=True)
        os.mkfifo(tmp_path / "home" / name)
    hostile = {
        "HOME": str(tmp_path / "home"),
        "PL_TRAINER_FAST_DEV_RUN": "1",
        "PL_TRAINER_LIMIT_TRAIN_BATCHES": "1",
        "PL_TRAINER_GRADIENT_CLIP_VAL": "0.0001",
        "PL_GLOBAL_SEED": "7",
        "LIGHTNING_CLOUD_URL": "https://example.invalid",
        "OPTUNA_STORAGE": "postgresql://example.invalid/db",
        "MPLBACKEND": "module://evil",
        "MPLCONFIGDIR": str(tmp_path / "corpus"),
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": "https://example.invalid",
        "TORCH_HOME": str(tmp_path / "corpus"),
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    }
    metrics = []
    for more in ({}, hostile):
        run = tmp_path / f"run{len(more)}"
        for words in (
            ["prepare", "csv", ".", "-o", run / "m.csv", "--table", "table.csv"],
            ["pretrain", "--manifest", run / "m.csv", "--run-dir", run, "--store", run / "store", *TRAIN],
        ):
            done = subprocess.run(
                [program, *map(str, words)], cwd=tmp_path / "corpus", env={**environment, **more},
                capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        metrics.append(json.loads((run / "metrics.json").read_text()))
        assert not (tmp_path / "it-ran").exists(), (tmp_path / "it-ran").read_text()
        assert len((run / "epochs.csv").read_text().splitlines()) == 4
    assert metrics[0]["utterance"] == metrics[1]["utterance"]
    assert metrics[0]["files"] == metrics[1]["files"]


def test_a_report_on_labels_of_any_kind(run, tmp_path):
    done = start(["report", run], tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("\u6124\u6012</text>") == 2
    assert page.count("$sad$</text>") == 2


def test_variables_that_turn_downloads_or_displays_on_are_overruled(monkeypatch, capsys):
    hostile = {
        "MPLBACKEND": "module://evil",
        "HF_HUB_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "0",
    }
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    assert main(["models", "--json"]) == 0
    assert [os.environ[name] for name in hostile] == ["Agg", "1", "1", "1"]
