import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "benchmarks/gpu/run.py"
SMALL = "--utterances 32 --frames 33 --batch 8 --model pyresnet_tiny --seconds 0.01 --warm-up 1 --steps 1"


def test_it_runs_to_its_end_at_a_small_size_on_the_cpu(tmp_path):
    output = tmp_path / "gpu.json"
    command = [sys.executable, PROGRAM, *SMALL.split(), "--no-compile", "--output", output]
    subprocess.run(command, check=True, capture_output=True)
    result = json.loads(output.read_text())
    assert result["gpu"].startswith("none")
    rows = {row["work"]: row for row in result["rows"]}
    assert len(rows) == 11
    assert not [row for row in rows.values() if "FAILED" in row.get("note", "")]
    rates = [row["utterances_a_second"] for row in rows.values() if "utterances_a_second" in row]
    assert len(rates) == 10
    assert min(rates) > 0
    agreed = rows["bf16 and compiling against fp32"]
    assert agreed["decisions_equal"] <= agreed["test_patterns"]
    assert 0 < agreed["largest_difference"] < 0.2
    assert all(work in output.with_suffix(".md").read_text() for work in rows)


def test_no_row_begins_after_the_time_is_up(tmp_path):
    output = tmp_path / "gpu.json"
    command = [sys.executable, PROGRAM, *SMALL.split(), "--minutes", "0", "--output", output]
    subprocess.run(command, check=True, capture_output=True)
    assert {row["note"] for row in json.loads(output.read_text())["rows"]} == {"SKIPPED: the time was up"}
