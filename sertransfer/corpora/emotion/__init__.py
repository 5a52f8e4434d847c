"""Corpora of emotional speech, one module a corpus."""
