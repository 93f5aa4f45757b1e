"""Task families: distributions over MDPs, stepped as tensors over M tasks × B episodes."""
