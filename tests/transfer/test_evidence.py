"""No byte that was changed in a finished run's folder changes a decision without a word."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from test_predict import interview, place, run_of  # noqa: F401 (fixtures)

from sertransfer.cli.main import main
from sertransfer.errors import BadInput
from sertransfer.export.export import export
from sertransfer.io.checksums import HASH, with_hash
from sertransfer.io.files import write_json
from sertransfer.io.run_folder import RunFolder
from sertransfer.reporting import share
from sertransfer.reporting.report import write_report
from sertransfer.reporting.runs import open_run
from sertransfer.transfer.apply import open_predictor
from sertransfer.transfer.compare import compare
from sertransfer.transfer.predict import predict
from sertransfer.transfer.probe.probe import read_probe, write_probe


@pytest.fixture(params=["ser", "finetuned ssl"])
def run(request, run_of, tmp_path):  # noqa: F811
    shutil.copytree(run_of(request.param), tmp_path / "run")
    return tmp_path / "run"


def edit(path, change):
    """Change a JSON file as a slip, or a flipped bit, would."""
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return values


def set_threshold(values):
    values["threshold"]["value"] = 0.0


def test_a_changed_threshold_decides_nothing(run, interview):  # noqa: F811
    edit(run / "metrics.json", set_threshold)
    audio, transcript = interview
    with pytest.raises(BadInput, match="checksum differs"):
        predict(run, [audio], transcripts=[transcript], progress=False)
    with pytest.raises(BadInput, match="checksum differs"):
        export(run, run.parent / "exported")
    for reader in (open_run, write_report):
        with pytest.raises(BadInput, match="checksum differs"):
            reader(run)


@pytest.mark.parametrize("name", ["ser", "finetuned ser", "finetuned ssl"])
def test_a_decision_that_is_not_that_of_the_weights_is_refused(run_of, tmp_path, name):  # noqa: F811
    """As in a folder that is put together of two runs, or of a version without checksums."""
    shutil.copytree(run_of(name), tmp_path / "run")
    path = tmp_path / "run/metrics.json"
    whole = json.loads(path.read_text())
    del whole[HASH], whole["files"]
    others = {"threshold": {**whole["threshold"], "value": 0.03125}, "aggregation": "median"}
    for key, other in {**others, "classes": whole["classes"][::-1]}.items():
        message = rf"metrics\.json: found {key} .*; expected .*, as \w+\.safetensors"
        path.write_text(json.dumps({**whole, key: other}))
        for read in (open_predictor, lambda folder: export(folder, tmp_path / "exported")):
            with pytest.raises(BadInput, match=message):
                read(tmp_path / "run")
    path.write_text(json.dumps(whole))
    open_predictor(tmp_path / "run")


@pytest.mark.parametrize("name", ["population.json", "training_audio.json"])
def test_what_a_run_had_is_not_done_without(run, name):
    """Without its population, recordings would be cut in another way, and nothing would be flagged."""
    (run / name).unlink()
    with pytest.raises(BadInput, match=rf"{name}: found no file"):
        open_predictor(run)


def test_a_changed_cutting_is_refused(run, interview):  # noqa: F811
    edit(run / "population.json", lambda values: values["cutting"].update(min_duration=9.0))
    audio, transcript = interview
    with pytest.raises(BadInput, match=r"population\.json"):
        predict(run, [audio], transcripts=[transcript], progress=False)


def test_the_population_of_another_run_is_refused(run):
    values = json.loads((run / "population.json").read_text())
    write_json(run / "population.json", with_hash({**values, "sentences": 1, HASH: None}))
    with pytest.raises(BadInput, match=r"population\.json"):
        open_predictor(run)


def test_the_probe_of_another_run_is_refused(run_of, tmp_path):  # noqa: F811
    shutil.copytree(run_of("ser"), tmp_path / "run")
    path = tmp_path / "run/checkpoints/probe.safetensors"
    probe = read_probe(path)
    write_probe(replace(probe, slope=2 * probe.slope), path)
    for read in (open_predictor, lambda folder: export(folder, tmp_path / "exported")):
        with pytest.raises(BadInput, match="changed after the run finished"):
            read(tmp_path / "run")


def test_a_changed_population_is_refused_where_the_metrics_have_no_hashes(run_of, tmp_path):  # noqa: F811
    """As a population of this version beside metrics that somebody wrote anew."""
    shutil.copytree(run_of("ser"), tmp_path / "run")
    values = json.loads((tmp_path / "run/metrics.json").read_text())
    (tmp_path / "run/metrics.json").write_text(
        json.dumps({key: value for key, value in values.items() if key not in (HASH, "files")})
    )
    open_predictor(tmp_path / "run")
    edit(tmp_path / "run/population.json", lambda values: values["cutting"].update(min_duration=9.0))
    with pytest.raises(BadInput, match=r"population\.json: found no description .* or one that was changed"):
        open_predictor(tmp_path / "run")


def test_changed_tables_reach_no_page_and_no_comparison(run, run_of):  # noqa: F811
    table = run / "subjects.csv"
    text = table.read_text()
    table.write_text(text.replace("not depressed", "depressed", 1))
    assert table.read_text() != text
    message = r"subjects\.csv: found a file that was changed"
    readers = (
        open_run,
        write_report,
        lambda folder: compare(folder, run_of("ser")),
        lambda folder: share.share(folder, folder.parent / "copy"),
    )
    for reader in readers:
        with pytest.raises(BadInput, match=message):
            reader(run)


def test_an_untouched_copy_is_read(run, capsys):
    open_predictor(run)
    assert main(["report", str(run)]) == 0


def test_a_run_with_changed_metrics_is_not_taken_for_finished(tmp_path):
    with RunFolder(tmp_path).claim({"a": 1}, {}) as run:
        run.write_metrics({"threshold": {"value": 0.5}, "counts": {1: 2}})
        assert run.finished
        edit(tmp_path / "metrics.json", set_threshold)
        assert not run.finished


@pytest.mark.parametrize("command", ["report", "export", "share", "tables", "compare", "predict"])
def test_no_file_of_a_run_folder_is_waited_for(
    command,
    run,
    pipes,
    interview,  # noqa: F811
    tmp_path,
    capsys,
    monkeypatch,
):
    """Not at a pipe in its place: what is not needed may be anything, the others are refused."""
    monkeypatch.setattr(share, "write_report", lambda folder: folder)  # takes a second; 'report' tries it
    shutil.copytree(run, tmp_path / "other")
    more = {
        "export": ("-o", tmp_path / "out"),
        "share": ("-o", tmp_path / "out"),
        "compare": (tmp_path / "other", "-o", tmp_path / "out.html"),
        "predict": (interview[0],),
    }
    words = list(map(str, [command, run, *more.get(command, ())]))
    for path in [path for path in sorted(run.rglob("*")) if path.is_file()]:
        assert not pipes.replace(path, lambda: main(words)), path
        assert "Traceback" not in capsys.readouterr().err
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_no_transcript_is_waited_for(run_of, pipes, interview, tmp_path, capsys):  # noqa: F811
    audio, transcript = (Path(shutil.copy(path, tmp_path / path.name)) for path in interview)
    for more in ([], ["--transcript", str(transcript)]):
        words = ["predict", str(run_of("ser")), str(audio), *more]
        assert not pipes.replace(transcript, lambda words=words: main(words))
        error = capsys.readouterr().err
        assert error.count("found a device or pipe; expected a file") == 1
