"""The benchmarks of scale, at tiny size: every piece of work runs and says what it found."""

from __future__ import annotations

import importlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import soundfile

from sertransfer.manifest import read_manifest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "scale"
MODULES = ("daic", "growth", "interviews", "lssed", "own_process", "stores")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a script as ``python benchmarks/scale/NAME.py`` would, and forget it afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


def test_lssed_goes_from_its_metadata_to_an_epoch(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    lssed = script("lssed")
    lssed.generate(tmp_path, 600)
    found = {name: work(tmp_path)() for name, work in lssed.WORK.items()}
    assert found["prepare: with every recording opened and listened to"] == {"rows": 600}
    assert not read_manifest(tmp_path / "manifest.csv").notes["silent"]
    assert found["paper's split alone"] == {"test_rows": 120}
    assert found["store: open"]["rows"] == 600
    planned = found["store: plan from the headers"]["store_gb"]
    assert found["store: open"]["store_gb"] == pytest.approx(planned)
    assert found["training part and plan of an epoch"] == {"rows": 480, "batches": 2}
    rows = [{"work": name, "seconds": 1.0, "peak_mb": 2.0, "added_mb": 0.5} for name in found]
    assert lssed.table(rows).count("\n") == 2 + len(found)


def test_a_promised_recording_has_the_length_that_its_header_says(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    lssed = script("lssed")
    header = lssed.wav_header(16_000)
    assert len(header) == 44
    assert struct.unpack("<I", header[40:])[0] == 32_000
    lssed.write_recording(tmp_path / "a.wav", 16_000, b"\x10\x27" * 1000)
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert not samples[:7500].any()
    assert (samples[7500:8500] == 10_000).all()
    assert not samples[8500:].any()
    about = soundfile.info(tmp_path / "a.wav")
    assert (about.samplerate, about.frames, about.channels) == (16_000, 16_000, 1)
    assert (tmp_path / "a.wav").stat().st_blocks * 512 < 32_000


@pytest.mark.parametrize(
    "name",
    [
        "manifest: write, read, check, describe",
        "splits: the paper's and speaker-disjoint",
        "training batches: one epoch from the store",
        "embedding: a small network",
    ],
)
def test_work_that_grows_runs(name: str, script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    work, _ = script("growth").WORK[name]
    assert work(100, tmp_path)() is None


def test_growth_makes_a_table_of_figures_an_item(script: Callable[[str], ModuleType]) -> None:
    growth = script("growth")
    rows = [
        {
            "work": "a",
            "factor": factor,
            "items": 10 * factor,
            "processor_seconds": 0.1 * factor,
            "added_mb": 7.4,
        }
        for factor in growth.FACTORS
    ]
    assert growth.table(rows).splitlines()[-1] == "| a | 10 | 10.000 | 10.000 | 10.000 | 7 | 7 | 7 |"


def test_work_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    sys_path = f"import sys; sys.path.insert(0, {str(FOLDER)!r})"
    script = tmp_path / "work.py"
    script.write_text(
        f"{sys_path}\nfrom own_process import measure_here\n"
        "def run():\n    held = bytearray(60_000_000)\n    held[::4096] = b'x' * len(held[::4096])\n"
        "    return {'items': 3}\n"
        "print('something else')\nmeasure_here(run)\n"
    )
    caller = f"{sys_path}\nimport json, own_process, pathlib\n"
    caller += f"print(json.dumps(own_process.measure(pathlib.Path({str(script)!r}))))"
    done = subprocess.run([sys.executable, "-c", caller], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["items"] == 3
    assert found["added_mb"] > 50
    assert found["peak_mb"] > found["added_mb"]


def test_daic_woz_goes_from_raw_folders_to_subjects(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daic = script("daic")
    monkeypatch.setattr(script("interviews"), "SENTENCES", 4)
    found = daic.measure(tmp_path, 14, "pyresnet_tiny", 5.0)
    assert found["sessions"] == 8 + 4 + 4
    assert found["sentences"] == 4 * 16
    assert found["whole_seconds"] > found["to_subject_table_seconds"] > found["prepare_seconds"] > 0
    ratio = found["to_subject_table_seconds"] / found["embedding_alone_seconds"]
    assert found["to_subject_table_over_embedding_alone"] == pytest.approx(ratio)
    assert 0 < found["interviewer_hours"] < found["hours"] - found["speech_hours"]
    assert found["embedding_both_seconds"] > found["embedding_alone_seconds"]
    assert len((tmp_path / "run" / "subjects.csv").read_text().splitlines()) == 1 + 4  # the reported split
