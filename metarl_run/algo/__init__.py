"""Meta-algorithms: how an agent starts in a task, how it adapts, and how the meta-parameters improve."""
