import os
import signal

import pytest
from torch.utils.data import DataLoader, Dataset

from sertransfer.errors import SertransferError
from sertransfer.io.run_folder import RunFolder
from sertransfer.pretraining.settings import ModelSettings, PretrainConfig
from sertransfer.pretraining.workflow import build_network, train_network
from sertransfer.training.batches import Utterances, watched_workers


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


def test_a_training_whose_worker_dies_ends_with_a_word(utterances, probe_model, monkeypatch, tmp_path):
    monkeypatch.setattr(Utterances, "__getitem__", Deadly.__getitem__)
    config = PretrainConfig(model=ModelSettings(probe_model), epochs=1, batch_size=4, workers=1)
    data, speakers = utterances(range(5, 17)), [f"s{item}" for item in range(12)]
    with (
        RunFolder(tmp_path / "run").claim({}, {}) as run,
        pytest.raises(SertransferError, match="worker process that reads ahead died"),
    ):
        train_network(config, build_network(config), data, speakers, run, progress=False)
