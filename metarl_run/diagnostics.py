"""Diagnostics of agents with memory in tabular families: what their actions depend on, and what they could earn."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.bandit import Bandit
from metarl_run.env.base import TaskFamily
from metarl_run.exact import reference_returns
from metarl_run.learner.actor_critic import explained_variance, net_of_time
from metarl_run.learner.base import num_actions
from metarl_run.maths.dependence import dependence
from metarl_run.maths.distributions import Categorical, Distribution, each
from metarl_run.maths.posterior import best_of_bernoulli, best_of_gaussian, experience, total_variation
from metarl_run.types import Lifetime, Rollout

APPRAISED = 2**16
"""Steps in all, at most, that the value function is compared on: a whole pass over more would need gigabytes."""


COMPARED = 2**16
"""Steps in all, at most, of which the exact posterior is computed: each takes an integral over every arm."""


@runtime_checkable
class SamplesPosterior(Protocol):
    """An algorithm whose policy should be the posterior probability that an action is optimal."""

    posterior_sampling: bool


@runtime_checkable
class Appraises(Protocol):
    """An algorithm with a value function along lifetimes."""

    def appraise(self, lifetimes: Rollout) -> tuple[Tensor, Tensor]:
        """V before every step of whole lifetimes, `[T, N, …]`, and the discounted returns that it predicts."""


@runtime_checkable
class Infers(Protocol):
    """An algorithm that acts on a belief about its task, which it also learns to predict by."""

    def examine(self, lifetimes: Rollout, generator: torch.Generator) -> dict[str, list[float]]:
        """What the belief predicts, and whether the policy reads it, in whole lifetimes, `[T, N, …]`, by name."""


def diagnose(
    algo: MetaAlgorithm, family: TaskFamily, task: Any, lifetime: Lifetime, generator: torch.Generator
) -> dict[str, list[float]]:
    """Diagnostics of an agent that remembers, in M tasks; empty for other agents, and unless the family is tabular.

    Returns:
        `action_share`, `action_share_states_shuffled`, `action_share_memory_shuffled`, of the second half of each
        lifetime, see `metarl_run.maths.dependence`; `explained_variance` of the value function, and
        `explained_variance_net_of_time`; those of `Infers.examine` of an agent with a belief; `entropy` of the policy,
        nats, in each episode of a lifetime; `constant_action` and `myopic`, mean expected returns of an episode, see
        `metarl_run.exact.reference_returns`; of an agent that samples the posterior of a bandit, `posterior_distance`
        at each pull and `mean_posterior_distance`, see `posterior_distance`; and `bayes_optimal`, the expected return
        of each episode under the best policy that does not know the task, if the family knows it. Lists of one number
        but for the entropy and what else there is of each episode.
    """
    if not algo.remembers or "tabular" not in family.provides:
        return {}
    (rollout,) = lifetime.rollouts
    lifetimes = rollout.merged()
    half = slice(len(lifetimes.reward) // 2, None)
    shares = dependence(
        lifetimes.action[half].T,
        lifetimes.observation[:-1][half].argmax(-1).T,
        num_actions=num_actions(family.action_space),
        generator=generator,
    )
    found = {
        "action_share": [shares.share],
        "action_share_states_shuffled": [shares.states_shuffled],
        "action_share_memory_shuffled": [shares.memory_shuffled],
    }
    if isinstance(algo, Appraises):
        some = lifetimes.envs(slice(max(APPRAISED // len(lifetimes.reward), 2)))
        value, returns = algo.appraise(some)
        alive = some.alive
        value_net, returns_net = net_of_time(value, alive), net_of_time(returns, alive)
        found["explained_variance"] = [float(explained_variance(value, returns, alive))]
        found["explained_variance_net_of_time"] = [float(explained_variance(value_net, returns_net, alive))]
    if isinstance(algo, Infers):
        found |= algo.examine(lifetimes.envs(slice(max(APPRAISED // len(lifetimes.reward) ** 2, 2))), generator)
    if lifetime.policy is not None:
        found["entropy"] = entropy_per_episode(lifetime.policy.entropy(), rollout)
        if isinstance(algo, SamplesPosterior) and algo.posterior_sampling:
            away = posterior_distance(family, lifetimes, lifetime.merged()[1])
            found |= (
                {} if away is None else {"posterior_distance": away, "mean_posterior_distance": [sum(away) / len(away)]}
            )
    found |= {name: [sum(x) / len(x)] for name, x in reference_returns(family, task).items()}
    episodes = int(rollout.ended[0, :, 0].sum())
    if (best := family.bayes_optimal_returns(episodes)) is not None:
        found["bayes_optimal"] = list(best)
    elif (bounds := family.bayes_optimal_bounds(episodes)) is not None:
        found["bayes_optimal_bounds"] = list(bounds)
    return found


def entropy_per_episode(entropy: Tensor, rollout: Rollout) -> list[float]:
    """Mean entropy of the policy over the steps of the first, the second, … episode of all lifetimes.

    Args:
        entropy: of each step, `[M, T, B]`.
        rollout: n consecutive episodes in each environment.
    """
    ended = rollout.ended.long()
    episode = (ended.cumsum(1) - ended)[rollout.alive]
    return (torch.bincount(episode, entropy[rollout.alive].double()) / torch.bincount(episode)).tolist()


def posterior_distance(family: TaskFamily, lifetimes: Rollout, policy: Distribution) -> list[float] | None:
    """Total variation ½ Σₐ |π(a) − P(a is best | data)| at each pull of a bandit, the mean over some lifetimes.

    None unless the family is a bandit whose means are uniform on [0, 1].

    Args:
        family: of the tasks.
        lifetimes: `[T, N, …]`, one pull per step.
        policy: distribution of every action, `[T, N]`.
    """
    if not isinstance(family, Bandit) or family.meta_test["mean"] != ["uniform", 0, 1]:
        return None
    some = slice(max(COMPARED // len(lifetimes.reward), 2))
    pulls, rewards = experience(lifetimes.action[:, some], lifetimes.reward[:, some], num_actions(family.action_space))
    p = each(policy, lambda x: x[:, some])
    assert isinstance(p, Categorical)
    π = p.log_probs().exp()
    away = []
    for t in range(len(π)):
        known = pulls[t], rewards[t]
        exact = best_of_bernoulli(*known) if family.bernoulli else best_of_gaussian(*known, family.reward_deviation)
        away.append(float(total_variation(π[t], exact).mean()))
    return away
