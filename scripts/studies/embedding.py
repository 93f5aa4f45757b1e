"""Rank correlation of a metric-based agent's learned distances with the true ones, and pictures of its embedding.

Takes finished runs of `algo=metric_based` on one task family. Some episodes in each held-out task determine its
embedding. Spearman's rank correlation is computed between distances of embeddings and of task parameters; and between
the distance of a held-out task from a stored one and the negative return of the stored policy there.
"""

import argparse
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from metarl_run.algo.metric_based import MetricBased
from metarl_run.config.plan import stored_plan
from metarl_run.env.base import TaskFamily
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.exact import optimal_returns
from metarl_run.lifetime import live
from metarl_run.maths.planning import finite_horizon_q
from metarl_run.report.figure import INK, save
from metarl_run.run.agent import load_trained, set_up
from metarl_run.seeding import Streams
from metarl_run.system.atomic import write_atomically
from metarl_run.system.json_text import json_text
from metarl_run.types import AgentState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWCASE = Path(__file__).resolve().parents[2] / "outputs" / "showcase" / "metric_based"
PHYSICS = ("signed_force", "cart_mass", "pole_mass", "half_length", "gravity")
SERVED_TASKS, SERVED_EPISODES = 40, 10
"""Number of held-out tasks that stored policies are tested in, and episodes of each."""


class Run(NamedTuple):
    """A meta-trained agent, its task family and its random streams."""

    family: TaskFamily
    algo: MetricBased
    streams: Streams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="run folders; the embedding of the first is drawn")
    parser.add_argument("--tasks", type=int, default=200, help="held-out tasks (default: 200)")
    parser.add_argument("--episodes", type=int, default=10, help="episodes that determine each embedding (default: 10)")
    parser.add_argument("--out", type=Path, default=SHOWCASE, help="folder (default: outputs/showcase/metric_based)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    runs = [run_of(folder) for folder in chosen.folders]
    held_out = [embedded(run, chosen.tasks, chosen.episodes) for run in runs]
    rows = [correlations(run, *found) for run, found in zip(runs, held_out, strict=True)]
    env = stored_plan(chosen.folders[0]).choices["env"]
    settings = {"env": env, "tasks": chosen.tasks, "episodes": chosen.episodes}
    record = {**settings, "seeds": [run.streams.seed for run in runs], "spearman": rows}
    write_atomically(chosen.out / f"{env}.json", json_text(record).encode())
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name:<45} {fmean(values):.2f}   {' '.join(f'{value:.2f}' for value in values)}")
    save(chosen.out / f"{env}_embedding", 8.4, 3.6, lambda figure: draw(figure, runs[0], *held_out[0]))


# --- Held-out tasks ---


def run_of(folder: Path) -> Run:
    """The agent at the end of a run."""
    config = stored_plan(folder).config
    _, streams, family, algo = set_up({**config, "device": "cpu"})
    if not isinstance(algo, MetricBased):
        raise SystemExit(f"{folder} is no run of algo=metric_based")
    load_trained(algo, family, folder, "this agent")
    return Run(family, algo, streams)


def embedded(run: Run, tasks: int, episodes: int) -> tuple[Any, Tensor]:
    """Held-out tasks, and the agent's embedding of each after some episodes, `[M, L]`."""
    family, algo, streams = run
    task = family.sample(tasks, "meta_test", streams("embedding/tasks"))
    env = TaskVectorEnv(family, task, episodes_per_task=1, generator=streams("embedding/env"))
    with torch.no_grad():
        (rollout,) = live(algo, env, streams("embedding/actions"), adaptation_steps=episodes - 1).rollouts
        return task, algo.inferred_embedding(rollout.memory).squeeze(1)


def served(run: Run, task: Any) -> Tensor:
    """Mean return of each stored policy in each task, `[M, N]`."""
    family, algo, streams = run
    columns = []
    for policy in range(len(algo.task_embeddings)):
        one = {name: φ[policy].detach().expand(task.num_tasks, *φ.shape[1:]) for name, φ in algo.policies.items()}
        generator = streams("embedding/served", policy)
        env = TaskVectorEnv(family, task, episodes_per_task=SERVED_EPISODES, generator=generator)
        (rollout,) = live(algo, env, generator, adaptation_steps=0, agents=AgentState(one, {})).rollouts
        columns.append(rollout.reward.sum(1).mean(1))
    return torch.stack(columns, 1)


# --- Correlations ---


def truths(family: TaskFamily, task: Any) -> dict[str, Tensor]:
    """True parameters of the tasks by name, `[M, ·]` each."""
    if "tabular" in family.provides:
        q = finite_horizon_q(task.transition, task.mean_reward, horizon=family.horizon)[:, 0]
        return {"mean rewards": task.mean_reward.flatten(1), "optimal action values": q.flatten(1)}
    physics = torch.stack([getattr(task, name) for name in PHYSICS], 1)
    normalised = (physics - physics.mean(0)) / physics.std(0)
    return {f"{', '.join(PHYSICS)}, standardised": normalised, "signed_force": physics[:, :1]}


def correlations(run: Run, task: Any, places: Tensor) -> dict[str, float]:
    """Spearman's ρ of learned distances with true ones, and with negative returns of stored policies."""
    found = {name: spearman(pairwise(places), pairwise(x)) for name, x in truths(run.family, task).items()}
    standing = run.family.sample(len(run.algo.task_embeddings), "meta_train", run.streams("meta_train/standing_tasks"))
    for name, x in truths(run.family, standing).items():
        found[f"stored tasks: {name}"] = spearman(pairwise(run.algo.task_embeddings), pairwise(x))
    some = slice(0, SERVED_TASKS)
    distance = torch.cdist(places[some], run.algo.task_embeddings)
    return {**found, "a stored policy's return, negative": spearman(distance, -served(run, task.select(some)))}


def pairwise(x: Tensor) -> Tensor:
    """Distances of all pairs of rows, each pair once."""
    n = len(x)
    return torch.cdist(x, x)[torch.ones(n, n, dtype=torch.bool).triu(1)]


def spearman(x: Tensor, y: Tensor) -> float:
    """Rank correlation; equal numbers share their mean rank.

    Source: Spearman (1904), "The proof and measurement of association between two things".
    """
    if any(len(values.unique()) == 1 for values in (x, y)):
        raise SystemExit("all distances are equal, wanted at least two values: use more tasks, or tasks that differ")
    return float(torch.corrcoef(torch.stack([ranks(x), ranks(y)]))[0, 1])


def ranks(x: Tensor) -> Tensor:
    _, index, counts = x.flatten().double().unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[index]


# --- Picture ---


def colours(family: TaskFamily, task: Any) -> dict[str, tuple[Tensor, str]]:
    """Colouring of the points in each panel: name, values and colour map."""
    if "tabular" in family.provides:
        best = torch.tensor(optimal_returns(family, task))
        return {
            "optimal expected return": (best, "viridis"),
            "mean reward over all s, a": (task.mean_reward.mean((1, 2)), "cividis"),
        }
    return {
        "signed force (N)": (task.signed_force, "coolwarm"),
        "half of the pole's length (m)": (task.half_length, "viridis"),
    }


def draw(figure: "Figure", run: Run, task: Any, places: Tensor) -> None:
    """Draw held-out tasks as points and stored ones as crosses, on the first two principal components of the former."""
    centre = places.mean(0)
    _, singular, directions = torch.linalg.svd(places - centre, full_matrices=False)
    share = singular.square() / singular.square().sum()
    seen, stored = (places - centre) @ directions[:2].T, (run.algo.task_embeddings - centre) @ directions[:2].T
    panels = colours(run.family, task)
    for axes, (name, (values, scale)) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.scatter(*stored.T.numpy(), marker="x", s=22, color=INK, linewidth=0.9, label="stored task")
        points = axes.scatter(*seen.T.numpy(), c=values.numpy(), cmap=scale, s=20, linewidth=0, label="held-out task")
        figure.colorbar(points, ax=axes, label=name)
        axes.set_xlabel(f"first component ({share[0]:.0%})")
        axes.set_ylabel(f"second component ({share[1]:.0%})")
    figure.axes[0].legend(loc="best")


if __name__ == "__main__":
    main()
