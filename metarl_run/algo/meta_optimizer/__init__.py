"""Meta-optimisers: from the meta-gradient to the next meta-parameters."""
