"""Base learners: from the experience of one task to a loss."""
