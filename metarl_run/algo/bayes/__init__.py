"""Posteriors over tasks in closed form, and the agents that act on them."""
