"""What torchrun and srun say about a process."""

import pytest

from sertransfer.errors import BadInput
from sertransfer.fitting.launch import FailedElsewhere, Launch, first_host, read_launch

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500",
}  # fmt: skip
SRUN = {
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_JOB_ID": "1234567",
}  # fmt: skip


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "8", "RANK": "5"},
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"},
        TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"},
        SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_TASKS_PER_NODE": "1"},
    ],
    ids=["nothing", "a container", "a batch script", "torchrun of one", "srun of one"],
)
def test_a_process_started_alone_is_alone(environment):
    assert read_launch(environment) is None


def test_torchrun():
    launch = read_launch(TORCHRUN)
    assert launch == Launch(5, 8, local_rank=1, local_count=4, node=1, address="10.0.0.1", port=29500)
    assert launch.nodes == 2


def test_torchrun_inside_a_job_step_of_one_task_a_machine_counts():
    assert read_launch(TORCHRUN | SRUN) == read_launch(TORCHRUN)


def test_srun():
    launch = read_launch(SRUN)
    assert launch == Launch(5, 8, local_rank=1, local_count=4, node=1, address="gpu07", port=19567)
    named = read_launch(SRUN | {"MASTER_ADDR": "login", "MASTER_PORT": "400"})
    assert (named.address, named.port) == ("login", 400)


def test_unequal_machines_are_refused_by_the_first_process():
    uneven = SRUN | {"SLURM_STEP_TASKS_PER_NODE": "5,3"}
    with pytest.raises(BadInput, match="--ntasks-per-node"):
        read_launch(uneven | {"SLURM_PROCID": "0"})
    with pytest.raises(FailedElsewhere) as failure:
        read_launch(uneven)
    assert failure.value.exit_status == 2


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("gpu[07-08,11]", "gpu07"), ("gpu[3]", "gpu3"), ("gpu[3,5]-ib,x", "gpu3-ib"), ("a,b", "a"),
        ("a", "a"), ("", "127.0.0.1"),
    ],
)  # fmt: skip
def test_the_first_host_of_a_list(hosts, first):
    assert first_host(hosts) == first
