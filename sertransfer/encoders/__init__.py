"""Encoders: waveforms in, features out, one interface for every family."""

KINDS = {
    "ser": "a speech emotion recogniser",
    "asr": "a speech recogniser",
    "ssl": "a self-supervised model",
}
"""The encoders of this package by name, and what they are in a sentence."""

DEFAULT = "ser"
"""The encoder of a command that names none."""
