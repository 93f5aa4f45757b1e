"""Encoder of an agent's belief over its task: a Gaussian over latent descriptions, after every step."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from metarl_run.maths.distributions import Gaussian
from metarl_run.maths.parallel import traced
from metarl_run.network.base import Network
from metarl_run.types import Memory, Params


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Belief before every step of a lifetime, inferred by a network with memory.

        q₀ = N(0, I),        qₜ = N(μₜ, σₜ²)  with  (μₜ, log σₜ) = f_φ(x₁, …, xₜ)

    xₜ is the agent's input before step t, so x₁ is the first that contains experience. x₀ is ignored: before any data
    the belief is the prior, whatever φ is.

    Args:
        network: f, with the heads from `heads`.
        params: φ.
        latent: L, size of a description.
    """

    network: Network
    params: Params
    latent: int

    @staticmethod
    def heads(latent: int) -> dict[str, int]:
        """Name and size of each head that the network needs."""
        return {"mean": latent, "log_deviation": latent}

    def initial_memory(self, num_tasks: int) -> Memory:
        """Initial memory, before x₀."""
        memory = self.network.initial_memory(self.params, num_tasks)
        device = next(iter(self.params.values())).device
        return _memory(memory, torch.zeros(num_tasks, 1, 1, dtype=torch.bool, device=device))

    def __call__(self, x: Float[Tensor, "M B F"], memory: Memory) -> tuple[Gaussian, Memory]:
        """The belief in every env, and the memory, after reading one x."""
        begun = memory["begun"]
        inner = {name.removeprefix(PREFIX): tensor for name, tensor in memory.items() if name.startswith(PREFIX)}
        if traced():  # a program has no branches
            return self._either(x, begun, inner)
        if not begun.all():  # all envs begin their lifetimes together
            prior = x.new_zeros(*x.shape[:2], self.latent)
            return Gaussian(prior, prior), _memory(inner, torch.ones_like(begun))
        output, inner = self.network(self.params, x, inner)
        return Gaussian(output["mean"], output["log_deviation"]), _memory(inner, begun)

    def _either(self, x: Float[Tensor, "M B F"], begun: Tensor, inner: Memory) -> tuple[Gaussian, Memory]:
        """Both cases computed, and one of them chosen in every env."""
        output, new = self.network(self.params, x, inner)
        mean, log_deviation = (torch.where(begun, output[head], 0.0) for head in ("mean", "log_deviation"))
        chosen = {name: torch.where(begun, tensor, inner[name]) for name, tensor in new.items()}
        return Gaussian(mean, log_deviation), _memory(chosen, torch.ones_like(begun))

    def sequence(self, x: Float[Tensor, "T N F"]) -> Gaussian:
        """q₀ … q_{T−1}, `[T, N, L]`, as from T calls, in one pass."""
        # After the roll the last output has read x₀ and is dropped; lifetimes of one step then need no special case.
        output = self.network.sequence(self.params, x.roll(-1, 0))
        mean, log_deviation = (pad(output[head][:-1], (0, 0, 0, 0, 1, 0)) for head in self.heads(self.latent))
        return Gaussian(mean, log_deviation)


PREFIX = "encoder."
"""Prefix of the network's entries in the memory."""


def _memory(inner: Memory, begun: Tensor) -> Memory:
    return {"begun": begun, **{PREFIX + name: tensor for name, tensor in inner.items()}}


def surprises(belief: Gaussian) -> Float[Tensor, "T N"]:
    """Bayesian surprise KL(qₜ ‖ qₜ₋₁), nats, of step t − 1; 0 at t = 0. Gradients flow through both qₜ and qₜ₋₁."""
    now, before = (Gaussian(*(x[part] for x in belief)) for part in (slice(1, None), slice(None, -1)))
    return pad(now.kl(before), (0, 0, 1, 0))
