import numpy as np
import pytest
import torch
from support.transfer_fakes import FakeEncoder, make_interviews

from sertransfer.encoders.base import Encoder
from sertransfer.errors import BadInput
from sertransfer.timebase import PRESETS
from sertransfer.transfer.embed import Candidate, Embeddings, candidate_of, embed
from sertransfer.transfer.settings import EmbeddingConfig, TransferConfig


class FakeLayers(Encoder):
    """Three blocks; each adds 1 to the frames' levels."""

    name = "ssl"
    sample_rate = 16_000
    framing = PRESETS["25ms"]
    layers, dim, shortest = 3, 2, 400

    def __init__(self, layer):
        self.layer = layer
        self.calls = 0
        self.check_layer(layer)

    def output(self, waveforms):
        return self.blocks(waveforms, 3)[-1] * 10

    def blocks(self, waveforms, count):
        self.calls += 1
        frames = waveforms[:, : waveforms.shape[1] // 160 * 160].reshape(len(waveforms), -1, 160)
        level = torch.stack([frames.square().mean(dim=2), frames.abs().mean(dim=2)], dim=2)
        return [level + block for block in range(1, count + 1)]

    def describe(self):
        return {"layer": self.layer}

    def fingerprint(self):
        return f"layer {self.layer}"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_interviews(tmp_path_factory.mktemp("corpus"), {"train": (1, 1)}, sentences=3)


def sets(manifest, folder, make, **options):
    opened = []

    def open_layer(layer):
        opened.append(make(layer))
        return opened[-1]

    return opened, Embeddings(manifest, open_layer, folder, EmbeddingConfig(), progress=False, **options)


def test_both_poolings_take_one_pass_and_are_what_a_run_of_its_own_makes(manifest, tmp_path):
    wanted = [Candidate(None, "mean"), Candidate(None, "mean_std")]
    opened, embeddings = sets(manifest, tmp_path / "both", lambda layer: FakeEncoder())
    found = embeddings.take_all(wanted)
    assert list(found) == wanted
    assert sum(encoder.encoded for encoder in opened) == len(manifest)
    for candidate in wanted:
        alone = embed(manifest, FakeEncoder(), tmp_path / "alone", pooling=candidate.pooling, progress=False)
        assert np.array_equal(found[candidate].select(alone.ids), alone.vectors)
    assert embeddings.take(wanted[0]) is found[wanted[0]]
    assert embeddings.take_all(wanted[:1]) == {wanted[0]: found[wanted[0]]}


def test_each_layer_is_a_pass_and_one_that_is_not_there_is_found_first(manifest, tmp_path):
    wanted = [Candidate(1, "mean"), Candidate(3, "mean"), Candidate(None, "mean")]
    opened, embeddings = sets(manifest, tmp_path, FakeLayers)
    embeddings.keep(None, FakeLayers(None))
    found = embeddings.take_all(wanted)
    assert [encoder.layer for encoder in opened] == [1, 3, None]
    assert np.allclose(found[wanted[1]].vectors - found[wanted[0]].vectors, 2)
    assert np.allclose(found[wanted[2]].vectors, 10 * found[wanted[1]].vectors, rtol=1e-5)
    count = len(opened)
    with pytest.raises(BadInput, match="layer 9"):
        embeddings.take_all([Candidate(2, "mean"), Candidate(9, "mean")])
    assert len(opened) == count


def test_a_candidate_has_a_name_and_a_run_asks_for_one():
    assert candidate_of(TransferConfig(layer=2)) == Candidate(2, "mean")
    assert Candidate(2, "mean").name == "layer 2, mean"
    assert Candidate(None, "mean_std").name == "mean_std"
