"""Adam on the meta-loss."""

import torch
from torch import Tensor
from torch.optim.adam import adam

from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.kinds import NonNegative, Positive
from metarl_run.types import Params


class Adam(GradientRule):
    """Adam with the usual moments: β₁ = .9, β₂ = .999, ε = 1e-8.

        step i has size β / (1 + d i)

    Args:
        lr: β, initial step size.
        decay: d ≥ 0; 0 keeps the step size constant.

    Source: Kingma and Ba (2015), arXiv:1412.6980; Robbins and Monro (1951), for the decay.
    """

    lr: Positive
    decay: NonNegative

    def attach(self, meta_params: Params) -> None:
        super().attach(meta_params)
        self.memory = {
            "first_moment": [torch.zeros_like(θ) for θ in self.tensors],
            "second_moment": [torch.zeros_like(θ) for θ in self.tensors],
            "steps": [torch.zeros((), device="cpu") for _ in self.tensors],  # torch's adam wants these on the CPU
        }

    def update(self, gradients: list[Tensor]) -> None:
        # The function behind torch.optim.Adam: the class would import torch's compiler, one second at every start
        adam(
            self.tensors,
            gradients,
            self.memory["first_moment"],
            self.memory["second_moment"],
            [],
            self.memory["steps"],
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.lr / (1 + self.decay * float(self.memory["steps"][0])),
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
