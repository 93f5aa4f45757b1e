"""A search as a sweeper plugin of Hydra: the study proposes points, any launcher runs them."""

import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from metarl_run.cli.sweeper import known_to_hydra
from metarl_run.config.search import Search
from metarl_run.errors import ConfigError, RunError
from metarl_run.run.folder import is_over
from metarl_run.search.report import folder_of
from metarl_run.search.study import Point, Study, most_points, ranked
from metarl_run.system import machine
from metarl_run.system.lock import locked

log = logging.getLogger("hydra")


class SearchSweeper(Sweeper):
    """A search.

    Attributes:
        search: as the command line asks for it.
        error: that ended it.
    """

    __module__ = "hydra_plugins.metarl_run"  # Hydra takes a plugin from nowhere else

    search: ClassVar[Search]
    error: ClassVar[RunError | None] = None

    def __init__(self, **options: Any) -> None:
        """The options are in `search`, checked."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.folder = Path(str(config.hydra.sweep.dir))
        self.of_launcher = config.hydra.launcher.get("n_jobs")
        self.composed = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        try:
            with locked(self.folder):
                OmegaConf.save(self.composed, self.folder / "multirun.yaml")
                self._search(Study(self.folder, self.search))
        except RunError as error:  # which Hydra would print with a traceback
            SearchSweeper.error = error

    @property
    def at_once(self) -> int:
        """Points side by side."""
        wanted = self.search.options.n_jobs or self.of_launcher or 1
        return int(wanted) if wanted > 0 else max(1, machine.cpus() + 1 + int(wanted))

    def _search(self, study: Study) -> None:
        study.retry(also_failures=bool(self.search.config["retry_failed"]))
        while points := study.next_points(self.at_once):
            self._run(study, points)
        if (best := study.best) is not None:
            folders = {seed: folder_of(best, seed, final=True) for seed in self.search.options.final_seeds}
            jobs = [self._job(best, seed, to) for seed, to in folders.items() if not is_over(self.folder / to)]
            if jobs:
                self.launcher.launch(jobs, initial_job_idx=0)

    def _run(self, study: Study, points: Sequence[Point]) -> None:
        """Run points with one seed after the other, those that are left side by side, and tell the study."""
        found: dict[int, list[float]] = {point.number: [] for point in points}
        left = [*points]
        for place, seed in enumerate(self.search.options.seeds):
            jobs = [self._job(point, seed, folder_of(point, seed), *self._reports(point, place)) for point in left]
            ended = self.launcher.launch(jobs, initial_job_idx=left[0].number) if left else []
            asked, left = left, []
            for point, job in zip(asked, ended, strict=True):
                value = result(job)
                if isinstance(value, float):
                    found[point.number].append(value)
                    left.append(point)
                elif value is None:
                    study.prune(point)
                elif isinstance(value, ConfigError) and value.where == "objective":  # no point has such a number
                    raise value
                else:
                    study.fail(point, value)
        for point in left:
            study.complete(point, fmean(found[point.number]))
        self._tell(study, points)

    def _tell(self, study: Study, points: Sequence[Point]) -> None:
        """A line for each point that has ended."""
        trials = study.trials
        best = "".join(f" · best {b.value:.5g} of point {b.number}" for b in ranked(trials, self.search)[:1])
        for point in points:
            trial = trials[point.number]
            came = f"{trial.value:.5g}" if trial.state.name == "COMPLETE" else trial.state.name.lower()
            place = f"{point.number + 1} of {most_points(trials, self.search)}"
            log.info(f"point {point.number}, {place}: {came} · {' '.join(self.search.chosen(point.values))}{best}")

    def _job(self, point: Point, seed: int, folder: str, *more: str) -> list[str]:
        return [*self.search.overrides(point.values), f"seed={seed}", f"hydra.sweep.subdir={folder}", *more]

    def _reports(self, point: Point, place: int) -> list[str]:
        """Overrides that add the sink which reports validations, where they decide anything."""
        if self.search.options.pruner == "none":
            return []
        return [f"+logger.pruning={{_target_:metarl_run.search.pruning.Pruning,point:{point.number},place:{place}}}"]


def result(job: JobReturn) -> float | Exception | None:
    """What a job came to: its objective, None if it was pruned, or the reason of its failure."""
    try:
        value = job.return_value
    except Exception as error:
        return error
    return None if value is None else float(value)


def register(search: Search) -> None:
    """Make the search that of `hydra/sweeper=search`, in this process."""
    SearchSweeper.search, SearchSweeper.error = search, None
    known_to_hydra(SearchSweeper)
