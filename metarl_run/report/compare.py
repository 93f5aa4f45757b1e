"""Runs and sweeps of any folders compared after the fact: tables, pictures and a page."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metarl_run.errors import ConfigError, StateError
from metarl_run.report.figure import USUAL, PictureOptions
from metarl_run.report.folder import Adaptation
from metarl_run.report.names import display_name
from metarl_run.report.run import curve, learning
from metarl_run.report.sweep import sweep
from metarl_run.report.sweep.groups import Group, grouped
from metarl_run.report.sweep.jobs import Job, is_job, job_folders, job_order, read_job, summary_or_empty

OURS = ("report.html", "comparison.csv")
"""Files by which a folder is known to hold a comparison."""


def read_all(folders: Sequence[Path]) -> list[Job]:
    """Every run in some folders, which may be those of runs, of sweeps, or hold such; each once.

    Raises:
        StateError: if there is none in one of them.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise StateError(str(folder), "there is no such folder")
        here = [folder] if is_job(folder) else sorted(job_folders(folder), key=job_order)
        if not here:
            raise StateError(
                str(folder), "holds neither a run nor a sweep", "give run or sweep folders, or a folder of such"
            )
        found |= dict.fromkeys(path.resolve() for path in here)
    summaries = [summary_or_empty(path) for path in found]
    known = {(str(s["algo"]), str(s["env"])) for s in summaries if "algo" in s and "env" in s}
    root = folders[0].resolve() if len(folders) == 1 and not is_job(folders[0]) else Path.cwd()
    jobs = [read_job(path, known) for path in found]
    # Runs of several sweeps may have folders of the same name
    names = [os.path.relpath(job.folder, root) if len(jobs) > 1 else job.name for job in jobs]
    return [dataclasses.replace(job, name=name) for job, name in zip(jobs, names, strict=True)]


def chosen(groups: Sequence[Group], methods: Sequence[str], envs: Sequence[str]) -> list[Group]:
    """The groups of some methods and families, in the order of the methods; all if none are named.

    Args:
        groups: to choose from.
        methods: options of `algo`, names or labels of groups.
        envs: options of `env`, or their names.

    Raises:
        ConfigError: if a name is none of theirs.
    """
    of_group = {id(g): (g.algo, g.label, display_name("algo", g.algo), g.name) for g in groups}
    of_env = {id(g): (g.env, display_name("env", g.env)) for g in groups}
    for where, asked, names in (("--methods", methods, of_group), ("--env", envs, of_env)):
        known = {name for of_one in names.values() for name in of_one}
        if unknown := [name for name in asked if name not in known]:
            offered = ", ".join(dict.fromkeys(of_one[0] for of_one in names.values()))
            raise ConfigError(where, f"no run is of {unknown[0]}", f"one of {offered}")
    kept = [g for g in groups if not envs or set(envs) & {*of_env[id(g)]}]
    if not methods:
        return kept
    kept = [g for name in methods for g in kept if name in of_group[id(g)]]
    return list({id(g): g for g in kept}.values())


def write(
    folders: Sequence[Path],
    output: Path | None = None,
    options: PictureOptions = USUAL,
    *,
    methods: Sequence[str] = (),
    envs: Sequence[str] = (),
) -> sweep.SweepReport:
    """Compare runs, and write tables, pictures and report.html.

    Args:
        folders: of runs and sweeps.
        output: where to; None for the folder itself if there is one, else for `report`.
        options: of the pictures.
        methods, envs: which to show, see `chosen`; empty for all.

    Raises:
        StateError: if a folder holds no run, or `output` holds something else.
        ConfigError: if a method or family is not among the runs'.
    """
    jobs = read_all(folders)
    groups = chosen(grouped(jobs), methods, envs)
    output = output or (folders[0] if len(folders) == 1 else Path("report"))
    own = output.resolve() in {folder.resolve() for folder in folders}
    if not own and output.exists() and (not output.is_dir() or _has_others(output)):
        raise StateError(str(output), "holds something else than a report", "--output FOLDER, a new one")
    output.mkdir(parents=True, exist_ok=True)
    (job, *others) = jobs
    if others:
        return sweep.write(output, groups, options, page=True)
    files = [sweep.write_page(output, groups, options.title)]
    summary = _as_summary(job, groups[0])
    if groups[0].curve is not None:
        files += curve.draw(output, summary, job.rows, options)
    files += learning.draw(output, summary, job.learning, options)
    failed = [job] if job.problem is not None else []
    return sweep.SweepReport(folder=output, groups=groups, failed=failed, files=sorted(files))


def _as_summary(job: Job, group: Group) -> dict[str, Any]:
    """What pictures need of a run's summary, which may come from anywhere, as far as it was understood."""
    memory = summary_or_empty(job.folder).get("memory")
    known = {name: memory.get(name) for name in curve.REFERENCES} if isinstance(memory, dict) else {}
    return {
        **{name: job.choices.get(name, "?") for name in ("algo", "env", "learner")},
        "seed": job.seed,
        "meta_test": group.curve,
        "held_out_tasks": {"meta_test": job.tasks},
        "memory": {name: x for name, x in known.items() if isinstance(x, list) and [*map(type, x)] == [float]},
    }


def _has_others(folder: Path) -> bool:
    return any(folder.iterdir()) and not any((folder / name).exists() for name in OURS)


def write_page_of_run(folder: Path, summary: Mapping[str, Any], adaptation: Adaptation) -> Path:
    """Write report.html at the end of a run.

    Args:
        folder: of the run.
        summary, adaptation: the content of summary.json and adaptation.csv.
    """
    job = read_job(folder, set(), summary=summary, adaptation=adaptation)
    return sweep.write_page(folder, grouped([job]))
