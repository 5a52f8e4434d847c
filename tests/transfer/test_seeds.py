import json

import pytest
import yaml

from sertransfer.errors import BadInput
from sertransfer.transfer.compare import seed_summary, seeds_text
from sertransfer.transfer.settings import ProbeConfig, ThresholdConfig, TransferConfig


def write_run(folder, seed, wa, *, ua=0.5, split="dev", manifest="m", encoder="e"):
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "split": split}))
    (folder / "inputs.json").write_text(json.dumps({"manifest": manifest, "encoder": encoder}))
    metrics = {"subject": {"wa": wa, "ua": ua, "auroc": None}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_mean_deviation_and_every_value(tmp_path):
    runs = [write_run(tmp_path / str(seed), seed, wa) for seed, wa in ((0, 0.5), (1, 0.6), (2, 0.7))]
    summary = seed_summary(runs)
    assert summary["seeds"] == ["0", "1", "2"]
    assert summary["wa"]["mean"] == pytest.approx(0.6)
    assert summary["wa"]["deviation"] == pytest.approx(0.1)
    assert summary["wa"]["values"] == [0.5, 0.6, 0.7]
    assert summary["ua"]["deviation"] == 0.0
    assert summary["auroc"] == {"mean": None, "deviation": None, "values": [None] * 3}
    lines = seeds_text(summary).splitlines()
    assert len(lines) == 8
    assert "over seeds, on the same subjects" in lines[-1]
    assert "undefined" in lines[-2]


def test_runs_of_tune_keep_their_seed_deeper(tmp_path):
    runs = [write_run(tmp_path / str(seed), seed, 0.5) for seed in (3, 4)]
    for run, seed in zip(runs, (3, 4), strict=True):
        (run / "config.yaml").write_text(yaml.safe_dump({"transfer": {"seed": seed}, "trials": 2}))
    assert seed_summary(runs)["seeds"] == ["3", "4"]


def test_an_encoder_of_another_pretraining_seed_counts_as_another_run(tmp_path):
    runs = [write_run(tmp_path / name, 0, 0.5, encoder=name) for name in ("one", "other")]
    assert seed_summary(runs)["wa"]["values"] == [0.5, 0.5]


def test_runs_that_differ_by_more_are_refused_with_every_difference(tmp_path):
    runs = [
        write_run(tmp_path / "a", 0, 0.5),
        write_run(tmp_path / "b", 0, 0.5),
        write_run(tmp_path / "c", 1, 0.5, split="test", manifest="other"),
    ]
    (tmp_path / "c" / "metrics.json").write_text("{}")
    with pytest.raises(BadInput) as caught:
        seed_summary(runs)
    text = str(caught.value)
    for part in ("seed 0 and the encoder", "split = test", "another manifest", "no scores of subjects"):
        assert part in text
    with pytest.raises(BadInput, match="1 run"):
        seed_summary(runs[:1])


@pytest.mark.parametrize(("other", "said"), [(0.5, True), (0.6, False)])
def test_runs_whose_figures_are_the_same_say_so(tmp_path, other, said):
    runs = [write_run(tmp_path / "a", 0, 0.5), write_run(tmp_path / "b", 1, other)]
    text = seeds_text(seed_summary(runs))
    assert ("the seed has no effect: all runs have the same figures" in text) is said
    runs = [write_run(tmp_path / name, 0, 0.5, encoder=name) for name in ("c", "d")]
    assert "no effect" not in seeds_text(seed_summary(runs))  # it is the encoder that differs


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, False),
        ({"probe": ProbeConfig(c_grid=(0.1,))}, True),
        ({"probe": ProbeConfig(c_grid=(0.1,), head="rbf_svm")}, True),
        ({"probe": ProbeConfig(c_grid=(0.1,), head="mlp")}, False),
        ({"probe": ProbeConfig(c_grid=(0.1,), pca=8)}, False),
        ({"probe": ProbeConfig(c_grid=(0.1,), head="attention")}, False),
        ({"probe": ProbeConfig(c_grid=(0.1,)), "threshold": ThresholdConfig("out_of_fold")}, False),
        ({"probe": ProbeConfig(c_grid=(0.1,)), "mode": "finetune"}, False),
    ],
)
def test_settings_under_which_the_seed_decides_nothing(settings, said):
    assert ("has no effect on the decisions" in TransferConfig(**settings).seed_remark) is said
