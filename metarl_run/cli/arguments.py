"""Arguments of the subcommands, whose mistakes are told like all others."""

import argparse
import contextlib
import io
from collections.abc import Sequence

from metarl_run.errors import ConfigError


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str], usage: str) -> argparse.Namespace:
    """The arguments of a subcommand.

    Args:
        parser: of the subcommand.
        argv: what follows its name.
        usage: the right form, for the hint.

    Raises:
        ConfigError: in one line.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return parser.parse_args(argv)
    except (argparse.ArgumentError, SystemExit) as error:
        if isinstance(error, SystemExit) and not error.code:  # it printed its help
            raise
        reason = complaint.getvalue().strip().rpartition("error: ")[2] or str(error)
        raise ConfigError(parser.prog.rpartition(" ")[2], reason, usage) from error
