"""Corpora: pure functions from a folder in its published layout to a validated manifest."""
