"""Thompson sampling for bandits: act optimally in a sample from the posterior."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.bandit_agent import BanditAgent, deterministic_logits
from metarl_run.maths.sampling import beta
from metarl_run.types import AgentState, Memory, Percept


class Thompson(BanditAgent):
    """Sample each arm's success probability from its posterior before every pull, and pull the arm with the largest.

        x(a) ~ Beta(s(a), f(a)),        pull argmaxₐ x(a)

    The memory also holds the `hypothesis` x, zeros until the first draw.

    Source: Thompson (1933), "On the likelihood that one unknown probability exceeds another in view of the evidence of
    two samples"; Chapelle & Li (2011), "An empirical evaluation of Thompson sampling", algorithm 2.
    """

    def initial_agents(self, num_tasks: int, device: torch.device) -> AgentState:
        agent = super().initial_agents(num_tasks, device)
        hypothesis = torch.zeros(num_tasks, 1, self.num_arms, device=device)
        return agent._replace(memory={**agent.memory, "hypothesis": hypothesis})

    def draw(self, agent: AgentState, percept: Percept, generator: torch.Generator) -> AgentState:
        seen = self.observe(agent.memory, percept)
        hypothesis = self.hypothesis(seen["successes"], seen["failures"], generator)
        return agent._replace(memory={**agent.memory, "hypothesis": hypothesis})

    def hypothesis(
        self, successes: Float[Tensor, "M B A"], failures: Float[Tensor, "M B A"], generator: torch.Generator
    ) -> Float[Tensor, "M B A"]:
        """One posterior sample of each arm's success probability."""
        x, _ = beta(successes, failures, generator)
        return x

    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        return deterministic_logits(memory["hypothesis"].argmax(-1), self.num_arms)
