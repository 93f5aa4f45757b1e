"""The cross-entropy method, against the enumeration of every sequence."""

import itertools

import pytest
import torch

from metarl_run.algo.planning.cross_entropy import CrossEntropy

USUAL = {"horizon": 4, "candidates": 64, "elites": 8, "rounds": 4, "inertia": 0.3, "exploration": 0.2}
N = 200


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def walks(transition, reward, start):
    """Returns of sequences in deterministic MDPs, given successor states and rewards, `[N, S, A]`."""

    def score(actions):
        N, C, H = actions.shape
        task = torch.arange(N).unsqueeze(1).expand(N, C)
        state, total = start.unsqueeze(1).expand(N, C), torch.zeros(N, C)
        for h in range(H):
            total = total + reward[task, state, actions[..., h]]
            state = transition[task, state, actions[..., h]]
        return total

    return score


def some_mdps(S=5, A=3):
    draws = generator(1)
    return torch.randint(S, (N, S, A), generator=draws), torch.randn(N, S, A, generator=draws)


def test_it_finds_the_best_of_all_sequences_far_more_often_than_random_search():
    transition, reward = some_mdps()
    score = walks(transition, reward, torch.zeros(N, dtype=torch.int64))
    best = score(torch.tensor(list(itertools.product(range(3), repeat=6))).expand(N, -1, -1)).amax(1)

    def found(**changes):
        planner = CrossEntropy(**{**USUAL, "horizon": 6, "rounds": 6, **changes})
        sequence, _ = planner.search(score, torch.full((N, 6, 3), 1 / 3), generator())
        return score(sequence.unsqueeze(1)).squeeze(1) > best - 1e-5

    assert found().float().mean() > 0.75
    assert found(rounds=1, candidates=6 * 64).float().mean() < 0.45, "384 draws from 729 sequences"


def test_one_round_with_one_elite_takes_the_best_that_was_drawn_and_its_frequencies():
    drawn = []

    def score(actions):
        drawn.append(actions)
        return actions.sum(-1).float()

    planner = CrossEntropy(**{**USUAL, "rounds": 1, "elites": 1, "inertia": 0.25})
    p = torch.full((2, 4, 3), 1 / 3)
    best, after = planner.search(score, p, generator())
    (actions,) = drawn
    wanted = actions[torch.arange(2), actions.sum(-1).argmax(-1)]
    assert torch.equal(best, wanted)
    torch.testing.assert_close(after, 0.75 * torch.nn.functional.one_hot(wanted, 3) + 0.25 / 3)


def test_draws_follow_the_probabilities_they_start_from():
    seen = []

    def score(actions):
        seen.append(actions)
        return torch.zeros(actions.shape[:2])

    p = torch.tensor([[[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]]])
    planner = CrossEntropy(**{**USUAL, "horizon": 2, "candidates": 40_000, "rounds": 1, "exploration": 0.3})
    planner.search(score, p, generator())
    shares = torch.nn.functional.one_hot(seen[0], 3).float().mean(1)
    torch.testing.assert_close(shares, 0.7 * p + 0.1, atol=0.01, rtol=0)


def test_envs_are_searched_independently():
    """The scores of one change nothing in the others."""
    transition, reward = some_mdps()
    changed = reward.clone()
    changed[0] += torch.randn(5, 3, generator=generator(2))
    start, p = torch.zeros(N, dtype=torch.int64), torch.full((N, 4, 3), 1 / 3)
    one, other = (CrossEntropy(**USUAL).search(walks(transition, r, start), p, generator()) for r in (reward, changed))
    for x, y in zip(one, other, strict=True):
        assert torch.equal(x[1:], y[1:])
    assert not torch.equal(one[1][0], other[1][0])


def test_more_elites_than_candidates_are_refused():
    with pytest.raises(ValueError, match="elites must be <= candidates, which is 64, got 65"):
        CrossEntropy(**{**USUAL, "elites": 65})
