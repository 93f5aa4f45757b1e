"""Dynamics models that adapt within a lifetime, and planning in them."""
