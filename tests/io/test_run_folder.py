import json
import logging
import multiprocessing
import stat

import pytest

from sertransfer.errors import BadInput, Fault
from sertransfer.io.run_folder import RunFolder

CONFIG = {"epochs": 2, "model": {"name": "a"}}


def test_a_run_is_finished_by_content(tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.claim(CONFIG, {"manifest": "1"}):
        assert not run.finished
        assert run.checkpoints.is_dir()
        logging.getLogger("sertransfer").info("hello")
        run.write_metrics({"x": 1})
        assert run.finished
    again = RunFolder(tmp_path / "run")
    with again.claim(CONFIG, {"manifest": "1"}):
        assert again.finished
        assert again.read_metrics()["x"] == 1
        again.metrics_path.write_text('{"x": 1')
        assert not again.finished
        again.metrics_path.write_text("[]")
        assert not again.finished
    assert "hello" in (tmp_path / "run" / "log.txt").read_text()
    assert "epochs: 2" in (tmp_path / "run" / "config.yaml").read_text()


def test_the_folder_is_the_owners_alone(tmp_path):
    with RunFolder(tmp_path / "run").claim(CONFIG, {}) as run:
        assert stat.S_IMODE(run.path.stat().st_mode) == 0o700


def test_another_config_or_input_is_refused_with_what_differs(tmp_path):
    with RunFolder(tmp_path).claim(CONFIG, {"manifest": "1"}):
        pass
    with (
        pytest.raises(BadInput, match=r"model\.name = 'a' of an earlier run; expected 'b', as in"),
        RunFolder(tmp_path).claim({"epochs": 2, "model": {"name": "b"}}, {"manifest": "1"}),
    ):
        pass
    with (
        pytest.raises(BadInput, match="another --run-dir"),
        RunFolder(tmp_path).claim(CONFIG, {"manifest": "2"}),
    ):
        pass


def test_another_file_is_told_by_the_beginning_of_its_hash(tmp_path):
    with RunFolder(tmp_path).claim(CONFIG, {"manifest": "a" * 64}):
        pass
    told = "= the content of hash aaaaaaaaaaaa of an earlier run; expected the content of hash bbbbbbbbbbbb,"
    with pytest.raises(BadInput, match=told), RunFolder(tmp_path).claim(CONFIG, {"manifest": "b" * 64}):
        pass


@pytest.mark.parametrize(("name", "text"), [("config.yaml", "a: ["), ("inputs.json", "{")])
def test_an_unreadable_record_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match="unreadable"), RunFolder(tmp_path).claim(CONFIG, {}):
        pass


def _hold(path, ready, release):
    with RunFolder(path).claim(CONFIG, {}):
        ready.set()
        release.wait(20)


def test_a_held_folder_is_refused_with_its_holder(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready, release))
    holder.start()
    try:
        assert ready.wait(20)
        with (
            pytest.raises(BadInput, match=f"held by process {holder.pid}"),
            RunFolder(tmp_path).claim(CONFIG, {}),
        ):
            pass
    finally:
        release.set()
        holder.join()
    with RunFolder(tmp_path).claim(CONFIG, {}):
        pass


def test_faults_are_kept_beside_the_run(tmp_path):
    from sertransfer.errors import bad_input

    def fail():
        with RunFolder(tmp_path).claim(CONFIG, {}):
            raise bad_input("a.csv, row 2", found="x", expected="y", remedy="z")

    with pytest.raises(BadInput):
        fail()
    assert json.loads((tmp_path / "faults.json").read_text())[0]["where"] == "a.csv, row 2"
    assert "row 2" in (tmp_path / "log.txt").read_text()


def test_a_refusal_is_logged_in_the_folder_and_left_to_the_caller_to_say(tmp_path, caplog):
    def fail():
        with RunFolder(tmp_path).claim(CONFIG, {}):
            raise BadInput([Fault(f"a.csv, row {row}", "x", "y", "z") for row in range(60)])

    with pytest.raises(BadInput) as caught:
        fail()
    assert caplog.text == ""
    assert caught.value.report == tmp_path / "faults.json"
    assert len(json.loads(caught.value.report.read_text())) == 60
    assert "and 10 more in" in (tmp_path / "log.txt").read_text()


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(BadInput, match="a file in the way"), RunFolder(tmp_path / "run").claim(CONFIG, {}):
        pass


def refuse(folder, config, *, keep=None):
    with RunFolder(folder).claim(config, {"manifest": "1"}) as run:
        if keep is not None:
            (run.path / keep).write_text("x")
        raise BadInput([Fault("a.csv", "x", "y", "z")])


def test_a_run_that_bad_input_stopped_at_its_start_gives_the_folder_to_its_correction(tmp_path):
    with pytest.raises(BadInput, match=r"a\.csv"):
        refuse(tmp_path, CONFIG)
    with RunFolder(tmp_path).claim({**CONFIG, "epochs": 3}, {"manifest": "2"}) as run:
        assert not (tmp_path / "faults.json").exists()
        assert "epochs: 3" in (tmp_path / "config.yaml").read_text()
        assert run.stamp
    with pytest.raises(BadInput, match="epochs"), RunFolder(tmp_path).claim(CONFIG, {"manifest": "2"}):
        pass  # that one was not stopped


@pytest.mark.parametrize("keep", ["checkpoints/last.ckpt", "metrics.json"])
def test_what_a_stopped_run_has_to_keep_is_not_taken_over(tmp_path, keep):
    with pytest.raises(BadInput, match=r"a\.csv"):
        refuse(tmp_path, CONFIG, keep=keep)
    with pytest.raises(BadInput, match="epochs = 2"):
        refuse(tmp_path, {**CONFIG, "epochs": 3})


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    with RunFolder(tmp_path / "run").claim({}, {}):
        pass
    for folder in ("", "checkpoints", "plots"):
        (tmp_path / "run" / folder).mkdir(exist_ok=True)
        (tmp_path / "run" / folder / ".a.svg.12.0123abcd.tmp").touch()
    with RunFolder(tmp_path / "run").claim({}, {}):
        assert not list((tmp_path / "run").rglob(".*.tmp"))
