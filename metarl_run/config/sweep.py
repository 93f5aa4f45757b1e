"""The jobs of a sweep: every combination of swept values, as Hydra's basic sweeper makes them, of every listed run."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from metarl_run.config.listed import Run, require_some, together
from metarl_run.config.point import Point
from metarl_run.errors import ConfigError

MOST_POINTS = 10_000


def sweep_points(
    runs: Sequence[Run], choices: Sequence[Sequence[str]], given: Sequence[str], compose: Callable[[list[str]], Point]
) -> Iterator[Point]:
    """Compose every job, in Hydra's order.

    Args:
        runs: that the key `sweep` lists; see `metarl_run.config.listed`.
        choices: for each override a text for each of its values.
        given: the overrides of the command line.
        compose: makes a run of its overrides.

    Raises:
        ConfigError: naming the first combination that is wrong, or if there are too many of them, or none.
    """
    count = len(runs) * math.prod(len(texts) for texts in choices)
    if count > MOST_POINTS:
        raise ConfigError("command line", f"must ask for at most {MOST_POINTS} runs, got {count}")
    number = 0
    for run, overrides in itertools.product(runs, itertools.product(*choices)):
        joint = together(run, overrides)
        if joint is None:
            continue
        number += 1
        try:
            yield compose(joint)
        except ConfigError as error:
            mine = [text for text, texts in zip(overrides, choices, strict=True) if len(texts) > 1]
            which = f"in {' '.join([*run, *mine])}, one of {count} combinations: {error.reason}"
            raise ConfigError(error.where, which, error.hint) from error
    require_some(runs, number, given)
