"""What the tests of training share; the things themselves stand in training_fakes."""

import numpy as np
import pytest
import torch

from sertransfer.models import registry
from sertransfer.training.batches import Utterances
from support.training_fakes import MemoryStore, Probe, make_tones, tone_config


@pytest.fixture
def utterances():
    def make(frames, classes=4):
        items = np.arange(len(frames))
        return Utterances(MemoryStore(frames), items, items % classes, [f"u{item}" for item in items])

    return make


@pytest.fixture
def probe_model(monkeypatch):
    monkeypatch.setitem(
        registry.MODELS, "probe", lambda num_classes, *, dropout=0.3: Probe(num_classes, dropout)
    )
    return "probe"


@pytest.fixture
def probe(probe_model):
    torch.manual_seed(0)
    return Probe(4, 0.3)


@pytest.fixture
def no_report(monkeypatch):
    """Spare a test the drawing of plots that it does not look at."""
    for module in ("workflow", "evaluate"):
        monkeypatch.setattr(f"sertransfer.pretraining.{module}.write_report", lambda folder: None)


@pytest.fixture
def config():
    return tone_config()


@pytest.fixture
def tones():
    return make_tones
