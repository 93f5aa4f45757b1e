"""A meta-algorithm that meta-learns: its meta-parameters improve over meta-iterations."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from metarl_run.algo.base import Live, MetaAlgorithm
from metarl_run.algo.meta_optimizer import MetaOptimizer
from metarl_run.types import Params


class MetaLearner(MetaAlgorithm):
    """A meta-algorithm with meta-parameters that improve over meta-iterations.

    Attributes:
        meta_params: θ, what is meta-learned: leaf tensors.
        meta_optimizer: how θ follows the meta-gradient.
    """

    meta_params: Params
    meta_optimizer: MetaOptimizer

    @abstractmethod
    def meta_update(self, live: Live) -> dict[str, Tensor]:
        """Improve the meta-parameters once and return quantities worth logging."""

    def state(self) -> dict[str, Any]:
        """Everything that meta-training changes, as plain containers of tensors."""
        meta_params = {name: tensor.detach() for name, tensor in self.meta_params.items()}
        return {"meta_params": meta_params, "meta_optimizer": self.meta_optimizer.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.load_meta_params(state["meta_params"])
        self.meta_optimizer.load_state(state["meta_optimizer"])

    def load_meta_params(self, meta_params: Params) -> None:
        """Take over θ alone, in place, so that the optimiser goes on with the same tensors."""
        with torch.no_grad():
            for name, tensor in self.meta_params.items():
                tensor.copy_(meta_params[name])
