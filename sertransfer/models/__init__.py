"""Networks over mel spectrograms, and the checkpoints that carry them. Knows no corpus."""
