import os
import signal

import pytest
from torch.utils.data import DataLoader, Dataset

from sertransfer.errors import SertransferError
from sertransfer.fitting.workers import watched_workers


class Deadly(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_worker_is_said_so():
    with pytest.raises(SertransferError, match="worker process that reads ahead died"), watched_workers():
        list(DataLoader(Deadly(), num_workers=1, multiprocessing_context="fork"))


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="another"), watched_workers():
        raise RuntimeError("another")
