"""Arguments of the subcommands, whose errors look like all others."""

import argparse
from typing import NoReturn

from metarl_run.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """Parser of a subcommand; a mistake is a ConfigError.

    Args:
        name: of the subcommand.
        description: in its help.
        usage: the right form, for the hint.
    """

    def __init__(self, name: str, description: str | None, usage: str) -> None:
        super().__init__(prog=f"metarl-run {name}", description=description)
        self.name, self.right_form = name, usage

    def error(self, message: str) -> NoReturn:
        raise ConfigError(self.name, message, self.right_form)
