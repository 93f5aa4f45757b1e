"""Evidence lower bound (ELBO): the training objective of beliefs over tasks."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.base import required_finite
from metarl_run.algo.memory.decoder import Decoder
from metarl_run.algo.memory.encoder import Encoder, surprises
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.maths.distributions import Gaussian
from metarl_run.maths.returns import masked_mean
from metarl_run.types import Params, Rollout


@dataclass(kw_only=True)
class ELBO:
    """Lower bound on the log-likelihood of a whole lifetime, for the belief before each of its steps.

        ELBOₜ = E_{m ~ qₜ}[−Eᵣ(m) − wₛ Eₛ(m)] − w KL(qₜ ‖ qₜ₋₁),    the mean over t and lifetimes

    The errors (`metarl_run.algo.memory.decoder`) are those of the whole lifetime, including steps after t. Their
    expectation is estimated by one sample m = μₜ + σₜ ε.

    Args:
        encoder: q, with its parameters φ.
        decoder: Eᵣ and Eₛ.
        decoder_params: of the decoder.
        optimizer: updates φ and these; attached to both.
        noise: random generator of ε and of the choice of t.
        times: maximum number of time steps t per optimiser step, the same ones in all its lifetimes.
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
        t = torch.randperm(len(x), generator=self.noise, device=x.device)[: self.times]
        belief = Gaussian(*(part[t] for part in q))
        ε = torch.randn(belief.mean.shape, generator=self.noise, device=x.device)
        reward_error, state_error = self.decoder.errors(self.decoder_params, belief.sample(ε), lifetimes)
        alive = lifetimes.alive[t]
        reward_error, state_error, kl = (masked_mean(y, alive) for y in (reward_error, state_error, surprises(q)[t]))
        loss = reward_error + self.state_weight * state_error + self.kl_weight * kl
        metrics = {"elbo": -loss, "belief_kl": kl, "reward_error": reward_error, "state_error": state_error}
        return loss, {name: value.detach() for name, value in metrics.items()}
