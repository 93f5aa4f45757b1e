"""Thompson sampling for Gaussian bandits: pull the best arm of a sample from the posterior."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.bandit_agent import deterministic_logits
from metarl_run.algo.bayes.gaussian_bandit_agent import GaussianBanditAgent
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import Positive, Real
from metarl_run.types import AgentState, Memory, Percept


class GaussianThompson(GaussianBanditAgent):
    """Sample each arm's mean from its posterior before every pull, and pull the arm with the largest.

        x(a) ~ N((μ₀ / σ₀² + Σr(a) / σ²) / τ(a), 1 / τ(a)),        τ(a) = 1 / σ₀² + n(a) / σ²,        pull argmaxₐ x(a)

    The noise σ is known. The memory also holds the `hypothesis` x, zeros until the first draw.

    Args:
        prior_mean: μ₀ of each arm's mean.
        prior_deviation: σ₀ > 0.
        family: has `reward_deviation`, σ.

    Source: Thompson (1933), "On the likelihood that one unknown probability exceeds another in view of the evidence of
    two samples"; the prior N(1/2, 1/12) for means in [0, 1]: Lee et al. (2023), arXiv:2306.14892.
    """

    prior_mean: Real
    prior_deviation: Positive
    family: TaskFamily

    def initial_agents(self, num_tasks: int, device: torch.device) -> AgentState:
        agent = super().initial_agents(num_tasks, device)
        hypothesis = torch.zeros(num_tasks, 1, self.num_arms, device=device)
        return agent._replace(memory={**agent.memory, "hypothesis": hypothesis})

    def draw(self, agent: AgentState, percept: Percept, generator: torch.Generator) -> AgentState:
        mean, deviation = self.posterior(self.observe(agent.memory, percept))
        x = torch.randn(mean.shape, generator=generator, device=mean.device).mul_(deviation).add_(mean)
        return agent._replace(memory={**agent.memory, "hypothesis": x})

    def posterior(self, memory: Memory) -> tuple[Float[Tensor, "M B A"], Float[Tensor, "M B A"]]:
        """Mean and standard deviation of each arm's mean given the counts."""
        # Rewards without noise, which any Gaussian bandit may have, say nearly everything.
        σ = max(self.family.reward_deviation, 1e-6)  # type: ignore[attr-defined]
        prior = self.prior_deviation**-2
        precision = prior + memory["arm_pulls"] / σ**2
        return (prior * self.prior_mean + memory["total_reward"] / σ**2) / precision, precision.rsqrt()

    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        return deterministic_logits(memory["hypothesis"].argmax(-1), self.num_arms)
