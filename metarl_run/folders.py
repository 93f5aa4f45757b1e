"""Paths of the configuration files."""

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CONFIG_DIR = PACKAGE / "conf" if (PACKAGE / "conf" / "train.yaml").is_file() else PACKAGE.parent / "conf"
"""Inside the installed package, or beside it in a checkout."""


def checkpoints_in(folder: Path) -> list[Path]:
    """The finished checkpoints in a run's folder `checkpoints`, the oldest first: folders named by iteration."""
    found = [path for path in folder.iterdir() if re.fullmatch("[0-9]+", path.name)] if folder.is_dir() else []
    return sorted((path for path in found if path.is_dir()), key=lambda path: int(path.name))


GROUPS = ("env", "learner", "network", "algo", "logger")
"""The groups of which every run has one option: folders of `CONFIG_DIR`."""
