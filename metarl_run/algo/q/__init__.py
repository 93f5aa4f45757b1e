"""Tabular Q-learning within a lifetime, and networks that meta-learn its initial values."""
