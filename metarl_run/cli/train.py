"""From the command line to runs: a single run, a resumed run, or a sweep of runs with a comparison at the end."""

import contextlib
import functools
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from metarl_run.cli import hydra_files, sweep_record
from metarl_run.cli.distributed import be_rank, launch, ranks_of
from metarl_run.cli.impossible import output_in, refuse_absent, refuse_impossible
from metarl_run.config.compose import compose_points
from metarl_run.config.grammar import argument, key_of, quoted
from metarl_run.config.hydra_internals import Callbacks
from metarl_run.config.loader import CONFIG_NAME, parsed_flags
from metarl_run.config.objective import is_cost
from metarl_run.config.plan import Plan, flat
from metarl_run.config.point import Composed, Point
from metarl_run.config.renamed import with_current_targets
from metarl_run.config.search import Search
from metarl_run.config.secret import masked
from metarl_run.config.settings import Settings, keys_with_table
from metarl_run.config.step_sizes import without_step_sizes
from metarl_run.config.stored import stored_run
from metarl_run.errors import (
    DONE,
    SWEEP_HAS_FAILURES,
    ConfigError,
    ContractError,
    RunError,
    StateError,
    visible,
)
from metarl_run.folders import CONFIG_DIR
from metarl_run.report.objective import objective_of
from metarl_run.system import machine
from metarl_run.system.atomic import refusals
from metarl_run.system.child import Child
from metarl_run.system.crash import Contained, bug
from metarl_run.system.interruption import Interrupted, StopRequest
from metarl_run.system.launched import launched
from metarl_run.system.slurm import end_if_cancelled

stop = StopRequest()
"""Stop request of this process: signal handlers have no other place to report to."""


def main(argv: Sequence[str]) -> int:
    """Do what the command line asks for; the exit code.

    Raises:
        RunError: see `metarl_run.errors`.
        Interrupted: after saving, if a signal asked for it.
    """
    return carry_out(compose(argv), argv)


def compose(argv: Sequence[str]) -> Composed:
    """The runs that a command line asks for, validated."""
    machine.prepare()
    hydra_files.install()
    return compose_points(argv)


def folder_of(composed: Composed) -> Path:
    """The folder of the run or sweep."""
    first = composed.points[0]
    resumed = first.config["resume"]
    return Path(str(resumed or (first.sweep_folder if composed.multirun else first.folder)))


def carry_out(composed: Composed, argv: Sequence[str]) -> int:
    """Run what was composed from `argv`; see `main`."""
    if composed.passthrough:
        _call_hydra(composed.arguments, _nothing)
        return DONE
    size, place = ranks_of(composed), launched()
    if composed.multirun:
        return _begin_sweep(composed, argv, new=True)
    (point,) = composed.points
    if size is not None and place is not None:
        stop.install()
        return be_rank(composed, place, _lead, _follow)
    if size is not None and size > 1:
        if point.config["resume"] is not None and Path(str(point.config["resume"]), sweep_record.FILE).exists():
            raise ConfigError("distributed", f"divides one run among processes, got {size} for a sweep", "leave it out")
        refuse_impossible(composed)
        _print_differences(composed.points)
        return launch(composed, argv, size)
    refuse_impossible(composed)
    if point.config["table"] is not None:
        return _table(composed)
    if point.config["resume"] is not None:
        folder = Path(str(point.config["resume"]))
        return _resume_sweep(folder, argv) if (folder / sweep_record.FILE).exists() else _resume(composed)
    _print_differences(composed.points)
    return _single(composed)


def _lead(composed: Composed, ranks: Any) -> None:
    """What the first rank does: the run as it would be undistributed, with the others."""
    refuse_impossible(composed)
    if composed.points[0].config["resume"] is not None:
        _resume(composed, ranks)
    else:
        _single(composed, ranks)


def _follow(ranks: Any) -> None:
    from metarl_run.run.run import follow

    follow(ranks, stop)


# --- The four ways to run ---


def _single(composed: Composed, ranks: Any = None) -> int:
    """The run as it was composed: `hydra.main` would compose it twice again."""
    (point,) = composed.points
    assert composed.loader is not None
    import metarl_run.run.run  # noqa: F401 - takes seconds; there should be no folder yet if it is interrupted

    stop.install()
    folder = Path(point.folder)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    cfg, carrier = point.composed, Carrier()

    def job(cfg: DictConfig) -> None:
        with carrier:
            _run_here(cfg, ranks=ranks)

    _make(folder)
    with read_write(cfg.hydra):
        cfg.hydra.run.dir, cfg.hydra.mode = point.folder, RunMode.RUN
    configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
    callbacks = Callbacks(cfg)
    callbacks.on_run_start(config=cfg, config_name=CONFIG_NAME)
    context = HydraContext(config_loader=composed.loader, callbacks=callbacks)
    done = run_job(job, cfg, job_dir_key="hydra.run.dir", job_subdir_key=None, hydra_context=context)
    callbacks.on_run_end(config=cfg, config_name=CONFIG_NAME, job_return=done)
    if (
        isinstance(carrier.error, ConfigError | ContractError)
        and folder in new
        and not (folder / "checkpoints").exists()
    ):
        with refusals(folder, "remove"):
            shutil.rmtree(folder)  # refused in the first rollout, before anything was learned
        with contextlib.suppress(OSError):  # another run may have begun beside it
            for path in new[1:]:
                path.rmdir()
    carrier.deliver()
    return DONE


def _resume(composed: Composed, ranks: Any = None) -> int:
    stop.install()
    (point,) = composed.points
    folder = Path(str(point.config["resume"]))
    plan = stored_run(folder, point.config["plugins"])
    given = [text for text in point.overrides if key_of(text) != "resume"]
    if any(key_of(text) != "plugins" for text in given):
        flags = [text for text in composed.arguments if text not in point.overrides]
        kept = [text for text in plan.overrides if key_of(text) not in {"plugins", *map(key_of, given)}]
        changed = compose_points([*flags, *kept, *given], stored=kept).points[0]
        overrides = [text for text in (*kept, *given) if key_of(text) not in ("allow_changes", "plugins")]
        plan = Plan(changed.config, changed.choices, overrides)
    refuse_absent(plan.config)
    from metarl_run.run.run import run

    run(plan, folder, stop, ranks=ranks)
    return DONE


def _table(composed: Composed) -> int:
    stop.install()
    (point,) = composed.points
    for text in point.overrides:
        if key_of(text).partition(".")[0] not in ("experiment", *keys_with_table()):
            raise ConfigError(key_of(text), "cannot be given with a table, whose cells choose it", "leave it out")
    from metarl_run.table.asked import as_asked
    from metarl_run.table.reproduce import reproduce

    config: Mapping[str, Any] = point.config
    folder = Path(config["table"]["output"] or Path(config["output_root"], point.choices.get("experiment", "table")))
    flags = [text for text in composed.arguments if text not in point.overrides]
    plugins = [text for text in point.overrides if key_of(text) == "plugins"]
    if config["table"]["report_only"]:
        config = as_asked(config, folder, [*map(key_of, point.overrides)])
    return reproduce(config, folder, [*flags, *plugins], stop)


def _resume_sweep(folder: Path, argv: Sequence[str]) -> int:
    """Whatever is not done of a sweep, by the launcher that is named now."""
    place = f"{sweep_record.PLACE}={quoted(str(folder))}"
    lines = [[*line, place] for line in sweep_record.continuing(folder, argv)]
    return max(_begin_sweep(compose_points(line), line, new=False) for line in lines)


def _begin_sweep(composed: Composed, argv: Sequence[str], *, new: bool) -> int:
    for key, reason, hint in (
        ("table", "is made by one command, got a sweep", "leave out the commas"),
        ("resume", "continues one run or sweep, got a sweep of its own", "leave out -m and commas"),
    ):
        if any(point.config[key] is not None for point in composed.points):
            raise ConfigError(key, reason, hint)
    Child(lambda: refuse_impossible(composed)).result()  # GPUs and threads in use here would fail in forks
    _print_differences(composed.points)
    return _sweep(composed, argv, new=new)


def _sweep(composed: Composed, argv: Sequence[str], *, new: bool) -> int:
    from metarl_run.cli import launcher, sweeper
    from metarl_run.report.sweep import sweep
    from metarl_run.report.sweep.jobs import job_folders, summary_or_empty
    from metarl_run.run import products

    stop.install()
    first = composed.points[0]
    folder = Path(first.sweep_folder)
    _make(folder)
    if new:
        sweep_record.remember(folder, argv, len(composed.points) if composed.lists else None)
    ours = launcher.replacing(composed.points, stop)
    stop.nothing_to_save = not launcher.obeys_signals(ours)
    # Jobs elsewhere may have another working directory
    values = {"hydra.mode": "MULTIRUN", "hydra.sweep.dir": str(folder.absolute() if stop.nothing_to_save else folder)}
    values |= ours
    if composed.search is not None:
        from metarl_run.cli import search_sweeper

        search_sweeper.register(composed.search)
    elif composed.lists:
        values |= _jobs_beforehand(composed, values, unfinished=bool(ours) and not new)
    else:
        values |= for_search(first, composed.arguments)
    if any(point.config["products"] == "auto" for point in composed.points):
        products.share(folder, begun=any(folder.glob("*/run.json")))
    try:
        finished = _call_sweeper(composed, values, folder)
    except Interrupted:
        stop.nothing_to_save = False
        ends = [summary_or_empty(path).get("status") for path in job_folders(folder)]
        if composed.search is None and "complete" in ends:
            sweep.write(folder).show()
        place = argument("resume", os.path.relpath(folder))
        again = [shlex.quote(text) for text in sweep_record.to_go_on(argv)]
        print(f"stopped; to go on: metarl-run {' '.join([place, *again])}", flush=True)
        raise
    stop.nothing_to_save = False
    if composed.search is not None:
        return _searched(folder, composed.search, composed.arguments, finished=finished)
    report = sweep.write(folder, page=any(point.config["report"] for point in composed.points))
    report.show()
    if any(folder.glob("*/wandb/offline-run-*")):
        print(f"wandb: wandb sync {shlex.quote(str(folder))}/*/wandb/offline-run-*")
    failed = not finished or report.failed or sweeper.ListedSweeper.failed or launcher.some_failed()
    return SWEEP_HAS_FAILURES if failed else DONE


def _jobs_beforehand(composed: Composed, values: Mapping[str, Any], *, unfinished: bool) -> dict[str, Any]:
    """Make the points the jobs of the sweep.

    Args:
        composed: the sweep.
        values: by key, of Hydra's part of the configuration.
        unfinished: leave out those that are finished.

    Returns:
        Further values, which choose the sweeper.
    """
    from metarl_run.cli import sweeper
    from metarl_run.cli.job import Job, choose
    from metarl_run.run.folder import is_over

    assert composed.loader is not None and composed.master is not None
    context = HydraContext(config_loader=composed.loader, callbacks=Callbacks(composed.master))
    jobs = []
    for number, point in enumerate(composed.points):
        choose(point.composed, values)
        jobs.append(Job(context, composed.master, point.overrides, number, point.composed))
    if unfinished:
        left = [job for job in jobs if not is_over(job.folder)]
        if len(left) < len(jobs):
            print(f"{len(jobs) - len(left)} of {len(jobs)} jobs are finished", flush=True)
        jobs = left
    Job.known = jobs
    return sweeper.register([job.overrides for job in jobs])


def _call_sweeper(composed: Composed, values: Mapping[str, Any], folder: Path) -> bool:
    """Let the chosen sweeper hand the jobs to the chosen launcher.

    Args:
        composed: the sweep.
        values: by key, of Hydra's part of the configuration.
        folder: of the sweep.

    Returns:
        Whether it went through: its jobs are reported in any case.

    Raises:
        ResourceError: if the system refuses files of the sweep, or a queue takes no jobs.
    """
    from metarl_run.cli.job import choose

    assert composed.master is not None and composed.loader is not None
    master = composed.master
    choose(master, values)
    configure_log(master.hydra.hydra_logging, master.hydra.verbose)
    callbacks = Callbacks(master)
    context = HydraContext(config_loader=composed.loader, callbacks=callbacks)
    callbacks.on_multirun_start(config=master, config_name=CONFIG_NAME)
    try:
        job = functools.partial(sweep_job, command=sys.argv[1:])
        sweeper = Plugins.instance().instantiate_sweeper(config=master, hydra_context=context, task_function=job)
        sweeper.sweep([*master.hydra.overrides.task])
    except OSError as error:
        with refusals(Path(error.filename or folder), "write the sweep's files"):
            raise
    except RunError as error:
        if error.where == "hydra/launcher":
            raise
        return False  # of a job, which has told it
    except (Exception, SystemExit) as error:  # of a sweeper or launcher that is not ours
        print(masked(str(bug(error, folder))), file=sys.stderr, flush=True)
        return False
    callbacks.on_multirun_end(config=master, config_name=CONFIG_NAME)
    return True


def _searched(folder: Path, search: Search, arguments: Sequence[str], *, finished: bool) -> int:
    """Report a search, and the comparison of its best points' runs with fresh seeds."""
    from metarl_run.cli.search_sweeper import SearchSweeper
    from metarl_run.report.sweep import sweep
    from metarl_run.search import report
    from metarl_run.search.study import Study

    if SearchSweeper.error is not None:
        raise SearchSweeper.error
    flags = [text for text in arguments if text not in parsed_flags(arguments)[1] and text not in sweep_record.MULTIRUN]
    failed = not finished
    if (folder / "final").is_dir():
        fresh = sweep.write(folder / "final")
        fresh.show()
        failed |= bool(fresh.failed)
    told = report.write(folder, Study(folder, search), flags)
    told.show()
    return SWEEP_HAS_FAILURES if failed or told.failed else DONE


def sweep_job(cfg: DictConfig, command: Sequence[str] | None = None) -> float | None:
    """One job of a sweep, perhaps in a process of its own; the number that a sweeper may search by, None if pruned.

    Args:
        cfg: its configuration.
        command: arguments of the sweep's command line.

    Raises:
        RunError: if the job failed; it is printed, and does not stop the others.
    """
    from metarl_run.run.folder import status_of

    folder = Path(HydraConfig.get().runtime.output_dir)
    ours = stop.installed
    if not ours:
        end_if_cancelled()
    try:
        with Contained(folder, cfg.plugins), stop.listening():
            stop.nothing_to_save = not ours  # until the run says otherwise: imports may take all the time there is left
            _run_here(cfg, command)
            if status_of(folder) == "pruned":
                return None
        return objective_of(folder, str(cfg.get("objective", Settings.objective)))
    except RunError as error:
        print(masked(str(error)), file=sys.stderr, flush=True)
        raise
    except Interrupted as request:
        if ours:
            raise
        raise request.by or SystemExit(request.exit_code) from None
    finally:
        if not ours:  # whoever drives the sweep may be gone by now
            compare_if_last(Path(HydraConfig.get().sweep.dir))


def compare_if_last(folder: Path) -> None:
    """Write the comparison of a sweep of which every job has ended."""
    from metarl_run.report.sweep import sweep
    from metarl_run.report.sweep.jobs import job_folders, summary_or_empty

    over = ("complete", "pruned", "failed")
    with contextlib.suppress(StateError):  # no record: the folder is a run's that is none of a sweep
        jobs = [command["jobs"] for command in sweep_record.commands_of(folder)]
        ended = [path for path in job_folders(folder) if summary_or_empty(path).get("status") in over]
        if jobs and None not in jobs and len(ended) >= sum(map(int, filter(None, jobs))):
            sweep.write(folder, page=any((path / "report.html").exists() for path in job_folders(folder)))


def for_search(point: Point, arguments: Sequence[str]) -> dict[str, Any]:
    """Values, by key, for a sweeper like Optuna's, whose defaults are to minimise, and to end with a failure.

    Its own seed is that of the run, so that a search that is started again goes on: it asks for the same jobs.
    """
    sweeper, seed = point.composed.hydra.sweeper, point.config["seed"]
    own = flat(OmegaConf.to_container(sweeper, resolve=False, enum_to_str=True), "hydra.sweeper.")
    wanted = {"direction": ("minimize", "maximize"), "max_failure_rate": (0.0, 1.0), "sampler.seed": (None, seed)}
    if is_cost(point.config["objective"]):
        del wanted["direction"]
    given = {key_of(text) for text in arguments}
    changed = {f"hydra.sweeper.{key}": values for key, values in wanted.items()}
    return {
        key: value
        for key, (default, value) in changed.items()
        if key not in given and key in own and own[key] == default
    }


def _make(folder: Path) -> None:
    with output_in(folder):
        folder.mkdir(parents=True, exist_ok=True)


# --- Hydra ---


def _call_hydra(arguments: Sequence[str], job: Callable[[DictConfig], object]) -> None:
    """Hand over to Hydra, which makes the folders and calls `job` for each point."""
    sys.argv = [sys.argv[0], *arguments]
    hydra.main(config_path=str(CONFIG_DIR), config_name="train", version_base="1.3")(job)()


def _run_here(cfg: DictConfig, command: Sequence[str] | None = None, ranks: Any = None) -> None:
    """Run what Hydra composed in the folder that it made.

    Args:
        cfg: the configuration.
        command: arguments of the command line, if this process has others.
        ranks: processes of the run, if it is distributed.
    """
    hydra_files.require_written()
    with machine.garbage_kept():
        from metarl_run.run import products
        from metarl_run.run.folder import require_not_failed
        from metarl_run.run.run import run

    chosen = HydraConfig.get()
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    config = without_step_sizes(with_current_targets({str(key): value for key, value in resolved.items()}))
    choices = {str(group): str(option) for group, option in chosen.runtime.choices.items()}
    choices_of_hydra = dict(chosen.runtime.choices)
    in_sweep = chosen.mode is RunMode.MULTIRUN
    plan = Plan(
        config,
        choices,
        [str(text) for text in chosen.overrides.task],
        in_sweep=in_sweep,
        launcher=choices_of_hydra.get("hydra/launcher") if in_sweep else None,
        sweep=Path(chosen.sweep.dir).name if in_sweep else None,
        command=command,
    )
    if in_sweep and not config["retry_failed"]:
        require_not_failed(Path(chosen.runtime.output_dir))
    shared = Path(chosen.sweep.dir, products.FILE) if in_sweep else None
    run(plan, Path(chosen.runtime.output_dir), stop, shared=shared, ranks=ranks)


def _nothing(cfg: DictConfig) -> None:
    """Hydra shows something instead of running."""


class Carrier(AbstractContextManager["Carrier"]):
    """Carries an error past Hydra, which would print it its own way and leave with exit code 1."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return error is not None

    def deliver(self) -> None:
        """Raise what was carried, if anything was."""
        if self.error is not None:
            raise self.error


def _print_differences(points: Sequence[Point]) -> None:
    """Print how runs that start from checkpoints differ from those that made them."""
    reported: dict[str, dict[str, None]] = {}
    for point in points:
        reported.setdefault(str(point.config["checkpoint"]), {}).update(dict.fromkeys(point.differences))
    for checkpoint, lines in reported.items():
        if lines:
            changed = "\n  ".join(map(visible, [f"from {checkpoint} as it was run, except for", *lines]))
            print(changed, flush=True)
