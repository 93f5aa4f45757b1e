"""Comparison of the runs of a sweep: table and picture."""
