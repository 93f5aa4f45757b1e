"""Meta-optimisers: update rules of the meta-parameters."""
