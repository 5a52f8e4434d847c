"""The simulation of coverage draws what it says, its results hold, and the documentation has its tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from loading import load_script

ROOT = Path(__file__).parents[2]
coverage = load_script("interval_coverage.py")
RESULTS = json.loads((ROOT / "benchmarks/results/coverage.json").read_text())


@pytest.mark.parametrize("effect", ["beta", *coverage.SKEWED])
@pytest.mark.parametrize("mean", [0.02, 0.1, 0.5, 0.9, 0.98, 0.99])
@pytest.mark.parametrize("agreement", [0.05, 0.2])
def test_shares_of_clusters_have_the_mean_and_the_variance_that_are_asked_for(effect, mean, agreement):
    shares = coverage.quantiles(mean, agreement, effect)
    assert (shares >= 0).all()
    assert (shares <= 1).all()
    assert shares.mean() == pytest.approx(mean, abs=1e-4)
    assert shares.var() == pytest.approx(agreement * mean * (1 - mean), rel=0.02)


def test_one_cluster_in_ten_is_bad():
    shares = coverage.quantiles(0.8, 0.1, "one in ten")
    assert np.unique(shares).tolist() == pytest.approx([0.8 - 0.144**0.5, 0.8 + (0.016 / 9) ** 0.5], abs=1e-6)
    assert (shares < 0.5).mean() == pytest.approx(0.1)


def test_intervals_hold_where_the_speakers_may_include_no_bad_one(monkeypatch):
    """Without the part of the variance that is not seen, UA would be covered by 0.8 here."""
    monkeypatch.setattr(coverage, "DRAWS", 400)
    generator = np.random.default_rng(0)
    for clusters in (10, 16):
        row = coverage._clustered(generator, "talkative speakers", clusters, 0.2, (0.8, 0.9), "one in ten")
        assert min(row["coverage"].values()) >= 0.92


def test_every_interval_covers_and_no_statement_is_made_too_often_by_chance():
    for row in RESULTS["coverage"]:
        assert min(row["coverage"].values()) >= 0.92, row
    # a count of 2000 draws at 0.025 has a deviation of 0.0035; what is enumerated has none
    for row in RESULTS["false_alarms"]:
        most = 0.0251 if row["agreement"] == 0 and row["statement"] == "WA" else 0.025 + 2 * 0.0035
        assert max(row["above"], row["below"]) <= most, row


def test_the_documentation_has_the_tables():
    told = (ROOT / "docs/method.md").read_text()
    text = coverage.tables(RESULTS["coverage"], RESULTS["false_alarms"], RESULTS["power"])
    assert text == (ROOT / "benchmarks/results/coverage.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > 40
    assert [row for row in rows if row not in told] == []
