"""RL² in random MDPs of 10 states, 512 lifetimes of 10 episodes × 10 steps: cells of 256 units, attention, state space;
linear heads, and some that read the memory otherwise.

The rollout is that of `live`, the update that of `meta_update`: PPO, 4 passes in 4 minibatches each. The project also
measures the policy's KL divergence before every step; the peer does not.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.project import batch, built
from benchmarks.timing import COMPILED, PROJECT, Case, Work
from metarl_run.algo.rl2 import RL2
from metarl_run.compiled.rollouts import CompiledRollouts
from metarl_run.lifetime import live
from metarl_run.network.base import Network
from metarl_run.network.ssd import CHUNK, SSD
from metarl_run.network.transformer import Transformer
from metarl_run.rollout import collect

EPISODES, HORIZON, PASSES, MINIBATCHES = 10, 10, 4, 4
CONFIG = (
    "algo=rl2",
    "env=random_mdp",
    f"env.horizon={HORIZON}",
    f"algo.episodes={EPISODES}",
    f"algo.minibatches={MINIBATCHES}",
    f"learner.epochs={PASSES}",
    "algo.max_kl=1e6",  # no pass is skipped
    "algo.meta_optimizer.lr=1e-8",  # every repetition does the same work
)


def cases(tiny: bool) -> Iterator[Case]:
    lifetimes, hidden = (8, 16) if tiny else (512, 256)
    networks = {
        "gru": ("network=gru", f"network.hidden={hidden}"),
        "lstm": ("network=lstm", f"network.hidden={hidden}"),
        "min_gru": ("network=min_gru", f"network.hidden={hidden}"),
        "transformer": ("network=transformer",),
        "ssd": ("network=ssd", f"network.hidden={hidden}"),
        **{
            f"{name}, {heads}": (f"network={name}", f"network.read={heads}", *sizes)
            for name, heads, *sizes in (
                ("min_gru", "observation", f"network.hidden={hidden}"),
                ("min_gru", "hypernetwork", f"network.hidden={hidden}"),
                ("transformer", "observation"),
                ("ssd", "observation", f"network.hidden={hidden}"),
            )
        },
    }
    for name in ["gru"] if tiny else networks:
        network = networks[name]
        forwards = lifetimes * EPISODES * HORIZON * operations(built(*CONFIG, *network)[1])
        for part, times in (("rollout", 1), ("update", 3 * PASSES)):  # the backward pass costs twice the forward pass
            subjects = {PROJECT: partial(project, part, lifetimes, network)}
            if name in ("gru", "min_gru", "ssd") and part == "rollout":
                subjects[COMPILED] = partial(project, part, lifetimes, network, compiled=True)
            if name in ("gru", "min_gru"):
                subjects["jax"] = partial(jax, part, lifetimes, name, network, parallel=name == "min_gru")
            if name == "min_gru" and part == "update":
                subjects["jax step by step"] = partial(jax, part, lifetimes, name, network, parallel=False)
            yield Case(
                "rl2",
                f"{name} {part}",
                {"lifetimes": lifetimes, "lifetime_steps": EPISODES * HORIZON},
                lifetimes * EPISODES * HORIZON,
                subjects,
                operations=times * forwards,
            )


def operations(algo: RL2) -> float:
    """Floating-point operations of the products in one forward step."""
    network = algo.network
    weights = [θ for θ in algo.meta_params.values() if θ.dim() == 2 and min(θ.shape) > 1]
    weights += [θ[0] for θ in algo.meta_params.values() if θ.dim() == 3]  # of the state in which it is read
    return 2 * (sum(θ.numel() for θ in weights) + pairs(network))


def pairs(network: Network) -> float:
    """Multiplications of queries × keys and weights × values in one step."""
    steps = EPISODES * HORIZON
    if isinstance(network, Transformer):  # half of all steps on average
        return steps * network.hidden * network.layers
    if isinstance(network, SSD):  # all steps of a chunk, and what the memory carries over
        keys = network.memories * network.key
        return (min(CHUNK, steps) * (keys + network.hidden) + 2 * network.key * network.hidden) * network.layers
    return 0


def project(part: str, lifetimes: int, network: tuple[str, ...], *, compiled: bool = False) -> Work:
    family, algo = built(*CONFIG, *network)
    env, generator = batch(family, lifetimes, 1), torch.Generator().manual_seed(1)
    how = CompiledRollouts(algo) if compiled else collect
    lifetime = live(algo, env, generator, adaptation_steps=EPISODES - 1)

    def rollout() -> None:
        live(algo, env, generator, adaptation_steps=EPISODES - 1, collect=how)

    def update() -> None:
        algo.meta_update(lambda _: lifetime)

    return rollout if part == "rollout" else update


def jax(part: str, lifetimes: int, name: str, network: tuple[str, ...], *, parallel: bool) -> Work:
    from benchmarks.peers import jax_rl2

    family, algo = built(*CONFIG, *network)
    task = batch(family, lifetimes, 1).task
    sizes = EPISODES, HORIZON, PASSES, MINIBATCHES
    return jax_rl2.work(part, name, task, algo.meta_params, *sizes, parallel=parallel)
