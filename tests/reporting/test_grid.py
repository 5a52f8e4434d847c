"""Runs of stage 2 as a grid of encoder, framing and mode."""

import json
from io import StringIO

import pandas as pd
import pytest

from sertransfer.cli.main import main
from sertransfer.errors import BadInput
from sertransfer.reporting.paper_tables import grid_table
from sertransfer.reporting.runs import Run

CLASSES = ["not depressed", "depressed"]


def metrics(wa, ua, *, encoder="ser", framing="65ms", mode="probe", **more):
    scores = {"n": 35, "wa": wa, "ua": ua, "classes": CLASSES, "wa_ci95": [wa - 0.1, wa + 0.1], "auroc": 0.6}
    return {
        "subject": scores,
        "majority": {"wa": 0.657, "ua": 0.5},
        "encoder": encoder,
        "mode": mode,
        "encoder_details": {"framing": framing} if framing else {},
        "corpus": "daic-woz",
        "split": "dev",
        **more,
    }


@pytest.fixture
def make(tmp_path):
    def run(name, **content):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps(content))
        return Run(folder, "transfer" if "subject" in content else "pretrain", content, "", "")

    return run


def test_rows_go_by_encoder_then_window_then_mode(make):
    runs = [
        make("a", **metrics(0.7, 0.6, mode="finetune")),
        make("b", **metrics(0.7, 0.6, framing=None)),
        make("c", **metrics(0.7, 0.6, framing="40/10ms")),
        make("d", **metrics(0.657, 0.5, encoder="asr", framing="25ms", generated=True)),
        make("e", **metrics(0.8, 0.7)),
        make("f", **metrics(0.8, 0.7, tuning={"trials": {}})),
        make("g", utterance={}),
    ]
    table = grid_table(runs)
    cells = [(row["encoder"], row["framing"], row["mode"], row.get("run")) for row in table.rows[:-1]]
    assert cells == [
        ("SER", "40/10ms", "probe", "c"),
        ("SER", "65ms", "probe", "e"),
        ("SER", "65ms", "probe + tuning", "f"),
        ("SER", "65ms", "finetune", "a"),
        ("SER", None, "probe", "b"),
        ("ASR", "25ms", "probe", "d"),
    ]
    assert table.rows[5]["remark"] == "collapsed: UA at chance; generated data"
    majority = table.rows[-1]
    assert (majority["encoder"], majority["n"], majority["wa"]) == ("majority class", 35, 0.657)


def test_the_command_prints_the_grid_with_intervals(make, capsys):
    folders = [str(make(name, **metrics(0.7, 0.6)).path) for name in "xy"]
    assert main(["tables", "--grid", *folders]) == 0
    printed = capsys.readouterr().out
    assert "0.700 [0.600, 0.800]" in printed
    assert "Table 6" not in printed
    assert main(["tables", *folders, "--grid", "--format", "csv"]) == 0
    table = pd.read_csv(StringIO(capsys.readouterr().out))
    assert list(table["encoder"]) == ["SER", "SER", "majority class"]
    assert list(table["auroc"][:2]) == [0.6, 0.6]
    assert table["wa_low"][0] == pytest.approx(0.6)


def test_runs_of_stage_1_alone_make_no_grid(make):
    with pytest.raises(BadInput, match="expected runs of 'sertransfer transfer'"):
        grid_table([make("x", utterance={"classes": CLASSES})])
