"""Fixtures of the tests of training."""

from support.training_fixtures import config, no_report, probe, probe_model, tones, utterances  # noqa: F401
