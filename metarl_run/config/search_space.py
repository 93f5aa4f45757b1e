"""Search spaces in Hydra's grammar: what `interval`, `choice` and `range` on a command line let a search choose from.

algo.inner_lr=tag(log,interval(0.01,1))     a number, uniform in its logarithm
network.hidden=int(interval(16,128))        a whole number, both ends included
meta_batch_size=range(10,50,10)             10, 20, 30 or 40: as in other sweeps, without the end
algo=maml,reptile                           one of several values or options, also choice(maml,reptile)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from metarl_run.config.hydra_internals import ConfigLoaderImpl
from metarl_run.config.loader import swept_texts
from metarl_run.errors import ConfigError

DIGITS = 4
"""Significant digits of real numbers: enough for any step size, and few enough to be read."""


@dataclass(frozen=True)
class Numbers:
    """Numbers from `low` to `high`, both included.

    Attributes:
        key: what is searched, as on the command line.
        low, high: ends.
        step: distance of neighbours; None for real numbers that are as close as you like.
        log: even in the logarithm.
        whole: integers.
    """

    key: str
    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        ends = f"{self.low:g},{self.high:g}"
        if self.step is not None and not (self.whole and self.step == 1):
            return f"range({ends},{self.step:g}), its end included"
        inner = f"int(interval({ends}))" if self.whole else f"interval({ends})"
        return f"tag(log,{inner})" if self.log else inner

    @property
    def ends(self) -> list[str]:
        """Overrides that stand for all of them."""
        return list(dict.fromkeys([self.override(self.low), self.override(self.high)]))

    def override(self, value: float) -> str:
        """The value as it is given to a run: real numbers are rounded."""
        if self.whole:
            return f"{self.key}={round(value)}"
        short = f"{value:.{DIGITS}g}"
        return f"{self.key}={short if self.low <= float(short) <= self.high else repr(float(value))}"


@dataclass(frozen=True)
class Choices:
    """Values or options of which one is chosen.

    Attributes:
        key: what is searched, as on the command line.
        texts: each as in an override.
    """

    key: str
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return f"choice({','.join(self.texts)})"

    @property
    def ends(self) -> list[str]:
        return [self.override(text) for text in self.texts]

    def override(self, text: str) -> str:
        return f"{self.key}={text}"


Dimension = Numbers | Choices


def search_space(parsed: Sequence[Override], loader: ConfigLoaderImpl) -> tuple[Dimension, ...]:
    """What the sweeps among the overrides of a command line let a search choose from.

    Raises:
        ConfigError: if one of them is no space, or there is none.
    """
    space = tuple(_dimension(override, loader) for override in parsed if override.is_sweep_override())
    if not space:
        hint = "such as 'algo.inner_lr=tag(log,interval(0.01,1))'"
        raise ConfigError("hydra/sweeper", "search needs a key to search, got no interval, choice or range", hint)
    return space


def _dimension(override: Override, loader: ConfigLoaderImpl) -> Dimension:
    key, value = override.get_key_element(), override.value()
    if override.key_or_group == "seed":
        raise ConfigError("seed", "cannot be searched", "hydra.sweeper.seeds=[…] are the seeds of each point")
    log = _is_log(key, value.tags if isinstance(value, IntervalSweep | RangeSweep) else set(), value)
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if not (isinstance(low, int | float) and isinstance(high, int | float)) or not low < high < math.inf:
            raise ConfigError(key, f"must be an interval between two numbers that grow, got {low} and {high}")
        if log and low <= 0:
            raise ConfigError(key, f"must be an interval above 0 to be searched in its logarithm, got {low}")
        whole = isinstance(low, int) and isinstance(high, int)
        return Numbers(key, low, high, 1 if whole else None, log, whole)
    texts = swept_texts(override, loader)
    if not texts:
        raise ConfigError(key, "must have values to choose from, got none")
    if isinstance(value, RangeSweep) and len(texts) > 1:
        numbers = sorted(map(float, texts))
        whole = all(isinstance(x, int) for x in (value.start, value.stop, value.step))
        return Numbers(key, numbers[0], numbers[-1], abs(float(value.step)), whole=whole)
    return Choices(key, tuple(dict.fromkeys(texts)))


def _is_log(key: str, tags: set[str], value: object) -> bool:
    if odd := sorted(tags - {"log"}):
        raise ConfigError(key, f"must be tagged log or not at all, got {odd[0]}")
    if tags and not isinstance(value, IntervalSweep):
        raise ConfigError(key, "can be searched in its logarithm as an interval alone", "tag(log,interval(…))")
    return bool(tags)
