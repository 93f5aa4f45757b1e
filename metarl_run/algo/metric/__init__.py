"""Embeddings of tasks, and memories of tasks solved before."""
