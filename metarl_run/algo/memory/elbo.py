"""Evidence lower bound (ELBO): the training objective of beliefs over tasks."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl_run.algo.base import required_finite
from metarl_run.algo.memory.decoder import Decoder
from metarl_run.algo.memory.encoder import Encoder, surprises
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.maths.distributions import Gaussian
from metarl_run.types import Params, Rollout


@dataclass(kw_only=True)
class ELBO:
    """Lower bound on the log-likelihood of a whole lifetime, for the belief before each of its steps.

        ELBOₜ = E_{m ~ qₜ}[−Eᵣ(m) − wₛ Eₛ(m)] − w KL(qₜ ‖ qₜ₋₁),    the mean over t and lifetimes

    The mean is over lifetimes, and in each over its own steps t: lifetimes that end early, such as those of a policy
    that is mistaken about its task, count as much as long ones. The errors (`metarl_run.algo.memory.decoder`) are those
    of the whole lifetime, including steps after t. Their expectation is estimated by one sample m = μₜ + σₜ ε.

    Args:
        encoder: q, with its parameters φ.
        decoder: Eᵣ and Eₛ.
        decoder_params: of the decoder.
        optimizer: updates φ and these; attached to both.
        noise: random generator of ε and of the choice of t.
        times: maximum number of time steps t of each lifetime per optimiser step.
        state_weight: wₛ ≥ 0.
        kl_weight: w ≥ 0.

    Source: Zintgraf et al. (2020), arXiv:1910.08348.
    """

    encoder: Encoder
    decoder: Decoder
    decoder_params: Params
    optimizer: GradientRule
    noise: torch.Generator
    times: int
    state_weight: float
    kl_weight: float

    def improve(self, x: Float[Tensor, "T N F"], lifetimes: Rollout) -> dict[str, Tensor]:
        """Update encoder and decoder once and return metrics.

        Args:
            x: inputs of the encoder before every step.
            lifetimes: `[T, N, …]`.

        Raises:
            NumericalError: if the ELBO or a gradient is not finite; the parameters are then unchanged.
        """
        loss, metrics = self.loss(x, lifetimes)
        gradients = torch.autograd.grad(required_finite("meta-loss of the ELBO", loss), self.optimizer.tensors)
        norm = self.optimizer.step(gradients, lambda: "the mean over lifetimes")
        return {**metrics, "belief_gradient_norm": norm}

    def loss(self, x: Float[Tensor, "T N F"], lifetimes: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """−ELBO, and metrics of its terms."""
        q = self.encoder.sequence(x)
        t = self.some_times(lifetimes.alive)
        belief = Gaussian(*(part.gather(0, t.unsqueeze(-1).expand(-1, -1, part.shape[-1])) for part in q))
        ε = torch.randn(belief.mean.shape, generator=self.noise, device=x.device)
        reward_error, state_error = self.decoder.errors(self.decoder_params, belief.sample(ε), lifetimes)
        reward_error, state_error, kl = (y.mean() for y in (reward_error, state_error, surprises(q).gather(0, t)))
        loss = reward_error + self.state_weight * state_error + self.kl_weight * kl
        metrics = {"elbo": -loss, "belief_kl": kl, "reward_error": reward_error, "state_error": state_error}
        return loss, {name: value.detach() for name, value in metrics.items()}

    def some_times(self, alive: Bool[Tensor, "T N"]) -> Int[Tensor, "K N"]:
        """K steps of each lifetime, one from each of K equal parts of it."""
        (T, N), length = alive.shape, alive.sum(0)
        K = min(self.times, T)
        part = torch.arange(K, device=alive.device).unsqueeze(1)
        u = torch.rand(K, N, generator=self.noise, device=alive.device)
        return torch.minimum(((part + u) / K * length).long(), length - 1)
