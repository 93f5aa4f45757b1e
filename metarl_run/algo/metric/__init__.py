"""Task embeddings, and the store of meta-training tasks."""
