"""Thompson sampling: act as if a bandit drawn from the posterior were the true one."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.bandit_agent import BanditAgent, certainly
from metarl_run.maths.sampling import beta
from metarl_run.types import AgentState, Memory, Percept


class Thompson(BanditAgent):
    """Before every pull draw each arm's probability to pay from its posterior, and pull the arm whose draw is largest.

        x(a) ~ Beta(s(a), f(a)),        pull argmaxₐ x(a)

    Memory: also the `hypothesis` x, 0 until one is drawn.

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
        """Each arm's probability to pay, drawn from what is known of it."""
        x, _ = beta(successes, failures, generator)
        return x

    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        return certainly(memory["hypothesis"].argmax(-1), self.num_arms)
