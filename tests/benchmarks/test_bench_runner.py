"""The benchmark runner: rows by turns, rows that are skipped aloud, rows that fail."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Import the runner as ``python benchmarks/run.py`` would, and forget it afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("measure", "run", "front_end"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import measure
    import run

    yield measure, run
    for name in ("measure", "run", "front_end"):
        sys.modules.pop(name, None)


def run_rows(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: list[Any], *flags: str) -> int:
    topic = types.ModuleType("made_up_topic")
    topic.ROWS = rows
    monkeypatch.setitem(sys.modules, "made_up_topic", topic)
    monkeypatch.setattr(run, "TOPICS", ("made_up_topic",))
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", *flags])
    return int(run.main())


def test_turns_alternate_and_a_larger_ratio_is_better(modules: tuple[Any, Any]) -> None:
    measure, _ = modules
    order: list[str] = []
    turns = measure.by_turns(lambda: order.append("ours"), lambda: order.append("peer"), pairs=3)
    assert order == ["ours", "peer"] * 4
    assert len(turns.ours) == len(turns.peer) == 3
    turns = measure.Turns([0.1, 0.2, 0.1], [0.4, 0.4, 0.3])
    row = measure.timed_row("w", "p", turns, items=10, unit="file", goal=2)
    assert row["ratio"] == pytest.approx(3)
    assert row["ours"] == pytest.approx(10)
    assert row["peer"] == pytest.approx(40)
    assert row["spread"] == [pytest.approx(2), pytest.approx(4)]


def test_rows_are_written_skipped_aloud_and_failures_do_not_hide_the_rest(
    modules: tuple[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measure, run = modules

    def fast(options: Any) -> dict[str, Any]:
        assert options.emodb is None
        return measure.timed_row("fast|work", "p", measure.Turns([1.0], [5.0]), items=1, unit="x", goal=4)

    def absent(options: Any) -> dict[str, Any]:
        return measure.skipped_row("w", "p", 3, "needs real speech; give --emodb")

    def broken(options: Any) -> dict[str, Any]:
        raise RuntimeError("no luck")

    assert run_rows(run, monkeypatch, tmp_path, [fast, absent, broken]) == 1
    rows = json.loads((tmp_path / "latest.json").read_text())
    assert [row["name"] for row in rows] == ["fast", "absent", "broken"]
    keys = {"work", "ours", "peer", "peer_name", "ratio", "goal", "limit_fraction", "spread", "unit", "note"}
    assert all(keys <= set(row) for row in rows)
    assert [row["ratio"] for row in rows] == [5.0, None, None]
    said = capsys.readouterr().out
    assert "absent: SKIPPED: needs real speech" in said
    assert "broken: FAILED: RuntimeError: no luck" in said
    table = (tmp_path / "latest.md").read_text()
    assert "| fast/work | 1e+03 | 5e+03 |" in table
    assert "python benchmarks/run.py" in table


def test_one_row_alone_leaves_the_whole_table_as_it_is(
    modules: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measure, run = modules

    def one(options: Any) -> dict[str, Any]:
        return measure.skipped_row("w", "p", None, "nothing")

    assert run_rows(run, monkeypatch, tmp_path, [one], "--only", "one") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "one.md"]
    with pytest.raises(SystemExit):
        run_rows(run, monkeypatch, tmp_path, [one], "--only", "two")
    with pytest.raises(SystemExit):
        run_rows(run, monkeypatch, tmp_path, [one], "--emodb", str(tmp_path))


def test_one_core_is_given_back(modules: tuple[Any, Any]) -> None:
    import os

    measure, _ = modules
    before = os.sched_getaffinity(0)
    with measure.one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_the_front_end_rows_compare_like_with_like(modules: tuple[Any, Any], tmp_path: Path) -> None:
    measure, _ = modules
    import front_end

    path, kind = front_end.recording(measure.Options(None, tmp_path))
    assert "no speech" in kind
    front_end.STARTS = [3, 100]
    ours = torch.stack(front_end.our_chain(path, front_end.FrontEnd())()).flatten()
    plainly = front_end.plain_torch()
    plain = torch.stack([plainly(front_end.read_plainly(path, start)) for start in (3, 100)]).flatten()
    assert float(torch.corrcoef(torch.stack([ours, plain]))[0, 1]) > 0.95


def test_decisions_are_equal_from_equal_features_and_not_from_others(
    modules: tuple[Any, Any], tmp_path: Path
) -> None:
    import decisions

    (tmp_path / "wav").mkdir()
    rng = np.random.default_rng(0)
    for speaker in range(5):
        for emotion, loudness in (("W", 0.3), ("T", 0.01)):
            wave = loudness * rng.standard_normal(4000)
            soundfile.write(tmp_path / f"wav/0{speaker}a01{emotion}a.wav", wave, 16000)

    def energy(wave: Any) -> torch.Tensor:
        return torch.as_tensor(wave)[None].abs().log1p()

    same = decisions.compare_decisions(tmp_path, energy, energy)
    assert "of 2 speakers decides on 3 others: 6 of 6 decisions equal, WA 1.000 from ours" in same
    silent = decisions.compare_decisions(tmp_path, energy, lambda wave: 0 * energy(wave))
    assert "3 of 6 decisions equal, WA 1.000 from ours against 0.500" in silent
