"""One state, two actions, and a policy whose logits move from (0, 0) to (log 3, 0): divergences known by hand.

KL(old ‖ new) = ½ log(½ / ¾) + ½ log(½ / ¼) = ½ log(4/3) ≈ .144,        KL(new ‖ old) = ¾ log(3/2) − ¼ log 2 ≈ .131
"""

import math

import gymnasium
import torch

from metarl_run.learner.reinforce import Reinforce
from metarl_run.network.table import Table
from metarl_run.types import Lifetime, Rollout

M, T, B = 2, 3, 4


FORTH, BACK = 0.5 * math.log(4 / 3), 0.75 * math.log(1.5) - 0.25 * math.log(2)


HALF_WAY = -0.5 * math.log(4 * math.sqrt(3) / (1 + math.sqrt(3)) ** 2)  # KL(old ‖ new) at (½ log 3, 0)


STEP = torch.tensor([math.log(3), 0.0], dtype=torch.float64)


def static(kind, **changes):
    """A method whose agents never adapt, since all rewards are 0: φ_K = θ."""
    learner = Reinforce(
        action_space=gymnasium.spaces.Discrete(2),
        surrogate="ratio",
        discount=0.9,
        discount_steps=False,
        baseline="none",
        standardise=False,
        average="steps",
        policy="auto",
        initial_deviation=1.0,
    )
    network = Table(num_inputs=1, heads={"policy": 2}, initial_value=0.0)
    θ = {name: x.double() for name, x in network.init(torch.Generator()).items()}
    return kind(learner=learner, network=network, meta_params=θ, adaptation_steps=1, inner_lr=0.1, **changes)


def unpaid(algo):
    no = torch.zeros(M, T, B, dtype=torch.bool)
    ones = torch.ones(M, T + 1, B, 1, dtype=torch.float64)
    rollout = Rollout(ones, no.long(), torch.zeros(M, T, B, dtype=torch.float64), no, no, ~no, {})
    agents = [algo.start(M)]
    agents.append(algo.adapt(agents[0], rollout))
    return Lifetime(agents, [rollout, rollout])
