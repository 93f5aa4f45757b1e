"""From the command line to a validated plain configuration, before torch is imported."""
