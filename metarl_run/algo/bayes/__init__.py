"""Closed-form posteriors over tasks, and the bases of the classical agents that act on them."""
