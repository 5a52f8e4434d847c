"""Encoders of ESPnet2 speech recognisers: folder or archive, network, and the encoder built from both."""
