"""Finished models as files for others: weights, settings, a card, and ONNX."""
