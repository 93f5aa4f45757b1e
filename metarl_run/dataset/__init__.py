"""Datasets of learning histories: what agents did and were paid in meta-training tasks, in files, to learn from."""
