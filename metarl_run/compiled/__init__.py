"""Rollouts as compiled programs: the same bytes as the eager ones, many steps at a time."""
