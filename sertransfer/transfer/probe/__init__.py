"""A probe: classifiers over sentence embeddings, their preprocessing, and attention over sentences."""
