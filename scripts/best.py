"""Best setting of every method in a tuning sweep, such as `experiment=families_tuning`.

The score is the mean of the returns after the given numbers of episodes, by default 10, 20 and 40; where a curve ends
earlier, its last point is used. Settings are identified by their command-line overrides.
"""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from metarl_run.report.sweep.groups import grouped
from metarl_run.report.sweep.jobs import Job, read_jobs
from metarl_run.system.atomic import write_atomically

LEFT_OUT = ("experiment", "env", "algo", "seed", "logger", "output_root", "panel", "sweep")
"""Overrides that are not part of a setting."""


class Tried(NamedTuple):
    """One setting of a method.

    Attributes:
        env, algo: task family and method.
        setting: overrides that not all settings of the method share.
        returns: mean return after each given number of episodes.
        cpu_seconds: CPU time of the run.
    """

    env: str
    algo: str
    setting: str
    returns: Sequence[float]
    cpu_seconds: float

    @property
    def score(self) -> float:
        return fmean(self.returns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="sweep folders")
    parser.add_argument("--episodes", type=int, nargs="+", default=[10, 20, 40], help="default: 10 20 40")
    parser.add_argument("--out", type=Path, help="Markdown file; default: print only")
    chosen = parser.parse_args()
    jobs = [job for folder in chosen.folders for job in read_jobs(folder) if job.problem is None]
    text = table(tried(jobs, chosen.episodes), chosen.episodes)
    print(text)
    if chosen.out:
        write_atomically(chosen.out, text.encode())


def tried(jobs: Sequence[Job], episodes: Sequence[int]) -> list[list[Tried]]:
    """Settings of each method, ordered by env and algo."""
    methods: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        methods.setdefault((job.choices["env"], job.choices["algo"]), []).append(job)
    found = []
    for (env, algo), members in sorted(methods.items()):
        given = [[word for word in shlex.split(job.overrides) if key_of(word) not in LEFT_OUT] for job in members]
        shared = set.intersection(*map(set, given))
        settings = []
        for job, words in zip(members, given, strict=True):
            own = " ".join(word for word in words if word not in shared or len(members) == 1)
            (group,) = grouped([job])
            settings.append(Tried(env, algo, own, returns_of(group.points, episodes), job.cpu_seconds or 0.0))
        found.append(settings)
    return found


def key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def returns_of(points: Sequence[Mapping[str, float]], episodes: Sequence[int]) -> list[float]:
    """Mean return after at most each number of episodes."""
    return [[point["mean"] for point in points if point["episodes_seen"] <= most][-1] for most in episodes]


def table(methods: Sequence[Sequence[Tried]], episodes: Sequence[int]) -> str:
    """A Markdown table with a row per setting, the best of each method in bold."""
    lines = [
        "| env | algo | setting | " + " | ".join(f"e={e}" for e in episodes) + " | score | CPU s |",
        "| :-- | :-- | :-- |" + " --: |" * (len(episodes) + 2),
    ]
    for settings in methods:
        best = max(settings, key=lambda one: one.score)
        for one in settings:
            mark = "**" if one is best else ""
            values = " | ".join(f"{value:.2f}" for value in (*one.returns, one.score))
            setting = f"`{one.setting}`" if one.setting else "as it was"
            lines.append(f"| {one.env} | {mark}{one.algo}{mark} | {setting} | {values} | {one.cpu_seconds:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
