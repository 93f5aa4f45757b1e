"""Hand-designed inner rules."""

import torch

from metarl_run.algo.gradient.inner_rule import Adam


def test_adams_first_step_is_the_gradients_sign_whatever_its_size():
    gradients = {"w": torch.tensor([[3.0, -1e-3, 700.0]])}
    d, memory = Adam().directions(gradients, Adam().initial_memory(gradients))
    torch.testing.assert_close(d["w"], torch.tensor([[1.0, -1.0, 1.0]]), rtol=1e-4, atol=0)
    assert memory["t"].tolist() == [1]
