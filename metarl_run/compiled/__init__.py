"""Rollouts as compiled programs: equal to the eager ones up to rounding, many steps at a time."""
