"""Several processes of one training, started by torchrun or srun and connected by torch.distributed.

Process 0 does everything that a single process would: it reads the inputs, claims the run folder, makes
features, scores and writes. The others join the training steps; they hold no lock and write nothing. If one
fails, it says why, and the launcher ends the rest. Outside :func:`connected` a process is alone.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from sertransfer.errors import FailedElsewhere, SertransferError, bad_input

T = TypeVar("T")

START = timedelta(minutes=10)
"""How long the processes wait for each other to start."""

WORK = timedelta(days=20)
"""How long they wait for process 0, which may make features for days; a lost connection ends it at once."""

PATIENCE = 2.0
"""Seconds that process 0 has to speak first: what fails in all processes, such as a loss, fails there too."""

_LOST = re.compile(r"gloo|connection (?:closed|reset)|broken pipe|nccl", re.IGNORECASE)


def count() -> int:
    """Return the number of connected processes; 1 for a process that is alone."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, counted from 0; the first reads, writes and speaks."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def gather(value: T) -> list[T]:
    """Return the *value* of every process, in their order."""
    values = [value] * count()
    if count() > 1:
        distributed.all_gather_object(values, value)
    return values


def gather_numbers(numbers: Sequence[float]) -> list[list[float]]:
    """Return the *numbers* of every process, in their order; all give equally many."""
    if count() == 1:
        return [list(numbers)]
    own = torch.tensor(numbers, dtype=torch.float64)
    every = [torch.empty_like(own) for _ in range(count())]
    distributed.all_gather(every, own)
    return [row.tolist() for row in every]


def broadcast(value: Any = None) -> Any:
    """Return the *value* that process 0 gives."""
    if count() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def share(work: Callable[[], T]) -> T:
    """Return the result of *work*, which process 0 alone does."""
    shared: T = broadcast(work() if rank() == 0 else None)
    return shared


def find_environment() -> ClusterEnvironment | None:
    """Return Lightning's view of torchrun or srun; ``None`` if this process was started alone.

    SLURM's variables of the job alone mean nothing: a batch script has them before ``srun`` starts anything.

    Raises:
        BadInput: If srun was not told how many processes a machine has (in process 0; elsewhere
            :class:`~sertransfer.errors.FailedElsewhere`).
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment() if int(os.environ["WORLD_SIZE"]) > 1 else None
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) == 1:
        return None
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        if os.environ["SLURM_PROCID"] != "0":
            raise FailedElsewhere
        raise bad_input(
            "srun",
            found=f"{os.environ['SLURM_STEP_NUM_TASKS']} tasks, without a number for each machine",
            expected="as many tasks on every machine",
            remedy="give --nodes and --ntasks-per-node",
        )
    return SLURMEnvironment(auto_requeue=False)


def local_count() -> int:
    """Return the number of processes on each machine, by torchrun or srun."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ["SLURM_NTASKS_PER_NODE"])


@contextmanager
def connected() -> Iterator[None]:
    """Connect the processes that torchrun or srun started, for as long as the context lasts.

    Raises:
        BadInput: If a machine has GPUs, but fewer than processes.
        FailedElsewhere: If another process failed first.
    """
    environment = find_environment()
    if environment is None:
        yield
        return
    number, processes = environment.global_rank(), environment.world_size()
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = (
        environment.main_address,
        str(environment.main_port),
    )
    store, _, _ = next(rendezvous("env://", number, processes, timeout=START))
    try:
        backend = _choose_backend(environment)
        distributed.init_process_group(backend, store=store, rank=number, world_size=processes, timeout=WORK)
        yield
    except BaseException as error:
        failure = _first_failure(PrefixStore("sertransfer", store), number, error)
        if failure is error:
            raise
        raise failure from error
    distributed.destroy_process_group()


def _choose_backend(environment: ClusterEnvironment) -> str:
    """Return what connects the processes; each takes its own GPU from here on, if there are any."""
    if not torch.cuda.is_available():
        return "gloo"
    if torch.cuda.device_count() < local_count():
        raise bad_input(
            f"machine {environment.node_rank()}",
            found=f"{torch.cuda.device_count()} GPUs for {local_count()} processes",
            expected="a GPU for each process, seen by all of them",
            remedy="start fewer, or hide the GPUs with CUDA_VISIBLE_DEVICES=",
        )
    torch.cuda.set_device(environment.local_rank())
    return "cpu:gloo,cuda:nccl"


def _first_failure(store: Store, number: int, error: BaseException) -> BaseException:
    """Return *error*, if process *number* is the first to fail; others only lose their connection."""
    if number:
        time.sleep(PATIENCE)
    try:
        # set by the first process alone, whatever happens at the same time
        first = store.compare_set("failed", "", str(number)).decode()
    except RuntimeError:  # process 0, which keeps the store under srun, is gone
        return FailedElsewhere()
    if first != str(number):
        return FailedElsewhere()
    if isinstance(error, RuntimeError) and _LOST.search(str(error)):
        return SertransferError(
            "another process of this run ended without a word (killed, or out of memory?); the same command "
            "goes on where it stood"
        )
    return error
