"""How fast agents with memory live and learn, and which share of the processor's best matrix product that is.

512 lifetimes of 100 steps in random MDPs of 10 states, on one core: the rollout by the real `collect`, the update by
the real `meta_update`: PPO, 4 passes in 4 minibatches each. Counted are the products with weights, forwards once per
step in a rollout, forwards and backwards once per step and pass in an update, and what attention multiplies. The best
product, of two 1024 × 1024 matrices, is timed right before and after every measurement.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from metarl_run import machine
from metarl_run.algo.rl2 import RL2
from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.run import build_agent
from metarl_run.seeding import Streams

SHOWCASE = Path(__file__).resolve().parents[1] / "outputs" / "showcase"
LIFETIMES, EPISODES, HORIZON, PASSES = 512, 10, 10, 4
CONFIG = (
    "logger=files",
    "algo=rl2",
    "env=random_mdp",
    f"env.horizon={HORIZON}",
    f"algo.episodes={EPISODES}",
    f"learner.epochs={PASSES}",
    "algo.max_kl=1e6",  # no pass is left out
)
NETWORKS = {
    "gru": ["network=gru", "network.hidden=256"],
    "lstm": ["network=lstm", "network.hidden=256"],
    "transformer": ["network=transformer"],
}


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, on one core."""
    start = time.process_time()  # that of other processes does not count
    work()
    return time.process_time() - start


class Peak:
    """The rate of the best product, floating-point operations per second: the best of several tries."""

    def __init__(self, size: int = 1024) -> None:
        self.a, self.b = torch.randn(size, size), torch.randn(size, size)
        self.operations = 2 * size**3

    def __call__(self) -> float:
        return self.operations / min(seconds(lambda: self.a @ self.b) for _ in range(10))


def operations(algo: RL2) -> float:
    """Of the products in one step forwards."""
    weights = [θ for θ in algo.meta_params.values() if θ.dim() == 2 and min(θ.shape) > 1]
    network = algo.network
    # Queries times keys and weights times values, of half of all steps on average.
    attention = 2 * EPISODES * HORIZON * network.hidden * network.layers if hasattr(network, "layers") else 0
    return 2 * sum(θ.numel() for θ in weights) + attention


def measure(overrides: list[str], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Steps per second, and the share of the best product's rate, of every rollout and update."""
    family, algo = build_agent(compose_points([*CONFIG, *overrides]).points[0].config, Streams(0, torch.device("cpu")))
    assert isinstance(algo, RL2)
    generator = torch.Generator().manual_seed(0)
    tasks = family.sample(LIFETIMES, "meta_train", generator)
    env = TaskVectorEnv(family, tasks, episodes_per_task=1, generator=generator)
    peak, steps, per_step = Peak(), LIFETIMES * EPISODES * HORIZON, operations(algo)
    lived = live(algo, env, generator, adaptation_steps=EPISODES - 1)
    work = {
        "rollout": (lambda: live(algo, env, generator, adaptation_steps=EPISODES - 1), per_step),
        "update": (lambda: algo.meta_update(lambda _: lived), per_step * 3 * PASSES),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, (doing, cost) in work.items():
            before = peak()
            rate = steps / seconds(doing)
            found[name].append((rate, rate * cost / max(before, peak())))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHOWCASE, help="folder of memory_speed.md")
    parser.add_argument("--repeats", type=int, default=7, help="of each measurement, of which the fastest counts")
    options = parser.parse_args()
    machine.prepare()
    torch.set_num_threads(1)
    rows = []
    for name, overrides in NETWORKS.items():
        best = {what: max(runs) for what, runs in measure(overrides, options.repeats).items()}
        cells = [f"{rate / 1000:.1f} k | {share:.0%}" for rate, share in best.values()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    lines = [
        "# Speed of agents with memory",
        "",
        f"Made by `scripts/memory_speed`: {LIFETIMES} lifetimes of {EPISODES * HORIZON} steps, one core, environment "
        f"and learner included. An update is {PASSES} passes of PPO. GRU and LSTM have 256 units; the transformer has "
        "its default size. The best product of two 1024 × 1024 matrices took "
        f"{Peak()() / 1e9:.0f} GFLOP/s at the end; shares are of what it took next to each measurement.",
        "",
        "| network | rollout, steps/s | share of the best product | update, steps/s | share |",
        "|---|---|---|---|---|",
        *rows,
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "memory_speed.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
