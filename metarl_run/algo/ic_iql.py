"""In-context IQL: values of the data's better actions learned offline, in context, and a policy that imitates them."""

from typing import Annotated

import torch
from torch import Tensor

from metarl_run.algo.in_context.base import Histories
from metarl_run.algo.in_context.values import InContextValues, chosen, followed, masked, targets
from metarl_run.kinds import Interval, NonNegative
from metarl_run.learner.base import Output, num_actions
from metarl_run.maths.distributions import Categorical

LARGEST_WEIGHT = 100.0
"""Of an imitated action; the paper's."""


class ICIQL(InContextValues):
    """Regress V on an upper expectile of Q, Q on V one step later, and imitate actions by their advantage.

        L = E[ |τ − 1(u < 0)| u² ],  u = Q_θ̄(hₜ, aₜ) − V_θ(hₜ)        expectile regression
          + E[ (rₜ + γ (1 − endₜ) V_θ(hₜ₊₁) − Q_θ(hₜ, aₜ))² ]          V held constant
          − E[ min(exp(β u), 100) log π_θ(aₜ | hₜ) ]                   u held constant

    Args:
        expectile: τ in (0, 1); near 1 V is that of the best action in the data.
        inverse_temperature: β ≥ 0; 0 imitates all actions alike.

    Source: Kostrikov et al. (2021), arXiv:2110.06169, Eq. 5 to 7; Tarasov et al. (2025), arXiv:2502.17666.
    """

    expectile: Annotated[float, Interval(float, 0, 1, open_low=True, open_high=True)]
    inverse_temperature: NonNegative

    def heads(self) -> dict[str, int]:
        A = num_actions(self.action_space)
        return {"q": A, "value": 1, "policy": A}

    def policy(self, output: Output) -> Categorical:
        return Categorical(output["policy"])

    def loss(self, output: Output, histories: Histories) -> tuple[Tensor, dict[str, Tensor]]:
        rollout = histories.rollout
        known, action = followed(rollout), rollout.action[:-1]
        value = output["value"].squeeze(-1)
        u = chosen(self.slow_output(histories)["q"], rollout) - value[:-1]
        expectile_error = torch.where(u < 0, 1 - self.expectile, self.expectile) * u**2
        q = chosen(output["q"], rollout)
        td_error = (targets(value.detach(), rollout, self.discount) - q) ** 2
        weight = (self.inverse_temperature * u.detach()).exp().clamp(max=LARGEST_WEIGHT)
        imitation = -weight * Categorical(output["policy"][:-1]).log_prob(action)
        parts = {"expectile_error": expectile_error, "td_error": td_error, "imitation": imitation}
        means = {name: masked(x, known) for name, x in parts.items()}
        metrics = {name: x.detach() for name, x in means.items()}
        return torch.stack([*means.values()]).sum(), {**metrics, "q": masked(q.detach(), known)}
