"""Generated corpora in the layouts of real ones, to run everything without a licence."""
