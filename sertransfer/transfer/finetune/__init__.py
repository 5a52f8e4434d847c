"""Fine-tuning: an encoder with a new classifier, trained on sentences."""
