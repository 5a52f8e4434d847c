"""Training steps, batches and resume points, whatever is trained."""
