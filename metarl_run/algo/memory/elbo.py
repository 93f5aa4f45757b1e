"""How beliefs about tasks improve: by the evidence lower bound."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.memory.decoder import Decoder
from metarl_run.algo.memory.encoder import Encoder, surprises
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.errors import NumericalError
from metarl_run.maths.distributions import Gaussian
from metarl_run.maths.returns import masked_mean
from metarl_run.types import Params, Rollout


@dataclass(kw_only=True)
class ELBO:
    """A bound on how likely a whole lifetime is, for what was believed before each of its steps.

        ELBOₜ = E_{m ~ qₜ}[−Eᵣ(m) − wₛ Eₛ(m)] − w KL(qₜ ‖ qₜ₋₁),    the mean over t and lifetimes

    The errors, see `metarl_run.algo.memory.decoder`, are those of all of the lifetime, what lies ahead of t included;
    their expectation is one sample m = μₜ + σₜ ε.

    Args:
        encoder: q, with its parameters φ.
        decoder: Eᵣ and Eₛ.
        decoder_params: of the decoder.
        optimizer: how φ and these follow, attached to both.
        noise: of ε, and of the choice of t.
        times: at most so many t count in a step, the same in all its lifetimes.
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
        """Move encoder and decoder once; quantities worth logging.

        Args:
            x: what the encoder reads before every step.
            lifetimes: `[T, N, …]`.

        Raises:
            NumericalError: if the ELBO or a gradient is not finite; the parameters are as before.
        """
        loss, metrics = self.loss(x, lifetimes)
        if not torch.isfinite(loss):
            raise NumericalError("ELBO", f"must be finite, got {-loss.item()}", "lower belief_optimizer.lr")
        gradients = torch.autograd.grad(loss, self.optimizer.tensors)
        norm = self.optimizer.step(gradients, lambda: "the mean over lifetimes")
        return {**metrics, "belief_gradient_norm": norm}

    def loss(self, x: Float[Tensor, "T N F"], lifetimes: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """−ELBO, and what it is made of."""
        q = self.encoder.sequence(x)
        t = torch.randperm(len(x), generator=self.noise, device=x.device)[: self.times]
        believed = Gaussian(*(part[t] for part in q))
        ε = torch.randn(believed.mean.shape, generator=self.noise, device=x.device)
        reward_error, state_error = self.decoder.errors(self.decoder_params, believed.sample(ε), lifetimes)
        lived = lifetimes.alive[t]
        reward_error, state_error, kl = (masked_mean(y, lived) for y in (reward_error, state_error, surprises(q)[t]))
        loss = reward_error + self.state_weight * state_error + self.kl_weight * kl
        told = {"elbo": -loss, "belief_kl": kl, "reward_error": reward_error, "state_error": state_error}
        return loss, {name: value.detach() for name, value in told.items()}
