"""Permutation-equivariant network from counts in a tabular task to action values, for any S and A."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.kinds import Widths
from metarl_run.network.mlp import MLP
from metarl_run.types import Params

NUM_FEATURES = 12
EPSILON = 1e-6  # keeps the gradient of the square root finite


class Seen(NamedTuple):
    """Counts and rewards observed in N tasks, and the Q-learner's current table.

    Attributes:
        transitions: n(s, a, s′).
        visits: n(s, a), the number of rewards observed.
        total_reward: Σ r of these.
        starts: number of episodes that began in each state, including the current one.
        q: table Qₜ(s, a) for each step t of an episode.
    """

    transitions: Float[Tensor, "N S A S_next"]
    visits: Float[Tensor, "N S A"]
    total_reward: Float[Tensor, "N S A"]
    starts: Float[Tensor, "N S"]
    q: Float[Tensor, "N H S A"]


class EquivariantQ:
    """Value iteration on smoothed counts, with a learned correction after every sweep.

        r̂(s, a) = (Σ r + w μ) / (n + w),        P̂(s′ | s, a) = (n(s, a, s′) + α) / (Σₛ″ n(s, a, s″) + α S)
        mₜ(s, a) = r̂(s, a) + Σₛ′ P̂(s′ | s, a) maxₐ′ Qₜ₊₁(s′, a′),        Q_H = 0
        Qₜ(s, a) = mₜ(s, a) + g(xₜ(s, a))

    The weights w, α > 0, the mean μ and the MLP g are learned, and shared by all states, actions and steps. The
    features xₜ(s, a) of a pair are its own statistics and pools of those of other pairs: over the actions of its state,
    over its next states, and over all pairs. So Q is equivariant to permutations of states and of actions.

    Args:
        hidden: units of each hidden layer of g.
        activation: of its hidden layers.

    Source: Tamar et al. (2016), arXiv:1602.02867, for value iteration as layers, and Deac et al. (2020),
    arXiv:2010.13146, for message passing over any MDP; Hartford et al. (2018), arXiv:1803.02879, for the pools.
    """

    def __init__(self, *, hidden: Widths, activation: Literal["tanh", "relu"]) -> None:
        self.correction = MLP(num_inputs=NUM_FEATURES, heads={"q": 1}, hidden=hidden, activation=activation)

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters: w = α = 1, μ = 0 and a correction close to 0."""
        zero = torch.zeros(1, device=generator.device)
        smoothing = {name: zero.clone() for name in ("reward.log_weight", "reward.mean", "transition.log_weight")}
        return {**smoothing, **self.correction.init(generator)}

    def reward_weight(self, params: Params) -> Float[Tensor, "1"]:
        """w, number of observed rewards that the learned mean counts as."""
        return params["reward.log_weight"].exp()

    def __call__(self, params: Params, seen: Seen) -> Float[Tensor, "N H S A"]:
        n, (N, H, S, A) = seen.visits, seen.q.shape
        w, α = self.reward_weight(params), params["transition.log_weight"].exp()
        reward = (seen.total_reward + w * params["reward.mean"]) / (n + w)
        α_rows = seen.transitions + α
        P = (α_rows / α_rows.sum(-1, keepdim=True)).flatten(1, 2)
        static = self._static_features(seen, reward)
        net = {name: θ for name, θ in params.items() if name.startswith("q.")}
        V = n.new_zeros(N, S)
        q = []
        for t in range(H - 1, -1, -1):
            next_value, next_square = torch.bmm(P, torch.stack([V, V**2], -1)).view(N, S, A, 2).unbind(-1)
            m = reward + next_value
            spread = ((next_square - next_value**2).clamp(min=0) + EPSILON).sqrt()
            to_go = H - t
            x = torch.stack(
                [
                    m - m.amax(-1, keepdim=True),
                    m - m.mean(-1, keepdim=True),
                    m / to_go,
                    spread,
                    torch.tanh(seen.q[:, t] - m),
                    torch.full_like(m, 1 / to_go),
                    torch.full_like(m, to_go / H),
                    *static,
                ],
                -1,
            )
            q.append(m + self.correction(net, x.view(-1, NUM_FEATURES), {})[0]["q"].view(N, S, A))
            V = q[-1].amax(-1)
        return torch.stack(q[::-1], 1)

    def _static_features(self, seen: Seen, reward: Tensor) -> list[Tensor]:
        """Features that do not depend on the step t."""
        n = seen.visits
        rarity = (1 + n).rsqrt()
        start = seen.starts / seen.starts.sum(-1, keepdim=True).clamp(min=1)
        everywhere = n.mean((1, 2), keepdim=True)
        return [
            rarity,
            rarity.mean(-1, keepdim=True).expand_as(n),
            start.unsqueeze(-1).expand_as(n),
            reward.mean((1, 2), keepdim=True).expand_as(n),
            (1 + everywhere).rsqrt().expand_as(n),
        ]
