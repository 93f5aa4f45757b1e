"""Use from Python: trained agents in a user's own loop, runs, and their results. `metarl_run` itself offers the names.

Nothing here touches what belongs to the process: signal handlers, torch's threads and default dtype, the states of
random generators, Hydra, environment variables.
"""
