"""The linear baseline against numpy's least squares, one task at a time."""

import numpy as np
import torch

from metarl_run.learner.linear_baseline import RIDGE, linear_baseline

M, T, B, D = 3, 30, 4, 2


def experience(seed=0):
    g = torch.Generator().manual_seed(seed)
    length = torch.randint(5, T + 1, (M, 1, B), generator=g)
    time = torch.arange(T).view(1, T, 1)
    alive, ended = time < length, time == length - 1
    return torch.randn(M, T, B, D, generator=g), torch.randn(M, T, B, generator=g) * alive, alive, ended


def test_it_is_the_least_squares_fit_over_the_steps_that_were_taken():
    observation, returns, alive, ended = experience()
    baseline = linear_baseline(observation, returns, alive, ended)
    for task in range(M):
        t, b = np.nonzero(alive[task].numpy())
        s, hundreds = observation[task].double().numpy()[t, b], t / 100
        x = np.column_stack([s, s**2, hundreds, hundreds**2, hundreds**3, np.ones(len(t))])
        # A ridge ρ is one more observation per feature: √ρ times its weight should be 0.
        G = np.concatenate([returns[task].double().numpy()[t, b], np.zeros(x.shape[1])])
        w, *_ = np.linalg.lstsq(np.concatenate([x, RIDGE**0.5 * np.eye(x.shape[1])]), G)
        np.testing.assert_allclose(baseline[task].numpy()[t, b], x @ w, atol=1e-5)


def test_what_is_linear_in_the_features_is_found():
    observation, _, alive, ended = experience(1)
    time = torch.arange(T).view(1, T, 1)
    returns = 3 * observation[..., 0] - observation[..., 1] ** 2 + 2 - 0.5 * time / 100
    baseline = linear_baseline(observation, returns, alive, ended)
    torch.testing.assert_close(baseline[alive], returns[alive], rtol=1e-3, atol=1e-3)


def test_time_begins_anew_with_every_episode_of_an_env():
    """The same episodes one after another in an env, or side by side."""
    observation, returns, _, _ = experience(2)
    together = linear_baseline(
        observation,
        returns,
        torch.ones(M, T, B, dtype=torch.bool),
        (torch.arange(T) == T - 1).view(1, T, 1).expand(M, T, B),
    )
    chained = [x.transpose(1, 2).flatten(1, 2).unsqueeze(2) for x in (observation, returns)]
    ended = (torch.arange(T * B) % T == T - 1).view(1, T * B, 1).expand(M, T * B, 1)
    one_env = linear_baseline(*chained, torch.ones(M, T * B, 1, dtype=torch.bool), ended)
    torch.testing.assert_close(one_env.view(M, B, T).transpose(1, 2), together)


def test_an_outlying_observation_does_not_swamp_the_fit():
    observation, returns, alive, ended = experience(3)
    wild = observation.clone()
    wild[0, 0, 0, 0] = 1e20
    assert linear_baseline(wild, returns, alive, ended).isfinite().all()
