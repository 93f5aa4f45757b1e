"""Choices in which every component finds what it requires."""

import re

from metarl_run.config.compose import compose_points
from metarl_run.config.point import Point
from metarl_run.errors import ConfigError
from metarl_run.folders import GROUPS


def suited(*arguments: str) -> tuple[Point, tuple[str, ...]]:
    """The run, and its arguments: those given and, as long as they are refused, what the hint proposes.

    Raises:
        ConfigError: if the arguments are refused without a proposal, or with one for a group that is chosen already.
    """
    for _ in GROUPS:
        try:
            return compose_points(arguments).points[0], arguments
        except ConfigError as error:
            provider = re.match(r"(\w+)=\w+", error.hint or "")
            if provider is None or any(given.startswith(f"{provider[1]}=") for given in arguments):
                raise
            arguments = (*arguments, provider[0])
    raise AssertionError(f"refused whatever the hints say: {arguments}")
