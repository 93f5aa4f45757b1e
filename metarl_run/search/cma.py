"""CMA-ES as a sampler of Optuna's: the distribution follows from the finished points alone.

Optuna's own keeps its state in the study as a pickle, which would run code where a study comes from elsewhere.

Source: Hansen (2016), The CMA evolution strategy: a tutorial, arXiv:1604.00772.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from cmaes import CMA
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

GENERATION = "generation"
"""Entry of a trial: the generation of the distribution that it was drawn from."""

SPREAD = 1 / 6
"""Standard deviation at the start, of the width of the space: six of them cover it."""

Number = FloatDistribution | IntDistribution


class CmaEs(optuna.samplers.BaseSampler):
    """CMA-ES over the numbers of a space, each in [0, 1]; choices are drawn evenly.

    Args:
        space: distributions by key.
        seed: of the one point that is drawn.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        self.numbers = {key: each for key, each in space.items() if isinstance(each, Number)}
        self.seed = seed
        self.even = optuna.samplers.RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {**self.numbers}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        sign = 1.0 if study.direction is StudyDirection.MINIMIZE else -1.0
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        cma = evolved(self.numbers, complete, sign, self.seed)
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, cma.generation)
        return {key: value(each, x) for (key, each), x in zip(self.numbers.items(), cma.ask(), strict=True)}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.even.sample_independent(study, trial, param_name, param_distribution)


def evolved(numbers: Mapping[str, Number], complete: list[FrozenTrial], sign: float, seed: int) -> CMA:
    """The distribution after all generations that are complete.

    Args:
        numbers: the space.
        complete: finished points, in their order.
        sign: 1 to minimise, -1 to maximise.
        seed: of what is drawn from it.
    """
    n = len(numbers)
    bounds = np.tile([0.0, 1.0], (n, 1))
    cma = CMA(mean=np.full(n, 0.5), sigma=SPREAD, bounds=bounds, seed=seed, n_max_resampling=10 * n)
    while True:
        mine = [trial for trial in complete if trial.system_attrs.get(GENERATION, 0) == cma.generation]
        if len(mine) < cma.population_size:
            return cma
        told = [
            (np.array([place(each, trial.params[key]) for key, each in numbers.items()]), sign * (trial.value or 0.0))
            for trial in mine[: cma.population_size]
        ]
        cma.tell(told)


def place(distribution: Number, x: float) -> float:
    """Position of a number between the ends, in [0, 1]."""
    low, high = _ends(distribution)
    return (_scaled(distribution, x) - low) / (high - low) if high > low else 0.5


def value(distribution: Number, u: float) -> float | int:
    """The number at a position."""
    low, high = _ends(distribution)
    scaled = low + u * (high - low)
    x = math.exp(scaled) if distribution.log else scaled
    if distribution.step:
        x = distribution.low + distribution.step * round((x - distribution.low) / distribution.step)
    x = min(max(x, distribution.low), distribution.high)
    return round(x) if isinstance(distribution, IntDistribution) else float(x)


def _scaled(distribution: Number, x: float) -> float:
    return math.log(x) if distribution.log else float(x)


def _ends(distribution: Number) -> tuple[float, float]:
    return _scaled(distribution, distribution.low), _scaled(distribution, distribution.high)
