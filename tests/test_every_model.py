"""Nightly: each of the 21 rows of the paper's Table 5, from one epoch of its network on a generated corpus.

The networks are the real ones, but for the pyramidal ones, which are made narrow. ``make nightly`` runs it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sertransfer.cli.main import main
from sertransfer.demo.corpora import make_lssed
from sertransfer.models.registry import MODELS
from sertransfer.reporting.paper_tables import paper_table, result_tables

pytestmark = pytest.mark.nightly

NAMES = [name for name in MODELS if not name.endswith("_tiny")]
# fmt: off
QUICK = [
    "--epochs", "1", "--batch_size", "16", "--checkpoint_every", "0", "--cropping.seconds", "1",
    "--cropping.pad", "true", "--front_end.mels", "64", "--front_end.denoise.method", "none", "-q",
]
# fmt: on


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("every_model")
    make_lssed(place / "lssed", speakers=4, utterances_per_speaker=8)
    assert main(["prepare", "lssed", str(place / "lssed"), "-o", str(place / "m.csv")]) == 0
    return place


def train(place: Path, name: str) -> Path:
    """Return the folder of *name*'s run; its weights, up to 1.6 GB, are removed."""
    folder = place / name
    if not (folder / "metrics.json").exists():
        narrow = ["--model.width", "0.125"] if name.startswith("pyresnet") else []
        words = ["pretrain", "--manifest", str(place / "m.csv"), "--model", name, "--run-dir", str(folder)]
        assert main([*words, *QUICK, *narrow]) == 0
        weights = folder / "checkpoints" / "model.safetensors"
        assert weights.stat().st_size > 0
        weights.unlink()
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_model_trains_one_epoch_and_is_scored(place, name):
    folder = train(place, name)
    epochs = pd.read_csv(folder / "epochs.csv")
    assert len(epochs) == 1
    assert np.isfinite(epochs["loss"]).all()
    metrics = json.loads((folder / "metrics.json").read_text())
    blocks = [metrics["utterance"]]
    assert ("adversarial" in metrics) == name.startswith("adv_")
    if "adversarial" in metrics:
        assert metrics["adversarial"]["epsilon"] > 0
        blocks.append(metrics["adversarial"]["utterance"])
    for block in blocks:
        assert block["n"] == sum(map(sum, block["confusion"])) > 0
        assert 0 <= block["wa"] <= 1
        assert 0 <= block["ua"] <= 1
    assert (folder / "report.html").stat().st_size > 0


def test_the_tables_have_a_run_of_ours_beside_each_of_the_papers_21_rows(place):
    tables = {table.number: table for table in result_tables([train(place, name) for name in NAMES])}
    ours = [row for row in tables["5"].rows if row.get("run")]
    printed = paper_table(5)["rows"]
    assert len(ours) == len(printed) == 21
    keys = [(row["algorithm"], row["backbone"], row["paper_wa"], row["paper_ua"]) for row in ours]
    assert keys == [(row["algorithm"], row["backbone"], row["wa"], row["ua"]) for row in printed]
    assert [row["run"] for row in ours] == [row["model"] for row in printed]
    assert all(row["wa"] is not None and "generated data" in row["remark"] for row in ours)
    assert {row["run"] for row in tables["figure_2"].rows} == {"mts3_resnet152", "pyresnet152"}
