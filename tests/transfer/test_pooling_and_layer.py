from pathlib import Path

import numpy as np
import pytest
from support.transfer_fakes import FakeEncoder, make_interviews

from sertransfer.config import load_config
from sertransfer.errors import BadInput
from sertransfer.transfer.data import embedding_key
from sertransfer.transfer.embed import embed
from sertransfer.transfer.settings import TransferConfig

CONFIGS = Path(__file__).parents[2] / "configs/transfer"


def test_each_pooling_has_a_set_of_its_own(tmp_path):
    manifest = make_interviews(tmp_path / "corpus", {"train": (1, 1)})
    plain = embed(manifest, FakeEncoder(), tmp_path / "cache", progress=False)
    both = embed(manifest, FakeEncoder(), tmp_path / "cache", pooling="mean_std", progress=False)
    assert plain.folder != both.folder
    assert both.folder.name == embedding_key(manifest, FakeEncoder(), "mean_std")
    assert plain.folder.name == embedding_key(manifest, FakeEncoder())
    assert both.vectors.shape == (len(plain.vectors), 2 * plain.vectors.shape[1])
    assert np.array_equal(both.vectors[:, : plain.vectors.shape[1]], plain.vectors)
    assert (both.vectors[:, plain.vectors.shape[1] :] >= 0).all()


@pytest.mark.parametrize("name", ["asr_probe", "ssl_probe"])
def test_the_configs_are_those_of_ser_but_for_the_encoder(name):
    assert load_config(TransferConfig, CONFIGS / f"{name}.yaml", {}) == load_config(
        TransferConfig, CONFIGS / "ser_probe.yaml", {}
    )


def test_layer_and_pooling_are_checked():
    load_config(TransferConfig, None, {"layer": "3", "pooling": "mean_std"}).check()
    with pytest.raises(BadInput) as error:
        TransferConfig(layer=0, pooling="median").check()
    assert len(error.value.faults) == 2
