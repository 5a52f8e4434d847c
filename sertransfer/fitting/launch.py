"""How this process was started: alone, or by torchrun or srun as one of several; read from the environment.

Nothing heavy is imported here, since the command line asks at every start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sertransfer.errors import SertransferError, bad_input


class FailedElsewhere(SertransferError):
    """Another process of the run failed and says why; this one ends in silence, with its exit status."""

    def __init__(self, exit_status: int) -> None:
        super().__init__("another process of this run failed, and says why")
        self.exit_status = exit_status


@dataclass(frozen=True)
class Launch:
    """One of several processes of one run.

    Attributes:
        rank: Number among all; 0 is the one that reads inputs, writes, and speaks.
        count: Processes of the run.
        local_rank: Number among those of this machine; also that of its GPU.
        local_count: Processes of each machine.
        node: Number of the machine.
        address: Where process 0 is found.
        port: Where process 0 is found.
    """

    rank: int
    count: int
    local_rank: int
    local_count: int
    node: int
    address: str
    port: int

    @property
    def nodes(self) -> int:
        """Machines of the run."""
        return self.count // self.local_count


def read_launch(environment: Mapping[str, str]) -> Launch | None:
    """Return what torchrun, or else srun, says about this process; ``None`` if it was started alone.

    ``WORLD_SIZE`` and ``SLURM_NTASKS`` alone mean nothing: the one is set in many a container, the other
    in a batch script before ``srun`` starts anything.

    Raises:
        BadInput: If srun puts unequal numbers of processes on the machines (on process 0; elsewhere
            :class:`FailedElsewhere`).
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        launch = _from_torchrun(environment)
    elif "SLURM_STEP_NUM_TASKS" in environment:
        launch = _from_srun(environment)
    else:
        return None
    return launch if launch.count > 1 else None


def _from_torchrun(environment: Mapping[str, str]) -> Launch:
    count = int(environment["WORLD_SIZE"])
    return Launch(
        rank=int(environment["RANK"]),
        count=count,
        local_rank=int(environment["LOCAL_RANK"]),
        local_count=int(environment.get("LOCAL_WORLD_SIZE", count)),
        node=int(environment.get("GROUP_RANK", 0)),
        address=environment["MASTER_ADDR"],
        port=int(environment["MASTER_PORT"]),
    )


def _from_srun(environment: Mapping[str, str]) -> Launch:
    count, rank = int(environment["SLURM_STEP_NUM_TASKS"]), int(environment["SLURM_PROCID"])
    layout = environment.get("SLURM_STEP_TASKS_PER_NODE", str(count))
    even = re.fullmatch(r"(\d+)(\(x\d+\))?", layout)  # "4(x2)" is 4 on each of 2 machines
    if even is None:
        if rank:
            raise FailedElsewhere(2)
        raise bad_input(
            "srun",
            found=f"SLURM_STEP_TASKS_PER_NODE {layout}",
            expected="as many processes on every machine",
            remedy="give --nodes and --ntasks-per-node",
        )
    port = 15000 + int(environment.get("SLURM_JOB_ID", "0")[-4:])  # the same for all, another for each job
    return Launch(
        rank=rank,
        count=count,
        local_rank=int(environment["SLURM_LOCALID"]),
        local_count=int(even[1]),
        node=int(environment.get("SLURM_NODEID", 0)),
        address=environment.get("MASTER_ADDR") or first_host(environment.get("SLURM_STEP_NODELIST", "")),
        port=int(environment.get("MASTER_PORT", port)),
    )


def first_host(hosts: str) -> str:
    """Return the first of SLURM's list of *hosts*, such as ``node[07-09,12],login``."""
    named = re.match(r"([^,\[]+)(?:\[([^\],-]+)[^\]]*\]([^,]*))?", hosts)
    return "127.0.0.1" if named is None else "".join(part or "" for part in named.groups())
