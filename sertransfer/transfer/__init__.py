"""Stage 2: from embedded sentences to decisions about subjects."""
