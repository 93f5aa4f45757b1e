"""Paths of the configuration files."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CONFIG_DIR = PACKAGE / "conf" if (PACKAGE / "conf" / "train.yaml").is_file() else PACKAGE.parent / "conf"
"""Inside the installed package, or beside it in a checkout."""

GROUPS = ("env", "learner", "network", "algo", "logger")
"""The groups of which every run has one option: folders of `CONFIG_DIR`."""
