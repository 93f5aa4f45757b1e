"""Adaptation by gradient steps, and the meta-objectives that differentiate through it."""
