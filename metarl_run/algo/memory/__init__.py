"""Shared parts of agents with memory: the outer update on lifetimes, and encoder and decoder of beliefs over tasks."""
