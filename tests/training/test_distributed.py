"""Two processes train what one trains, score what one scores, and fail as one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import joined_runs
from torch.distributed import HashStore

from sertransfer.cli.main import _find_rank, main
from sertransfer.errors import BadInput, FailedElsewhere
from sertransfer.manifest import write_manifest
from sertransfer.models.checkpoint import read_checkpoint
from sertransfer.pretraining import workflow
from sertransfer.pretraining.evaluate import evaluate
from sertransfer.pretraining.settings import PretrainConfig
from sertransfer.training import distributed
from sertransfer.training.trainer import RESUME_POINT

SCRIPT = Path(joined_runs.__file__)
CLI = ["-m", "sertransfer.cli"]
TIMEOUT = 300
"""Seconds; on a quiet machine no pair takes a tenth of it."""

TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}
"""What rounding may do to single-precision weights over some ten steps of rate 0.1."""


def environment(**more):
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "CUDA_VISIBLE_DEVICES": "",
        **more,
    }


def run_pair(*words):
    """Start two processes as torchrun does, and return each one's status and what both wrote."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            env=environment(**common, RANK=rank, LOCAL_RANK=rank, TORCHELASTIC_RUN_ID="test"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        outputs = [process.communicate(timeout=TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return (
        [process.returncode for process in processes],
        [out for out, _ in outputs],
        [err for _, err in outputs],
    )


def torchrun(*words):
    """Start two processes by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, *map(str, words)],
        env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What two processes trained; they are started once, since starting takes longest."""
    folder = tmp_path_factory.mktemp("together")
    statuses, _, errors = run_pair(SCRIPT, folder)
    assert statuses == [0, 0], errors
    return folder, torch.load(folder / "results.pt")


@pytest.fixture
def alone(monkeypatch, tmp_path):
    monkeypatch.setattr(joined_runs.registry, "MODELS", dict(joined_runs.registry.MODELS))
    joined_runs.register()
    return lambda name, config: joined_runs.train(tmp_path / name, config)


def curve(folder):
    rows = [line.split(",")[:-1] for line in (folder / "epochs.csv").read_text().splitlines()[1:]]
    return [[float(value) for value in row] for row in rows]


@pytest.mark.parametrize("name", list(joined_runs.EXACT))
def test_without_batch_norm_two_processes_train_the_weights_of_one(name, together, alone, tmp_path):
    folder, results = together
    expected = alone(name, joined_runs.settings(**joined_runs.EXACT[name]))
    assert results[name]["selection"] == expected["selection"]
    for key, value in expected["state"].items():
        torch.testing.assert_close(results[name]["state"][key], value, **TOLERANCE)
    assert curve(folder / name) == [pytest.approx(row, rel=1e-4) for row in curve(tmp_path / name)]


def test_two_processes_resume_inside_an_epoch_to_the_same_weights(together):
    folder, results = together
    assert results["killed"] is None
    assert results["resumed"]["selection"] == results["whole"]["selection"]
    for key, value in results["whole"]["state"].items():
        assert torch.equal(results["resumed"]["state"][key], value), key
    assert curve(folder / "resumed") == curve(folder / "whole")


def test_a_loss_that_breaks_down_in_one_share_stops_all_and_names_the_batch(together):
    _, results = together
    message = results["broken"]
    assert message.startswith("the loss is nan at step ")
    assert "u11" in message
    assert message.split("utterances of the batch: ")[1].split(";")[0].count(", ") in (5, 6)


def test_another_number_of_processes_goes_on_and_says_so(together, alone, tmp_path, caplog):
    folder, _ = together
    (tmp_path / "plain/checkpoints").mkdir(parents=True)
    (tmp_path / "plain/checkpoints" / RESUME_POINT).write_bytes(
        (folder / "plain/checkpoints" / RESUME_POINT).read_bytes()
    )
    longer = joined_runs.settings(epochs=4)
    continued = alone("plain", longer)
    assert "goes on in 1 processes instead of 2" in caplog.text
    for key, value in alone("whole", longer)["state"].items():
        torch.testing.assert_close(continued["state"][key], value, **TOLERANCE)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    manifest = joined_runs.training_fakes.make_tones(folder, train=17, test=11)
    write_manifest(manifest, folder / "manifest.csv")
    return manifest, folder / "manifest.csv"


SETTINGS = [
    "--model", "fcn_attention_alexnet", "--front_end.mels", "64", "--front_end.denoise.method", "none",
    "--cropping.seconds", "0.5", "--epochs", "1", "--batch_size", "6",
]  # fmt: skip


@pytest.mark.usefixtures("no_report")
def test_torchrun_scores_every_utterance_once(manifest, tmp_path):
    values, path = manifest
    run = tmp_path / "run"
    done = torchrun(*CLI, "pretrain", "--manifest", path, "--run-dir", run, *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("11 utterances") == 1
    assert (run / "log.txt").read_text().count("training in 2 processes") == 1
    assert len((run / "epochs.csv").read_text().splitlines()) == 2
    metrics = json.loads((run / "metrics.json").read_text())
    checkpoint = run / "checkpoints/model.safetensors"
    alone = evaluate(checkpoint, values, run_dir=tmp_path / "alone", progress=False, batch_size=6)
    assert metrics["utterance"] == alone["utterance"]
    assert metrics["utterance"]["n"] == 11
    assert read_checkpoint(checkpoint).provenance["train"]["n"] == 17
    statuses, outputs, errors = run_pair(*CLI, "pretrain", "--manifest", path, "--run-dir", run, *SETTINGS)
    assert statuses == [0, 0], errors
    assert outputs[0].count("11 utterances") == 1
    assert outputs[1] == ""
    assert (run / "log.txt").read_text().count("training in 2 processes") == 1


def test_bad_input_is_said_once_and_ends_all(manifest, tmp_path):
    _, path = manifest
    broken = tmp_path / "broken.csv"
    broken.write_text(path.read_text().replace(",3.wav", ",no_such.wav"))
    broken.with_suffix(".json").write_text(path.with_suffix(".json").read_text())
    statuses, outputs, errors = run_pair(
        *CLI, "pretrain", "--manifest", broken, "--run-dir", tmp_path / "run", *SETTINGS, "--model", "vgg11"
    )
    assert statuses == [2, 1]
    assert errors[0].count("no_such.wav") == 1
    assert outputs[1] == ""
    assert "sertransfer: error" not in errors[1]
    assert (tmp_path / "run/faults.json").is_file()


@pytest.mark.parametrize(
    ("failure", "statuses", "speaker", "message"),
    [("killed", [1, -9], 0, "ended without a word"), ("raises", [1, 1], 1, "process 1 has had enough")],
)
def test_a_process_that_fails_in_training_ends_the_other(
    failure, statuses, speaker, message, manifest, tmp_path
):
    """Nobody ends the other process here, as torchrun would: it notices by itself."""
    command = ["pretrain", "--manifest", manifest[1], "--run-dir", tmp_path / "run", *SETTINGS]
    ended, outputs, errors = run_pair(SCRIPT, failure, *command)
    assert ended == statuses
    assert outputs == ["", ""]
    assert [error.count("sertransfer: error: ") for error in errors] == [1 - speaker, speaker]
    assert errors[speaker].count(message) == 1
    assert "Traceback" not in "".join(errors)


def test_torchrun_ends_the_others_of_a_killed_process(manifest, tmp_path):
    command = ["pretrain", "--manifest", manifest[1], "--run-dir", tmp_path / "run", *SETTINGS]
    done = torchrun(SCRIPT, "killed", *command)
    assert done.returncode == 1
    assert "Signal 9 (SIGKILL) received" in done.stderr
    assert done.stderr.count("sertransfer: error: ") <= 1
    assert not (tmp_path / "run/metrics.json").exists()


def test_other_commands_run_in_process_0_alone(monkeypatch, capsys):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert main(["models"]) == 0
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    assert main(["models"]) == 0
    assert "pyresnet152" in capsys.readouterr().out


TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}
SRUN = {
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NODELIST": "gpu[07-08]",
    "SLURM_JOB_ID": "1234567",
}  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, None),
        ({"WORLD_SIZE": "8", "RANK": "5"}, None),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),
        (TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}, None),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
        (TORCHRUN, 5),
        (SRUN, 5),
        (SRUN | TORCHRUN | {"RANK": "3"}, 3),
    ],
    ids=["nothing", "a container", "a batch script", "torchrun of one", "srun of one", "torchrun", "srun",
         "torchrun inside srun"],
)  # fmt: skip
def test_who_started_a_process(variables, rank, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(variables))
    found = distributed.find_environment()
    assert (None if found is None else found.global_rank()) == rank
    assert _find_rank() == (rank or 0, rank is not None)


def test_srun_must_say_how_many_tasks_a_machine_has(monkeypatch):
    variables = {name: value for name, value in SRUN.items() if name != "SLURM_NTASKS_PER_NODE"}
    monkeypatch.setattr(os, "environ", variables)
    with pytest.raises(FailedElsewhere):
        distributed.find_environment()
    variables["SLURM_PROCID"] = "0"
    with pytest.raises(BadInput, match="--ntasks-per-node"):
        distributed.find_environment()


class Gone(HashStore):
    def compare_set(self, *_):
        raise RuntimeError("connection reset by peer")


def test_the_first_process_that_fails_speaks(monkeypatch):
    monkeypatch.setattr(distributed, "PATIENCE", 0.0)
    store, fault, lost = HashStore(), MemoryError(), RuntimeError("[gloo] Connection closed by peer")
    assert distributed._first_failure(store, 1, fault) is fault
    assert isinstance(distributed._first_failure(store, 0, lost), FailedElsewhere)
    assert "without a word" in str(distributed._first_failure(HashStore(), 0, lost))
    assert isinstance(distributed._first_failure(Gone(), 1, lost), FailedElsewhere)


def test_a_process_that_is_alone_needs_nobody():
    assert (distributed.rank(), distributed.count()) == (0, 1)
    assert distributed.gather("x") == ["x"]
    assert distributed.gather_numbers([1, 2]) == [[1, 2]]
    assert distributed.share(lambda: 3) == 3
    with distributed.connected():
        assert distributed.count() == 1


def test_batch_norm_of_several_processes_needs_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    workflow._check_processes(PretrainConfig(sync_batch_norm=True))
    monkeypatch.setattr(distributed, "count", lambda: 2)
    workflow._check_processes(PretrainConfig())
    with pytest.raises(BadInput, match="sync_batch_norm"):
        workflow._check_processes(PretrainConfig(sync_batch_norm=True))
