"""One task with two short episodes, and learners whose losses on it are known by hand."""

import gymnasium
import torch

from metarl_run.learner.actor_critic import ActorCritic
from metarl_run.learner.ppo import PPO
from metarl_run.learner.reinforce import Reinforce
from metarl_run.types import Rollout

γ = 0.9


COMMON = {
    "action_space": gymnasium.spaces.Discrete(2),
    "discount": γ,
    "discount_steps": False,
    "average": "steps",
    "policy": "auto",
    "initial_deviation": 1.0,
}


def reinforce(**changes):
    return Reinforce(**{**COMMON, "surrogate": "score", "baseline": "none", "standardise": False, **changes})


CRITIC = {"lifetime_discount": 0.0, "value_scale": 1.0, "gae_lambda": 1.0}


def actor_critic(**changes):
    weights = {**CRITIC, "value_weight": 0.5, "entropy_weight": 0.1}
    return ActorCritic(**{**COMMON, "surrogate": "score", "standardise": False, **weights, **changes})


def ppo(**changes):
    weights = {**CRITIC, "value_weight": 0.0, "entropy_weight": 0.0}
    return PPO(**{**COMMON, "standardise": False, "clip": 0.2, "epochs": 1, **weights, **changes})


def one_task(reward, terminated, alive, action):
    tensor = torch.tensor
    ends = tensor(terminated)
    return Rollout(
        observation=torch.zeros(len(reward) + 1, len(reward[0]), 1),
        action=tensor(action),
        reward=tensor(reward),
        terminated=ends,
        truncated=torch.zeros_like(ends),
        alive=tensor(alive),
        memory={},
    )


# Two episodes: rewards 1, 2 and then an end; reward 4 and an end at once.
ROLLOUT = one_task(
    reward=[[1.0, 4.0], [2.0, 0.0]],
    terminated=[[False, True], [True, False]],
    alive=[[True, True], [True, False]],
    action=[[0, 1], [1, 0]],
)


LOGITS = torch.zeros(3, 2, 2)  # uniform: every log-probability is −log 2


RETURNS = [1 + 2 * γ, 4.0, 2.0]
