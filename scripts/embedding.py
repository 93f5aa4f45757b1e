"""How the distances that a metric-based agent has learned compare with the true ones, and a picture of its embedding.

Takes finished runs of `algo=metric_based`. In held-out tasks the agent lives some episodes; the rank correlations are of
the distances between what it then takes for the tasks' places with distances between the tasks' parameters, and of the
distance of a held-out task from a stored one with what the stored policy earns there.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metarl_run import checkpoint
from metarl_run.algo.metric_based import MetricBased
from metarl_run.atomic import write_atomically
from metarl_run.env.base import TaskFamily
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.plan import stored_plan
from metarl_run.planning import finite_horizon_q
from metarl_run.report.figure import COLOURS, FAINT, save
from metarl_run.run import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import AgentState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWCASE = Path(__file__).resolve().parents[1] / "outputs" / "showcase" / "metric_based"
PHYSICS = ("signed_force", "cart_mass", "pole_mass", "half_length", "gravity")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="finished runs on one task family")
    parser.add_argument("--tasks", type=int, default=200, help="held-out tasks (default: 200)")
    parser.add_argument("--episodes", type=int, default=10, help="lived in each before it is placed (default: 10)")
    parser.add_argument("--out", type=Path, default=SHOWCASE, help="folder (default: outputs/showcase/metric_based)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = [correlations(folder, chosen.tasks, chosen.episodes) for folder in chosen.folders]
    env = stored_plan(chosen.folders[0]).choices["env"]
    chosen.out.mkdir(parents=True, exist_ok=True)
    record = {"env": env, "tasks": chosen.tasks, "episodes": chosen.episodes, "spearman": rows}
    write_atomically(chosen.out / f"{env}.json", (json.dumps(record, indent=1) + "\n").encode())
    for name in rows[0]:
        print(f"{name:>40}  {fmean(row[name] for row in rows):.3f}  {[round(row[name], 3) for row in rows]}")
    draw(chosen.folders[0], chosen.tasks, chosen.episodes, chosen.out / f"{env}_embedding")


# --- Living in held-out tasks ---


def agent_of(folder: Path) -> tuple[TaskFamily, MetricBased, Streams]:
    """The meta-trained agent of a run, and its family."""
    config = stored_plan(folder).config
    streams = Streams(config["seed"], torch.device("cpu"))
    family, algo = build_agent(config, streams)
    if not isinstance(algo, MetricBased):
        raise SystemExit(f"{folder} is no run of algo=metric_based")
    algo.load_meta_params(checkpoint.load(folder).state["algo"]["meta_params"])
    return family, algo, streams


def placed(family: TaskFamily, algo: MetricBased, streams: Streams, tasks: int, episodes: int) -> tuple[Any, Tensor]:
    """Held-out tasks, and where the agent takes each to be after some episodes in it, `[M, L]`."""
    task = family.sample(tasks, "meta_test", streams("embedding/tasks"))
    env = TaskVectorEnv(family, task, episodes_per_task=1, generator=streams("embedding/env"))
    with torch.no_grad():
        (rollout,) = live(algo, env, streams("embedding/actions"), adaptation_steps=episodes - 1).rollouts
    return task, algo.place(rollout.memory).squeeze(1)


def served(family: TaskFamily, algo: MetricBased, streams: Streams, task: Any) -> Tensor:
    """What each stored policy earns in each task, the mean over 10 episodes, `[M, N]`."""
    M, columns = task.num_tasks, []
    for policy in range(len(algo.places)):
        own = {name: φ[policy].detach().expand(M, *φ.shape[1:]) for name, φ in algo.policies.items()}
        env = TaskVectorEnv(family, task, episodes_per_task=10, generator=streams("embedding/served", policy))
        actions = streams("embedding/served_actions", policy)
        (rollout,) = live(algo, env, actions, adaptation_steps=0, agents=AgentState(own, {})).rollouts
        columns.append(rollout.reward.sum(1).mean(1))
    return torch.stack(columns, 1)


# --- Correlations ---


def truths(family: TaskFamily, task: Any) -> dict[str, Tensor]:
    """What tasks may truly differ in: standardised numbers, `[M, ·]`, by name."""
    if "tabular" in family.provides:
        q = finite_horizon_q(task.transition, task.mean_reward, horizon=family.horizon)[:, 0]
        return {"mean rewards": task.mean_reward.flatten(1), "optimal action values": q.flatten(1)}
    physics = torch.stack([getattr(task, name) for name in PHYSICS], 1)
    return {"physics": (physics - physics.mean(0)) / physics.std(0)}


def correlations(folder: Path, tasks: int, episodes: int) -> dict[str, float]:
    """Spearman's ρ of learned distances with true ones, and with what policies earn."""
    family, algo, streams = agent_of(folder)
    task, g = placed(family, algo, streams, tasks, episodes)
    found = {}
    learned = pairwise(g)
    for name, truth in truths(family, task).items():
        found[name] = spearman(learned, pairwise(truth))
    if "signed force" not in found and hasattr(task, "signed_force"):
        found["signed force"] = spearman(learned, pairwise(task.signed_force.unsqueeze(1)))
        same = (task.force_sign.unsqueeze(0) == task.force_sign.unsqueeze(1))[upper(len(g))]
        found["physics, same sign"] = spearman(learned[same], pairwise(truths(family, task)["physics"])[same])
    some = task.select(slice(0, 40))
    earned = served(family, algo, streams, some)
    found["lost return of stored policies"] = spearman(torch.cdist(g[:40], algo.places).flatten(), -earned.flatten())
    return found


def upper(n: int) -> Tensor:
    """Which entries of a square lie above its diagonal."""
    return torch.ones(n, n, dtype=torch.bool).triu(1)


def pairwise(x: Tensor) -> Tensor:
    """The distance of each pair of rows, each pair once."""
    return torch.cdist(x, x)[upper(len(x))]


def spearman(x: Tensor, y: Tensor) -> float:
    """The correlation of ranks; ties share their mean rank."""
    ranks = torch.stack([rank(x), rank(y)])
    return float(torch.corrcoef(ranks)[0, 1])


def rank(x: Tensor) -> Tensor:
    values, index, counts = x.double().unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[index]


# --- The picture ---


def draw(folder: Path, tasks: int, episodes: int, name: Path) -> None:
    pass


if __name__ == "__main__":
    main()
