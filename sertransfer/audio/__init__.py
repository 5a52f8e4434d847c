"""Reading audio by segment and turning it into mel spectrograms, once, into a store."""
