"""From the command line to runs: the command, single runs, and sweeps."""
