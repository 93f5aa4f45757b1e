"""Pure functions of tensors: returns, planning, distributions, sampling, statistics."""
