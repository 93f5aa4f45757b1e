"""Sinks for rows and pictures: files, console, wandb."""
