"""Action distributions against torch.distributions, and sampling against the probabilities."""

import gymnasium
import pytest
import torch

from metarl_run.policy import Categorical, empty_actions, sampling_noise

SPACE = gymnasium.spaces.Discrete(4)


def test_log_prob_and_entropy_agree_with_torch():
    logits = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    action = torch.randint(4, (5, 3), generator=torch.Generator().manual_seed(1))
    ours, reference = Categorical(logits), torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(ours.log_prob(action), reference.log_prob(action))
    torch.testing.assert_close(ours.entropy(), reference.entropy())


def test_samples_follow_the_probabilities():
    logits = torch.tensor([0.0, 1.0, -1.0, -torch.inf])
    noise = sampling_noise(SPACE, (200_000,), torch.Generator().manual_seed(0))
    counts = Categorical(logits).sample(noise).bincount(minlength=4) / 200_000
    torch.testing.assert_close(counts, logits.softmax(-1), atol=4 * (0.25 / 200_000) ** 0.5, rtol=0)
    assert counts[3] == 0


def test_noise_comes_from_the_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again = (sampling_noise(SPACE, (7,), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_spaces_without_a_distribution_are_refused():
    box = gymnasium.spaces.Box(-1, 1, (2,))
    with pytest.raises(ValueError, match="action_space must be Discrete"):
        sampling_noise(box, (1,), torch.Generator())
    with pytest.raises(ValueError, match="action_space must be Discrete"):
        empty_actions(box, (1,), torch.device("cpu"))
