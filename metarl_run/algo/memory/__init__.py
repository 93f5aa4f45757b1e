"""Agents that remember: PPO over lifetimes, encoders of a belief over tasks, and their decoders."""
