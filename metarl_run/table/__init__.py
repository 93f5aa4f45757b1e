"""A paper's table from one command: independent cells, and a report that is made of their files alone."""
