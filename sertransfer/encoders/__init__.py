"""Encoders: waveforms in, features out, one interface for every family."""
