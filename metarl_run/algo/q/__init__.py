"""Q-tables of one lifetime, and how they are learned or meta-learned."""
