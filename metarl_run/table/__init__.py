"""A paper's table from one command: independent cells, and a report made from their files alone."""
