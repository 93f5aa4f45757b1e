"""One run in one folder: meta-training, checkpoints, meta-test, summary."""
