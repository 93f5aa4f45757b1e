"""Searches for the best values of some keys: a study of Optuna's in the sweep's folder, which runs report to."""
