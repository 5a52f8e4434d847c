"""The processes of one run: the first leads, the others take part where it calls them.

Process 0 does everything that one process would: it reads, claims the folder, makes features, scores and
writes. The others wait for its calls (:meth:`Processes.call`), so that they hold no lock, write nothing and
say nothing. Work that all have begun together is kept in step by the other methods.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from sertransfer.errors import bad_input
from sertransfer.fitting.failure import FailureBoard
from sertransfer.fitting.launch import FailedElsewhere, Launch

T = TypeVar("T")

START = timedelta(minutes=10)
"""How long the processes wait for each other to start."""

WORK = timedelta(days=20)
"""How long the others wait for the first, which may make features for days; failures end it at once."""


class Processes:
    """One process and those it works with.

    Args:
        launch: How it was started; ``None`` = alone.
        group: Connects the processes' main memories; ``None`` if alone.
    """

    def __init__(self, launch: Launch | None = None, group: distributed.ProcessGroup | None = None) -> None:
        self.launch = launch
        self._group = group
        self.rank, self.count = (0, 1) if launch is None else (launch.rank, launch.count)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks; true if it is alone."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Return the *value* of every process, in their order."""
        values = [value] * self.count
        if self.count > 1:
            distributed.all_gather_object(values, value, group=self._group)
        return values

    def gather_numbers(self, numbers: Sequence[float]) -> list[list[float]]:
        """Return the *numbers* of every process, in their order; as many from each."""
        if self.count == 1:
            return [list(numbers)]
        own = torch.tensor(numbers, dtype=torch.float64)
        every = [torch.empty_like(own) for _ in range(self.count)]
        distributed.all_gather(every, own, group=self._group)
        return [row.tolist() for row in every]

    def share(self, work: Callable[[], T]) -> T:
        """Return what *work* gives on the first process, where alone it is done."""
        shared: T = self._send(work() if self.first else None)
        return shared

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have every other process call *function*, while the first, which says so, goes on."""
        if self.count > 1:
            self._send(partial(function, *arguments))

    def follow(self) -> None:
        """Do what the first process calls for, until it is through."""
        while (task := self._send(None)) is not None:
            task()

    def dismiss(self) -> None:
        """End the others' :meth:`follow`."""
        self._send(None)

    def _send(self, value: Any) -> Any:
        """Return the *value* of the first process."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=self._group)
        return values[0]


ALONE = Processes()

_current: ContextVar[Processes] = ContextVar("processes", default=ALONE)


def current() -> Processes:
    """Return the processes that this one was joined with; :data:`ALONE` by default."""
    return _current.get()


def run_together(launch: Launch, work: Callable[[], object]) -> None:
    """Do *work* on the first process, and what it calls for on the others.

    Raises:
        FailedElsewhere: If another process failed, with the status that it ends with.
    """
    with joined(launch) as processes:
        if processes.first:
            work()
            processes.dismiss()
        else:
            processes.follow()


@contextmanager
def joined(launch: Launch) -> Iterator[Processes]:
    """Connect the processes of *launch* for as long as the context lasts.

    Raises:
        BadInput: If there are more processes than GPUs on a machine that has any.
        FailedElsewhere: If another process fails first.
    """
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = launch.address, str(launch.port)
    store, _, _ = next(rendezvous("env://", launch.rank, launch.count, timeout=START))
    board = FailureBoard(PrefixStore("sertransfer", store), launch.rank, launch.count)
    board.watch()
    token = None
    try:
        distributed.init_process_group(
            _choose_backend(launch), store=store, rank=launch.rank, world_size=launch.count
        )
        # features and scores may take longer than the first group waits, and its device has no part in them
        group = distributed.new_group(backend="gloo", timeout=WORK)
        token = _current.set(Processes(launch, group))
        yield _current.get()
        distributed.barrier(group)
        board.stop()
        distributed.destroy_process_group()
    except BaseException as error:
        status = board.fail(error)
        if status is None:
            raise
        raise FailedElsewhere(status) from error
    finally:
        if token is not None:
            _current.reset(token)


def _choose_backend(launch: Launch) -> str:
    """Return what carries the gradients; with GPUs each process takes its own from here on."""
    if not torch.cuda.is_available():
        return "gloo"
    if torch.cuda.device_count() < launch.local_count:
        raise bad_input(
            f"machine {launch.node}",
            found=f"{torch.cuda.device_count()} GPUs for {launch.local_count} processes",
            expected="a GPU for each process, seen by all of them",
            remedy="start fewer, or hide the GPUs with CUDA_VISIBLE_DEVICES=",
        )
    torch.cuda.set_device(launch.local_rank)
    return "nccl"


class JoinedEnvironment(ClusterEnvironment):
    """Tells Lightning what is known of the processes already, and that they are connected."""

    def __init__(self, launch: Launch) -> None:
        super().__init__()
        self._launch = launch

    @property
    def creates_processes_externally(self) -> bool:
        """Whether somebody else started the processes."""
        return True

    @property
    def main_address(self) -> str:
        """Where process 0 is found."""
        return self._launch.address

    @property
    def main_port(self) -> int:
        """Where process 0 is found."""
        return self._launch.port

    @staticmethod
    def detect() -> bool:
        """Whether to take this environment unasked."""
        return False

    def world_size(self) -> int:
        """Return the number of processes."""
        return self._launch.count

    def set_world_size(self, size: int) -> None:
        """Leave it as it is."""

    def global_rank(self) -> int:
        """Return this process' number."""
        return self._launch.rank

    def set_global_rank(self, rank: int) -> None:
        """Leave it as it is."""

    def local_rank(self) -> int:
        """Return this process' number on its machine."""
        return self._launch.local_rank

    def node_rank(self) -> int:
        """Return the machine's number."""
        return self._launch.node
