"""Tuning: settings of a probe or of fine-tuning, chosen on training subjects alone."""
