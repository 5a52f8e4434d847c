"""What is written outside a run folder is its owner's alone too, by the command line and by the API."""

import os
import stat

import numpy as np
import pytest
import soundfile

from sertransfer.audio.store import build_store
from sertransfer.cli.main import main
from sertransfer.front_end import Denoise, FrontEnd
from sertransfer.manifest import read_manifest
from sertransfer.transfer.finetune.data import take_store
from sertransfer.transfer.tuning.storage import open_storage


@pytest.fixture(autouse=True)
def _open_umask():
    before = os.umask(0o022)
    yield
    assert os.umask(before) == 0o022, "a command left another umask behind"


def open_to_others(folder):
    return [path for path in [folder, *folder.rglob("*")] if stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = ["id,audio,speaker,label,split"]
    for number, label in enumerate(("happy", "sad") * 3):
        soundfile.write(folder / f"{number}.wav", np.random.default_rng(number).normal(0, 0.1, 4000), 16000)
        rows.append(f"u{number},{number}.wav,s{number % 3},{label},train")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_commands(corpus, tmp_path):
    out = tmp_path / "out"
    manifest = out / "manifest.csv"
    assert main(["prepare", "csv", str(corpus), "-o", str(manifest), "--table", "table.csv"]) == 0
    figure, table = str(out / "figure.svg"), str(out / "table.txt")
    assert main(["describe", str(manifest), "-o", table, "--figure", figure]) == 0
    assert {path.name for path in out.iterdir()} == {
        "manifest.csv",
        "manifest.json",
        "figure.svg",
        "table.txt",
    }
    assert open_to_others(out) == []


def test_stores_and_studies(corpus, tmp_path):
    manifest = tmp_path / "m" / "manifest.csv"
    assert main(["prepare", "csv", str(corpus), "-o", str(manifest), "--table", "table.csv"]) == 0
    front_end = FrontEnd(mels=16, denoise=Denoise(method="none"))
    build_store(read_manifest(manifest), front_end, tmp_path / "features", progress=False)
    take_store(tmp_path / "frames", "k", 2, [("a", 1.0, np.zeros((3, 2), np.float32))], skip_bad=False)
    open_storage(tmp_path / "studies" / "study.db")
    for name in ("features", "frames", "studies"):
        # what lies in a closed folder is closed as well
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700, name
    assert stat.S_IMODE((tmp_path / "studies/study.db").stat().st_mode) == 0o600
