"""Parts that algorithms share which learn, from recorded histories, to adapt in their context."""
