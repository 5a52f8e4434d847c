"""What is within the training data's ranges is no news; what is beyond them is."""

import pytest
from support.transfer_fakes import make_interviews

from sertransfer.transfer.checks.population import _spread, describe_population, population_text, unlike
from sertransfer.transfer.data import take_parts
from sertransfer.transfer.decide import usable_part
from sertransfer.transfer.settings import TransferConfig


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    manifest = make_interviews(
        tmp_path_factory.mktemp("corpus"), notes={"options": {"merge": True, "keep_text": True}}
    )
    train, _ = take_parts(manifest, TransferConfig())
    table = manifest.table.set_index("id")
    return describe_population(manifest, usable_part(train, table["end"] - table["start"]))


def usual(population, **changes):
    medians = {name: span["median"] for name, span in population["ranges"].items()}
    return {"sample_rate": 16_000, **medians, **changes}


def test_what_is_recorded(population):
    assert population["subjects"] == {
        "n": 9, "by_label": {"not depressed": 5, "depressed": 4}, "by_gender": {"unknown": 9},
    }  # fmt: skip
    assert population["cutting"] == {"merge": True}
    assert population["ranges"]["sentences"]["low"] == population["ranges"]["sentences"]["high"] == 4
    # generated noise of 0.08 and 0.2 RMS: -22 and -14 dB of full scale
    assert -28 < population["ranges"]["level_dbfs"]["low"] < population["ranges"]["level_dbfs"]["high"] < -8
    assert population["ranges"]["bandwidth_hz"]["low"] == 8000


def test_the_usual_is_not_flagged(population):
    assert unlike(population, usual(population)) == []
    assert unlike(population, usual(population, clipped=0.0)) == []


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("sample_rate", 8000),
        ("level_dbfs", -60.0),
        ("level_dbfs", 0.0),
        ("level_dbfs", float("-inf")),
        ("bandwidth_hz", 3400.0),
        ("clipped", 0.2),
        ("median_seconds", 9.0),
        ("sentences", 1),
    ],
)
def test_the_unusual_is(population, what, value):
    (flag,) = unlike(population, usual(population, **{what: value}))
    assert flag["what"] == what
    assert "train" in flag["text"]


def test_it_is_said_on_whom_a_run_was_trained(population):
    metrics = {"counts": {"train": {"subjects": {"n": 3, "d": 2}}}, "corpus": "daic-woz"}
    assert (
        population_text(None, metrics) == "trained on 5 subjects of daic-woz (3 n, 2 d; gender not recorded)"
    )
    assert "9 unknown" in population_text(population, metrics)
    assert "generated" in population_text(population, {**metrics, "generated": True})


def test_a_sample_is_spread_evenly():
    assert _spread(3, 8) == [0, 1, 2]
    assert _spread(9, 3) == [0, 4, 8]
    assert _spread(1, 8) == [0]
