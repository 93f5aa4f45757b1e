"""Pictures and terminal output of one run."""
