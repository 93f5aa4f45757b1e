"""ε-greedy actions whose noise decreases from episode to episode, and the count of episodes in an agent's memory."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl_run.maths.distributions import Categorical
from metarl_run.types import Memory, Percept

EPISODE = "episode"
"""Key of the memory: number of the current episode; −1 before the first."""


def episode_of(memory: Memory, percept: Percept) -> Int[Tensor, "M B"]:
    """The number of the episode that `percept` belongs to, from 0."""
    return memory[EPISODE] + percept.last_ended.long()


def annealed(first: float, last: float, episode: Int[Tensor, "M B"], episodes: int) -> Float[Tensor, "M B"]:
    """ε of an episode, linear from the first to the last of so many episodes, then constant."""
    return first + (last - first) * (episode / max(episodes - 1, 1)).clamp(max=1.0)


def epsilon_greedy(best: Bool[Tensor, "M B A"], epsilon: Float[Tensor, "M B"]) -> Categorical:
    """π(a) = ε / A + (1 − ε) [a is best] / number of best actions."""
    ε = epsilon.unsqueeze(-1)
    return Categorical((ε / best.shape[-1] + (1 - ε) * best / best.sum(-1, keepdim=True)).log())
