"""Resolution of compile=auto: rollouts are compiled where that saves more time than it takes."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from metarl_run.algo.base import MetaAlgorithm, MetaLearner
from metarl_run.compiled.compiler import require_compiler
from metarl_run.compiled.rollouts import traceable
from metarl_run.env.base import TaskFamily
from metarl_run.errors import ConfigError
from metarl_run.evaluation import parts_of
from metarl_run.run.folder import recorded, remember
from metarl_run.system.cxx import require_cxx

log = logging.getLogger(__name__)

COST = 30.0
"""Seconds that compiling takes, about, on a machine whose cache has no program."""
SAVED_PER_STEP, SAVED_PER_ENV = 1e-4, 1e-7
"""Seconds that a compiled step saves, whatever it computes, and for each environment; on one core of an AMD EPYC."""


def compiles(config: Mapping[str, Any], algo: MetaAlgorithm, family: TaskFamily, folder: Path) -> bool:
    """Whether the run in `folder` collects its rollouts by compiled programs.

    A choice that was made for it once stands, wherever it goes on; without a compiler it cannot.

    Args:
        config: of the run.
        algo: its algorithm.
        family: its task family.
        folder: records the choice.
    """
    if config["compile"] != "auto":
        return bool(config["compile"])
    before = recorded(folder, "compiled")
    wanted = before if isinstance(before, bool) else seconds_saved(config, algo, family) > COST
    possible = wanted and _compiler_works()
    if possible and not before:
        log.info("rollouts are compiled: that saves about %.0f s", seconds_saved(config, algo, family))
    if before and not possible:
        log.warning("%s goes on without compiled rollouts: its result may differ by rounding", folder)
    if possible != before:
        remember(folder, "compiled", possible)
    return possible


def seconds_saved(config: Mapping[str, Any], algo: MetaAlgorithm, family: TaskFamily) -> float:
    """Time that compiled rollouts would save in all of meta-training, about."""
    if not isinstance(algo, MetaLearner) or not traceable(algo, family) or config["device"] != "cpu":
        return 0.0
    episodes = getattr(algo, "episodes", 1) if algo.remembers else getattr(algo, "adaptation_steps", 0) + 1
    envs = config["meta_batch_size"] * config["episodes_per_task"]
    steps = int(config["meta_iterations"]) * episodes * family.horizon
    return float(steps * (SAVED_PER_STEP + SAVED_PER_ENV * envs))


def evaluation_pays(plan: Mapping[str, int], algo: MetaAlgorithm, family: TaskFamily) -> bool:
    """Whether compiled rollouts save more time in one evaluation than compiling them takes.

    An evaluation has sizes of its own, hence programs of its own: one for each number of tasks that run at a time.

    Args:
        plan: numbers of an evaluation, see `metarl_run.evaluation.evaluate`.
        algo, family: of a run that is compiled.
    """
    if not traceable(algo, family):
        return False
    episodes, tasks = plan["episodes_per_task"], plan["num_tasks"]
    parts = [part.stop - part.start for part in parts_of(tasks, episodes)]
    steps = (plan["adaptation_steps"] + 1) * family.horizon
    saved = steps * (SAVED_PER_STEP * len(parts) + SAVED_PER_ENV * tasks * episodes)
    return saved > COST * len({*parts})


def _compiler_works() -> bool:
    try:
        require_cxx()
        require_compiler(torch.device("cpu"))
    except ConfigError as error:
        log.info("rollouts are not compiled: %s", error.reason)
        return False
    return True
