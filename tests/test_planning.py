"""Value iteration against hand calculation, brute force over policies, and its own identities."""

import itertools

import torch

from metarl_run.planning import finite_horizon_q


def random_mdp(S, A, seed, *leading):
    generator = torch.Generator().manual_seed(seed)
    transition = torch.rand(*leading, S, A, S, generator=generator, dtype=torch.float64)
    reward = torch.randn(*leading, S, A, generator=generator, dtype=torch.float64)
    return transition / transition.sum(-1, keepdim=True), reward


def expected_return(transition, reward, policy):
    """Σ over all trajectories of their probability times their return, for policy[t][s] → a, from each first state."""
    S = len(reward)
    totals = []
    for start in range(S):
        total = 0.0
        for path in itertools.product(range(S), repeat=len(policy) - 1):
            states, probability, gain = (start, *path), 1.0, 0.0
            for t, s in enumerate(states):
                a = policy[t][s]
                gain += reward[s, a].item()
                if t + 1 < len(states):
                    probability *= transition[s, a, states[t + 1]].item()
            total += probability * gain
        totals.append(total)
    return torch.tensor(totals, dtype=torch.float64)


def test_the_optimum_of_all_deterministic_policies():
    """S = 2, A = 2, H = 3: each of the 4³ time-dependent policies, each by enumerating its trajectories."""
    H = 3
    for seed in range(5):
        transition, reward = random_mdp(2, 2, seed)
        one_step = list(itertools.product(range(2), repeat=2))
        values = [expected_return(transition, reward, policy) for policy in itertools.product(one_step, repeat=H)]
        q = finite_horizon_q(transition, reward, horizon=H)
        torch.testing.assert_close(q[0].amax(-1), torch.stack(values).amax(0), rtol=1e-12, atol=1e-12)
        greedy = [tuple(q[t].argmax(-1).tolist()) for t in range(H)]
        torch.testing.assert_close(expected_return(transition, reward, greedy), q[0].amax(-1))


def test_by_hand():
    """State 0 pays 1 for staying; going to state 1 pays nothing at once and 5 for each step there."""
    transition = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    reward = torch.tensor([[1.0, 0.0], [5.0, 0.0]])
    q = finite_horizon_q(transition, reward, horizon=3)
    assert q.shape == (3, 2, 2)
    assert q[2].tolist() == [[1, 0], [5, 0]]
    assert q[1].tolist() == [[2, 5], [10, 1]]
    assert q[0].tolist() == [[6, 10], [15, 5]]


def test_a_stochastic_step_by_hand():
    transition = torch.tensor([[[0.25, 0.75]], [[0.0, 1.0]]])
    q = finite_horizon_q(transition, torch.tensor([[2.0], [4.0]]), horizon=2)
    assert q[..., 0].tolist() == [[2 + 0.25 * 2 + 0.75 * 4, 8], [2, 4]]


def test_one_step_is_the_reward():
    transition, reward = random_mdp(3, 2, 0)
    assert torch.equal(finite_horizon_q(transition, reward, horizon=1)[0], reward)


def test_leading_axes_are_tasks():
    transition, reward = random_mdp(3, 2, 0, 4)
    together = finite_horizon_q(transition, reward, horizon=5)
    assert together.shape == (4, 5, 3, 2)
    for i in range(4):
        torch.testing.assert_close(together[i], finite_horizon_q(transition[i], reward[i], horizon=5))


def test_a_constant_added_to_every_reward_adds_the_steps_to_go():
    transition, reward = random_mdp(4, 3, 1)
    more = finite_horizon_q(transition, reward + 2, horizon=6) - finite_horizon_q(transition, reward, horizon=6)
    torch.testing.assert_close(more, 2 * torch.arange(6, 0, -1, dtype=more.dtype)[:, None, None].expand_as(more))
